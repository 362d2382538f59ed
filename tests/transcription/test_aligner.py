"""Times of the words of a given text, for a model that fires exactly at clicks."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from speechx.errors import UserError
from speechx.transcription.aligner import align
from tests.transcription.stub_model import LETTERS, STEP, ClickModel, clicks

PHONES = ("a", "e", "i", "o", "b", "tʃ", "ɡ", "s", "y")


def spoken_phones(phones: str, tokens=PHONES):
    """Samples with a click for each phone; `|` is a pause."""
    joined = phones.split()
    letters = tuple(map(chr, range(0x4E00, 0x4E00 + len(tokens))))
    text = "".join(" " if p == "|" else letters[tokens.index(p)] for p in joined)
    return clicks(text, letters)


def test_words_lie_around_their_clicks():
    wave_S, times = clicks("hello world")
    transcript = align(ClickModel(), wave_S, "Hello, world!")
    first, second = transcript.words
    assert (first.text, second.text) == ("Hello,", "world!")
    assert transcript.text == "Hello, world!"
    for word, begin, end in ((first, times[0], times[4]), (second, times[5], times[9])):
        assert begin - 0.2 <= word.start <= begin
        assert end + 0.02 <= word.end <= end + 0.2
        assert word.probability == pytest.approx(0.9, abs=1e-3)
    assert transcript.audio_duration == transcript.covered_duration == len(wave_S) / 16_000
    assert transcript.unaligned == ()


def test_the_language_of_the_model_counts_if_no_other_is_given():
    """A Turkish I is a small dotless one, which this model writes."""
    model = ClickModel((*LETTERS, "ı"))
    model.language, model.adapter = "tur", "tur.safetensors"  # type: ignore[assignment]
    wave_S, _ = clicks("ılık", (*LETTERS, "ı"))
    transcript = align(model, wave_S, "ILIK", every_word=True, untranscribed="nowhere")
    assert (transcript.language, transcript.adapter) == ("tur", "tur.safetensors")
    assert transcript.words[0].probability == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize("sample", [16_000, 16_160, 48_000])
def test_a_click_is_in_the_middle_of_its_phone(sample):
    """Three phones: the boundaries of the middle one are halfway to its neighbours."""
    wave_S = np.zeros(80_000, np.float32)
    wave_S[[sample - 1600, sample, sample + 1600]] = STEP, 2 * STEP, 3 * STEP
    transcript = align(ClickModel(PHONES, "phonemes"), wave_S, "a e i", phones=True)
    middle = transcript.phones[1]
    assert middle.text == "e"
    # A frame is 20 ms long.
    assert middle.start == pytest.approx(sample / 16_000 - 0.05, abs=0.0201)
    assert middle.end == pytest.approx(sample / 16_000 + 0.05, abs=0.0201)


def test_a_long_recording_does_not_drift():
    """Known pieces one after another, no drift at the end."""
    random = np.random.default_rng(0)
    model = ClickModel()
    text = " ".join("".join(random.choice(list("abcdefgh"), 5)) for _ in range(40))
    piece_S, times = clicks(text, gap=6)
    count, seconds = 8, len(piece_S) / 16_000

    transcript = align(model, (piece_S for _ in range(count)), "\n".join([text] * count))
    assert len(transcript.segments) == count
    assert transcript.audio_duration == pytest.approx(count * seconds, abs=1e-3)
    letters = [time for time, _ in zip(times[::5], range(40), strict=True)]
    for number, segment in enumerate(transcript.segments):
        for word, click in zip(segment.words, letters, strict=True):
            assert word.start <= number * seconds + click + 1e-6 <= word.start + 0.18


def test_words_that_were_not_spoken_are_listed():
    wave_S, _ = clicks("hello again world this is fine")
    transcript = align(ClickModel(), wave_S, "Hello, World!\nthis really is fine.")
    assert transcript.unaligned == ("really",)
    assert [s.text for s in transcript.segments] == ["Hello, World!", "this really is fine."]
    assert [w.text for w in transcript.segments[1].words] == ["this", "is", "fine."]


def test_a_line_without_a_spoken_word_is_no_segment():
    wave_S, _ = clicks("hello world")
    transcript = align(ClickModel(), wave_S, "hello\n\nquite different\nworld\n")
    assert [s.text for s in transcript.segments] == ["hello", "world"]
    assert transcript.unaligned == ("quite", "different")


def test_a_text_of_one_line_is_divided_at_pauses():
    wave_S, _ = clicks("hello" + " " * 8 + "world")
    transcript = align(ClickModel(), wave_S, "hello world")
    assert [s.text for s in transcript.segments] == ["hello", "world"]


def test_case_and_signs_are_those_of_the_model():
    tokens = tuple("ABDEHLORW’ ")
    wave_S, times = clicks("HELLO WORLD", tokens)
    transcript = align(ClickModel(tokens), wave_S, "“Hello world”")
    assert [w.text for w in transcript.words] == ["“Hello", "world”"]
    assert transcript.words[1].start <= times[5]


def test_numbers_take_the_speech_between_known_words(caplog):
    wave_S, times = clicks("in nineteen years")
    transcript = align(ClickModel(), wave_S, "in 19 years")
    assert [w.text for w in transcript.words] == ["in", "19", "years"]
    number = transcript.words[1]
    assert number.start <= times[2]
    assert number.end >= times[9]
    assert "'1' 1, '9' 1" in caplog.text


def test_marks_that_the_model_does_not_write_are_left_out(caplog):
    wave_S, _ = clicks("cafe au lait")
    transcript = align(ClickModel(), wave_S, "café au lait", language="fr")
    assert [w.text for w in transcript.words] == ["café", "au", "lait"]
    assert "1 character " in caplog.text


def test_marks_may_be_tokens_of_their_own():
    tokens = ("a", "c", "e", "f", "\u0301", " ")
    wave_S, _ = clicks("cafe\u0301", tokens)
    words = align(ClickModel(tokens), wave_S, "café").words
    assert words[0].probability == pytest.approx(0.9, abs=1e-3)


def test_scripts_without_spaces_are_aligned_sign_by_sign():
    tokens = tuple("你好世界")
    wave_S, _ = clicks("你好世界", tokens)
    transcript = align(ClickModel(tokens), wave_S, "你好，世界。")
    assert [w.text for w in transcript.words] == ["你", "好，", "世", "界。"]
    assert transcript.text == "你好，世界。"


def test_romanized_text_keeps_its_own_letters(monkeypatch):
    letters = {"привет": "privet", "мир": "mir"}
    uroman = types.SimpleNamespace(
        Uroman=lambda: types.SimpleNamespace(romanize_string=lambda word: letters[word])
    )
    monkeypatch.setitem(sys.modules, "uroman", uroman)
    wave_S, _ = clicks("privet mir")
    transcript = align(ClickModel(), wave_S, "привет мир", romanize=True)
    assert [w.text for w in transcript.words] == ["привет", "мир"]


def test_foreign_letters_are_advised_to_be_romanized(caplog):
    wave_S, _ = clicks("privet mir")
    align(ClickModel(), wave_S, "привет mir")
    assert "--romanize" in caplog.text


def test_a_long_line_becomes_lines_that_people_can_read():
    text = " ".join(["hello world this is fine"] * 8)
    wave_S, _ = clicks(text)
    transcript = align(ClickModel(), wave_S, text)
    assert all(len(s.text) <= 80 and s.end - s.start <= 15 for s in transcript.segments)
    assert transcript.text == text


def test_a_phone_that_the_model_lacks_may_be_any_that_is_about_as_near(caplog):
    """In features, ɭ is a little nearer to r than to ɫ, which is what a Russian model writes."""
    pytest.importorskip("panphon")
    caplog.set_level("INFO", "speechx")
    tokens = ("a", "b", "r", "ɫ", "s")
    for spoken in ("ɫ", "r"):
        wave_S, _ = spoken_phones(f"b a {spoken} a s", tokens)
        found = align(ClickModel(tokens, "phonemes"), wave_S, "b a ɭ a s", phones=True)
        assert found.phones[2].text == "ɭ"
        assert found.phones[2].probability == pytest.approx(0.9, abs=1e-3)
    assert "ɭ as r or ɫ" in caplog.text


def test_a_diphthong_is_the_phones_that_it_is_made_of(caplog):
    wave_S, _ = spoken_phones("b a i s")
    transcript = align(ClickModel(PHONES, "phonemes"), wave_S, "b ai s", phones=True)
    assert [p.text for p in transcript.phones] == ["b", "a", "i", "s"]
    assert caplog.text == ""


def test_phones_with_words():
    wave_S, times = spoken_phones("b a s | tʃ e")
    transcript = align(
        ClickModel(PHONES, "phonemes"), wave_S, "b a s | t͡ʃ e", phones=True, language="xx"
    )
    assert [[p.text for p in w.phones] for w in transcript.words] == [["b", "a", "s"], ["t͡ʃ", "e"]]
    assert [p.text for p in transcript.phones] == ["b", "a", "s", "t͡ʃ", "e"]
    for phone, time in zip(transcript.phones, times, strict=True):
        assert phone.start <= time <= phone.end


def test_phones_without_words_stand_for_themselves():
    wave_S, _ = spoken_phones("b a s tʃ e")
    transcript = align(ClickModel(PHONES, "phonemes"), wave_S, "b a ɡ s tʃ e", phones=True)
    assert [p.text for p in transcript.phones] == ["b", "a", "s", "tʃ", "e"]
    assert transcript.words == ()
    assert transcript.unaligned == ("ɡ",)


def test_a_phone_model_pronounces_text():
    pytest.importorskip("phonemizer")
    pytest.importorskip("espeakng_loader")
    tokens = ("b", "w", "e", "n", "o", "s", "ð", "i", "a", "d")
    wave_S, _ = spoken_phones("b w e n o s | d i a s", tokens)
    transcript = align(ClickModel(tokens, "phonemes"), wave_S, "¡Buenos días!", language="es")
    assert [w.text for w in transcript.words] == ["¡Buenos", "días!"]
    assert [p.text for p in transcript.words[1].phones][1:] == ["i", "a", "s"]


@pytest.mark.parametrize(
    ("model", "text", "options", "said"),
    [
        (ClickModel(), "", {}, "no words to align"),
        (ClickModel(), " — …\n", {}, "no words to align"),
        (ClickModel(), "a b", {"phones": True}, "writes characters"),
        (ClickModel(PHONES, "phonemes"), "abc", {}, "--language"),
        (ClickModel(("en", "de"), "languages"), "abc", {}, "names languages"),
        (ClickModel(), "zzz", {}, "no word of the text"),
        (ClickModel(), "привет мир", {}, "can write nothing.*--romanize"),
        (ClickModel(), "hello", {"untranscribed": "never"}, "expected one of anywhere, ends"),
        (ClickModel(), "hello world " * 500, {"every_word": True}, "longer than the audio"),
    ],
)
def test_texts_that_cannot_be_aligned(model, text, options, said):
    wave_S, _ = clicks("hello world")
    with pytest.raises(UserError, match=said):
        align(model, wave_S, text, **options)


@pytest.mark.parametrize("every_word", [True, False])
def test_audio_shorter_than_a_frame(every_word):
    with pytest.raises(UserError, match="too short"):
        align(ClickModel(), np.zeros(100, np.float32), "hello", every_word=every_word)


def test_progress_is_reported_in_seconds():
    wave_S, _ = clicks("hello world " * 10)
    seconds: list[float] = []
    align(ClickModel(), wave_S, "hello world " * 10, progress=seconds.append)
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(len(wave_S) / 16_000, abs=0.05)


def test_damage_of_a_file_is_named_whatever_its_name_is(monkeypatch):
    def damaged(*_):
        yield from ()
        raise UserError("fit.wav: the audio is damaged")

    monkeypatch.setattr(ClickModel, "outputs", damaged)
    with pytest.raises(UserError, match=r"^fit.wav: the audio is damaged$"):
        align(ClickModel(), clicks("hello")[0], "hello")


def test_a_long_text_of_one_line_becomes_segments_of_readable_length():
    text = "hello world this is fine " * 10
    segments = align(ClickModel(), clicks(text)[0], text).segments
    assert " ".join(segment.text for segment in segments) == text.strip()
    assert max(segment.end - segment.start for segment in segments) <= 15
    assert max(len(segment.text) for segment in segments) <= 80


def test_signs_get_no_spaces_where_pauses_divide_them():
    tokens = (*"我们好你ab", " ")
    halves = [clicks(half, tokens)[0] for half in ("我们", "好你")]
    wave_S = np.concatenate([halves[0], np.zeros(16_000, np.float32), halves[1]])
    transcript = align(ClickModel(tokens), wave_S, "我们好你")
    assert [segment.text for segment in transcript.segments] == ["我们", "好你"]


def test_phones_are_not_advised_to_be_romanized(caplog):
    align(ClickModel(("a", "e"), "phonemes"), clicks("a", ("a", "e"))[0], "7 a 7", phones=True)
    assert "cannot write" in caplog.text
    assert "romanize" not in caplog.text


def test_phones_that_the_model_lacks_are_logged_once(caplog):
    model = ClickModel(("a", "e", "t"), "phonemes")
    with caplog.at_level("INFO", "speechx"):
        for text in ("a d", "d e", "d a ɛ"):
            align(model, clicks("ate", ("a", "e", "t"))[0], text, phones=True, every_word=True)
    lines = [line for line in caplog.messages if "nearest" in line]
    assert [": d as" in line for line in lines] == [True, False]
    assert "ɛ as" in lines[1]
