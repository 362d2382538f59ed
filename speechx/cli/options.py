"""Options that several commands have, and the objects that they choose."""

import argparse
from pathlib import Path
from typing import Any

from speechx.errors import UserError

SOURCES = (
    "a shipped language, a file of phones, a lexicon, a manifest, PHOIBLE's phoible.csv#ID, a "
    "model, or LANGUAGE:FILE for a text"
)
"""Sources of phone inventories (transcription/inventory_source.py)."""


def add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        required=True,
        type=Path,
        help="fine-tuned model: a speechx folder, a checkpoint of another toolkit, or OWNER/NAME "
        "of the Hugging Face Hub",
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
    add_speed(command)


def add_speed(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--compute-type", default="float32",
        help="number format: float32, or the faster and less exact bfloat16 or int8",
    )  # fmt: skip
    command.add_argument("--batch-size", type=int, help="number of 30 s windows computed at once")
    command.add_argument("--threads", type=int, help="processor threads; by default all cores")


def add_details(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--details", action="store_true",
        help="print the rate of each speaker and which phones are confused, by articulatory class; "
        "the JSON file has them anyway",
    )  # fmt: skip
    command.add_argument(
        "--page", type=Path, metavar="FILE.html",
        help="HTML page for the tables, with players and alignments of the worst utterances",
    )  # fmt: skip


def add_language(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--language",
        help="code or name of the language whose adapter is used; auto identifies the language of "
        "each recording or segment",
    )


def add_decoding(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--lm", type=Path, metavar="FILE",
        help="n-gram language model of words or tokens (.arpa, .arpa.gz, .safetensors, or a binary "
        "file of KenLM)",
    )  # fmt: skip
    command.add_argument(
        "--lexicon", type=Path, metavar="FILE",
        help="the only words that a phone model may write: lines of a word, a tab and its phones; "
        "or a text in the language, whose pronunciations espeak-ng makes",
    )  # fmt: skip
    command.add_argument(
        "--hotwords", metavar="WORD,WORD|FILE",
        help="words to prefer, such as names: separated by commas, or a file with one per line",
    )  # fmt: skip
    command.add_argument(
        "--beam-size",
        type=int,
        help="hypotheses that beam search keeps; by default as tuned, or 100",
    )
    command.add_argument(
        "--lm-weight", type=float, help="weight of the language model; by default as tuned, or 0.5"
    )
    command.add_argument(
        "--word-bonus", type=float,
        help="score added for each word, because a language model prefers few words; by default "
        "as tuned, or 1.5, and 0 with a lexicon",
    )  # fmt: skip
    command.add_argument(
        "--hotword-weight", type=float, help="score added for each hot word; by default 10"
    )
    command.add_argument(
        "--decoder", choices=("greedy", "beam", "pyctcdecode"),
        help="decoder; by default beam if a language model, a lexicon, hot words or a beam setting "
        "is given or kept in the model folder, else greedy",
    )  # fmt: skip


def add_output(command: argparse.ArgumentParser, format: str) -> None:
    command.add_argument(
        "-f", "--output-format", default=format, metavar="FORMAT[,FORMAT...]",
        help="txt, srt, vtt, tsv, json, ctm, TextGrid, eaf, or all of them",
    )  # fmt: skip
    command.add_argument(
        "-o", "--output-dir", type=Path,
        help="folder for one file per recording and format; finished files are skipped",
    )  # fmt: skip
    command.add_argument(
        "--overwrite", action="store_true", help="replace finished files of the folder"
    )
    command.add_argument(
        "--channels", type=_channels, default="mix", metavar="mix|split|N",
        help="channels to use: the mean of all, each by itself, or one by its number from 0",
    )  # fmt: skip


def _channels(word: str) -> str | int:
    if word not in ("mix", "split") and not word.isdecimal():
        raise argparse.ArgumentTypeError(f"expected mix, split or a number from 0, not {word!r}")
    return int(word) if word.isdecimal() else word


def one_channel(word: str) -> str | int:
    if word != "mix" and not word.isdecimal():
        raise argparse.ArgumentTypeError(f"expected mix or a number from 0, not {word!r}")
    return int(word) if word.isdecimal() else word


def add_inventory(command: argparse.ArgumentParser) -> None:
    group = command.add_mutually_exclusive_group()
    group.add_argument("--language", help="unseen language whose phone inventory is shipped")
    add_inventory_file(group)
    add_mapping(command)


def add_inventory_file(command: Any) -> None:
    command.add_argument(
        "--inventory", metavar="SOURCE", help=f"phone inventory of an unseen language: {SOURCES}"
    )


def add_mapping(command: Any) -> None:
    command.add_argument(
        "--mapping", type=Path, metavar="FILE",
        help="mapping from the model's phones to those of an unseen language: the table of "
        "`speechx inventory map`, which you may edit",
    )  # fmt: skip


def chosen_inventory(inventory: str | None, language: str | None = None) -> Any:
    """The phone inventory that --inventory or --language names."""
    from speechx.text.inventory import Inventory
    from speechx.transcription.inventory_source import inventory_of

    if inventory is not None:
        return inventory_of(inventory)
    if language == "auto":
        raise UserError(
            "auto identifies languages that a model was trained on: name the unseen language whose "
            "phones are wanted, or give --inventory or --mapping"
        )
    return None if language is None else Inventory.for_language(language)


def checked_mapping(mapping: Path | None) -> None:
    """Reads the table that --mapping names, before a model is loaded, for it may be wrong."""
    if mapping is not None:
        from speechx.decoding.mapping_file import read_rows

        read_rows(mapping)


def chosen_mapping(mapping: Path | None, model: Any, inventory: Any) -> Any:
    """The mapping that --mapping names, for this model."""
    return None if mapping is None else model.read_mapping(mapping, inventory)


def decode_with(
    model: Any, options: Any, language: str | None = None, unseen: bool = False
) -> None:
    """Gives a model the decoder that the options of add_decoding choose, of its own tokens, or of
    the phones of an `unseen` language."""
    from dataclasses import replace

    from speechx.decoding.ngram_file import read_ngram, read_scores
    from speechx.transcription.decoders import Decoding, read_hotwords, read_lexicon

    given: dict[str, Any] = {"backend": options.decoder}
    if options.lm is not None:
        read = read_scores if options.decoder == "pyctcdecode" else read_ngram
        given["lm"] = read(options.lm)
    if options.lexicon is not None:
        given["lexicon"] = read_lexicon(options.lexicon, None if language == "auto" else language)
    if options.hotwords is not None:
        given["hotwords"] = read_hotwords(options.hotwords)

    def choose(saved: Decoding) -> Decoding:
        own = saved.for_inventory() if unseen else saved
        decoding = Decoding() if options.decoder == "greedy" else own
        if options.lm is not None and decoding.kept:  # its settings are those of the one kept
            decoding = replace(decoding, settings=None, kept=False)
        return replace(decoding, **given).with_settings(
            beam_size=options.beam_size,
            lm_weight=options.lm_weight,
            word_bonus=options.word_bonus,
            hotword_weight=options.hotword_weight,
        )

    model.choose_decoding(choose)


def opened_model(options: Any, language: str | None, any_language: bool = False) -> Any:
    """The model of add_model, with the settings of add_computing."""
    from speechx.transcription.loading import load

    model = load(
        options.model, options.device, options.head, language, options.compute_type, any_language
    )
    model.compute_with(options.batch_size, options.threads)
    return model
