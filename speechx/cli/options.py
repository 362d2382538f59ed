"""Options that several commands have, and what is made of them."""

import argparse
from pathlib import Path
from typing import Any

SOURCES = (
    "a shipped language, a file of phones, a lexicon, a manifest, PHOIBLE's phoible.csv#ID, a "
    "model, or LANGUAGE:FILE for a text"
)
"""Words that name an inventory (transcription/inventory_source.py)."""


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


def add_details(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--details", action="store_true",
        help="print the rate of each speaker and which phones are confused, by articulatory class; "
        "the JSON file has them anyway",
    )  # fmt: skip
    command.add_argument(
        "--page", type=Path, metavar="FILE.html",
        help="page with players and alignments of the worst utterances",
    )  # fmt: skip


def add_language(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--language",
        help="language of a model with adapters for many, by its code or name; auto identifies the "
        "language of each recording or segment",
    )


def add_decoding(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--lm", type=Path, metavar="FILE",
        help="language model of words or tokens (.arpa, .arpa.gz or what `speechx lm train` wrote)",
    )  # fmt: skip
    command.add_argument(
        "--lexicon", type=Path, metavar="FILE",
        help="words that may be written: each with its phones behind a tab; or a text in the "
        "language, whose words espeak-ng reads for a model of phones",
    )  # fmt: skip
    command.add_argument(
        "--hotwords", metavar="WORD,WORD|FILE",
        help="words that are more probable here: with commas between, or a file of lines",
    )  # fmt: skip
    command.add_argument("--beam-size", type=int, help="beginnings of texts that a search keeps")
    command.add_argument("--lm-weight", type=float, help="weight of the language model")
    command.add_argument(
        "--word-bonus", type=float, help="added for each word, since a language model prefers few"
    )
    command.add_argument("--hotword-weight", type=float, help="added for each hot word")
    command.add_argument(
        "--decoder", choices=("greedy", "beam", "pyctcdecode"),
        help="how tokens are chosen; by default beam search if an option or the model folder asks "
        "for a language model, lexicon, hot words or beam size, else greedy",
    )  # fmt: skip


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
        help="table of a mapping to the phones of an unseen language, which `speechx inventory "
        "map` wrote and you may have edited",
    )  # fmt: skip


def chosen_inventory(inventory: str | None, language: str | None = None) -> Any:
    """The phone inventory that --inventory or --language names."""
    from speechx.text.inventory import Inventory
    from speechx.transcription.inventory_source import inventory_of

    if inventory is not None:
        return inventory_of(inventory)
    return None if language is None else Inventory.for_language(language)


def checked_mapping(mapping: Path | None) -> None:
    """Reads the table that --mapping names, before a model is loaded, for it may be wrong."""
    if mapping is not None:
        from speechx.decoding.mapping_file import read_rows

        read_rows(mapping)


def chosen_mapping(mapping: Path | None, model: Any, inventory: Any) -> Any:
    """The mapping that --mapping names, for this model."""
    return None if mapping is None else model.read_mapping(mapping, inventory)


def decode_with(model: Any, options: Any, language: str | None = None) -> None:
    """Gives a model the decoder that the options of add_decoding choose. `language` is that of the
    words, by default the model's."""
    from dataclasses import replace

    from speechx.decoding.ngram_file import read_ngram
    from speechx.transcription.decoders import Decoding, read_hotwords, read_lexicon

    language = language or model.language
    decoding = Decoding() if options.decoder == "greedy" else model.decoding
    if options.lm is not None:
        decoding = replace(decoding, lm=read_ngram(options.lm))
    if options.lexicon is not None:
        of_type = model.vocabulary.token_type
        decoding = replace(decoding, lexicon=read_lexicon(options.lexicon, language, of_type))
    if options.hotwords is not None:
        known = decoding.lexicon or ()
        words = read_hotwords(options.hotwords, model.vocabulary.tokens, known, language)
        decoding = replace(decoding, hotwords=words)
    decoding = decoding.with_weights(
        beam_size=options.beam_size,
        lm_weight=options.lm_weight,
        word_bonus=options.word_bonus,
        hotword_weight=options.hotword_weight,
    )
    model.decode_with(replace(decoding, backend=options.decoder))


def opened_model(options: Any, language: str | None, any_language: bool = False) -> Any:
    """The model of add_model, with the settings of add_computing."""
    from speechx.transcription.loading import load

    model = load(
        options.model, options.device, options.head, language, options.compute_type, any_language
    )
    model.compute_with(options.batch_size, options.threads)
    return model
