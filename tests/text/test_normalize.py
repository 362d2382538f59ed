import pytest

from speechx.text.normalize import normalize


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("¿Qué tal, Señor?", "es", "qué tal señor"),
        ("L’amico dell‘Anna: «sì»", "it", "l'amico dell'anna sì"),
        ("'quoted' words'", "en", "quoted words"),
        ("IŞIK İZMİR", "tr", "ışık izmir"),
        ("IŞIK", "de", "işik"),
        ("cafe\u0301", "fr", "café"),
        ("col·lecció • u", "ca", "col·lecció u"),
        ("wohl-\u00adbekannt", "de", "wohl bekannt"),
        ("Zu\u00adsammen", "de", "zusammen"),
        ("می\u200cخواهم", "fa", "می\u200cخواهم"),
        ("नमस्ते, दुनिया।", "hi", "नमस्ते दुनिया"),
        ("100 % & more\t\nspace", "en", "100 more space"),
        ("?!…", "en", ""),
    ],
)
def test_normalize(text, language, expected):
    assert normalize(text, language) == expected


def test_normalizing_twice_changes_nothing():
    once = normalize("«L’Amico» IŞIK — col·lecció, don't", "it")
    assert normalize(once, "it") == once
