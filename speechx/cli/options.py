"""Options that several commands have."""

import argparse
from pathlib import Path
from typing import Any


def add_head(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--head",
        help="name of one head, where a model has several; by default the first",
    )


def add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def add_inventory(command: argparse.ArgumentParser, required: bool) -> None:
    group = command.add_mutually_exclusive_group(required=required)
    group.add_argument("--language", help="unseen language whose phone inventory is shipped")
    group.add_argument(
        "--inventory", type=Path, metavar="FILE[#ID]",
        help="phone inventory: a list, a manifest, or PHOIBLE's phoible.csv#ID, where ID is an "
        "InventoryID, a Glottocode or an ISO 639-3 code",
    )  # fmt: skip


def chosen_inventory(options: Any) -> Any:
    """The phone inventory that --language or --inventory names."""
    from speechx.data.phones import read_inventory
    from speechx.text.inventory import Inventory

    if options.inventory is not None:
        return read_inventory(options.inventory)
    return None if options.language is None else Inventory.for_language(options.language)
