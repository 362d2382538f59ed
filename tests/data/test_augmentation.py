"""Augmentation does what was asked for, and the same seed gives the same audio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechx.config import parse
from speechx.data.augmentation import Augment, Augmentation, load_augmentation
from speechx.data.manifest import Utterance, write_manifest
from speechx.errors import UserError
from tests.conftest import write_wav

RATE = 16_000
SPEECH_S = (0.1 * np.sin(np.arange(2 * RATE) / 5)).astype(np.float32)


def listed(folder: Path, **waves: np.ndarray) -> Path:
    """A manifest of these sounds."""
    for name, wave_S in waves.items():
        write_wav(folder / f"{name}.wav", wave_S)
    utterances = [
        Utterance(
            id=name, audio=folder / f"{name}.wav", duration=len(wave_S) / RATE, language="und"
        )
        for name, wave_S in waves.items()
    ]
    write_manifest(folder / "sounds.jsonl", utterances)
    return folder / "sounds.jsonl"


def made(**settings: object) -> Augmentation:
    augmentation = load_augmentation(parse(Augment, dict(settings), "test"))
    assert augmentation is not None
    return augmentation


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed or 0)


def snr_db(noisy_S: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(SPEECH_S**2) / np.mean((noisy_S - SPEECH_S) ** 2)))


def white(seconds: float) -> np.ndarray:
    return 0.05 * rng(3).standard_normal(int(seconds * RATE))


def test_nothing_is_changed_unless_it_is_asked_for() -> None:
    assert load_augmentation(Augment()) is None
    assert Augmentation(Augment())(SPEECH_S, rng()) is SPEECH_S


@pytest.mark.parametrize("seconds", [0.3, 2.0, 30.0])
def test_noise_has_the_ratio_asked_for_however_long_it_is(tmp_path: Path, seconds: float) -> None:
    manifest = listed(tmp_path, hiss=white(seconds))
    augmentation = made(noise={"manifests": [manifest], "probability": 1, "snr_db": [7, 7]})
    noisy_S = augmentation(SPEECH_S, rng(1))
    assert noisy_S.dtype == np.float32
    assert noisy_S.shape == SPEECH_S.shape
    assert snr_db(noisy_S) == pytest.approx(7, abs=0.01)
    added_S = noisy_S - SPEECH_S
    if seconds == 0.3:  # repeated
        assert np.allclose(added_S[:4800], added_S[4800:9600], atol=1e-6)
    if seconds == 30.0:  # from another place each time
        again_S = augmentation(SPEECH_S, rng(2)) - SPEECH_S
        assert abs(np.corrcoef(added_S, again_S)[0, 1]) < 0.1


def test_ratios_are_spread_over_the_range_and_shares_are_kept(tmp_path: Path) -> None:
    manifest = listed(tmp_path, hiss=white(3.0))
    augmentation = made(noise={"manifests": [manifest], "probability": 0.4, "snr_db": [0, 20]})
    augmented = [augmentation(SPEECH_S, rng(i)) for i in range(300)]
    ratios = [snr_db(noisy_S) for noisy_S in augmented if noisy_S is not SPEECH_S]
    assert len(ratios) / 300 == pytest.approx(0.4, abs=0.08)
    assert -0.1 < min(ratios) < 2
    assert 18 < max(ratios) < 20.1
    assert np.mean(ratios) == pytest.approx(10, abs=1.5)


def test_a_silent_stretch_of_a_noise_is_passed_over(tmp_path: Path) -> None:
    manifest = listed(tmp_path, hiss=np.concatenate([np.zeros(30 * RATE), white(30.0)]))
    augmentation = made(noise={"manifests": [manifest], "probability": 1, "snr_db": [10, 10]})
    ratios = [snr_db(augmentation(SPEECH_S, rng(i))) for i in range(20)]
    assert ratios == pytest.approx([10] * 20, abs=0.05)


def test_a_room_does_not_move_the_words(tmp_path: Path) -> None:
    response = np.zeros(RATE // 2)
    response[400:] = (
        0.2
        * rng(5).standard_normal(len(response) - 400)
        * np.exp(-np.arange(len(response) - 400) / 1500)
    )
    response[400] = 0.9
    speech_S = np.zeros(RATE, np.float32)
    speech_S[6000:6400] = 0.5 * rng(6).standard_normal(400)
    heard_S = made(rooms={"manifests": [listed(tmp_path, hall=response)], "probability": 1})(
        speech_S, rng()
    )
    assert heard_S.shape == speech_S.shape
    assert int(np.correlate(heard_S, speech_S, "same").argmax()) == len(speech_S) // 2
    assert np.abs(heard_S[:5900]).max() < 1e-3
    assert np.abs(heard_S[6500:9000]).max() > 0.01


def test_of_a_response_with_many_channels_the_first_is_used(tmp_path: Path) -> None:
    channels = np.zeros((100, 2), np.float32)
    channels[10, 0] = channels[60, 1] = 0.9
    soundfile.write(tmp_path / "pair.wav", channels, RATE, subtype="FLOAT")
    u = Utterance(id="pair", audio=tmp_path / "pair.wav", duration=100 / RATE, language="und")
    write_manifest(tmp_path / "rooms.jsonl", [u])
    augmentation = made(rooms={"manifests": [tmp_path / "rooms.jsonl"], "probability": 1})
    assert augmentation(SPEECH_S, rng()) == pytest.approx(SPEECH_S, abs=1e-6)


def test_the_telephone_comes_last_and_cuts_the_noise_too(tmp_path: Path) -> None:
    noise = {"manifests": [listed(tmp_path, hiss=white(3.0))], "probability": 1, "snr_db": [0, 0]}
    power_F = np.abs(np.fft.rfft(made(noise=noise, telephone=1)(SPEECH_S, rng()))) ** 2
    assert power_F[2 * 4100 :].sum() < 1e-5 * power_F.sum()
    assert power_F[2 * 3750 :].sum() < 1e-2 * power_F.sum()


def test_switching_one_off_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    noise = {"manifests": [listed(tmp_path, a=white(1.0), b=white(2.0))], "probability": 0.5}
    one, two = made(noise=noise), made(noise=noise, telephone=0.3)
    same = [np.array_equal(one(SPEECH_S, rng(i)), two(SPEECH_S, rng(i))) for i in range(100)]
    assert 55 < sum(same) < 85  # all but the share by telephone


def test_silent_and_missing_files_are_refused_by_name(tmp_path: Path) -> None:
    silent = listed(tmp_path, nothing=np.zeros(15 * RATE))
    with pytest.raises(UserError, match=r"nothing\.wav: noise nothing is silent; take it out"):
        made(noise={"manifests": [silent]})
    with pytest.raises(UserError, match=r"impulse response nothing is silent"):
        made(rooms={"manifests": [silent]})
    late = listed(tmp_path / "late", noise=np.concatenate([np.zeros(12 * RATE), white(1.0)]))
    assert made(noise={"manifests": [late]}).noises[0].id == "noise"
    (tmp_path / "late" / "noise.wav").unlink()
    with pytest.raises(UserError, match=r"noise\.wav: cannot be read"):
        made(noise={"manifests": [late]})


def test_a_room_whose_first_channel_is_silent_is_refused(tmp_path: Path) -> None:
    """Only that one is used: its peak would be what the others are divided by."""
    channels = np.zeros((8000, 2), np.float32)
    channels[10, 1] = 0.9
    soundfile.write(tmp_path / "half.wav", channels, RATE, subtype="FLOAT")
    u = Utterance(id="half", audio=tmp_path / "half.wav", duration=0.5, language="und")
    write_manifest(tmp_path / "rooms.jsonl", [u])
    with pytest.raises(UserError, match=r"half\.wav: the first channel of impulse .* is silent"):
        made(rooms={"manifests": [tmp_path / "rooms.jsonl"], "probability": 1})


def test_noise_damaged_where_it_is_read_is_named_once_and_another_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("torn", "whole"):
        soundfile.write(tmp_path / f"{name}.flac", white(60.0), RATE)
    data = bytearray((tmp_path / "torn.flac").read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    (tmp_path / "torn.flac").write_bytes(data)
    noises = [
        Utterance(id=name, audio=tmp_path / f"{name}.flac", duration=60.0, language="und")
        for name in ("torn", "whole")
    ]
    write_manifest(tmp_path / "noise.jsonl", noises)
    settings = {"manifests": [tmp_path / "noise.jsonl"], "probability": 1, "snr_db": [7, 7]}
    augmentation = made(noise=settings)
    augmented = [augmentation(SPEECH_S, rng(i)) for i in range(30)]
    assert [snr_db(noisy_S) for noisy_S in augmented] == pytest.approx([7] * 30, abs=0.05)
    (line,) = capsys.readouterr().err.splitlines()
    assert "torn.flac" in line
    (line,) = augmentation.describe().splitlines()
    for fact in ("100%", "2 recordings", "7 to 7 dB"):
        assert fact in line
    # A new one, which has not met the damage, gives the same audio.
    again = made(noise=settings)
    assert np.array_equal(again(SPEECH_S, rng(29)), augmented[29])
    for name in ("torn", "whole"):
        (tmp_path / f"{name}.flac").unlink()
    with pytest.raises(UserError, match=r"\.flac: cannot be read.*; 19 other"):
        augmentation(SPEECH_S, rng())


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"noise": {"manifests": []}}, "manifests needs at least one"),
        ({"noise": {"manifests": ["a"], "probability": 2}}, "probability must be from 0 to 1"),
        ({"noise": {"manifests": ["a"], "snr_db": [20, 5]}}, "the lower first"),
        ({"rooms": {"manifests": ["a"], "probability": -1}}, "probability must be from 0 to 1"),
        ({"telephone": 1.5}, "telephone must be from 0 to 1"),
        ({"phone": 1}, "telephone"),
    ],
)
def test_invalid_settings(settings: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=why):
        parse(Augment, settings, "test")
