"""`language="auto"`: a head identifies the language, an adapter or another head writes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from speechx.cli.main import main
from speechx.data.manifest import Utterance, write_manifest
from speechx.decoding.arpa import write_arpa
from speechx.decoding.beam import BeamSettings
from speechx.decoding.kneser_ney import train
from speechx.errors import UserError
from speechx.interchange.hub import EVERY
from speechx.models.adapter_files import SavedAdapter
from speechx.models.adapters import adapter_shapes
from speechx.models.folder import lm_file, open_folder, save_model, write_decoding
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.language_id import LanguageIDConfig
from speechx.objectives.model import SpeechModel
from speechx.text.vocabulary import Vocabulary
from speechx.transcription import loading
from speechx.transcription.decoders import Decoding
from speechx.transcription.loading import load
from tests.conftest import small_filterbank, write_wav
from tests.toy_models import toy_model

LANGUAGES = Vocabulary("languages", ("uz", "yo"))
LETTERS = {"yor": ("a", "b"), "uzb": ("x", "y", "z")}
TIME = np.arange(16_000) / 16_000
NOISE = np.random.default_rng(0).standard_normal(16_000)
WAVES = {
    "low": (0.3 * np.sin(2 * np.pi * 300 * TIME) + 0.003 * NOISE).astype(np.float32),
    "high": (0.3 * np.sin(2 * np.pi * 3000 * TIME) + 0.003 * NOISE).astype(np.float32),
}


@pytest.fixture(scope="module")
def waves(folders):
    """The two recordings, by language."""
    model = load(folders / "heads", device="cpu", head="language")
    found = {model.transcribe(wave_S).text: wave_S for wave_S in WAVES.values()}
    assert found.keys() == {"uz", "yo"}
    return found


def test_the_reader_gives_the_times_of_its_own_head(folders, waves, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "speechx.transcription.spoken_language.load_times", lambda *of: asked.append(of)
    )
    load(folders / "heads", device="cpu", language="auto").transcribe(waves["yo"])
    assert asked == [(folders / "heads", "text")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two heads on one encoder; and a language head with an adapter for each language."""
    folder = tmp_path_factory.mktemp("auto")
    torch.manual_seed(0)
    encoder = small_filterbank()
    objectives = {"text": CTCConfig(tokens="characters"), "language": LanguageIDConfig()}
    vocabularies = {"text": Vocabulary("characters", ("a", "b")), "language": LANGUAGES}
    model = SpeechModel(encoder, objectives, vocabularies)
    with torch.no_grad():
        for head in model.objectives.values():
            head.head.weight.normal_()
            head.head.bias.zero_()
        # The two recordings are different languages.
        lengths_B = torch.tensor([16_000])
        low, high = (
            model.eval()
            .objectives["language"]
            .log_probabilities(model.encoder, torch.from_numpy(wave_S)[None], lengths_B)[0][0, 0]
            for wave_S in WAVES.values()
        )
        middle = (low + high) / 2
        model.objectives["language"].head.bias[1:] -= middle[1:]
    model.save(folder / "heads", ("uz", "yo"))
    saved = open_folder(folder / "heads")
    context = encoder.context
    shapes = adapter_shapes(context.embed_dim, 3, context.num_layers)
    adapters = []
    for language, letters in LETTERS.items():
        weights = {name: 0.1 * torch.randn(shape) for name, shape in shapes.items()}
        weights["objectives.ctc.head.weight"] = torch.randn(len(letters) + 1, context.embed_dim)
        weights["objectives.ctc.head.bias"] = torch.zeros(len(letters) + 1)
        words = {"ctc": Vocabulary("characters", letters)}
        adapters.append(SavedAdapter(language, weights, words))
    weights = {n: t for n, t in saved.weights.items() if not n.startswith("objectives.text")}
    save_model(
        folder / "adapters", weights, encoder, {"language": saved.objectives["language"]},
        {"language": LANGUAGES}, ("uz", "yo"), adapters=adapters,
    )  # fmt: skip
    return folder


def test_each_recording_is_read_with_the_adapter_of_its_language(folders, waves):
    model = load(folders / "adapters", device="cpu", language="auto")
    read = model.transcribe([waves["yo"], waves["uz"], waves["yo"]])
    assert [transcript.language for transcript in read] == ["yor", "uzb", "yor"]
    for transcript in read:
        assert set(transcript.text) <= {*LETTERS[transcript.language], " "}
        assert transcript.adapter.startswith(f"{transcript.language}.safetensors")
    alone = load(folders / "adapters", device="cpu", language="yo").transcribe(waves["yo"])
    assert alone.text == read[0].text == read[2].text


def test_without_adapters_the_head_writes_and_the_language_is_named(folders, waves):
    model = load(folders / "heads", device="cpu", language="auto")
    for language, wave_S in waves.items():
        transcript = model.transcribe(wave_S)
        assert transcript.language == language
        assert transcript.token_type == "characters"
        plain = load(folders / "heads", device="cpu", head="text").transcribe(wave_S)
        assert transcript.text == plain.text


def test_a_language_model_chooses_what_the_reader_writes(folders, waves, tmp_path, capsys):
    heads = shutil.copytree(folders / "heads", tmp_path / "heads")
    lm = train([list("aabbaabb"), list("aabb")], 3)
    settings = {"lm_weight": 9.0, "beam_size": 20}
    write_wav(tmp_path / "talk.wav", waves["yo"])
    write_arpa(tmp_path / "lm.arpa", lm)
    greedy = load(heads, device="cpu", head="text").transcribe(waves["yo"]).text
    auto = load(heads, device="cpu", language="auto")
    auto.decode_with(Decoding(lm, settings=BeamSettings(**settings)))
    chosen = auto.transcribe(waves["yo"]).text
    assert chosen != greedy
    command = ["transcribe", str(tmp_path / "talk.wav"), "--model", str(heads)]
    command += ["--language", "auto"]
    options = ["--lm", str(tmp_path / "lm.arpa"), "--lm-weight", "9", "--beam-size", "20"]
    assert main([*command, *options]) == 0
    assert capsys.readouterr().out.strip() == chosen
    lm.save(lm_file(heads, "text"))  # as after `speechx lm tune`
    write_decoding(heads, "text", settings)
    for options, text in (([], chosen), (["--decoder", "greedy"], greedy)):
        assert main([*command, *options]) == 0
        assert capsys.readouterr().out.strip() == text
    capsys.readouterr()
    assert main([*command, "--beam-size", "0"]) == 1
    assert "beam_size" in capsys.readouterr().err


def test_a_language_model_need_not_fit_every_language(folders, waves, tmp_path, capsys):
    """Letters of Yoruba only: recordings in Uzbek fail, and the others are read."""
    write_arpa(tmp_path / "lm.arpa", train([list("abba"), list("ab")], 2))
    for language, wave_S in waves.items():
        write_wav(tmp_path / f"{language}.wav", wave_S)
    command = ["transcribe", *(str(tmp_path / f"{name}.wav") for name in ("uz", "yo"))]
    options = ["--model", str(folders / "adapters"), "--language", "auto"]
    assert main([*command, *options, "--lm", str(tmp_path / "lm.arpa")]) == 2
    written, errors = capsys.readouterr()
    assert "yo.wav" in written
    assert "uz.wav" not in written
    assert "language model" in errors


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["phonemize", "x.wav"], "name the unseen language"),
        (["evaluate", "--manifest", "x.jsonl"], "leave --language out"),
        (["evaluate", "--manifest", "x.jsonl", "--inventory", "pt"], "leave --language out"),
    ],
)
def test_auto_is_refused_where_it_means_nothing(folders, command, why, capsys):
    assert main([*command, "--model", str(folders / "heads"), "--language", "auto"]) == 1
    assert why in capsys.readouterr().err


def test_the_beginning_decides(folders, waves):
    model = load(folders / "heads", device="cpu", language="auto")
    long_S = np.concatenate([np.tile(waves["yo"], 31), np.tile(waves["uz"], 60)])
    assert model.transcribe(long_S).language == "yo"


def test_a_language_without_an_adapter(folders, waves, tmp_path):
    folder = shutil.copytree(folders / "adapters", tmp_path / "one")
    (folder / "adapters/uzb.safetensors").unlink()
    model = load(folder, device="cpu", language="auto")
    path = tmp_path / "talk.wav"
    write_wav(path, waves["uz"])
    with pytest.raises(UserError, match=r"talk\.wav is in uz, but .*yor"):
        model.transcribe(path)
    assert model.transcribe(waves["yo"]).language == "yor"


def test_a_recording_too_short_for_an_answer(folders):
    model = load(folders / "adapters", device="cpu", language="auto")
    with pytest.raises(UserError, match="too short"):
        model.transcribe(np.zeros(10, np.float32))


def test_a_folder_that_identifies_nothing(tmp_path):
    with pytest.raises(UserError, match="cannot identify languages"):
        load(toy_model(tmp_path / "toy"), device="cpu", language="auto")


def test_auto_needs_the_adapters_for_every_language(folders, monkeypatch):
    asked = []

    def local_path(path, language):
        asked.append(language)
        return path

    monkeypatch.setattr(loading, "local_path", local_path)
    load(folders / "adapters", device="cpu", language="auto")
    assert asked == [EVERY]


def test_a_text_is_aligned_in_the_language_that_is_spoken(folders, waves):
    model = load(folders / "adapters", device="cpu", language="auto")
    transcript = model.align(waves["yo"], "ab", every_word=True)
    assert (transcript.language, transcript.text) == ("yor", "ab")
    assert model.align(iter([waves["yo"]]), "ab", every_word=True).language == "yor"


def test_the_phones_of_a_manifest_are_aligned(folders, waves, tmp_path):
    """The language decides which head reads; if that one writes phones, the manifest's are used."""
    saved = open_folder(folders / "heads")
    phones = {**saved.vocabularies, "text": Vocabulary("phonemes", ("a", "b"))}
    objectives = {"text": CTCConfig(tokens="phonemes"), "language": LanguageIDConfig()}
    save_model(tmp_path / "m", saved.weights, saved.encoder, objectives, phones, ("uz", "yo"))
    write_wav(tmp_path / "talk.wav", waves["yo"])
    line = Utterance(
        id="talk", audio=tmp_path / "talk.wav", duration=1.0, language="yo", text="kò sí",
        phones=("b", "a", "b"),
    )  # fmt: skip
    write_manifest(tmp_path / "m.jsonl", [line])
    words = ["align", str(tmp_path / "m.jsonl"), "--model", str(tmp_path / "m"), "--every-word"]
    assert main([*words, "--language", "auto", "-o", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out/talk.json").read_text())
    assert (found["language"], found["text"].split()) == ("yo", ["b", "a", "b"])
