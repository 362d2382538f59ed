"""`speechx convert SRC DST`: models of five formats, detected by content, written as asked.

    speechx convert xlsr_53_56k.pt xlsr53                     fairseq to speechx
    speechx convert xlsr53 xlsr53_hf --to hugging_face        and on to transformers

Every target is a new folder. The log counts what was read of each part, and lists what was assumed,
left out or starts fresh. If a package that reads the other format is installed, its own code runs
on the file and must compute the same (`proof`). Only then does the target appear.

A missing quantizer is not written, so that nobody mistakes an untrained one for a trained one;
formats that need one are refused. A missing mask embedding is drawn and written.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from speechx.errors import UserError
from speechx.interchange import preprocessing, proof, settings
from speechx.interchange.hub import EVERY, local_path, published_name
from speechx.interchange.languages import each_adapter, in_language
from speechx.interchange.opening import FOREIGN, known_parts, open_as
from speechx.interchange.pickles import SUFFIXES
from speechx.log import logger
from speechx.models.folder import SavedModel, lm_file, save_model, times_file
from speechx.objectives.model import SpeechModel, missing_part
from speechx.whole_file import whole_folder

FORMATS = ("speechx", *FOREIGN)


def convert(
    source: Path | str,
    target: Path | str,
    format: str = "speechx",
    allow_missing: Sequence[str] = (),
    prove: bool = False,
) -> None:
    """Writes `source` as a new folder `target`; `prove` insists on a proof for both sides."""
    target, format = Path(target), format.replace("-", "_")
    _check_target(target, format)
    source = local_path(source, EVERY)
    allowed = known_parts(allow_missing)
    if format == "torchaudio":  # has no place for either
        allowed = (*allowed, "mask_embedding", "quantizer")
    found, saved = open_as(source, allowed)
    if format != "speechx":
        saved = _reduced(saved, source, format)
    read = saved
    if saved.adapters:  # one language stands for all in the proof
        read = in_language(saved, None if saved.usual_language else saved.adapters[0])
        note = f"adapters for {len(saved.adapters)} languages: {', '.join(saved.adapters)}"
        saved = replace(saved, notes=(*saved.notes, note))
    for side, name in ((source, found), (target, format)):
        if prove and name != "speechx" and not proof.available(name):
            raise UserError(
                f"--prove: no package that reads {name} is installed, so {side} cannot be proved: "
                f"install {' or '.join(proof.PACKAGES[name])}, or drop --prove"
            )
    alone = "an encoder with adapters" if saved.adapters else "an encoder alone"
    held = " and ".join(saved.objectives) or alone
    logger.info(f"convert: {published_name(source)} ({found}, {held}) to {target} ({format})")
    if not (saved.objectives or saved.adapters):
        if "quantizer" not in allowed:
            raise missing_part(str(source), "quantizer")
        note = "no quantizer, so none is written: to continue with it, allow it to be missing"
        saved = replace(saved, notes=(*saved.notes, note))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = [part for part in allowed if part == "mask_embedding"]
        model, report = SpeechModel.from_saved(replace(saved, folder=source), drawn)
    for line in (report, *saved.notes):
        logger.info(f"convert: {line}")
    if found != "speechx" and proof.available(found):
        try:
            _log_proof(source, proof.prove(read, source, found))
        except proof.Unproved as reason:
            # A file that others cannot read may be a good one; the file written below may not.
            if prove:
                raise
            logger.info(f"convert: {reason}")
    if format == "speechx":
        is_ours = found == "speechx"
        save_model(
            target, model.state_dict(), saved.encoder, model.configs, saved.vocabularies,
            saved.languages, foreign_settings=saved.foreign_settings,
            adapters=each_adapter(replace(saved, weights=dict(model.state_dict()))),
            temperatures=saved.temperatures, usual_language=saved.usual_language,
            decoding=saved.decoding, files=_beside(saved.folder) if is_ours else (),
        )  # fmt: skip
    else:
        whole = replace(saved, weights=dict(model.state_dict()))
        with whole_folder(target) as new:
            notes = FOREIGN[format].write(whole, new)
            for note in (*notes, *preprocessing.epsilon_note(whole.encoder, format)):
                logger.info(f"convert: {note}")
            if proof.available(format):
                _log_proof(target, proof.prove(whole, new, format))
    logger.info(f"convert: wrote {target}")


def _beside(folder: Path) -> list[Path]:
    """What heads have beside the weights: how their tokens sound, and language models."""
    return sorted(f for name in (times_file, lm_file) for f in folder.glob(name(Path(), "*").name))


def _check_target(target: Path, format: str) -> None:
    if format not in FORMATS:
        raise UserError(f"there is no format {format!r}: expected one of {', '.join(FORMATS)}")
    if target.exists():
        raise UserError(f"{target} is there already and is not overwritten: give a new folder")
    if target.suffix in SUFFIXES:
        raise UserError(
            f"{target} would be a file, but a model is written as a folder (its weights are named "
            f"model{SUFFIXES[0]} there): give a name such as {target.with_suffix('')}"
        )


def _reduced(saved: SavedModel, source: Path, format: str) -> SavedModel:
    """What another format can hold of a model: its encoder with one CTC head or one quantizer,
    under the names that models of that format get when they are read."""
    settings.check_writable(saved.encoder, format)
    if saved.adapters:
        raise UserError(
            f"{source} has adapters for {len(saved.adapters)} languages, which speechx does not "
            f"write as {format}: expected --to speechx"
        )
    held = [(kind, saved.of_kind(kind)) for kind in ("ctc", "wav2vec2")]
    kind, name = next((each for each in held if each[1] is not None), ("", None))
    vocabulary = saved.vocabularies.get(name or "")
    about = dict(saved.objectives.get(name or "", {}))
    if (about.get("kernel", 1), about.get("stride", 1)) != (1, 1):
        raise UserError(
            f"{source} has a head that sees several frames at once (objective.kernel and stride), "
            f"which {format} does not hold: expected --to speechx"
        )
    if (about.pop("intermediate", None) or {}).get("self_conditioned"):
        raise UserError(
            f"{source} conditions its layers on CTC (objective.intermediate.self_conditioned), "
            f"which {format} does not compute: expected --to speechx"
        )
    weights = {n: t for n, t in saved.weights.items() if n.startswith("encoder.")}
    weights |= {
        f"objectives.{kind}.{n}": tensor
        for n, tensor in saved.part(f"objectives.{name}.").items()
        if not n.startswith("intermediate.")  # is only for training
    }
    if name is None and format != "torchaudio":
        raise UserError(
            f"{source} has no quantizer to write, and in {format} one at chance would pass for a "
            "trained one: expected --to speechx or torchaudio"
        )
    gone = [each for each in saved.objectives if each != name]
    notes = (f"{format} has no place for the objectives {', '.join(gone)}",) if gone else ()
    if saved.temperatures:
        notes = (*notes, f"{format} has no place for the temperature of the probabilities")
    if saved.decoding:
        notes = (
            *notes,
            f"{format} has no place for the language model of {', '.join(saved.decoding)}",
        )
    return replace(
        saved,
        weights=weights,
        objectives={} if name is None else {kind: about},
        vocabularies={} if vocabulary is None else {kind: vocabulary},
        notes=(*saved.notes, *notes),
    )


def _log_proof(path: Path, proved: proof.Proof) -> None:
    for line in str(proved).splitlines():
        logger.info(f"convert: proof of {path}: {line}")
