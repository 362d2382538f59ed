"""A new objective is one file: it trains, resumes, saves, loads and is evaluated by unchanged code.

The toy objective below is complete. Language identification, a real one, goes the same way.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import yaml

from speechx import objectives
from speechx.cli.main import main
from speechx.config import config, to_dict
from speechx.models.folder import open_folder
from speechx.objectives.objective import Loss, Objective, ObjectiveConfig, Term
from tests.conftest import Interrupted, interrupted_at, read_log, small_filterbank


@config
class LoudnessConfig(ObjectiveConfig):
    """Predict the loudness of a recording: mean pool, linear, squared error."""

    kind: Literal["loudness"] = "loudness"

    def draw(self, batch: Any, random: Any, encoder: Any) -> Any:
        return {"noise_B": torch.from_numpy(random.normal(size=len(batch.ids)))}, {
            "recordings": len(batch.ids)
        }

    def build(self, encoder: Any, vocabulary: Any) -> Objective:
        return Loudness(encoder)


class Loudness(Objective):
    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.head = torch.nn.Linear(encoder.context.embed_dim, 1)

    def forward(self, encoder: Any, batch: Any, step: Any, layer_keep_L: Any = None) -> Loss:
        pooled_BD = encoder(batch.wave_BS, layer_keep_L=layer_keep_L).context_BTD.mean(1)
        wanted_B = batch.wave_BS.square().mean(1) + 0.01 * batch.draws["noise_B"].float()
        error = (self.head(pooled_BD)[:, 0] - wanted_B).square().sum()
        totals = {"error": error.detach(), "recordings": torch.tensor(len(wanted_B))}
        return Loss((Term(error, "recordings"),), totals)

    def metrics(self, totals: Any) -> dict[str, float]:
        return {"error": totals["error"] / totals["recordings"]}


@pytest.fixture
def loudness(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line in the union."""
    monkeypatch.setattr(objectives, "AnyObjective", objectives.AnyObjective | LoudnessConfig)


def write_config(path: Path, manifests: tuple[Path, Path], **settings: Any) -> Path:
    content = {
        "encoder": to_dict(small_filterbank()),
        "data": {"train": [str(manifests[0])], "dev": [str(manifests[1])]},
        "run": {
            "steps": 30, "batch_seconds": 12, "max_seconds_per_device": 6, "device": "cpu",
            "log_steps": 1, "eval_steps": 10, "save_steps": 10,
        },
    }  # fmt: skip
    path.write_text(yaml.safe_dump({**content, **settings}))
    return path


def test_a_new_objective_goes_through_the_whole_command_line(
    tmp_path: Path, manifests: tuple[Path, Path], loudness: None, capsys: Any
) -> None:
    file = write_config(tmp_path / "toy.yaml", manifests, objective="loudness", optim={"lr": 0.01})
    short = "data.min_seconds=0.5"
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    assert main(["pretrain", str(file), f"out={whole}", short]) == 0
    errors = [line["error"] for line in read_log(whole) if "error" in line]
    assert len(errors) == 30
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])

    arguments = ["pretrain", str(file), f"out={halted}", short]
    with interrupted_at(15), pytest.raises(Interrupted):
        main(arguments)
    capsys.readouterr()
    write_config(file, manifests, objective="loudness", optim={"lr": 0.02})  # not used on resume
    assert main([*arguments, "--resume"]) == 0
    err = capsys.readouterr().err
    assert [x for x in err.splitlines() if "--resume goes on" in x and "optim.lr=0.01" in x]
    assert err.count("--resume goes on") == 1
    assert read_log(halted) == read_log(whole)
    capsys.readouterr()

    folder = whole / "final"
    saved = open_folder(folder)
    assert saved.objectives == {"loudness": {"kind": "loudness"}}
    assert set(saved.part("objectives.loudness.")) == {"head.weight", "head.bias"}
    assert main(["evaluate", "--model", str(folder), "--manifest", str(manifests[1])]) == 0
    printed = capsys.readouterr().out
    assert printed.split()[:2] == ["loudness", "error"]
    assert {line.split()[0] for line in printed.splitlines()[1:]} == {"xx", "yy", "overall"}


def test_language_identification_is_trained_scored_and_read_out(
    tmp_path: Path, manifests: tuple[Path, Path], capsys: Any
) -> None:
    file = write_config(
        tmp_path / "language.yaml", manifests, objective="language_id", optim={"lr": 0.005}
    )
    out = tmp_path / "out"
    assert main(["finetune", str(file), f"out={out}"]) == 0
    last = [line for line in read_log(out) if "dev_accuracy" in line][-1]
    assert open_folder(out / "final").vocabularies["language_id"].tokens == ("xx", "yy")
    capsys.readouterr()
    scores = tmp_path / "scores.json"
    command = ["evaluate", "--model", str(out / "final"), "--manifest", str(manifests[1])]
    assert main([*command, "-o", str(scores)]) == 0
    written = json.loads(scores.read_text())
    assert written["overall"]["rate"] == last["dev_accuracy"]
    assert written["overall"]["utterances"] == 4
    assert {"xx", "yy"} == set(written["confusions"])
    assert "accuracy" in capsys.readouterr().out
    audio = manifests[0].parent / "xx" / "0.wav"
    assert main(["transcribe", str(audio), "--model", str(out / "final")]) == 0
    assert capsys.readouterr().out.strip() in ("xx", "yy")
