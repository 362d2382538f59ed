"""The table of languages: every corpus's code leads to one language, and back."""

import re
from pathlib import Path

import pytest

from speechx.errors import UserError
from speechx.text.languages import find, iso639_3, language_code, languages


def test_a_language_is_found_by_its_code_in_every_corpus() -> None:
    swahili = find("swa")
    assert swahili.name == "Swahili"
    assert all(find(word) is swahili for word in ("sw", "SW_ke", "sw-KE", "202", " Swahili "))
    assert find("spanish").mls == "spanish"
    assert find("es_419").commonvoice == ("es",)
    assert find("zh-HK") is find("yue_hant_hk") is find("101")
    assert find("zh-TW") is find("zh") is find("cmn")
    assert find("kmr").name == "Kurmanji"


def test_withdrawn_codes_lead_to_the_current_language() -> None:
    assert (find("iw").iso639_1, find("iw").voxlingua107) == ("he", "iw")
    assert (find("jw").iso639_1, find("jw").voxlingua107) == ("jv", "jw")
    assert find("in").iso639_3 == "ind"


def test_regions_scripts_and_encodings_are_left_out() -> None:
    for word in ("tr-CY", "tr_Latn", "tr-Latn-TR", "tr_TR.UTF-8", "tr_TR@euro", "tur-script_latin"):
        assert find(word).iso639_3 == "tur"
    assert find("zh-Hant-HK") is find("yue")
    assert find("en-029").name == "English"
    with pytest.raises(UserError):
        find("en-male")


def test_manifests_have_one_code_for_a_language() -> None:
    assert {language_code(w) for w in ("tr", "tur", "tr_tr", "tr-TR", "Turkish", "105")} == {"tr"}
    assert {language_code(w) for w in ("ga", "gle", "ga-IE", "ga_ie", "Irish")} == {"ga-IE"}
    assert {language_code(w) for w in ("kaz", "kk", "kk_kz", "Kazakh")} == {"kk"}
    assert {language_code(w) for w in ("zh", "cmn", "zho", "zh_cn", "zh-Hans-CN")} == {"zh-CN"}
    taiwan = ("zh-TW", "zh_TW", "zh-Hant-TW", "zh-Hant", "cmn_hant_tw", "cmn_Hant")
    assert {language_code(w) for w in taiwan} == {"zh-TW"}
    assert {language_code(w) for w in ("gd", "gla", "Scottish Gaelic")} == {"gd"}
    assert {language_code(w) for w in ("tn", "tsn", "Tswana")} == {"tn"}
    assert {language_code(w) for w in ("sq", "als", "aln_Latn")} == {"sq"}
    assert language_code("crh") == language_code("Crimean Tatar") == "crh"
    assert {language_code(w) for w in ("ger", "deu", "de-AT")} == {"de"}
    assert language_code("xx-own") == "xx-own", "an unknown name stays"
    for language in languages():
        for word in language.words:
            assert language_code(language_code(word)) == language_code(word)


def test_rules_are_looked_up_by_one_code() -> None:
    assert {iso639_3(w) for w in ("tr", "tur", "tr_tr", "Turkish")} == {"tur"}
    assert iso639_3("zh-TW") == iso639_3("zh-CN") == "cmn"
    assert iso639_3("XYZ_Latn") == "xyz"
    assert iso639_3("") == ""


def test_a_code_is_no_name_of_another_language() -> None:
    assert iso639_3("kom") == iso639_3("kom_Cyrl") == iso639_3("kv") == "kpv"
    assert (iso639_3("Kom"), iso639_3("Aja"), iso639_3("Laz")) == ("bkm", "ajg", "lzz")
    assert (iso639_3("aja"), iso639_3("laz"), language_code("laz")) == ("aja", "laz", "laz")
    with pytest.raises(UserError, match=r"Laz \(lzz\)"):
        find("laz")


def test_no_word_means_two_languages() -> None:
    meaning: dict[str, str] = {}
    for language in languages():
        for word in language.words:
            word = word if len(word) <= 3 else word.casefold()  # Kom, and the code kom
            assert meaning.setdefault(word, language.iso639_3) == language.iso639_3


def test_every_row_is_well_formed() -> None:
    codes = [x.iso639_3 for x in languages()]
    assert codes == sorted(set(codes))
    for language in languages():
        assert re.fullmatch("[a-z]{3}", language.iso639_3)
        assert re.fullmatch("([a-z]{2})?", language.iso639_1)
        assert re.fullmatch(r"(\d{3})?", language.babel)
        assert re.fullmatch(r"([a-z_0-9]+)?", language.fleurs)
        assert all(re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]+)?", c) for c in language.commonvoice)
        assert all(word == word.strip() for word in language.words)


def test_the_corpora_are_complete() -> None:
    """Their own counts: 102, 107, 8, 23 and the 25 packs that Kaldi has lists for."""
    counts = {"fleurs": 102, "voxlingua107": 107, "mls": 8, "voxpopuli": 23, "babel": 25}
    for corpus, count in counts.items():
        codes = [getattr(x, corpus) for x in languages() if getattr(x, corpus)]
        assert len(codes) == len(set(codes)) == count
    assert sum(len(x.commonvoice) for x in languages()) > 200


def test_the_error_for_a_mistyped_language_suggests_similar_ones() -> None:
    with pytest.raises(UserError, match=r"no language 'Swahilli'.*similar: Swahili \(swa\)"):
        find("Swahilli")
    with pytest.raises(UserError, match=r"no language 'qqq-q' is known\."):
        find("qqq-q")


def test_the_table_in_data_manifests_is_a_link_to_this_one() -> None:
    root = Path(__file__).resolve().parents[2]
    here = root / "speechx" / "text" / "languages.tsv"
    assert (root / "data_manifests" / "languages.tsv").resolve() == here
