"""The monitor: silent over healthy runs, and each failure named in a run that really has it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket

import numpy as np
import pytest

from speechx.cli.main import main
from speechx.config import dump, merge, parse, to_dict
from speechx.diagnostics.run_log import healthy_bands
from speechx.errors import HealthStop, UserError
from speechx.finetuning import finetune
from speechx.models.quantizer import QuantizerConfig
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.wav2vec2 import Wav2Vec2Config
from speechx.pretraining import pretrain
from speechx.training.health import Health, HealthMemory, Monitor
from tests.conftest import finetune_config, finish, read_log, run_job, start
from tests.failing_runs import FAILING, failing_config

NAMES = {
    "E101": "chance level", "E102": "collapse", "E103": "trivial solution",
    "E104": "saturated quantizer", "E105": "overflow", "E201": "blank plateau",
}  # fmt: skip
XLSR = Wav2Vec2Config()  # 100 negatives, 2 x 320 codes
CTC = CTCConfig(tokens="characters")


def monitor_of(objective=XLSR, health=None, steps=200_000, warmup_ratio=0.0, memory=None):
    signatures = {"": objective.signatures()}
    return Monitor(health or Health(), steps, warmup_ratio, signatures, memory)


def line(**changes):
    """A line of a healthy run of XLSR's size."""
    values = {
        "bits": 3.0, "accuracy": 0.5, "code_perplexity": 300.0, "soft_perplexity": 310.0,
        "negatives_equal_positive": 0.001, "feature_variance": 0.5, "gradient_norm": 1.0,
        "quantizer_gradient": 0.02, **changes,
    }  # fmt: skip
    return {"chance_bits": math.log2(1 + 100 * (1 - values["negatives_equal_positive"])), **values}


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
        # Half of the frames are silence and share a code: the mean share gives 6.219 bits.
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
    lines = [line()] * 100 + [line(**values)] * 5
    assert found(monitor_of(), lines) == ([(10_500, code)] if code else [])


def test_a_finding_needs_its_whole_window_in_one_piece_and_is_reported_once():
    bad, good = line(**CHANCE), line()
    lines = [*[bad] * 4, good, *[bad] * 7, good, *[bad] * 5]
    monitor = monitor_of(health=Health(settled=0.0))
    assert found(monitor, lines) == [(1000, "E101"), (1800, "E101")]


def test_another_failure_in_the_same_stretch_is_reported_too():
    """A collapse ends at chance among the negatives that are left; each code comes once."""
    lines = [line(**COLLAPSED)] * 6 + [line(**CHANCE)] * 3
    monitor = monitor_of(health=Health(settled=0.0))
    assert found(monitor, lines) == [(500, "E102"), (700, "E101")]


def test_a_finding_of_one_task_does_not_hide_that_of_another():
    of_each = {name: Wav2Vec2Config().signatures() for name in ("a/", "b/")}
    monitor = Monitor(Health(settled=0.0, window=100), 1000, signatures=of_each)
    both = {f"a/{k}": v for k, v in line(**COLLAPSED).items()}
    both |= {f"b/{k}": v for k, v in line(**COLLAPSED).items()}
    texts = [f.text for n in (1, 2, 3, 4) if (f := monitor.see(100 * n, both))]
    assert [text[:2] for text in texts] == ["a:", "b:"]


def test_each_task_needs_its_own_window():
    """After a long failure of task a one bad line of task b is no finding yet."""
    of_each = {name: XLSR.signatures() for name in ("a/", "b/")}
    monitor = Monitor(Health(settled=0.0, action="warn"), 10_000, signatures=of_each)
    bad, good = line(**COLLAPSED), line()
    lines = [of_tasks(a=bad, b=good)] * 8 + [of_tasks(a=bad, b=bad)] * 6
    assert found(monitor, lines) == [(500, "E102"), (1300, "E102")]


def test_values_that_are_normal_early_are_no_finding():
    """Chance level during the warm-up, few codes in the first twentieth of the run."""
    for values, step, code in ((CHANCE, 2500, "E101"), (COLLAPSED, 1500, "E102")):
        monitor = monitor_of(steps=20_000, warmup_ratio=0.1)
        assert found(monitor, [line(**values)] * 30) == [(step, code)]


@pytest.mark.parametrize(("steps", "window"), [(60, 100), (400, 133), (1000, 333), (10**6, 500)])
def test_the_window_is_a_share_of_the_run_within_bounds(steps, window):
    assert Monitor(Health(), steps).window == window
    assert Monitor(Health(window=7), steps).window == 7


def test_a_small_codebook_has_a_lower_floor():
    """4 of 10 entries are not a collapse; 2 of 10 are."""
    small = Wav2Vec2Config(
        num_negatives=10, quantizer=QuantizerConfig(num_groups=2, num_entries=10, dim=8)
    )
    for codes, finding in ((7.0, []), (4.9, [(200, "E102")])):
        monitor = monitor_of(small, Health(window=100), 1000)
        assert found(monitor, [line(code_perplexity=codes, soft_perplexity=7.0)] * 3) == finding


@pytest.mark.parametrize("steps", [400, 2000, 10_000])
@pytest.mark.parametrize("end", ["low", "high"])
def test_the_numbers_of_healthy_runs_raise_nothing(steps, end):
    """The measured ranges that `speechx health` shows, at either end: on their own points and three
    between each two. For the lengths they were measured at, and for longer runs; not for shorter
    ones, because the highest bits are still at chance at an eighth of the run."""
    tiny = Wav2Vec2Config(quantizer=QuantizerConfig(num_groups=2, num_entries=64, dim=64))
    bands = healthy_bands(tiny)
    monitor = monitor_of(tiny, steps=steps, warmup_ratio=0.1)
    measured_at = bands["bits"].at
    number = range(len(measured_at))
    between = np.interp(np.arange(0, len(number) - 0.9, 0.25), number, measured_at)
    most = 0
    for at in np.unique(np.concatenate([np.linspace(0, measured_at[0], 9)[1:], between])):
        values = {key: np.interp(at, band.at, getattr(band, end)) for key, band in bands.items()}
        values |= {key: 128 * values[key] for key in ("code_perplexity", "soft_perplexity")}
        assert monitor.see(round(at * steps), line(**values)) is None
        most = max([most, *monitor.memory.unhealthy.values()])
    print(f"{steps} steps: the {end} end shows a signature for {most} of {monitor.window} steps")
    # The grid includes the point at which the highest bits are within the limit of E101.
    assert (most > 0) == (end == "high")


def test_a_model_does_not_replace_a_better_one_while_a_line_shows_a_signature():
    """Before the signature counts, too; with action `warn` every model is saved."""
    for action in ("stop", "rollback", "warn"):
        monitor = monitor_of(health=Health(action=action))
        saved = [monitor.may_save]
        for n, values in enumerate([line(), line(**COLLAPSED), line()], 1):
            monitor.see(100 * n, values)
            saved.append(monitor.may_save)
        assert saved == [True, True, action == "warn", True]
        assert not monitor.memory.unhealthy


def test_a_state_is_healthy_once_a_later_line_shows_no_signature():
    monitor = monitor_of(steps=10_000)
    monitor.saved(100)
    assert monitor.memory.healthy is None
    monitor.see(100, line())
    assert monitor.memory.healthy is None  # these steps were before it
    monitor.see(200, line(**CHANCE))
    assert monitor.memory.healthy is None
    monitor.saved(200)
    monitor.see(300, line())
    assert monitor.memory.healthy == 200


def test_a_monitor_continues_from_its_saved_memory():
    lines, health = [line(**CHANCE)] * 9, Health(settled=0.0)
    assert found(monitor_of(health=health, steps=10_000), lines) == [(500, "E101")]
    part = monitor_of(health=health, steps=10_000)
    assert found(part, lines[:3]) == []
    saved = json.loads(json.dumps(to_dict(part.memory)))
    again = monitor_of(health=health, steps=10_000, memory=HealthMemory(**saved))
    assert again.see(400, lines[3]) is None
    finding = again.see(500, lines[4])
    assert finding is not None
    assert finding.code == "E101"


def of_tasks(**lines_of_tasks):
    """A line of a run of several tasks."""
    return {
        f"{name}/{key}": v for name, values in lines_of_tasks.items() for key, v in values.items()
    }


def test_tasks_are_judged_by_their_own_metrics():
    """Task a at chance in its warm-up hides nothing of task b; text and highest values are b's."""
    signatures = {"a/": XLSR.signatures(), "b/": XLSR.signatures()}
    good, bad = line(code_perplexity=600.0), line(**CHANCE)

    monitor = Monitor(Health(), 20_000, 0.5, signatures)
    seen = [monitor.see(100 * n, of_tasks(a=bad, b=line(**COLLAPSED))) for n in range(1, 31)]
    (finding,) = [finding for finding in seen if finding is not None]
    assert (finding.code, finding.step) == ("E102", 1500)
    assert finding.text.startswith("b: code perplexity is 2.000")

    monitor = Monitor(Health(), 20_000, 0.0, signatures)
    high_accuracy = line(accuracy=0.98)  # half of the codes of a, but all the codes of b
    lines = [of_tasks(a=good, b=line())] * 20 + [of_tasks(a=good, b=high_accuracy)] * 10
    assert found(monitor, lines) == []
    assert found(monitor, [of_tasks(a=high_accuracy, b=line())] * 50)[0][1] == "E103"


@pytest.mark.parametrize("name", FAILING)
def test_a_run_that_fails_is_stopped_by_name(tmp_path, manifests, name):
    config = failing_config(tmp_path / "run", manifests, name)
    with pytest.raises(HealthStop) as caught:
        pretrain(config)
    message, code = str(caught.value), name.split()[0]
    assert message.startswith(f"{code} {NAMES[code]} at step ")
    assert "\n" not in message
    (event,) = events(config.out)
    assert (event["code"], event["name"], event["action"]) == (code, NAMES[code], "stop")
    assert message.endswith(f"What helps: {event['advice']}")
    assert event["step"] < config.run.steps
    last = [values for values in read_log(config.out) if "bits" in values][-1]
    print(f"{name}, step {event['step']}: {event['text']}")
    chance = math.log2(config.objective.num_negatives + 1)
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
    saved = []
    save = "speechx.runs.Validation.save"
    rising = merge(RISING, {"run": {"eval_steps": 5}})
    config = failing_config(tmp_path / "run", manifests, "E102", **rising)
    newest = lambda: read_log(config.out)[-1]["step"]  # noqa: E731
    monkeypatch.setattr(save, lambda self, model, error: saved.append(newest()))
    with pytest.raises(HealthStop):
        pretrain(config)
    codes = {line["step"]: line["code_perplexity"] for line in read_log(config.out)}
    print(f"code perplexity {codes}, saved at {saved}")
    assert saved
    assert all(codes[step] > 8 for step in saved)
    assert len(codes) > 1 + list(codes).index(saved[-1])


def test_the_command_ends_with_code_3_and_one_line(tmp_path, manifests, capsys):
    config = failing_config(tmp_path / "run", manifests, "E102")
    file = tmp_path / "failing.yaml"
    file.write_text(dump(config))
    assert main(["pretrain", str(file)]) == 3
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("speechx: E102 collapse at step 25: code perplexity is ")
    assert "What helps: lower optim.lr" in message


def test_a_healthy_run_is_left_alone(tmp_path, manifests):
    """Watched as closely as the runs that fail."""
    config = failing_config(tmp_path / "run", manifests, "healthy")
    pretrain(config)
    assert not (config.out / "health.jsonl").exists()
    assert states(config.out) == [75, 80]
    lines = [values for values in read_log(config.out) if "bits" in values]
    assert lines[-1]["bits"] < lines[0]["bits"] - 0.5
    monitor = monitor_of(config.objective, config.health, config.run.steps)
    assert [monitor.see(values["step"], values) for values in lines] == [None] * 16
    assert not monitor.memory.unhealthy


# No diversity term, and a learning rate that rises until the codes collapse.
RISING = {"optim": {"lr": 0.2, "warmup_ratio": 0.8}, "run": {"steps": 120}}


@pytest.fixture(scope="module")
def rolled_back(tmp_path_factory, manifests):
    """A run that collapses and goes on from its last healthy state, at a lower learning rate."""
    out = tmp_path_factory.mktemp("rolled_back") / "run"
    health = {"window": 15, "action": "rollback"}
    config = failing_config(out, manifests, "E102", **RISING, health=health)
    with contextlib.suppress(HealthStop):  # if three rollbacks are not enough for it
        pretrain(config)
    return config


def test_a_rollback_continues_the_last_healthy_state_at_half_the_learning_rate(rolled_back):
    back = [event for event in events(rolled_back.out) if event["action"] == "rollback"]
    print([(event["step"], event["code"], event["healthy"]) for event in back])
    assert 1 <= len(back) <= 3
    for event in back:
        assert event["healthy"] <= event["step"] - 15
    lines = read_log(rolled_back.out)
    assert [values["step"] for values in lines] == list(range(5, lines[-1]["step"] + 1, 5))
    for values in lines:
        done = values["step"] - 1
        whole = rolled_back.optim.lr * min(done / 96, (120 - done) / 24)
        halved = sum(values["step"] > event["healthy"] for event in back)
        assert values["lr"] == pytest.approx(whole / 2**halved, rel=1e-6)
    # A resumed run keeps the lower learning rate.
    newest = rolled_back.out / "state" / f"step_{states(rolled_back.out)[-1]}" / "run.json"
    memory = json.loads(newest.read_text())["health"]
    assert (memory["rollbacks"], memory["lr_scale"]) == (len(back), 0.5 ** len(back))


def test_the_run_stops_after_the_last_rollback(tmp_path, manifests):
    health = {"window": 15, "action": "rollback", "rollbacks": 1}
    twice = {**RISING, "optim": {"lr": 0.6, "warmup_ratio": 0.8}}  # half of it is too much already
    config = failing_config(tmp_path / "run", manifests, "E102", **twice, health=health)
    with pytest.raises(HealthStop, match=r"\(rollbacks before: 1\)\. Last healthy"):
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
    config = failing_config(tmp_path / "run", manifests, "E102", health=health, run={"steps": 40})
    pretrain(config)
    warned = events(config.out)
    assert warned[0]["code"] == "E102"
    assert {event["action"] for event in warned} == {"warn"}
    err = capsys.readouterr().err
    assert all(f"{e['code']} {NAMES[e['code']]} at step {e['step']}" in err for e in warned)
    assert read_log(config.out)[-1]["step"] == 40


def test_nothing_goes_on_over_an_overflow(tmp_path, manifests):
    config = failing_config(tmp_path / "run", manifests, "E105", health={"action": "warn"})
    with pytest.raises(HealthStop, match="8 steps in a row had a non-finite gradient"):
        pretrain(config)


def test_a_resumed_run_finds_the_same_as_an_uninterrupted_one(tmp_path, manifests):
    """Interrupted in the middle of the window, after a state that lies inside a log line."""
    messages = []
    for name, stop_at in (("whole", None), ("part", 19)):
        config = failing_config(tmp_path / name, manifests, "E102", run={"save_steps": 6})
        if stop_at is not None:
            run_job("pretrain", config, stop_at=stop_at)
            saved = json.loads((config.out / "state" / "step_18" / "run.json").read_text())
            assert saved["health"]["unhealthy"]
        with pytest.raises(HealthStop) as caught:
            pretrain(config, resume=stop_at is not None)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert read_log(tmp_path / "whole") == read_log(tmp_path / "part")


def end_of_run(config, file):
    """Writes how the run of one rank ends."""
    try:
        pretrain(config)
        end = "it ended well"
    except HealthStop as error:
        end = str(error)
    file.with_suffix(f".{os.environ.get('RANK', 'alone')}").write_text(end)


def ends_of_rank(rank, ports, jobs):
    """One of two processes: takes part in all jobs, each with a process group of its own."""
    for port, job in zip(ports, jobs, strict=True):
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        end_of_run(*job)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_two_processes_decide_alike(tmp_path, manifests):
    """And as one does; they roll back together, too."""
    changes = {"run": {"max_seconds_per_device": 3}}
    back = {"window": 15, "action": "rollback", "rollbacks": 1}
    rising = merge({**RISING, "health": back}, merge(changes, {"run": {"steps": 400}}))
    jobs = [
        (failing_config(tmp_path / "two", manifests, "E102", **changes), tmp_path / "stop"),
        (failing_config(tmp_path / "back", manifests, "E102", **rising), tmp_path / "back"),
    ]
    ports = [free_port() for _ in jobs]
    ranks = [start(ends_of_rank, rank, ports, jobs) for rank in range(2)]
    assert finish(*ranks, seconds=240) == [0, 0]
    end_of_run(failing_config(tmp_path / "one", manifests, "E102", **changes), tmp_path / "stop")
    ends = [(tmp_path / f"stop.{rank}").read_text() for rank in ("0", "1", "alone")]
    assert {end[:25] for end in ends} == {"E102 collapse at step 25:"}
    assert ends[0] == ends[1]
    assert (tmp_path / "back.0").read_text() == (tmp_path / "back.1").read_text()
    assert events(tmp_path / "back")[0]["action"] == "rollback"
    peak = max(values["lr"] for values in read_log(tmp_path / "back"))
    assert peak < 0.2


def test_a_blank_plateau_is_reported_and_stops_nothing(tmp_path, manifests, capsys):
    run = {"steps": 40, "log_steps": 5, "save_steps": 40, "eval_steps": 40}
    settings = {"optim": {"lr": 0.001}, "health": {"window": 10}, "run": run}
    config = finetune_config(tmp_path / "run", manifests, **settings)
    finetune(config)
    (event,) = events(config.out)
    assert (event["code"], event["action"], event["step"]) == ("E201", "warn", 10)
    assert "most likely first: a learning rate too low" in event["text"]
    assert "E201 blank plateau at step 10: 100.00% of the frames" in capsys.readouterr().err
    assert read_log(config.out)[-1]["step"] == 40
    # It is no reason to distrust a state or a model.
    saved = json.loads((config.out / "state" / "step_40" / "run.json").read_text())["health"]
    assert (saved["shown"], saved["unhealthy"]) == (False, {})


def test_fine_tuning_that_learns_is_not_warned(tmp_path, manifests):
    run = {"steps": 100, "log_steps": 10, "save_steps": 100, "eval_steps": 100}
    still = {"time_masking": {"probability": 0.0}, "channel_masking": {"probability": 0.0}}
    settings = {"optim": {"lr": 0.02}, "health": {"window": 40}, "run": run, "objective": still}
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
def test_causes_of_a_blank_plateau_are_ranked_by_measurements(values, first):
    monitor = monitor_of(CTC, Health(window=100), 1000)
    lines = [{"loss": loss, "blank_share": 1.0} for loss in values]
    seen = [monitor.see(100 * n, some) for n, some in enumerate(lines, 1)]
    assert seen[0] is None
    assert f"most likely first: {first}" in str(seen[1])
    assert monitor.see(300, lines[1]) is None
    long = monitor_of(CTC, Health(window=100), 500)
    finding = long.see(100, {"loss": 4.0, "blank_share": 1.0, "infeasible": 3.0})
    assert "most likely first: labels longer than their frames" in str(finding)


def test_a_plateau_after_the_time_to_look_is_no_finding():
    monitor = monitor_of(CTC, Health(window=100), 1000)
    low, high = ({"loss": 4.0, "blank_share": share} for share in (0.99, 1.0))
    assert found(monitor, [high, low, high, high]) == []
    assert monitor.judges_from == 200
    assert monitor.codes(400, high) == {"E201"}


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(UserError, match="window must be above 0"):
        parse(Health, {"window": 0}, "test")
    with pytest.raises(UserError, match="rollback"):
        parse(Health, {"action": "undo"}, "test")
    with pytest.raises(UserError, match="blank and at are shares"):
        parse(CTCConfig, {"tokens": "characters", "limits": {"blank": 2}}, "test")
