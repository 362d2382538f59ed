"""Options that several commands have, and what is made of them."""

import argparse
from pathlib import Path
from typing import Any


def add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        required=True,
        type=Path,
        help="fine-tuned model, ours or another toolkit's, or OWNER/NAME of the Hugging Face Hub",
    )


def add_head(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--head",
        help="name of one head, where a model has several; by default the first",
    )


def add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def add_computing(command: argparse.ArgumentParser) -> None:
    add_head(command)
    add_device(command)
    command.add_argument(
        "--compute-type", default="float32",
        help="float32, or bfloat16 or int8, which are faster and less exact",
    )  # fmt: skip
    command.add_argument("--batch-size", type=int, help="windows of 30 s that are computed at once")
    command.add_argument("--threads", type=int, help="processor threads; by default all cores")


def add_language(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--language",
        help="language of a model with adapters for many, by its code or name; auto identifies the "
        "language of each recording or segment",
    )


def add_output(command: argparse.ArgumentParser, format: str) -> None:
    command.add_argument(
        "-f", "--output-format", default=format, metavar="FORMAT[,FORMAT...]",
        help="txt, srt, vtt, tsv, json, ctm, TextGrid, eaf, or all of them",
    )  # fmt: skip
    command.add_argument(
        "-o", "--output-dir", type=Path,
        help="folder with one file per recording and format; finished ones are skipped",
    )  # fmt: skip
    command.add_argument(
        "--overwrite", action="store_true", help="make finished files of the folder again"
    )
    command.add_argument(
        "--channels", type=_channels, default="mix", metavar="mix|split|N",
        help="the mean of all channels, each channel by itself, or one channel, from 0",
    )  # fmt: skip


def _channels(word: str) -> str | int:
    if word not in ("mix", "split") and not word.isdecimal():
        raise argparse.ArgumentTypeError(f"expected mix, split or a number from 0, not {word!r}")
    return int(word) if word.isdecimal() else word


def one_channel(word: str) -> str | int:
    if word != "mix" and not word.isdecimal():
        raise argparse.ArgumentTypeError(f"expected mix or a number from 0, not {word!r}")
    return int(word) if word.isdecimal() else word


def add_inventory(command: argparse.ArgumentParser, required: bool) -> None:
    group = command.add_mutually_exclusive_group(required=required)
    group.add_argument("--language", help="unseen language whose phone inventory is shipped")
    add_inventory_file(group)


def add_inventory_file(command: Any) -> None:
    command.add_argument(
        "--inventory", metavar="LANGUAGE|FILE[#ID]",
        help="phone inventory of an unseen language: a shipped language, a list, a manifest, or "
        "PHOIBLE's phoible.csv#ID, where ID is an InventoryID, a Glottocode or an ISO 639-3 code",
    )  # fmt: skip


def chosen_inventory(inventory: str | None, language: str | None = None) -> Any:
    """The phone inventory that --inventory or --language names."""
    from speechx.data.phones import read_inventory
    from speechx.text.inventory import Inventory

    if inventory is not None and (Path(inventory).suffix or Path(inventory).exists()):
        return read_inventory(Path(inventory))
    name = inventory or language
    return None if name is None else Inventory.for_language(name)


def opened_model(options: Any, language: str | None, any_language: bool = False) -> Any:
    """The model of add_model, with the settings of add_computing."""
    from speechx.transcription.loading import load

    model = load(
        options.model, options.device, options.head, language, options.compute_type, any_language
    )
    model.compute_with(options.batch_size, options.threads)
    return model
