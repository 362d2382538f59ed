"""`speechx data prepare CORPUS ...`: one command per reader of speechx/corpora.

The parser and the calls are made from the table `CORPORA`. A reader is imported when its command
runs.
"""

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
    """The argument that is read; empty where a corpus is made or fetched."""
    own: bool = False
    """The user's own data: --language is for rows that do not name one."""
    keywords: Callable[[Settings], Settings] = dict
    """The keywords of `prepare`, from the options."""


def _option(flag: str, help: str, **settings: Any) -> Option:
    return flag, {"help": help, **settings}


def _choice(flag: str, help: str, *choices: str) -> Option:
    """The first choice is the default."""
    return _option(flag, help, choices=choices, default=choices[0])


def _switch(flag: str, help: str) -> Option:
    return _option(flag, help, action="store_true")


def _babel(settings: Settings) -> Settings:
    from speechx.corpora.babel import Options
    from speechx.corpora.babel.text import TextPolicy

    names = ("hesitations", "unknown", "fragments", "mispronunciations", "underscores")
    policy = TextPolicy(**{name: settings.pop(name) for name in names})
    languages = settings.pop("languages")
    return {"languages": languages, "options": Options(policy=policy, **settings)}


def _own_data(settings: Settings) -> Settings:
    from speechx.corpora.engine.rows import OwnData

    columns = {}
    for text in settings.pop("columns", ()):
        ours, equals, theirs = text.partition("=")
        if not (ours and equals and theirs):
            raise UserError(f"--column needs OURS=THEIRS, as in text=transcription, not {text!r}")
        columns[ours] = theirs
    return {"own": OwnData(columns=columns, **settings)}


LONGEST = _option(
    "--longest",
    "maximum length of a stretch without text; longer recordings are divided",
    type=float, default=20.0, metavar="SECONDS",
)  # fmt: skip
TEXT = _choice("--text", "spelling of the text", "normalised", "raw")
CORPUS = _option("--corpus", "name of the corpus; default: the folder", metavar="NAME")
AUDIO_ROOT = _option(
    "--root", "folder that holds all audio", dest="audio_root", type=Path, metavar="DIR"
)
COLUMN = _option(
    "--column",
    "name of a column, as in text=transcription; ours are path id split duration start end text "
    "phones speaker language",
    dest="columns", action="append", default=[], metavar="OURS=THEIRS",
)  # fmt: skip


def _own(module: str, help: str, *options: Option, root: str = "ROOT") -> CorpusCommand:
    """A reader that takes `OwnData`."""
    options = (*options, AUDIO_ROOT, CORPUS)
    return CorpusCommand(module, help, options, root, own=True, keywords=_own_data)


READ_OPTIONS = (
    _switch("--allow-missing", "count and list missing or broken files instead of stopping"),
    _switch("--convert", "store 16 kHz FLAC copies, which training reads many times faster"),
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
            _option("--release", "release, if the folder has another name", metavar="NAME"),
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
        own=True,
    ),
    "table": _own("table", "a table (TSV, CSV, JSON), one row per utterance", COLUMN, root="FILE"),
    "hugging-face": _own("hugging_face", "a dataset that Hugging Face saved to disk", COLUMN),
    "kaldi": _own("kaldi", "data directories of Kaldi, ESPnet, icefall"),
    "lhotse": _own("lhotse", "manifests of Lhotse: cuts, or their parts"),
    "debian-speech": CorpusCommand(
        "debian_speech", "real, openly licensed speech from Debian packages", root=""
    ),
    "synthetic": CorpusCommand(
        "synthetic",
        "synthetic speech by espeak-ng, with its phones",
        (
            _option(
                "--minutes", "minutes of training speech per language", type=float, default=12.0
            ),
            _option("--seed", "seed of the random numbers", type=int, default=1),
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
            parser.add_argument("root", type=Path, metavar=corpus.root, help="what to read")
        language: Settings = {"help": "language, may be repeated; default: all", "action": "append"}
        if corpus.own:
            language = {"help": "language of rows that do not name one"}
        parser.add_argument("--language", metavar="xx", **language)
        parser.add_argument(
            "-o", "--output", required=True, type=Path, metavar="DIR", help="folder of manifests"
        )
        options = (*READ_OPTIONS, *corpus.options) if corpus.root else corpus.options
        names = [parser.add_argument(flag, **settings).dest for flag, settings in options]
        parser.set_defaults(command=_command(corpus, names))


def _command(corpus: CorpusCommand, names: list[str]) -> Callable[[Any], None]:
    """Calls the reader with the common options and its own, and prints the counts."""

    def command(words: Any) -> None:
        from speechx.corpora.engine.write import Output

        own = {name: getattr(words, name) for name in names}
        own["language" if corpus.own else "languages"] = words.language
        where = [words.output]
        if corpus.root:
            out = Output(words.output, own.pop("allow_missing"), own.pop("convert"))
            where = [words.root, out]
        prepare = import_module(f"speechx.corpora.{corpus.module}").prepare
        print(json.dumps(prepare(*where, **corpus.keywords(own))))

    return command
