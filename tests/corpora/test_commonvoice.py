"""CommonVoice releases of every age give the same records, and nothing is lost without a word."""

import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechx.corpora.commonvoice import prepare
from speechx.corpora.engine import processes
from speechx.corpora.engine.preparation import SPLITS
from speechx.corpora.engine.write import Output
from speechx.data.manifest import Utterance, read_manifest
from speechx.errors import UserError
from tests.corpora.corpus_trees import opened

V5 = "client_id path sentence up_votes down_votes age gender accent locale segment"
V13 = "client_id path sentence up_votes down_votes age gender accents variant locale segment"
V17 = (
    "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents "
    "variant locale segment"
)
V25 = " ".join(random.Random(25).sample(V17.split(), k=len(V17.split())))  # any order will do
HEADERS = {"v5": V5, "v13": V13, "v17": V17, "v25": V25}


def row(clip: str, sentence: str = "buenos días", speaker: str = "s1", **more: str) -> dict:
    return {
        "client_id": speaker,
        "path": f"{clip}.mp3",
        "sentence": sentence,
        "sentence_id": f"id-{clip}",
        "up_votes": "2",
        "down_votes": "0",
        "locale": "es",
        **more,
    }


def write_tsv(path: Path, header: str, rows: Iterable[dict[str, str]]) -> None:
    columns = header.split()
    lines = ["\t".join(columns)]
    lines += ["\t".join(r.get(column, "") for column in columns) for r in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_clip(path: Path, seconds: float = 0.5, rate: int = 48_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise_S = np.random.default_rng(len(path.stem)).uniform(-0.3, 0.3, round(seconds * rate))
    soundfile.write(path, noise_S, rate)


def release(
    root: Path,
    splits: dict[str, list[dict[str, str]]],
    language: str = "es",
    header: str = V17,
    durations: bool = False,
    whole: bool = True,
) -> Path:
    """A small release under `root`, clips included; returns the language folder. If `whole`, splits
    that are not given have tables without rows."""
    folder = root / language
    for split in SPLITS if whole else ():
        write_tsv(folder / f"{split}.tsv", header, [])
    clips = {r["path"].removesuffix(".mp3") for rows in splits.values() for r in rows}
    for clip in clips:
        write_clip(folder / "clips" / f"{clip}.mp3")
    for split, rows in splits.items():
        write_tsv(folder / f"{split}.tsv", header, rows)
    if durations:
        listed = [{"clip": f"{c}.mp3", "duration[ms]": "500"} for c in sorted(clips)]
        write_tsv(folder / "clip_durations.tsv", "clip duration[ms]", listed)
    return folder


def texts(path: Path) -> dict[str, str | None]:
    return {u.id: u.text for u in read_manifest(path)}


def test_header_permutations_give_the_same_records(tmp_path: Path) -> None:
    accent = {"accent": "Andes", "accents": "Andes"}
    rows = [row("c1", "¿qué tal?", gender="female", age="twenties", **accent), row("c2")]
    records: dict[str, list[tuple[Any, ...]]] = {}
    for version, header in HEADERS.items():
        release(tmp_path / version, {"train": rows}, header=header)
        assert prepare(tmp_path / version, Output(tmp_path / f"{version}-out"), ["es"]) == {
            "es": {"train": 2}
        }
        read = read_manifest(tmp_path / f"{version}-out" / "es" / "train.jsonl")
        assert all(u.extra.pop("release") == version for u in read)
        assert all(u.extra.pop("sentence_id", None) == f"id-{u.id}" for u in read) == (
            "sentence_id" in header.split()
        )
        records[version] = [
            (u.id, u.audio.name, u.duration, u.language, u.text, u.speaker, u.extra) for u in read
        ]
    assert records["v5"] == records["v13"] == records["v17"] == records["v25"]
    assert records["v5"][0] == (
        *("c1", "c1.mp3", 0.5, "es", "¿qué tal?", "s1"),
        {"age": "twenties", "gender": "female", "accents": "Andes"},
    )
    assert records["v5"][1][-1] == {}


def test_a_quote_in_a_sentence_does_not_eat_rows(tmp_path: Path) -> None:
    sentences = ['"Hola, dijo', "segundo", 'tercero "', '"""cuatro"" cinco"', "\u2028seis\x85siete"]
    release(tmp_path, {"train": [row(f"c{i}", s) for i, s in enumerate(sentences)]})
    prepare(tmp_path, Output(tmp_path / "out"))
    read = texts(tmp_path / "out" / "es" / "train.jsonl")
    assert read == {f"c{i}": s.strip() for i, s in enumerate(sentences)}


def test_listed_durations_are_used_and_gaps_are_measured(tmp_path: Path) -> None:
    folder = release(tmp_path, {"train": [row(f"c{i}") for i in range(5)]})
    write_clip(folder / "clips" / "c1.mp3", 1.25)
    listed = {"c0.mp3": "654", "c2.mp3": "0", "c3.mp3": "unknown", "c4": "700.5"}
    write_tsv(
        folder / "clip_durations.tsv",
        "clip duration[ms]",
        [{"clip": clip, "duration[ms]": ms} for clip, ms in listed.items()],
    )
    prepare(tmp_path, Output(tmp_path / "out"))
    read = {u.id: u.duration for u in read_manifest(tmp_path / "out" / "es" / "train.jsonl")}
    assert read == {"c0": 0.654, "c1": 1.25, "c2": 0.5, "c3": 0.5, "c4": 0.7005}


@pytest.mark.parametrize("suffix", ["MP3", "WAV"])
@pytest.mark.parametrize("convert", [False, True])
def test_a_length_that_is_not_the_clips_is_corrupt(
    tmp_path: Path, convert: bool, suffix: str
) -> None:
    """Far from it; of a length that is only too long for what is there, the clip's is taken."""
    claims = {"near": 2950, "over": 3400, "long": 99_999_999, "short": 1500}
    folder = release(tmp_path, {"train": [row(clip) for clip in claims]})
    for clip in claims:
        noise_S = np.random.default_rng(0).uniform(-0.3, 0.3, 48_000)
        soundfile.write(folder / f"clips/{clip}.mp3", noise_S, 16_000, format=suffix)
    write_tsv(
        folder / "clip_durations.tsv",
        "clip duration[ms]",
        [{"clip": f"{clip}.mp3", "duration[ms]": str(ms)} for clip, ms in claims.items()],
    )
    why = r"long\.mp3: listed as 99999\.999 s long, but the file is 3\.\d+ s long \(and 1 more"
    with pytest.raises(UserError, match=why):
        prepare(tmp_path, Output(tmp_path / "out", convert=convert))
    out = Output(tmp_path / "out", allow_missing=True, convert=convert)
    assert prepare(tmp_path, out) == {"es": {"train": 2}}
    read = {u.id: u.duration for u in read_manifest(tmp_path / "out" / "es" / "train.jsonl")}
    assert read == pytest.approx({"near": 3.0 if convert else 2.95, "over": 3.0}, abs=0.09)
    listed = (tmp_path / "out/es/corrupt.txt").read_text()
    assert "short.mp3\tlisted as 1.5 s long, but the file is 3." in listed


def test_durations_of_releases_before_the_table(tmp_path: Path) -> None:
    folder = release(tmp_path, {"train": [row(f"c{i}") for i in range(3)]})
    (folder / "times.txt").write_text("c0.mp3\t654\nc1.mp3 700\nclip\tduration\n")
    prepare(tmp_path, Output(tmp_path / "out"))
    read = {u.id: u.duration for u in read_manifest(tmp_path / "out" / "es" / "train.jsonl")}
    assert read == {"c0": 0.654, "c1": 0.7, "c2": 0.5}


def test_old_paths_without_a_suffix(tmp_path: Path) -> None:
    release(tmp_path, {"train": [row("c1") | {"path": "c1"}, row("c.2") | {"path": "c.2"}]})
    prepare(tmp_path, Output(tmp_path / "out"))
    read = read_manifest(tmp_path / "out" / "es" / "train.jsonl")
    assert [(u.id, u.audio.name) for u in read] == [("c1", "c1.mp3"), ("c.2", "c.2.mp3")]


def test_what_has_no_validated_sentence_is_for_pretraining(
    tmp_path: Path, messages: list[str]
) -> None:
    release(
        tmp_path,
        {"train": [row("c1"), row("c2", " ")], "other": [row("c3"), row("c3"), row("c4", "")]},
    )
    counts = prepare(tmp_path, Output(tmp_path / "out"))
    assert counts == {"es": {"train": 1, "unlabelled": 3}}
    assert texts(tmp_path / "out" / "es" / "unlabelled.jsonl") == dict.fromkeys(("c2", "c3", "c4"))
    assert messages[1:] == [
        "es: train 1 (0.00014 h), unlabelled 3 (0.00042 h); left out: 1 listed twice"
    ]


def test_validated_clips_of_no_split_are_for_pretraining_and_invalidated_ones_counted(
    tmp_path: Path, messages: list[str]
) -> None:
    folder = release(
        tmp_path,
        {
            "train": [row("c1")],
            "test": [row("c2")],
            "validated": [row("c1"), row("c2"), row("c3"), row("c4")],
            "other": [row("c5")],
            "invalidated": [row("c8"), row("c9")],
        },
    )
    with (folder / "invalidated.tsv").open("a") as file:
        file.write("a row without tabs\n")
    counts = prepare(tmp_path, Output(tmp_path / "out"))
    assert counts == {"es": {"train": 1, "test": 1, "unlabelled": 3}}
    unlabelled = texts(tmp_path / "out" / "es" / "unlabelled.jsonl")
    assert unlabelled == dict.fromkeys(("c3", "c4", "c5"))
    assert messages[1:] == [
        "es: train 1 (0.00014 h), test 1 (0.00014 h), "
        "unlabelled 3 (0.00042 h, 2 of them validated but in no split); "
        "left out: 3 invalidated (invalidated.tsv)"
    ]


def test_invalidated_clips_on_request(tmp_path: Path, messages: list[str]) -> None:
    tables = {"train": [row("c1")], "other": [row("c2")], "invalidated": [row("c8"), row("c9")]}
    release(tmp_path, tables)
    prepare(tmp_path, Output(tmp_path / "out"), invalidated=True)
    assert messages[1:] == [
        "es: train 1 (0.00014 h), unlabelled 3 (0.00042 h, 2 of them invalidated)"
    ]
    unlabelled = texts(tmp_path / "out" / "es" / "unlabelled.jsonl")
    assert unlabelled == dict.fromkeys(("c2", "c8", "c9"))


@pytest.mark.parametrize("splits", ["official", "speaker", "speaker+sentence"])
def test_no_clip_of_dev_or_test_is_unlabelled(
    tmp_path: Path, splits: Any, messages: list[str]
) -> None:
    """Whichever other table has it, and whether or not it has a sentence."""
    bare = row("t2", "", "s6")
    tables = {
        "train": [row("c1", "uno", "s5"), row("c2", "", "s2"), bare],
        "dev": [row("d1", "dos", "s3"), row("d2", " ", "s3")],
        "test": [row("t1", "tres", "s4"), bare],
        "validated": [row("c1", "uno", "s5"), bare, row("t1", "tres", "s4")],
        "other": [row("t1"), row("o1")],
        "invalidated": [row("d1"), row("i1"), row("d2")],
    }
    release(tmp_path, tables, durations=True)
    out = tmp_path / "out" / "es"
    prepare(tmp_path, Output(out.parent), splits=splits, invalidated=True)
    assert set(texts(out / "unlabelled.jsonl")) == {"c2", "o1", "i1"}
    assert texts(out / "dev.jsonl") == {"d1": "dos"}
    assert texts(out / "test.jsonl") == {"t1": "tres"}
    assert "3 of dev or test, in other.tsv or invalidated.tsv" in messages[-1]
    bare_rows = 3 if splits == "official" else 2  # else that of train.tsv is counted as such
    assert f"{bare_rows} of dev or test, without a sentence" in messages[-1]


def crowded_release(root: Path) -> Path:
    """Two clips in train.tsv; of five more validated ones three are by others than test's two."""
    tables = {
        "train": [row("c1", "uno"), row("c2", "dos", "s2")],
        "dev": [row("d1", "tres", "s3")],
        "test": [row("t1", "cuatro", "s4")],
    }
    more = [
        row("v1", "cinco", "s2"),
        row("v2", "¡Cuatro!", "s5"),
        row("v3", "seis", "s4"),
        row("v4", "siete", "s3"),
        row("v5", "ocho", "s6"),
    ]
    everything = [r for rows in tables.values() for r in rows] + more
    return release(root, tables | {"validated": everything, "other": [row("o1")]}, durations=True)


def test_train_may_be_all_that_is_validated_but_for_held_out_speakers(
    tmp_path: Path, messages: list[str]
) -> None:
    crowded_release(tmp_path)
    counts = prepare(tmp_path, Output(tmp_path / "out"), splits="speaker")
    assert counts == {"es": {"train": 5, "dev": 1, "test": 1, "unlabelled": 3}}
    out = tmp_path / "out" / "es"
    assert set(texts(out / "train.jsonl")) == {"c1", "c2", "v1", "v2", "v5"}
    assert texts(out / "unlabelled.jsonl") == dict.fromkeys(("v3", "v4", "o1"))
    speakers = {
        split: {u.speaker for u in read_manifest(out / f"{split}.jsonl")} for split in counts["es"]
    }
    assert not speakers["train"] & (speakers["dev"] | speakers["test"])
    assert messages[1:] == [
        "es: train 5 (0.00069 h, official train 0.00028 h: +0.00042 h), dev 1 (0.00014 h), "
        "test 1 (0.00014 h), "
        "unlabelled 3 (0.00042 h, 2 of them validated but by speakers of dev or test)"
    ]


def test_train_without_the_held_out_sentences_either(tmp_path: Path, messages: list[str]) -> None:
    crowded_release(tmp_path)
    prepare(tmp_path, Output(tmp_path / "out"), splits="speaker+sentence")
    train = texts(tmp_path / "out" / "es" / "train.jsonl")
    assert train == {"c1": "uno", "c2": "dos", "v1": "cinco", "v5": "ocho"}
    assert "train 4 (0.00056 h, official train 0.00028 h: +0.00028 h)" in messages[-1]
    assert "1 of them validated but with sentences of dev or test" in messages[-1]
    assert "2 of them validated but by speakers of dev or test" in messages[-1]
    with pytest.raises(UserError, match=r"train disjoint by speaker\+sentence; give CommonVoice"):
        prepare(tmp_path, Output(tmp_path / "out"))


def test_a_train_clip_of_a_held_out_speaker_is_no_longer_one(
    tmp_path: Path, messages: list[str]
) -> None:
    """Real releases have none; corpora in their layout may."""
    release(
        tmp_path,
        {
            "train": [row("c1"), row("c2", speaker="s2"), row("both", speaker="s3")],
            "dev": [row("d1", speaker="s4")],
            "test": [row("t1"), row("both", speaker="s3")],
            "validated": [row("c1"), row("c2", speaker="s2"), row("t1"), row("c3", speaker="")],
        },
        durations=True,
    )
    counts = prepare(tmp_path, Output(tmp_path / "out"), splits="speaker")
    assert counts == {"es": {"train": 1, "dev": 1, "test": 2, "unlabelled": 2}}
    assert "2 of them validated but by speakers of dev or test" in messages[-1]
    assert "1 in train.tsv and in dev.tsv or test.tsv" in messages[-1]


def test_nothing_left_to_train_on_is_reported(tmp_path: Path, messages: list[str]) -> None:
    tables = {"train": [row("c1")], "dev": [row("d1", speaker="s2")], "test": [row("t1")]}
    release(tmp_path, tables | {"validated": tables["train"] + tables["test"]})
    with pytest.raises(UserError, match=r"--splits speaker leaves no clip for train in es"):
        prepare(tmp_path, Output(tmp_path / "out"), splits="speaker")
    assert "es: train 0 (0 h, official train 0.00014 h: -0.00014 h), dev 1" in messages[-1]
    assert "1 of them validated but by speakers of dev or test" in messages[-1]
    assert (tmp_path / "out" / "es" / "test.jsonl").is_file()


def test_a_language_with_nothing_left_to_train_on_leaves_the_others_be(
    tmp_path: Path, messages: list[str]
) -> None:
    crowded_release(tmp_path)
    held_out = {"dev": [row("d1", speaker="s2")], "test": [row("t1")]}
    release(tmp_path, held_out | {"train": [row("c1")], "validated": [row("c1")]}, "it")
    counts = prepare(tmp_path, Output(tmp_path / "out"), splits="speaker")
    assert (counts["es"]["train"], counts["it"]) == (5, {"dev": 1, "test": 1, "unlabelled": 1})
    assert messages[-1].startswith("--splits speaker leaves no clip for train in it")
    assert "--splits official" in messages[-1]


@pytest.mark.parametrize("splits", ["speaker", "speaker+sentence"])
def test_a_language_that_holds_nothing_out_is_read_as_it_is(
    tmp_path: Path, splits: Any, messages: list[str]
) -> None:
    crowded_release(tmp_path)
    release(tmp_path, {"other": [row("o1")]}, "nds")
    rows = [row("c1"), row("c2")]
    release(tmp_path, {"train": rows[:1], "test": [row("t1")], "validated": rows}, "tn")
    counts = prepare(tmp_path, Output(tmp_path / "out"), splits=splits)
    assert counts["es"]["train"] == {"speaker": 5, "speaker+sentence": 4}[splits]
    assert counts["nds"] == {"unlabelled": 1}
    assert counts["tn"] == {"train": 1, "test": 1, "unlabelled": 1}
    assert messages[:2] == [
        "train of nds: none, since no clip is in train.tsv, dev.tsv, test.tsv",
        "train of tn: official, since no clip is in dev.tsv",
    ]
    assert prepare(tmp_path, Output(tmp_path / "out"), ["tn"]) == {"tn": counts["tn"]}
    alone = Output(tmp_path / "alone")
    assert prepare(tmp_path / "nds", alone, splits=splits) == {"nds": {"unlabelled": 1}}


@pytest.mark.parametrize("splits", ["speaker", "speaker+sentence"])
@pytest.mark.parametrize("table", ["dev", "test"])
def test_train_is_disjoint_only_from_speakers_that_are_known(
    tmp_path: Path, table: str, splits: Any
) -> None:
    folder, out = crowded_release(tmp_path), Output(tmp_path / "out")
    [held_out] = [{"dev": row("d1", speaker="s3"), "test": row("t1", speaker="s4")}[table]]
    rows = [held_out, held_out | {"client_id": " "}, held_out | {"client_id": ""}]
    write_tsv(folder / f"{table}.tsv", V17, rows)
    said = rf"2 rows of dev\.tsv and test\.tsv have no client_id, the first in .*{table}\.tsv:3,"
    with pytest.raises(UserError, match=said):
        prepare(tmp_path, out, splits=splits)
    (folder / f"{table}.tsv").unlink()
    with pytest.raises(UserError, match=rf"no {table}\.tsv, so train cannot be"):
        prepare(tmp_path, Output(tmp_path / "out", allow_missing=True), splits=splits)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("absent", [("train",), ("dev",), ("test",), ("train", "dev", "test")])
def test_a_language_that_is_unpacked_in_part_is_not_taken_for_whole(
    tmp_path: Path, absent: tuple[str, ...], messages: list[str]
) -> None:
    folder = crowded_release(tmp_path)
    for table in absent:
        (folder / f"{table}.tsv").unlink()
    names = ", ".join(f"{table}.tsv" for table in absent)
    with pytest.raises(UserError, match=f"es: no {names}.*--allow-missing"):
        prepare(tmp_path, Output(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    messages.clear()
    prepare(tmp_path, Output(tmp_path / "out", allow_missing=True))
    assert messages[0].startswith(f"{folder}: no {names}: ")
    assert f"of them validated, of an unknown split without {names})" in messages[-1]


def test_a_language_of_which_nothing_is_validated_has_no_splits(tmp_path: Path) -> None:
    release(tmp_path, {"other": [row("c1")], "invalidated": [row("c2")]}, whole=False)
    assert prepare(tmp_path, Output(tmp_path / "out")) == {"es": {"unlabelled": 1}}


def test_impossible_splits(tmp_path: Path) -> None:
    release(tmp_path, {"train": [row("c1")]})
    with pytest.raises(UserError, match=r"official, speaker, speaker\+sentence, but 'no'"):
        prepare(tmp_path, Output(tmp_path / "out"), splits="no")  # type: ignore[arg-type]


def test_the_release_is_pinned_in_every_line(tmp_path: Path, messages: list[str]) -> None:
    for name, told in (("cv-corpus-17.0-2024-03-15", 0), ("cv-corpus-5.1-2020-06-22", 0), ("x", 1)):
        release(tmp_path / name, {"train": [row("c1")]})
        messages.clear()
        prepare(tmp_path / name / "es", Output(tmp_path / f"{name}-out"))
        [u] = read_manifest(tmp_path / f"{name}-out" / "es" / "train.jsonl")
        assert (u.extra["release"], u.corpus) == (name, "commonvoice")
        assert sum("--release" in line for line in messages) == told
    prepare(tmp_path / "x", Output(tmp_path / "y"), release="cv-corpus-4")
    assert read_manifest(tmp_path / "y" / "es" / "train.jsonl")[0].extra["release"] == "cv-corpus-4"
    assert sum("--release" in line for line in messages) == 1
    for bad in ("", "../x y", "..", "a/b", "a\nb", "x" * 101):
        with pytest.raises(UserError, match=r"--release is a name such as cv-corpus-17\.0") as no:
            prepare(tmp_path / "x", Output(tmp_path / "z"), release=bad)
        assert repr(bad) in str(no.value)
    with pytest.raises(UserError, match="holds the manifests of CommonVoice cv-corpus-4; give"):
        prepare(tmp_path / "x", Output(tmp_path / "y"))


def test_the_release_of_a_language_elsewhere_is_that_of_root(tmp_path: Path) -> None:
    name = "cv-corpus-17.0-2024-03-15"
    folder = release(tmp_path / name, {"train": [row("c1")]})
    (tmp_path / "disk").mkdir()
    folder.rename(tmp_path / "disk" / "spanish")
    folder.symlink_to(tmp_path / "disk" / "spanish")
    (tmp_path / "alias").symlink_to(name)
    (tmp_path / "es").symlink_to(folder)
    for number, root in enumerate((tmp_path / name, tmp_path / "alias", folder)):
        out = Output(tmp_path / f"out{number}")
        [language] = prepare(root, out)
        [u] = read_manifest(out.folder / language / "train.jsonl")
        assert u.extra["release"] == name
    (tmp_path / "disk" / "spanish").rename(tmp_path / name / "moved")
    folder.unlink()
    (tmp_path / name / "moved").rename(folder)
    out = Output(tmp_path / "out")
    prepare(tmp_path / "es", out)  # a link from anywhere into a release
    assert read_manifest(out.folder / "es" / "train.jsonl")[0].extra["release"] == name


def test_a_row_cannot_lead_out_of_the_release(tmp_path: Path) -> None:
    folder = release(tmp_path / "cv", {"train": [row("c1")]})
    write_clip(tmp_path / "secret.mp3")
    (folder / "clips" / "link.mp3").symlink_to(tmp_path / "secret.mp3")
    (folder / "clips" / "within.mp3").symlink_to("c1.mp3")
    os.mkfifo(folder / "clips" / "pipe.mp3")
    names = (
        "../../../secret",
        str(tmp_path / "secret"),
        "link",
        "a\0b",
        "within",
        "pipe",
        "..",
        "",
    )
    with (folder / "other.tsv").open("w") as file:
        file.write("client_id\tpath\tsentence\n")
        file.writelines(f"s\t{name}\tx\n" for name in names)
    counts = prepare(tmp_path / "cv", Output(tmp_path / "out", allow_missing=True))
    assert counts == {"es": {"train": 1, "unlabelled": 1}}
    assert list(texts(tmp_path / "out" / "es" / "unlabelled.jsonl")) == ["within"]
    listed = (tmp_path / "out" / "es" / "corrupt.txt").read_text()
    assert listed.count("leads out of") == 3
    assert "cannot be a path" in listed
    assert "pipe.mp3\tnot a file" in listed


def test_splits_stay_as_released(tmp_path: Path) -> None:
    release(
        tmp_path,
        {
            "train": [row("c1"), row("both")],
            "dev": [row("c2")],
            "test": [row("both")],
            "invalidated": [row("c9")],
        },
    )
    counts = prepare(tmp_path, Output(tmp_path / "out"))
    assert counts == {"es": {"train": 2, "dev": 1, "test": 1}}


def test_a_missing_clip_is_an_error_that_names_it_or_is_listed(
    tmp_path: Path, messages: list[str]
) -> None:
    folder = release(tmp_path, {"train": [row("c1"), row("c2"), row("c3")]}, durations=True)
    (folder / "clips" / "c2.mp3").unlink()
    with pytest.raises(UserError) as raised:
        prepare(tmp_path, Output(tmp_path / "out"))
    assert str(raised.value).startswith(f"{folder / 'clips' / 'c2.mp3'}: no such file")
    assert f"{folder / 'train.tsv'}:3" in str(raised.value)
    assert "--allow-missing" in str(raised.value)
    assert not (tmp_path / "out").exists()

    messages.clear()
    counts = prepare(tmp_path, Output(tmp_path / "out", allow_missing=True))
    assert counts == {"es": {"train": 2}}
    assert "1 missing (missing.txt)" in messages[-1]
    listed = (tmp_path / "out" / "es" / "missing.txt").read_text().splitlines()
    assert len(listed) == 1
    assert listed[0].startswith(f"{folder / 'clips' / 'c2.mp3'}\t")

    write_clip(folder / "clips" / "c2.mp3")
    assert prepare(tmp_path, Output(tmp_path / "out")) == {"es": {"train": 3}}
    assert not (tmp_path / "out" / "es" / "missing.txt").exists()


@pytest.mark.parametrize("convert", [False, True])
@pytest.mark.parametrize("durations", [False, True])  # a listed duration is no sign of health
def test_broken_clips_and_rows_are_errors_or_are_listed(
    tmp_path: Path, durations: bool, convert: bool, messages: list[str]
) -> None:
    clips = ["good", "empty", "text", "silent"]
    folder = release(tmp_path, {"train": [row(c) for c in clips]}, durations=durations)
    (folder / "clips" / "empty.mp3").write_bytes(b"")
    (folder / "clips" / "text.mp3").write_text("not audio\n" * 99)
    soundfile.write(folder / "header.wav", np.zeros(9), 16_000)
    header = (folder / "header.wav").read_bytes()[:44]
    (folder / "clips" / "silent.mp3").write_bytes(header)  # sound by its header, without samples
    with (folder / "train.tsv").open("a") as file:
        file.write("s1\tgood.mp3\tone tab too few\n")
    with pytest.raises(UserError, match=r"empty\.mp3: .*0 bytes.*and 1 more of language es"):
        prepare(tmp_path, Output(tmp_path / "out", convert=convert))

    messages.clear()
    counts = prepare(tmp_path, Output(tmp_path / "out", allow_missing=True, convert=convert))
    assert counts == {"es": {"train": 1}}
    assert "4 corrupt (corrupt.txt)" in messages[-1]
    listed = (tmp_path / "out" / "es" / "corrupt.txt").read_text().splitlines()
    assert [Path(line.split("\t")[0]).name for line in listed] == [
        *("empty.mp3", "train.tsv", "text.mp3", "silent.mp3")
    ]
    assert "line 6 has 3 fields, the header 13" in listed[1]


def test_converted_clips_are_16_khz_flac_of_their_true_length(tmp_path: Path) -> None:
    folder = release(tmp_path, {"train": [row("c1"), row("c2")], "other": [row("c3")]})
    write_tsv(
        folder / "clip_durations.tsv",
        "clip duration[ms]",
        [{"clip": "c1.mp3", "duration[ms]": "900"}],
    )
    soundfile.write(
        folder / "clips" / "c2.mp3", np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 2)), 8_000
    )
    prepare(tmp_path, Output(tmp_path / "out", convert=True))
    read: list[Utterance] = read_manifest(tmp_path / "out" / "es" / "train.jsonl")
    for u in read:
        info = soundfile.info(u.audio)
        assert u.audio.parent == tmp_path / "out" / "es" / "audio"
        assert u.audio.name.startswith(f"{u.id}.")
        assert (info.format, info.samplerate, info.channels) == ("FLAC", 16_000, 1)
        assert u.duration == info.frames / 16_000 == 0.5
    copies = tmp_path / "out" / "es" / "audio"
    before = {f: f.stat().st_mtime_ns for f in copies.iterdir()}
    assert len(before) == 3
    (folder / "clips" / "c1.mp3").touch()  # newer than its copy
    prepare(tmp_path, Output(tmp_path / "out", convert=True))
    assert before == {f: f.stat().st_mtime_ns for f in before}
    assert {f.name.split(".")[0] for f in set(copies.iterdir()) - set(before)} == {"c1"}


@pytest.mark.parametrize("convert", [False, True])
def test_preparing_again_opens_nothing_and_touches_nothing(tmp_path: Path, convert: bool) -> None:
    folder = release(tmp_path, {"train": [row("c1"), row("c2")], "other": [row("c3")]})
    once = prepare(tmp_path, Output(tmp_path / "out", convert=convert))
    made = {f: f.stat().st_mtime_ns for f in (tmp_path / "out").rglob("*.*")}
    for clip in (folder / "clips").iterdir():  # no sound any more, of the same size and time
        status = clip.stat()
        clip.write_bytes(bytes(status.st_size))
        os.utime(clip, ns=(status.st_atime_ns, status.st_mtime_ns))
    with opened(tmp_path / "es" / "clips") as sources, opened(tmp_path / "out/es/audio") as copies:
        assert prepare(tmp_path, Output(tmp_path / "out", convert=convert)) == once
    assert not sources
    assert not copies
    assert made == {f: f.stat().st_mtime_ns for f in made}

    write_clip(folder / "clips" / "c2.mp3", 1.25)  # changed: measured anew
    os.utime(folder / "clips" / "c2.mp3", (0, 0))  # as an archive would
    prepare(tmp_path, Output(tmp_path / "out", convert=convert))
    read = {u.id: u.duration for u in read_manifest(tmp_path / "out" / "es" / "train.jsonl")}
    assert read == {"c1": 0.5, "c2": 1.25}


def test_progress_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    monkeypatch.setattr(processes, "SECONDS_BETWEEN_PROGRESS", 0.0)
    release(tmp_path, {"train": [row("c1"), row("c2")]})
    prepare(tmp_path, Output(tmp_path / "out", convert=True))
    assert messages[1:3] == [f"es: converted {n} of 2 files" for n in (1, 2)]


def test_root_may_be_a_release_or_one_language_of_it(tmp_path: Path) -> None:
    for language in ("es", "zh-TW"):
        release(tmp_path / "cv", {"train": [row("c1")]}, language, durations=True)
    (tmp_path / "cv" / "notes").mkdir()
    out = tmp_path / "out"
    assert prepare(tmp_path / "cv", Output(out)) == {
        "es": {"train": 1},
        "zh-TW": {"train": 1},
    }
    assert read_manifest(out / "zh-TW" / "train.jsonl")[0].language == "zh-TW"
    assert list(prepare(tmp_path / "cv", Output(out), ["zh-TW", "zh-TW"])) == ["zh-TW"]
    assert list(prepare(tmp_path / "cv" / "es", Output(out))) == ["es"]
    assert list(prepare(tmp_path / "cv", Output(out), ["Spanish"])) == ["es"]
    with pytest.raises(UserError, match=r"no language folder it; there are es, zh-TW"):
        prepare(tmp_path / "cv", Output(out), ["es", "it"])
    with pytest.raises(UserError, match=r"neither a CommonVoice release .* it holds cv, out"):
        prepare(tmp_path, Output(out))
    with pytest.raises(UserError, match="no such folder"):
        prepare(tmp_path / "absent", Output(out))


def test_broken_tables(tmp_path: Path) -> None:
    folder = tmp_path / "es"
    write_tsv(folder / "invalidated.tsv", V17, [row("c1")])
    with pytest.raises(UserError, match=r"neither a CommonVoice release .* it holds es"):
        prepare(tmp_path, Output(tmp_path / "out"))
    for split in SPLITS:
        write_tsv(folder / f"{split}.tsv", V17, [])
    with pytest.raises(UserError, match="no usable utterance is listed for es"):
        prepare(tmp_path, Output(tmp_path / "out"))
    write_tsv(folder / "train.tsv", "client_id path text", [])
    with pytest.raises(UserError) as raised:
        prepare(tmp_path, Output(tmp_path / "out"))
    assert str(raised.value) == (
        f"{folder / 'train.tsv'}: needs the column sentence; its columns are client_id, path, text."
    )
    (folder / "train.tsv").write_bytes(b"")
    with pytest.raises(UserError, match=r"client_id and path and sentence; its columns are none"):
        prepare(tmp_path, Output(tmp_path / "out"))
    (folder / "train.tsv").write_bytes("client_id\tpath\tsentence\nñ\tc\tx\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        prepare(tmp_path, Output(tmp_path / "out"))
