"""`speechx features`: what the layers of a model make of speech, and discrete units."""

from pathlib import Path
from typing import Any

from speechx.cli.options import add_device, add_speed


def add_features(commands: Any) -> None:
    """Adds the command to the subparsers of argparse."""
    features = commands.add_parser(
        "features", help="features of the layers of a model, or discrete units, as files"
    )
    features.add_argument(
        "manifest", nargs="+", help="manifests; or recordings, folders or quoted patterns"
    )
    features.add_argument(
        "--model", required=True,
        help="model of any kind, ours or another toolkit's, or OWNER/NAME of the Hugging Face Hub",
    )  # fmt: skip
    features.add_argument(
        "-o", "--output-dir", required=True, type=Path,
        help="folder for the files; a run that was interrupted goes on there",
    )  # fmt: skip
    features.add_argument(
        "--layer", metavar="K|all",
        help="layer, from 0, the input of the first one; several with commas; or all",
    )  # fmt: skip
    features.add_argument(
        "--convention", choices=("hugging_face", "fairseq", "before_residual"),
        help="meaning of a layer: hugging_face (default; its last layer may be normalised), "
        "fairseq (never), or before_residual (output of the feed-forward)",
    )  # fmt: skip
    features.add_argument(
        "--units", metavar="K|DIR",
        help="discrete units instead: number of units to fit by k-means, or a folder with units "
        "fitted before",
    )  # fmt: skip
    features.add_argument(
        "--collapse", action="store_true", help="units without repeats, with their durations"
    )
    features.add_argument("--seed", type=int, default=1, help="seed of k-means and its sample")
    features.add_argument(
        "--fit-minutes", type=float, default=60.0, help="most minutes that k-means is fitted on"
    )
    features.add_argument(
        "--format", choices=("safetensors", "npy"), default="safetensors", help="format of shards"
    )
    features.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", help="numbers in the shards"
    )
    features.add_argument(
        "--shard-mb", type=float, default=256.0, help="megabytes at which a shard is closed"
    )
    features.add_argument(
        "--language", help="language of a model with adapters for many, by its code or name"
    )
    add_device(features)
    add_speed(features)
    features.set_defaults(command=_features)


def _features(options: Any) -> int:
    from speechx.features import extract_features

    file, code = extract_features(
        options.manifest, options.output_dir, options.model, options.layer, options.units,
        options.format, options.convention, options.dtype, options.collapse, options.seed,
        options.fit_minutes, options.shard_mb, options.device, options.language,
        options.compute_type, options.batch_size, options.threads,
    )  # fmt: skip
    print(file)
    return code
