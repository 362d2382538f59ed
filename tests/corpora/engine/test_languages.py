"""Languages of all corpora go by one name, whatever each calls them."""

from collections import Counter

import pytest

from speechx.corpora.engine.languages import language_code
from speechx.text.languages import languages


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("sv_se", "sv-SE"), ("es_419", "es"), ("cmn_hans_cn", "zh-CN"), ("german", "de"),
        ("iw", "he"), ("jw", "jv"), ("ceb_ph", "ceb"), ("no", "no"), ("nb_no", "nb-NO"),
        ("English", "en"), ("zh-TW", "zh-TW"), ("xx", "xx"), ("en_accented", "en_accented"),
    ],
)  # fmt: skip
def test_a_name_becomes_our_code(word: str, code: str) -> None:
    assert language_code(word) == code


@pytest.mark.parametrize("corpus", ["fleurs", "mls", "voxlingua107", "voxpopuli"])
def test_no_two_languages_of_a_corpus_are_one(corpus: str) -> None:
    names = [name for language in languages() if (name := getattr(language, corpus))]
    assert len(names) >= {"fleurs": 100, "mls": 8, "voxlingua107": 105, "voxpopuli": 23}[corpus]
    codes = Counter(map(language_code, names))
    assert [code for code, number in codes.items() if number > 1] == []
