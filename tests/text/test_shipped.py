import pytest

from speechx.errors import UserError
from speechx.text.normalize import normalize
from speechx.text.shipped import sentence_languages, shipped_sentences


def test_twelve_languages_with_distinct_sentences():
    assert " ".join(sentence_languages()) == "ca de el es fi hu it nl pl pt ru tr"
    for language in sentence_languages():
        texts = [normalize(sentence, language) for sentence in shipped_sentences(language)]
        assert len(texts) >= 50, language
        assert len(set(texts)) == len(texts), language
        assert all(texts), language


def test_an_unknown_language_lists_the_known():
    with pytest.raises(UserError, match=r"'xx'.*ca, de, el"):
        shipped_sentences("xx")
