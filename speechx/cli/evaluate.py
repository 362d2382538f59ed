"""`speechx evaluate`: scores of a model, also on languages that it was not trained on."""

from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

from speechx.cli.options import (
    add_computing,
    add_decoding,
    add_details,
    add_inventory_file,
    add_mapping,
    checked_mapping,
    chosen_inventory,
    chosen_mapping,
    decode_with,
)
from speechx.errors import UserError

PATTERNS = ("inventory", "mapping", "lm", "lexicon")
"""Options in which {language} stands for a code."""


def add_evaluate(commands: Any) -> None:
    """Adds the command to the subparsers of argparse."""
    evaluate = commands.add_parser(
        "evaluate", help="error rates, accuracy or metrics of a model, per language"
    )
    evaluate.add_argument(
        "--model", required=True, type=Path,
        help="model to evaluate: a speechx folder or a checkpoint of another toolkit",
    )  # fmt: skip
    tested = evaluate.add_mutually_exclusive_group(required=True)
    tested.add_argument("--manifest", nargs="+", type=Path, help="manifests of the test data")
    tested.add_argument(
        "--kaldi", nargs="+", type=Path, metavar="DIR", dest="manifest",
        help="Kaldi data directories of the test data, with text or, as in the benchmark PRiSM, "
        "text.good and text.lang",
    )  # fmt: skip
    evaluate.add_argument(
        "--train", nargs="+", type=Path, default=(), metavar="MANIFEST",
        help="manifests of the training data, with which the test data may share no recording, "
        "speaker or sentence; by default those of the model's run, of which only recordings and "
        "long sentences count",
    )  # fmt: skip
    evaluate.add_argument(
        "--allow-leaks", action="store_true",
        help="score test data that share recordings, speakers or sentences with the training data",
    )  # fmt: skip
    evaluate.add_argument("-o", "--output", type=Path, help="JSON file for the scores")
    evaluate.add_argument(
        "--calibrate", action="store_true",
        help="fit the temperature of the model's probabilities to these manifests, which must be "
        "dev data, and keep it in the model folder",
    )  # fmt: skip
    add_details(evaluate)
    add_computing(evaluate)
    evaluate.add_argument(
        "--language",
        help="language whose adapter is used; by default the language of the manifests",
    )
    add_inventory_file(evaluate)
    add_mapping(evaluate)
    add_decoding(evaluate)
    evaluate.add_argument(
        "--unseen", action="store_true",
        help="score languages that the model was not trained on, each by its shipped inventory or "
        "by --inventory or --mapping; {language} stands for the code of the language there and in "
        "--lm, --lexicon and --topline",
    )  # fmt: skip
    evaluate.add_argument(
        "--topline", metavar="MODEL", help="model trained on the unseen language, for comparison"
    )
    evaluate.set_defaults(command=_evaluate)


def _evaluate(options: Any) -> int:
    if options.language == "auto":
        raise UserError(
            "evaluate does not identify languages: leave --language out for the language of the "
            "manifests, or name one"
        )
    unseen = options.unseen or options.inventory or options.mapping
    if unseen and options.calibrate:
        raise UserError("--calibrate is for the model's own outputs, not for unseen languages")
    if unseen:
        tables, code = _unseen(options)
    else:
        from speechx.evaluation import evaluate_model

        tables, code = evaluate_model(
            options.model, options.manifest, options.output, options.device, options.head,
            options.calibrate, options.train, options.allow_leaks, options.page, options.details,
            partial(decode_with, options=options, language=options.language),
            language=options.language, compute_type=options.compute_type,
            batch_size=options.batch_size, threads=options.threads,
        )  # fmt: skip
    print(tables)
    return code


def _unseen(options: Any) -> tuple[str, int]:
    from speechx.unseen import evaluate_unseen_model

    if not any("{language}" in str(getattr(options, name)) for name in ("inventory", "mapping")):
        chosen_inventory(options.inventory)  # before the model is loaded, for they may be wrong
        checked_mapping(options.mapping)

    def prepare(model: Any, language: str) -> Any:
        own = _of_language(options, language)
        inventory = chosen_inventory(own.inventory or (None if own.mapping else language))
        decode_with(model, own, language, unseen=True)
        return inventory, chosen_mapping(own.mapping, model, inventory)

    return evaluate_unseen_model(
        options.model, options.manifest, prepare, options.output, options.device, options.head,
        options.train, options.allow_leaks, options.page, options.topline, options.unseen,
        language=options.language, compute_type=options.compute_type,
        batch_size=options.batch_size, threads=options.threads,
    )  # fmt: skip


def _of_language(options: Any, language: str) -> Any:
    """The options with the code of the language in place of {language}."""
    own = copy(options)
    for name in PATTERNS:
        given = getattr(options, name)
        if given is not None:
            setattr(own, name, type(given)(str(given).replace("{language}", language)))
    return own
