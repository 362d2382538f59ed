"""speechx fill: the empty segments of annotation files of ELAN and Praat."""

from functools import partial
from pathlib import Path
from typing import Any


def add_fill(commands: Any) -> Any:
    """Returns the parser, for the options that all commands with a model share."""
    fill = commands.add_parser(
        "fill", help="text for the empty segments of annotation files (ELAN, Praat)"
    )
    fill.add_argument(
        "files", nargs="+", type=Path, metavar="FILE",
        help=".eaf or .TextGrid files, or folders of them",
    )  # fmt: skip
    fill.add_argument(
        "--model",
        required=True,
        type=Path,
        help="fine-tuned model, ours or another toolkit's, or OWNER/NAME of the Hugging Face Hub",
    )
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
        "--inventory", metavar="LANGUAGE|FILE[#ID]",
        help="phone inventory of an unseen language, to write its phones: a shipped language, a "
        "list, a manifest, or PHOIBLE's phoible.csv#ID",
    )  # fmt: skip
    fill.add_argument(
        "--language", help="language of a model with adapters for many, by its code or name"
    )
    fill.set_defaults(command=_fill)
    return fill


def _fill(options: Any) -> int:
    import speechx
    from speechx.transcription.annotation.files import fill_files

    inventory = _inventory(options.inventory)  # before the model is loaded, for it may be wrong
    model = speechx.load(options.model, options.device, options.head, options.language)
    transcribe: Any = model.transcribe
    if inventory is not None:
        transcribe = partial(model.phonemize, inventory=inventory)
    return fill_files(
        options.files, transcribe, partial(print, flush=True), options.tier, options.audio,
        options.output, options.in_place, options.overwrite,
    )  # fmt: skip


def _inventory(name: str | None) -> Any:
    from speechx.data.phones import read_inventory
    from speechx.text.inventory import Inventory

    if name is None:
        return None
    if Path(name).suffix or Path(name).exists():
        return read_inventory(Path(name))
    return Inventory.for_language(name)
