"""`speechx inventory`: phone inventories, and mappings between them."""

from pathlib import Path
from typing import Any

from speechx.cli.options import SOURCES, add_head

MODEL = "speechx folder, checkpoint of another toolkit, or OWNER/NAME of the Hugging Face Hub"


def add_inventory_commands(commands: Any) -> None:
    """Adds the command to the subparsers of argparse."""
    inventory = commands.add_parser(
        "inventory", help="phone inventories, and mappings from a model's phones to them"
    )
    subjects = inventory.add_subparsers(required=True, metavar="COMMAND")

    show = subjects.add_parser("show", help="one inventory as a table or an IPA chart")
    show.add_argument("source", metavar="SOURCE", help=SOURCES)
    show.add_argument(
        "--chart", type=Path, metavar="FILE.png|.svg", help="picture of the IPA chart"
    )
    show.add_argument("--model", type=Path, help=f"model whose phones are mapped: {MODEL}")
    show.add_argument(
        "--mapping",
        type=Path,
        metavar="FILE",
        help="mapping table to show, instead of the nearest phones",
    )
    add_head(show)
    show.set_defaults(command=_show)

    compare = subjects.add_parser(
        "compare", help="phones that two inventories share, and the nearest of the others"
    )
    for name in ("a", "b"):
        compare.add_argument(name, metavar=name.upper(), help=SOURCES)
    _add_distance(compare)
    compare.set_defaults(command=_compare)

    mapping = subjects.add_parser(
        "map", help="mapping from a model's phones to an inventory, as a table to edit"
    )
    source = mapping.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help=f"model to map from: {MODEL}")
    source.add_argument("--source", metavar="SOURCE", help=f"inventory to map from: {SOURCES}")
    mapping.add_argument(
        "--target", required=True, metavar="SOURCE", help=f"inventory to map to: {SOURCES}"
    )
    mapping.add_argument(
        "-o", "--output", type=Path, metavar="FILE.tsv",
        help="table to write; by default it is printed",
    )  # fmt: skip
    mapping.add_argument("--overwrite", action="store_true", help="replace an existing table")
    mapping.add_argument(
        "--direction", choices=("train-to-target", "target-to-train"), default="train-to-target",
        help="whether each phone of the model goes to its nearest phone of the language, or each "
        "phone of the language takes its nearest phone of the model",
    )  # fmt: skip
    _add_distance(mapping)
    mapping.add_argument(
        "--threshold", type=float, metavar="X",
        help="greatest distance of a match; phones without one are left out",
    )  # fmt: skip
    mapping.add_argument(
        "--no-second-pass", action="store_true",
        help="leave out phones of the language that no phone of the model goes to, instead of "
        "giving each its nearest phone of the model",
    )  # fmt: skip
    add_head(mapping)
    mapping.set_defaults(command=_map)


def _add_distance(command: Any) -> None:
    command.add_argument(
        "--distance", choices=("hamming", "weighted"), default="hamming",
        help="distance of phones: share of articulatory features that differ, or PanPhon's "
        "weighted feature edit distance",
    )  # fmt: skip


def _show(options: Any) -> None:
    from speechx.inventories import show_inventory

    print(
        show_inventory(options.source, options.model, options.head, options.mapping, options.chart)
    )


def _compare(options: Any) -> None:
    from speechx.inventories import compare_inventories

    print(compare_inventories(options.a, options.b, options.distance))


def _map(options: Any) -> None:
    from speechx.inventories import map_inventories

    mapping = map_inventories(
        options.source or options.model, options.target, is_model=options.source is None,
        head=options.head, direction=options.direction, measure=options.distance,
        threshold=options.threshold, second_pass=not options.no_second_pass, out=options.output,
        overwrite=options.overwrite,
    )  # fmt: skip
    if options.output is None:
        print(mapping.to_tsv(left_out=True), end="")
    else:
        print(options.output)
