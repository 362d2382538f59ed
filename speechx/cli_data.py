"""`speechx data ...`: what turns corpora into manifests and looks at what is in them.

No logic: every command parses its words and calls one function.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from speechx.errors import UserError


def add_data_commands(data: argparse.ArgumentParser) -> None:
    """The commands below `speechx data`."""
    actions = data.add_subparsers(required=True, metavar="ACTION")
    prepare = actions.add_parser("prepare", help="corpus on disk to DIR/<language>/<split>.jsonl")
    corpora = prepare.add_subparsers(required=True, metavar="CORPUS")

    voice = corpora.add_parser("commonvoice", help="a CommonVoice release, old or new")
    voice.add_argument("root", type=Path, metavar="ROOT")
    voice.add_argument(
        "--allow-missing",
        action="store_true",
        help="count and list missing or broken clips instead of stopping",
    )
    voice.add_argument(
        "--convert",
        action="store_true",
        help="store 16 kHz FLAC copies, which training reads many times faster",
    )
    voice.set_defaults(command=_prepare_commonvoice)

    debian = corpora.add_parser(
        "debian-speech", help="real, openly licensed speech from Debian packages"
    )
    debian.set_defaults(command=_prepare_debian)

    synthetic = corpora.add_parser(
        "synthetic", help="synthetic speech by espeak-ng, with its phones"
    )
    synthetic.add_argument(
        "--minutes", type=float, default=12.0, help="of training speech per language"
    )
    synthetic.add_argument("--seed", type=int, default=1)
    synthetic.set_defaults(command=_prepare_synthetic)
    table = corpora.add_parser("table", help="a TSV or CSV file with a row per utterance")
    table.add_argument("table", type=Path, metavar="FILE")
    table.add_argument("--language", metavar="xx", help="where the table has no such column")
    table.add_argument("-o", "--output", required=True, type=Path, metavar="DIR")
    table.set_defaults(command=_prepare_table)

    for corpus in (voice, debian, synthetic):
        corpus.add_argument(
            "--language",
            action="append",
            metavar="xx",
            help="may be given several times; default: all",
        )
        corpus.add_argument("-o", "--output", required=True, type=Path, metavar="DIR")

    summary = actions.add_parser("summary", help="utterances, hours and speakers per language")
    summary.add_argument("manifests", nargs="+", type=Path)
    summary.set_defaults(command=_summary)

    validate = actions.add_parser("validate", help="what is wrong with a manifest")
    validate.add_argument("manifests", nargs="+", type=Path)
    validate.add_argument("--decode", action="store_true", help="read all samples too")
    validate.set_defaults(command=_validate)

    phones = actions.add_parser(
        "phones", help="add phones to a manifest from its text, with espeak-ng"
    )
    phones.add_argument("manifest", type=Path)
    phones.add_argument("-o", "--output", required=True, type=Path)
    phones.add_argument(
        "--drop-empty", action="store_true", help="leave out, and count, texts without any phone"
    )
    phones.set_defaults(command=_phones)


def _prepare_commonvoice(options: Any) -> None:
    from speechx.corpora.commonvoice import prepare

    made = prepare(
        options.root, options.language, options.output,
        allow_missing=options.allow_missing, convert=options.convert, log=_note,
    )  # fmt: skip
    print(json.dumps(made))


def _prepare_debian(options: Any) -> None:
    from speechx.corpora.debian_speech import prepare

    print(json.dumps(prepare(options.output, options.language, log=_note)))


def _prepare_synthetic(options: Any) -> None:
    from speechx.corpora.synthetic import make_corpus
    from speechx.text.shipped import sentence_languages

    languages = options.language or sentence_languages()
    print(
        json.dumps(make_corpus(options.output, languages, options.minutes, options.seed, log=_note))
    )


def _prepare_table(options: Any) -> None:
    from speechx.corpora.table import prepare

    print(json.dumps(prepare(options.table, options.language, options.output, log=_note)))


def _summary(options: Any) -> None:
    from speechx.data.manifest import read_manifest, summarize, summary_table

    print(summary_table(summarize([u for path in options.manifests for u in read_manifest(path)])))


def _validate(options: Any) -> int:
    from speechx.data.manifest import read_manifest_in_part, validate

    problems = []
    for path in options.manifests:
        utterances, unreadable = read_manifest_in_part(path)
        problems += unreadable + validate(utterances, options.decode)
    print("\n".join(problems) if problems else "no problems found")
    return 2 if problems else 0


def _phones(options: Any) -> None:
    from speechx.data.manifest import read_manifest, write_manifest
    from speechx.data.phones import add_phones

    if options.output.resolve() == options.manifest.resolve():
        raise UserError(f"-o {options.output} is the manifest itself: give another file")
    labelled = add_phones(read_manifest(options.manifest), options.drop_empty, _note)
    write_manifest(options.output, labelled)
    _note(f"{len(labelled)} utterances with phones: {options.output}")


def _note(text: object) -> None:
    print(text, file=sys.stderr, flush=True)
