"""Languages: one row of `languages.tsv` for each, and what every corpus calls it.

One language is `swa` (ISO 639-3), `sw` (ISO 639-1, CommonVoice, VoxLingua107), `sw_ke` (FLEURS) and
202 (BABEL). A blank cell says that the corpus has no such language, or that its code is not
known here. CommonVoice writes some languages in two ways, so that cell may hold several codes.

    find("sw_ke").name            # Swahili
    find("Javanese").babel        # 402
    find("jw").iso639_1           # jv: VoxLingua107 still has the codes of 1988
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from speechx.errors import UserError


@dataclass(frozen=True, slots=True)
class Language:
    """One row; an unknown code is an empty string."""

    iso639_3: str
    name: str
    iso639_1: str
    babel: str
    """Number of the IARPA BABEL language pack, as in BABEL_BP_101_..."""
    commonvoice: tuple[str, ...]
    """Locales; where there are several, each is a folder of a release."""
    fleurs: str
    mls: str
    voxlingua107: str
    voxpopuli: str
    also: tuple[str, ...]
    """Other names, and codes that were withdrawn or are used loosely (zh for Mandarin)."""

    @property
    def words(self) -> tuple[str, ...]:
        """All that it is called."""
        corpora = (self.babel, *self.commonvoice, self.fleurs, self.mls)
        others = (self.voxlingua107, self.voxpopuli, *self.also)
        return tuple(w for w in (self.iso639_3, self.iso639_1, self.name, *corpora, *others) if w)


@cache
def languages() -> tuple[Language, ...]:
    """All rows, in the order of ISO 639-3."""
    table = resources.files("speechx.text") / "languages.tsv"
    header, *rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]
    read = []
    for row in rows:
        cell = dict(zip(header, row, strict=True))
        commonvoice = tuple(cell.pop("commonvoice").split())
        also = tuple(word for word in cell.pop("also").split("; ") if word)
        read.append(Language(commonvoice=commonvoice, also=also, **cell))
    return tuple(read)


def find(word: str) -> Language:
    """The language of a code or an English name, in whatever case, with - or _."""
    found = _index().get(_key(word))
    if found is None:
        near = difflib.get_close_matches(_key(word), _index(), n=3, cutoff=0.7)
        found_near = [_index()[key] for key in near]
        hint = ", ".join(dict.fromkeys(f"{x.name} ({x.iso639_3})" for x in found_near))
        raise UserError(
            f"no language {word!r} is known: expected an English name, an ISO 639 code, or the "
            f"code of a corpus in data_manifests/languages.tsv{f'; near is {hint}' if hint else ''}"
        )
    return found


def english_name(code: str) -> str:
    """For messages: the name of a language, or the code itself where it is not in the table."""
    found = _index().get(_key(code))
    return found.name if found else code


@cache
def _index() -> dict[str, Language]:
    return {_key(word): language for language in languages() for word in language.words}


def _key(word: str) -> str:
    return word.strip().casefold().replace("_", "-")
