r"""Text replacements: the doctor proposes a table, a person corrects it, and it changes the texts.

    language   from     to       utterances   code points           why
    ru         Pоссия   Россия   3            U+0050 > U+0420 ...   mixed_word

A single character is replaced everywhere, a word only where it is a whole word. Invisible
characters are escaped, as in \u200b.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speechx.data.manifest import Utterance, first_few, stream_manifest, write_manifest
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.user_files import read_table
from speechx.whole_file import write_whole

HEADER = ("language", "from", "to", "utterances", "code points", "why")


@dataclass(frozen=True, slots=True)
class Replacement:
    """A proposal for one language: write `new` for `old`, a character or a whole word."""

    language: str
    old: str
    new: str
    utterances: int
    why: str


def write_replacements(path: Path, replacements: Sequence[Replacement]) -> None:
    rows = [HEADER]
    for r in replacements:
        points = f"{_points(r.old)} > {_points(r.new) or 'nothing'}"
        old, new = _escaped(r.old), _escaped(r.new)
        rows.append((r.language, old, new, str(r.utterances), points, r.why))
    write_whole(path, "".join("\t".join(row) + "\n" for row in rows))


class TextReplacer:
    """Applies the rules of one language and remembers which of them matched."""

    def __init__(self, rules: Mapping[str, str]) -> None:
        self.rules = rules
        self.unused = set(rules)
        self.table = str.maketrans({old: new for old, new in rules.items() if len(old) == 1})
        words = sorted((old for old in rules if len(old) > 1), key=len, reverse=True)
        either = "|".join(map(re.escape, words)) or "(?!)"
        self.pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)")

    def __call__(self, text: str) -> str:
        text = self.pattern.sub(self._word, text)
        self.unused.difference_update(text)
        return text.translate(self.table)

    def _word(self, match: re.Match[str]) -> str:
        self.unused.discard(match[0])
        return self.rules[match[0]]


def read_replacements(path: Path) -> dict[str, TextReplacer]:
    """The rules of each language."""
    what = "a table of replacements (like respell.tsv of `speechx data doctor`)"
    rules: dict[str, dict[str, str]] = {}
    for number, row in read_table(path, what, HEADER[:3]):
        if not row.get("from") or not row.keys() >= {"language", "to"}:
            raise UserError(f"{path}:{number}: expected language, from and to, separated by tabs")
        rules.setdefault(row["language"], {})[_plain(row["from"])] = _plain(row["to"])
    return {language: TextReplacer(some) for language, some in rules.items()}


def replace_texts(manifest: Path, table: Path, output: Path) -> None:
    """Writes a manifest with the replacements of a table made in its texts, and logs how many."""
    if output.resolve() == manifest.resolve():
        raise UserError(f"-o {output} is the manifest itself: give another file")
    replacers = read_replacements(table)
    texts = changed = 0

    def replaced() -> Iterator[Utterance]:
        nonlocal texts, changed
        for u in stream_manifest(manifest):
            texts += u.text is not None
            if u.text is not None and u.language in replacers:
                new = replacers[u.language](u.text)
                changed += new != u.text
                u = replace(u, text=new)
            yield u

    count = write_manifest(output, replaced())
    logger.info(f"{count} utterances, {changed} of {texts} texts changed: {output}")
    unused = [
        f"{_escaped(old)} ({language})"
        for language, replacer in replacers.items()
        for old in replacer.rules
        if old in replacer.unused
    ]
    if unused:
        rules = sum(len(replacer.rules) for replacer in replacers.values())
        logger.info(f"{len(unused)} of {rules} rules of {table} match no text: {first_few(unused)}")


def _points(text: str) -> str:
    return " ".join(f"U+{ord(c):04X}" for c in text) if len(text) < 4 else ""


def _escaped(text: str) -> str:
    return "".join(
        c if c.isprintable() and c != "\\" else f"\\u{ord(c):04x}" if ord(c) < 1 << 16
        else f"\\U{ord(c):08x}" for c in text
    )  # fmt: skip


def _plain(text: str) -> str:
    code = r"\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})"
    return re.sub(code, lambda match: chr(int(match[1] or match[2], 16)), text)
