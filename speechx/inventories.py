"""Phone inventories as tables and charts, compared, and mapped to one another.

speechx inventory show phoible.csv#kor --model runs/mine/best --chart korean.png
speechx inventory compare pt es
speechx inventory map --model runs/mine/best --target pt -o mapping.tsv
"""

from collections.abc import Sequence
from pathlib import Path

from speechx.decoding.mapping import (
    EXACT,
    NEAREST,
    REVERSE,
    Direction,
    Mapping,
    Measure,
    map_inventory,
    nearest_of,
)
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.articulation import problem_without_features
from speechx.text.inventory import Inventory, file_and_choice
from speechx.text.ipa_chart import kind_of
from speechx.text.phoible import JOIN, Doculect, is_table, matching, one_spelling, read_doculects
from speechx.text.user_files import read_lines
from speechx.text_table import text_table
from speechx.transcription.inventory_source import inventory_of, names_model, phones_of_model
from speechx.whole_file import write_whole

FAR = 0.5  # distance above which a nearest phone is logged as doubtful
KINDS = {
    "consonant": "consonants",
    "vowel": "vowels",
    "diphthong": "diphthongs",
    "tone": "tones",
    "other": "others",
}


def show_inventory(
    source: str,
    model: Path | None = None,
    head: str | None = None,
    mapping: Path | None = None,
    chart: Path | None = None,
) -> str:
    """The inventory of `source` (as in `inventory_of`) as a table: each phone with its kind, and
    its count and allophones if the source has them. With a model, also how the model writes each
    phone: by the table `mapping`, composed of attributes by an `articulatory` head, or else by
    `map_inventory`. `chart` is a file for a picture. If `source` may mean several inventories of
    PHOIBLE, these are listed instead."""
    if mapping is not None and model is None:
        raise UserError("--mapping needs the model that it is for: give --model too")
    if chart is not None:
        from speechx.diagnostics.inventory_chart import require_picture

        require_picture(chart)  # before a model is read
    if doculects := _several(source):
        if chart is not None or model is not None:
            raise UserError(
                f"{source} names {len(doculects)} inventories: choose one of "
                f"{', '.join(d.key for d in doculects[:12])}, or join some: "
                f"#{JOIN.join(d.key for d in doculects[:2])}"
            )
        return _doculects(doculects)
    inventory = inventory_of(source)
    mapped = composed = None
    if model is not None and mapping is None:
        composed = _composition(model, head, inventory)
    if model is not None and composed is None:
        tokens = phones_of_model(model, head)[0]
        if mapping is None:
            mapped = map_inventory(tokens, inventory.phones)
        else:
            mapped = Mapping.from_tsv(mapping, tokens, inventory.phones)
        for note in mapped.notes():
            logger.info(note)
    if chart is not None:
        from speechx.diagnostics.inventory_chart import draw_inventory

        draw_inventory(inventory, chart, mapped)
        logger.info(f"{chart} has the chart")
    return f"{_about(inventory)}\n\n{_table(inventory, mapped, composed)}"


def compare_inventories(first: str, second: str, measure: Measure = "hamming") -> str:
    """The phones that two inventories share, and for each other phone the nearest one of the other
    side, with the distance `measure`."""
    a, b = inventory_of(first), inventory_of(second)
    shared = [phone for phone in a.phones if phone in b.phones]
    parts = [
        f"A  {_line(a)}\nB  {_line(b)}",
        f"shared {len(shared)}, only A {len(a.phones) - len(shared)}, only B "
        f"{len(b.phones) - len(shared)}",
        f"shared: {' '.join(shared) or 'nothing'}",
    ]
    for name, one, other_name, other in (("A", a, "B", b), ("B", b, "A", a)):
        alone = [phone for phone in one.phones if phone not in other.phones]
        if alone:
            parts.append(_nearest_table(alone, name, other.phones, other_name, measure))
    return "\n\n".join(parts)


def map_inventories(
    source: str,
    target: str,
    *,
    is_model: bool = False,
    head: str | None = None,
    direction: Direction = "train-to-target",
    measure: Measure = "hamming",
    threshold: float | None = None,
    second_pass: bool = True,
    out: Path | None = None,
    overwrite: bool = False,
) -> Mapping:
    """The mapping from one inventory, or the phones of a model, to another, also written to `out`.
    UserError if `out` is there and differs, unless `overwrite` is set. Logs the numbers of rows,
    and phones that are left out or have no near partner. The other arguments are as in
    `map_inventory`."""
    goal = inventory_of(target)
    if is_model or names_model(source):
        phones, _, name = phones_of_model(Path(source), head)
    else:
        inventory = inventory_of(source)
        phones, name = inventory.phones, inventory.source
    mapping = map_inventory(
        phones, goal.phones, direction=direction, measure=measure, threshold=threshold,
        second_pass=second_pass,
    )  # fmt: skip
    if out is not None:
        text = mapping.to_tsv(left_out=True)
        if out.exists() and not overwrite and out.read_bytes() != text.encode("utf-8"):
            raise UserError(
                f"{out} is there already and may have been edited by hand: give another name, or "
                "replace it with --overwrite"
            )
        write_whole(out, text)
    logger.info(f"from {name} to {goal.source}: {mapping.made}")
    logger.info(", ".join(f"{count} {what}" for what, count in mapping.counts().items()))
    for note in mapping.notes():
        logger.info(note)
    far = [row for row in mapping.rows if row.match != REVERSE and (row.distance or 0) > FAR]
    if far:
        pairs = ", ".join(f"{row.source} -> {row.target} {row.distance:.2f}" for row in far)
        logger.info(f"{len(far)} phones of the model have no near partner: {pairs}")
    return mapping


def _several(source: str) -> list[Doculect]:
    """The inventories of PHOIBLE that `source` may mean, if there is more than one."""
    file, choice = file_and_choice(Path(source))
    if not file.is_file() or names_model(source) or file.suffix.lower() in (".jsonl", ".parquet"):
        return []
    lines = read_lines(file, "the inventory", "phones separated by white space")
    found = matching(read_doculects(file, lines), choice) if is_table(lines[0]) else []
    return found if len(found) > 1 else []


def _doculects(doculects: Sequence[Doculect]) -> str:
    """Inventories as rows; if they are of one language, also the phones that they differ in."""
    rows = [["ID", "phones", *KINDS.values(), "marginal", "language"]]
    for each in doculects:
        phones = [one_spelling(phone) for phone in each.phonemes]
        counts = [str(number) if number else "-" for number in _kinds(phones).values()]
        about = each.name.partition(" ")[2].strip("()")
        rows.append([each.key, str(len(phones)), *counts, str(len(each.marginal)), about])
    text = text_table(rows, left=(0, len(rows[0]) - 1))
    if len({each.language for each in doculects}) > 1:
        return text
    sets = [set(map(one_spelling, each.phonemes)) for each in doculects]
    everywhere = set.intersection(*sets)
    parts = [text, f"all have: {' '.join(sorted(everywhere))}"]
    parts += [
        f"{each.key} also: {' '.join(sorted(phones - everywhere)) or 'nothing'}"
        for each, phones in zip(doculects, sets, strict=True)
    ]
    keys = JOIN.join(each.key for each in doculects)
    return "\n".join([*parts, f"choose one: #{doculects[0].key}; or join them: #{keys}"])


def _kinds(phones: Sequence[str]) -> dict[str, int]:
    found = [kind_of(phone) for phone in phones]
    return {name: found.count(kind) for kind, name in KINDS.items()}  # type: ignore[arg-type]


def _line(inventory: Inventory) -> str:
    kinds = ", ".join(f"{n} {name}" for name, n in _kinds(inventory.phones).items() if n)
    return f"{inventory.language}, {len(inventory.phones)} phones ({kinds}): {inventory.source}"


def _about(inventory: Inventory) -> str:
    kinds = ", ".join(f"{n} {name}" for name, n in _kinds(inventory.phones).items() if n)
    rows = [
        ("source", inventory.source),
        ("language", inventory.language),
        ("phones", f"{len(inventory.phones)}: {kinds}"),
    ]
    if inventory.counts:
        rows.append(("tokens", str(sum(inventory.counts))))
    return text_table(rows, left=(0, 1))


def _composition(model: Path, head: str | None, inventory: Inventory) -> dict[str, str] | None:
    """How a model that composes phones of attributes writes each phone; None for other models."""
    from speechx.interchange.opening import open_model
    from speechx.objectives.articulatory import Articulatory
    from speechx.transcription.recognizer import UNUSED, recognizer

    saved = open_model(model, UNUSED)
    if not any(config.get("kind") == "articulatory" for config in saved.objectives.values()):
        return None  # without its weights
    opened = recognizer(saved, model, "cpu", head).head
    return opened.composition(inventory.phones) if isinstance(opened, Articulatory) else None


def _table(
    inventory: Inventory, mapping: Mapping | None, composed: dict[str, str] | None = None
) -> str:
    """A row per phone, with the columns that the source and the model fill."""
    columns: dict[str, list[str]] = {
        "phone": list(inventory.phones),
        "kind": [kind_of(phone) for phone in inventory.phones],
    }
    if inventory.counts:
        columns["count"] = [str(count) for count in inventory.counts]
    if inventory.marginal:
        columns["marginal"] = ["yes" * (phone in inventory.marginal) for phone in inventory.phones]
    if inventory.allophones:
        columns["allophones"] = [" ".join(each) for each in inventory.allophones]
    if mapping is not None:
        columns["model"] = [_reached(mapping, phone) for phone in inventory.phones]
    if composed is not None:
        columns["model"] = [composed.get(phone, "") for phone in inventory.phones]
    rows = [list(columns), *map(list, zip(*columns.values(), strict=True))]
    left = [n for n, name in enumerate(columns) if name != "count"]
    return text_table(rows, left)


def _reached(mapping: Mapping, phone: str) -> str:
    """Which phones of the model become this phone."""
    rows = [row for row in mapping.rows if row.target == phone]
    others = [row.source for row in rows if row.match not in (EXACT, REVERSE)]
    second = [row.source for row in rows if row.match == REVERSE]
    parts = ["known"] if any(row.match == EXACT for row in rows) else []
    parts += [f"from {' '.join(others)}"] if others else []
    parts += [f"second pass from {' '.join(second)}"] if second else []
    return ", ".join(parts) or "never written"


def _nearest_table(
    phones: Sequence[str], name: str, candidates: Sequence[str], other: str, measure: Measure
) -> str:
    """The nearest candidate of each phone, with what it is tied with."""
    known = [phone for phone in candidates if not problem_without_features(phone)]
    able = [phone for phone in phones if known and not problem_without_features(phone)]
    found = {row.source: row for row in nearest_of(able, known, NEAREST, measure)}
    rows = [[f"only {name}", f"nearest in {other}", "distance", "tied"]]
    for phone in phones:
        row = found.get(phone)
        if row is None:
            rows.append([phone, "no articulatory features", ""])
        else:
            rows.append([phone, row.target, f"{row.distance:.4f}", " ".join(row.tied)])
    return text_table(rows, left=(0, 1, 3))
