"""`speechx data ...`: makes manifests from corpora and checks, splits, packs and converts them.

No logic: every command parses its words and calls one function.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from speechx.cli.prepare import add_corpora
from speechx.errors import UserError
from speechx.log import logger


def add_data_commands(data: argparse.ArgumentParser) -> None:
    """The commands below `speechx data`."""
    actions = data.add_subparsers(required=True, metavar="ACTION")
    prepare = actions.add_parser("prepare", help="corpus on disk to DIR/<language>/<split>.jsonl")
    add_corpora(prepare)

    summary = actions.add_parser("summary", help="utterances, hours and speakers per language")
    summary.add_argument("manifests", nargs="+", type=Path)
    summary.set_defaults(command=_summary)

    doctor = actions.add_parser(
        "doctor", help="one report on everything wrong with manifests and their audio"
    )
    doctor.add_argument("paths", nargs="+", type=Path, metavar="DIR|MANIFEST")
    doctor.add_argument(
        "-o", "--output", type=Path, metavar="DIR",
        help="folder for doctor.html, doctor.json, exclude.tsv (for data.exclude), respell.tsv",
    )  # fmt: skip
    doctor.add_argument(
        "--decode", choices=("none", "sample", "all"), default="sample",
        help="which audio to decode (default: sample)",
    )  # fmt: skip
    doctor.add_argument("--sample", type=int, default=100, help="sample size per language")
    doctor.add_argument("--model", type=Path, help="model whose frames and vocabulary labels fit")
    doctor.add_argument(
        "--vocabulary", type=Path, help="vocabulary that labels must fit: a file, model or manifest"
    )
    doctor.add_argument("--alpha", type=float, default=0.5, help="language sampling exponent")
    doctor.add_argument(
        "--least-seconds", type=float, default=0.0, help="lower limit whose cost to report"
    )
    doctor.add_argument(
        "--most-seconds", type=float, default=30.0, help="upper limit whose cost to report"
    )
    doctor.add_argument(
        "--exclude", action="append", default=[], metavar="CHECK",
        help="soft check whose utterances go to exclude.tsv too (repeatable)",
    )  # fmt: skip
    doctor.add_argument(
        "--players", type=int, default=24, help="number of audio excerpts in the page"
    )
    doctor.add_argument("--seed", type=int, default=1, help="random seed of the sample")
    doctor.set_defaults(command=_doctor)

    validate = actions.add_parser(
        "validate", help="the doctor's hard checks: one line per unusable line or utterance"
    )
    validate.add_argument("manifests", nargs="+", type=Path)
    validate.add_argument("--decode", action="store_true", help="decode all audio too")
    validate.set_defaults(command=_validate)

    phones = actions.add_parser("phones", help="phones for the texts of a manifest, by espeak-ng")
    phones.add_argument("manifest", type=Path)
    phones.add_argument("-o", "--output", required=True, type=Path)
    phones.add_argument(
        "--drop-empty", action="store_true", help="leave out, and count, texts without any phone"
    )
    phones.set_defaults(command=_phones)

    respell = actions.add_parser("respell", help="text replacements of a table by the doctor")
    respell.add_argument("manifest", type=Path)
    respell.add_argument("table", type=Path, metavar="respell.tsv")
    respell.add_argument("-o", "--output", required=True, type=Path, metavar="MANIFEST")
    respell.set_defaults(command=_respell)

    few = actions.add_parser("few-shot", help="minutes or hours of a language, balanced by speaker")
    few.add_argument("manifests", nargs="+", type=Path)
    few.add_argument("-o", "--output", required=True, type=Path, metavar="DIR")
    few.add_argument(
        "--minutes", nargs="+", type=float, default=(10, 60, 600), help="sizes of train splits"
    )
    few.add_argument("--dev-minutes", type=float, default=20, help="size of dev")
    few.add_argument("--test-minutes", type=float, default=60, help="size of test")
    few.add_argument("--seed", type=int, default=1, help="random seed of the draw")
    few.set_defaults(command=_few_shot)

    split = actions.add_parser("split", help="splits defined by lists of ids or clip names")
    split.add_argument("manifests", nargs="+", type=Path)
    split.add_argument("--list", dest="lists", nargs="+", required=True, type=Path, metavar="FILE")
    split.add_argument("-o", "--output", required=True, type=Path, metavar="DIR")
    split.set_defaults(command=_split)

    convert = actions.add_parser("convert", help="JSON lines to Parquet and back, by suffix")
    convert.add_argument("source", type=Path, metavar="SRC")
    convert.add_argument("target", type=Path, metavar="DST")
    convert.set_defaults(command=_convert)

    pack = actions.add_parser("pack", help="utterances in 16 kHz shards for sequential reading")
    pack.add_argument("source", type=Path, metavar="DIR|MANIFEST")
    pack.add_argument("-o", "--output", type=Path, metavar="SHARDS")
    pack.add_argument(
        "--format", choices=("flac", "int16"), default="flac",
        help="audio format; int16 is twice as large and six times as fast to read",
    )  # fmt: skip
    pack.add_argument("--shard-mb", type=float, default=256.0, help="size of a shard")
    pack.add_argument(
        "--exclude", action="append", default=[], type=Path, metavar="FILE",
        help="exclusion list of the doctor (repeatable)",
    )  # fmt: skip
    pack.add_argument("--url", help="address the shards will be read from, as in s3://bucket/es")
    pack.add_argument("--jobs", type=int, metavar="N", help="processes (default: one per core)")
    pack.add_argument("--check", action="store_true", help="list missing and damaged shards only")
    pack.set_defaults(command=_pack)

    export = actions.add_parser("export", help="a manifest in another toolkit's format")
    formats = export.add_subparsers(required=True, metavar="FORMAT")
    lhotse = formats.add_parser("lhotse", help="recordings, supervisions and cuts")
    lhotse.add_argument("manifest", type=Path)
    lhotse.add_argument("-o", "--output", required=True, type=Path, metavar="DIR")
    lhotse.set_defaults(command=_export_lhotse)


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
    logger.info(f"{len(labelled)} utterances with phones: {options.output}")


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
    logger.info(f"{count} utterances: {options.target}")


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
