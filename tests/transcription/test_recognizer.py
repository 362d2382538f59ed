"""Recordings of any length: windows change nothing, nothing is cut off, times are times."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import speechx
from speechx.audio.files import read_audio, write_flac
from speechx.data.manifest import read_manifest
from speechx.data.utterance import Utterance
from speechx.decoding.decoder import TokenSpan
from speechx.errors import UserError
from speechx.text.inventory import Inventory
from speechx.transcription.files import write_transcripts
from speechx.transcription.inputs import find_inputs
from speechx.transcription.loading import load
from speechx.transcription.recognizer import Recognizer
from speechx.transcription.recording import Recording
from speechx.transcription.result import Phone, Word
from speechx.transcription.segments import SegmentLimits, Spaced, segments_of, text_of
from speechx.transcription.windows import MARGIN_SECONDS, WINDOW_SECONDS
from speechx.transcription.words import words_of
from tests.conftest import finetune_config, pretrain_config, small_convolutional, write_wav
from tests.recipe_run import ROOT
from tests.toy_models import PHONES, toy_model

STRIDE, FIELD = 320, 400
WINDOW = int(WINDOW_SECONDS * 50)  # frames
MARGIN = int(MARGIN_SECONDS * 50)


@pytest.fixture(scope="module")
def speller(tmp_path_factory) -> Recognizer:
    return load(toy_model(tmp_path_factory.mktemp("models") / "characters"), "cpu")


@pytest.fixture(scope="module")
def phonetician(tmp_path_factory) -> Recognizer:
    folder = tmp_path_factory.mktemp("models") / "phonemes"
    return load(toy_model(folder, PHONES, "phonemes"), "cpu")


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory) -> Recognizer:
    """XLSR-like: a layer norm per frame, so a frame's latent is the same in every window."""
    folder = tmp_path_factory.mktemp("models") / "convolutional"
    return load(toy_model(folder, encoder=small_convolutional("layer")), "cpu")


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Recognizer:
    folder = tmp_path_factory.mktemp("models") / "local"
    return load(toy_model(folder, encoder=small_convolutional("layer"), local=True), "cpu")


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """(S,) noise whose loudness changes all the time."""
    random = np.random.default_rng(seed)
    loudness = np.interp(
        np.arange(round(seconds * 16_000)),
        np.arange(0, seconds * 16_000 + 4000, 2000),
        random.uniform(0, 0.3, len(np.arange(0, seconds * 16_000 + 4000, 2000))),
    )
    return (loudness * random.standard_normal(len(loudness))).astype(np.float32)


def at_once(recognizer: Recognizer, wave_S: np.ndarray) -> np.ndarray:
    """Log-probabilities of the samples as one batch, without windows."""
    wave_1S = torch.from_numpy(np.ascontiguousarray(wave_S))[None]
    with torch.inference_mode():
        outputs_BTV, _ = recognizer.head.log_probabilities(
            recognizer.model.encoder, wave_1S, torch.tensor([len(wave_S)])
        )
    return outputs_BTV[0].numpy()


def normal(wave_S: np.ndarray) -> np.ndarray:
    return (wave_S - wave_S.mean()) / np.sqrt(wave_S.var() + 1e-5)


def test_windows_give_what_one_pass_gives(local):
    wave_S = noise(3 * 60)
    stitched_TV = local.log_probabilities(wave_S)
    assert len(stitched_TV) > 5 * WINDOW
    np.testing.assert_allclose(stitched_TV, at_once(local, normal(wave_S)), atol=2e-4)
    assert len(np.unique(stitched_TV.argmax(1))) > 2


def test_a_window_sees_two_seconds_on_either_side(convolutional):
    wave_S = noise(100)
    stitched_TV = convolutional.log_probabilities(wave_S)
    first, last = WINDOW - MARGIN, 2 * WINDOW + MARGIN
    piece_S = normal(wave_S)[first * STRIDE : (last - 1) * STRIDE + FIELD]
    second_window_TV = at_once(convolutional, piece_S)[MARGIN:-MARGIN]
    np.testing.assert_allclose(stitched_TV[WINDOW : 2 * WINDOW], second_window_TV, atol=1e-5)


@pytest.mark.parametrize("which", ["convolutional", "speller"])
@pytest.mark.parametrize("frames", [0, 1, 2, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 1])
@pytest.mark.parametrize("more", [-1, 0, STRIDE - 1])
def test_every_frame_is_given_once(which, frames, more, request):
    recognizer = request.getfixturevalue(which)
    field = recognizer.features.receptive_field
    samples = max(0, field + (frames - 1) * STRIDE + more)
    wave_S = noise(1 + samples / 16_000)[:samples]
    exact = recognizer.features.frames(samples)
    assert exact == max(0, frames - (more < 0))
    log_TV = recognizer.log_probabilities(wave_S)
    assert log_TV.shape == (exact, len(recognizer.vocabulary))
    np.testing.assert_allclose(np.exp(log_TV).sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("samples", [2000, 99_999, int(WINDOW_SECONDS * 16_000)])
def test_a_recording_of_one_window_is_heard_as_in_training(speller, samples):
    """To its last sample: a filterbank is normalised over all of them."""
    wave_S = noise(WINDOW_SECONDS)[:samples]
    np.testing.assert_array_equal(
        speller.log_probabilities(wave_S), at_once(speller, normal(wave_S))
    )


@pytest.mark.parametrize("seconds", [0.5, 7.3, 61.7])
def test_times_lie_in_the_recording_and_in_order(speller, seconds):
    transcript = speller.transcribe(noise(seconds))
    assert len(transcript.tokens) > seconds / 3
    assert transcript.audio_duration == transcript.covered_duration == round(seconds, 3)
    times = [time for token in transcript.tokens for time in (token.start, token.end)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= transcript.audio_duration
    assert all(token.start < token.end for token in transcript.tokens)
    assert all(0 < token.probability <= 1 for token in transcript.tokens)
    assert transcript.text == " ".join(token.text for token in transcript.tokens)
    if seconds > 60:
        assert times[-1] > seconds - 2


@pytest.mark.parametrize("samples", [0, 3, FIELD - 1])
def test_what_is_too_short_for_a_frame_is_an_empty_transcript(speller, samples):
    transcript = speller.transcribe(noise(1)[:samples])
    assert (transcript.text, transcript.tokens, transcript.segments) == ("", (), ())
    assert transcript.audio_duration == round(samples / 16_000, 3)
    assert transcript.covered_duration == 0


def test_silence_is_no_trouble(speller, phonetician):
    for recognizer in (speller, phonetician):
        assert np.isfinite(recognizer.log_probabilities(np.zeros(40_000, np.float32))).all()


def test_progress_is_told_in_seconds_up_to_the_end(speller):
    said: list[float] = []
    speller.transcribe(noise(70), progress=said.append)
    assert said == [30.0, 60.0, 70.0]


def test_a_file_of_any_rate_is_heard_as_its_samples(speller, tmp_path):
    wave_S = np.round(noise(2) * 2**15) / 2**15
    write_flac(tmp_path / "a.flac", wave_S)
    heard = speller.transcribe(tmp_path / "a.flac")
    assert heard.audio == str(tmp_path / "a.flac")
    for samples_S in (wave_S.astype(np.float32), wave_S):
        assert speller.transcribe(samples_S) == replace(heard, audio=None)
    assert speller.transcribe(torch.from_numpy(wave_S)) == replace(heard, audio=None)
    assert heard == speller.transcribe(str(tmp_path / "a.flac"))


def test_a_file_that_is_cut_off_is_said_in_python_too(speller, tmp_path, caplog):
    whole = tmp_path / "whole.wav"
    write_wav(whole, noise(3))
    half = tmp_path / "half.wav"
    half.write_bytes(whole.read_bytes()[:50_000])
    speller.transcribe([whole, half])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "half.wav: the file is cut off" in caplog.text


@pytest.mark.parametrize(
    ("audio", "said"),
    [
        (np.zeros((2, 16_000), np.float32), r"one channel of samples \(S,\).*\(2, 16000\)"),
        (np.zeros((16_000, 1), np.float32), r"one channel of samples"),
        (np.zeros(16_000, np.int16), "floats between -1 and 1, but are int16"),
        (np.full(16_000, np.nan, np.float32), "no finite numbers"),
        (None, "a file or an array of samples, not None"),
    ],
)
def test_arrays_that_are_no_wave_are_refused(speller, audio, said):
    with pytest.raises(ValueError, match=said):
        speller.transcribe(audio)


def words(*tokens: tuple[str, float, float]) -> list[Spaced]:
    return [Spaced(Word(text, start, end, 0.5)) for text, start, end in tokens]


def test_a_pause_of_more_than_a_second_begins_a_segment():
    run = words(("a", 0, 1), ("b", 2.0, 2.5), ("c", 3.6, 4), ("d", 4.1, 5))
    first, second = segments_of(run, SegmentLimits())
    assert (first.text, first.start, first.end) == ("a b", 0, 2.5)
    assert (second.text, second.start, second.end) == ("c d", 3.6, 5)
    assert first.words == (run[0].token, run[1].token)


def test_segments_are_short_enough_to_read_and_hold_every_word():
    random = np.random.default_rng(0)
    starts = np.cumsum(random.uniform(0.2, 0.9, 500))
    run = words(*(("x" * random.integers(1, 14), t, t + 0.1) for t in starts))
    for limits in (
        SegmentLimits(),
        SegmentLimits(max_seconds=4),
        SegmentLimits(max_line_width=20, max_line_count=2),
    ):
        segments = segments_of(run, limits)
        assert [word for segment in segments for word in segment.words] == [t for t, _ in run]
        for segment in segments:
            assert segment.end - segment.start <= limits.max_seconds
            lines = segment.text.split("\n")
            assert len(lines) <= limits.max_line_count
            assert max(map(len, lines)) <= limits.max_line_width
        assert np.mean([len(segment.words) for segment in segments]) > 2
    for segment in segments_of(run, SegmentLimits(max_words_per_line=3)):
        assert len(segment.words) <= 3


def test_a_segment_that_is_too_long_is_cut_at_its_longest_pause():
    run = words(*(("word", t, t + 0.4) for t in np.arange(0, 20, 0.5)))
    run[25:] = [Spaced(Word("word", t.start + 0.3, t.end + 0.3, 0.5)) for t, _ in run[25:]]
    first, second = segments_of(run, SegmentLimits(max_line_width=1000))
    assert (len(first.words), len(second.words)) == (25, 15)


def test_a_word_that_is_longer_than_a_line_stands_whole():
    (segment,) = segments_of(words(("x" * 200, 0, 30)), SegmentLimits())
    assert segment.text == "x" * 200


def test_words_are_what_lies_between_spaces(speller, monkeypatch):
    """Frames of 20 ms: a a - b _ _ c c, with a blank -, a space _."""
    ids_T = [1, 1, 0, 2, 5, 5, 3, 3]
    log_TV = np.log(np.full((len(ids_T), 6), 0.05, np.float32))
    log_TV[np.arange(len(ids_T)), ids_T] = np.log(0.75)
    monkeypatch.setattr(speller, "_run", lambda wave_BS, lengths_B: [log_TV])
    samples = 7 * STRIDE + speller.features.receptive_field
    transcript = speller.transcribe(np.zeros(samples, np.float32))
    assert transcript.text == "ab c"
    assert transcript.words == (Word("ab", 0.0, 0.08, 0.5625), Word("c", 0.12, 0.16, 0.75))


def test_phones_of_an_unseen_language(phonetician):
    wave_S = noise(3)
    inventory = Inventory.of(["a", "u", "d", "k", "ʃ"], "xx", "a test")
    transcript = phonetician.phonemize(wave_S, inventory)
    assert {t.text for t in transcript.tokens} <= set(inventory.phones)
    assert len({t.text for t in transcript.tokens}) > 1
    assert (transcript.language, transcript.inventory) == ("xx", "a test")
    assert phonetician.phonemize(wave_S, "pt") == phonetician.phonemize(
        wave_S, Inventory.for_language("pt")
    )
    assert all(isinstance(phone, Phone) for phone in transcript.segments[0].phones)
    assert transcript.audio_duration == transcript.covered_duration == 3.0


def test_the_models_own_inventory_maps_to_itself(phonetician):
    wave_S = noise(3)
    own = Inventory.of(PHONES, "xx", "its own")
    mapping = phonetician.map_inventory(own)
    assert all(row.source == row.target and row.distance == 0 for row in mapping.rows)
    assert phonetician.phonemize(wave_S, own).tokens == phonetician.transcribe(wave_S).tokens


def test_characters_cannot_be_mapped(speller):
    with pytest.raises(UserError, match=r"writes characters.*objective.tokens=phonemes is needed"):
        speller.phonemize(noise(1), Inventory.for_language("pt"))


def test_a_folder_opens_by_itself(manifests, tmp_path):
    """Moved away, and everything that it was made from deleted."""
    parent = speechx.pretrain(pretrain_config(tmp_path / "parent", manifests, run={"steps": 2}))
    config = finetune_config(tmp_path / "child", manifests, init=str(parent), run={"steps": 2})
    best = speechx.finetune(config)
    wave_S = noise(2)
    before_TV = load(best).log_probabilities(wave_S)
    shutil.copytree(best, tmp_path / "elsewhere/model")
    shutil.rmtree(tmp_path / "parent")
    shutil.rmtree(tmp_path / "child")
    moved = speechx.load(tmp_path / "elsewhere/model")
    np.testing.assert_array_equal(moved.log_probabilities(wave_S), before_TV)
    assert moved.vocabulary.tokens == ("a", "b", "c", "d")
    for name in ("config.yaml", "vocabulary.json"):
        assert str(tmp_path) not in (tmp_path / "elsewhere/model" / name).read_text()


def test_a_folder_of_finished_files_holds_them_whole(speller, tmp_path, capsys):
    for name in ("a", "b"):
        write_flac(tmp_path / f"{name}.flac", noise(1, ord(name)))
    files = [tmp_path / "a.flac", tmp_path / "b.flac"]
    out, calls = tmp_path / "out", list[str]()

    def listen(recordings, progress):
        for recording, transcript in speller.stream(recordings, progress=progress):
            calls.append(recording.path)
            yield recording, transcript

    for some in (files[:1], files):
        inputs, failed = find_inputs([str(file) for file in some])
        assert write_transcripts(listen, inputs, ["txt"], out, print, failed) == 0
    assert calls == [str(file) for file in files]
    assert {path.name for path in out.iterdir()} == {"a.txt", "b.txt"}
    assert (out / "b.txt").read_text().split() == speller.transcribe(files[1]).text.split()
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_three_hours_fit_in_one_gigabyte(tmp_path):
    """The tiny preset on a real long file; the peak is of the whole process, torch included."""
    from speechx.models.presets import tiny

    encoder = tiny().encoder
    toy_model(tmp_path / "model", encoder=encoder)
    hour_S = np.tile(noise(60), 60)
    write_flac(tmp_path / "long.flac", np.tile(hour_S, 3))
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "import speechx\n"
        "heard = speechx.load(sys.argv[1], 'cpu').transcribe(sys.argv[2])\n"
        "assert heard.audio_duration == heard.covered_duration == 10800.0, heard.covered_duration\n"
        "assert heard.tokens[-1].end > 10795\n"
        "peak = re.search(r'VmHWM:\\s+([0-9]+) kB', Path('/proc/self/status').read_text())\n"
        "print(int(peak[1]) / 2**20)\n"
    )
    arguments = [tmp_path / "model", tmp_path / "long.flac"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.0


def test_an_utterance_decoded_among_others_is_decoded_as_alone(speller, manifests):
    """In batches with padding, and longer ones in windows."""
    some = read_manifest(manifests[0])
    decoded = {index: spans for index, (spans,) in speller.decode(some)}
    assert sorted(decoded) == list(range(len(some)))
    for index, utterance in enumerate(some):
        (alone,) = speller.decoder.decode([speller.log_probabilities(read_audio(utterance.audio))])
        assert [span.token for span in decoded[index]] == [span.token for span in alone]
        assert [span.first for span in decoded[index]] == [span.first for span in alone]


def test_the_language_of_a_long_recording_is_the_mean_over_windows(tmp_path, monkeypatch):
    from speechx.objectives.language_id import LanguageIDConfig
    from speechx.objectives.model import SpeechModel
    from speechx.text.vocabulary import Vocabulary

    vocabulary = Vocabulary("languages", ("xx", "yy"))
    model = SpeechModel(
        small_convolutional("layer"), {"id": LanguageIDConfig()}, {"id": vocabulary}
    )
    torch.nn.init.normal_(model.heads["id"].head.weight, std=3.0)
    model.save(tmp_path, ["xx", "yy"])
    recognizer, sizes = load(tmp_path, "cpu"), []
    wave_S = noise(65)
    pieces = [recognizer.log_probabilities(piece_S) for piece_S in np.array_split(wave_S, 3)]
    run = recognizer._run
    monkeypatch.setattr(
        recognizer, "_run", lambda wave_BS, n: sizes.append(wave_BS.shape[1]) or run(wave_BS, n)
    )
    outputs_TV = recognizer.log_probabilities(wave_S)
    assert max(sizes) <= WINDOW_SECONDS * 16_000
    assert outputs_TV.shape == (1, 3)
    np.testing.assert_allclose(np.exp(outputs_TV), np.mean(np.exp(pieces), 0), atol=1e-3)
    assert recognizer.transcribe(wave_S).tokens[0].end == 65


def test_chunks_cause_no_warning(tmp_path, recwarn):
    encoder = replace(small_convolutional("group"), normalize=False)
    model = load(toy_model(tmp_path / "m", encoder=encoder), "cpu")
    wave_S = noise(3)
    assert model.transcribe(iter(np.split(wave_S, 3))) == model.transcribe(wave_S)
    assert not [str(w.message) for w in recwarn if "writable" in str(w.message)]


def test_pauses_divide_what_a_model_without_spaces_writes():
    places = (0, 9, 18, 27, 90, 95)
    spans = [TokenSpan(t, at, at, 1.0) for t, at in zip("ไทยaดี", places, strict=True)]
    times_U2 = 0.02 * np.array([(at - 4, at + 5) for at in places])
    run = words_of(spans, times_U2, "characters", spaced=False)
    assert [token.text for token, _ in run] == ["ไทยa", "ดี"]
    assert text_of(run) == "ไทยaดี"
    assert len(words_of(spans, times_U2, "characters")) == 1


def test_a_long_line_of_a_manifest_comes_in_blocks(tmp_path):
    write_flac(tmp_path / "a.flac", noise(70))
    line = Utterance(id="a", audio=tmp_path / "a.flac", duration=68.0, language="xx", start=1.0)
    blocks = [*Recording.of_utterance(line).blocks()]
    assert max(map(len, blocks)) <= 30 * 16_000
    assert sum(map(len, blocks)) == 68 * 16_000


def test_an_utterance_without_a_frame_among_long_ones_is_empty(convolutional, tmp_path):
    write_flac(tmp_path / "long.flac", noise(31))
    write_flac(tmp_path / "short.flac", noise(1)[:100])
    some = [
        Utterance(id=name, audio=str(tmp_path / f"{name}.flac"), duration=seconds, language="xx")
        for name, seconds in (("long", 31.0), ("short", 100 / 16_000))
    ]
    decoded = {index: spans for index, (spans,) in convolutional.decode(some)}
    assert decoded[0]
    assert decoded[1] == []


def test_a_recording_that_is_gone_before_its_times_does_not_stop_the_others(speller, monkeypatch):
    times = speller._times

    def gone(spans, recording, *rest):
        if recording.path == "a":
            raise UserError("a: cannot be read as audio")
        return times(spans, recording, *rest)

    monkeypatch.setattr(speller, "_times", gone)
    wave_S = noise(1)
    given = [Recording(lambda: iter((wave_S,)), name) for name in ("a", "b")]
    (_, first), (_, second) = speller.stream(given)
    assert isinstance(first, UserError)
    assert second.text


def test_a_model_without_spaces_makes_no_segment_that_is_too_long():
    """It speaks for a minute, and the longest pause in it, every two seconds, has 0.1 s."""
    ends = np.cumsum([0.2] * 300)
    times_U2 = np.stack((ends - np.where(np.arange(300) % 10, 0.2, 0.1), ends), 1)
    spans = [TokenSpan("a", at, at, 1.0) for at in range(300)]
    for seconds in (15, 3.5):
        limits = SegmentLimits(max_seconds=seconds, max_line_width=1000)
        run = words_of(spans, times_U2, "characters", spaced=False, limits=limits)
        segments = segments_of(run, limits)
        assert max(segment.end - segment.start for segment in segments) <= seconds
        gaps = [b.start - a.end for a, b in itertools.pairwise(segments)]
        np.testing.assert_allclose(gaps, 0.1)
        assert "".join(segment.text for segment in segments) == text_of(run) == "a" * 300
    narrow = SegmentLimits(max_line_width=20)
    run = words_of(spans, times_U2, "characters", spaced=False, limits=narrow)
    assert max(len(segment.text) for segment in segments_of(run, narrow)) <= 20


def test_a_model_of_one_language_names_it(tmp_path):
    model = load(toy_model(tmp_path / "one"), "cpu")
    assert model.transcribe(noise(1)).language == "xx"
    assert model.align(noise(1), "a", every_word=True).language == "xx"
