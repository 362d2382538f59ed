"""A head with phonemes of each language: trained apart, written and scored without the language."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import speechx
from speechx.cli.main import main
from speechx.data.manifest import read_manifest, write_manifest
from speechx.errors import UserError
from speechx.finetuning import finetune
from speechx.objectives.ctc import CTCConfig
from speechx.text.inventory import Inventory
from tests.conftest import finetune_config
from tests.toy_models import toy_model


@pytest.fixture(scope="module")
def run(tmp_path_factory, manifests):
    out = tmp_path_factory.mktemp("separate") / "run"
    config = finetune_config(
        out, manifests, objective={"tokens": "phonemes", "separate_languages": True},
        run={"steps": 2, "eval_steps": 2},
    )  # fmt: skip
    finetune(config)
    return out


def test_every_language_has_its_own_rows(run, manifests):
    spoken = {(u.language, p) for u in read_manifest(manifests[0]) for p in u.phones}
    tokens = json.loads((run / "vocabulary.json").read_text())["ctc"]["tokens"]
    assert set(tokens) == {f"({language}){phone}" for language, phone in spoken}
    assert len({language for language, _ in spoken}) == 2


def test_what_is_written_and_scored_has_no_languages(manifests, tmp_path):
    tokens = [f"({language}){phone}" for language in ("xx", "yy") for phone in "abcd"]
    folder = toy_model(tmp_path / "toy", tokens, "phonemes")
    model, utterances = speechx.load(folder), read_manifest(manifests[1])
    texts = [model.transcribe(u.audio).text for u in utterances]
    assert set("".join(texts)) == set("abcd ")
    dev = [
        replace(u, phones=tuple(text.split())) for u, text in zip(utterances, texts, strict=True)
    ]
    write_manifest(tmp_path / "dev.jsonl", dev)
    out = tmp_path / "scores.json"
    command = ["evaluate", "--model", str(folder), "--manifest", str(tmp_path / "dev.jsonl")]
    assert main([*command, "-o", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["scores"]["per"]["overall"]["rate"] == 0
    assert found["never_written"]["tokens"] == 0


def test_what_needs_one_inventory_is_refused(run, manifests, capsys):
    command = ["evaluate", "--model", str(run / "best"), "--manifest", str(manifests[1])]
    assert main([*command, "--allow-leaks", "--decoder", "beam"]) == 1
    assert "separate_languages" in capsys.readouterr().err
    with pytest.raises(UserError, match="separate_languages"):
        speechx.load(run / "best").map_inventory(Inventory.of(["a"], "xx", "test"))


def test_letters_have_no_languages():
    with pytest.raises(ValueError, match="phonemes"):
        CTCConfig(tokens="characters", separate_languages=True)
