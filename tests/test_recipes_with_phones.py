"""Recipes that compare models on manifests with phones: unseen, objectives, whistle, findings."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from speechx.corpora import synthetic
from tests.recipe_run import start_findings, start_objectives, start_unseen, start_whistle
from tests.test_recipes import CONTROLS, fractions


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of a minute of training speech in two languages."""
    out = tmp_path_factory.mktemp("spoken")
    synthetic.prepare(out, ["it", "pt"], minutes=0.25, processes=1)
    return out


@pytest.fixture
def two_languages(spoken: Path, tmp_path: Path) -> Path:
    """DATA of the recipes, with eight utterances to a manifest."""
    shutil.copytree(spoken, tmp_path / "two")
    for manifest in (tmp_path / "two").glob("*/*.jsonl"):
        lines = manifest.read_text().splitlines(keepends=True)
        manifest.write_text("".join(lines[:8]))
    return tmp_path / "two"


def test_unseen_leaves_one_language_out_at_a_time(two_languages, tmp_path):
    run = start_unseen(tmp_path, two_languages, TOPLINE="1").finish()
    results = json.loads((run.out / "results.json").read_text())
    assert set(results["ctc"]) == {"it", "pt"}
    methods = results["ctc"]["pt"]
    assert set(methods) >= CONTROLS | {"masked_lm", "mapped_lm", "topline"}
    assert fractions(list(methods.values()))

    made = {path: path.stat().st_mtime_ns for path in run.out.rglob("*.safetensors")}
    more = {"HELD_OUT": "pt", "HEADS": "ctc articulatory", "TOPLINE": "1"}
    start_unseen(tmp_path, two_languages, **more).finish()
    assert made == {path: path.stat().st_mtime_ns for path in made}
    results = json.loads((run.out / "results.json").read_text())
    assert set(results["ctc"]) == set(results["articulatory"]) == {"pt"}
    assert "composed_lm" in results["articulatory"]["pt"]
    config = yaml.safe_load((run.out / "articulatory-pt-1/config.yaml").read_text())
    assert {Path(path).parent.name for path in config["data"]["train"]} == {"it"}
    assert config["objective"]["kind"] == "articulatory"


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ("fr", "no language fr"),
        ("it, pt", "none is left to train on"),
        ("it it,pt", "names it twice"),
    ],
)
def test_unseen_names_a_fold_that_cannot_be(held_out, message, two_languages, tmp_path):
    run = start_unseen(tmp_path, two_languages, HELD_OUT=held_out)
    assert run.process.wait(timeout=60) == 1
    assert message in run.stderr.read_text()


def test_unseen_lists_manifests_that_are_missing_or_without_phones(two_languages, tmp_path):
    bare, gone = two_languages / "pt/test.jsonl", two_languages / "it/dev.jsonl"
    bare.write_text(re.sub(r', "phones": \[.*?\]', "", bare.read_text()))
    gone.unlink()
    run = start_unseen(tmp_path, two_languages)
    assert run.process.wait(timeout=60) == 1
    *_, message, first, second = run.stderr.read_text().splitlines()
    assert "speechx data phones" in message
    assert [first, second] == [str(gone), str(bare)]


def test_objectives_stand_side_by_side(two_languages, tmp_path):
    names = ["cpc", "unispeech"]
    run = start_objectives(tmp_path, two_languages, TARGET="pt", OBJECTIVES=" ".join(names))
    run.finish()
    results = json.loads((run.out / "results.json").read_text())
    assert set(results["per"]) == set(results["layers"]) == set(results["minutes"]) == set(names)
    assert fractions(list(results["per"].values()))
    assert fractions([rate for each in results["layers"].values() for rate in each.values()])
    for name in names:
        config = yaml.safe_load((run.out / name / "config.yaml").read_text())
        assert {Path(path).parent.name for path in config["data"]["train"]} == {"it", "pt"}
        tuned = yaml.safe_load((run.out / f"{name}-1" / "config.yaml").read_text())
        assert {Path(path).parent.name for path in tuned["data"]["train"]} == {"pt"}
        layers = json.loads((run.out / "layers" / name / "layers.json").read_text())
        assert {"phones", "language"} <= set(layers["probes"])


def test_objectives_asks_for_the_language_that_is_fine_tuned(two_languages, tmp_path):
    for settings, message in (({}, "TARGET"), ({"TARGET": "fr"}, "no fr/train.jsonl")):
        run = start_objectives(tmp_path, two_languages, **settings)
        assert run.process.wait(timeout=60) == 1
        assert message in run.stderr.read_text()


def test_whistle_starts_a_language_from_models_of_the_others(two_languages, tmp_path):
    kinds = ["phonemes", "characters"]
    run = start_whistle(tmp_path, two_languages, TARGET="pt", KINDS=" ".join(kinds)).finish()
    results = json.loads((run.out / "results.json").read_text())
    assert list(results)[:2] == kinds
    assert fractions([results[kind]["1min"] for kind in kinds])
    for kind in kinds:
        config = yaml.safe_load((run.out / kind / "config.yaml").read_text())
        assert {Path(path).parent.name for path in config["data"]["train"]} == {"it"}
        assert config["encoder"]["context"]["kind"] == "conformer"
    log = run.stderr.read_text()
    assert "new phones start from the nearest phone" in log
    assert "starts fresh" in log  # phonemes behind characters


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "TARGET"),
        ({"TARGET": "fr"}, "no fr/train.jsonl"),
        ({"TARGET": "pt", "KINDS": "x"}, "KINDS has x"),
    ],
)
def test_whistle_names_settings_that_cannot_be(settings, message, two_languages, tmp_path):
    run = start_whistle(tmp_path, two_languages, **settings)
    assert run.process.wait(timeout=60) == 1
    assert message in run.stderr.read_text()


@pytest.mark.slow
def test_all_kinds_of_whistle_stand_side_by_side(two_languages, tmp_path):
    run = start_whistle(tmp_path, two_languages, TARGET="pt").finish()
    results = json.loads((run.out / "results.json").read_text())
    assert list(results)[:4] == ["phonemes", "characters", "wav2vec2", "scratch"]


@pytest.mark.slow
def test_findings_compare_pretraining_on_one_and_on_many_languages(two_languages, tmp_path):
    given = {"TARGET": "pt", "RELATED": "it", "STAGES": "multilingual codes"}
    run = start_findings(tmp_path, two_languages, **given).finish()
    results = json.loads((run.out / "multilingual.json").read_text())
    assert fractions(list(results["per"].values()))
    assert set(results["per"]) == {"mono", "multi"}
    assert all(1 < bits < 8 for bits in results["bits"].values())
    for name, languages in (("mono", {"pt"}), ("multi", {"it", "pt"})):
        config = yaml.safe_load((run.out / f"{name}-1" / "config.yaml").read_text())
        assert {Path(path).parent.name for path in config["data"]["train"]} == languages
    codes = json.loads((run.out / "codes-1/codebook.json").read_text())
    assert {"it", "pt"} <= set(codes["languages"])


@pytest.mark.slow
def test_every_finding_has_a_table(two_languages, tmp_path):
    run = start_findings(tmp_path, two_languages, TARGET="pt", RELATED="it").finish()
    tables = {"multilingual": 2, "vocabulary": 2, "continued": 4}
    for name, arms in tables.items():
        assert len(json.loads((run.out / f"{name}.json").read_text())["per"]) == arms
    whistle = json.loads((run.out / "whistle/results.json").read_text())
    assert {"phonemes", "characters"} <= set(whistle)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "TARGET"),
        ({"TARGET": "pt"}, "RELATED"),
        ({"TARGET": "pt", "RELATED": "fr"}, "no fr/train.jsonl"),
        ({"TARGET": "pt", "RELATED": "it", "STAGES": "x"}, "STAGES has x"),
    ],
)
def test_findings_names_settings_that_cannot_be(settings, message, two_languages, tmp_path):
    run = start_findings(tmp_path, two_languages, **settings)
    assert run.process.wait(timeout=60) == 1
    assert message in run.stderr.read_text()
