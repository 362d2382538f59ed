"""The articulatory classes of a phone, as the columns and rows of the IPA chart have them.

    classes("tʃʰ")  # kind consonant, place postalveolar, manner affricate, voicing voiceless
    classes("yː")   # kind vowel, height close, backness front, rounding rounded

The letters decide; of the marks only the rings and wedges of voicing do. An affricate has the place
of its last letter, a diphthong is a class of its own. A phone without a letter is a tone or other.
"""

from functools import cache

from speechx.text.ipa import LETTERS, PROSODY, normalize_ipa

CONSONANT_ASPECTS = ("place", "manner", "voicing")
VOWEL_ASPECTS = ("height", "backness", "rounding")
ASPECTS = (*CONSONANT_ASPECTS, *VOWEL_ASPECTS)

_PLACES = {
    "bilabial": "pbɓmʙɸβⱱƥʘ", "labiodental": "ɱfvʋ", "labiovelar": "wʍ", "labiopalatal": "ɥ",
    "dental": "θðǀ", "alveolar": "tdɗnrɾszɬɮɹlɺƭǃɫǁȴȵȶȡ", "postalveolar": "ʃʒǂ",
    "alveolopalatal": "ɕʑ", "retroflex": "ʈɖᶑɳɽʂʐɻɭꞎ", "palatal": "cɟʄɲçʝjʎƈ",
    "velar": "kɡɠŋxɣɰʟƙɧ", "uvular": "qɢʛɴʀχʁʠ", "pharyngeal": "ħʕʜʢʡ", "glottal": "ʔhɦ",
}  # fmt: skip
_MANNERS = {
    "plosive": "pbtdʈɖcɟkɡqɢʔʡȶȡ", "implosive": "ɓɗᶑʄɠʛƥƭƈƙʠ", "nasal": "mɱnɳɲŋɴȵ",
    "trill": "ʙrʀ", "tap": "ⱱɾɽɺ", "fricative": "ɸβfvθðszʃʒʂʐçʝxɣχʁħʕhɦɕʑɧʜʢ",
    "lateral fricative": "ɬɮꞎ", "approximant": "ʋɹɻjɰwʍɥ", "lateral": "lɭʎʟɫȴ",
    "click": "ʘǀǃǂǁ",
}  # fmt: skip
_VOICELESS = "pftθsʃʈʂcçkxqχħʜʔhɸɬꞎɕɧʍƥƭƈƙʠȶʘǀǃǂǁʡ"
_HEIGHTS = {
    "close": "iyɨʉɯu", "near-close": "ɪʏʊᵻᵿɩɷ", "close-mid": "eøɘɵɤo", "mid": "ə",
    "open-mid": "ɛœɜɞʌɔᴇ", "near-open": "æɐ", "open": "aɶɑɒᴀ",
}  # fmt: skip
_BACKNESSES = {
    "front": "iyɪʏeøɛœæaɶɩᴇᴀ", "central": "ɨʉᵻᵿɘɵəɜɞɐ", "back": "ɯuʊɤoʌɔɑɒɷ"
}  # fmt: skip
_ROUNDED = "yʉuʏʊøɵoœɞɔɶɒᵿɷ"


def _by_letter(classes: dict[str, str]) -> dict[str, str]:
    return {letter: name for name, letters in classes.items() for letter in letters}


_PLACE, _MANNER = _by_letter(_PLACES), _by_letter(_MANNERS)
_HEIGHT, _BACKNESS = _by_letter(_HEIGHTS), _by_letter(_BACKNESSES)
ORDER = {
    "place": (*_PLACES, "vowel", "tone", "other"),
    "manner": (*_MANNERS, "affricate", "vowel", "tone", "other"),
    "voicing": ("voiced", "voiceless", "vowel", "tone", "other"),
    "height": (*_HEIGHTS, "diphthong", "consonant", "tone", "other"),
    "backness": (*_BACKNESSES, "diphthong", "consonant", "tone", "other"),
    "rounding": ("unrounded", "rounded", "diphthong", "consonant", "tone", "other"),
}
"""The classes of each aspect, in the order of the chart."""


@cache
def classes(phone: str) -> dict[str, str]:
    """The class of a phone in each of `ASPECTS`. A vowel is `vowel` in the aspects of consonants,
    and a consonant is `consonant` in those of vowels."""
    normal = normalize_ipa(phone)
    letters = [c for c in normal if c in LETTERS]
    kind = _kind(letters, normal)
    found = dict.fromkeys(ASPECTS, kind)
    if kind == "consonant":
        last = letters[-1]
        manners = [_MANNER.get(letter, "other") for letter in letters]
        found["place"] = _PLACE.get(last, "other")
        found["manner"] = manners[-1]
        if len(letters) > 1 and "plosive" in manners[:-1] and "fricative" in manners[-1]:
            found["manner"] = "affricate"
        voiceless = last in _VOICELESS
        for mark in normal:
            voiceless = mark == "\u0325" or (voiceless and mark != "\u032c")
        found["voicing"] = "voiceless" if voiceless else "voiced"
    elif kind == "vowel":
        vowels = [letter for letter in letters if letter in _HEIGHT]
        first = vowels[0]
        found["height"], found["backness"] = _HEIGHT[first], _BACKNESS[first]
        found["rounding"] = "rounded" if first in _ROUNDED else "unrounded"
        if len(set(vowels)) > 1:
            found |= dict.fromkeys(VOWEL_ASPECTS, "diphthong")
    return found


def _kind(letters: list[str], normal: str) -> str:
    if not letters:
        return "tone" if normal and all(c in PROSODY for c in normal) else "other"
    if any(letter in _HEIGHT for letter in letters):
        return "vowel"
    return "consonant" if letters[-1] in _PLACE else "other"
