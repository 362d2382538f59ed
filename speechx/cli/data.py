"""`speechx data ...`: makes manifests from corpora and checks, splits, packs and converts them.

No logic: every command parses its words and calls one function.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

from speechx.cli.prepare import add_corpora
from speechx.errors import UserError
from speechx.log import logger
from speechx.wording import number_of


def add_data_commands(data: argparse.ArgumentParser) -> None:
    """The commands below `speechx data`."""
    actions = data.add_subparsers(required=True, metavar="ACTION")
    prepare = actions.add_parser("prepare", help="corpus on disk to DIR/<language>/<split>.jsonl")
    add_corpora(prepare)

    add = partial(_add, actions)
    add("summary", _summary, "utterances, hours and speakers per language", "manifests")

    wrong = "one report on everything wrong with manifests and their audio"
    option = add("doctor", _doctor, wrong).add_argument
    option("paths", nargs="+", type=Path, metavar="DIR|MANIFEST", help="manifests or their folders")
    option(
        "-o", "--output", type=Path, metavar="DIR",
        help="folder for doctor.html, doctor.json, exclude.tsv (for data.exclude), respell.tsv",
    )  # fmt: skip
    option(
        "--decode", choices=("none", "sample", "all"), default="sample",
        help="which audio to decode",
    )  # fmt: skip
    option("--sample", type=int, default=100, help="sample size per language")
    option("--model", type=Path, help="model that the labels must fit")
    vocabulary = "vocabulary that labels must fit: a file, model or manifest"
    option("--vocabulary", type=Path, help=vocabulary)
    option("--alpha", type=float, default=0.5, help="language sampling exponent")
    cost = "report the cost of this {}imum duration"
    option("--least-seconds", type=float, default=0.0, help=cost.format("min"))
    option("--most-seconds", type=float, default=30.0, help=cost.format("max"))
    option(
        "--exclude", action="append", default=[], metavar="CHECK",
        help="soft check whose utterances go to exclude.tsv too (repeatable)",
    )  # fmt: skip
    option("--players", type=int, default=24, help="number of audio excerpts in the page")
    option("--seed", type=int, default=1, help="random seed of the sample")

    hard = "the doctor's hard checks: one line per unusable line or utterance"
    option = add("validate", _validate, hard, "manifests").add_argument
    option("--decode", action="store_true", help="decode all audio too")

    by_espeak = "phones for the texts of a manifest, by espeak-ng"
    option = add("phones", _phones, by_espeak, "manifest", "MANIFEST").add_argument
    option(
        "--drop-empty", action="store_true",
        help="leave out texts without any phone, and texts that espeak-ng does not read",
    )  # fmt: skip

    replaced = "manifest with the replacements of respell.tsv applied"
    option = add("respell", _respell, replaced, "manifest", "MANIFEST").add_argument
    option("table", type=Path, metavar="respell.tsv", help="table of replacements by the doctor")

    small = "small training sets of a language, with dev and test"
    option = add("few-shot", _few_shot, small, "manifests", "DIR").add_argument
    option("--minutes", nargs="+", type=float, default=(10, 60, 600), help="sizes of train splits")
    option("--dev-minutes", type=float, default=20, help="size of dev")
    option("--test-minutes", type=float, default=60, help="size of test")
    option("--seed", type=int, default=1, help="random seed of the draw")

    listed = "splits defined by lists of ids or clip names"
    option = add("split", _split, listed, "manifests", "DIR").add_argument
    lists = "lists of utterances, one per split"
    option("--list", dest="lists", nargs="+", required=True, type=Path, metavar="FILE", help=lists)

    option = add("convert", _convert, "JSON lines to Parquet and back, by suffix").add_argument
    option("source", type=Path, metavar="SRC", help="manifest to read")
    option("target", type=Path, metavar="DST", help="manifest to write")

    shards = "utterances in 16 kHz shards for sequential reading"
    option = add("pack", _pack, shards).add_argument
    option("source", type=Path, metavar="DIR|MANIFEST", help="manifest or folder of manifests")
    option("-o", "--output", type=Path, metavar="SHARDS", help="folder of the shards")
    option(
        "--format", choices=("flac", "int16"), default="flac",
        help="audio format; int16 is twice as large and six times as fast to read",
    )  # fmt: skip
    option("--shard-mb", type=float, default=256.0, help="size of a shard")
    option(
        "--exclude", action="append", default=[], type=Path, metavar="FILE",
        help="exclusion list of the doctor (repeatable)",
    )  # fmt: skip
    option("--url", help="URL prefix from which training will read the shards")
    option("--jobs", type=int, metavar="N", help="processes (default: one per core)")
    option("--check", action="store_true", help="list missing and damaged shards only")

    export = actions.add_parser("export", help="a manifest in another toolkit's format")
    formats = export.add_subparsers(required=True, metavar="FORMAT")
    cuts = "recordings, supervisions and cuts"
    _add(formats, "lhotse", _export_lhotse, cuts, "manifest", "DIR")


def _add(
    actions: Any, name: str, command: Any, help: str, source: str = "", output: str = ""
) -> argparse.ArgumentParser:
    """A command, of a `manifest` or of `manifests` if given, and with an output DIR or MANIFEST."""
    parser: argparse.ArgumentParser = actions.add_parser(name, help=help)
    parser.set_defaults(command=command)
    if source:
        several: Any = {"nargs": "+"} if source == "manifests" else {}
        parser.add_argument(source, type=Path, help=f"{source} to read", **several)
    if output:
        what = "folder to write" if output == "DIR" else "manifest to write"
        parser.add_argument("-o", "--output", required=True, type=Path, metavar=output, help=what)
    return parser


def _summary(options: Any) -> None:
    from speechx.doctor.balance import summary

    print(summary(options.manifests))


def _validate(options: Any) -> int:
    from speechx.doctor.examination import DoctorOptions, examine

    how = DoctorOptions(decode="all" if options.decode else "none")
    found = examine(options.manifests, options=how).problems()
    print("\n".join(found) if found else "no problems found")
    return 2 if found else 0


def _phones(options: Any) -> None:
    from speechx.data.manifest import read_manifest, write_manifest
    from speechx.data.phones import add_phones

    if options.output.resolve() == options.manifest.resolve():
        raise UserError(f"-o {options.output} is the manifest itself: give another file")
    labelled = add_phones(read_manifest(options.manifest), options.drop_empty)
    write_manifest(options.output, labelled)
    logger.info(f"{number_of(len(labelled), 'utterance')} with phones: {options.output}")


def _doctor(options: Any) -> int:
    from dataclasses import fields

    from speechx.doctor.examination import DoctorOptions, examine

    given = {f.name: getattr(options, f.name) for f in fields(DoctorOptions) if f.name in options}
    diagnosis = examine(options.paths, options.output, DoctorOptions(**given))
    print(diagnosis.text())
    if options.output is not None:
        logger.info(
            f"The report with audio is {options.output / 'doctor.html'}; data.exclude="
            f"[{options.output / 'exclude.tsv'}] leaves the bad utterances out of training."
        )
    return 2 if diagnosis.serious else 0


def _respell(options: Any) -> None:
    from speechx.data.text_replacements import replace_texts

    replace_texts(options.manifest, options.table, options.output)


def _few_shot(options: Any) -> None:
    from speechx.data.few_shot import split_few_shot

    made = split_few_shot(
        options.manifests, options.output, options.minutes, options.dev_minutes,
        options.test_minutes, options.seed,
    )  # fmt: skip
    print(json.dumps(made))


def _split(options: Any) -> None:
    from speechx.data.split_lists import split_by_lists

    print(json.dumps(split_by_lists(options.manifests, options.lists, options.output)))


def _convert(options: Any) -> None:
    from speechx.data.manifest import convert_manifest

    count = convert_manifest(options.source, options.target)
    logger.info(f"{number_of(count, 'utterance')}: {options.target}")


def _pack(options: Any) -> int:
    from speechx.data.shards import check_shards, pack

    if options.check:
        problems = check_shards(options.source)
        print("\n".join(problems) if problems else "all shards are as they were packed")
        return 2 if problems else 0
    if options.output is None:
        raise UserError("pack needs -o SHARDS, a folder for the shards and their manifests")
    made = pack(
        options.source, options.output, options.format, options.shard_mb, options.exclude,
        options.url, options.jobs,
    )  # fmt: skip
    print(json.dumps(made))
    return 0


def _export_lhotse(options: Any) -> None:
    from speechx.corpora.lhotse import export

    print(json.dumps(export(options.manifest, options.output)))
