"""Sentences shipped with the package: about a hundred for each of a few languages.

The synthetic corpus and the shipped phone inventories are made from them.
"""

from importlib import resources

from speechx.errors import UserError
from speechx.text.normalize import normalize


def sentence_languages() -> list[str]:
    """Languages with shipped sentences."""
    folder = resources.files("speechx.text") / "sentences"
    return sorted(f.name[:-4] for f in folder.iterdir() if f.name.endswith(".txt"))


def shipped_sentences(language: str) -> list[str]:
    """The sentences of a language in file order, without repetitions after normalisation."""
    file = resources.files("speechx.text") / "sentences" / f"{language}.txt"
    if not file.is_file():
        raise UserError(
            f"no sentences are shipped for the language {language!r}: expected one of "
            f"{', '.join(sentence_languages())}."
        )
    unique: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.strip():
            unique.setdefault(normalize(line, language), line.strip())
    return list(unique.values())
