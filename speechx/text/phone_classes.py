"""The articulatory classes of a phone, as the columns and rows of the IPA chart have them.

    classes("tʃʰ")  # place postalveolar, manner affricate, voicing voiceless
    classes("yː")   # height close, backness front, rounding rounded

The letters decide (`speechx.text.ipa_chart`); of the marks only the rings and wedges of voicing do.
A sequence has the place of its last letter; different vowels are a diphthong.
"""

from functools import cache

from speechx.text.ipa import LETTERS, PROSODY, normalize_ipa
from speechx.text.ipa_chart import (
    CHART,
    MANNERS,
    PLACES,
    WITH_VOICE,
    WITHOUT_VOICE,
    Place,
)

CONSONANT_ASPECTS = ("place", "manner", "voicing")
VOWEL_ASPECTS = ("height", "backness", "rounding")
ASPECTS = (*CONSONANT_ASPECTS, *VOWEL_ASPECTS)
HEIGHTS = ("close", "near-close", "close-mid", "mid", "open-mid", "near-open", "open")
BACKNESSES = ("front", "central", "back")
ORDER = {
    "place": (*PLACES, "vowel", "tone", "other"),
    "manner": (*MANNERS, "vowel", "tone", "other"),
    "voicing": ("voiced", "voiceless", "vowel", "tone", "other"),
    "height": (*HEIGHTS, "diphthong", "consonant", "tone", "other"),
    "backness": (*BACKNESSES, "diphthong", "consonant", "tone", "other"),
    "rounding": ("unrounded", "rounded", "diphthong", "consonant", "tone", "other"),
}
"""The classes of each aspect, in the order of the chart."""


@cache
def classes(phone: str) -> dict[str, str]:
    """The class of a phone in each of `ASPECTS`. A vowel is `vowel` in the aspects of consonants,
    and a consonant is `consonant` in those of vowels."""
    normal = normalize_ipa(phone)
    places = [CHART.get(c) for c in normal if c in LETTERS]
    vowels = [place for place in places if place and place.kind == "vowel"]
    if not places:
        is_tone = normal and all(c in PROSODY for c in normal)
        return dict.fromkeys(ASPECTS, "tone" if is_tone else "other")
    if vowels:
        return dict.fromkeys(CONSONANT_ASPECTS, "vowel") | _of_vowels(vowels)
    last = places[-1]
    if last is None:
        return dict.fromkeys(ASPECTS, "other")
    manners = [place.row if place else "other" for place in places]
    is_affricate = "plosive" in manners[:-1] and "fricative" in last.row
    voiced = last.voiced
    for mark in normal:
        voiced = mark == WITH_VOICE or (voiced and mark != WITHOUT_VOICE)
    return dict.fromkeys(VOWEL_ASPECTS, "consonant") | {
        "place": last.column,
        "manner": "affricate" if is_affricate else last.row,
        "voicing": "voiced" if voiced else "voiceless",
    }


def _of_vowels(vowels: list[Place]) -> dict[str, str]:
    first = vowels[0]
    if any(vowel != first for vowel in vowels):
        return dict.fromkeys(VOWEL_ASPECTS, "diphthong")
    return {
        "height": HEIGHTS[round(6 * first.y)],
        "backness": BACKNESSES[round(2 * first.x)],
        "rounding": "rounded" if first.rounded else "unrounded",
    }
