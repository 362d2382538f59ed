"""`speechx report`: what evaluations say, gathered in one file and one table."""

import json
import subprocess

import pytest

from speechx.decoding.scoring import Scored, score
from speechx.errors import UserError
from speechx.report import report


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def write(path, wrong, right):
    """A real score of wrong + right reference tokens."""
    reference, hypothesis = ["a"] * (wrong + right), ["x"] * wrong + ["a"] * right
    result = score([Scored("u", "es", None, reference, hypothesis)], "per", resamples=2)
    path.write_text(json.dumps(result.to_dict()))
    return result.to_dict()


def write_methods(path, **wrong):
    """A zero-shot evaluation: a score of ten tokens per method."""
    scores = {name: write(path, number, 10 - number) for name, number in wrong.items()}
    path.write_text(json.dumps({"methods": scores}))


def test_layers_are_shown_by_their_best(tmp_path):
    for name, phones in (("a", [0.1, 0.5, 0.25]), ("b", [0.75, 0.5, 0.25])):
        probes = {"phones": {"accuracy": phones}, "language": {"accuracy": [0.5, 0.5, 1.0]}}
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"layers": [0, 1, 2], "probes": probes}))
    results, table = report(["layers.a=a.json", "layers.b=b.json"], tmp_path / "results.json")
    assert results["layers"]["a"] == {"best phones": 0.5, "best language": 1.0}
    assert table.splitlines()[1].split() == ["layers.a", "50.0", "%", "100.0", "%"]
    assert "mean" not in table


def test_numbers_and_rates_nest_and_are_written(tmp_path):
    write(tmp_path / "seen.json", 1, 9)
    write_methods(tmp_path / "pt.json", unmapped=6, mapped=5, shuffled=9)
    write_methods(tmp_path / "el.json", unmapped=4, mapped=2, shuffled=8)
    out = tmp_path / "runs" / "results.json"
    pairs = ["seen_per=seen.json", "unseen.pt=pt.json", "unseen.el=el.json", "seconds=12.5"]
    results, table = report([*pairs, "seed=1"], out)
    assert results == {
        "seen_per": 0.1,
        "unseen": {
            "pt": {"unmapped": 0.6, "mapped": 0.5, "shuffled": 0.9},
            "el": {"unmapped": 0.4, "mapped": 0.2, "shuffled": 0.8},
        },
        "seconds": 12.5,
        "seed": 1,
        "commit": None,
    }
    assert json.loads(out.read_text()) == results
    assert [path.name for path in out.parent.iterdir()] == ["results.json"]
    table = [line.split() for line in table.splitlines()]
    assert ["seen_per", "10.0", "%"] in table
    assert ["unmapped", "mapped", "shuffled"] in table
    assert ["unseen.pt", "60.0", "%", "50.0", "%", "90.0", "%"] in table
    assert ["mean", "of", "unseen", "50.0", "%", "35.0", "%", "85.0", "%"] in table
    assert ["seconds", "12.5"] in table


def test_several_runs_give_their_mean_and_are_kept(tmp_path):
    for name, wrong in (("a", 1), ("b", 2), ("c", 3)):
        write(tmp_path / f"{name}.json", wrong, 10 - wrong)
    results, table = report(["few.scratch_per=a.json,b.json,c.json"], tmp_path / "out.json")
    assert results["few"]["scratch_per"] == pytest.approx(0.2)
    assert results["few"]["scratch_per_runs"] == [0.1, 0.2, 0.3]
    assert "few.scratch_per  20.0 ± 10.0 % (n=3)" in table


def test_several_zero_shot_runs_are_averaged_by_method(tmp_path):
    write_methods(tmp_path / "a.json", unmapped=6, mapped=5)
    write_methods(tmp_path / "b.json", unmapped=4, mapped=1)
    results, table = report(["unseen.pt=a.json,b.json"], tmp_path / "out.json")
    assert results["unseen"]["pt"] == {"unmapped": 0.5, "mapped": 0.3}
    assert [run["mapped"] for run in results["unseen"]["pt_runs"]] == [0.5, 0.1]
    assert "± 28.3 % (n=2)" in table


def test_the_mean_of_languages_varies_over_runs_if_all_have_as_many(tmp_path):
    for name, wrong in (("a", 6), ("b", 4), ("c", 2), ("d", 2)):
        write_methods(tmp_path / f"{name}.json", mapped=wrong)
    _, table = report(["unseen.pt=a.json,b.json", "unseen.el=c.json,d.json"], tmp_path / "o.json")
    assert "35.0 ± 7.1 % (n=2)" in next(line for line in table.splitlines() if "mean" in line)
    _, table = report(["unseen.pt=a.json,b.json", "unseen.el=c.json"], tmp_path / "o.json")
    assert "35.0 %" in next(line for line in table.splitlines() if "mean" in line)


def git(*arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_commit_has_a_mark_if_files_were_changed(tmp_path):
    git("init", "--quiet")
    (tmp_path / "code").write_text("1")
    git("add", "code")
    git("commit", "--quiet", "-m", "one")
    head = git("rev-parse", "HEAD")
    assert report(["seed=1"], tmp_path / "out.json")[0]["commit"] == head  # out.json is untracked
    (tmp_path / "code").write_text("2")
    assert report(["seed=1"], tmp_path / "out.json")[0]["commit"] == f"{head}-dirty"


@pytest.mark.parametrize("pair", ["seen_per", "=1", "seen_per=", "a..b=1", ".a=1"])
def test_a_malformed_pair_is_shown(pair, tmp_path):
    with pytest.raises(UserError, match="is not KEY=VALUE"):
        report([pair], tmp_path / "out.json")


def test_bad_values_are_named(tmp_path):
    write(tmp_path / "score.json", 1, 1)
    write_methods(tmp_path / "pt.json", mapped=1)
    write_methods(tmp_path / "el.json", unmapped=1)
    (tmp_path / "other.json").write_text('{"loss": 1}')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "text.json").write_text("no json")
    for pairs, message in (
        (["seen=gone.json"], "gone.json: No such file"),
        (["seen=score.json,gone.json"], "gone.json: No such file"),
        (["seen=other.json"], "other.json is not a result"),
        (["seen=list.json"], "list.json is not a result"),
        (["seen=text.json"], "text.json is not a result"),
        (["seen=nan"], "nan: No such file"),
        (["seen=score.json,pt.json"], "not evaluated by the same methods"),
        (["seen=el.json,pt.json"], "not evaluated by the same methods"),
        (["seed=1", "seed=2"], "seed is given twice"),
        (["a=1", "a.b=2"], "a already has a value"),
        (["commit=1"], "commit is given twice"),
    ):
        with pytest.raises(UserError, match=message):
            report(pairs, tmp_path / "out.json")
        assert not (tmp_path / "out.json").exists()


def test_rates_of_different_policies_are_not_compared(tmp_path):
    first = write(tmp_path / "a.json", 1, 9)
    other = {**first, "policy": first["policy"].replace("as given", "by another rule")}
    (tmp_path / "b.json").write_text(json.dumps(other))
    for pairs in (["x=a.json,b.json"], ["x=a.json", "y=b.json"]):
        with pytest.raises(UserError, match=r"a.json and b.json.*as given.*by another rule"):
            report(pairs, tmp_path / "out.json")
        assert not (tmp_path / "out.json").exists()
    drawn = {**first, "policy": first["policy"].replace("2 draws", "9 draws")}
    (tmp_path / "d.json").write_text(json.dumps(drawn))
    assert report(["x=a.json,d.json"], tmp_path / "d.out")[0]["x"] == first["overall"]["rate"]
    (tmp_path / "c.json").write_text(json.dumps({**other, "metric": "cer"}))
    with pytest.raises(UserError, match=r"a.json and c.json"):
        report(["x=a.json,c.json"], tmp_path / "out.json")
    report(["per=a.json", "cer=c.json"], tmp_path / "out.json")
