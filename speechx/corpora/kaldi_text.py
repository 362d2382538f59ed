"""Lines of text.good and text.lang, as the benchmark PRiSM and ESPnet's POWSM write them."""

import re

from speechx.text.languages import language_code
from speechx.text.phone_policies import letters_of


def phones_in(text: str) -> list[str]:
    """The phones of a line of text.good: between slashes as in /h//aʊ/, or spaces, or letter by
    letter where neither divides them."""
    if "/" in text:
        return [phone for phone in map(str.strip, text.split("/")) if phone]
    parts = text.split()
    return letters_of(parts[0]) if len(parts) == 1 else parts


def language_in(text: str) -> str:
    """The language of a line of text.lang, such as <eng><test>, <eng> or eng."""
    tag = re.search(r"<([^<>]+)>", text)
    word = (tag[1] if tag else text).strip()
    return "und" if word in ("unk", "") else language_code(word)
