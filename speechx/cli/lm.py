"""`speechx lm`: language models of words, characters or phones.

No logic: every command parses its words and calls one function.
"""

from pathlib import Path
from typing import Any

from speechx.cli.options import add_device, add_head


def add_lm(commands: Any) -> None:
    """Adds the commands to the subparsers of argparse."""
    lm = commands.add_parser("lm", help="language models of words, characters or phones")
    actions = lm.add_subparsers(required=True, metavar="ACTION")
    train = actions.add_parser("train", help="train an n-gram model on text (modified Kneser-Ney)")
    train.add_argument(
        "sources", nargs="+", type=Path, metavar="TEXT|MANIFEST",
        help="training text: files with a sentence per line, plain or gzipped, or manifests",
    )  # fmt: skip
    train.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE",
        help="model to write: .arpa, .arpa.gz or .safetensors",
    )  # fmt: skip
    train.add_argument(
        "--tokens", choices=("words", "characters", "phonemes"), default="words",
        help="tokens that the model predicts",
    )  # fmt: skip
    train.add_argument(
        "--order", type=int, metavar="N",
        help="length of the longest n-grams, 1 to 6; by default 4 for words, 6 for others",
    )  # fmt: skip
    train.add_argument(
        "--language",
        help="language of the texts, which decides how they are normalised; with --tokens phonemes "
        "espeak-ng makes phones of ordinary text, and without --language texts are lines of phones",
    )  # fmt: skip
    train.add_argument(
        "--exclude", nargs="+", action="extend", default=[], type=Path, metavar="MANIFEST",
        help="manifests of dev and test data; their sentences in the text are an error",
    )  # fmt: skip
    train.add_argument(
        "--drop-shared", action="store_true",
        help="leave out sentences of --exclude, instead of an error",
    )  # fmt: skip
    train.add_argument(
        "--prune", nargs="+", type=int, default=[], metavar="N",
        help="greatest count of n-grams that are left out, one number per order: 0 0 1 leaves out "
        "trigrams and longer n-grams that occur once",
    )  # fmt: skip
    train.set_defaults(command=_train)

    tune = actions.add_parser(
        "tune", help="choose the weights of a language model on dev, and keep both with the model"
    )
    tune.add_argument("model", type=Path, metavar="MODEL", help="model folder")
    tune.add_argument(
        "--lm", required=True, type=Path, metavar="FILE", help="n-gram model of the language"
    )
    tune.add_argument(
        "--dev", required=True, nargs="+", type=Path, metavar="MANIFEST",
        help="manifests of dev data, which are neither training nor test data",
    )  # fmt: skip
    tune.add_argument(
        "--beam-size", type=int, help="hypotheses that beam search keeps; by default 100"
    )
    add_head(tune)
    add_device(tune)
    tune.set_defaults(command=_tune)


def _tune(options: Any) -> None:
    from speechx.lm_tuning import tune_lm

    print(
        tune_lm(
            options.model, options.dev, options.lm, options.beam_size, options.device, options.head
        )
    )


def _train(options: Any) -> None:
    from speechx.language_model import train_lm

    train_lm(
        options.sources, options.output, options.order, options.tokens, options.language,
        options.exclude, options.prune, options.drop_shared,
    )  # fmt: skip
    print(options.output)
