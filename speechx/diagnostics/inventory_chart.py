"""A phone inventory as the chart of the IPA: consonants by place and manner, vowels in the
trapezium, diphthongs, tones and the rest beside it.

With a mapping of a model, colours and frames show what becomes of each phone, and small letters
below it are the phones of the model that become it.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechx.decoding.mapping import EXACT, REVERSE, Mapping
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.inventory import Inventory
from speechx.text.ipa_chart import MANNERS, PLACES, Place, place_of
from speechx.whole_file import whole_file

SUFFIXES = (".png", ".svg")
EXTRA_PLACES = ("alveolo-palatal", "labial-velar")  # columns and rows that the chart of 2020 has
EXTRA_MANNERS = ("affricate", "implosive", "click")  # elsewhere: drawn where a phone needs them
STATES: dict[str, tuple[str, str, str]] = {  # what it is called, its colour, its frame
    "known": ("the model writes it", "#c6e6c3", "solid"),
    "mapped": ("other phones of the model become it", "#fbe3a6", "dashed"),
    "second": (
        "second pass: a phone of the model that has another target too",
        "#c9ddf5",
        "dotted",
    ),
    "never": ("never written", "#ffffff", "dashdot"),
    "plain": ("", "#f1f1ee", "solid"),
}
ENTRY, BELOW = (0.46, 0.4), 3  # inches of a phone, and how many letters stand below it
KINDS = {"diphthong": "diphthongs", "tone": "tones", "other": "others"}
PER_ROW = 6  # phones beside the trapezium
SLANT = 0.45  # how much the trapezium narrows


@dataclass(frozen=True, slots=True)
class Cell:
    """One phone: what becomes of it, and the model's other phones that become it."""

    phone: str
    state: str = "plain"
    sources: tuple[str, ...] = ()

    @property
    def below(self) -> str:
        more = len(self.sources) - BELOW
        shown = " ".join(self.sources[:BELOW])
        return f"{shown} +{more}" if more > 0 else shown


def cells_of(inventory: Inventory, mapping: Mapping | None = None) -> list[Cell]:
    """What the chart shows of each phone."""
    if mapping is None:
        return [Cell(phone) for phone in inventory.phones]
    rows = {phone: [r for r in mapping.rows if r.target == phone] for phone in inventory.phones}
    cells = []
    for phone, each in rows.items():
        matches = {row.match for row in each}
        state = "never"
        if EXACT in matches:
            state = "known"
        elif matches - {REVERSE}:
            state = "mapped"
        elif matches:
            state = "second"
        cells.append(Cell(phone, state, tuple(row.source for row in each if row.match != EXACT)))
    return cells


def require_picture(path: Path) -> None:
    """Refuses a name that is none of a picture, and a missing matplotlib."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: the chart is a picture, so its name ends in .png or .svg")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError(
            'a picture needs the package matplotlib, which is not installed: pip install "speechx'
            '[figures]"'
        ) from None


def draw_inventory(inventory: Inventory, path: Path, mapping: Mapping | None = None) -> None:
    """Writes the chart as PNG or SVG, by the suffix. Logs symbols that the font lacks."""
    require_picture(path)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cells = [(cell, place_of(cell.phone)) for cell in cells_of(inventory, mapping)]
    consonants = [(c, p) for c, p in cells if p.kind == "consonant"]
    vowels = [(c, p) for c, p in cells if p.kind == "vowel"]
    others = {
        title: [cell for cell, place in cells if place.kind == kind]
        for kind, title in KINDS.items()
    }
    places, manners = _columns(consonants)
    heights = [_height(consonants, manner) for manner in manners]
    wide = 1.3 + 2 * ENTRY[0] * len(places)
    top = (sum(heights) + 1) * ENTRY[1] + 0.02
    beside = sum(1.4 + (len(each) + PER_ROW - 1) // PER_ROW for each in others.values() if each)
    bottom = max(4.2, beside * ENTRY[1] * 1.1)
    legend = 0.2 if mapping is None else 0.75
    tall = top + bottom + legend + 0.6
    with (
        warnings.catch_warnings(record=True) as said,
        matplotlib.rc_context({"svg.hashsalt": "speechx", "font.family": "DejaVu Sans"}),
    ):
        warnings.simplefilter("always")
        figure = pyplot.figure(figsize=(wide, tall))
        title = f"{inventory.language}: {len(inventory.phones)} phones ({inventory.source})"
        figure.text(0.01, 1 - 0.12 / tall, title, size=10, va="top", ha="left")
        upper = _axes(figure, (0.0, legend + bottom + 0.1, wide, top), (wide, tall))
        _draw_consonants(upper, consonants, places, manners, heights)
        aside = PER_ROW * ENTRY[0] + 0.3 if beside else 0.0
        _draw_vowels(_axes(figure, (0.1, legend, wide - aside - 0.2, bottom), (wide, tall)), vowels)
        if beside:
            right = _axes(figure, (wide - aside, legend, aside, bottom), (wide, tall))
            _draw_others(right, others)
        if mapping is not None:
            _draw_legend(figure, [cell for cell, _ in cells], (wide, tall))
        with whole_file(path) as new:
            kind = path.suffix.lower().removeprefix(".")
            settings = {"metadata": {"Date": None}} if kind == "svg" else {"dpi": 150}
            figure.savefig(new, format=kind, **settings)
        pyplot.close(figure)
    missing = {str(each.message) for each in said if "missing from" in str(each.message)}
    if missing:
        logger.info(f"{path}: the font lacks {len(missing)} symbols: {'; '.join(sorted(missing))}")


def _columns(consonants: Sequence[tuple[Cell, Place]]) -> tuple[list[str], list[str]]:
    """Places and manners that the chart shows."""
    places = {place.column for _, place in consonants}
    manners = {place.row for _, place in consonants}
    return (
        [name for name in PLACES if name in places or name not in EXTRA_PLACES],
        [name for name in MANNERS if name in manners or name not in EXTRA_MANNERS],
    )


def _height(consonants: Sequence[tuple[Cell, Place]], manner: str) -> int:
    """Lines of a row: the most phones in half a cell."""
    halves = [(p.column, p.voiced) for _, p in consonants if p.row == manner]
    return max([1, *map(halves.count, halves)])


def _axes(
    figure: Any, inches: tuple[float, float, float, float], whole: tuple[float, float]
) -> Any:
    """Axes without lines at left, bottom, width and height in inches; so are its units."""
    left, bottom, width, height = inches
    wide, tall = whole
    axes = figure.add_axes((left / wide, bottom / tall, width / wide, height / tall))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    return axes


def _draw_cell(axes: Any, x: float, y: float, cell: Cell) -> None:
    """A phone around a point, in inches."""
    _, colour, frame = STATES[cell.state]
    box = {
        "boxstyle": "round,pad=0.18", "facecolor": colour, "linestyle": frame, "linewidth": 0.7,
        "edgecolor": "none" if cell.state == "plain" else "#555555",
    }  # fmt: skip
    ink = "#888888" if cell.state == "never" else "black"
    size = 12 if len(cell.phone) < 4 else 9
    axes.text(x, y - 0.04, cell.phone, ha="center", va="center", size=size, color=ink, bbox=box)
    if cell.below:
        axes.text(x, y + 0.1, cell.below, ha="center", va="top", size=5.5, color="#333333")


def _draw_consonants(
    axes: Any,
    consonants: Sequence[tuple[Cell, Place]],
    places: Sequence[str],
    manners: Sequence[str],
    heights: Sequence[int],
) -> None:
    wide, line = ENTRY
    left, top = 1.1, line
    end = left + 2 * wide * len(places)
    for column, name in enumerate(places):
        x = left + (2 * column + 1) * wide
        axes.text(x, top - 0.08, name, ha="center", va="bottom", size=7)
        axes.plot([x - wide] * 2, [top, top + sum(heights) * line], color="#bbbbbb", linewidth=0.6)
    for manner, height in zip(manners, heights, strict=True):
        axes.text(left - 0.08, top + height * line / 2, manner, ha="right", va="center", size=7)
        axes.plot([left, end], [top, top], color="#bbbbbb", linewidth=0.6)
        used: dict[tuple[str, bool], int] = {}
        for cell, place in consonants:
            if place.row == manner:
                half = place.column, place.voiced
                number = used[half] = used.get(half, 0) + 1
                x = left + (2 * places.index(place.column) + 0.5 + place.voiced) * wide
                _draw_cell(axes, x, top + (number - 0.5) * line, cell)
        top += height * line
    axes.plot([left, end], [top, top], color="#bbbbbb", linewidth=0.6)
    axes.plot([end] * 2, [line, top], color="#bbbbbb", linewidth=0.6)


def _draw_vowels(axes: Any, vowels: Sequence[tuple[Cell, Place]]) -> None:
    """The trapezium: unrounded vowels to the left of a point, rounded ones to the right."""
    width, height = axes.get_xlim()[1], axes.get_ylim()[0]
    margin = min(1.6, width / 5)
    across, down = width - 2 * margin, height - 0.9

    def point(x: float, y: float) -> tuple[float, float]:
        return margin + across * (x + (1 - x) * SLANT * y), 0.35 + down * y

    for y in (0, 1 / 3, 2 / 3, 1):
        axes.plot(*zip(point(0, y), point(1, y), strict=True), color="#cccccc", linewidth=0.7)
    for x in (0, 0.5, 1):
        axes.plot(*zip(point(x, 0), point(x, 1), strict=True), color="#cccccc", linewidth=0.7)
    for y, name in ((0, "close"), (1 / 3, "close-mid"), (2 / 3, "open-mid"), (1, "open")):
        axes.text(0, point(0, y)[1], name, size=7, ha="left", va="center")
    for x, name in ((0, "front"), (0.5, "central"), (1, "back")):
        axes.text(point(x, 0)[0], 0.02, name, size=7, ha="center", va="top")
    used: dict[tuple[float, float, bool], int] = {}
    for cell, place in vowels:
        spot = place.x, place.y, place.rounded
        number = used[spot] = used.get(spot, 0) + 1
        x, y = point(place.x, place.y)
        row, column = divmod(number - 1, 3)
        step = (column + 0.5) * ENTRY[0] * (1 if place.rounded else -1)
        _draw_cell(axes, x + step, y + row * ENTRY[1] * 0.9, cell)
        axes.plot(x, y, "o", color="#777777", markersize=2)


def _draw_others(axes: Any, others: dict[str, list[Cell]]) -> None:
    """Grids of what has no place in the chart, under their names."""
    wide, line = ENTRY[0], ENTRY[1] * 1.1
    y = 0.1
    for title, cells in others.items():
        if not cells:
            continue
        axes.text(0.1, y, title, size=7, ha="left", va="top")
        y += 0.35
        for number, cell in enumerate(cells):
            row, column = divmod(number, PER_ROW)
            _draw_cell(axes, 0.1 + (column + 0.5) * wide, y + row * line, cell)
        y += (len(cells) + PER_ROW - 1) // PER_ROW * line + 0.1


def _draw_legend(figure: Any, cells: Sequence[Cell], whole: tuple[float, float]) -> None:
    """What colours and frames mean, with counts."""
    axes = _axes(figure, (0.1, 0.05, whole[0] - 0.2, 0.65), whole)
    x = 0.15
    for state, (name, _, _) in STATES.items():
        number = sum(cell.state == state for cell in cells)
        if number:
            _draw_cell(axes, x, 0.25, Cell("a", state))
            axes.text(x + 0.2, 0.21, f"{name}: {number}", size=7, va="center", ha="left")
            x += 0.55 + 0.055 * len(name) + 0.3
    text = f"below a phone: other phones of the model that become it, at most {BELOW}"
    axes.text(0.05, 0.62, text, size=7, va="bottom", ha="left")
