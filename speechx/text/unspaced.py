"""Scripts without spaces (Chinese, Japanese), whose words are here their signs."""

import re

UNSPACED = (
    "\u3005\u3041-\u3096\u309b-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
"""Their signs, for a class of a regular expression."""
_SIGN = re.compile(f"[{UNSPACED}]")


def is_unspaced(character: str) -> bool:
    """Whether a character is a sign of these scripts; of several, whether the first is."""
    return _SIGN.match(character) is not None
