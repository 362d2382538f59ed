"""Confusable and invisible characters are found and replacements proposed; correct texts pass."""

from dataclasses import replace

import pytest

from speechx.doctor.characters import CharacterChecks, in_one_script, printable, script
from speechx.text.normalize import normalize
from tests.doctor.broken_corpora import clip, examined, found, sound_corpus


def letters_of(*texts, language="es"):
    letters = CharacterChecks()
    for i, text in enumerate(texts):
        letters.read(language, "train", f"u{i}", text, normalize(text, language))
    return letters


def cases(*texts, language="es"):
    some: dict[str, list[str]] = {}
    for case in letters_of(*texts, language=language).cases():
        some.setdefault(case.check, []).append(case.subject)
    return some


def proposals(*texts, language="es"):
    letters = letters_of(*texts, language=language)
    return {r.old: r.new for r in letters.replacements()}


FAITHFUL = {
    "es": "¿Dónde está el «niño»? — ¡Aquí!",
    "fr": "L’œuf, c'est l`ami… d’aujourd’hui",
    "ru": "Ещё, ёжик; объём — это\u00a0да.",
    "el": "Τι κάνεις; Καλά, ευχαριστώ.",
    "hi": "मैं क्‍या करूँ। क्षत्रिय",
    "fa": "می\u200cخواهم بروم",
    "ja": "東京タワーはとても高いです。ローマ",
    "ko": "서울은 大韓民國의 수도",
    "tr": "İstanbul’da ılık ışık",
    "vi": "Tiếng Việt rất đẹp",
    "ca": "col·lecció d'estiu",
    "yo": "ẹ̀kọ́ ọmọ Yorùbá",
    "th": "น้ำ ทำ คำ",
    "he": "שָׁלוֹם עולם",
    "ka": "გამარჯობა მსოფლიო",
    "zh-TW": "ㄋㄜ˙ ㄉㄚˋ ㄅㄛˇ",
}


@pytest.mark.parametrize("language", FAITHFUL)
def test_correct_texts_have_no_cases(language):
    text = FAITHFUL[language]
    assert cases(text, text.swapcase(), language=language) == {}
    assert proposals(text, language=language) == {}


def test_a_letter_of_another_script_in_a_word_is_replaced():
    some = ("Россия и Pоссия", "Привет, мiр", "Ohm Ωm")
    assert cases(*some, language="ru")["mixed_word"] == ["Pоссия", "мiр", "Ωm"]
    assert proposals(*some, language="ru") == {"Pоссия": "Россия", "мiр": "мір"}
    assert in_one_script("Mосква", "CYRILLIC") == "Москва"
    assert in_one_script("саsa", "LATIN") == "casa"
    assert in_one_script("kσ", "LATIN") == ""


def test_words_in_another_script_are_counted():
    texts = ["мы едем домой"] * 19 + ["мы едем в Madrid"]
    assert cases(*texts, language="ru") == {"other_script": ["LATIN"]}
    texts = ["мы едем домой"] * 10 + ["vamos a casa"] * 10
    assert cases(*texts, language="ru") == {}, "no script is foreign where none is usual"


def test_letters_typed_for_each_other():
    texts = ["şi ţara", "și țara", "și țara"]
    assert proposals(*texts, language="ro") == {"ş": "ș", "ţ": "ț"}
    (first, _) = letters_of(*texts, language="ro").cases()
    assert first.check == "look_alike"
    assert first.detail == "proposed: ș (U+0219 latin small letter s with comma below); first in u0"
    assert proposals("şi", "şi ţara", language="ro") == {}
    assert proposals("ﬁn", "１ ｆin", language="en") == {"ﬁ": "fi", "ｆ": "f", "１": "1"}
    assert proposals("كتاب", "کتاب", "کتاب", language="fa") == {"ك": "ک"}


def test_invisible_characters():
    texts = ("ca\u00adsa", "ver\u200bde", "pa\u200dn", "lar\ufffdgo", "\ufeffrío", "a\x07b")
    some = cases(*texts)["invisible"]
    names = ("soft hyphen", "zero width space", "joiner", "replacement", "no-break space", "U+0007")
    assert len(some) == 6
    for name in names:
        assert any(name in subject for subject in some), name
    assert proposals(*texts) == dict.fromkeys("\u00ad\u200b\u200d\ufeff\x07", "")
    assert proposals("كـتاب", language="ar") == {"\u0640": ""}
    assert "makes it a space" in next(c.detail for c in letters_of("lar\ufffdgo").cases())


def test_digits_tags_and_garbled_text():
    assert cases("tengo 3 casas", "el 20", "x²") == {"digits": ["digits"]}
    (case,) = letters_of("tengo 3 casas", "el 20").cases()
    assert case.count == 2
    assert cases("<hes> pues", "[risa] no", "(()) sí", "a < b (bien)") == {
        "markup": ["<hes>", "[risa]", "(("]
    }
    assert cases("maÃ±ana", "dÃ\u00ada") == {
        "garbled": ["Ã±", "U+00C3 U+00AD"],
        "invisible": ["(U+00AD soft hyphen)"],
    }


def test_rare_letters_of_an_alphabet_but_not_of_a_syllabary(tmp_path):
    usual = ["casa verde"] * 60
    assert cases(*usual, "çedilla")["rare"] == [printable(c) for c in "cdeilçv" if c in "ilç"]
    characters = ["".join(map(chr, range(0x4E00 + i, 0x4E00 + i + 5))) for i in range(0, 1500, 5)]
    assert cases(*characters, language="zh") == {}


def test_composed_and_decomposed_letters_are_equal():
    assert cases("cafe\u0301", "café") == {}


def test_the_report_names_letters_by_code_point(tmp_path):
    train = sound_corpus(tmp_path, 3)
    train[0] = replace(train[0], text=f"{train[0].text} cаsa")
    train.append(clip(tmp_path, "x", text="una sola cosa"))
    diagnosis = examined(tmp_path, train=train, decode="none")
    assert found(diagnosis)["mixed_word"] == ["cаsa"]
    assert [r.new for r in diagnosis.replacements] == ["casa"]
    assert not diagnosis.serious


def test_scripts():
    assert [script(c) for c in "aаα漢あア한ㄅʰ1'"] == [
        "LATIN", "CYRILLIC", "GREEK", *["EAST ASIAN"] * 5, "", "", "",
    ]  # fmt: skip
