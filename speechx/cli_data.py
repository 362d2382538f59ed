"""`speechx data ...`: what turns corpora into manifests and looks at what is in them.

No logic: every command parses its words and calls one function.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from speechx.cli_prepare import add_corpora
from speechx.errors import UserError


def add_data_commands(data: argparse.ArgumentParser) -> None:
    """The commands below `speechx data`."""
    actions = data.add_subparsers(required=True, metavar="ACTION")
    prepare = actions.add_parser("prepare", help="corpus on disk to DIR/<language>/<split>.jsonl")
    add_corpora(prepare)

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
