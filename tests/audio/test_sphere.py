"""SPHERE files of every coding are read exactly; wrong headers are errors that cost no memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechx.audio import sources, sphere
from speechx.audio.files import audio_info, check_audio, read_audio, read_native
from speechx.errors import UserError
from tests.audio.shorten_writer import S16HL, ULAW_2, encode
from tests.audio.test_shorten import COEFFICIENTS, signal, to_values

PACKED = "embedded-shorten-v2.00"


def sphere_file(
    path: Path, data: bytes, size: int = 1024, end: str = "end_head", **fields: object
) -> Path:
    """Writes a file with this header, 8 kHz mono by default; None omits a field."""
    all_ = {"channel_count": 1, "sample_rate": 8000, "sample_n_bytes": 2, **fields}
    lines = [f"NIST_1A\n{size:7d}"]
    for name, value in all_.items():
        if isinstance(value, str):
            lines.append(f"{name} -s{len(value)} {value}")
        elif value is not None:
            lines.append(f"{name} -i {value}")
    head = "\n".join([*lines, end, ""]).encode()
    path.write_bytes(head.ljust(size, b"\0") + data)
    return path


def channels(path: Path, number: int) -> np.ndarray:
    """All channels as they are read, (S, C)."""
    return np.stack([read_native(path, channel=c)[0] for c in range(number)], axis=1)


def by_libsndfile(path: Path) -> np.ndarray:
    wave_SC, _ = soundfile.read(path, dtype="float32", always_2d=True)
    return wave_SC


@pytest.mark.parametrize("order", ["LITTLE", "BIG"])
@pytest.mark.parametrize("coding", ["PCM_S8", "PCM_16", "PCM_24", "PCM_32", "ULAW", "ALAW"])
@pytest.mark.parametrize("number", [1, 2])
def test_codings_that_libsndfile_knows_are_read_the_same(
    tmp_path: Path, coding: str, order: str, number: int
) -> None:
    path = tmp_path / "a.sph"
    wave_SC = np.random.default_rng(0).uniform(-1, 1, (3000, number))
    soundfile.write(path, wave_SC, 8000, format="NIST", subtype=coding, endian=order)
    assert (channels(path, number) == by_libsndfile(path)).all()
    part_S, rate = read_native(path, 0.1, 0.2, channel=number - 1)
    assert rate == 8000
    assert (part_S == by_libsndfile(path)[800:2400, number - 1]).all()
    assert audio_info(path).channels == number


@pytest.mark.parametrize("coding", ["ulaw", "alaw"])
def test_every_byte_of_g711_is_read_like_libsndfile(tmp_path: Path, coding: str) -> None:
    every = bytes(range(256))
    fields = {"sample_coding": coding, "sample_n_bytes": 1, "sample_count": 256}
    path = sphere_file(tmp_path / "a.sph", every, **fields)
    assert (channels(path, 1) == by_libsndfile(path)).all()


@pytest.mark.parametrize("size", [256, 1024, 4096])
@pytest.mark.parametrize("interleaved", ["TRUE", "FALSE"])
def test_headers_of_any_size_and_channels_in_either_layout(
    tmp_path: Path, size: int, interleaved: str
) -> None:
    values_SC = signal(2)
    stored = values_SC if interleaved == "TRUE" else values_SC.T
    path = sphere_file(
        tmp_path / "a.sph",
        stored.astype(">i2").tobytes(),
        size,
        channel_count=2,
        sample_byte_format="10",
        channels_interleaved=interleaved,
    )
    assert (channels(path, 2) * 32768 == values_SC).all()
    part_S, _ = read_native(path, 0.05, 0.025, channel=1)
    assert (part_S * 32768 == values_SC[400:600, 1]).all()


@pytest.mark.parametrize("count", [0, -5, "many", "1e400", 800, 1600, 10_000_000_000])
def test_a_count_of_samples_that_is_nonsense_hides_no_sound(tmp_path: Path, count: object) -> None:
    values_SC = signal(2, 8000)
    path = sphere_file(
        tmp_path / "a.sph", values_SC.astype("<i2").tobytes(), channel_count=2, sample_count=count
    )
    assert (channels(path, 2) * 32768 == values_SC).all()
    assert check_audio(path).duration == 1.0


@pytest.mark.parametrize("interleaved", ["TRUE", "FALSE"])
def test_a_sphere_that_is_cut_off_is_read_to_its_end(tmp_path: Path, interleaved: str) -> None:
    values_SC = signal(2, 8000)
    stored = values_SC if interleaved == "TRUE" else values_SC.T
    path = sphere_file(
        tmp_path / "a.sph", stored.astype("<i2").tobytes()[:24_000], channel_count=2,
        sample_count=8000, channels_interleaved=interleaved,
    )  # fmt: skip
    there = 6000 if interleaved == "TRUE" else 4000
    assert (channels(path, 2) * 32768 == values_SC[:there]).all()
    with pytest.raises(
        UserError, match=r"cut off: its header promises 1\.00 s, but it has 0\.[57]"
    ):
        check_audio(path)


@pytest.mark.parametrize(
    ("spelled", "name"),
    [("ULAW", "ulaw"), ("mulaw", "ulaw"), ("MU_LAW", "ulaw"), ("u-law", "ulaw"),
     ("Mu-Law", "ulaw"), ("ALAW", "alaw"), ("A-Law", "alaw")],
)  # fmt: skip
def test_codings_have_many_spellings(tmp_path: Path, spelled: str, name: str) -> None:
    every, waves = bytes(range(256)), []
    for coding in (spelled, name):
        path = sphere_file(tmp_path / "a.sph", every, sample_coding=coding, sample_n_bytes=1)
        waves.append(channels(path, 1))
    assert (waves[0] == waves[1]).all()


@pytest.mark.parametrize("spelled", ["PCM", "linear", "pcm-linear"])
def test_pcm_has_many_spellings(tmp_path: Path, spelled: str) -> None:
    path = sphere_file(tmp_path / "a.sph", bytes(2000), sample_coding=spelled)
    assert audio_info(path).duration == 1000 / 8000


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("claimed", [True, False])
def test_shorten_in_sphere_is_exact(tmp_path: Path, number: int, claimed: bool) -> None:
    values_SC = signal(number)
    count = len(values_SC) if claimed else None
    pcm = sphere_file(
        tmp_path / "pcm.sph",
        encode(values_SC, S16HL, order=3, commands=[0, 7, 2], coefficients=COEFFICIENTS),
        channel_count=number,
        sample_coding=f"pcm,{PACKED}",
        sample_count=count,
        sample_byte_format="10",
    )
    assert (channels(pcm, number) * 32768 == values_SC).all()
    assert audio_info(pcm) == audio_info(pcm, exact=False)
    assert audio_info(pcm).duration == len(values_SC) / 8000
    check_audio(pcm)

    byte_SC = np.random.default_rng(1).integers(0, 256, (900, number))
    fields = {
        "channel_count": number,
        "sample_n_bytes": 1,
        "sample_count": 900 if claimed else None,
    }
    plain = sphere_file(
        tmp_path / "u.sph", byte_SC.astype("u1").tobytes(), sample_coding="ulaw", **fields
    )
    packed = sphere_file(
        tmp_path / "up.sph",
        encode(to_values(byte_SC, ULAW_2), ULAW_2),
        sample_coding=f"ulaw,{PACKED}",
        **fields,
    )
    assert (channels(packed, number) == channels(plain, number)).all()
    assert len(read_audio(packed)) == 1800  # at 16 kHz


def test_a_stream_that_the_header_does_not_mention_is_decoded(tmp_path: Path) -> None:
    values_SC = signal(1)
    path = sphere_file(tmp_path / "a.sph", encode(values_SC), sample_count=len(values_SC))
    assert (channels(path, 1) * 32768 == values_SC).all()


def test_segments_of_a_compressed_file_cost_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "SETTLED_NS", 0)  # the file was just written
    values_SC = signal(1, 16_000)
    path = sphere_file(
        tmp_path / "a.sph", encode(values_SC), sample_coding=f"pcm,{PACKED}", sample_count=16_000
    )
    decoded: list[int] = []
    keep = sphere._Packed._keep
    monkeypatch.setattr(
        sphere._Packed, "_keep", lambda self, block: (decoded.append(len(block)), keep(self, block))
    )
    check_audio(path)
    assert sum(decoded) == 256
    for start in (0.5, 0.0, 1.0, 0.25, 1.5):
        wave_S, _ = read_native(path, start, 0.5)
        first = round(start * 8000)
        assert (wave_S * 32768 == values_SC[first : first + 4000, 0]).all()
    assert sum(decoded) == 16_000
    path.write_bytes(path.read_bytes()[:1024] + encode(values_SC // 2))  # another file by that name
    assert (read_native(path)[0] * 32768 == values_SC[:, 0] // 2).all()


def refused(path: Path) -> str:
    """The error for a file, which must not cost much memory."""
    tracemalloc.start()
    with pytest.raises(UserError) as raised:
        read_native(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 23
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("fields", "fact"),
    [
        ({"sample_rate": 0}, "claims sample_rate = '0'"),
        ({"sample_rate": None}, "has no sample_rate"),
        ({"channel_count": 0}, "claims channel_count = '0'"),
        ({"channel_count": 1 << 40}, "claims channel_count"),
        ({"sample_n_bytes": 5}, "SPHERE pcm of 5 bytes"),
        ({"sample_coding": "ulaw"}, "SPHERE ulaw of 2 bytes"),
        ({"sample_coding": "pcm,embedded-wavpack"}, "'pcm,embedded-wavpack' cannot be read"),
        ({"sample_coding": "mp2"}, "coding 'mp2' cannot be read"),
        ({"sample_coding": f"pcm,{PACKED}"}, "the stream does not begin with ajkg"),
        ({"size": 9_999_999}, "claims to be 9999999 bytes long"),
        ({"size": 100_000}, "ends within its SPHERE header of 100000 bytes"),
        ({"end": "the end"}, "has no end_head"),
    ],
    ids=str,
)
def test_the_error_for_a_wrong_header_names_the_claim(
    tmp_path: Path, fields: dict, fact: str
) -> None:
    size = fields.get("size", 1024)
    path = sphere_file(tmp_path / "a.sph", bytes(200), **{**fields, "size": 1024})
    path.write_bytes(path.read_bytes().replace(b"   1024", f"{size:7d}".encode(), 1))
    assert fact in refused(path)


def test_compressed_data_that_contradict_the_header_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = encode(signal(1))

    def of(data: bytes, **fields: object) -> Path:
        defaults = {"sample_coding": f"pcm,{PACKED}", "sample_count": 900}
        return sphere_file(tmp_path / "a.sph", data, **{**defaults, **fields})

    assert len(read_native(of(stream, sample_count=10_000_000_000))[0]) == 900
    assert len(read_native(of(stream, sample_count=500))[0]) == 500
    assert "claims 2 channels" in refused(of(stream, channel_count=2))
    assert "claims ulaw" in refused(of(stream, sample_coding=f"ulaw,{PACKED}", sample_n_bytes=1))
    assert "ends before its end mark" in refused(of(stream[:20]))
    long = encode(signal(1, 8000))
    half = of(long[: len(long) // 2], sample_count=8000)
    assert 3000 < len(read_native(half)[0]) < 5000
    assert audio_info(half).cut.startswith("the file is cut off: its header promises 1.00 s, but")
    assert "holds alaw samples" in refused(
        of(encode(signal(1), 9), sample_coding=f"alaw,{PACKED}", sample_n_bytes=1)
    )
    bomb = encode(np.zeros((65_535 * 40, 1), int), block=65_535)
    assert len(bomb) < 100
    monkeypatch.setattr(sphere, "MOST_SHORTEN_SAMPLES", 1 << 20)
    assert "are longer than 1048576 samples" in refused(of(bomb, sample_count=None))


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_a_changed_file_is_read_or_a_user_error(tmp_path: Path, data: st.DataObject) -> None:
    values_SC = signal(2, 600)
    packed = data.draw(st.booleans())
    path = sphere_file(
        tmp_path / "a.sph",
        encode(values_SC) if packed else values_SC.astype("<i2").tobytes(),
        channel_count=2,
        sample_coding=f"pcm,{PACKED}" if packed else "pcm",
        sample_count=600,
    )
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 5))):
        region = 260 if data.draw(st.booleans()) else len(content)
        content[data.draw(st.integers(0, region - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for read in (check_audio, audio_info, read_native):
        message = f"{path}: "
        try:
            read(path)
        except UserError as error:
            message = str(error)
        assert message.startswith(f"{path}: ")
