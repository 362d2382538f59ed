"""`speechx data prepare CORPUS ...`: one command per reader of speechx/corpora.

No logic: every command parses its words and calls one function.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speechx.errors import UserError


def add_corpora(prepare: argparse.ArgumentParser) -> None:
    """The commands below `speechx data prepare`."""
    corpora = prepare.add_subparsers(required=True, metavar="CORPUS")

    voice = _corpus(corpora, "commonvoice", _commonvoice, "a CommonVoice release, old or new")
    voice.add_argument(
        "--splits",
        choices=("official", "speaker", "speaker+sentence"),
        default="official",
        help="train of the release, or all that is validated but for the speakers (and sentences) "
        "of its dev and test",
    )
    voice.add_argument(
        "--invalidated", action="store_true", help="judged bad: to the unlabelled ones"
    )
    voice.add_argument("--release", metavar="NAME", help="where the folder's name does not say it")

    _corpus(
        corpora, "commonvoice-spontaneous", _spontaneous, "CommonVoice's Spontaneous Speech (sps-*)"
    )

    babel = _corpus(corpora, "babel", _babel, "IARPA BABEL packs as LDC ships them")
    babel.add_argument(
        "--transcript", choices=("plain", "roman"), default="plain", help="script of the text"
    )
    babel.add_argument(
        "--hesitations", choices=("drop", "keep", "unknown"), default="drop", help="<hes>"
    )
    babel.add_argument(
        "--fragments", choices=("strip", "drop", "unknown"), default="strip", help="wor-"
    )
    babel.add_argument(
        "--mispronunciations", choices=("strip", "drop", "unknown"), default="strip", help="*word*"
    )
    babel.add_argument(
        "--underscores", choices=("join", "split"), default="join", help="ice_cream, i_b_m"
    )
    babel.add_argument(
        "--unknown",
        choices=("drop", "drop-utterance"),
        default="drop",
        help="what is said and not spelt: (()) <foreign> <prompt> <overlap>",
    )
    babel.add_argument(
        "--scripted", choices=("unlabelled", "train", "leave"), default="unlabelled",
        help="what the scripted recordings are used for",
    )  # fmt: skip
    _longest(babel)
    babel.add_argument("--sub-train", action="store_true", help="labels of the ten-hour condition")
    babel.add_argument("--phones", action="store_true", help="first pronunciations of the lexicon")

    fleurs = _corpus(corpora, "fleurs", _fleurs, "FLEURS: 102 languages, ten hours of each")
    _corpus(corpora, "mls", _mls, "Multilingual LibriSpeech, FLAC or Opus")
    parliament = _corpus(corpora, "voxpopuli", _voxpopuli, "VoxPopuli: European Parliament")
    for spelt in (fleurs, parliament):
        spelt.add_argument(
            "--text", choices=("normalised", "raw"), default="normalised", help="which spelling"
        )
    _longest(parliament)
    _corpus(corpora, "voxlingua107", _voxlingua107, "VoxLingua107: sound and its language, no text")

    _own_corpora(corpora)

    debian = corpora.add_parser(
        "debian-speech", help="real, openly licensed speech from Debian packages"
    )
    debian.set_defaults(command=_debian)
    synthetic = corpora.add_parser(
        "synthetic", help="synthetic speech by espeak-ng, with its phones"
    )
    synthetic.add_argument(
        "--minutes", type=float, default=12.0, help="of training speech per language"
    )
    synthetic.add_argument("--seed", type=int, default=1)
    synthetic.set_defaults(command=_synthetic)
    for made in (debian, synthetic):
        _languages(made)
        _output(made)


def _own_corpora(corpora: Any) -> None:
    """What people have of their own, in one language unless it says otherwise."""
    folder = _own(
        corpora, "folder", _folder, "recordings in a folder, with a .txt beside each or without"
    )
    folder.add_argument(
        "--speakers", action="store_true", help="each folder right below ROOT is a speaker"
    )
    _longest(folder)
    table = _own(corpora, "table", _table, "a TSV, CSV or JSONL file with a row per utterance")
    saved = _own(
        corpora, "hugging-face", _hugging_face, "a dataset that Hugging Face saved to disk"
    )
    for mapped in (table, saved):
        mapped.add_argument(
            "--column",
            action="append",
            default=[],
            metavar="OURS=THEIRS",
            help="as in text=transcription; ours are path id split duration start end text "
            "phones speaker language",
        )
    kaldi = _own(corpora, "kaldi", _kaldi, "data directories of Kaldi, ESPnet, icefall")
    lhotse = _own(corpora, "lhotse", _lhotse, "manifests of Lhotse: cuts, or their parts")
    for named in (table, saved, kaldi, lhotse):
        named.add_argument(
            "--root", dest="audio_root", type=Path, metavar="DIR", help="all audio is in there"
        )


def _longest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--longest",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="of a stretch without text; longer ones are listed in parts",
    )


def _own(corpora: Any, name: str, command: Callable[[Any], None], help: str) -> Any:
    parser = corpora.add_parser(name, help=help)
    parser.add_argument("root", type=Path, metavar="FILE" if name == "table" else "ROOT")
    parser.add_argument("--language", metavar="xx", help="of all that does not name its own")
    _output(parser)
    _care(parser)
    parser.add_argument("--corpus", metavar="NAME", help="default: the folder's")
    parser.set_defaults(command=command)
    return parser


def _corpus(
    corpora: Any, name: str, command: Callable[[Any], None], help: str
) -> argparse.ArgumentParser:
    """A published corpus of several languages."""
    parser = corpora.add_parser(name, help=help)
    parser.add_argument("root", type=Path, metavar="ROOT")
    _languages(parser)
    _output(parser)
    _care(parser)
    parser.set_defaults(command=command)
    return parser


def _languages(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--language",
        action="append",
        metavar="xx",
        help="may be given several times; default: all",
    )


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR")


def _care(parser: argparse.ArgumentParser) -> None:
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


def _prepare(prepare: Callable[..., Any], words: Any, **own: Any) -> None:
    """A reader with what all have and what only it has."""
    from speechx.corpora.engine.write import Output

    out = Output(words.output, words.allow_missing, words.convert)
    print(json.dumps(prepare(words.root, out, words.language, **own)))


def _prepare_own(prepare: Callable[..., Any], words: Any, **own: Any) -> None:
    _prepare(prepare, words, corpus=words.corpus, **own)


def _commonvoice(options: Any) -> None:
    from speechx.corpora.commonvoice import prepare

    own = {name: getattr(options, name) for name in ("splits", "invalidated", "release")}
    _prepare(prepare, options, **own)


def _spontaneous(options: Any) -> None:
    from speechx.corpora.commonvoice_spontaneous import prepare

    _prepare(prepare, options)


def _babel(options: Any) -> None:
    from speechx.corpora.babel import Options, prepare
    from speechx.corpora.babel.text import TextPolicy

    policy = TextPolicy(
        hesitations=options.hesitations,
        unknown=options.unknown,
        fragments=options.fragments,
        mispronunciations=options.mispronunciations,
        underscores=options.underscores,
    )
    how = Options(
        transcript=options.transcript,
        policy=policy,
        sub_train=options.sub_train,
        scripted=options.scripted,
        phones=options.phones,
        longest=options.longest,
    )
    _prepare(prepare, options, options=how)


def _fleurs(options: Any) -> None:
    from speechx.corpora.fleurs import prepare

    _prepare(prepare, options, text=options.text)


def _mls(options: Any) -> None:
    from speechx.corpora.mls import prepare

    _prepare(prepare, options)


def _voxpopuli(options: Any) -> None:
    from speechx.corpora.voxpopuli import prepare

    _prepare(prepare, options, text=options.text, longest=options.longest)


def _voxlingua107(options: Any) -> None:
    from speechx.corpora.voxlingua107 import prepare

    _prepare(prepare, options)


def _folder(options: Any) -> None:
    from speechx.corpora.folder import prepare

    if not options.language:
        raise UserError("a folder does not say what is spoken in it: give --language xx")
    _prepare_own(prepare, options, speakers=options.speakers, longest=options.longest)


def _table(options: Any) -> None:
    from speechx.corpora.table import prepare

    _prepare_own(prepare, options, columns=_columns(options), audio_root=options.audio_root)


def _kaldi(options: Any) -> None:
    from speechx.corpora.kaldi import prepare

    _prepare_own(prepare, options, audio_root=options.audio_root)


def _lhotse(options: Any) -> None:
    from speechx.corpora.lhotse import prepare

    _prepare_own(prepare, options, audio_root=options.audio_root)


def _hugging_face(options: Any) -> None:
    from speechx.corpora.hugging_face import prepare

    _prepare_own(prepare, options, columns=_columns(options), audio_root=options.audio_root)


def _columns(options: Any) -> dict[str, str]:
    """Our names to theirs."""
    columns = {}
    for text in options.column:
        ours, equals, theirs = text.partition("=")
        if not (ours and equals and theirs):
            raise UserError(f"--column needs OURS=THEIRS, as in text=transcription, not {text!r}")
        columns[ours] = theirs
    return columns


def _debian(options: Any) -> None:
    from speechx.corpora.debian_speech import prepare

    print(json.dumps(prepare(options.output, options.language)))


def _synthetic(options: Any) -> None:
    from speechx.corpora.synthetic import make_corpus
    from speechx.text.shipped import sentence_languages

    languages = options.language or sentence_languages()
    print(json.dumps(make_corpus(options.output, languages, options.minutes, options.seed)))
