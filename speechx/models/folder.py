"""A model on disk, format 2: a folder that opens by itself, years later.

    model.safetensors    encoder.*, objectives.NAME.*
    config.yaml          format, languages, encoder, objectives by name; `temperatures`, which
                         calibrate the probabilities of heads; `usual_language`, the adapter that
                         is used where no language is chosen; `decoding`, the settings of the beam
                         search with the language model of a head; in a converted model
                         `foreign_settings`, which only the original toolkit uses
    lm_HEAD.safetensors  the language model of a head, if `speechx lm tune` put it there
    vocabulary.json      tokens of each head by name, if the model has heads
    times_HEAD.safetensors   how the tokens of a head sound, if that is known
    adapters/            if it has any: what fits the encoder to one language each (adapter_files)
    README.md            the model card

No pickle, no path to a parent, nothing about objectives that are not inside. Configs of objectives
are plain data here: only `objectives/` knows what they mean.
"""

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from speechx.config import dump, parse, read_yaml, to_dict
from speechx.errors import UserError
from speechx.models.adapter_files import SavedAdapter, adapters_in, write_adapters
from speechx.models.encoder import EncoderConfig
from speechx.text.vocabulary import Vocabulary, load_vocabularies, save_vocabularies
from speechx.whole_file import whole_folder, write_whole

FORMAT = 2


@dataclass(frozen=True, slots=True)
class SavedModel:
    """The content of a model folder, or what was read from another toolkit's file."""

    folder: Path
    encoder: EncoderConfig
    weights: dict[str, Tensor]
    objectives: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Configs of the objectives by name, as plain data."""
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=dict)
    """Tokens of the objectives that are heads, by name."""
    absent: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Settings of objectives whose weights another toolkit's file lacks, by kind."""
    languages: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What reading another toolkit's file assumed or left out."""
    foreign_settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that only the original toolkit uses, kept for conversion back to it."""
    adapters: tuple[str, ...] = ()
    """Languages for which adapters stand beside these weights."""
    usual_language: str | None = None
    """The one of these that is used where none is chosen."""
    language: str | None = None
    """The language whose adapter these weights have."""
    adapter: str | None = None
    """The file of that adapter, and the beginning of its SHA-256."""
    temperatures: Mapping[str, float] = field(default_factory=dict)
    """What calibrates the probabilities of a head, by its name (adapter_files.head_of); 1 for heads
    that are not here."""
    decoding: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Settings of the beam search with the language model of a head, by its name, as plain data."""

    def of_kind(self, kind: str, name: str = "", token_type: str | None = None) -> str | None:
        """The name of the objective of this kind to go on from: of several the one of that name,
        else the first that writes that type of tokens, else the first."""

        def differs(other: str) -> tuple[bool, bool]:
            vocabulary = self.vocabularies.get(other)
            return other != name, vocabulary is None or vocabulary.token_type != token_type

        of_kind = [n for n, config in self.objectives.items() if config.get("kind") == kind]
        return min(of_kind, key=differs, default=None)

    def with_inner(self) -> "SavedModel":
        """The same with the objectives that are parts of another one, by the name of the other and
        of the part, as in `unispeech.ctc`: a run can start from them too."""
        inner = {
            f"{name}.{part}": (settings, name)
            for name, config in self.objectives.items()
            for part, settings in config.items()
            if isinstance(settings, Mapping) and "kind" in settings
        }
        tokens = {
            n: self.vocabularies[of] for n, (_, of) in inner.items() if of in self.vocabularies
        }
        return replace(
            self,
            objectives={**self.objectives, **{name: dict(s) for name, (s, _) in inner.items()}},
            vocabularies={**self.vocabularies, **tokens},
        )

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Weights whose names start with `prefix`, without it."""
        return {n.removeprefix(prefix): t for n, t in self.weights.items() if n.startswith(prefix)}


def save_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    encoder: EncoderConfig,
    objectives: Mapping[str, Any],
    vocabularies: Mapping[str, Vocabulary],
    languages: Sequence[str],
    dev_error: float | None = None,
    foreign_settings: Mapping[str, Any] | None = None,
    adapters: Iterable[SavedAdapter] = (),
    temperatures: Mapping[str, float] | None = None,
    usual_language: str | None = None,
    decoding: Mapping[str, dict[str, Any]] | None = None,
    files: Iterable[Path] = (),
) -> None:
    """Writes a model folder, which appears whole or not at all; `objectives` are configs,
    `adapters` are taken one by one, and `files` are copied."""
    with whole_folder(folder) as new:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        save_file(tensors, new / "model.safetensors")
        about = {
            "format": FORMAT,
            "languages": list(languages),
            "encoder": to_dict(encoder),
            "objectives": {name: to_dict(config) for name, config in objectives.items()},
        }
        if dev_error is not None:
            about["dev_error"] = dev_error
        if foreign_settings:
            about["foreign_settings"] = dict(foreign_settings)
        if fitted := {n: t for n, t in (temperatures or {}).items() if t != 1}:
            about["temperatures"] = fitted
        if decoding:
            about["decoding"] = dict(decoding)
        if usual_language is not None:
            about["usual_language"] = usual_language
        (new / "config.yaml").write_text(dump(about), encoding="utf-8")
        if vocabularies:
            save_vocabularies(new / "vocabulary.json", vocabularies)
        adapted = write_adapters(new, adapters, tensors)
        for file in files:
            shutil.copy(file, new)
        card = model_card(
            folder.name, encoder, about["objectives"], vocabularies, languages, adapted
        )
        (new / "README.md").write_text(card, encoding="utf-8")


def saved_dev_error(folder: Path) -> float | None:
    """The error on dev that the model had when it was saved."""
    file = folder / "config.yaml"
    return read_yaml(file).get("dev_error") if file.is_file() else None


def is_model_folder(path: Path) -> bool:
    """Whether it holds the files of a model of ours, and not those of transformers beside another
    program's config.yaml."""
    if not all((path / name).is_file() for name in ("config.yaml", "model.safetensors")):
        return False
    return not (path / "config.json").is_file() or _is_ours(path / "config.yaml")


def open_folder(folder: Path | str) -> SavedModel:
    """Reads a model folder."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"model {folder} does not exist: "
            "expected a folder with model.safetensors and config.yaml"
        )
    for name in ("config.yaml", "model.safetensors"):
        if not (folder / name).is_file():
            inside = [p for p in sorted(folder.iterdir()) if is_model_folder(p)]
            hint = f"; did you mean {inside[0]}?" if inside else ""
            raise UserError(f"{folder} is not a speechx model folder: it has no {name}{hint}")
    file = folder / "config.yaml"
    about = read_yaml(file)
    if about.get("format") != FORMAT or not isinstance(about.get("encoder"), dict):
        raise UserError(f"{file} does not describe a model of format {FORMAT}")
    objectives = about.get("objectives") or {}
    if not isinstance(about.get("foreign_settings") or {}, dict):
        raise UserError(f"{file}: foreign_settings must be a mapping")
    if not isinstance(objectives, dict) or not all(map(_has_kind, objectives.values())):
        raise UserError(f"{file}: objectives must be mappings with a kind, by name")
    temperatures = about.get("temperatures") or {}
    if not isinstance(temperatures, dict) or not all(map(_is_positive, temperatures.values())):
        raise UserError(f"{file}: temperatures must be numbers above 0, by the name of a head")
    decoding = about.get("decoding") or {}
    if not isinstance(decoding, dict) or not all(isinstance(d, dict) for d in decoding.values()):
        raise UserError(
            f"{file}: decoding must be settings of a beam search, by the name of a head"
        )
    vocabulary = folder / "vocabulary.json"
    adapters, usual = tuple(adapters_in(folder)), about.get("usual_language")
    return SavedModel(
        folder=folder,
        encoder=parse(EncoderConfig, about["encoder"], str(file)),
        weights=read_tensors(folder / "model.safetensors"),
        objectives=objectives,
        vocabularies=load_vocabularies(vocabulary) if vocabulary.is_file() else {},
        languages=tuple(about.get("languages") or ()),
        foreign_settings=about.get("foreign_settings") or {},
        adapters=adapters,
        usual_language=usual if usual in adapters else None,
        temperatures=temperatures,
        decoding=decoding,
    )


def times_file(folder: Path, head: str) -> Path:
    """Where a model folder keeps the sound model of a head."""
    return folder / f"times_{head}.safetensors"


def lm_file(folder: Path, head: str) -> Path:
    """Where a model folder keeps the language model of a head."""
    return folder / f"lm_{head}.safetensors"


def write_decoding(folder: Path, head: str, settings: Mapping[str, Any]) -> None:
    """Replaces the settings of the beam search of a head in a model folder."""
    _write_about(folder, "decoding", head, dict(settings))


def write_temperature(folder: Path, head: str, temperature: float) -> None:
    """Replaces the temperature of a head in a model folder."""
    _write_about(folder, "temperatures", head, temperature)


def _write_about(folder: Path, key: str, head: str, value: Any) -> None:
    file = folder / "config.yaml"
    about = read_yaml(file)
    about[key] = {**(about.get(key) or {}), head: value}
    write_whole(file, dump(about))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _is_ours(file: Path) -> bool:
    try:
        about = read_yaml(file)
    except (UserError, OSError):
        return False
    return "format" in about and "encoder" in about


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _has_kind(config: Any) -> bool:
    return isinstance(config, dict) and isinstance(config.get("kind"), str)


def load_weights(
    model: nn.Module, weights: Mapping[str, Tensor], source: str, fresh: Sequence[str] = ()
) -> str:
    """Copies tensors by name and returns how many of each part; names that start with one of
    `fresh` may be absent.

    A tensor that is missing, of another shape or left over is an error: nothing starts from chance
    where weights were asked for.
    """
    own = model.state_dict()
    problems = {
        "missing": [n for n in own if n not in weights and not n.startswith(tuple(fresh))],
        "left over": [n for n in weights if n not in own],
        "of another shape": [n for n in own if n in weights and own[n].shape != weights[n].shape],
    }
    parts = [f"{len(n)} tensors {what} (first: {n[0]})" for what, n in problems.items() if n]
    if parts:
        raise UserError(f"{source} does not fit this model: {', '.join(parts)}")
    model.load_state_dict({n: weights.get(n, own[n]) for n in own})
    counts, loaded = Counter(map(_part, own)), Counter(map(_part, weights))
    return ", ".join(
        f"{part} {loaded[part]}/{count}" + ("" if loaded[part] == count else " (rest starts fresh)")
        for part, count in counts.items()
    )


def _part(name: str) -> str:
    """The part of the model that a tensor belongs to: feature_extractor, context, ctc, ..."""
    return name.removeprefix("encoder.").removeprefix("objectives.").split(".")[0]


def model_card(
    name: str,
    encoder: EncoderConfig,
    objectives: Mapping[str, dict[str, Any]],
    vocabularies: Mapping[str, Vocabulary],
    languages: Sequence[str],
    adapters: Sequence[str] = (),
) -> str:
    """A page about the model in Markdown."""
    kinds = ", ".join(f"{name} ({config['kind']})" for name, config in objectives.items())
    writes = "; ".join(
        f"{head}: {len(vocabulary.tokens)} {vocabulary.token_type}"
        for head, vocabulary in vocabularies.items()
    )
    nothing = "nothing by itself; continue or fine-tune it"
    opened = "speechx.load(FOLDER)"
    if adapters:
        nothing = f"{len(adapters)} languages, each through its adapter: {', '.join(adapters)}"
        opened = f"speechx.load(FOLDER, language={adapters[0]!r})"
    features, context = encoder.features.kind, encoder.context.kind
    sizes = f"layers: {encoder.context.num_layers}, width: {encoder.context.embed_dim}"
    return f"""# {name}

A speech model of speechx, in its folder format {FORMAT}.

- encoder: {features} features, {context} ({sizes})
- objectives: {kinds or "none"}
- writes: {writes or nothing}
- languages in training: {", ".join(languages) or "not recorded"}

Open it with `{opened}` if it writes something, and as `init=FOLDER` of a training.
"""
