"""One decode, one score: the dev error in the log is what `speechx evaluate` gives afterwards."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from speechx.cli.main import main
from speechx.data.manifest import read_manifest, write_manifest
from speechx.models.folder import open_folder
from tests.conftest import finetune_config, read_log
from tests.toy_models import toy_model

PHONES = ("ɡ", "tʃ", "a", "e")
SPELLINGS = {"a": "g", "b": "t͡ʃ", "c": "a", "d": "e"}  # of the phones of a tone, in the manifests


@pytest.mark.parametrize("token_type", ["phonemes", "characters"])
def test_the_logged_dev_error_is_what_evaluate_gives(
    manifests: tuple[Path, Path], tmp_path: Path, token_type: Any
) -> None:
    """References have g for ɡ, tie bars, double spaces; the parent writes all the time, so that its
    child after five steps does too."""
    written = []
    for name, manifest in zip(("train", "dev"), manifests, strict=True):
        some = [
            replace(
                u,
                text=f" {u.text[:2]}  {u.text[2:]} ".upper(),
                phones=tuple(SPELLINGS[letter] for letter in u.text),
            )
            for u in read_manifest(manifest)
        ]
        write_manifest(tmp_path / f"{name}.jsonl", some)
        written.append(tmp_path / f"{name}.jsonl")
    tokens = (*PHONES, "g", "t͡ʃ") if token_type == "phonemes" else tuple("abcd ")
    parent = toy_model(tmp_path / "parent", tokens, token_type)
    config = finetune_config(
        tmp_path / "run", (written[0], written[1]), init=str(parent),
        objective={"tokens": token_type},
        run={"steps": 5, "eval_steps": 5}, optim={"lr": 1e-4},
    )  # fmt: skip
    from speechx.finetuning import finetune

    best = finetune(config)
    (line,) = (line for line in read_log(config.out) if "dev_hypothesis" in line)
    out = tmp_path / "scores.json"
    command = ["evaluate", "--model", str(best), "--manifest", str(written[1]), "-o", str(out)]
    assert main(command) == 0
    scores = json.loads(out.read_text())
    assert scores["overall"]["rate"] == line[f"dev_{scores['metric']}"]
    assert scores["metric"] == {"phonemes": "per", "characters": "cer"}[token_type]
    (temperature,) = open_folder(best).temperatures.values()  # fitted on dev by the run
    assert scores["reliability"]["temperature"] == temperature != 1
    assert scores["reliability"]["count"] > 0
    assert len(line["dev_hypothesis"]) > 5
    assert "  " not in line["dev_reference"]
    for language, rate in scores["languages"].items():
        assert rate["rate"] == line[f"dev_{scores['metric']}/{language}"]


def test_spellings_of_one_phone_are_one_phone(manifests: tuple[Path, Path], tmp_path: Path) -> None:
    """A model that writes the reference in another spelling makes no error."""
    from speechx.evaluation import evaluate
    from speechx.transcription.loading import load

    recognizer = load(toy_model(tmp_path / "model", PHONES, "phonemes"), "cpu")
    some = read_manifest(manifests[1])
    own = {"ɡ": "g", "tʃ": "t͡ʃ"}
    references = []
    for index, (spans,) in recognizer.decode(some):
        phones = tuple(own.get(span.token, span.token) for span in spans)
        references.append(replace(some[index], phones=phones))
    assert {"g", "t͡ʃ"} & {phone for u in references for phone in u.phones or ()}
    write_manifest(tmp_path / "own.jsonl", references)
    assert evaluate(recognizer, [tmp_path / "own.jsonl"])["per"].overall.edits == 0
