"""The command line. No logic: every command parses its words and calls one function.

Text and data go to stdout, everything else to stderr. Exit codes: 0 ok, 1 user error (one line),
2 some inputs failed (listed), 3 training stopped because the run was unhealthy.
"""

import argparse
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from speechx import __version__
from speechx.cli.align import add_align
from speechx.cli.analyze import add_analyze
from speechx.cli.data import add_data_commands
from speechx.cli.evaluate import add_evaluate
from speechx.cli.features import add_features
from speechx.cli.fill import add_fill
from speechx.cli.inventory import add_inventory_commands
from speechx.cli.lm import add_lm
from speechx.cli.score import add_score
from speechx.cli.transcription import add_transcription_commands
from speechx.errors import HealthStop, UserError
from speechx.log import log_to_stderr
from speechx.whole_file import reason


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    log_to_stderr()
    for stream in (sys.stdin, sys.stdout):
        with suppress(AttributeError):  # names of files need not be UTF-8
            stream.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _end)
    try:
        options = _parse(arguments)
        code = options.command(options) or 0
        sys.stdout.flush()  # inside `try`, so that a closed pipe is handled
        return code
    except UserError as error:
        print(f"speechx: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except HealthStop as error:
        if _is_first_rank():  # all ranks stop, one reports it
            print(f"speechx: {error}", file=sys.stderr)
        return 3
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that cannot be written
        name = f"{error.filename}: " if error.filename else ""
        print(f"speechx: {name}{reason(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("speechx: interrupted", file=sys.stderr)
        return 130


def _is_first_rank() -> bool:
    """Whether this is the only process, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def _end(*_: Any) -> None:
    """On SIGTERM, child processes must not outlive this one."""
    for child in multiprocessing.active_children():
        child.kill()
    sys.exit(128 + signal.SIGTERM)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        nothing = action.default in (None, [], (), "") or action.default is False
        return action.help if nothing else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """A mistyped command is a user error like any other: one line, exit code 1."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": _Help, **settings})

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Settings a.b=c may also stand after options, where argparse does not look for them. Options
    may be written with - or _."""
    top = parser()
    words = sys.argv[1:] if arguments is None else arguments
    options, rest = top.parse_known_args([_dashes(word) for word in words])
    if rest and (not hasattr(options, "overrides") or any(w.startswith("-") for w in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _dashes(word: str) -> str:
    """--output_format=txt as --output-format=txt."""
    name, equals, value = word.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}" if name.startswith("--") else word


def parser() -> argparse.ArgumentParser:
    """All commands. Answers --help without importing torch."""
    top = _Parser(prog="speechx", description="Multilingual speech self-supervised learning.")
    top.add_argument("--version", action="version", version=f"speechx {__version__}")
    top.set_defaults(command=lambda _: top.print_help())
    commands = top.add_subparsers(metavar="COMMAND")
    add_data_commands(
        commands.add_parser("data", help="manifests from corpora, and their contents")
    )
    _add_training(commands)
    add_transcription_commands(commands)
    add_fill(commands)
    add_align(commands)
    add_features(commands)
    add_lm(commands)
    add_inventory_commands(commands)
    add_evaluate(commands)
    _add_report(commands)
    add_score(commands)
    _add_models(commands)
    add_analyze(commands)
    return top


def _add_training(commands: Any) -> None:
    for name, help in (
        ("pretrain", "self-supervised pretraining on unlabelled speech"),
        ("finetune", "fine-tuning of a head: characters, phonemes or languages"),
    ):
        train = commands.add_parser(name, help=help)
        train.add_argument("config", metavar="CONFIG.yaml", help="configuration file of the run")
        train.add_argument(
            "overrides", nargs="*", default=(), metavar="a.b=c",
            help="settings that replace settings of the file",
        )  # fmt: skip
        train.add_argument("--resume", action="store_true", help="continue an interrupted run")
        train.add_argument(
            "--show", action="store_true", help="print the whole configuration and exit"
        )
        train.set_defaults(command=partial(_train, name))


def _add_report(commands: Any) -> None:
    report = commands.add_parser("report", help="one table of many evaluations")
    report.add_argument(
        "pairs", nargs="+", metavar="KEY=FILE[,FILE...]|NUMBER",
        help="rows of the table: JSON files that `speechx evaluate` wrote, or numbers",
    )  # fmt: skip
    report.add_argument("-o", "--output", required=True, type=Path, help="JSON file of the table")
    report.set_defaults(command=_report)


def _add_models(commands: Any) -> None:
    convert = commands.add_parser("convert", help="conversion between speechx and other toolkits")
    convert.add_argument("source", type=Path, metavar="SRC", help="file or folder to read")
    convert.add_argument("target", type=Path, metavar="DST", help="new folder to write")
    convert.add_argument(
        "--to",
        choices=("speechx", "fairseq", "hugging_face", "fairseq2", "torchaudio"),
        default="speechx",
        help="format of DST; the format of SRC is detected",
    )
    convert.add_argument(
        "--allow-missing", action="append", default=[], metavar="PART",
        help="a part that SRC may lack: quantizer, mask_embedding, or the kind of an objective",
    )  # fmt: skip
    convert.add_argument(
        "--prove", action="store_true", help="fail unless the other package computes the same"
    )
    convert.set_defaults(command=_convert)

    health = commands.add_parser("health", help="verdict on a training run, and its curves")
    health.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    health.add_argument(
        "-o", "--output", type=Path, metavar="FILE.png", help="figure; by default RUN/health.png"
    )
    health.set_defaults(command=_health)


def _train(command: str, options: Any) -> None:
    from speechx.config import dump
    from speechx.finetuning import Finetune
    from speechx.pretraining import Pretrain
    from speechx.runs import load_run, run

    kind, result = (Pretrain, "final") if command == "pretrain" else (Finetune, "best")
    config, saved = load_run(kind, options.config, options.overrides, options.resume)
    if options.show:
        print(dump(config))
        return
    run(command, config, options.resume, saved)
    if _is_first_rank():
        print(config.out / result)


def _convert(options: Any) -> None:
    from speechx.interchange.conversion import convert

    convert(options.source, options.target, options.to, options.allow_missing, options.prove)
    print(options.target)


def _health(options: Any) -> int:
    from speechx.diagnostics.run_health import examine

    verdict, code = examine(options.run, options.output)
    print(verdict)
    return code


def _report(options: Any) -> None:
    from speechx.report import report

    _, table = report(options.pairs, options.output)
    print(table)
