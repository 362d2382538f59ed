"""`speechx data ...`: what turns corpora into manifests and looks at what is in them.

No logic: every command parses its words and calls one function.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from speechx.cli.prepare import add_corpora
from speechx.errors import UserError


def add_data_commands(data: argparse.ArgumentParser) -> None:
    """The commands below `speechx data`."""
    actions = data.add_subparsers(required=True, metavar="ACTION")
    prepare = actions.add_parser("prepare", help="corpus on disk to DIR/<language>/<split>.jsonl")
    add_corpora(prepare)

    summary = actions.add_parser("summary", help="utterances, hours and speakers per language")
    summary.add_argument("manifests", nargs="+", type=Path)
    summary.set_defaults(command=_summary)

    doctor = actions.add_parser(
        "doctor", help="everything that is wrong with manifests and their audio, in one report"
    )
    doctor.add_argument("paths", nargs="+", type=Path, metavar="DIR|MANIFEST")
    doctor.add_argument(
        "-o", "--output", type=Path, metavar="DIR",
        help="doctor.html, doctor.json, exclude.tsv (for data.exclude), respell.tsv",
    )  # fmt: skip
    doctor.add_argument(
        "--decode", choices=("none", "sample", "all"), default="sample", help="whose sound to hear"
    )
    doctor.add_argument("--sample", type=int, default=100, help="utterances of each language")
    doctor.add_argument("--model", type=Path, help="whose frames and units the labels must fit")
    doctor.add_argument("--vocabulary", type=Path, help="units that texts must fit, or a manifest")
    doctor.add_argument("--alpha", type=float, default=0.5, help="of the planned language mix")
    doctor.add_argument(
        "--least-seconds", type=float, default=0.0, help="to see what such a limit would cost"
    )
    doctor.add_argument("--most-seconds", type=float, default=30.0, help="longer is reported")
    doctor.add_argument(
        "--exclude", action="append", default=[], metavar="CHECK",
        help="a soft check whose utterances go to exclude.tsv too",
    )  # fmt: skip
    doctor.add_argument("--players", type=int, default=24, help="excerpts in the page; 0: none")
    doctor.add_argument("--seed", type=int, default=1, help="of the sample")
    doctor.set_defaults(command=_doctor)

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

    respell = actions.add_parser("respell", help="put texts through a table that doctor proposed")
    respell.add_argument("manifest", type=Path)
    respell.add_argument("table", type=Path, metavar="respell.tsv")
    respell.add_argument("-o", "--output", required=True, type=Path, metavar="MANIFEST")
    respell.set_defaults(command=_respell)

    few = actions.add_parser("few-shot", help="minutes or hours of a language, uniform in speakers")
    few.add_argument("manifests", nargs="+", type=Path)
    few.add_argument("-o", "--output", required=True, type=Path, metavar="DIR")
    few.add_argument("--minutes", nargs="+", type=float, default=(10, 60, 600), help="of train")
    few.add_argument("--dev-minutes", type=float, default=20, help="filled before train")
    few.add_argument("--test-minutes", type=float, default=60, help="filled first")
    few.add_argument("--seed", type=int, default=1)
    few.set_defaults(command=_few_shot)

    split = actions.add_parser("split", help="the splits that lists of ids or clip names say")
    split.add_argument("manifests", nargs="+", type=Path)
    split.add_argument("--list", dest="lists", nargs="+", required=True, type=Path, metavar="FILE")
    split.add_argument("-o", "--output", required=True, type=Path, metavar="DIR")
    split.set_defaults(command=_split)

    convert = actions.add_parser("convert", help="JSON lines to Parquet and back, by the suffixes")
    convert.add_argument("source", type=Path, metavar="SRC")
    convert.add_argument("target", type=Path, metavar="DST")
    convert.set_defaults(command=_convert)

    pack = actions.add_parser("pack", help="utterances as 16 kHz shards that read sequentially")
    pack.add_argument("source", type=Path, metavar="DIR|MANIFEST")
    pack.add_argument("-o", "--output", type=Path, metavar="SHARDS")
    pack.add_argument(
        "--format", choices=("flac", "int16"), default="flac",
        help="int16 is twice as large and read six times as fast",
    )  # fmt: skip
    pack.add_argument("--shard-mb", type=float, default=256.0)
    pack.add_argument(
        "--exclude", action="append", default=[], type=Path, metavar="FILE", help="of the doctor"
    )
    pack.add_argument("--url", help="where the shards will be read from, as in s3://bucket/es")
    pack.add_argument("--jobs", type=int, metavar="N", help="processes; default: one a core")
    pack.add_argument(
        "--check", action="store_true", help="of packed shards: name those absent or damaged"
    )
    pack.set_defaults(command=_pack)

    export = actions.add_parser("export", help="a manifest in another toolkit's format")
    formats = export.add_subparsers(required=True, metavar="FORMAT")
    lhotse = formats.add_parser("lhotse", help="recordings, supervisions and cuts")
    lhotse.add_argument("manifest", type=Path)
    lhotse.add_argument("-o", "--output", required=True, type=Path, metavar="DIR")
    lhotse.set_defaults(command=_export_lhotse)


def _summary(options: Any) -> None:
    from speechx.data.manifest import stream_manifest, summarize, summary_table

    print(summary_table(summarize(u for path in options.manifests for u in stream_manifest(path))))


def _validate(options: Any) -> int:
    from speechx.doctor.validation import problems

    found = problems(options.manifests, options.decode)
    print("\n".join(found) if found else "no problems found")
    return 2 if found else 0


def _phones(options: Any) -> None:
    from speechx.data.manifest import read_manifest, write_manifest
    from speechx.data.phones import add_phones

    if options.output.resolve() == options.manifest.resolve():
        raise UserError(f"-o {options.output} is the manifest itself: give another file")
    labelled = add_phones(read_manifest(options.manifest), options.drop_empty, _note)
    write_manifest(options.output, labelled)
    _note(f"{len(labelled)} utterances with phones: {options.output}")


def _doctor(options: Any) -> int:
    from speechx.doctor.examination import examine

    diagnosis = examine(
        options.paths,
        options.output,
        decode=options.decode,
        sample=options.sample,
        model=options.model,
        vocabulary=options.vocabulary,
        alpha=options.alpha,
        least_seconds=options.least_seconds,
        most_seconds=options.most_seconds,
        exclude=options.exclude,
        players=options.players,
        seed=options.seed,
        log=_note,
    )
    print(diagnosis.text())
    if options.output is not None:
        _note(
            f"{options.output / 'doctor.html'} has it with sound and pictures; to leave out what "
            f"is bad: data.exclude=[{options.output / 'exclude.tsv'}]"
        )
    return 2 if diagnosis.serious else 0


def _respell(options: Any) -> None:
    from speechx.doctor.respelling import respell_manifest

    respell_manifest(options.manifest, options.table, options.output, _note)


def _few_shot(options: Any) -> None:
    from speechx.data.few_shot import split_few_shot

    made = split_few_shot(
        options.manifests, options.output, options.minutes, options.dev_minutes,
        options.test_minutes, options.seed, log=_note,
    )  # fmt: skip
    print(json.dumps(made))


def _split(options: Any) -> None:
    from speechx.data.split_lists import split_by_lists

    print(json.dumps(split_by_lists(options.manifests, options.lists, options.output, log=_note)))


def _convert(options: Any) -> None:
    from speechx.data.manifest import convert_manifest

    _note(f"{convert_manifest(options.source, options.target)} utterances: {options.target}")


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
        options.url, options.jobs, log=_note,
    )  # fmt: skip
    print(json.dumps(made))
    return 0


def _export_lhotse(options: Any) -> None:
    from speechx.corpora.lhotse import export

    print(json.dumps(export(options.manifest, options.output)))


def _note(text: object) -> None:
    print(text, file=sys.stderr, flush=True)
