"""The recipes run: every script end to end, every YAML into its class, nothing twice."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import speechx
from speechx.data.manifest import read_manifest
from speechx.decoding.ngram_file import read_ngram
from speechx.finetuning import Finetune
from speechx.language_model import shared_sentences
from speechx.pretraining import Pretrain
from tests.configs import load_config
from tests.recipe_run import (
    ROOT,
    RecipeRun,
    start_babel,
    start_continued,
)

SCRIPTS = sorted(ROOT.glob("recipes/*/run.sh"))
YAMLS = sorted(ROOT.glob("recipes/*/*.yaml"))
CONTROLS = {"unmapped", "masked", "mapped", "random_map", "shuffled"}


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def tiny(recipe_runs: dict[str, RecipeRun]) -> RecipeRun:
    return recipe_runs["tiny"].finish()


@pytest.fixture(scope="module")
def commonvoice(recipe_runs: dict[str, RecipeRun]) -> RecipeRun:
    return recipe_runs["commonvoice"].finish()


@pytest.fixture(scope="module")
def continued(commonvoice: RecipeRun, tmp_path_factory: pytest.TempPathFactory) -> RecipeRun:
    release, phones = (Path(argument) for argument in commonvoice.arguments)
    return start_continued(tmp_path_factory.mktemp("continued"), release, phones).finish()


@pytest.fixture(scope="module")
def babel(tmp_path_factory: pytest.TempPathFactory) -> RecipeRun:
    return start_babel(tmp_path_factory.mktemp("babel")).finish()


def fractions(values: list[float]) -> bool:
    return all(isinstance(value, float) and 0 <= value <= 2 for value in values)


def test_there_are_recipes():
    assert {short(path) for path in SCRIPTS} >= {
        "recipes/tiny/run.sh",
        "recipes/commonvoice/run.sh",
        "recipes/continued/run.sh",
        "recipes/babel/run.sh",
    }
    assert YAMLS


@pytest.mark.parametrize("script", SCRIPTS, ids=short)
def test_a_script_parses_and_stops_at_the_first_failure(script):
    subprocess.run(["bash", "-n", script], check=True)
    assert "\nset -euo pipefail\n" in script.read_text()


@pytest.mark.parametrize("path", YAMLS, ids=short)
def test_a_yaml_loads_and_is_shown_whole(path):
    cls = Finetune if "tokens" in path.read_text() else Pretrain
    manifests = ["data.train=[a.jsonl]", "data.dev=[b.jsonl]"][: 1 + (cls is Finetune)]
    config = load_config(cls, path, [*manifests, "run.seed=7"])
    assert config.run.seed == 7
    assert config.encoder.context.embed_dim == 192  # the preset that the file names


def test_tiny_writes_the_promised_results(tiny):
    results = json.loads((tiny.out / "results.json").read_text())
    rates = ["seen_per", "scratch_per", "pretrained_per", "few_shot_per"]
    promised = {*rates, "unseen", "seconds", "seed", "commit"}
    assert {key for key in results if not key.endswith("_runs")} == promised
    assert fractions([results[key] for key in rates])
    assert set(results["unseen"]) == {"pt", "ca", "el", "hu"}
    for methods in results["unseen"].values():
        assert set(methods) >= CONTROLS
        assert fractions(list(methods.values()))
    assert results["seconds"] > 0
    assert results["seed"] == 1
    assert results["commit"] is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", results["commit"])


def test_tiny_prints_one_transcript_and_one_table(tiny):
    lines = tiny.stdout.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.endswith(".flac:"))
    recording = Path(lines[first].rstrip(":"))
    assert lines[first + 1] == speechx.load(tiny.out / "seen/best").transcribe(recording).text
    table = lines[first + 2 :]
    wanted = ["seen_per", "scratch_per", "pretrained_per", "few_shot_per", "unseen.pt"]
    wanted += ["mean of unseen", "seconds", "seed", "commit"]
    for key in wanted:
        assert [line for line in table if line.startswith(f"{key} ")], key
    assert set(next(line for line in table if "masked" in line).split()) >= CONTROLS


def test_tiny_never_tests_what_it_trained_on(tiny):
    for language in ("it", "pt"):
        said, voices = {}, {}
        for split in ("train", "dev", "test"):
            lines = (tiny.out / f"data/{language}/{split}.jsonl").read_text().splitlines()
            said[split] = {json.loads(line)["text"] for line in lines}
            voices[split] = {json.loads(line)["speaker"] for line in lines}
        assert not said["test"] & (said["train"] | said["dev"])
        assert not voices["test"] & (voices["train"] | voices["dev"])


def test_tiny_gives_the_compared_models_equal_updates(tiny):
    scratch, pretrained = (
        yaml.safe_load((tiny.out / name / "config.yaml").read_text())
        for name in ("scratch-1", "pretrained-1")
    )
    assert scratch["init"] is None
    assert pretrained["init"] == str(tiny.out / "pretrain/final")
    for settings in (scratch, pretrained):  # each arm is tuned, and trained, by itself
        for key in ("out", "init", "preset", "freeze_steps"):
            del settings[key]
        del settings["optim"]["head_lr_scale"]
    assert scratch == pretrained


def test_a_second_run_does_only_what_is_not_done(tiny, tmp_path):
    """Here all but the end of one training, whose state is taken up."""
    folder = tmp_path / "tiny"
    shutil.copytree(tiny.out, folder)
    (folder / "few_shot/done").unlink()
    made = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    again = RecipeRun(tiny.script, (), folder, tiny.settings).start().finish()
    changed = {p.relative_to(folder) for p, when in made.items() if p.stat().st_mtime_ns != when}
    assert changed <= {
        Path("results.json"),
        Path("few_shot/config.yaml"),
        Path("few_shot/vocabulary.json"),
        Path("few_shot/log.jsonl"),
    }
    new = {path for path in folder.rglob("*") if path.is_file()} - set(made)
    assert new == {folder / "few_shot/done", folder / "few_shot/health.jsonl"}
    assert "continuing at step 6" in again.stderr.read_text()


def test_commonvoice_scores_everything_it_trains(commonvoice):
    results = json.loads((commonvoice.out / "results.json").read_text())
    rates = [name for each in ("characters", "phonemes") for name in (each, f"{each}_scratch")]
    rates += ["characters_es", "characters_it"]
    rates += [f"{name}_lm" for name in rates]
    assert set(results) == {*rates, "seed", "commit"}
    assert fractions([results[name] for name in rates])
    scores = json.loads((commonvoice.out / "characters.json").read_text())
    assert set(scores["languages"]) == {"es", "it"}
    assert set(scores["scores"]) == {"cer", "wer"}


def test_commonvoice_hears_everything_and_transcribes_what_is_held_out(commonvoice):
    log = commonvoice.stderr.read_text()
    assert "pretrain: 20 utterances" in log  # 8 of train and 2 of other, twice
    transcripts = [line for line in commonvoice.stdout.read_text().splitlines() if ".flac:" in line]
    heard = [Path(line.split(":")[0]).name.partition(".")[0] for line in transcripts]
    assert sorted(heard) == [f"common_voice_{xx}_test{i}" for xx in ("es", "it") for i in (0, 1)]


def test_continued_keeps_the_language_from_the_parent_and_gives_it_to_the_child(continued):
    parent, child = (
        yaml.safe_load((continued.out / name / "config.yaml").read_text())
        for name in ("parent", "child")
    )
    splits = ("train", "unlabelled")
    speech = {f"data/{xx}/{split}.jsonl" for xx in ("es", "it") for split in splits}
    heard = {Path(path).relative_to(continued.out).as_posix() for path in parent["data"]["train"]}
    assert heard == {path for path in speech if "/it/" in path}
    heard = {Path(path).relative_to(continued.out).as_posix() for path in child["data"]["train"]}
    assert heard == {path for path in speech if "/es/" in path} | {"phones/es/train.jsonl"}
    assert child["init"] == str(continued.out / "parent/final")
    results = json.loads((continued.out / "results.json").read_text())
    assert fractions([results["without"], results["continued"]])
    log = continued.stderr.read_text()
    assert "before step 1" in log
    assert "is at chance on this audio" in log


def test_babel_is_scored_on_its_dev_set_and_says_by_which_policy(babel):
    results = json.loads((babel.out / "results.json").read_text())
    names = ["characters", "scratch", "characters_lm", "scratch_lm"]
    assert set(results) == {*names, "seed", "commit"}
    assert fractions([results[name] for name in names])
    for name in names:
        scores = json.loads((babel.out / f"{name}.json").read_text())
        assert set(scores["languages"]) == {"tr", "901"}
        for score in scores["scores"].values():
            assert "by the policy `babel: hesitations=keep unknown=drop" in score["policy"]
            assert score["overall"]["utterances"] == 12  # one call in each language, two sides
            assert {one["id"].split("_")[1] for one in score["worst"]} == {"10006"}
    heard = babel.stdout.read_text()
    assert len([line for line in heard.splitlines() if "_10006_" in line]) == 2


@pytest.mark.parametrize("name", ["babel", "commonvoice"])
def test_language_models_have_no_sentence_of_dev_or_test(name, request):
    run = request.getfixturevalue(name)
    ngrams = sorted(run.out.glob("*.ngram.safetensors"))
    assert ngrams
    for language in run.out.glob("data/*/test.jsonl"):
        for ngram in ngrams:
            model = read_ngram(ngram)
            for split in ("dev", "test"):
                held_out = read_manifest(language.with_name(f"{split}.jsonl"))
                assert not shared_sentences(model, held_out)


def test_babel_pretrains_on_what_has_no_transcript_but_never_on_the_test_set(babel):
    settings = yaml.safe_load((babel.out / "pretrain/config.yaml").read_text())
    heard = {Path(path).name for path in settings["data"]["train"]}
    assert heard == {"train.jsonl", "unlabelled.jsonl"}
    for language in ("tr", "901"):
        callers = {}
        for split in ("train", "dev", "test", "unlabelled"):
            lines = (babel.out / f"data/{language}/{split}.jsonl").read_text().splitlines()
            callers[split] = {json.loads(line)["speaker"].split("_")[1] for line in lines}
        assert callers["unlabelled"] == callers["train"] | {"10007"}  # eval has no transcripts
        assert not callers["dev"] & callers["train"]
        assert not callers["test"] & (callers["train"] | callers["dev"] | callers["unlabelled"])


@pytest.mark.parametrize("name", ["commonvoice", "babel"])
def test_a_recipe_says_how_to_call_it(name, tmp_path):
    script = ROOT / f"recipes/{name}/run.sh"
    done = subprocess.run(["bash", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert f"usage: recipes/{name}/run.sh ROOT" in done.stderr
