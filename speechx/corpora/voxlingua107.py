"""VoxLingua107 to manifests: YouTube speech in 107 languages, labelled by language only.

    {lang}/{video}__U__S{number}---{start}-{end}.wav          2.5 million files, from {lang}.zip
    dev/{lang}/*.wav                                          1,609 files of 33 languages

It has no text: `unlabelled.jsonl` serves pretraining, and with `dev.jsonl` it trains and tests
language identification, since every line names its language. The labels come from search words and
are mostly right; people checked the labels of dev. Some codes are of 1988 (`iw` for Hebrew, `jw`
for Javanese). The speaker is taken to be the video, which is right for most.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from speechx.corpora.engine.languages import choose, name_links
from speechx.corpora.engine.paths import check_folder, subfolders
from speechx.corpora.engine.preparation import UNLABELLED, Preparation
from speechx.corpora.engine.write import Counts, Output, finish
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.languages import language_code


def prepare(root: Path, out: Output, languages: Sequence[str] | None = None) -> Counts:
    """`root` holds the unzipped languages, and `dev` if that is there; `languages` by
    VoxLingua107's names or by ours, None for all.
    """
    check_folder(root, "VoxLingua107")
    found = {f: name for parent in (root, root / "dev") for f in subfolders(parent)
             if f.name.isalpha() and (name := next(_recordings(f), ""))}  # fmt: skip
    names = {folder.name for folder in found}
    zips = sorted(f.stem for f in root.glob("*.zip") if f.stem not in {*names, "dev"})
    unzip = f"cd {root} && for f in *.zip; do unzip -qn $f; done"
    if not any("__U__" in name for name in found.values()):
        packed = f"; perhaps its {len(zips)} zip files are to be unpacked: {unzip}" if zips else ""
        raise UserError(
            f"{root}: not VoxLingua107, which is LANGUAGE/VIDEO__U__S1---START-END.wav{packed}"
        )
    if zips:
        logger.info(f"{root}: not unpacked, so left out: {', '.join(zips)}; to unpack: {unzip}")
    chosen = choose(sorted(names), languages, root).values()
    name_links(root, (parent / name for name in chosen for parent in (root, root / "dev")))
    return finish((_read_language(root, name) for name in chosen), out, "VoxLingua107")


def _recordings(folder: Path) -> Iterator[str]:
    """Names of files; there may be hundreds of thousands."""
    with os.scandir(folder) as entries:
        yield from (e.name for e in entries if e.name.lower().endswith(".wav"))


def _read_language(root: Path, name: str) -> Preparation:
    found = Preparation(language_code(name), corpus="voxlingua107", named=name)
    for split, folder in ((UNLABELLED, root / name), ("dev", root / "dev" / name)):
        if not folder.is_dir():
            continue
        for file in sorted(_recordings(folder)):
            video, _, _ = Path(file).stem.rpartition("__U__")
            found.add_file(split, folder, file, str(folder), speaker=video)
    return found
