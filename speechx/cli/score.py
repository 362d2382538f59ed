"""`speechx score`: one text against another."""

from pathlib import Path
from typing import Any

from speechx.cli.options import add_details


def add_score(commands: Any) -> None:
    command = commands.add_parser(
        "score", help="error rates of transcripts against references, without a model"
    )
    command.add_argument(
        "reference", type=Path, metavar="REF",
        help="references: manifest, table, Kaldi text or data directory, CTM, STM, .trn, "
        "subtitles, TextGrid, folder of results, or plain lines",
    )  # fmt: skip
    command.add_argument(
        "hypothesis", type=Path, metavar="HYP", help="transcripts to score, in any of these formats"
    )
    command.add_argument(
        "--metric", default="", metavar="METRIC[,METRIC...]",
        help="metrics: wer, cer, per, or prism (phone feature error rate as in the benchmark "
        "PRiSM); by default per for phones, else cer and wer",
    )  # fmt: skip
    command.add_argument("--language", help="language of texts that name none")
    command.add_argument(
        "--as-given", action="store_true", help="compare texts without normalising them"
    )
    command.add_argument(
        "--allow-missing", action="store_true",
        help="accept ids that only one side has: a missing transcript counts as deletions, and a "
        "transcript without a reference is left out",
    )  # fmt: skip
    command.add_argument(
        "--format", choices=("auto", "kaldi", "lines"), default="auto",
        help="lines of text files: an id and a text (kaldi), or a text",
    )  # fmt: skip
    add_details(command)
    command.add_argument("-o", "--output", type=Path, help="JSON file for the scores")
    command.set_defaults(command=_score)


def _score(options: Any) -> None:
    from speechx.score import score_files

    metrics = [word.strip().lower() for word in options.metric.split(",") if word.strip()]
    result = score_files(
        options.reference, options.hypothesis, metrics, options.language, options.as_given,
        options.allow_missing, options.format, options.output, options.page,
    )  # fmt: skip
    print(result.table(options.details))
