"""Phone inventories: the phones of one language and their source.

For an unseen language the inventory is the only information that the model gets: a list of phones
from the G2P of ordinary text, without audio. `inventories.json` holds the inventories of the
shipped sentences; other inventories come from files.

In a list that people write, a symbol that is not IPA is an error, reported before a model is
loaded. A manifest or PHOIBLE has the symbols that it has: those that are not IPA stay, as phones
that no mapping reaches (`speechx.decoding.mapping` lists them).
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from speechx.errors import UserError
from speechx.log import logger
from speechx.text.g2p import g2p
from speechx.text.ipa import normalize_ipa, problem_with, several_spellings
from speechx.text.languages import language_code
from speechx.text.phoible import is_table, read_phoible
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
        """Normalises and sorts phones. Logs different symbols that have one normal spelling, and
        symbols that have none (stress without a letter)."""
        given = list(dict.fromkeys(phones))
        kept = [phone for phone in given if normalize_ipa(phone)]
        if not kept:
            raise UserError(f"{source}: no phones found, expected at least one.")
        if same := several_spellings(kept):
            logger.info(f"{source}: symbols for one phone: {'; '.join(same)}")
        if none := [phone for phone in given if phone not in kept]:
            logger.info(f"{source}: left out, stress or ties without a letter: {' '.join(none)}")
        return cls(language, tuple(sorted({normalize_ipa(phone) for phone in kept})), source)

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
        """Reads phones separated by white space or commas, where # begins a comment; or one
        inventory of PHOIBLE's table: `phoible.csv#2175` (see `speechx.text.phoible`)."""
        file, choice = _file_and_choice(Path(path))
        lines = read_lines(file, "the inventory", "phones separated by white space")
        if is_table(file, lines[0]):
            phones, found, source = read_phoible(file, lines, choice)
            return cls.of(phones, found if language == "und" else language, source)
        if choice:
            raise UserError(f"{file}: a list of phones, not PHOIBLE's table; leave out #{choice}.")
        phones = [
            phone for line in lines for phone in line.split("#", 1)[0].replace(",", " ").split()
        ]
        problems = [problem for problem in map(problem_with, dict.fromkeys(phones)) if problem]
        if problems:
            raise UserError(f"{file}: {len(problems)} symbols are not IPA. {' '.join(problems)}")
        return cls.of(phones, language, str(file))

    @classmethod
    def from_texts(cls, texts: Sequence[str], language: str) -> Inventory:
        """Every phone that G2P uses for these texts. Texts that it does not read are logged."""
        result = g2p(texts, language)
        unread = Counter(problem.why for problem in result.unread if problem)
        for why, count in unread.items():
            logger.info(f"{language}: {count} of {len(texts)} texts left out, {why}")
        phones = (phone for line in result.phones for phone in line)
        return cls.of(phones, language, f"{result.version}, {len(texts)} texts")


def _file_and_choice(path: Path) -> tuple[Path, str]:
    """`phoible.csv#2175` as its two parts."""
    if path.exists() or "#" not in path.name:
        return path, ""
    name, _, choice = path.name.rpartition("#")
    return path.with_name(name), choice


def shipped_inventories() -> str:
    """The content of `inventories.json`, which `python -m speechx.text.inventory` rewrites."""
    made = [Inventory.from_texts(shipped_sentences(lang), lang) for lang in sentence_languages()]
    content = {i.language: {"phones": " ".join(i.phones), "source": i.source} for i in made}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    Path(str(SHIPPED)).write_text(shipped_inventories(), encoding="utf-8")
