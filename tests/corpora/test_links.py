"""Links out of a corpus: the folders that a user points to are followed, nothing below is."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechx.corpora import (
    commonvoice,
    commonvoice_spontaneous,
    fleurs,
    mls,
    voxlingua107,
    voxpopuli,
)
from speechx.corpora.engine.write import Output
from speechx.errors import UserError
from tests.corpora import test_fleurs, test_fuzz, test_mls

SECRET = "root:x:0:0:root:/root:/bin/sh"
SPONTANEOUS = "sps-corpus-3.0-2026-03-09-it"
LIMITED = "train/limited_supervision"

READERS: dict[str, tuple[Callable[[Path], object], str, Callable[..., Any], tuple[str, ...]]] = {
    "commonvoice": (
        test_fuzz.build_commonvoice, "es", commonvoice.prepare,
        ("train.tsv", "test.tsv", "other.tsv", "invalidated.tsv", "clip_durations.tsv", "clips"),
    ),
    "spontaneous": (
        test_fuzz.build_spontaneous, SPONTANEOUS, commonvoice_spontaneous.prepare,
        ("ss-corpus-it.tsv", "audios"),
    ),
    "fleurs": (
        lambda root: test_fleurs.language(root / "af_za"), "af_za", fleurs.prepare,
        ("train.tsv", "test.tsv", "audio"),
    ),
    "mls": (
        lambda root: test_mls.language(root / "mls_german"), "mls_german", mls.prepare,
        ("dev/transcripts.txt", "metainfo.txt", "train/audio", "dev",
         f"{LIMITED}/9hr/handles.txt", f"{LIMITED}/1hr/0/handles.txt", f"{LIMITED}/9hr"),
    ),
    "voxpopuli": (
        test_fuzz.build_voxpopuli, "transcribed_data/hr", voxpopuli.prepare,
        ("asr_train.tsv", "asr_test.tsv", "2018", "../../unlabelled_data",
         "../../unlabelled_data/unlabelled_v2.tsv.gz"),
    ),
}  # fmt: skip


def moved(path: Path, to: Path) -> None:
    """Out of the corpus, with a link in its place; a file's content is a secret there."""
    to.parent.mkdir(exist_ok=True)
    if path.is_dir():
        shutil.move(path, to)
    else:
        to.write_text(f"{SECRET}\n")
        path.unlink(missing_ok=True)
    path.symlink_to(to)


@pytest.mark.parametrize(
    ("corpus", "name"), [(corpus, name) for corpus in READERS for name in READERS[corpus][-1]]
)
def test_what_is_below_a_language_is_not_read_elsewhere(
    tmp_path: Path, corpus: str, name: str
) -> None:
    build, language, prepare, _ = READERS[corpus]
    build(tmp_path / "root")
    moved(tmp_path / "root" / language / name, tmp_path / "away" / "x.tsv.gz")
    with pytest.raises(UserError, match="leads out of") as raised:
        prepare(tmp_path / "root", Output(tmp_path / "out"))
    assert Path(name).name in str(raised.value)
    assert "root:x" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("corpus", [*READERS, "voxlingua107"])
def test_a_language_and_root_may_be_links_and_a_language_is_logged(
    tmp_path: Path, corpus: str, messages: list[str]
) -> None:
    if corpus == "voxlingua107":
        build, language, prepare = test_fuzz.build_voxlingua107, "it", voxlingua107.prepare
    else:
        build, language, prepare, _ = READERS[corpus]
    build(tmp_path / "root")
    (tmp_path / "alias").symlink_to("root")
    whole = Output(tmp_path / "a", allow_missing=True)
    counts = prepare(tmp_path / "alias", whole)
    assert not any("is a link" in line for line in messages)
    folder, away = tmp_path / "root" / language, tmp_path / "away" / "part1"
    away.parent.mkdir()
    shutil.move(folder, away)
    folder.symlink_to(away)
    out = Output(tmp_path / "b", allow_missing=True)
    assert prepare(tmp_path / "alias", out) == counts
    pattern = f"{re.escape(str(tmp_path / 'alias' / language))} is a link, and is read from "
    assert sum(bool(re.match(pattern + re.escape(str(away)), line)) for line in messages) == 1
