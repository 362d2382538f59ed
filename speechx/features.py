"""Features of a model's layers, or discrete units, of many utterances, as files.

    extract_features(["train.jsonl"], Path("features"), "runs/pretrain/final", layer="6")
    extract_features(["train.jsonl"], Path("units"), "runs/pretrain/final", layer="6", units="100")
    extract_features(["test.jsonl"], Path("test_units"), "runs/pretrain/final", units="units")

Utterances are read as a stream, in the order of the manifests, and memory grows neither with their
number (but for eight bytes each) nor with their length. The folder keeps the settings in
`settings.yaml`; the same command goes on where an earlier one ended.

    N utterances · T frames · V values of a frame, here (L, D)
"""

from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from speechx.audio.files import SAMPLE_RATE, read_blocks
from speechx.config import dump, read_yaml
from speechx.data.manifest import is_manifest
from speechx.errors import UserError
from speechx.log import logger
from speechx.models.units import FOLDER, UnitCodebook
from speechx.training.progress import Bar
from speechx.transcription.feature_model import FeatureModel, load_encoder
from speechx.transcription.feature_shards import (
    DTYPES,
    FORMATS,
    INDEX,
    NOT_AN_ID,
    UNITS,
    FeatureShards,
    Ids,
    UnitLines,
)
from speechx.transcription.inputs import (
    Input,
    exit_code,
    find_inputs,
    inputs_of_manifest,
    listed_at_the_end,
)
from speechx.transcription.layers import Convention, parse_layers
from speechx.transcription.recording import Recording
from speechx.transcription.unit_fitting import fit_units
from speechx.whole_file import only_user, require_writable, write_whole
from speechx.wording import number_of

SETTINGS = "settings.yaml"
PIECE_SECONDS = 30.0  # of a long utterance that k-means sees at once


def extract_features(
    given: Sequence[str | Path],
    out: Path,
    model: Path | str,
    layer: str | int | None = None,
    units: str | int | Path | None = None,
    format: str = "safetensors",
    convention: Convention | None = None,
    dtype: str = "float32",
    collapse: bool = False,
    seed: int = 1,
    fit_minutes: float = 60.0,
    shard_mb: float = 256.0,
    device: str = "auto",
    language: str | None = None,
    compute_type: str = "float32",
    batch_size: int | None = None,
    threads: int | None = None,
) -> tuple[Path, int]:
    """Writes the features of each utterance to shards and `index.jsonl` in `out`, or with `units`
    its units to `units.jsonl`. Returns that file, and 2 if some utterances could not be read, else
    0; they are listed and tried again by the next run.

    `units` is a number of units to fit, or a folder with a codebook. `layer`, `convention` as in
    `FeatureModel.features`; a codebook has its own. UserError for settings or a model other than
    those of an earlier run in `out`.
    """
    _check(format, dtype, fit_minutes, shard_mb, threads)
    if units is None and collapse:
        raise UserError("--collapse is for units: give --units too")
    if units is not None and (format, dtype) != (FORMATS[0], "float32"):
        raise UserError("--format and --dtype are for features; units are written as JSON lines")
    layer, units = (None if one is None else str(one) for one in (layer, units))
    speech = SpeechStream(given)
    out.mkdir(parents=True, exist_ok=True)
    require_writable(out / SETTINGS)
    with only_user(out) as alone:
        if not alone:
            raise UserError(f"another process writes to {out}; wait for it, or give another -o")
        codebook = None if units is None or units.isdigit() else UnitCodebook.load(units)
        if codebook is not None:
            layer, convention = _of_codebook(codebook, layer, convention)
        if layer is None:
            raise UserError("--layer is needed: a number, several with commas, or all")
        if threads is not None:
            _set_threads(threads)
        opened = load_encoder(model, device, language, compute_type, batch_size)
        convention = convention or "hugging_face"
        layers = parse_layers(layer, opened.num_layers, convention)
        settings: dict[str, Any] = {
            "model": opened.source, "encoder": opened.mark, "layers": list(layers),
            "convention": convention, "compute_type": compute_type,
            "first_centre": opened.first_centre, "frame_step": opened.frame_step,
            "dim": opened.dim,
        }  # fmt: skip
        if units is None:
            settings |= {"format": format, "dtype": dtype}
            _require_same(out, {"content": "features"} | settings)
            shape = (opened.dim,) if layer.strip().isdigit() else (len(layers), opened.dim)
            shards = FeatureShards(out, format, dtype, shape, int(shard_mb * 1e6))
            return out / INDEX, _write(opened, speech, layers, convention, shards)
        if len(layers) != 1:
            raise UserError(f"units are made of one layer: give one number instead of {layer}")
        settings |= {"collapse": collapse}
        if codebook is not None:
            opened.require_own(codebook)
            settings |= {"codebook": codebook.mark}
        else:
            settings |= {"units": int(units), "seed": seed, "fit_minutes": fit_minutes}
        _require_same(out, {"content": "units"} | settings)
        if codebook is None and not (out / FOLDER).is_dir():
            pieces = speech.pieces(fit_minutes, seed)
            codebook = fit_units(opened, pieces, layers[0], int(units), seed, convention)
            codebook.save(out / FOLDER)
        codebook = codebook or UnitCodebook.load(out / FOLDER)
        lines = UnitLines(out, codebook, collapse)
        return out / UNITS, _write(opened, speech, layers, convention, lines)


class SpeechStream:
    """What is given to a command, read anew each time: manifests line by line, and recordings. Ids
    are unique; those of recordings are their paths."""

    def __init__(self, given: Sequence[str | Path]) -> None:
        self.sources: list[Path | list[Input]] = []
        self.failed: list[str] = []
        for word in dict.fromkeys(map(str, given)):
            if is_manifest(Path(word)):
                self.sources.append(Path(word))
            else:
                inputs, failed = find_inputs([word])
                self.sources.append(inputs)
                self.failed += failed
        if self.failed and not any(self.sources):
            raise UserError(self.failed[0])
        ids, self.seconds = Ids(), array("f")
        for name, one in self:
            if name == NOT_AN_ID:
                raise UserError(f"{one.shown}: the id {name} is reserved; give it another")
            ids.add(name)
            self.seconds.append(one.seconds)
        if suspects := ids.twice():
            self._refuse_equal(suspects)

    def __len__(self) -> int:
        return len(self.seconds)

    def __iter__(self) -> Iterator[tuple[str, Input]]:
        for source in self.sources:
            for one in inputs_of_manifest(source) if isinstance(source, Path) else source:
                yield one.utterance.id if one.utterance else _printable(str(one.output)), one

    def pieces(self, minutes: float, seed: int) -> Iterator[Recording]:
        """Random utterances of that many minutes together, in their order; of long ones pieces."""
        counts_N = np.maximum(1, np.ceil(np.frombuffer(self.seconds, np.float32) / PIECE_SECONDS))
        owner = np.repeat(np.arange(len(self)), counts_N.astype(np.int64))
        seconds = np.frombuffer(self.seconds, np.float32)[owner] / counts_N[owner]
        order = np.random.default_rng([seed, 10]).permutation(len(owner))
        before = np.concatenate(([0.0], np.cumsum(seconds[order], dtype=np.float64)[:-1]))
        chosen = np.sort(order[before < minutes * 60])
        first_N = np.concatenate(([0], np.cumsum(counts_N.astype(np.int64))[:-1]))
        drawn = iter(chosen.tolist())
        piece = next(drawn, None)
        for number, (_, one) in enumerate(self):
            while piece is not None and owner[piece] == number:
                part = piece - int(first_N[number])
                yield _piece(one, part, int(counts_N[number]))
                piece = next(drawn, None)

    def _refuse_equal(self, suspects: set[int]) -> None:
        seen: dict[str, Input] = {}
        for name, one in self:
            if hash(name) in suspects and (other := seen.setdefault(name, one)) is not one:
                raise UserError(
                    f"{other.shown} and {one.shown} have the same id; give them in two calls with "
                    "two output folders"
                )


def _write(
    model: FeatureModel,
    speech: SpeechStream,
    layers: tuple[int, ...],
    convention: Convention,
    target: FeatureShards | UnitLines,
) -> int:
    """Writes what is not there yet, and lists what cannot be read."""
    had = short = done = 0
    seconds, failures = 0.0, list(speech.failed)
    waiting: dict[int, tuple[str, Input]] = {}

    def recordings() -> Iterator[Recording]:
        nonlocal had
        number = 0
        for name, one in speech:
            if name in target.done:
                had += 1
                continue
            waiting[number] = name, one
            number += 1
            yield one.recording

    bar = Bar("features", float(np.sum(speech.seconds)))
    with listed_at_the_end(failures), closing(bar):
        try:
            for part in model.parts(recordings(), layers, convention):
                if part.outputs_TV is not None:
                    target.add(part.outputs_TV)
                    seconds += part.window.seconds if part.window else 0.0
                    bar.reach(seconds)
                    continue
                name, one = waiting.pop(part.number)
                if part.samples is None:
                    failures.append(f"{one.shown}: {part.error}")
                    target.drop()
                    continue
                frames = model.config.features.frames(part.samples)
                target.finish(
                    {
                        "id": name,
                        "frames": frames,
                        "first_centre": model.first_centre,
                        "frame_step": model.frame_step,
                        "seconds": round(part.samples / SAMPLE_RATE, 6),
                    }
                )
                done, short = done + 1, short + (frames == 0)
                if one.cut:
                    failures.append(
                        f"{one.shown}: {one.cut} The result is of the part that is left."
                    )
            target.close()
        except (KeyboardInterrupt, SystemExit):
            target.close()  # utterances that are complete need not be computed again
            raise
    if had:
        logger.info(f"features: {had} of {number_of(len(speech), 'utterance')} were there already")
    if short:
        some = number_of(short, "utterance is", "utterances are")
        logger.info(
            f"features: {some} shorter than a frame and {'has' if short == 1 else 'have'} none"
        )
    return exit_code(failures, len(speech) + len(speech.failed), had + done)


def _piece(one: Input, part: int, count: int) -> Recording:
    """A part of an utterance, of `count` of equal length."""
    if count == 1:
        return one.recording
    seconds = one.seconds / count
    u = one.utterance
    start = (u.start if u else 0.0) + part * seconds
    audio, place = (u.audio, u.bytes) if u else (one.recording.path or "", None)
    return Recording(partial(read_blocks, audio, start=start, duration=seconds, part=place))


def _of_codebook(
    codebook: UnitCodebook, layer: str | None, convention: Convention | None
) -> tuple[str, Convention]:
    about = codebook.config
    asked = {"layer": layer, "convention": convention}
    for name, own in (("layer", str(about.layer)), ("convention", about.convention)):
        if asked[name] not in (None, own):
            raise UserError(
                f"the codebook was fitted on {name} {own}, not {asked[name]}: leave --{name} out"
            )
    return str(about.layer), about.convention


def _require_same(out: Path, settings: dict[str, Any]) -> None:
    """Writes the settings, or raises UserError if the folder has results of others."""
    file = out / SETTINGS
    results = [name for name in (INDEX, UNITS, FOLDER) if (out / name).exists()]
    if results and file.is_file():
        before = read_yaml(file)
        for name in dict.fromkeys(chain(before, settings)):
            if name != "model" and before.get(name) != settings.get(name):
                old, new = before.get(name), settings.get(name)
                if name == "encoder":
                    old, new = f"another model ({before.get('model')})", settings["model"]
                    name = "model"
                raise UserError(
                    f"{out} has results with {name} {_said(old)}, not {_said(new)}: give the same "
                    "settings to go on, or another -o"
                )
    elif results:
        raise UserError(f"{out / results[0]} is there without {SETTINGS}: give another -o")
    else:
        write_whole(file, dump(settings))


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def _check(
    format: str, dtype: str, fit_minutes: float, shard_mb: float, threads: int | None
) -> None:
    for name, value, known in (("format", format, FORMATS), ("dtype", dtype, tuple(DTYPES))):
        if value not in known:
            raise UserError(f"{name} is {value!r}; expected one of {', '.join(known)}")
    for name, number in (("fit-minutes", fit_minutes), ("shard-mb", shard_mb)):
        if not number > 0:
            raise UserError(f"--{name} must be more than 0, not {number:g}")
    if threads is not None and threads < 1:
        raise UserError(f"threads must be at least 1, not {threads}")


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
