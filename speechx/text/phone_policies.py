"""What counts as one phone: named policies for phone error rates, from strict to relaxed.

    exact       as written: ties, stress and each spelling count
    strict      one spelling of IPA (`speechx.text.ipa`): ties and stress do not count
    no_length   strict, and length does not count: aː is a
    no_tone     strict, and tone does not count: á, a˥, a⁵⁵ and ai5 are a and ai
    split       strict, and every letter is a phone: tʃ is t ʃ and aɪ is a ɪ, so that affricates and
                diphthongs may be written as one phone or as two
    relaxed     all of these: neither length nor tone counts, and every letter is a phone

>>> relaxed(["t͡ʃ", "ˈaː˥"], "relaxed")
['t', 'ʃ', 'a']
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

from speechx.text.ipa import LETTERS, TONES, normalize_ipa

POLICIES = {
    "exact": "as written, ties, stress and spellings count",
    "strict": "one spelling of IPA, ties and stress do not count",
    "no_length": "one spelling of IPA, length does not count",
    "no_tone": "one spelling of IPA, tone does not count",
    "split": "one spelling of IPA, every letter is a phone (tʃ is t ʃ, aɪ is a ɪ)",
    "relaxed": "one spelling of IPA, neither length nor tone counts, every letter is a phone",
}
_LENGTH = "ːˑ\u0306"  # and the breve of an extra-short vowel
_TONE = re.compile(
    f"[{''.join(sorted(TONES))}↓↑ꜜꜛ\u00b9\u00b2\u00b3\u2070\u2074-\u2079"
    "\u0300\u0301\u0302\u0304\u030b\u030c\u030f\u1dc4-\u1dc9]|(?<=.)[0-9]+$"
)
_LETTER = "".join(sorted(LETTERS))
_FIRST_PART = re.compile(f"[^{_LETTER}]*[{_LETTER}]?[^{_LETTER}]*")
_NEXT_PART = re.compile(f"[{_LETTER}][^{_LETTER}]*")
TIES = "\u0361\u035c"


def relaxed(phones: Iterable[str], policy: str) -> list[str]:
    """The phones as a policy of `POLICIES` compares them: two are equal if their texts are.

    A symbol of which nothing is left (a tone where tone does not count) is no phone.
    """
    return [part for phone in phones for part in _compared(phone, policy)]


@cache
def _compared(phone: str, policy: str) -> tuple[str, ...]:
    if policy == "exact":
        given = unicodedata.normalize("NFD", phone.strip())
        return (given,) if given else ()
    left = normalize_ipa(phone)
    if policy in ("no_length", "relaxed"):
        left = left.translate(dict.fromkeys(map(ord, _LENGTH)))
    if policy in ("no_tone", "relaxed"):
        left = _TONE.sub("", left)
    parts = letters_of(left) if policy in ("split", "relaxed") else [left]
    return tuple(filter(None, parts))


def letters_of(text: str) -> list[str]:
    """IPA without spaces, cut before each letter: letters with what follows them. What stands
    before the first letter goes with it, and a tie keeps two letters together.

    >>> letters_of("ⁿdt͡ʃaː")
    ['ⁿd', 't͡ʃ', 'aː']
    """
    if not text:
        return []
    first = _FIRST_PART.match(text)
    assert first is not None
    parts = [first[0]]
    for part in _NEXT_PART.findall(text, first.end()):
        if parts[-1][-1:] in TIES:
            parts[-1] += part
        else:
            parts.append(part)
    return parts
