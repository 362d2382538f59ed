import numpy as np
import pytest

from speechx.audio.augment import (
    Channel,
    add_noise,
    band,
    change_speed,
    frequencies,
    in_room,
    noise,
    random_channel,
    reverberate,
    shape,
    telephone,
    tilt,
)

RATE = 16_000


def tone(frequency: float, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)


def power(wave_S: np.ndarray) -> float:
    return float(np.mean(np.square(wave_S)))


@pytest.mark.parametrize("snr_db", [0.0, 15.0, 30.0])
@pytest.mark.parametrize("kind", ["white", "pink", "babble"])
def test_noise_has_the_requested_ratio(kind, snr_db):
    wave_S = tone(440)
    noise_S = noise(kind, len(wave_S), RATE, np.random.default_rng(0))
    added_S = add_noise(wave_S, noise_S, snr_db) - wave_S
    assert 10 * np.log10(power(wave_S) / power(added_S)) == pytest.approx(snr_db, abs=1e-6)


def test_kinds_of_noise_differ_in_their_spectrum():
    def share_above_1_khz(kind: str) -> float:
        spectrum_F = np.abs(np.fft.rfft(noise(kind, RATE, RATE, np.random.default_rng(0)))) ** 2
        return float(spectrum_F[1000:].sum() / spectrum_F.sum())

    shares = [share_above_1_khz(kind) for kind in ("white", "pink", "babble")]
    assert shares[0] > 0.8
    assert shares == sorted(shares, reverse=True)
    with pytest.raises(ValueError, match="brown"):
        noise("brown", 10, RATE, np.random.default_rng(0))


def test_tilt_and_band_have_the_right_gain():
    for frequency, gain in ((500, 10 ** (3 / 20)), (1000, 1.0), (2000, 10 ** (-3 / 20))):
        wave_S = tone(frequency)
        tilted_S = shape(wave_S, tilt(frequencies(len(wave_S), RATE), -3.0))
        assert np.sqrt(power(tilted_S) / power(wave_S)) == pytest.approx(gain, rel=1e-3)
    telephone_F = band(frequencies(RATE, RATE), 300, 3400)
    assert power(shape(tone(1000), telephone_F)) > 0.95 * power(tone(1000))
    for stopped in (60, 7000):
        assert power(shape(tone(stopped), telephone_F)) < 0.01 * power(tone(stopped))


def test_an_echo_keeps_the_direct_sound_and_dies_away():
    click_S = np.zeros(RATE)
    click_S[100] = 1.0
    room_S = reverberate(click_S, RATE, 0.2, 0.25, np.random.default_rng(0))
    assert len(room_S) == len(click_S)
    assert room_S[100] == pytest.approx(1.0)
    assert np.abs(room_S[:100]).max() < 1e-9
    assert (room_S[101:] ** 2).sum() == pytest.approx(0.25, rel=1e-3)
    early, late = room_S[130:1700], room_S[1700:3300]
    assert (early**2).sum() > 100 * (late**2).sum()


@pytest.mark.parametrize("samples", [400, 16_001, 48_017])  # 16001 and 48017 are primes
def test_a_random_channel_keeps_the_length_and_a_sane_level(samples):
    wave_S = tone(300, samples / RATE)[:samples].astype(np.float32)
    channel = Channel(room_share=1.0, telephone_share=1.0)
    for seed in range(5):
        out_S = random_channel(wave_S, RATE, np.random.default_rng(seed), channel)
        assert out_S.shape == wave_S.shape
        assert out_S.dtype == np.float32
        assert 0.09 < np.abs(out_S).max() < 0.91
    again_S = random_channel(wave_S, RATE, np.random.default_rng(4), channel)
    assert np.array_equal(out_S, again_S)


@pytest.mark.parametrize("factor", [0.85, 1.1])
def test_faster_is_shorter_and_higher(factor):
    faster_S = change_speed(tone(1000.0).astype(np.float32), factor)
    assert abs(len(faster_S) - RATE / factor) <= 1
    spectrum_F = np.abs(np.fft.rfft(faster_S))
    assert np.argmax(spectrum_F) * RATE / len(faster_S) == pytest.approx(1000 * factor, abs=2)


def test_a_measured_room_keeps_the_time_and_level_of_the_direct_sound():
    wave_S = np.zeros(RATE)
    wave_S[[1000, 9000]] = 0.5, -0.25
    response_R = np.zeros(4000)
    response_R[[20, 37, 2000]] = 0.1, -0.4, 0.2  # the highest peak is the direct sound
    out_S = in_room(wave_S, response_R)
    assert out_S.shape == wave_S.shape
    nonzero = np.flatnonzero(np.abs(out_S) > 1e-9)
    assert nonzero.tolist() == [983, 1000, 2963, 8983, 9000, 10963]
    assert out_S[[1000, 9000]] == pytest.approx([0.5, -0.25])
    assert out_S[2963] == pytest.approx(-0.25)  # half as loud as the direct sound, turned over
    assert in_room(wave_S, np.array([0.3])) == pytest.approx(wave_S)


@pytest.mark.parametrize("samples", [RATE, 12_345, 1])
def test_a_telephone_line_passes_300_to_3400_hz_and_no_more(samples):
    white_S = 0.1 * np.random.default_rng(0).standard_normal(samples)
    out_S = telephone(white_S)
    assert out_S.shape == white_S.shape
    assert np.isfinite(out_S).all()
    if samples < RATE:
        return
    power_F = np.abs(np.fft.rfft(out_S)) ** 2 / np.abs(np.fft.rfft(white_S)) ** 2

    def level_db(low: int, high: int) -> float:  # one bin is one hertz
        return float(10 * np.log10(np.median(power_F[low:high])))

    assert level_db(500, 3200) == pytest.approx(0, abs=0.2)
    assert level_db(0, 150) < -25  # noise of the mu-law coding
    assert level_db(3750, 4000) < -25
    assert level_db(4100, 8000) < -50


def test_a_telephone_line_codes_in_8_bits_whatever_the_level():
    for level in (0.01, 0.5, 3.0):  # beyond 1 nothing is clipped
        wave_S = level * tone(1000)
        out_S = telephone(wave_S)[800:-800]
        error_S = out_S - wave_S[800:-800]
        assert 25 < 10 * np.log10(power(wave_S) / power(error_S)) < 45
    assert not telephone(np.zeros(800)).any()
