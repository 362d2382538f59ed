"""`speechx analyze`: what the codes and the layers of a trained model have to do with languages,
phones and speakers."""

from pathlib import Path
from typing import Any

from speechx.cli.options import add_device
from speechx.errors import UserError


def add_analyze(commands: Any) -> None:
    """Adds the command to the subparsers of argparse."""
    analyze = commands.add_parser("analyze", help="analyses of a trained model")
    subjects = analyze.add_subparsers(required=True, metavar="SUBJECT")
    codes = subjects.add_parser(
        "codebook", help="codes that languages use and share, and how they agree with phones"
    )
    codes.add_argument("--model", required=True, type=Path, help="pretrained model")
    codes.add_argument(
        "--manifest", required=True, nargs="+", type=Path, help="manifests of several languages"
    )
    codes.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="folder for codebook.json and two figures"
    )
    codes.add_argument(
        "--units", type=Path, metavar="DIR",
        help="units of `speechx features --units K`, instead of the codes of the quantizer",
    )  # fmt: skip
    codes.set_defaults(command=_analyze_codebook)
    layers = subjects.add_parser(
        "layers",
        help="phones, languages and speakers that linear probes find in each layer, and ABX",
    )
    layers.add_argument("model", help="model of any kind, with or without a head")
    layers.add_argument("manifest", nargs="+", type=Path, help="manifests")
    layers.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="folder for layers.json and layers.png"
    )
    layers.add_argument(
        "--convention", choices=("hugging_face", "fairseq", "before_residual"),
        default="hugging_face", help="meaning of a layer, as in `speechx features`",
    )  # fmt: skip
    layers.set_defaults(command=_analyze_layers)
    for each in (codes, layers):
        each.add_argument(
            "--alignments", type=Path, metavar="DIR",
            help="folder with the times of phones: ID.json of `speechx align`, or ID.TextGrid",
        )  # fmt: skip
        each.add_argument(
            "--minutes", type=float, default=5.0, help="most minutes of each language"
        )
        each.add_argument(
            "--language", help="language of a model with adapters for many, by its code or name"
        )
        each.add_argument("--seed", type=int, default=1, help="seed of the sample")
        add_device(each)


def _analyze_codebook(options: Any) -> None:
    from speechx.diagnostics.codebook import analyze_codebook, table

    given = (
        options.manifest, options.output, options.minutes, options.seed, options.device,
        options.alignments,
    )  # fmt: skip
    if options.units is None:
        if options.language is not None:
            raise UserError("--language is for --units; a quantizer comes before any adapter")
        sharing = analyze_codebook(options.model, *given)
    else:
        from speechx.unit_analysis import analyze_units

        sharing = analyze_units(options.model, options.units, *given, options.language)
    print(table(sharing))


def _analyze_layers(options: Any) -> int:
    from speechx.layer_analysis import analyze_layers
    from speechx.transcription.inputs import list_failures

    scores = analyze_layers(
        options.model, options.manifest, options.output, options.alignments, options.minutes,
        options.seed, options.convention, options.device, options.language,
    )  # fmt: skip
    print(scores.table())
    list_failures(scores.unreadable)
    return 2 if scores.unreadable else 0
