"""`speechx data prepare CORPUS ...`: one command per reader of speechx/corpora.

`CORPORA` is the whole truth: the parser and the calls are made from it. A reader is imported when
its command runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from speechx.errors import UserError

Option = tuple[str, dict[str, Any]]
"""A flag and its settings for argparse; `dest` is the keyword of the reader."""
Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CorpusCommand:
    """A command below `speechx data prepare`."""

    module: str
    """In speechx/corpora; its `prepare` is called."""
    help: str
    options: tuple[Option, ...] = ()
    """Only of this corpus; they are keywords of `prepare`."""
    root: str = "ROOT"
    """Name of the argument that is read; empty where a corpus is made or fetched."""
    several_languages: bool = True
    """False where rows may lack a language, which --language gives."""
    keywords: Callable[[Settings], Settings] = dict
    """From the options to the keywords of `prepare`, where they are not the same."""


def _choice(flag: str, help: str, *choices: str) -> Option:
    """The first choice is the default."""
    return flag, {"choices": choices, "default": choices[0], "help": help}


def _switch(flag: str, help: str) -> Option:
    return flag, {"action": "store_true", "help": help}


def _babel(settings: Settings) -> Settings:
    from speechx.corpora.babel import Options
    from speechx.corpora.babel.text import TextPolicy

    names = ("hesitations", "unknown", "fragments", "mispronunciations", "underscores")
    policy = TextPolicy(**{name: settings.pop(name) for name in names})
    return {"options": Options(policy=policy, **settings)}


def _mapped(settings: Settings) -> Settings:
    """--column: our names to those of the table."""
    columns = {}
    for text in settings.pop("columns"):
        ours, equals, theirs = text.partition("=")
        if not (ours and equals and theirs):
            raise UserError(f"--column needs OURS=THEIRS, as in text=transcription, not {text!r}")
        columns[ours] = theirs
    return {**settings, "columns": columns}


LONGEST: Option = (
    "--longest",
    {
        "type": float,
        "default": 20.0,
        "metavar": "SECONDS",
        "help": "maximum length of a stretch without text; longer recordings are divided",
    },
)
TEXT = _choice("--text", "spelling of the text", "normalised", "raw")
CORPUS: Option = (
    "--corpus",
    {"metavar": "NAME", "help": "name of the corpus; default: folder"},
)
AUDIO_ROOT: Option = (
    "--root",
    {"dest": "audio_root", "type": Path, "metavar": "DIR", "help": "folder that holds all audio"},
)
COLUMN: Option = (
    "--column",
    {
        "dest": "columns",
        "action": "append",
        "default": [],
        "metavar": "OURS=THEIRS",
        "help": "name of a column, as in text=transcription; ours are path id split duration start "
        "end text phones speaker language",
    },
)

CORPORA: dict[str, CorpusCommand] = {
    "commonvoice": CorpusCommand(
        "commonvoice",
        "a CommonVoice release, old or new",
        (
            _choice(
                "--splits",
                "train of the release, or all validated clips except speakers (and sentences) of "
                "its dev and test",
                *("official", "speaker", "speaker+sentence"),
            ),
            _switch("--invalidated", "include invalidated clips as unlabelled"),
            ("--release", {"metavar": "NAME", "help": "release, if the folder is not named so"}),
        ),
    ),
    "commonvoice-spontaneous": CorpusCommand(
        "commonvoice_spontaneous", "CommonVoice's Spontaneous Speech (sps-*)"
    ),
    "babel": CorpusCommand(
        "babel",
        "IARPA BABEL packs as LDC ships them",
        (
            _choice("--transcript", "script of the text", "plain", "roman"),
            _choice("--hesitations", "treatment of <hes>", "drop", "keep", "unknown"),
            _choice("--fragments", "treatment of wor-", "strip", "drop", "unknown"),
            _choice("--mispronunciations", "treatment of *word*", "strip", "drop", "unknown"),
            _choice("--underscores", "treatment of ice_cream, i_b_m", "join", "split"),
            _choice(
                "--unknown",
                "treatment of speech that is not transcribed: (()) <foreign> <prompt> <overlap>",
                *("drop", "drop-utterance"),
            ),
            _choice("--scripted", "use of the scripted recordings", "unlabelled", "train", "leave"),
            LONGEST,
            _switch("--sub-train", "labels of the ten-hour condition only"),
            _switch("--phones", "phones from the first pronunciations of the lexicon"),
        ),
        keywords=_babel,
    ),
    "fleurs": CorpusCommand("fleurs", "FLEURS: 102 languages, ten hours of each", (TEXT,)),
    "mls": CorpusCommand("mls", "Multilingual LibriSpeech, FLAC or Opus"),
    "voxpopuli": CorpusCommand("voxpopuli", "VoxPopuli: European Parliament", (TEXT, LONGEST)),
    "voxlingua107": CorpusCommand(
        "voxlingua107", "VoxLingua107: audio labelled by language, without text"
    ),
    "folder": CorpusCommand(
        "folder",
        "recordings in a folder, with a .txt beside each or without",
        (_switch("--speakers", "speakers named by the folders in ROOT"), LONGEST, CORPUS),
        several_languages=False,
    ),
    "table": CorpusCommand(
        "table",
        "a TSV, CSV or JSONL file with a row per utterance",
        (COLUMN, AUDIO_ROOT, CORPUS),
        root="FILE",
        several_languages=False,
        keywords=_mapped,
    ),
    "hugging-face": CorpusCommand(
        "hugging_face",
        "a dataset that Hugging Face saved to disk",
        (COLUMN, AUDIO_ROOT, CORPUS),
        several_languages=False,
        keywords=_mapped,
    ),
    "kaldi": CorpusCommand(
        "kaldi",
        "data directories of Kaldi, ESPnet, icefall",
        (AUDIO_ROOT, CORPUS),
        several_languages=False,
    ),
    "lhotse": CorpusCommand(
        "lhotse",
        "manifests of Lhotse: cuts, or their parts",
        (AUDIO_ROOT, CORPUS),
        several_languages=False,
    ),
    "debian-speech": CorpusCommand(
        "debian_speech", "real, openly licensed speech from Debian packages", root=""
    ),
    "synthetic": CorpusCommand(
        "synthetic",
        "synthetic speech by espeak-ng, with its phones",
        (
            ("--minutes", {"type": float, "default": 12.0, "help": "training speech per language"}),
            ("--seed", {"type": int, "default": 1, "help": "seed of all that is random"}),
        ),
        root="",
    ),
}


def add_corpora(prepare: argparse.ArgumentParser) -> None:
    """The commands below `speechx data prepare`."""
    corpora = prepare.add_subparsers(required=True, metavar="CORPUS")
    for name, corpus in CORPORA.items():
        parser = corpora.add_parser(name, help=corpus.help)
        if corpus.root:
            parser.add_argument("root", type=Path, metavar=corpus.root)
        if corpus.several_languages:
            language = {"action": "append", "help": "language, may be repeated; default: all"}
        else:
            language = {"help": "language of rows that do not name one"}
        parser.add_argument("--language", metavar="xx", **language)  # type: ignore[arg-type]
        parser.add_argument(
            "-o", "--output", required=True, type=Path, metavar="DIR", help="folder of manifests"
        )
        if corpus.root:
            parser.add_argument(
                "--allow-missing",
                action="store_true",
                help="count and list missing or broken files instead of stopping",
            )
            parser.add_argument(
                "--convert",
                action="store_true",
                help="store 16 kHz FLAC copies, which training reads many times faster",
            )
        names = [parser.add_argument(flag, **settings).dest for flag, settings in corpus.options]
        parser.set_defaults(command=_command(corpus, names))


def _command(corpus: CorpusCommand, names: list[str]) -> Callable[[Any], None]:
    """Calls the reader with the common options and its own, and prints the counts."""

    def command(words: Any) -> None:
        from speechx.corpora.engine.write import Output

        own = corpus.keywords({name: getattr(words, name) for name in names})
        prepare = import_module(f"speechx.corpora.{corpus.module}").prepare
        if corpus.root:
            out = Output(words.output, words.allow_missing, words.convert)
            counts = prepare(words.root, out, words.language, **own)
        else:
            counts = prepare(words.output, words.language, **own)
        print(json.dumps(counts))

    return command
