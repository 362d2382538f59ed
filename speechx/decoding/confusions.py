"""Which articulatory classes a phone recogniser confuses: place, manner, voicing of consonants;
height, backness, rounding of vowels; insertions and deletions.

The phones are aligned as for the phone error rate, with the fewest edits, so the counts add up to
its substitutions, insertions and deletions.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from speechx.decoding.scoring import Scored, alignments
from speechx.text.phone_classes import ASPECTS, ORDER, classes
from speechx.text_table import text_table
from speechx.wording import percent

INSERTED, DELETED = "inserted", "deleted"
MOST = 20  # confusions of single phones in a table


@dataclass(frozen=True, slots=True)
class Confusions:
    """Counts of aligned phones."""

    aspects: dict[str, dict[str, dict[str, int]]]
    """By aspect, class of the reference (or `inserted`), and class that was written (or
    `deleted`)."""
    phones: list[tuple[str, str, int]]
    """Reference phone, written phone ("" stands for none) and count of each wrong pair, the most
    frequent first."""

    def to_dict(self) -> dict[str, Any]:
        """The same, as JSON types."""
        return {"aspects": self.aspects, "phones": [list(each) for each in self.phones]}

    def table(self) -> str:
        """Aligned plain text: a matrix for each aspect, then the most frequent confusions."""
        parts = [text_table(rows) for rows in self.matrices().values()]
        most = [
            [wanted or f"({INSERTED})", written or f"({DELETED})", str(count)]
            for wanted, written, count in self.phones[:MOST]
        ]
        if most:
            parts.append(text_table([["reference", "written", "times"], *most], left=(0, 1)))
        return "\n\n".join(parts)

    def matrices(self) -> dict[str, list[list[str]]]:
        """By aspect, a table of text: rows are classes of the reference, columns written classes;
        the last column is the wrong share of a row."""
        return {aspect: self._matrix(aspect) for aspect in self.aspects}

    def _matrix(self, aspect: str) -> list[list[str]]:
        counts = self.aspects[aspect]
        order = [*ORDER[aspect], DELETED, INSERTED]
        seen = {written for row in counts.values() for written in row}
        columns = [name for name in order if name in seen]
        rows = [[aspect, *columns, "wrong"]]
        for name in order:
            if name in counts:
                row = counts[name]
                total = sum(row.values())
                wrong = percent((total - row.get(name, 0)) / total)
                cells = [str(row.get(column, "") or ".") for column in columns]
                rows.append([name, *cells, "" if name == INSERTED else wrong])
        return rows


def confusions(utterances: Sequence[Scored]) -> Confusions:
    """Counts of aligned pairs of phones, of insertions and of deletions."""
    pairs = Counter(
        pair
        for u, chunks in zip(
            utterances,
            alignments([u.reference for u in utterances], [u.hypothesis for u in utterances]),
            strict=True,
        )
        for pair in aligned(u, chunks)
    )
    aspects: dict[str, dict[str, dict[str, int]]] = {aspect: {} for aspect in ASPECTS}
    for (wanted, written), count in sorted(pairs.items()):
        of_wanted, of_written = classes(wanted), classes(written)
        for aspect, rows in aspects.items():
            row = rows.setdefault(of_wanted[aspect] if wanted else INSERTED, {})
            column = of_written[aspect] if written else DELETED
            row[column] = row.get(column, 0) + count
    wrong = [(a, b, count) for (a, b), count in pairs.items() if a != b]
    return Confusions(aspects, sorted(wrong, key=lambda each: (-each[2], each[:2])))


def aligned(u: Scored, chunks: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Pairs of a reference token and a written token, in order; "" stands for none. `chunks` are an
    item of `alignments`."""
    for chunk in chunks:
        wanted = list(u.reference[chunk.ref_start_idx : chunk.ref_end_idx])
        written = list(u.hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx])
        if chunk.type == "insert":
            wanted = [""] * len(written)
        if chunk.type == "delete":
            written = [""] * len(wanted)
        yield from zip(wanted, written, strict=True)
