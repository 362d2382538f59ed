"""The monitor: silent over healthy runs, and each failure named in a run that really has it."""

from __future__ import annotations

import contextlib
import json
import math
import os
from importlib import resources

import numpy as np
import pytest
from tests.sick_runs import SICK, sick_config

from speechx.cli.main import main
from speechx.config import dump, merge, parse, to_dict
from speechx.errors import UserError
from speechx.finetuning import finetune
from speechx.pretraining import Pretraining, pretrain
from speechx.pretraining import monitor as monitor_of
from speechx.training.health import NAMES, Contrast, Health, HealthStop, Monitor
from tests.conftest import finetune_config, finish, read_log, run_job, start
from tests.training.test_distributed import be_rank, free_ports

XLSR = Contrast(negatives=100, groups=2, entries=320)


def line(**changes):
    """A line of a healthy run of XLSR's size."""
    values = {
        "bits": 3.0, "accuracy": 0.5, "code_perplexity": 300.0, "soft_perplexity": 310.0,
        "negatives_equal_positive": 0.001, "feature_variance": 0.5, "gradient_norm": 1.0,
        "quantizer_gradient": 0.02,
    }  # fmt: skip
    return {**values, **changes}


def found(monitor, lines):
    """Steps and codes of the findings in lines of 100 steps each."""
    seen = [monitor.see(100 * n, values) for n, values in enumerate(lines, 1)]
    return [(finding.step, finding.code) for finding in seen if finding is not None]


def events(out):
    return [json.loads(text) for text in (out / "health.jsonl").read_text().splitlines()]


def states(out):
    return sorted(int(p.name.split("_")[1]) for p in (out / "state").iterdir())


CHANCE = {"bits": 6.64, "accuracy": 0.01}  # within 0.5 % of log2(101) = 6.658
COLLAPSED = {"code_perplexity": 2.0, "soft_perplexity": 2.0, "negatives_equal_positive": 1.0}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({}, None),
        (CHANCE, "E101"),
        ({"bits": 6.62}, None),
        # Half of the negatives equal the positive: a guess among the others costs 5.67 bits.
        ({"bits": 5.66, "negatives_equal_positive": 0.5}, "E101"),
        # Half of the frames are silence and share a code: the mean share says 6.219 bits.
        ({"bits": 6.125, "negatives_equal_positive": 0.265}, None),
        ({"bits": 6.125, "negatives_equal_positive": 0.265, "chance_bits": 6.128}, "E101"),
        ({"bits": 6.08, "negatives_equal_positive": 0.265, "chance_bits": 6.128}, None),
        ({**CHANCE, **COLLAPSED, "bits": 0.0}, "E102"),
        ({"code_perplexity": 7.9}, "E102"),
        ({"code_perplexity": 8.1}, None),
        ({"feature_variance": 0.0, **COLLAPSED}, "E103"),
        ({"accuracy": 0.98, "code_perplexity": 200.0}, "E103"),
        ({"accuracy": 0.98}, None),
        ({"accuracy": 0.98, "bits": 0.05}, "E103"),
        ({"soft_perplexity": 639.98, "quantizer_gradient": 1e-6, **CHANCE}, "E104"),
        ({"soft_perplexity": 639.98}, None),
        # A flat softmax whose best entry is always the first is no collapse.
        ({"soft_perplexity": 640.0, "code_perplexity": 2.0, "quantizer_gradient": 0.0}, "E104"),
    ],
)
def test_signatures(values, code):
    monitor = Monitor(Health(), steps=200_000, contrast=XLSR)
    lines = [line()] * 100 + [line(**values)] * 5
    assert found(monitor, lines) == ([(10_500, code)] if code else [])


def test_a_finding_needs_its_whole_window_in_one_piece_and_is_told_once():
    bad, good = line(**CHANCE), line()
    lines = [*[bad] * 4, good, *[bad] * 7, good, *[bad] * 5]
    monitor = Monitor(Health(settled=0.0), steps=200_000, contrast=XLSR)
    assert found(monitor, lines) == [(1000, "E101"), (1800, "E101")]


def test_what_is_normal_early_is_no_finding():
    """Chance level during the warm-up, few codes in the first twentieth of the run."""
    monitor = Monitor(Health(), steps=20_000, warmup=0.1, contrast=XLSR)
    assert found(monitor, [line(**CHANCE)] * 30) == [(2500, "E101")]
    monitor = Monitor(Health(), steps=20_000, warmup=0.1, contrast=XLSR)
    assert found(monitor, [line(**COLLAPSED)] * 30) == [(1500, "E102")]


@pytest.mark.parametrize(("steps", "window"), [(60, 100), (400, 133), (1000, 333), (10**6, 500)])
def test_the_window_is_a_share_of_the_run_within_bounds(steps, window):
    assert Monitor(Health(), steps).window == window
    assert Monitor(Health(window=7), steps).window == 7


def test_a_small_codebook_has_a_lower_floor():
    """4 of 10 entries are not a collapse; 2 of 10 are."""
    small = Contrast(negatives=10, groups=2, entries=10)
    for codes, finding in ((7.0, []), (4.9, [(200, "E102")])):
        monitor = Monitor(Health(window=100), steps=1000, contrast=small)
        assert found(monitor, [line(code_perplexity=codes, soft_perplexity=7.0)] * 3) == finding


@pytest.mark.parametrize("steps", [400, 2000, 10_000])
@pytest.mark.parametrize("end", ["low", "high"])
def test_the_numbers_of_healthy_runs_raise_nothing(steps, end):
    """The measured ranges that `speechx health` shows, at either end: on their own points and three
    between each two. For lengths they were measured at, and beyond; not for any length, because
    the highest bits are at chance still at an eighth of the run, after the warm-up."""
    file = resources.files("speechx") / "health_bands.json"
    bands = json.loads(file.read_text())["pretraining"]
    monitor = Monitor(Health(), steps, 0.1, Contrast(100, 2, 64))
    keys = ("bits", "accuracy", "code_perplexity", "soft_perplexity", "negatives_equal_positive")
    most = 0
    points = np.unique(np.concatenate([np.linspace(0, bands["at"][0], 9)[1:], _between(bands)]))
    for at in points:
        values = {key: np.interp(at, bands["at"], bands[key][end]) for key in keys}
        values["code_perplexity"] *= 128
        values["soft_perplexity"] *= 128
        assert monitor.see(round(at * steps), values) is None
        most = max(most, monitor.memory.sick)
    print(f"{steps} steps: the {end} end shows a signature for {most} of {monitor.window} steps")
    # The grid does see the point at which the highest bits are within the limit of E101.
    assert (most > 0) == (end == "high")


def _between(bands):
    points = range(len(bands["at"]))
    return np.interp(np.arange(0, len(points) - 0.9, 0.25), points, bands["at"])


def test_a_model_is_not_kept_over_a_better_one_while_a_line_shows_a_signature():
    """Before the signature counts, too; and who asked for warnings only gets every model."""
    for action in ("stop", "rollback", "warn"):
        monitor = Monitor(Health(action=action), 200_000, contrast=XLSR)
        kept = [monitor.may_keep]
        for n, values in enumerate([line(), line(**COLLAPSED), line()], 1):
            monitor.see(100 * n, values)
            kept.append(monitor.may_keep)
        assert kept == [True, True, action == "warn", True]
        assert monitor.memory.sick == 0


def test_a_state_is_healthy_once_a_later_line_shows_no_signature():
    monitor = Monitor(Health(), 10_000, contrast=XLSR)
    monitor.saved(100)
    assert monitor.memory.healthy is None
    monitor.see(100, line())
    assert monitor.memory.healthy is None  # these steps were before it
    monitor.see(200, line(**CHANCE))
    assert monitor.memory.healthy is None
    monitor.saved(200)
    monitor.see(300, line())
    assert monitor.memory.healthy == 200


def test_the_memory_of_a_monitor_goes_on_where_it_was_saved():
    lines = [line(**CHANCE)] * 9
    whole, part = (Monitor(Health(settled=0), 10_000, contrast=XLSR) for _ in range(2))
    assert found(whole, lines) == [(500, "E101")]
    assert found(part, lines[:3]) == []
    again = Monitor(Health(settled=0), 10_000, contrast=XLSR)
    again.resume(json.loads(json.dumps(part.to_dict())))
    assert again.see(400, lines[3]) is None
    finding = again.see(500, lines[4])
    assert finding is not None
    assert finding.code == "E101"


@pytest.mark.parametrize("name", SICK)
def test_a_run_that_fails_is_stopped_by_name(tmp_path, manifests, name, capsys):
    config = sick_config(tmp_path / "run", manifests, name)
    with pytest.raises(HealthStop) as caught:
        pretrain(config)
    message, code = str(caught.value), name.split()[0]
    assert message.startswith(f"{code} {NAMES[code]} at step ")
    assert "\n" not in message
    (event,) = events(config.out)
    assert (event["code"], event["action"]) == (code, "stop")
    assert event["step"] < config.run.steps
    last = [values for values in read_log(config.out) if "bits" in values][-1]
    print(f"{name}, step {event['step']}: {event['text']}")
    chance = math.log2(config.contrastive.negatives + 1)
    match name:
        case "E101":
            assert abs(last["bits"] / chance - 1) < 0.01
        case "E102":
            assert last["code_perplexity"] < 8
            assert last["negatives_equal_positive"] > 0.1
        case "E103":
            assert last["feature_variance"] < 1e-6
        case "E103 by a leak":
            assert last["accuracy"] > 0.97
            assert last["feature_variance"] > 0.1
        case "E104":
            assert last["soft_perplexity"] > 63.9
            assert last["quantizer_gradient"] < 1e-3
        case "E105":
            assert len((config.out / "refused.jsonl").read_text().splitlines()) == 8
    if event["healthy"] is None:
        assert "No checkpoint is known to be healthy" in message
    else:
        assert f"Last healthy checkpoint: step {event['healthy']}; --resume" in message
        assert states(config.out) == [event["healthy"]]


def test_a_stop_leaves_no_collapsed_model_as_final(tmp_path, manifests, monkeypatch):
    kept = []
    monkeypatch.setattr(Pretraining, "keep", lambda self, model, step, values: kept.append(step))
    rising = merge(RISING, {"run": {"eval_steps": 5}})
    config = sick_config(tmp_path / "run", manifests, "E102", **rising)
    with pytest.raises(HealthStop):
        pretrain(config)
    codes = {line["step"]: line["code_perplexity"] for line in read_log(config.out)}
    print(f"code perplexity {codes}, kept at {kept}")
    assert kept
    assert all(codes[step] > 8 for step in kept)
    assert len(codes) > 1 + list(codes).index(kept[-1])


def test_the_command_ends_with_code_3_and_one_line(tmp_path, manifests, capsys):
    config = sick_config(tmp_path / "run", manifests, "E102")
    file = tmp_path / "sick.yaml"
    file.write_text(dump(config))
    assert main(["pretrain", str(file)]) == 3
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("speechx: E102 collapse at step 25: code perplexity is ")
    assert "What helps: lower optim.rate" in said


def test_a_healthy_run_is_left_alone(tmp_path, manifests):
    """Watched as closely as those that fail."""
    config = sick_config(tmp_path / "run", manifests, "well")
    pretrain(config)
    assert not (config.out / "health.jsonl").exists()
    assert states(config.out) == [75, 80]
    lines = [values for values in read_log(config.out) if "bits" in values]
    assert lines[-1]["bits"] < lines[0]["bits"] - 0.5
    monitor = monitor_of(config)
    assert [monitor.see(values["step"], values) for values in lines] == [None] * 16
    assert monitor.memory.sick == 0


# No diversity term, and a rate that rises until the codes collapse.
RISING = {"optim": {"rate": 0.2, "warmup": 0.8}, "run": {"steps": 120}}


@pytest.fixture(scope="module")
def returned(tmp_path_factory, manifests):
    """A run that collapses and goes on from its last healthy state, at a lower rate."""
    out = tmp_path_factory.mktemp("returned") / "run"
    health = {"window": 15, "action": "rollback"}
    config = sick_config(out, manifests, "E102", **RISING, health=health)
    with contextlib.suppress(HealthStop):  # if three returns are not enough for it
        pretrain(config)
    return config


def test_going_back_to_the_last_healthy_state_at_half_the_rate(returned):
    back = [event for event in events(returned.out) if event["action"] == "rollback"]
    print([(event["step"], event["code"], event["healthy"]) for event in back])
    assert 1 <= len(back) <= 3
    for event in back:
        assert event["healthy"] <= event["step"] - 15
    lines = read_log(returned.out)
    assert [values["step"] for values in lines] == list(range(5, lines[-1]["step"] + 1, 5))
    for values in lines:
        done = values["step"] - 1
        whole = returned.optim.rate * min(done / 96, (120 - done) / 24)
        halved = sum(values["step"] > event["healthy"] for event in back)
        assert values["rate"] == pytest.approx(whole / 2**halved, rel=1e-6)
    # What is resumed from here keeps the lower rate.
    newest = returned.out / "state" / f"step_{states(returned.out)[-1]}" / "run.json"
    memory = json.loads(newest.read_text())["health"]
    assert (memory["rollbacks"], memory["rate"]) == (len(back), 0.5 ** len(back))


def test_it_gives_up_after_so_many_returns(tmp_path, manifests):
    health = {"window": 15, "action": "rollback", "rollbacks": 1}
    twice = {**RISING, "optim": {"rate": 0.6, "warmup": 0.8}}  # of what is too much already
    config = sick_config(tmp_path / "run", manifests, "E102", **twice, health=health)
    with pytest.raises(HealthStop, match=r"\(after 1 returns to a healthy checkpoint\)\. Last"):
        pretrain(config)
    assert [event["action"] for event in events(config.out)] == ["rollback", "stop"]
    # And from there it can be continued by hand: the newest state is the healthy one.
    healthy = events(config.out)[-1]["healthy"]
    assert states(config.out) == [healthy]
    again = to_dict(config)
    again["health"]["action"] = "warn"
    again["run"]["steps"] = healthy + 5
    pretrain(parse(type(config), again, "test"), resume=True)
    assert events(config.out)[-2]["action"] == "stop"
    assert events(config.out)[-1] == {"step": healthy, "action": "resume"}
    assert read_log(config.out)[-1]["step"] == healthy + 5


def test_a_warning_lets_the_run_go_on(tmp_path, manifests, capsys):
    health = {"action": "warn"}
    config = sick_config(tmp_path / "run", manifests, "E102", health=health, run={"steps": 40})
    pretrain(config)
    warned = events(config.out)
    assert warned[0]["code"] == "E102"
    assert {event["action"] for event in warned} == {"warn"}
    said = capsys.readouterr().err
    assert all(f"pretrain: {e['code']} {NAMES[e['code']]} at step" in said for e in warned)
    assert read_log(config.out)[-1]["step"] == 40


def test_nothing_goes_on_over_an_overflow(tmp_path, manifests):
    config = sick_config(tmp_path / "run", manifests, "E105", health={"action": "warn"})
    with pytest.raises(HealthStop, match="8 steps in a row had a non-finite gradient"):
        pretrain(config)


def test_a_resumed_run_finds_what_an_uninterrupted_one_finds(tmp_path, manifests):
    """Interrupted in the middle of the window, after a state that lies inside a log line."""
    messages = []
    for name, stop_at in (("whole", None), ("part", 19)):
        config = sick_config(tmp_path / name, manifests, "E102", run={"save_steps": 6})
        if stop_at is not None:
            run_job("pretrain", config, stop_at=stop_at)
            assert json.loads((config.out / "state" / "step_18" / "run.json").read_text())[
                "health"
            ]["sick"]
        with pytest.raises(HealthStop) as caught:
            pretrain(config, resume=stop_at is not None)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert read_log(tmp_path / "whole") == read_log(tmp_path / "part")


def run_and_tell(config, said):
    """How the run of one rank ends, as a file."""
    try:
        pretrain(config)
        end = "it ended well"
    except HealthStop as error:
        end = str(error)
    said.with_suffix(f".{os.environ.get('RANK', 'alone')}").write_text(end)


def test_two_processes_decide_alike(tmp_path, manifests):
    """And as one does; they go back together, too."""
    back = {"window": 15, "action": "rollback", "rollbacks": 1}
    changes = {"run": {"device_seconds": 3}}
    rising = merge({**RISING, "health": back}, {"run": {"device_seconds": 3, "steps": 400}})
    jobs = [
        (run_and_tell, sick_config(tmp_path / "two", manifests, "E102", **changes),
         tmp_path / "stop"),
        (run_and_tell, sick_config(tmp_path / "back", manifests, "E102", **rising),
         tmp_path / "back"),
    ]  # fmt: skip
    ports = free_ports(len(jobs))
    ranks = [start(be_rank, rank, ports, jobs) for rank in range(2)]
    assert finish(*ranks, seconds=240) == [0, 0]
    run_and_tell(sick_config(tmp_path / "one", manifests, "E102", **changes), tmp_path / "stop")
    ends = [(tmp_path / f"stop.{rank}").read_text() for rank in ("0", "1", "alone")]
    assert {end[:25] for end in ends} == {"E102 collapse at step 25:"}
    assert ends[0] == ends[1]
    assert (tmp_path / "back.0").read_text() == (tmp_path / "back.1").read_text()
    assert events(tmp_path / "back")[0]["action"] == "rollback"
    peak = max(values["rate"] for values in read_log(tmp_path / "back"))
    assert peak < 0.2


def test_a_blank_plateau_is_said_and_stops_nothing(tmp_path, manifests, capsys):
    run = {"steps": 40, "log_steps": 5, "save_steps": 40, "eval_steps": 40}
    settings = {"optim": {"rate": 0.001}, "health": {"window": 10}, "run": run}
    config = finetune_config(tmp_path / "run", manifests, **settings)
    finetune(config)
    (event,) = events(config.out)
    assert (event["code"], event["action"], event["step"]) == ("E201", "warn", 10)
    assert "Likely causes, the likeliest first: a learning rate too low" in event["text"]
    assert "finetune: E201 blank plateau at step 10: 100.00% of the frames" in (
        capsys.readouterr().err
    )
    assert read_log(config.out)[-1]["step"] == 40


def test_fine_tuning_that_learns_is_not_warned(tmp_path, manifests):
    run = {"steps": 100, "log_steps": 10, "save_steps": 100, "eval_steps": 100}
    still = {"time_masking": {"probability": 0.0}, "channel_masking": {"probability": 0.0}}
    settings = {"optim": {"rate": 0.02}, "health": {"window": 40}, "run": run, **still}
    config = finetune_config(tmp_path / "run", manifests, **settings)
    finetune(config)
    assert not (config.out / "health.jsonl").exists()
    assert min(values.get("blank_share", 1.0) for values in read_log(config.out)) < 0.9


@pytest.mark.parametrize(
    ("values", "first"),
    [
        ([4.0, 3.0], "a learning rate too low"),
        ([4.0, 4.0], "labels that do not belong"),
    ],
)
def test_causes_of_a_blank_plateau_are_ranked_by_what_was_measured(values, first):
    monitor = Monitor(Health(window=100), 1000)
    seen = [
        monitor.see(100 * n, {"loss": loss, "blank_share": 1.0}) for n, loss in enumerate(values, 1)
    ]
    assert seen[0] is None
    assert f"the likeliest first: {first}" in str(seen[1])
    long = Monitor(Health(window=100), 500)
    finding = long.see(100, {"loss": 4.0, "blank_share": 1.0, "infeasible": 3.0})
    assert "the likeliest first: labels longer than their frames" in str(finding)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(UserError, match="window must be above 0"):
        parse(Health, {"window": 0}, "test")
    with pytest.raises(UserError, match="rollback"):
        parse(Health, {"action": "undo"}, "test")
