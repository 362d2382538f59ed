"""Languages and their codes in every corpus: the rows of `languages.tsv`.

Swahili is `swa` (ISO 639-3), `sw` (ISO 639-1, CommonVoice, VoxLingua107), `sw_ke` (FLEURS) and 202
(BABEL). An empty cell means that the corpus lacks the language or that its code is unknown.
CommonVoice has two codes for some languages, so its cell may hold several.

    find("sw_ke").name            # Swahili
    find("Javanese").babel        # 402
    find("jw").iso639_1           # jv: VoxLingua107 still uses the codes of 1988
"""

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
    """Locales; each is a folder of a release."""
    fleurs: str
    mls: str
    voxlingua107: str
    voxpopuli: str
    also: tuple[str, ...]
    """Other names, and codes that are withdrawn or imprecise (zh for Mandarin)."""

    @property
    def words(self) -> tuple[str, ...]:
        """All its names and codes."""
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
    """The language with this code or English name. Case does not matter, nor - or _."""
    found = _index().get(_key(word))
    if found is None:
        near = [_index()[k] for k in difflib.get_close_matches(_key(word), _index(), 3, 0.7)]
        hint = ", ".join(dict.fromkeys(f"{x.name} ({x.iso639_3})" for x in near))
        raise UserError(
            f"no language {word!r} is known{f'; similar: {hint}' if hint else ''}. Expected an "
            "English name, an ISO 639 code, or a corpus code from data_manifests/languages.tsv."
        )
    return found


@cache
def _index() -> dict[str, Language]:
    return {_key(word): language for language in languages() for word in language.words}


def _key(word: str) -> str:
    return word.strip().casefold().replace("_", "-")
