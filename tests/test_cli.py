"""The command line: what a user gets wrong is one line and exit code 1, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import yaml

from speechx.audio.files import write_flac
from speechx.cli.main import main
from speechx.config import to_dict
from speechx.data.manifest import read_manifest, write_manifest
from speechx.transcription.loading import load
from tests.conftest import pretrain_config, small_filterbank, tone_wave
from tests.recipe_run import ROOT, make_release
from tests.toy_models import PHONES, toy_model

LEAST = {"steps": 2, "batch_seconds": 4, "max_seconds_per_device": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with two models, `speller` and `phonetician`, and recordings of all sorts."""
    folder = tmp_path_factory.mktemp("cli")
    toy_model(folder / "speller")
    toy_model(folder / "phonetician", PHONES, "phonemes")
    wave_S = tone_wave("abcdabcd", np.random.default_rng(0))
    write_flac(folder / "good.flac", wave_S)
    write_flac(folder / "other.flac", wave_S[::-1])
    write_flac(folder / "three_samples.flac", wave_S[:3])
    soundfile.write(folder / "stereo.wav", np.stack([wave_S, wave_S], axis=1), 16_000)
    soundfile.write(folder / "8khz.wav", wave_S[::2], 8_000)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is not sound\n" * 100)
    (folder / "folder").mkdir()
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, manifests) -> Path:
    """A fine-tuning recipe for tones, two steps long."""
    train, dev = map(str, manifests)
    settings = {
        "encoder": to_dict(small_filterbank()),
        "objective": {"tokens": "characters"},
        "data": {"train": [train], "dev": [dev]},
        "run": LEAST,
    }
    path = tmp_path_factory.mktemp("recipe") / "finetune.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, manifests) -> Path:
    import speechx

    out = tmp_path_factory.mktemp("pretrained") / "run"
    return speechx.pretrain(pretrain_config(out, manifests, run={"steps": 1}))


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail, and returns its one line."""

    def run(*words: object) -> str:
        assert main([str(word) for word in words]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        *progress, line = said.err.splitlines()
        assert line.startswith("speechx: ")
        assert not [other for other in progress if other.startswith("speechx:")]
        assert "Traceback" not in said.err
        return line

    return run


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.wav", "nowhere.wav: cannot be read as audio: No such file"),
        ("empty.wav", "empty.wav: the file is empty (0 bytes)"),
        ("text.wav", "text.wav: not audio that can be read (expected wav, flac,"),
        ("folder", "folder has no recordings"),
    ],
)
@pytest.mark.parametrize("form", ["txt", "json"])
def test_audio_that_is_none(place, refused, name, said, form):
    line = refused("transcribe", place / name, "--model", place / "speller", "-f", form)
    assert said in line


def test_three_samples_are_an_empty_transcript(place, capsys):
    words = ["transcribe", str(place / "three_samples.flac"), "--model", str(place / "speller")]
    assert main(words) == 0
    assert capsys.readouterr().out == "\n"
    assert main([*words, "-f", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["text"], said["segments"], said["covered_duration"]) == ("", [], 0)


@pytest.mark.parametrize("name", ["good.flac", "stereo.wav", "8khz.wav"])
def test_any_rate_and_number_of_channels(place, capsys, name):
    assert main(["transcribe", str(place / name), "--model", str(place / "speller")]) == 0
    heard = load(place / "speller").transcribe(place / name)
    assert heard.text
    assert capsys.readouterr().out == heard.text + "\n"
    assert heard.audio_duration == pytest.approx(1.44, abs=0.001)
    if name == "stereo.wav":
        assert heard.text == load(place / "speller").transcribe(place / "good.flac").text


def test_text_alone_goes_to_stdout(place, capsys):
    words = ["transcribe", str(place / "good.flac"), "--model", str(place / "speller")]
    assert main([*words, "-f", "json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["audio_duration"] == 1.44
    assert said.err == ""


def test_one_bad_file_of_several_is_listed_and_the_others_are_transcribed(place, capsys):
    names = ["good.flac", "empty.wav", "other.flac", "nowhere.wav"]
    files = [str(place / name) for name in names]
    assert main(["transcribe", *files, "--model", str(place / "speller")]) == 2
    said = capsys.readouterr()
    speller = load(place / "speller")
    assert said.out.splitlines() == [
        f"{place / name}: {speller.transcribe(place / name).text}"
        for name in ("good.flac", "other.flac")
    ]
    assert [line.split(": ")[1] for line in said.err.splitlines()] == [files[1], files[3]]
    assert said.err.count("speechx:") == 2


def test_an_output_folder_keeps_what_is_finished(place, tmp_path, capsys):
    files = [place / "good.flac", place / "empty.wav", place / "other.flac"]
    words = [*map(str, files), "--model", str(place / "speller"), "-o", str(tmp_path / "out")]
    assert main(["transcribe", *words, "-f", "json"]) == 2
    good, other = tmp_path / "out/good.json", tmp_path / "out/other.json"
    assert sorted((tmp_path / "out").iterdir()) == [good, other]
    assert json.loads(good.read_text())["text"]
    good.write_text("mine")
    other.unlink()
    capsys.readouterr()
    assert main(["transcribe", *words, "-f", "json"]) == 2
    assert good.read_text() == "mine"
    assert json.loads(other.read_text())["text"]
    said = capsys.readouterr()
    assert said.out == ""
    assert "1 of 2 recordings has its results" in said.err


def test_two_recordings_never_become_one_file(place, refused, tmp_path):
    write_flac(tmp_path / "good.flac", np.zeros(16_000, np.float32))
    files = [place / "good.flac", tmp_path / "good.flac"]
    line = refused("transcribe", *files, "--model", place / "speller", "-o", tmp_path / "out")
    assert "would have the same result" in line
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_made(place, refused, tmp_path):
    (tmp_path / "file").touch()
    words = ["transcribe", place / "good.flac", "--model", place / "speller"]
    assert "a folder is needed" in refused(*words, "-o", tmp_path / "file")


@pytest.mark.parametrize("command", ["transcribe", "phonemize", "evaluate"])
def test_a_folder_of_the_wrong_kind_is_no_model(place, pretrained, manifests, refused, command):
    words = {
        "transcribe": ["transcribe", place / "good.flac"],
        "phonemize": ["phonemize", place / "good.flac", "--language", "pt"],
        "evaluate": ["evaluate", "--manifest", manifests[1]],
    }[command]
    if command != "evaluate":  # of a pretrained model it shows the metrics
        assert "a fine-tuned model is needed" in refused(*words, "--model", pretrained)
    line = refused(*words, "--model", place / "folder")
    assert "folder holds no model: expected config.yaml with model.safetensors" in line
    assert "nowhere does not exist" in refused(*words, "--model", place / "nowhere")
    line = refused(*words, "--model", pretrained.parent)
    assert "or a .pt file; did you mean" in line


def test_characters_are_no_phones(place, refused):
    line = refused(
        "phonemize", place / "good.flac", "--model", place / "speller", "--language", "pt"
    )
    assert "writes characters" in line


def test_a_model_folder_that_is_damaged(place, refused, tmp_path):
    toy_model(tmp_path / "model")
    (tmp_path / "model/model.safetensors").write_bytes(b"half")
    line = refused("transcribe", place / "good.flac", "--model", tmp_path / "model")
    assert "model.safetensors cannot be read" in line


def test_an_unknown_language(place, refused):
    words = ["--model", place / "phonetician", "--language", "xx"]
    line = refused("phonemize", place / "good.flac", *words)
    assert "no phone inventory is shipped for 'xx': known are ca, de, el" in line
    words[-1] = ""  # a variable of the shell that is not set
    assert "no phone inventory is shipped for ''" in refused(
        "phonemize", place / "good.flac", *words
    )


def test_a_phone_that_nobody_knows(place, refused, tmp_path):
    (tmp_path / "phones.txt").write_text("a e 5\n")
    words = ["--model", place / "phonetician", "--inventory", tmp_path / "phones.txt"]
    assert "5" in refused("phonemize", place / "good.flac", *words)


def test_phonemize_and_its_mapping(place, capsys, tmp_path):
    (tmp_path / "phones.txt").write_text("a e u  # vowels\nd ɡ\n")
    words = ["phonemize", "--model", str(place / "phonetician")]
    words += ["--inventory", str(tmp_path / "phones.txt")]
    assert main([*words, str(place / "good.flac")]) == 0
    heard = capsys.readouterr().out.split()
    assert heard
    assert set(heard) <= set("aeudɡ")
    assert main([*words, "--show-mapping"]) == 0
    header, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert header == ["source", "target", "distance", "match", "tied"]
    assert {row[0] for row in rows} == set(PHONES)
    assert {row[1] for row in rows} == set("aeudɡ")


ESPEAK = ("a", "t", "s", "s.", "ai5", "??", "t[", "ʲ")


@pytest.fixture(scope="module")
def espeak_model(place) -> Path:
    """A model with units of espeak-ng, some of which are not IPA."""
    return toy_model(place / "espeak", ESPEAK, "phonemes")


def test_units_without_features_are_listed_once_and_the_rest_is_mapped(
    place, espeak_model, capsys, tmp_path
):
    (tmp_path / "phones.txt").write_text("a t s ⱱ ⁿd aˑ ˥\n", encoding="utf-8")
    words = ["phonemize", "--model", str(espeak_model), "--show-mapping"]
    words += ["--inventory", str(tmp_path / "phones.txt")]
    assert main([*words, str(place / "good.flac"), str(place / "other.flac")]) == 0
    said = capsys.readouterr()
    rows = [line.split("\t") for line in said.out.splitlines() if "\t" in line][1:]
    assert {row[0] for row in rows} == {"a", "t", "s"}
    assert {row[1] for row in rows} == {"a", "t", "s", "ⁿd", "aˑ"}
    assert said.err.count("5 of 8 phones of the model") == 1
    assert "s. ai5 ?? t[ ʲ" in said.err
    assert "2 of 7 phones of the language" in said.err
    assert "˥ ⱱ" in said.err


def test_evaluate_takes_a_model_with_such_units(espeak_model, manifests, tmp_path, capsys):
    text = "InventoryID,ISO6393,Phoneme\n1,xxx,a\n1,xxx,t\n2,yyy,s\n"
    (tmp_path / "phoible.csv").write_text(text, encoding="utf-8")
    words = ["evaluate", "--manifest", str(manifests[1]), "--model", str(espeak_model)]
    assert main([*words, "--inventory", f"{tmp_path / 'phoible.csv'}#xxx"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("8 phones -> 2:")
    assert said.err.count("phones of the model are left out") == 1


def test_phones_of_texts_that_are_not_read_are_refused_or_left_out(
    place, refused, tmp_path, capsys
):
    rows = [{"id": n, "audio": "good.flac", "duration": 1.0, "language": "ja", "text": text}
            for n, text in (("kana", "ひらがな"), ("kanji", "漢字"))]  # fmt: skip
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (place / "ja.jsonl").write_text("".join(lines), encoding="utf-8")
    words = ["data", "phones", place / "ja.jsonl", "-o", tmp_path / "out.jsonl"]
    line = refused(*words)
    assert "1 of 2 utterances" in line
    assert "漢" in line
    assert "(kanji)" in line
    assert main([*map(str, words), "--drop-empty"]) == 0
    assert [u.id for u in read_manifest(tmp_path / "out.jsonl")] == ["kana"]
    assert "1 of 2 utterances without phones left out (kanji)" in capsys.readouterr().err


@pytest.mark.parametrize(("rank", "printed"), [("0", "runs/x/best\n"), ("1", "")])
def test_one_rank_of_a_training_prints_where_the_model_is(rank, printed, monkeypatch, capsys):
    monkeypatch.setenv("RANK", rank)
    loaded = SimpleNamespace(out=Path("runs/x")), None
    monkeypatch.setattr("speechx.runs.load_run", lambda *_: loaded)
    monkeypatch.setattr("speechx.runs.run", lambda *_: None)
    assert main(["finetune", "x.yaml"]) == 0
    assert capsys.readouterr().out == printed


def test_phonemize_needs_something_to_do(place, refused):
    words = ["phonemize", "--model", place / "phonetician", "--language", "pt"]
    assert "needs audio files, or --show-mapping" in refused(*words)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("optim.lrr=1e-3", "unknown key 'optim.lrr' (did you mean 'lr'?)"),
        ("optim.lr=-1", "optim: lr must be above 0, but is -1"),
        ("optim.lr=fast", "optim.lr: input should be a valid number"),
        ("data.train=[nowhere.jsonl]", "nowhere.jsonl: cannot read the manifest"),
        ("data.train=[]", "train needs at least one manifest"),
        ("objective.tokens=phonemz", "tokens: input should be 'characters' or 'phonemes'"),
        ("objective=wav2vec3", "objective"),
        ("data.join_seconds=8", "data.join_seconds is for unlabelled speech"),
        ("data.dev=[]", "data.dev needs at least one manifest"),
        ("init=nowhere", "model nowhere does not exist"),
        ("run.device=warp", "device 'warp' is unknown: expected auto, cpu, cuda or cuda:N"),
        ("steps", "'steps' is not of the form key=value"),
        ("run.steps=0", "run: steps must be above 0, but is 0"),
        ("data.train=[a.jsonl,a.jsonl]", "train names a manifest twice: a.jsonl"),
    ],
)
def test_a_bad_setting(recipe, refused, tmp_path, setting, said):
    assert said in refused("finetune", recipe, f"out={tmp_path / 'out'}", setting)
    assert not list(tmp_path.glob("out/best"))


def test_a_misspelt_key_in_the_file(recipe, refused, tmp_path):
    (tmp_path / "bad.yaml").write_text(recipe.read_text().replace("batch_seconds", "batch_second"))
    line = refused("finetune", tmp_path / "bad.yaml", f"out={tmp_path / 'out'}")
    assert f"{tmp_path / 'bad.yaml'} with 1 setting: unknown key 'run.batch_second'" in line
    assert "(did you mean 'batch_seconds'?)" in line


def test_a_recipe_that_is_none(refused, tmp_path):
    assert "does not exist" in refused("pretrain", tmp_path / "nowhere.yaml")
    (tmp_path / "bad.yaml").write_text("run: {steps: 1\nout: x\n")
    assert "bad.yaml:2: not valid YAML" in refused("pretrain", tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    assert "expected `key: value` lines" in refused("pretrain", tmp_path / "list.yaml")
    (tmp_path / "twice.yaml").write_text("out: x\nrun: {steps: 1}\nrun: {steps: 2}\n")
    assert "twice.yaml:3: not valid YAML: the key 'run' is given twice" in refused(
        "pretrain", tmp_path / "twice.yaml"
    )
    (tmp_path / "empty.yaml").touch()
    assert "'out' is required" in refused("pretrain", tmp_path / "empty.yaml")


def test_labels_longer_than_their_frames_are_counted_and_listed(
    recipe, refused, manifests, tmp_path
):
    utterances = read_manifest(manifests[0])
    write_manifest(tmp_path / "long.jsonl", [replace(u, text="abcd" * 99) for u in utterances])
    words = [f"out={tmp_path / 'out'}", f"data.train=[{tmp_path / 'long.jsonl'}]"]
    line = refused("finetune", recipe, *words)
    assert "16 of 16 utterances have labels longer than their frames, listed in" in line
    assert len((tmp_path / "out/too_long.tsv").read_text().splitlines()) == 17


def test_a_fine_tuned_model_cannot_be_pretrained_on(place, recipe, refused, tmp_path):
    settings = [f"init={place / 'speller'}", f"out={tmp_path}", "data.train=[a.jsonl]"]
    line = refused("pretrain", ROOT / "recipes/tiny/pretrain.yaml", *settings)
    assert "speller has no quantizer" in line


def test_dev_audio_that_cannot_be_read_is_found_before_the_first_step(
    recipe, refused, manifests, tmp_path
):
    (tmp_path / "broken.wav").write_text("no sound")
    first, *others = read_manifest(manifests[1])
    write_manifest(
        tmp_path / "dev.jsonl", [replace(first, audio=str(tmp_path / "broken.wav")), *others]
    )
    words = [f"out={tmp_path / 'out'}", f"data.dev=[{tmp_path / 'dev.jsonl'}]"]
    line = refused("finetune", recipe, *words)
    for fact in (f"data.dev: {first.id}", "broken.wav", "data.exclude"):
        assert fact in line
    assert not (tmp_path / "out/log.jsonl").exists()


def test_a_run_of_another_command_is_not_resumed(recipe, refused, tmp_path, capsys):
    assert main(["finetune", str(recipe), f"out={tmp_path / 'out'}", "run.steps=1"]) == 0
    capsys.readouterr()
    line = refused("pretrain", recipe, f"out={tmp_path / 'out'}", "--resume")
    assert "of another command" in line
    assert "freeze_steps" in line


def test_nothing_to_resume(recipe, refused, tmp_path):
    line = refused("finetune", recipe, f"out={tmp_path / 'out'}", "--resume")
    assert "holds no saved state to continue from; start it without --resume" in line


def test_finetune_prints_the_folder_and_says_the_rest_on_stderr(recipe, tmp_path, capsys):
    assert main(["finetune", str(recipe), f"out={tmp_path / 'out'}", "run.steps=1"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'out/best'}\n"
    assert load(tmp_path / "out/best").vocabulary.tokens == ("a", "b", "c", "d")
    assert "finetune: 1/1" in said.err


@pytest.mark.parametrize("order", [1, -1])
def test_settings_may_stand_before_or_after_options(capsys, order):
    recipe = str(ROOT / "recipes/tiny/pretrain.yaml")
    words = ["run.steps=7", "data.train=[a.jsonl]", "--show"]
    assert main(["pretrain", recipe, *words[::order]]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["run"]["steps"] == 7


def test_a_setting_of_the_model_changes_the_preset_that_the_file_names(capsys):
    recipe = str(ROOT / "recipes/tiny/pretrain.yaml")
    words = ["--show", "data.train=[a.jsonl]", "encoder.context.dropout=0.3"]
    assert main(["pretrain", recipe, *words]) == 0
    context = yaml.safe_load(capsys.readouterr().out)["encoder"]["context"]
    assert (context["dropout"], context["num_layers"], context["embed_dim"]) == (0.3, 4, 192)


@pytest.mark.parametrize("option", ["--output_format", "--output-format"])
def test_options_are_written_with_dashes_or_underscores(place, capsys, option):
    words = ["transcribe", str(place / "good.flac"), "--model", str(place / "speller")]
    for more in ([option, "json"], [f"{option}=json"]):
        assert main([*words, *more]) == 0
        assert json.loads(capsys.readouterr().out)["audio_duration"] == 1.44


def test_alone_it_prints_its_help_and_its_version(capsys):
    from speechx import __version__

    assert main([]) == 0
    assert "finetune" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"speechx {__version__}\n"


def test_a_release_with_a_missing_column(refused, tmp_path):
    make_release(tmp_path / "cv")
    table = tmp_path / "cv/es/train.tsv"
    table.write_text(table.read_text().replace("\tsentence\t", "\tphrase\t", 1))
    line = refused("data", "prepare", "commonvoice", tmp_path / "cv", "-o", tmp_path / "out")
    assert f"{table}: needs the column sentence; its columns are client_id, path, phrase" in line


def test_a_clip_that_is_listed_but_absent(refused, tmp_path, capsys):
    make_release(tmp_path / "cv")
    clip = tmp_path / "cv/es/clips/common_voice_es_train3.mp3"
    clip.unlink()
    words = ["data", "prepare", "commonvoice", str(tmp_path / "cv"), "-o", str(tmp_path / "out")]
    line = refused(*words)
    assert f"{clip}: no such file, but it is listed in" in line
    assert "train.tsv:5" in line
    assert main([*words, "--allow-missing"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["es"]["train"] == 7
    assert "1 missing (missing.txt)" in said.err
    assert str(clip) in (tmp_path / "out/es/missing.txt").read_text()


def test_a_table_with_a_missing_column(refused, tmp_path):
    (tmp_path / "all.tsv").write_text("row\ttext\n1\tuno\n")
    words = ["data", "prepare", "table", tmp_path / "all.tsv", "--language", "it"]
    line = refused(*words, "-o", tmp_path / "out")
    assert "has no column `path`; it has row, text" in line


@pytest.mark.parametrize("language", ["xx", "e"])
def test_a_language_that_no_corpus_has(refused, tmp_path, language):
    make_release(tmp_path / "cv")
    for corpus in (["commonvoice", tmp_path / "cv"], ["synthetic"], ["debian-speech"]):
        words = ["data", "prepare", *corpus, "--language", language, "-o", tmp_path / "out"]
        assert language in refused(*words)
    assert not (tmp_path / "out").exists()


def test_bad_lines_of_a_manifest(refused, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"id": "a", "audio": "a.wav", "duration": 1}\n')
    line = refused("data", "summary", tmp_path / "bad.jsonl")
    assert "bad.jsonl:1: needs language; it has id, audio, duration" in line


def test_texts_without_phones_are_an_error_or_left_out(refused, manifests, tmp_path, capsys):
    some = [replace(u, language="es", phones=None) for u in read_manifest(manifests[1])]
    said, silent = replace(some[0], text="ocho"), replace(some[1], text="...")
    words = ["data", "phones", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]
    write_manifest(tmp_path / "in.jsonl", [said, silent])
    line = refused(*words)
    assert f"1 of 2 utterances have no text with phones ({silent.id})" in line
    assert "--drop-empty" in line
    assert main([*words, "--drop-empty"]) == 0
    assert f"1 of 2 utterances without phones left out ({silent.id})" in capsys.readouterr().err
    assert [u.phones for u in read_manifest(tmp_path / "out.jsonl")] == [("o", "tʃ", "o")]
    write_manifest(tmp_path / "in.jsonl", [silent])
    assert "1 of 1 utterances have no text with phones" in refused(*words, "--drop-empty")


def test_validate_lists_problems_and_exits_with_2(place, manifests, tmp_path, capsys):
    assert main(["data", "validate", str(manifests[0])]) == 0
    assert capsys.readouterr().out == "no problems found\n"
    utterance = replace(read_manifest(manifests[0])[0], audio=place / "empty.wav")
    write_manifest(tmp_path / "bad.jsonl", [utterance])
    assert main(["data", "validate", str(tmp_path / "bad.jsonl")]) == 2
    assert "the file is empty" in capsys.readouterr().out


def test_evaluate_prints_a_table_and_writes_json(place, manifests, tmp_path, capsys):
    words = ["evaluate", "--manifest", *map(str, manifests), "-o", str(tmp_path / "it.json")]
    assert main([*words, "--model", str(place / "speller")]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("CER ")
    assert "\nWER " in said.out
    assert {"xx", "yy", "overall"} <= {line.split()[0] for line in said.out.splitlines() if line}
    assert json.loads((tmp_path / "it.json").read_text())["overall"]["utterances"] == 20


def test_evaluate_an_unseen_language(place, manifests, tmp_path, capsys):
    (tmp_path / "phones.txt").write_text("a b c d\n")
    words = ["evaluate", "--manifest", str(manifests[1]), "--model", str(place / "phonetician")]
    words += ["--inventory", str(tmp_path / "phones.txt")]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    rates = [line.split()[0] for line in lines if " PER " in line]
    assert set(rates) >= {"mapped", "masked", "random_map", "shuffled", "unmapped"}
    assert lines[0].startswith("9 phones -> 4:")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data"], "required: ACTION; see speechx data --help"),
        (["transcrib"], "invalid choice: 'transcrib'"),
        (["transcribe", "a.wav"], "required: --model; see speechx transcribe --help"),
        (["transcribe", "a.wav", "--modell", "x"], "--model"),
        (["transcribe", "a.wav", "--model", "x", "--fast"], "unrecognized arguments: --fast"),
        (["pretrain", "a.yaml", "--fast", "a=b"], "unrecognized arguments: --fast a=b"),
        (["evaluate", "--model", "x", "--manifest", "y", "--seed=1"], "unrecognized"),
        (["data", "prepare"], "required: CORPUS"),
    ],
)
def test_mistyped_commands(refused, words, said):
    assert said in refused(*words)


@pytest.mark.parametrize(
    "words",
    [
        *([], ["data"], ["data", "prepare"], ["data", "prepare", "commonvoice"], ["pretrain"]),
        *(["finetune"], ["transcribe"], ["phonemize"], ["evaluate"], ["report"]),
    ],
    ids=" ".join,
)
def test_help(words, capsys):
    with pytest.raises(SystemExit) as left:
        main([*words, "--help"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {' '.join(['speechx', *words])}")


def test_codes_and_streams_of_the_real_program(place, tmp_path):
    def call(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "speechx", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    bad = call("data", "summary", "nowhere.jsonl")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr == (
        "speechx: nowhere.jsonl: cannot read the manifest: No such file or directory.\n"
    )
    files = [place / "good.flac", place / "text.wav"]
    some = call("transcribe", *files, "--model", place / "speller", "--device", "cpu")
    assert some.returncode == 2
    assert some.stdout.startswith(f"{files[0]}: ")
    assert len(some.stdout.splitlines()) == len(some.stderr.splitlines()) == 1


def test_help_loads_no_torch():
    code = (
        "import sys; from speechx.cli.main import main\n"
        "try: main(['transcribe', '--help'])\n"
        "except SystemExit: assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_reader_that_stops_reading_is_no_error(manifests):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "speechx", "data", "summary", str(manifests[0])]
    with os.fdopen(writer) as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_that_stops_for_its_health_exits_with_3(recipe, tmp_path, capsys):
    settings = [f"out={tmp_path / 'out'}", "optim.lr=1e30", "run.steps=20"]
    assert main(["finetune", str(recipe), *settings]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("speechx: E105 overflow at step 8: 8 steps in a row had a non-finite")
    assert len((tmp_path / "out/refused.jsonl").read_text().splitlines()) == 8


def test_a_program_that_is_ended_ends_its_processes(tmp_path):
    script = (
        "import multiprocessing, time; import speechx.cli.main as cli\n"
        "cli.main(['data', 'summary', 'absent.jsonl'])\n"
        "child = multiprocessing.Process(target=time.sleep, args=(60,)); child.start()\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert program.stdout is not None
    child = int(program.stdout.readline())
    program.terminate()
    assert program.wait(30) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_help_says_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["data", "prepare", "babel", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "default: 20.0" in words
    assert "None" not in words
