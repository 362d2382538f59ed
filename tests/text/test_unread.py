import pytest

from speechx.text.g2p import g2p
from speechx.text.unread import FOREIGN, LEFT_OUT, NAMED

READ = {
    "ja": ["ひらがな", "カタカナ", "スーパー", "50"],
    "en": ["naïve", "ʻokina", "5 %", "R&D", "BBC"],
    "es": ["1ª vez", "€5", "25 %", "¿qué?", "computer"],
    "ru": ["да", "25 %", "№5", "ёлка"],
    "zh": ["你好", "25", "鹅"],
    "yue": ["係", "你好"],
    "hi": ["नमस्ते", "२५", "25"],
    "ar": ["سلام", "٢٥"],
    "sr": ["здраво", "zdravo"],
    "el": ["καλημέρα"],
    "he": ["שלום"],
    "ko": ["안녕"],
    "th": ["ภาษา"],
    "ta": ["தமிழ்"],
    "ka": ["ქართული"],
    "am": ["አማርኛ"],
}
NOT_READ = [
    *(
        ("ja", "漢字", NAMED, "漢"),
        ("ja", "東京へ行きました", NAMED, "東"),
        ("ja", "時々", NAMED, "々"),
    ),
    *(("en", "漢字", NAMED, "漢"), ("en", "привет", NAMED, "в"), ("en", "say ᏣᎳᎩ", NAMED, "Ꮳ")),
    *(("es", "漢字", NAMED, "漢"), ("es", "да", NAMED, "д"), ("de", "ひらがな", NAMED, "ひ")),
    *(("zh", "㐂", NAMED, "㐂"), ("zh", "𠮷", NAMED, "𠮷"), ("zh", "の", NAMED, "の")),
    *(("ko", "漢字", NAMED, "字"), ("ru", "ѣ", NAMED, "ѣ"), ("yue", "㐂", NAMED, "㐂")),
    *(("en", "I ❤️ you", NAMED, "❤"), ("es", "hola 🙂", NAMED, "🙂"), ("pt", "ⴰⵣⵓⵍ", NAMED, "ⴰ")),
    *(("cv", "чӑваш 25", LEFT_OUT, "25"), ("ja", "€5", LEFT_OUT, "€"), ("zh", "€5", LEFT_OUT, "€")),
    *(("ar", "٪5", LEFT_OUT, "٪"), ("hi", "₹5", LEFT_OUT, "₹"), ("en", "①", LEFT_OUT, "①")),
    *(("ja", "computer", FOREIGN, "computer"), ("ru", "да abc", FOREIGN, "abc")),
    *(("hi", "नमस्ते computer", FOREIGN, "computer"), ("ar", "سلام abc", FOREIGN, "abc")),
    *(("ne", "25", FOREIGN, "25"), ("ja", "50%", FOREIGN, "50%"), ("ko", "5%", FOREIGN, "5%")),
    ("zh", "我用 computer", FOREIGN, "computer"),
    ("zh", "大熊猫", FOREIGN, "大熊猫"),  # espeak-ng reads xiong2 as English letters and "two"
]


@pytest.mark.parametrize("language", READ)
def test_texts_of_the_language_are_read(language):
    result = g2p(READ[language], language)
    assert result.unread == [None] * len(READ[language])
    assert all(result.phones)


@pytest.mark.parametrize(("language", "text", "why", "found"), NOT_READ)
def test_what_the_voice_does_not_read_is_found_and_gives_no_phones(language, text, why, found):
    result = g2p([text], language)
    (problem,) = result.unread
    assert problem is not None
    assert problem.why.startswith(why)
    assert found in problem.found
    assert result.phones == [()]


def test_one_bad_text_does_not_change_the_others():
    result = g2p(["да", "漢字", "нет"], "ru")
    assert [problem is None for problem in result.unread] == [True, False, True]
    assert result.phones[0] == g2p(["да"], "ru").phones[0]
    assert result.phones[2] == g2p(["нет"], "ru").phones[0]
