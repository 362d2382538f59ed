"""The page for people: whole in itself, nothing in it runs, and what is seen is what was found."""

import base64
import re
import struct
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np

from speechx.doctor.page import page
from speechx.doctor.picture import HEIGHT, WIDTH, excerpt, png, spectrogram
from tests.doctor.broken_corpora import RATE, clip, examined, sound_corpus, speech

EVIL = "</td><script>alert(1)</script><img src=x onerror=alert(2)> \"'& ñ"


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.data = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.data.append(data)


def parsed(html):
    elements = Elements()
    elements.feed(html)
    return elements


def broken(tmp_path):
    silent = clip(tmp_path, "silent", np.zeros(RATE, np.float32), text=EVIL, speaker=EVIL)
    clipped = clip(tmp_path, "clipped", np.clip(20 * speech(), -1, 1))
    gone = replace(silent, id=f"gone {EVIL}", audio=tmp_path / f"{EVIL.replace('/', '')}.wav")
    leak = clip(tmp_path, "leak", speaker=EVIL, text=EVIL)
    train = [*sound_corpus(tmp_path, 3), silent, clipped, gone]
    return examined(tmp_path, train=train, test=[leak], players=0)


def test_nothing_in_a_manifest_becomes_markup(tmp_path):
    diagnosis = broken(tmp_path)
    elements = parsed(page(diagnosis))
    assert "script" not in elements.tags
    assert not [name for name, _ in elements.attributes if name.startswith("on")]
    assert any("<script>alert(1)" in data for data in elements.data)
    assert "<script" not in page(diagnosis)


def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    elements = parsed(page(broken(tmp_path)))
    links = [value for name, value in elements.attributes if name in ("src", "href")]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "://" not in page(broken(tmp_path))
    assert "link" not in elements.tags


def test_players_and_pictures_are_in_it_and_can_be_left_out(tmp_path):
    diagnosis = broken(tmp_path)
    elements = parsed(page(diagnosis, players=24))
    assert elements.tags.count("audio") == elements.tags.count("img") == 3
    sources = {value[:15] for name, value in elements.attributes if name == "src"}
    assert sources == {"data:audio/mpeg", "data:image/png;"}
    assert "of 4 recordings" in page(diagnosis, players=24)
    assert len(page(diagnosis)) < 200_000
    assert parsed(page(diagnosis, players=0)).tags.count("audio") == 0
    assert parsed(page(diagnosis, players=1)).tags.count("audio") == 1


def test_audio_that_cannot_be_played_is_named(tmp_path):
    torn = tmp_path / "torn.wav"
    torn.write_bytes(b"RIFF")
    train = [*sound_corpus(tmp_path, 2), clip(tmp_path, "x", text="una frase")]
    train[-1] = replace(train[-1], audio=torn)
    assert "cannot be played" in page(examined(tmp_path, train=train))


def test_every_check_has_its_section(tmp_path):
    diagnosis = broken(tmp_path)
    html = page(diagnosis)
    for check in diagnosis.by_check:
        assert f"<section id={check.name}" in html
        assert f"<a href=#{check.name}>" in html
    assert "<h2>Hours and languages</h2>" in html
    assert "<h2>What each check costs</h2>" in html
    healthy = tmp_path / "healthy"
    healthy.mkdir()
    html = page(examined(healthy, train=sound_corpus(healthy, 2)))
    assert "No problems were found." in html
    assert "What each check costs" not in html


def pixels(data):
    """The palette's numbers of a PNG as `png` writes it, by the book."""
    at, found = 8, {}
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        assert checksum == zlib.crc32(name + body)
        found[name] = body
        at += 12 + length
    width, height = struct.unpack(">II", found[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


def test_a_picture_is_read_back():
    image_HW = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    assert (pixels(png(image_HW)) == image_HW).all()


def test_a_spectrogram_shows_where_the_tone_is():
    time_S = np.arange(2 * RATE) / RATE
    tone_S = np.where(time_S < 1, np.sin(2 * np.pi * 6000 * time_S), 0).astype(np.float32)
    image = pixels(spectrogram(tone_S))
    assert image.shape == (HEIGHT, WIDTH)
    row, column = np.unravel_index(image.argmax(), image.shape)
    assert abs(row - HEIGHT / 4) <= 2, "6 kHz of 8 is a quarter from the top"
    assert column < WIDTH / 2
    assert image[:, WIDTH * 3 // 4 :].max() == 0
    assert pixels(spectrogram(np.zeros(10, np.float32))).max() == 0


def test_an_excerpt_is_short_and_can_be_decoded():
    import io

    import soundfile

    mime, data = excerpt(speech(20.0))
    wave_S, rate = soundfile.read(io.BytesIO(data))
    assert mime in ("audio/mpeg", "audio/flac")
    assert rate == RATE
    assert 7.9 < len(wave_S) / rate < 8.2
    assert len(base64.b64encode(data)) < 200_000
    assert re.fullmatch(r"audio/\w+", mime)
