"""Broken CommonVoice releases: whatever tables and clips hold, it is used, listed or refused."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from speechx.corpora.commonvoice import prepare
from speechx.corpora.engine.write import Output
from speechx.data.manifest import read_manifest
from speechx.errors import UserError
from tests.corpora.test_commonvoice import V17, release, row

FEW = settings(max_examples=40, derandomize=True, deadline=None)
CELLS = st.one_of(
    st.sampled_from(["c1.mp3", "c1", "", "../c1.mp3", "/etc/passwd", "..", "s1", '"', " ", "2"]),
    st.text(max_size=12).filter(lambda cell: not set(cell) & set("\t\n\r")),
)
WIDTH = len(V17.split())


@cache
def sound_release() -> Path:
    tables = {"train": [row("c1")], "dev": [row("c2")], "test": [row("c1", speaker="s2")]}
    return release(Path(tempfile.mkdtemp()), tables)


def one_clip(root: Path) -> Path:
    return Path(shutil.copytree(sound_release(), root / "es"))


def used_or_refused(root: Path, allow_missing: bool = False, **options: object) -> None:
    """Every line of a manifest is of a clip in the release; what is wrong is one line of text."""
    try:
        counts = prepare(root / "cv", Output(root / "out", allow_missing), **options)  # type: ignore[arg-type]
    except UserError as error:
        if not str(error).strip():
            raise
        return
    for split, count in counts["es"].items():
        utterances = read_manifest(root / "out" / "es" / f"{split}.jsonl")
        assert len(utterances) == count
        for u in utterances:
            assert Path(u.audio).resolve().parent == (root / "cv" / "es" / "clips").resolve()
            assert u.duration > 0


@FEW
@given(
    st.sampled_from(["train.tsv", "validated.tsv", "clip_durations.tsv", "times.txt"]),
    st.binary(max_size=200),
    st.booleans(),
)
def test_tables_of_any_bytes(table: str, content: bytes, after_a_good_header: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        language = one_clip(Path(folder, "cv"))
        header = "\t".join(V17.split()).encode() + b"\n" if after_a_good_header else b""
        (language / table).write_bytes(header + content)
        used_or_refused(Path(folder))
        used_or_refused(Path(folder), allow_missing=True)


@FEW
@given(st.lists(st.lists(CELLS, min_size=WIDTH, max_size=WIDTH), max_size=6))
def test_rows_of_any_cells(rows: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        language = one_clip(Path(folder, "cv"))
        lines = ["\t".join(V17.split()), *("\t".join(cells) for cells in rows)]
        for table in ("validated.tsv", "other.tsv", "invalidated.tsv"):
            (language / table).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        used_or_refused(
            Path(folder), allow_missing=True, splits="speaker+sentence", invalidated=True
        )


@FEW
@given(st.binary(max_size=300), st.integers(0, 1500))
def test_clips_of_any_bytes(content: bytes, kept: int) -> None:
    """A clip that breaks off, or goes on with something else."""
    with tempfile.TemporaryDirectory() as folder:
        clip = one_clip(Path(folder, "cv")) / "clips" / "c1.mp3"
        clip.write_bytes(clip.read_bytes()[:kept] + content)
        used_or_refused(Path(folder))
        used_or_refused(Path(folder), allow_missing=True)
