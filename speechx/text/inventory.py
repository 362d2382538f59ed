"""Phone inventories: the phones of one language and their source.

For an unseen language the inventory is the only information that the model gets: a list of phones
from the G2P of ordinary text, without audio. `inventories.json` holds the inventories of the
shipped sentences; other inventories come from files.

In a list that people write, a symbol that is not IPA is an error, reported before a model is
loaded. A manifest, a lexicon, a vocabulary or PHOIBLE has the symbols that it has: those that are
not IPA stay, as phones that no mapping reaches (`speechx.decoding.mapping` lists them).
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from speechx.errors import UserError
from speechx.log import logger
from speechx.text.g2p import g2p
from speechx.text.ipa import LETTERS, normalize_ipa, problem_with, several_spellings
from speechx.text.languages import language_code
from speechx.text.phoible import (
    COLUMN,
    Doculect,
    chosen,
    is_table,
    one_spelling,
    read_doculects,
)
from speechx.text.pronunciations import count_phones, is_lexicon
from speechx.text.shipped import sentence_languages, shipped_sentences
from speechx.text.user_files import read_lines

SHIPPED = resources.files("speechx.text") / "inventories.json"
WORD = 4  # letters of a symbol that may be a word instead of a phone
_SPECIAL = re.compile(r"<.*>|\[[A-Z]+\]|\||\s+")  # in a vocabulary: <pad>, [UNK], the word boundary


@dataclass(frozen=True, slots=True)
class Inventory:
    """phones: normalised, distinct, sorted by code point. source: where they come from."""

    language: str
    phones: tuple[str, ...]
    source: str
    counts: tuple[int, ...] = ()
    """How often each phone is in the source; empty if the source has no counts."""
    allophones: tuple[tuple[str, ...], ...] = ()
    """The allophones of each phone in the source; empty if it has none."""
    marginal: tuple[str, ...] = ()
    """Phones that the source marks as used in few words."""

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
        if none := [
            phone if phone.strip() else repr(phone) for phone in given if phone not in kept
        ]:
            logger.info(
                f"{source}: left out, stress or ties without a letter, or empty: {' '.join(none)}"
            )
        return cls(language, tuple(sorted({normalize_ipa(phone) for phone in kept})), source)

    @classmethod
    def counted(cls, counts: Mapping[str, int], language: str, source: str) -> Inventory:
        """As `of`, with how often each phone is in the source."""
        inventory = cls.of(counts, language, source)
        sums: Counter[str] = Counter()
        for phone, count in counts.items():
            sums[normalize_ipa(phone)] += count
        return replace(inventory, counts=tuple(sums[phone] for phone in inventory.phones))

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
                f"{hint} Give a list of its phones, a manifest (.jsonl) with phones, or PHOIBLE's "
                "phoible.csv#ID."
            )
        entry = shipped[language]
        return cls.of(entry["phones"].split(), language, entry["source"])

    @classmethod
    def from_file(cls, path: str | Path, language: str = "und") -> Inventory:
        """Reads a file of one of these shapes.

        - phones separated by white space or commas, where # begins a comment; or a line for each
          phone and how often it occurs
        - a lexicon: words, and behind a tab their phones (`speechx.text.pronunciations`)
        - PHOIBLE's table: `phoible.csv#2175`, or `phoible.csv#1+423` for two inventories joined
        - JSON: a list of symbols, or an object whose keys are symbols, as vocab.json
        """
        file, choice = file_and_choice(Path(path))
        lines = read_lines(file, "the inventory", "phones separated by white space")
        if is_table(lines[0]):
            joined = chosen(file, read_doculects(file, lines), choice)
            return cls._of_doculects(file, joined, language)
        if choice:
            raise UserError(f"{file}: a list of phones, not PHOIBLE's table; leave out #{choice}.")
        if file.suffix.lower() == ".json":
            return cls.of(_symbols(file, "\n".join(lines)), language, str(file))
        if is_lexicon(lines):
            return cls.counted(count_phones(file, lines), language, str(file))
        if file.suffix.lower() in (".csv", ".tsv"):
            raise UserError(
                f"{file}: no column {COLUMN} in the first line, as PHOIBLE has it, and no lexicon "
                f"of words with phones behind a tab; found {lines[0][:60]!r}. A plain list of "
                "phones goes into a .txt file."
            )
        phones, counts = _listed([line.split("#", 1)[0].replace(",", " ") for line in lines])
        problems = [problem for problem in map(problem_with, dict.fromkeys(phones)) if problem]
        if problems:
            raise UserError(f"{file}: {len(problems)} symbols are not IPA. {' '.join(problems)}")
        if long := [phone for phone in phones if sum(c in LETTERS for c in phone) >= WORD]:
            logger.warning(
                f"{file}: {len(long)} symbols have {WORD} letters or more, taken for phones: "
                f"{' '.join(long[:8])}. Expected spaces between phones; in a lexicon also a tab "
                "behind each word."
            )
        if counts:
            return cls.counted(counts, language, str(file))
        return cls.of(phones, language, str(file))

    @classmethod
    def _of_doculects(cls, file: Path, joined: Sequence[Doculect], language: str) -> Inventory:
        """One inventory of PHOIBLE, or the union of several."""
        found = joined[0].language if language == "und" else language
        name = " + ".join(each.name for each in joined)
        source = f"{file}#{name}" if name else str(file)
        phones = [one_spelling(phone) for each in joined for phone in each.phonemes]
        inventory = cls.of(phones, found, source)
        of_phone: dict[str, dict[str, None]] = {phone: {} for phone in inventory.phones}
        given = (allophones for each in joined for allophones in each.allophones)
        for phone, allophones in zip(phones, given, strict=True):
            spelled = (normalize_ipa(one_spelling(each)) for each in allophones)
            of_phone.get(normalize_ipa(phone), {}).update(dict.fromkeys(spelled))
        few = {normalize_ipa(one_spelling(phone)) for each in joined for phone in each.marginal}
        firm = {
            normalize_ipa(one_spelling(phone))
            for each in joined
            for phone in each.phonemes
            if phone not in each.marginal
        }
        return replace(
            inventory,
            allophones=tuple(tuple(each) for each in of_phone.values())
            if any(of_phone.values())
            else (),
            marginal=tuple(phone for phone in inventory.phones if phone in few - firm),
        )

    @classmethod
    def from_texts(cls, texts: Sequence[str], language: str, source: str = "") -> Inventory:
        """Every phone that G2P uses for these texts, with counts. Texts that it does not read are
        logged. `source` is where the texts come from."""
        result = g2p(texts, language)
        unread = Counter(problem.why for problem in result.unread if problem)
        for why, count in unread.items():
            logger.info(f"{language}: {count} of {len(texts)} texts left out, {why}")
        counts = Counter(phone for line in result.phones for phone in line)
        about = f"{result.version}, {len(texts)} texts"
        return cls.counted(counts, language, f"{about} of {source}" if source else about)


def file_and_choice(path: Path) -> tuple[Path, str]:
    """`phoible.csv#2175` as its two parts."""
    if path.exists() or "#" not in path.name:
        return path, ""
    name, _, choice = path.name.partition("#")
    if not path.with_name(name).exists():  # a name may have a # of its own
        name, _, choice = path.name.rpartition("#")
    return path.with_name(name), choice


def _listed(lines: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """The phones of a list, and how often each occurs where every line has a phone and a whole
    number. Numbers without a gap are ids and not counts."""
    rows = [line.split() for line in lines if line.strip()]
    if len(rows) < 2 or not all(len(row) == 2 and row[1].isdecimal() for row in rows):
        return [phone for row in rows for phone in row], {}
    numbers = [int(number) for _, number in rows]
    if sorted(numbers) == list(range(min(numbers), min(numbers) + len(numbers))):
        return [phone for phone, _ in rows], {}
    counts: Counter[str] = Counter()
    for (phone, _), number in zip(rows, numbers, strict=True):
        counts[phone] += number
    return list(counts), dict(counts)


def _symbols(file: Path, text: str) -> list[str]:
    """The symbols of a vocabulary in JSON, without those of other meaning, which are logged."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise UserError(f"{file}: no JSON ({error}); expected a list of phones.") from None
    ids = isinstance(data, dict) and all(isinstance(value, int) for value in data.values())
    symbols = list(data) if ids or isinstance(data, list) else []
    if not symbols or not all(isinstance(symbol, str) for symbol in symbols):
        raise UserError(
            f"{file}: expected a JSON list of phones, or an object of phones and their ids; for "
            "the phones of a model give its folder."
        )
    other = [symbol for symbol in symbols if _SPECIAL.fullmatch(symbol)]
    if other:
        logger.info(f"{file}: left out, no phones: {' '.join(other)}")
    phones = [symbol for symbol in symbols if symbol not in other]
    if strange := [symbol for symbol in phones if symbol.strip() and problem_with(symbol)]:
        logger.warning(f"{file}: {len(strange)} symbols are not IPA: {' '.join(strange)}")
    return phones


def shipped_inventories() -> str:
    """The content of `inventories.json`, which `python -m speechx.text.inventory` rewrites."""
    made = [Inventory.from_texts(shipped_sentences(lang), lang) for lang in sentence_languages()]
    content = {i.language: {"phones": " ".join(i.phones), "source": i.source} for i in made}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    Path(str(SHIPPED)).write_text(shipped_inventories(), encoding="utf-8")
