"""The languages of a corpus, by the names of its folders.

Every corpus has names of its own: `sv_se`, `swedish`, `sv`. Manifests name a language as
CommonVoice does where it has it (`sv-SE`, `zh-CN`), and by the shortest code of ISO 639 otherwise
(`jv`, `ceb`), so that manifests of several corpora go together. Any name can be asked for.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path

from speechx.corpora.engine.paths import check_folder, subfolders
from speechx.corpora.engine.tables import text_lines
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.languages import language_code

FIRST_LINES = 20  # by which a table is recognised


def choose(
    there: Collection[str],
    languages: Sequence[str] | None,
    root: Path,
    code: Callable[[str], str] = language_code,
) -> dict[str, str]:
    """Our codes and the corpus's own names of languages: of all that are `there`, or of those asked
    for by any name. `code` makes our code of the corpus's name."""
    names: dict[str, str] = {}
    for name in there:
        if (other := names.setdefault(code(name), name)) != name:
            raise UserError(
                f"{root}: {other} and {name} are both {code(name)}, and would be written over each "
                "other; give one of them as ROOT, or put their content into one folder."
            )
    if languages is None:
        return names
    words = [code(word) if word in there else word for word in languages]
    words = [word if word in names else language_code(word) for word in words]
    if unknown := [
        word for word, found in zip(languages, words, strict=True) if found not in names
    ]:
        raise UserError(
            f"{root}: no language folder {', '.join(unknown)}; there are {', '.join(names)}."
        )
    return {word: names[word] for word in words}


def holds_any(folder: Path, tables: Iterable[str]) -> bool:
    return any((folder / table).is_file() for table in tables)


def language_folders(
    roots: Sequence[Path], tables: Sequence[str], corpus: str, sign: str = ""
) -> dict[str, Path]:
    """The folders of languages by their own names: the first of `roots` itself, or those in one of
    `roots`. Each holds one of the `tables`, for which `sign` stands in a message."""
    root = roots[0]
    check_folder(root, corpus)
    if holds_any(root, tables):
        return {root.resolve().name: root}
    found = [f for parent in roots for f in subfolders(parent) if holds_any(f, tables)]
    if not found:
        raise no_language(root, corpus, sign)
    return {folder.name: folder for folder in found}


def name_links(root: Path, folders: Iterable[Path]) -> None:
    """Logs folders of languages that are links to places outside of `root`."""
    for folder in folders:
        if folder.is_dir() and folder.resolve() != root.resolve() / folder.relative_to(root):
            logger.info(f"{folder} is a link, and is read from {folder.resolve()}")


def check_tables(
    corpus: str, columns: str, tables: Iterable[Path], known: Callable[[Sequence[str]], bool]
) -> None:
    """Other corpora have tables of the same names: raises an error if none of the first lines of a
    table is `known`."""
    for table in tables:
        first = [line.split("\t") for _, line in islice(text_lines(table), FIRST_LINES)]
        if first and not any(map(known, first)):
            raise UserError(
                f"{table} is no table of {corpus}, which has {columns}; is this another corpus?"
            )


def no_language(root: Path, corpus: str, sign: str = "") -> UserError:
    """The error for a folder without any language; `sign` is what one would be known by."""
    holds = ", ".join(sorted(f.name for f in root.iterdir())[:8]) or "nothing"
    known = f" (a folder with {sign})" if sign else ""
    return UserError(f"{root}: neither {corpus} nor one language of it{known}; it holds {holds}.")
