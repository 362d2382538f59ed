import sys

import numpy as np
import pytest

from speechx.audio.espeak import Speaker, voice_variants
from speechx.errors import UserError

SPOKEN = [("es+m1", "Mañana por la mañana"), ("ru+m8", "Давайте"), ("es+f3", "El perro come")]


def say_all(seed: int) -> list[bytes]:
    speaker = Speaker(seed)
    return [speaker.say(text, voice).tobytes() for voice, text in SPOKEN]


def test_the_same_calls_give_the_same_bytes_on_every_new_speaker():
    first = say_all(seed=1)
    Speaker(2).say("otra cosa", "es+m3")
    assert say_all(seed=1) == first


def test_speech_is_loud_and_slower_speech_is_longer():
    speaker = Speaker()
    slow_S = speaker.say("una frase bastante larga", "es", rate=120)
    fast_S = speaker.say("una frase bastante larga", "es", rate=240)
    assert speaker.rate == 22050
    assert slow_S.dtype == np.int16
    assert len(slow_S) > 1.4 * len(fast_S)
    assert np.abs(slow_S).max() > 3000


def test_variants_sound_different():
    speaker = Speaker()
    assert not np.array_equal(speaker.say("hola", "es+m1"), speaker.say("hola", "es+f2"))
    assert {"m1", "f1", "Alicia"} <= set(voice_variants())


@pytest.mark.parametrize(
    ("text", "voice", "message"),
    [
        ("hola", "xx", "no voice 'xx'"),
        ("hola", "es+nobody", "no voice variant 'nobody'"),
        ("...", "es", "no sound"),
        ("", "es", "no sound"),
    ],
)
def test_mistakes_are_named(text, voice, message):
    with pytest.raises(UserError, match=message):
        Speaker().say(text, voice)


def test_phonemizer_works_in_the_same_process():
    from speechx.text.g2p import g2p

    before = say_all(seed=1)
    assert g2p(["ocho"], "es").phones == [("o", "tʃ", "o")]
    assert say_all(seed=1) == before


def test_a_missing_package_is_a_user_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match=r"espeakng-loader.*pip install"):
        Speaker()
