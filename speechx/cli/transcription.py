"""`speechx transcribe` and `speechx phonemize`: recordings to text or phones."""

import argparse
from functools import partial
from typing import Any

from speechx.cli.options import (
    add_computing,
    add_decoding,
    add_inventory,
    add_language,
    add_model,
    add_output,
    checked_mapping,
    chosen_inventory,
    chosen_mapping,
    decode_with,
    opened_model,
)
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
        add_model(decode)
        decode.set_defaults(command=_decode, phonemize=name == "phonemize", show_mapping=False)
        add_output(decode, "txt")
        _add_layout(decode)
        add_decoding(decode)
        add_computing(decode)
        if name == "transcribe":
            add_language(decode)
        else:
            add_inventory(decode)
            decode.add_argument(
                "--show-mapping", action="store_true",
                help="print the phone mapping as a table, or what phones from attributes are made "
                "of; audio is optional then",
            )  # fmt: skip


def _add_layout(decode: argparse.ArgumentParser) -> None:
    decode.add_argument(
        "--max-line-width", type=int, default=80, help="characters of a line of a segment"
    )
    decode.add_argument("--max-line-count", type=int, default=1, help="lines of a segment")
    decode.add_argument("--max-words-per-line", type=int, help="words of a line of a segment")
    decode.add_argument(
        "--max-seconds", type=float, default=15.0, help="length of a segment in seconds"
    )


def _decode(options: Any) -> int:
    if not options.audio and not options.show_mapping:
        raise UserError("phonemize needs audio files, or --show-mapping alone")
    inventory = None
    if options.phonemize:  # before the model is loaded, for it may be wrong
        inventory = chosen_inventory(options.inventory, options.language)
        checked_mapping(options.mapping)
        if inventory is None and options.mapping is None:
            raise UserError(
                "phonemize needs the phones of the language: give --language, --inventory or "
                "--mapping"
            )
    from speechx.transcription.files import check_outputs, write_transcripts
    from speechx.transcription.formats import parse_formats
    from speechx.transcription.inputs import find_inputs
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
    check_outputs(inputs, formats, options.output_dir)
    model = opened_model(options, None if options.phonemize else options.language)
    mapping = chosen_mapping(options.mapping, model, inventory) if options.phonemize else None
    language = inventory.language if inventory else options.language
    decode_with(model, options, language, options.phonemize)
    if options.show_mapping:
        print(model.phone_table(inventory, mapping), end="")
    if not options.audio:
        return 0
    made = model.made
    if mapping is not None:  # results are older than a mapping that was edited since
        made = max(made, options.mapping.stat().st_mtime)
    return write_transcripts(
        partial(model.stream, inventory=inventory, mapping=mapping, limits=limits), inputs, formats,
        options.output_dir, partial(print, flush=True), failed, options.overwrite, made,
    )  # fmt: skip
