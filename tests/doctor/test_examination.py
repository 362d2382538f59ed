"""The whole examination: what it reads, what it writes, and that it changes nothing else."""

import json
from dataclasses import replace

import numpy as np
import pytest

from speechx.cli.main import main
from speechx.data.exclusion import Exclusions, read_exclusions
from speechx.data.manifest import read_manifest, write_manifest
from speechx.doctor.checks import CHECKS
from speechx.doctor.examination import DoctorOptions, examine
from speechx.errors import UserError
from speechx.text.vocabulary import Vocabulary, save_vocabularies
from tests.doctor.broken_corpora import RATE, clip, examined, found, sound_corpus, speech


def test_the_files_it_writes(tmp_path):
    silent = clip(tmp_path, "silent", np.zeros(RATE, np.float32), corpus="cv")
    mixed = clip(tmp_path, "mixed", text="una cаsa")
    (tmp_path / "data").mkdir()
    train = [*sound_corpus(tmp_path, 3), silent, mixed]
    diagnosis = examined(tmp_path / "data", train=train, out=tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "doctor.html", "doctor.json", "exclude.tsv", "respell.tsv",
    ]  # fmt: skip
    lines = (tmp_path / "out" / "exclude.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "corpus\tlanguage\tid\treason\tdetail"
    assert lines[1].split("\t") == ["cv", "es", "silent", "silent", "all samples are equal"]
    assert len(lines) == 2
    report = json.loads((tmp_path / "out" / "doctor.json").read_text(encoding="utf-8"))
    assert report["serious"] is True
    assert report["utterances"] == 5
    assert report["excluded"] == 1
    checks = {check["check"]: check for check in report["checks"]}
    assert checks["silent"]["excluded"]
    assert checks["silent"]["cases"][0]["subject"] == "silent"
    assert not checks["mixed_word"]["excluded"]
    assert set(report["shares"]) == {"0", "0.5", "1"}
    assert [r.new for r in diagnosis.replacements] == ["casa"]
    assert "\tcаsa\tcasa\t1\t" in (tmp_path / "out" / "respell.tsv").read_text(encoding="utf-8")


def test_it_deletes_and_changes_nothing(tmp_path):
    train = [*sound_corpus(tmp_path, 2), clip(tmp_path, "silent", np.zeros(RATE, np.float32))]
    write_manifest(tmp_path / "train.jsonl", train)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    examine([tmp_path], options=DoctorOptions(decode="all"), processes=1)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_a_folder_is_every_manifest_under_it_each_once(tmp_path):
    some = sound_corpus(tmp_path, 3)
    for name, u in zip(("es/train", "es/dev", "ca/train"), some, strict=True):
        (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        write_manifest(tmp_path / "m" / f"{name}.jsonl", [u])
    paths = [tmp_path / "m", tmp_path / "m" / "es" / "dev.jsonl"]
    diagnosis = examine(paths, processes=1)
    names = [path.removeprefix(f"{tmp_path}/m/") for path in diagnosis.manifests]
    assert names == ["es/dev.jsonl", "ca/train.jsonl", "es/train.jsonl"]
    assert diagnosis.utterances == 3
    with pytest.raises(UserError, match="no manifest"):
        examine([tmp_path / "clips"])
    (tmp_path / "train.tsv").write_text("client_id\tpath\n")
    with pytest.raises(UserError, match=r"train\.tsv: .*data prepare"):
        examine([tmp_path / "train.tsv"])
    with pytest.raises(UserError, match="no such manifest"):
        examine([tmp_path / "gone.jsonl"])


def test_unreadable_lines_are_named(tmp_path):
    write_manifest(tmp_path / "train.jsonl", sound_corpus(tmp_path, 2))
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"id": 3}\nnot json\n')
    diagnosis = examine([tmp_path / "train.jsonl"], processes=1)
    assert found(diagnosis) == {"line": [f"{tmp_path}/train.jsonl:3", f"{tmp_path}/train.jsonl:4"]}
    assert diagnosis.serious
    assert diagnosis.exclusions() == []
    assert diagnosis.verdict() == "unreadable lines: 2."


def test_parquet_is_examined_as_json_lines_are(tmp_path):
    train = [*sound_corpus(tmp_path, 3), clip(tmp_path, "silent", np.zeros(RATE, np.float32))]
    for name in ("train.jsonl", "train.parquet"):
        write_manifest(tmp_path / name, train)
    lines, table = (
        examine([tmp_path / name], options=DoctorOptions(decode="all"), processes=1)
        for name in ("train.jsonl", "train.parquet")
    )
    assert found(lines) == found(table) == {"silent": ["silent"]}
    assert lines.exclusions() == table.exclusions()
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "train.parquet").read_bytes()[:200])
    torn = examine([tmp_path / "torn.parquet"], processes=1)
    assert list(found(torn)) == ["line"]


def test_sounds_within_a_shard(tmp_path):
    silent = clip(tmp_path, "silent", np.zeros(RATE, np.float32))
    some = [*sound_corpus(tmp_path, 2), silent]
    data = [u.audio.read_bytes() for u in some]
    (tmp_path / "shard.tar").write_bytes(b"".join(data))
    ends = np.cumsum([len(part) for part in data]).tolist()
    packed = [
        replace(u, audio=tmp_path / "shard.tar", bytes=(end - len(part), len(part)))
        for u, part, end in zip(some, data, ends, strict=True)
    ]
    beyond = replace(some[0], id="beyond", audio=tmp_path / "shard.tar", bytes=(ends[-1], 500),
                     text="una frase")  # fmt: skip
    diagnosis = examined(tmp_path, train=[*packed, beyond])
    assert found(diagnosis) == {"unreadable": ["beyond"], "silent": ["silent"]}


def test_the_list_is_what_training_leaves_out(tmp_path):
    train = [*sound_corpus(tmp_path, 3), clip(tmp_path, "silent", np.zeros(RATE, np.float32))]
    (tmp_path / "out").mkdir()
    examined(tmp_path, train=train, out=tmp_path / "out")
    kept = Exclusions([tmp_path / "out" / "exclude.tsv"]).kept(
        read_manifest(tmp_path / "train.jsonl")
    )
    assert [u.id for u in kept] == ["good0", "good1", "good2"]


def test_soft_checks_are_excluded_when_asked_for(tmp_path):
    loud = clip(tmp_path, "loud", np.clip(20 * speech(), -1, 1))
    train = [*sound_corpus(tmp_path, 2), loud]
    assert examined(tmp_path, train=train).exclusions() == []
    diagnosis = examined(tmp_path, train=train, exclude=("clipped",))
    assert [(e.id, e.reason) for e in diagnosis.exclusions()] == [("loud", "clipped")]
    assert not diagnosis.serious, "asked for, but nothing is beyond use"
    assert "left out too" in diagnosis.text()
    with pytest.raises(UserError, match="--exclude clippd: expected one of"):
        examined(tmp_path, train=train, exclude=("clippd",))
    for name in (name for name, check in CHECKS.items() if not check.excludable):
        with pytest.raises(UserError):
            examined(tmp_path, train=train, exclude=(name,))


def test_utterances_with_odd_texts_are_excluded_when_asked_for(tmp_path):
    odd = [clip(tmp_path, "year", text="en 1984"), clip(tmp_path, "tag", text="<risa> no")]
    train = [*sound_corpus(tmp_path, 2), *odd]
    options = {"train": train, "decode": "none", "exclude": ("digits", "markup")}
    diagnosis = examined(tmp_path, **options)
    assert [(e.id, e.reason, e.detail) for e in diagnosis.exclusions()] == [
        ("tag", "markup", "<risa>"), ("year", "digits", "digits"),
    ]  # fmt: skip
    assert found(diagnosis) == {"markup": ["tag", "<risa>"], "digits": ["year", "digits"]}
    options["exclude"] = ("unknown_token",)
    with pytest.raises(UserError, match="--vocabulary or --model"):
        examined(tmp_path, **options)
    words = "buenos días amigo casa verde camino pan noche largo río"
    vocabulary = Vocabulary("characters", tuple(sorted(set(f"{words} abcdefghij"))))
    save_vocabularies(tmp_path / "v.json", {"ctc": vocabulary})
    options["train"] = [clip(tmp_path, "k", text="kiwi"), *train[:2]]
    diagnosis = examined(tmp_path, **options, vocabulary=tmp_path / "v.json")
    assert [(e.id, e.reason) for e in diagnosis.exclusions()] == [("k", "unknown_token")]


def test_an_utterance_is_excluded_once(tmp_path):
    bad = clip(tmp_path, "bad", np.zeros(RATE, np.float32), text="a" * 200)
    diagnosis = examined(tmp_path, train=[bad, *sound_corpus(tmp_path, 2)])
    assert list(found(diagnosis)) == ["silent", "infeasible"]
    assert [(e.id, e.reason) for e in diagnosis.exclusions()] == [("bad", "silent")]


def test_invalid_options(tmp_path):
    train = sound_corpus(tmp_path, 1)
    with pytest.raises(UserError, match="none, sample or all"):
        examined(tmp_path, train=train, decode="some")
    for name in ("sample", "players", "least_seconds", "most_seconds"):
        for amount in (-3, float("nan")):
            with pytest.raises(UserError, match=rf"--{name.replace('_', '-')} must be 0 or more"):
                examined(tmp_path, train=train, **{name: amount})
    with pytest.raises(UserError, match="between 0 and 1"):
        examined(tmp_path, train=train, alpha=2.0)


def test_the_same_examination_gives_the_same_report(tmp_path):
    train = [*sound_corpus(tmp_path, 4), clip(tmp_path, "silent", np.zeros(RATE, np.float32))]
    test = [replace(train[0], id="t")]
    one, two = (examined(tmp_path, train=train, test=test, processes=n) for n in (1, 2))
    assert one.to_json() == two.to_json()
    assert one.text() == two.text()


def test_every_check_can_be_reported(tmp_path):
    for check in CHECKS.values():
        assert check.title[0].isupper()
        assert not check.rule.endswith(".")
        assert not check.advice.endswith(".")


def test_a_corpus_that_was_moved_is_reported_once_and_no_more_is_opened(tmp_path, capsys):
    (u,) = sound_corpus(tmp_path, 1)
    train = [replace(u, id=f"c{i}", audio=tmp_path / "gone" / f"{i}.wav") for i in range(500)]
    train.append(replace(u, text="en 1984"))
    diagnosis = examined(tmp_path, train=train, out=tmp_path / "out", missing_files=20)
    first = diagnosis.text().splitlines()[0]
    logged = capsys.readouterr().err
    for fact in ("20", f"({tmp_path})", f"{tmp_path}/gone/0.wav"):
        assert fact in first
        assert fact in logged
    assert diagnosis.serious
    assert diagnosis.exclusions() == []
    assert found(diagnosis)["digits"] == ["digits"], "texts are read all the same"
    assert diagnosis.utterances == 501
    assert (tmp_path / "out" / "doctor.json").stat().st_size < 10_000
    (problem,) = diagnosis.problems()
    assert f"{tmp_path}/gone/0.wav" in problem


def test_later_files_are_opened_unless_very_many_before_are_missing(tmp_path):
    some = sound_corpus(tmp_path, 20)
    train = [replace(u, audio=tmp_path / "gone" / u.audio.name) for u in some[:19]]
    diagnosis = examined(tmp_path, train=[*train, some[19]], decode="none", missing_files=20)
    assert len(found(diagnosis)["absent"]) == 19
    segments = [replace(train[0], id=f"s{i}", start=float(i)) for i in range(30)]
    (tmp_path / "x").mkdir()
    options = {"decode": "none", "missing_files": 20}
    diagnosis = examined(tmp_path / "x", train=[*segments, some[19]], **options)
    assert len(found(diagnosis)["absent"]) == 30, "of one file"


def test_the_commands(tmp_path, capsys):
    loud = clip(tmp_path, "loud", np.clip(20 * speech(), -1, 1))
    write_manifest(tmp_path / "train.jsonl", [*sound_corpus(tmp_path, 2), loud])
    write_manifest(tmp_path / "test.jsonl", [clip(tmp_path, "t", language="ca", text="una casa")])
    words = ["--decode", "all", "--exclude", "clipped", "--players", "0", "--alpha", "0.3"]
    out = tmp_path / "out"
    assert main(["data", "doctor", str(tmp_path), "-o", str(out), *words]) == 0
    streams = capsys.readouterr()
    for fact in ("4 utterances", "left out too", "alpha 0.3"):
        assert fact in streams.out
    assert str(out / "exclude.tsv") in streams.err
    assert "<audio" not in (out / "doctor.html").read_text(encoding="utf-8")
    assert [e.id for e in read_exclusions(out / "exclude.tsv")] == ["loud"]
    manifests = [str(tmp_path / f"{name}.jsonl") for name in ("train", "test")]
    assert main(["data", "summary", *manifests]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["language", "ca", "es", "total"]
    assert [line[1] for line in lines] == ["utterances", "1", "3", "4"]
