"""Whatever lies on the disk, a reader ends, names what is wrong, and reads nothing from outside.

Every reader gets a good miniature tree with its tables mutilated, or with a strange thing in the
place of an audio file. Only a `UserError` of one line may come out; what is written must be good.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechx.corpora import (
    babel,
    commonvoice,
    commonvoice_spontaneous,
    fleurs,
    folder,
    hugging_face,
    kaldi,
    lhotse,
    mls,
    table,
    voxlingua107,
    voxpopuli,
)
from speechx.corpora.engine.rows import OwnData
from speechx.corpora.engine.write import Output
from speechx.data.manifest import read_manifest
from speechx.errors import UserError
from tests.babel_packs import Pack, turns
from tests.corpora import (
    test_commonvoice_spontaneous,
    test_hugging_face,
    test_lhotse,
    test_mls,
    test_voxpopuli,
)
from tests.corpora.corpus_trees import lines, opened, sound

EXAMPLES = 15
SECONDS = 20  # for one reading; a good tree takes hundredths


@dataclass(frozen=True)
class Reader:
    """A good tree, its tables, one of its audio files, and how it is read."""

    build: Callable[[Path], object]
    tables: tuple[str, ...]
    audio: str
    read: Callable[..., dict[str, dict[str, int]]]


def build_commonvoice(root: Path) -> None:
    rows = ["client_id\tpath\tsentence", "s1\tc1.mp3\tdue", "s2\tc2.mp3\ttre"]
    for split in ("train", "dev", "test", "validated", "invalidated"):
        lines(root / "es" / f"{split}.tsv", *rows)
    lines(root / "es" / "clip_durations.tsv", "clip\tduration[ms]", "c1.mp3\t500")
    for clip in ("c1", "c2"):
        sound(root / "es" / "clips" / f"{clip}.mp3")


def build_fleurs(root: Path) -> None:
    row = "7\t{}.wav\tDue.\tdue\td u e |\t8000\tMALE"
    lines(root / "it_it" / "train.tsv", row.format(1), row.format(2))
    for file in "12":
        sound(root / "it_it" / "audio" / "train" / f"{file}.wav")


def build_voxpopuli(root: Path) -> None:
    test_voxpopuli.transcribed(root)
    test_voxpopuli.sessions(root)
    row = "20180313-0900-PLENARY_hr\t0\t0.5\t1.25"
    test_voxpopuli.segments(root, "unlabelled_v2.tsv.gz", "event_id\tsegment_no\tstart\tend", row)


def build_spontaneous(root: Path) -> None:
    release = root / "sps-corpus-3.0-2026-03-09-it"
    columns = test_commonvoice_spontaneous.COLUMNS.split()
    known = {"client_id": "s1", "transcription": "due", "language": "it", "split": "train"}
    rows = [known | {"audio_id": i, "audio_file": f"{i}.mp3"} for i in "12"]
    cells = ["\t".join(row.get(name, "") for name in columns) for row in rows]
    lines(release / "ss-corpus-it.tsv", "\t".join(columns), *cells)
    for name in "12":
        sound(release / "audios" / f"{name}.mp3")


def build_babel(root: Path) -> None:
    pack = Pack(root, wrapper="103-bengali")
    for caller in range(10, 14):
        pack.call("training", f"{caller}000_20120101_120000_inLine", turns("one", "<hes> (())"))
    pack.lexicon("one\tek\tw V n\n")


def build_voxlingua107(root: Path) -> None:
    for name in ("it/v1__U__S1---0-1", "dev/it/v2__U__S1---0-1"):
        sound(root / f"{name}.wav")


def build_folder(root: Path) -> None:
    sound(root / "a.wav")
    lines(root / "a.txt", "due")
    sound(root / "b.flac")


def build_table(root: Path) -> None:
    rows = [("id", "path", "text", "start", "duration", "language", "split")]
    rows += [
        ("a", "a.wav", "due", "0", "0.5", "it", "train"),
        ("b", "b.wav", "", "", "", "it", "x"),
    ]
    lines(root / "all.tsv", *("\t".join(row) for row in rows))
    lines(root / "all.csv", *(",".join(f'"{cell}"' for cell in row) for row in rows))
    objects = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    lines(root / "all.jsonl", *map(json.dumps, objects))
    for name in "ab":
        sound(root / f"{name}.wav")


def build_kaldi(root: Path) -> None:
    data = root / "train"
    lines(data / "wav.scp", "r1 r1.wav", "r2 sph2pipe -f wav -p -c 1 r2.wav |")
    lines(data / "segments", "u1 r1 0 0.5", "u2 r2 0.1 -1")
    lines(data / "text", "u1 due", "u2 tre")
    lines(data / "utt2spk", "u1 ann", "u2 bob")
    lines(data / "reco2file_and_channel", "r1 r1 A")
    for name in ("r1", "r2"):
        sound(root / f"{name}.wav")


def build_lhotse(root: Path) -> None:
    cuts = [test_lhotse.cut("a.wav", "c"), test_lhotse.cut("b.wav", "d")]
    root.mkdir(parents=True)
    lines(root / "cuts_dev.jsonl", *map(json.dumps, cuts))
    (root / "cuts_train.jsonl.gz").write_bytes(gzip.compress(json.dumps(cuts[0]).encode()))
    apart = [{**cuts[0]["supervisions"][0], "id": "s"}]
    lines(root / "recordings_test.jsonl", json.dumps(cuts[0]["recording"]))
    lines(root / "supervisions_test.jsonl", *map(json.dumps, apart))
    for name in "ab":
        sound(root / f"{name}.wav", 2.0)


def build_hugging_face(root: Path) -> None:
    data = sound(root / "clips" / "a.wav").read_bytes()
    cells = [{"bytes": data, "path": "x.wav"}, {"bytes": None, "path": "clips/a.wav"}]
    test_hugging_face.save(root, {"audio": cells, "text": ["due", "tre"], "id": ["a", "b"]})


def language_of(prepare: Callable[..., Any]) -> Callable[..., Any]:
    return lambda root, out: prepare(root, out, "it")


def below(prepare: Callable[..., Any]) -> Callable[..., Any]:
    return lambda root, out: prepare(root, out, OwnData("it", audio_root=root))


def table_of(suffix: str) -> Callable[..., Any]:
    return lambda root, out: table.prepare(root / f"all{suffix}", out, OwnData("it"))


PACK, CALL = "103-bengali/conversational", "BABEL_OP1_103_12000_20120101_120000_inLine"
READERS = {
    "babel": Reader(
        build_babel,
        (f"{PACK}/training/transcription/{CALL}.txt", f"{PACK}/reference_materials/lexicon.txt"),
        f"{PACK}/training/audio/{CALL}.sph",
        lambda root, out: babel.prepare(root, out, options=babel.Options(phones=True)),
    ),
    "spontaneous": Reader(
        build_spontaneous,
        ("sps-corpus-3.0-2026-03-09-it/ss-corpus-it.tsv",),
        "sps-corpus-3.0-2026-03-09-it/audios/1.mp3",
        commonvoice_spontaneous.prepare,
    ),
    "commonvoice": Reader(
        build_commonvoice,
        tuple(f"es/{t}.tsv" for t in ("train", "test", "validated", "clip_durations")),
        "es/clips/c1.mp3",
        commonvoice.prepare,
    ),
    "fleurs": Reader(
        build_fleurs, ("it_it/train.tsv",), "it_it/audio/train/1.wav", fleurs.prepare
    ),
    "mls": Reader(
        lambda root: test_mls.language(root / "mls_german"),
        tuple(
            f"mls_german/{t}.txt"
            for t in ("train/transcripts", "metainfo", "train/limited_supervision/9hr/handles")
        ),
        "mls_german/train/audio/10/20/10_20_000001.flac",
        mls.prepare,
    ),
    "voxpopuli": Reader(
        build_voxpopuli,
        ("transcribed_data/hr/asr_train.tsv", "unlabelled_data/unlabelled_v2.tsv.gz"),
        "raw_audios/hr/2018/20180313-0900-PLENARY_hr.ogg",
        voxpopuli.prepare,
    ),
    "voxlingua107": Reader(
        build_voxlingua107, (), "it/v1__U__S1---0-1.wav", voxlingua107.prepare
    ),
    "folder": Reader(build_folder, ("a.txt",), "b.flac", language_of(folder.prepare)),
    "tsv": Reader(build_table, ("all.tsv",), "a.wav", table_of(".tsv")),
    "csv": Reader(build_table, ("all.csv",), "a.wav", table_of(".csv")),
    "jsonl": Reader(build_table, ("all.jsonl",), "a.wav", table_of(".jsonl")),
    "kaldi": Reader(
        build_kaldi,
        tuple(f"train/{t}" for t in ("wav.scp", "segments", "text", "reco2file_and_channel")),
        "r2.wav",
        below(kaldi.prepare),
    ),
    "lhotse": Reader(
        build_lhotse,
        ("cuts_dev.jsonl", "cuts_train.jsonl.gz", "recordings_test.jsonl",
         "supervisions_test.jsonl"),
        "a.wav",
        below(lhotse.prepare),
    ),
    "hugging_face": Reader(
        build_hugging_face,
        ("state.json", "dataset_info.json", "data-00000-of-00001.arrow"),
        "clips/a.wav",
        lambda root, out: hugging_face.prepare(root, out, OwnData("it")),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A good tree for every reader, to be copied."""
    made = {}
    for name, reader in READERS.items():
        made[name] = tmp_path_factory.mktemp(name) / "corpus"
        reader.build(made[name])
    return made


@contextmanager
def fresh(tree: Path) -> Iterator[tuple[Path, Path]]:
    """A copy of a tree, and a folder beside it, with a good recording, that nobody may look into;
    the working directory is the copy."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(os.path.realpath(name))
        shutil.copytree(tree, place / "corpus", symlinks=True)
        secret = sound(place / "outside" / "secret.wav")
        before = Path.cwd()
        os.chdir(place / "corpus")
        with opened(secret.parent) as found:
            try:
                yield place / "corpus", place / "out"
            finally:
                os.chdir(before)
        assert not found


@contextmanager
def in_time() -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError(f"not ready after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def read_or_refuse(reader: Reader, root: Path, out: Path, **how: bool) -> str | None:
    """Reads a tree; the message if it is refused. What is written must be good."""
    with in_time():
        try:
            counts = reader.read(root, Output(out, **how))
        except UserError as error:
            message = str(error)
            assert 0 < len(message) < 6000
            assert "\n" not in message, repr(message)
            return message
    listed = 0
    for manifest in out.rglob("*.jsonl"):
        for u in read_manifest(manifest):
            listed += 1
            real = Path(u.audio).resolve()
            assert real.is_relative_to(root) or real.is_relative_to(out)
    assert listed == sum(n for splits in counts.values() for n in splits.values()) > 0
    assert {f.name for f in root.parent.iterdir()} <= {"corpus", "outside", "out"}
    return None


@pytest.mark.parametrize("name", READERS)
def test_the_good_trees_are_good(name: str, trees: dict[str, Path]) -> None:
    with fresh(trees[name]) as (root, out):
        assert read_or_refuse(READERS[name], root, out) is None


NASTY = (
    "../../etc/passwd", "/etc/passwd", "../outside/secret.wav", "/dev/zero", "/dev/stdin",
    "link.wav", "out/secret.wav", "loop.wav", "a\0b.wav", "x" * 300, "x/" * 3000, ".", "..", "/",
    "~", "-", "|", "http://localhost/a.wav", "file:///etc/passwd", "nan", "inf", "-1", "1e999",
    "1e-320", "0", "9" * 5000, "null", "true", "{}", "[]", '"', "'", "\\", "\r", "\u2028", "\u202e",
    "\ufeff", "é", " ", "", "$(touch x)", "`touch x`", "touch x |", "cat /etc/passwd |",
    "../../../x",
)  # fmt: skip
TOKEN = re.compile(rb'[^\t\n ",{}\[\]:|]+')

payloads = st.one_of(
    st.sampled_from(NASTY).map(lambda text: text.encode()),
    st.sampled_from(NASTY).map(lambda text: json.dumps(text).encode()),
    st.binary(max_size=8),
    st.sampled_from([b"\t", b"\n", b",", b"{", b"}", b"[", b"]", b"[" * 3000, b"\x00", b"\xff"]),
)
edits = st.lists(
    st.tuples(
        st.sampled_from(["token", "token", "insert", "cut", "repeat"]), st.floats(0, 1), payloads
    ),
    min_size=1,
    max_size=4,
)


def mutilated(data: bytes, kind: str, where: float, payload: bytes) -> bytes:
    at = int(where * len(data))
    if kind == "insert":
        return data[:at] + payload + data[at:]
    if kind == "cut":
        return data[:at]
    if kind == "repeat":
        return data[:at] + data[at // 2 :]
    tokens = list(TOKEN.finditer(data))
    if not tokens:
        return payload
    token = tokens[int(where * (len(tokens) - 1))]
    return data[: token.start()] + payload + data[token.end() :]


def plant_links(root: Path) -> None:
    """Links that lead out and round, under names that tables may hold."""
    for place in {root, *(f.parent for f in root.rglob("*.*") if f.is_file())}:
        (place / "link.wav").symlink_to(root.parent / "outside" / "secret.wav")
        (place / "out").symlink_to(root.parent / "outside")
        (place / "loop.wav").symlink_to(place / "loop.wav")


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.tables])
@settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_mutilated_tables(name: str, trees: dict[str, Path], data: st.DataObject) -> None:
    reader = READERS[name]
    path = data.draw(st.sampled_from(reader.tables))
    changes = data.draw(edits)
    with fresh(trees[name]) as (root, out):
        if name != "folder":
            plant_links(root)
        file = root / path
        unpacked = path.endswith(".gz") and data.draw(st.booleans())
        content = gzip.decompress(file.read_bytes()) if unpacked else file.read_bytes()
        for change in changes:
            content = mutilated(content, *change)
        file.write_bytes(gzip.compress(content) if unpacked else content)
        refused = read_or_refuse(reader, root, out)
        leniently = read_or_refuse(reader, root, out, allow_missing=True)
        assert refused or not leniently


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lie(path: Path) -> None:
    """A header that claims four gigabytes and has twenty bytes."""
    size = b"\xff\xff\xff\xff"
    shape = struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    path.write_bytes(b"RIFF" + size + b"WAVEfmt " + shape + b"data" + size + bytes(20))


def replace_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replaced(path: Path) -> None:
        path.unlink()
        make(path)

    return replaced


OUTSIDE = Path("..") / "outside" / "secret.wav"
STRANGE: dict[str, Callable[[Path], object]] = {
    "absent": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no sound\n" * 99),
    "header": lambda path: path.write_bytes(path.read_bytes()[:20]),
    "zeros": lambda path: path.write_bytes(bytes(9999)),
    "folder": replace_by(Path.mkdir),
    "pipe": replace_by(os.mkfifo),
    "link out": replace_by(lambda path: path.symlink_to(Path.cwd() / OUTSIDE)),
    "link to a device": replace_by(lambda path: path.symlink_to("/dev/zero")),
    "circle": replace_by(lambda path: path.symlink_to(path)),
}
PERHAPS = {"half": cut_in_half, "lie": lie}  # some formats can be read as far as they go


@pytest.mark.parametrize("name", READERS)
def test_strange_things_in_the_place_of_audio(name: str, trees: dict[str, Path]) -> None:
    reader = READERS[name]
    for what, happens in (STRANGE | PERHAPS).items():
        with fresh(trees[name]) as (root, out):
            happens(root / reader.audio)
            refused = read_or_refuse(reader, root, out)
            if what == "absent" and name in ("folder", "voxlingua107", "voxpopuli"):
                assert refused is None  # they list what is there
            elif what == "folder" and name == "folder":
                assert refused is None  # an empty folder below it
            elif what not in PERHAPS:
                file = Path(reader.audio).stem
                assert refused, what
                assert file in refused, (what, refused)
            leniently = read_or_refuse(reader, root, out, allow_missing=True)
            assert not leniently or what not in PERHAPS
            for convert in (False, True):
                read_or_refuse(reader, root, out / "again", allow_missing=True, convert=convert)


@pytest.mark.parametrize("convert", [False, True])
@pytest.mark.parametrize("name", READERS)
def test_preparing_again_changes_nothing(name: str, trees: dict[str, Path], convert: bool) -> None:
    reader = READERS[name]
    with fresh(trees[name]) as (root, out):
        assert read_or_refuse(reader, root, out, convert=convert) is None
        made = {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in files(out)}
        if convert:
            sounds = [Path(u.audio) for f in made if f.suffix == ".jsonl" for u in read_manifest(f)]
            assert {f.suffix for f in sounds} == {".flac"}
            assert all(out in f.parents for f in sounds)
        assert read_or_refuse(reader, root, out, convert=convert) is None
        assert made == {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in files(out)}


def files(out: Path) -> list[Path]:
    return [f for f in out.rglob("*") if f.is_file() and f.name != "manifests.txt"]
