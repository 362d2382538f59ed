import sys

import pytest

from speechx.errors import UserError
from speechx.text.g2p import espeak_voice, g2p, version
from speechx.text.ipa import problem_with
from speechx.text.shipped import sentence_languages, shipped_sentences


def test_phones_have_no_stress():
    result = g2p(["Mucho, ocho.", "¿Qué?"], "es")
    assert result.phones == [("m", "u", "tʃ", "o", "o", "tʃ", "o"), ("k", "e")]
    assert result.unread == [None, None]
    assert result.version == version()


def test_the_version_names_espeak_and_phonemizer():
    assert version().startswith("espeak-ng 1.")
    assert ", phonemizer 3." in version()


def test_tone_marks_are_removed_and_counted():
    result = g2p(["你好"], "zh-TW")
    assert result.tones > 0
    assert not any(character.isdigit() for phone in result.phones[0] for character in phone)


def test_texts_without_sound_give_no_phones():
    assert g2p(["", "...", "sí\n\nno"], "es").phones == [(), (), ("s", "i", "n", "o")]
    assert g2p([], "es").phones == []


@pytest.mark.parametrize(
    ("code", "voice"),
    [("pt", "pt"), ("zh-TW", "cmn"), ("sv-SE", "sv"), ("fr", "fr-fr"), ("en", "en-us")],
)
def test_corpus_codes_have_voices(code, voice):
    assert espeak_voice(code) == voice


def test_the_error_for_an_unknown_language_suggests_others():
    with pytest.raises(UserError, match=r"'ess'.*did you mean.*es"):
        g2p(["a"], "ess")
    with pytest.raises(UserError, match=r"'qqqqqq'.*known are .*, es,"):
        espeak_voice("qqqqqq")


def test_every_phone_of_every_shipped_sentence_is_ipa():
    for language in sentence_languages():
        result = g2p(shipped_sentences(language), language)
        assert all(result.phones), language
        assert not any(result.unread), language
        strange = {phone for line in result.phones for phone in line if problem_with(phone)}
        assert not strange, (language, strange)


def test_mandarin_retroflexes_are_not_dental():
    assert g2p(["是", "四", "日"], "zh-TW").phones == [("ʂ", "ɻ̩"), ("s", "ɹ̩"), ("ʐ", "ɻ̩")]


def test_wide_digits_ligatures_and_mathematical_letters_are_ordinary_ones():
    for written, plain in (("２つ", "2つ"), ("スｰパｰ", "スーパー"), ("ｶﾀｶﾅ", "カタカナ")):
        assert g2p([written], "ja").phones == g2p([plain], "ja").phones
    assert g2p(["ﬁn 𝐡ello"], "fr").phones == g2p(["fin hello"], "fr").phones


def test_kyrgyz_mnemonics_become_ipa():
    phones = g2p(["Бардык адамдар эркин жана тең укуктуу"], "ky").phones[0]
    assert not [phone for phone in phones if problem_with(phone)]
    assert {"d̪", "t̪", "dʒ", "ŋ"} <= set(phones)


@pytest.mark.parametrize("package", ["espeakng_loader", "phonemizer"])
def test_a_missing_package_is_a_user_error(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf'{package}.*pip install "speechx\[g2p\]"'):
        g2p(["hola"], "es")
