"""`speechx align`: when the words of a text are spoken."""

from functools import partial
from pathlib import Path
from typing import Any

from speechx.errors import UserError


def add_align(commands: Any) -> None:
    """Adds the command to the subparsers of argparse."""
    align = commands.add_parser("align", help="times of the words of given texts in recordings")
    align.add_argument(
        "audio", nargs="*", metavar="AUDIO [TEXT]",
        help="a recording and its text, which is a file or the text itself; or recordings and "
        "folders, whose texts are .txt files of the same names",
    )  # fmt: skip
    align.add_argument(
        "--model",
        required=True,
        type=Path,
        help="fine-tuned model, ours or another toolkit's, or OWNER/NAME of the Hugging Face Hub",
    )
    align.add_argument("--texts", type=Path, metavar="DIR", help="folder of the .txt files")
    align.add_argument(
        "--manifest", nargs="+", type=Path, default=[], help="manifests of recordings with texts"
    )
    align.add_argument(
        "-f", "--output-format", default="json",
        help="format of the results, or several with commas between, or `all`",
    )  # fmt: skip
    align.add_argument(
        "-o", "--output-dir", type=Path,
        help="folder with the files of each recording; finished ones are skipped",
    )  # fmt: skip
    align.add_argument(
        "--overwrite", action="store_true", help="make finished files of the folder again"
    )
    align.add_argument("--language", help="language of the texts")
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
    align.add_argument("--head", help="name of one head, where a model has several")
    align.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    align.set_defaults(command=_align)


def _align(options: Any) -> int:
    from speechx.transcription.align_files import (
        Pair,
        align_files,
        pair_of,
        pairs_in,
        pairs_of,
    )
    from speechx.transcription.aligner import align
    from speechx.transcription.files import parse_formats, require_writable
    from speechx.transcription.loading import load

    given = options.audio
    if bool(given) == bool(options.manifest):
        raise UserError(
            "align needs a recording and its text, or recordings and folders, or "
            "--manifest; see speechx align --help"
        )
    if options.language == "auto":
        raise UserError("align needs the language of the texts; only transcribe takes auto")
    forms = parse_formats(options.output_format)
    if options.output_dir is not None:
        require_writable(options.output_dir)
    pairs, alone = list[Pair](), list[str]()
    if len(given) == 2 and options.texts is None and not _is_audio(given[1]):
        pairs = [pair_of(Path(given[0]), given[1])]
    elif given:
        pairs, alone = pairs_in([Path(place) for place in given], options.texts)
    model = load(options.model, options.device, options.head, options.language, any_language=True)
    if options.manifest:
        pairs, alone = pairs_of(options.manifest, model.vocabulary.token_type)

    def one(audio: Any, text: str, pair: Pair, progress: Any) -> Any:
        return align(
            model, audio, text, language=options.language or pair.language,
            phones=options.phones or pair.phones, romanize=options.romanize,
            untranscribed=options.untranscribed, every_word=options.every_word,
            progress=progress,
        )  # fmt: skip

    write = partial(print, end="", flush=True)
    return align_files(one, pairs, forms, options.output_dir, write, alone, options.overwrite)


def _is_audio(word: str) -> bool:
    from speechx.audio.files import AUDIO_SUFFIXES

    is_folder = bool(word) and Path(word[:200]).is_dir()
    return Path(word).suffix.lower() in AUDIO_SUFFIXES or is_folder
