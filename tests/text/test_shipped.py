import pytest

from speechx.errors import UserError
from speechx.text.normalize import normalize
from speechx.text.shipped import sentence_languages, shipped_sentences


def test_ten_languages_with_distinct_sentences():
    assert {"es", "it", "de", "tr", "fi", "ru", "pt", "ca", "el", "hu"} <= set(sentence_languages())
    for language in sentence_languages():
        texts = [normalize(sentence, language) for sentence in shipped_sentences(language)]
        assert len(texts) >= 50, language
        assert len(set(texts)) == len(texts), language
        assert all(texts), language


def test_an_unknown_language_lists_the_known():
    with pytest.raises(UserError, match=r"'xx'.*ca, de, el"):
        shipped_sentences("xx")
