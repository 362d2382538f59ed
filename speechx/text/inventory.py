"""Phone inventories: the phones of one language and their source.

For an unseen language the inventory is the only information that the model gets: a list of phones
from the G2P of ordinary text, without audio. `inventories.json` holds the inventories of the
shipped sentences; other inventories come from files.

Every symbol is checked against the articulatory features here, so that a bad one is reported before
a model is loaded.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from speechx.errors import UserError
from speechx.text.articulation import require_features
from speechx.text.g2p import g2p
from speechx.text.ipa import normalize_ipa
from speechx.text.languages import language_code
from speechx.text.shipped import sentence_languages, shipped_sentences
from speechx.text.user_files import read_lines

SHIPPED = resources.files("speechx.text") / "inventories.json"


@dataclass(frozen=True, slots=True)
class Inventory:
    """phones: normalised, distinct, sorted by code point. source: where they come from."""

    language: str
    phones: tuple[str, ...]
    source: str

    @classmethod
    def of(cls, phones: Iterable[str], language: str, source: str) -> Inventory:
        """Checks, normalises and sorts phones. One UserError lists every unusable symbol."""
        given = list(phones)
        if not given:
            raise UserError(f"{source}: no phones found, expected at least one.")
        require_features(given, source)
        return cls(language, tuple(sorted({normalize_ipa(phone) for phone in given})), source)

    @classmethod
    def for_language(cls, language: str) -> Inventory:
        """An inventory that is shipped with the package."""
        language = language_code(language)
        shipped = json.loads(SHIPPED.read_text(encoding="utf-8"))
        if language not in shipped:
            near = difflib.get_close_matches(language, shipped, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise UserError(
                f"no phone inventory is shipped for {language!r}: known are {', '.join(shipped)}."
                f"{hint} Give a text file of its phones or a manifest (.jsonl) with phones."
            )
        entry = shipped[language]
        return cls.of(entry["phones"].split(), language, entry["source"])

    @classmethod
    def from_file(cls, path: str | Path, language: str = "und") -> Inventory:
        """Reads phones separated by white space; # begins a comment."""
        lines = read_lines(Path(path), "the inventory", "phones separated by white space")
        phones = (phone for line in lines for phone in line.split("#", 1)[0].split())
        return cls.of(phones, language, str(path))

    @classmethod
    def from_texts(cls, texts: Sequence[str], language: str) -> Inventory:
        """Every phone that G2P uses for these texts."""
        result = g2p(texts, language)
        phones = (phone for line in result.phones for phone in line)
        return cls.of(phones, language, f"{result.version}, {len(texts)} texts")


def shipped_inventories() -> str:
    """The content of `inventories.json`, which `python -m speechx.text.inventory` rewrites."""
    made = [Inventory.from_texts(shipped_sentences(lang), lang) for lang in sentence_languages()]
    content = {i.language: {"phones": " ".join(i.phones), "source": i.source} for i in made}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    Path(str(SHIPPED)).write_text(shipped_inventories(), encoding="utf-8")
