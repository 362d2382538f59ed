"""The command line. No logic: every command parses its words and calls one function.

Text and data go to stdout, everything else to stderr. Exit codes: 0 ok, 1 user error (one line),
2 some inputs failed (listed), 3 training stopped for its health.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from speechx.cli.data import add_data_commands
from speechx.errors import UserError
from speechx.log import log_to_stderr


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    log_to_stderr()
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _end)
    try:
        options = _parse(arguments)
        code = options.command(options) or 0
        sys.stdout.flush()  # here, where a reader that has gone is no error
        return code
    except UserError as error:
        print(f"speechx: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that cannot be written
        name = f"{error.filename}: " if error.filename else ""
        print(f"speechx: {name}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("speechx: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if type(error).__name__ == "HealthStop":
            if os.environ.get("RANK", "0") == "0":  # all ranks end so, one says it
                print(f"speechx: {error}", file=sys.stderr)
            return 3
        raise


def _end(*_: Any) -> None:
    """kill and batch systems end one process: those that it started would stay without it."""
    for child in multiprocessing.active_children():
        child.kill()
    sys.exit(128 + signal.SIGTERM)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Says defaults where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        nothing = action.default is None or action.default is False or action.default == []
        return action.help if nothing else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """A mistyped command is a user error like any other: one line, exit code 1."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": _Help, **settings})

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Settings a.b=c may also stand after options, where argparse does not look for them."""
    top = parser()
    options, rest = top.parse_known_args(arguments)
    if rest and (not hasattr(options, "overrides") or any(w.startswith("-") for w in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    return options


def parser() -> argparse.ArgumentParser:
    """All commands. Answers --help without importing torch."""
    top = _Parser(prog="speechx", description="Multilingual speech self-supervised learning.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    add_data_commands(commands.add_parser("data", help="corpora to manifests, and what is in them"))

    for name, help, command in (
        ("pretrain", "self-supervised pretraining on unlabelled speech", _pretrain),
        ("finetune", "CTC fine-tuning on characters or phonemes", _finetune),
    ):
        train = commands.add_parser(name, help=help)
        train.add_argument("config", metavar="CONFIG.yaml")
        train.add_argument(
            "overrides", nargs="*", metavar="a.b=c", help="settings that replace those of the file"
        )
        train.add_argument(
            "--resume", action="store_true", help="continue this run where it was interrupted"
        )
        train.add_argument(
            "--show", action="store_true", help="print the whole configuration and stop"
        )
        train.set_defaults(command=command)

    listeners: tuple[tuple[str, str, Callable[[Any], int]], ...] = (
        ("transcribe", "speech to text, any length", _transcribe),
        ("phonemize", "speech to phones of a language the model was not trained on", _phonemize),
    )
    for name, help, listener in listeners:
        listen = commands.add_parser(name, help=help)
        listen.add_argument("audio", nargs="+" if name == "transcribe" else "*", type=Path)
        listen.add_argument(
            "--model", required=True, type=Path, help="folder that `speechx finetune` wrote"
        )
        listen.add_argument(
            "-f", "--output_format", "--output-format", choices=("txt", "json"), default="txt"
        )
        listen.add_argument(
            "-o",
            "--output_dir",
            "--output-dir",
            type=Path,
            help="one file per recording; finished ones are skipped",
        )
        listen.add_argument("--device", default="auto")
        listen.set_defaults(command=listener)
        if name == "phonemize":
            _inventory(listen, required=True)
            listen.add_argument(
                "--show-mapping",
                action="store_true",
                help="print the phone mapping as a table; audio is optional then",
            )

    test = commands.add_parser("evaluate", help="WER, CER or PER per language, with intervals")
    test.add_argument("--model", required=True, type=Path)
    test.add_argument("--manifest", required=True, nargs="+", type=Path)
    test.add_argument("-o", "--output", type=Path, help="write the scores as JSON")
    test.add_argument("--device", default="auto")
    _inventory(test, required=False)
    test.set_defaults(command=_evaluate)

    _checkpoints(commands)

    collect = commands.add_parser("report", help="many evaluations to one table")
    collect.add_argument("pairs", nargs="+", metavar="KEY=FILE[,FILE...]|NUMBER")
    collect.add_argument("-o", "--output", required=True, type=Path)
    collect.set_defaults(command=_report)
    return top


def _checkpoints(commands: Any) -> None:
    """What is done with a run or a model, other than using it."""
    convert = commands.add_parser(
        "convert",
        help="checkpoints of other toolkits to ours and back",
    )
    convert.add_argument("source", type=Path, metavar="SRC")
    convert.add_argument("target", type=Path, metavar="DST")
    convert.add_argument(
        "--to",
        choices=("speechx", "fairseq", "hugging_face", "fairseq2", "torchaudio"),
        default="speechx",
        help="format of DST; that of SRC is recognised",
    )
    convert.add_argument(
        "--allow-missing",
        action="append",
        default=[],
        metavar="PART",
        help="a part that SRC may lack (quantizer, mask_vector) and that starts fresh",
    )
    convert.add_argument(
        "--prove", action="store_true", help="insist on the comparison with the other package"
    )
    convert.set_defaults(command=_convert)

    health = commands.add_parser("health", help="is a training run learning? verdict and curves")
    health.add_argument("run", type=Path, metavar="RUN")
    health.add_argument("-o", "--output", type=Path, metavar="FILE.png", help="RUN/health.png")
    health.set_defaults(command=_health)

    analyze = commands.add_parser("analyze", help="what a model has learned")
    subjects = analyze.add_subparsers(required=True, metavar="SUBJECT")
    codes = subjects.add_parser("codebook", help="which codes languages use, and which they share")
    codes.add_argument("--model", required=True, type=Path)
    codes.add_argument("--manifest", required=True, nargs="+", type=Path)
    codes.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="codebook.json and two figures"
    )
    codes.add_argument("--minutes", type=float, default=5.0, help="of each language, at most")
    codes.add_argument("--seed", type=int, default=1)
    codes.add_argument("--device", default="auto")
    codes.set_defaults(command=_analyze_codebook)


def _inventory(command: argparse.ArgumentParser, required: bool) -> None:
    group = command.add_mutually_exclusive_group(required=required)
    group.add_argument(
        "--language", help="score or write as an unseen language: its shipped inventory"
    )
    group.add_argument("--inventory", type=Path, help="file of phones, or a manifest with phones")


def _pretrain(options: Any) -> None:
    from speechx.config import dump
    from speechx.pretraining import load_config, pretrain

    config = load_config(options.config, options.overrides)
    print(dump(config) if options.show else pretrain(config, options.resume))


def _finetune(options: Any) -> None:
    from speechx.config import dump
    from speechx.finetuning import finetune, load_config

    config = load_config(options.config, options.overrides)
    print(dump(config) if options.show else finetune(config, options.resume))


def _transcribe(options: Any) -> int:
    from speechx.recognition import load, transcribe_files

    model = load(options.model, options.device)
    return transcribe_files(
        model.transcribe, options.audio, options.output_format, options.output_dir
    )


def _phonemize(options: Any) -> int:
    from functools import partial

    if not options.audio and not options.show_mapping:
        raise UserError("phonemize needs audio files, or --show-mapping alone")
    inventory = _chosen_inventory(options)  # before the model is loaded, for it may be wrong
    assert inventory is not None
    from speechx.recognition import load, transcribe_files

    model = load(options.model, options.device)
    if options.show_mapping:
        print(model.map_inventory(inventory).to_tsv(), end="")
    listen = partial(model.phonemize, inventory=inventory)
    return transcribe_files(listen, options.audio, options.output_format, options.output_dir)


def _evaluate(options: Any) -> None:
    inventory = _chosen_inventory(options)
    from speechx.evaluation import evaluate, evaluate_unseen
    from speechx.recognition import load

    model = load(options.model, options.device)
    if inventory is None:
        scores = evaluate(model, options.manifest, options.output)
        print("\n\n".join(result.table() for result in scores.values()))
    else:
        methods, mapping = evaluate_unseen(model, options.manifest, inventory, options.output)
        print(f"{mapping.summary()} (all of it: speechx phonemize --show-mapping)")
        for name, result in methods.items():
            rate = result.overall
            print(f"{name:<11} PER {rate.rate:6.1%}  [{rate.low:.1%}, {rate.high:.1%}]")


def _chosen_inventory(options: Any) -> Any:
    from speechx.text.inventory import Inventory

    if options.inventory is not None:
        return Inventory.from_file(options.inventory)
    return Inventory.for_language(options.language) if options.language else None


def _convert(options: Any) -> None:
    from speechx.interchange.conversion import convert

    convert(options.source, options.target, options.to, options.allow_missing, options.prove)
    print(options.target)


def _health(options: Any) -> int:
    from speechx.health import examine

    return examine(options.run, options.output)


def _analyze_codebook(options: Any) -> None:
    from speechx.codebook import analyze_codebook, table

    sharing = analyze_codebook(
        options.model, options.manifest, options.output, options.minutes, options.seed,
        options.device,
    )  # fmt: skip
    print(table(sharing))


def _report(options: Any) -> None:
    from speechx.report import report

    report(options.pairs, options.output)
