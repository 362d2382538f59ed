"""What is wrong with a file or a row, as data: where a function returns a value or this."""

from dataclasses import dataclass

from speechx.errors import UserError


@dataclass(frozen=True, slots=True)
class Problem:
    """A file or a row that cannot be used."""

    where: str
    """A path, or a line of a table as in train.tsv:3; empty for the row that lists a segment."""
    why: str

    @classmethod
    def of(cls, error: UserError, where: object) -> "Problem":
        """The problem that an error names; its text begins with `where` as a rule."""
        why = str(error)
        for beginning in (f"{where}: ", f"{where} "):
            why = why.removeprefix(beginning)
        return cls(str(where), why.rstrip("."))
