"""`speechx fill`: the empty segments of annotation files of ELAN and Praat."""

from functools import partial
from pathlib import Path
from typing import Any

from speechx.cli.options import (
    add_computing,
    add_inventory_file,
    add_language,
    add_mapping,
    add_model,
    checked_mapping,
    chosen_inventory,
    chosen_mapping,
    one_channel,
    opened_model,
)


def add_fill(commands: Any) -> None:
    """Adds the command to the subparsers of argparse."""
    fill = commands.add_parser(
        "fill", help="text for the empty segments of annotation files (ELAN, Praat)"
    )
    fill.add_argument(
        "files", nargs="+", type=Path, metavar="FILE",
        help=".eaf or .TextGrid files, or folders of them",
    )  # fmt: skip
    add_model(fill)
    fill.add_argument(
        "--tier", help="tier to fill; by default the only one that has empty segments"
    )
    fill.add_argument(
        "--audio", type=Path,
        help="recording of one FILE; by default the one it links, or the one with its name",
    )  # fmt: skip
    fill.add_argument(
        "-o", "--output", type=Path, metavar="DIR|FILE",
        help="folder of the new files, or the new file of one FILE; by default NAME.filled.eaf "
        "beside NAME.eaf",
    )  # fmt: skip
    fill.add_argument("--in-place", action="store_true", help="replace the original files")
    fill.add_argument(
        "--overwrite", action="store_true", help="make new files that are there already again"
    )
    fill.add_argument(
        "--channels", type=one_channel, default="mix", metavar="mix|N",
        help="the mean of all channels of the recording, or one channel, from 0",
    )  # fmt: skip
    add_language(fill)
    add_inventory_file(fill)
    add_mapping(fill)
    add_computing(fill)
    fill.set_defaults(command=_fill)


def _fill(options: Any) -> int:
    from speechx.transcription.annotation.files import fill_files

    inventory = chosen_inventory(options.inventory)  # before the model is loaded: it may be wrong
    checked_mapping(options.mapping)
    channel = None if options.channels == "mix" else options.channels
    return fill_files(
        options.files, partial(_opened, options, inventory), partial(print, flush=True),
        options.tier, options.audio, options.output, options.in_place, options.overwrite, channel,
    )  # fmt: skip


def _opened(options: Any, inventory: Any) -> Any:
    model = opened_model(options, options.language)
    mapping = chosen_mapping(options.mapping, model, inventory)
    if inventory is None and mapping is None:
        return model.transcribe
    return partial(model.phonemize, inventory=inventory, mapping=mapping)
