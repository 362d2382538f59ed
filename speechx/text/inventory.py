"""The phones of one language, and where they come from.

For an unseen language the inventory is all the model is told: a list of phones taken from the G2P
of ordinary text, no audio. `inventories.json` holds those of the shipped sentences; any other comes
from a file.

Every symbol is checked here, against the articulatory features, so that a bad one is reported
before a model is loaded.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from speechx.errors import UserError
from speechx.text.articulation import require_features
from speechx.text.g2p import g2p
from speechx.text.ipa import normalize_ipa
from speechx.text.shipped import sentence_languages, shipped_sentences


@dataclass(frozen=True, slots=True)
class Inventory:
    """phones: normalised, distinct, sorted by code point. source: what made them, for outputs."""

    language: str
    phones: tuple[str, ...]
    source: str

    @classmethod
    def of(cls, phones: Iterable[str], language: str, source: str) -> Inventory:
        """Checks, normalises and sorts. Raises one UserError with every unusable symbol."""
        given = list(phones)
        if not given:
            raise UserError(f"{source}: no phones found, expected at least one.")
        require_features(given, source)
        return cls(language, tuple(sorted({normalize_ipa(phone) for phone in given})), source)

    @classmethod
    def for_language(cls, language: str) -> Inventory:
        """One that is shipped with the package."""
        shipped = _shipped()
        if language not in shipped:
            near = difflib.get_close_matches(language, shipped, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise UserError(
                f"no phone inventory is shipped for {language!r}: known are {', '.join(shipped)}."
                f"{hint} Otherwise give a file with its phones, separated by spaces or lines, or a "
                "manifest (.jsonl) with phones."
            )
        entry = shipped[language]
        return cls.of(entry["phones"].split(), language, entry["source"])

    @classmethod
    def from_file(cls, path: str | Path, language: str = "und") -> Inventory:
        """Phones separated by white space, without # comments."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise UserError(f"{path}: cannot read the inventory: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise UserError(
                f"{path}: not a text file in UTF-8, expected a list of phones."
            ) from None
        lines = (line.split("#", 1)[0] for line in text.split("\n"))
        return cls.of((phone for line in lines for phone in line.split()), language, str(path))

    @classmethod
    def from_texts(cls, texts: Sequence[str], language: str) -> Inventory:
        """Every phone that G2P uses for these texts."""
        result = g2p(texts, language)
        phones = (phone for line in result.phones for phone in line)
        return cls.of(phones, language, f"{result.version}, {len(texts)} texts")


def shipped_inventories() -> str:
    """The content of `inventories.json`: `python -m speechx.text.inventory` writes it anew."""
    made = [Inventory.from_texts(shipped_sentences(lang), lang) for lang in sentence_languages()]
    content = {i.language: {"phones": " ".join(i.phones), "source": i.source} for i in made}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


@functools.cache
def _shipped() -> dict[str, dict[str, str]]:
    file = resources.files("speechx.text") / "inventories.json"
    return json.loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    Path(str(resources.files("speechx.text") / "inventories.json")).write_text(
        shipped_inventories(), encoding="utf-8"
    )
