"""The commands that turn recordings into text: transcribe, phonemize and fill."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from speechx.cli.fill import add_fill
from speechx.cli.options import add_device, add_head, add_inventory, chosen_inventory
from speechx.errors import UserError


def add_transcription_commands(commands: Any) -> None:
    for name, help in (
        ("transcribe", "text of recordings of any length"),
        ("phonemize", "phones of a language that the model was not trained on"),
    ):
        decode = commands.add_parser(name, help=help)
        decode.add_argument(
            "audio", nargs="+" if name == "transcribe" else "*",
            help="recordings, folders, quoted patterns, manifests, or - for a list of paths on the "
            "standard input",
        )  # fmt: skip
        decode.add_argument(
            "--model",
            required=True,
            type=Path,
            help="fine-tuned model, ours or another toolkit's, or OWNER/NAME of the Hugging Face "
            "Hub",
        )
        decode.set_defaults(command=_decode, phonemize=name == "phonemize", show_mapping=False)
        _add_output(decode)
        _add_layout(decode)
        _add_computing(decode)
        if name == "transcribe":
            decode.add_argument(
                "--language",
                help="language of a model with adapters for many, by its code or name; auto "
                "identifies the language of each recording",
            )
        else:
            add_inventory(decode, required=True)
            decode.add_argument(
                "--show-mapping", action="store_true",
                help="print the phone mapping as a table; audio is optional then",
            )  # fmt: skip
    fill = add_fill(commands)
    add_head(fill)
    add_device(fill)


def _add_output(decode: argparse.ArgumentParser) -> None:
    decode.add_argument(
        "-f", "--output-format", default="txt", metavar="FORMAT[,FORMAT...]",
        help="txt, srt, vtt, tsv, json, ctm, TextGrid, eaf, or all of them",
    )  # fmt: skip
    decode.add_argument(
        "-o", "--output-dir", type=Path,
        help="folder with one file per recording and format; finished ones are skipped",
    )  # fmt: skip
    decode.add_argument(
        "--overwrite", action="store_true", help="make finished files of the folder again"
    )


def _add_layout(decode: argparse.ArgumentParser) -> None:
    decode.add_argument(
        "--max-line-width", type=int, default=80, help="characters of a line of a segment"
    )
    decode.add_argument("--max-line-count", type=int, default=1, help="lines of a segment")
    decode.add_argument("--max-words-per-line", type=int, help="words of a line of a segment")
    decode.add_argument(
        "--max-seconds", type=float, default=15.0, help="length of a segment in seconds"
    )


def _add_computing(decode: argparse.ArgumentParser) -> None:
    decode.add_argument(
        "--channels", type=_channels, default="mix", metavar="mix|split|N",
        help="the mean of all channels, each channel by itself, or one channel, from 0",
    )  # fmt: skip
    add_head(decode)
    add_device(decode)
    decode.add_argument(
        "--compute-type", default="float32",
        help="float32, or bfloat16 or int8, which are faster and less exact",
    )  # fmt: skip
    decode.add_argument("--batch-size", type=int, help="windows of 30 s that are computed at once")
    decode.add_argument("--threads", type=int, help="processor threads; by default all cores")


def _channels(word: str) -> str | int:
    if word in ("mix", "split"):
        return word
    if word.isdecimal():
        return int(word)
    raise argparse.ArgumentTypeError(f"expected mix, split or a number from 0, not {word!r}")


def _decode(options: Any) -> int:
    if not options.audio and not options.show_mapping:
        raise UserError("phonemize needs audio files, or --show-mapping alone")
    inventory = (
        chosen_inventory(options) if options.phonemize else None
    )  # before the model is loaded, for it may be wrong
    from speechx.transcription.files import parse_formats, require_writable, transcribe_files
    from speechx.transcription.inputs import find_inputs, refuse_equal_outputs
    from speechx.transcription.loading import load
    from speechx.transcription.segments import SegmentLimits

    formats = parse_formats(options.output_format)
    try:
        limits = SegmentLimits(
            max_seconds=options.max_seconds,
            max_line_width=options.max_line_width,
            max_line_count=options.max_line_count,
            max_words_per_line=options.max_words_per_line,
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    inputs, failed = find_inputs(options.audio, options.channels)
    if options.output_dir is not None:
        refuse_equal_outputs(inputs)
        require_writable(options.output_dir)
    language = options.language if inventory is None else None
    model = load(options.model, options.device, options.head, language, options.compute_type)
    model.compute_with(options.batch_size, options.threads)
    if inventory is not None and options.show_mapping:
        print(model.map_inventory(inventory).to_tsv(), end="")
    if not options.audio:
        return 0
    return transcribe_files(
        partial(model.stream, inventory=inventory, limits=limits), inputs, formats,
        options.output_dir, partial(print, flush=True), failed, options.overwrite, model.made,
    )  # fmt: skip
