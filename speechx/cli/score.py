"""`speechx score`: one text against another."""

from pathlib import Path
from typing import Any

from speechx.cli.options import add_details


def add_score(commands: Any) -> None:
    command = commands.add_parser("score", help="error rates of one text against another")
    command.add_argument(
        "reference", type=Path, metavar="REF",
        help="manifest, table, Kaldi text or data directory, CTM, STM, .trn, subtitles, TextGrid, "
        "folder of results, or plain lines",
    )  # fmt: skip
    command.add_argument(
        "hypothesis", type=Path, metavar="HYP", help="the same for what was written"
    )
    command.add_argument(
        "--metric", default="", metavar="METRIC[,METRIC...]",
        help="wer, cer, per, or prism (phone feature error rate as in the benchmark PRiSM); by "
        "default per of phones, else cer and wer",
    )  # fmt: skip
    command.add_argument("--language", help="language of texts that name none, for their rules")
    command.add_argument("--as-given", action="store_true", help="texts are not normalised")
    command.add_argument(
        "--allow-missing", action="store_true",
        help="an utterance without a hypothesis counts as deletions, one without a reference is "
        "left out; both are listed",
    )  # fmt: skip
    command.add_argument(
        "--format", choices=("auto", "kaldi", "lines"), default="auto",
        help="text files: an id and the text a line, or plain lines",
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
