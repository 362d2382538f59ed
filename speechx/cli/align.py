"""`speechx align`: when the words of given texts are spoken."""

from functools import partial
from pathlib import Path
from typing import Any

from speechx.cli.options import add_computing, add_model, add_output, opened_model


def add_align(commands: Any) -> None:
    """Adds the command to the subparsers of argparse."""
    align = commands.add_parser("align", help="times of the words of given texts in recordings")
    align.add_argument(
        "audio", nargs="+", metavar="AUDIO [TEXT]",
        help="a recording and its text, which is a file or the text itself; or recordings, "
        "folders, quoted patterns or - for a list of paths, whose texts are .txt files of the same "
        "names; or manifests",
    )  # fmt: skip
    add_model(align)
    align.add_argument("--texts", type=Path, metavar="DIR", help="folder of the .txt files")
    add_output(align, "json")
    align.add_argument("--language", help="language of the texts and of the adapter, or auto")
    align.add_argument(
        "--phones", action="store_true",
        help="the texts are phones with spaces between, and words with |",
    )  # fmt: skip
    align.add_argument(
        "--romanize", action="store_true",
        help="write the texts in Latin letters first, for models of these",
    )  # fmt: skip
    align.add_argument(
        "--untranscribed", choices=("anywhere", "ends", "nowhere"), default="anywhere",
        help="where there may be speech that the text lacks",
    )  # fmt: skip
    align.add_argument(
        "--every-word", action="store_true", help="give a time also to words that were not found"
    )
    add_computing(align)
    align.set_defaults(command=_align)


def _align(options: Any) -> int:
    from speechx.transcription.align_files import align_each, given_text, with_texts
    from speechx.transcription.files import check_outputs, write_transcripts
    from speechx.transcription.formats import parse_formats
    from speechx.transcription.inputs import find_inputs, is_input

    formats, given, text = parse_formats(options.output_format), options.audio, None
    if len(given) == 2 and options.texts is None and not is_input(given[1]):
        given, text = given[:1], given_text(given[1])
    inputs, failed = find_inputs(given, options.channels)
    inputs = with_texts(inputs, given, options.texts, text)
    check_outputs(inputs, formats, options.output_dir)
    model = opened_model(options, options.language, any_language=True)
    language = None if options.language == "auto" else options.language
    transcribe = partial(
        align_each, model, {one.recording: one for one in inputs},
        language=language, phones=options.phones, romanize=options.romanize,
        untranscribed=options.untranscribed, every_word=options.every_word,
    )  # fmt: skip
    return write_transcripts(
        transcribe, inputs, formats, options.output_dir, partial(print, flush=True), failed,
        options.overwrite, model.made,
    )  # fmt: skip
