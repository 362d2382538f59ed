"""Hours, shares and repeats, as training will have them."""

import numpy as np
import pytest

from speechx.doctor.balance import Balance
from tests.doctor.broken_corpora import clip, examined, found, sound_corpus, speech


def balance_of(tmp_path, hours):
    balance = Balance()
    for (split, language), h in hours.items():
        u = clip(tmp_path, f"{split}{language}", speech(0.1), duration=h * 3600, language=language)
        balance.read(split, u)
    return balance


HOURS = {("train", "aa"): 90.0, ("train", "bb"): 9.0, ("unlabelled", "cc"): 1.0, ("test", "aa"): 50}


def test_shares_and_repeats(tmp_path):
    balance = balance_of(tmp_path, HOURS)
    even = balance.shares(0.0)
    assert {language: s.share for language, s in even.items()} == pytest.approx(
        dict.fromkeys(("aa", "bb", "cc"), 1 / 3)
    )
    assert even["cc"].repeats == pytest.approx(100 / 3)
    root = np.sqrt([90, 9, 1])
    middle = balance.shares(0.5)
    assert [s.share for s in middle.values()] == pytest.approx((root / root.sum()).tolist())
    assert all(s.repeats == pytest.approx(1) for s in balance.shares(1.0).values())
    assert [case.language for case in balance.cases(0.0)] == ["cc"]
    assert list(balance.cases(0.5)) == []


def test_the_table_has_a_column_for_each_split_and_a_sum(tmp_path):
    heading, *rows = balance_of(tmp_path, HOURS).table()
    assert heading[:4] == ["language", "utterances", "hours", "train h"]
    assert heading[4:6] == ["test h", "unlabelled h"]
    assert rows[0][:6] == ["aa", "2", "140.00", "90.00", "50.00", "-"]
    assert rows[2][:6] == ["cc", "1", "1.00", "-", "-", "1.00"]
    assert rows[2][-3:] == ["33.3% x33.3", "7.4% x7.41", "1.0% x1"]
    assert rows[-1][:6] == ["total", "4", "150.00", "99.00", "50.00", "1.00"]


def test_what_is_excluded_does_not_count(tmp_path):
    train = sound_corpus(tmp_path, 3)
    silent = clip(tmp_path, "silent", np.zeros(32_000, np.float32))
    diagnosis = examined(tmp_path, train=[*train, silent])
    assert diagnosis.balance.languages() == {"es": pytest.approx(6.0)}
    _, silence, total, rest = diagnosis.costs()
    assert silence == ["Silent", "1", "0.00056", "25.00%", "left out"]
    assert total[1:] == ["1", "0.00056", "25.00%", "left out"]
    assert rest[1:] == ["3", "0.0017", "75.00%", "kept"]


def test_what_a_check_would_cost(tmp_path):
    long = [clip(tmp_path, x, speech(4.0, i)) for i, x in enumerate(("long", "gone"))]
    (tmp_path / "gone.wav").unlink()
    short = clip(tmp_path, "short", speech(1.0, 5))
    diagnosis = examined(tmp_path, train=[*long, short], least_seconds=1.5, most_seconds=3.0)
    assert found(diagnosis) == {
        "absent": ["gone"],
        "too_long": ["long", "gone"],
        "short": ["short"],
    }
    rows = {row[0]: row[1:] for row in diagnosis.costs()[1:]}
    assert rows["Missing audio"] == ["1", "0.0011", "44.44%", "left out"]
    assert rows["Too long to train on"] == ["2", "0.0022", "88.89%", "kept"]
    assert rows["Shorter than --least-seconds"] == ["1", "0.00028", "11.11%", "kept"]
    assert rows["all that is left out"] == ["1", "0.0011", "44.44%", "left out"]
    assert rows["the rest"] == ["2", "0.0014", "55.56%", "kept"]


def test_corpora_have_their_own_rows(tmp_path):
    some = [clip(tmp_path, x, corpus=x, text=f"frase {x}") for x in ("mls", "fleurs")]
    heading, first, second, _ = examined(tmp_path, train=some).balance.table()
    assert heading[:2] == ["language", "corpus"]
    assert first[1:2] + second[1:2] == ["fleurs", "mls"]
    assert second[-1] == "", "the share of a language is printed once"
    assert found(examined(tmp_path, train=some)) == {}
