"""Which folders of a corpus hold which languages, by the names that the corpus gives them.

Every corpus has names of its own: `sv_se`, `swedish`, `sv`. Manifests name a language as
CommonVoice does where it has it (`sv-SE`, `zh-CN`), and by the shortest code of ISO 639 otherwise
(`jv`, `ceb`), so that manifests of several corpora go together. Any name can be asked for.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from speechx.corpora.engine.tables import text_lines
from speechx.errors import UserError
from speechx.text.languages import find

FIRST_LINES = 20  # by which a table is recognised


def language_code(word: str) -> str:
    """A language's name in manifests, from any of its names; an unknown name stays as it is."""
    try:
        found = find(word)
    except UserError:
        return word
    if word in found.commonvoice:  # zh-TW is one of several
        return word
    return next(filter(None, (*found.commonvoice, found.iso639_1, found.iso639_3)))


def language_folders(
    roots: Sequence[Path],
    languages: Sequence[str] | None,
    holds: Callable[[Path], bool],
    corpus: str,
    spoken: Callable[[str], str] = str,
) -> dict[str, Path]:
    """Language codes and their folders: all that are in one of `roots`, or those asked for.

    The first of `roots` may be a language folder itself. `holds` recognises one; `spoken` takes
    from its name what is not the language's (`mls_`).
    """
    root = roots[0]
    check_folder(root, corpus)
    found = [root] if holds(root) else []
    for parent in [] if found else roots:
        if parent.is_dir():
            found += [f for f in sorted(parent.iterdir()) if f.is_dir() and holds(f)]
    if not found:
        raise no_language(root, corpus)
    folders: dict[str, Path] = {}
    names: dict[str, str] = {}
    for folder in found:
        name = spoken(own_name(folder, root))
        code = language_code(name)
        if code in folders:
            raise UserError(
                f"{root}: {folders[code].name} and {folder.name} are both {code}; give one of "
                "them as ROOT."
            )
        folders[code] = folder
        names |= {folder.name: code, name: code, code: code}
    return {names[word]: folders[names[word]] for word in asked_for(languages, names, root)}


def own_name(folder: Path, root: Path) -> str:
    """What the corpus calls the folder of a language, also where that is a link."""
    return root.resolve().name if folder == root else folder.name


def check_tables(
    corpus: str, columns: str, tables: Iterable[Path], known: Callable[[Sequence[str]], bool]
) -> None:
    """Other corpora have tables of the same names: none of their first lines is `known`."""
    for table in tables:
        first = [line.split("\t") for _, line in islice(text_lines(table), FIRST_LINES)]
        if first and not any(map(known, first)):
            raise UserError(
                f"{table} is no table of {corpus}, which has {columns}; is this another corpus?"
            )


def check_folder(root: Path, corpus: str) -> None:
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {corpus} was expected.")


def no_language(root: Path, corpus: str, sign: str = "") -> UserError:
    """What to raise where no language of a corpus is; `sign` is what one would be known by."""
    holds = ", ".join(sorted(f.name for f in root.iterdir())[:8]) or "nothing"
    known = f" (a folder with {sign})" if sign else ""
    return UserError(f"{root}: neither {corpus} nor one language of it{known}; it holds {holds}.")


def folder_names(names: Iterable[str], languages: Sequence[str] | None, root: Path) -> list[str]:
    """Those of `names` that were asked for, of a corpus with several folders for each language."""
    there: dict[str, str] = {}
    of: dict[str, str] = {}
    for name in sorted(names):
        code = language_code(name)
        if of.setdefault(code, name) != name:
            raise UserError(
                f"{root}: {of[code]} and {name} are both {code}, and would be written over each "
                "other; put what is in them into one folder."
            )
        there |= {name: name, code: name}
    return list(dict.fromkeys(there[word] for word in asked_for(languages, there, root)))


def asked_for(languages: Sequence[str] | None, there: dict[str, str], root: Path) -> list[str]:
    """The words of `there` that were asked for, by any name; all of them by None."""
    if languages is None:
        return list(dict.fromkeys(there.values()))
    words = [word if word in there else language_code(word) for word in languages]
    if unknown := [word for word, code in zip(languages, words, strict=True) if code not in there]:
        raise UserError(
            f"{root}: no language folder {', '.join(unknown)}; there are "
            f"{', '.join(dict.fromkeys(there.values()))}."
        )
    return words
