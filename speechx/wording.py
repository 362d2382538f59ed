"""Numbers in messages and tables: `1 text`, `2 texts`, `12.3 %`, and the most frequent of many."""

from collections import Counter
from collections.abc import Mapping

SHOWN = 20  # of many


def number_of(count: int, noun: str, plural: str = "") -> str:
    """The number with its noun; `plural` is for nouns that need more than an s."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def percent(fraction: float) -> str:
    """A fraction as `12.3 %`."""
    return f"{100 * fraction:.1f} %"


def percent_range(low: float, high: float) -> str:
    """Two fractions as `10.0 - 15.2 %`."""
    return f"{100 * low:.1f} - {percent(high)}"


def most_frequent(counts: Mapping[str, int]) -> str:
    """The most frequent texts with their numbers, and how many others there are."""
    some = ", ".join(f"{text!r} {n}" for text, n in Counter(counts).most_common(SHOWN))
    others = len(counts) - SHOWN
    return f"{some} and {number_of(others, 'other')}" if others > 0 else some
