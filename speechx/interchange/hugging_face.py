"""Folders of Hugging Face transformers: Wav2Vec2Model, Wav2Vec2ForPreTraining, Wav2Vec2ForCTC.

`config.json` has the sizes; `preprocessing` and `tokenizer` read the files about recordings and
symbols. The blank is the padding token. Weights are `model.safetensors` or `pytorch_model.bin`,
whole or in numbered parts. Three of our settings that transformers lacks are written to
`config.json` beside its own, where it ignores them: `feature_grad_mult`, `normalize_epsilon` and
`languages`. Of a folder with an adapter for each language the encoder is read alone (`mms` has the
rest).
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from speechx.errors import UserError
from speechx.interchange import mms, names, settings
from speechx.interchange.json_objects import read_json, write_json
from speechx.interchange.preprocessing import read_audio_settings, write_audio_settings
from speechx.interchange.stored_tensors import read_folder
from speechx.interchange.tokenizer import TOKENS, read_rows, write_tokenizer
from speechx.interchange.vocabulary_rows import to_rows
from speechx.models.folder import SavedModel

WORDS = settings.SettingNames(
    {
        "conv_dim": "encoder.features.layers",
        "conv_bias": "encoder.features.bias",
        "feat_extract_norm": "encoder.features.norm",
        "feature_grad_mult": "encoder.features.gradient_scale",
        "normalize_epsilon": "encoder.normalize_epsilon",
        "num_hidden_layers": "encoder.context.num_layers",
        "hidden_size": "encoder.context.embed_dim",
        "intermediate_size": "encoder.context.ffn_dim",
        "num_attention_heads": "encoder.context.num_heads",
        "do_stable_layer_norm": "encoder.context.norm",
        "num_conv_pos_embeddings": "encoder.context.position_kernel",
        "num_conv_pos_embedding_groups": "encoder.context.position_groups",
        "hidden_dropout": "encoder.context.dropout",
        "attention_dropout": "encoder.context.attention_dropout",
        "activation_dropout": "encoder.context.activation_dropout",
        "layerdrop": "encoder.context.layer_drop",
        "feat_proj_dropout": "encoder.input_dropout",
        "feat_quantizer_dropout": "objective.target_dropout",
        "num_codevector_groups": "objective.quantizer.num_groups",
        "num_codevectors_per_group": "objective.quantizer.num_entries",
        "codevector_dim": "objective.quantizer.dim",
        "contrastive_logits_temperature": "objective.logit_temperature",
    },
    {
        "encoder.features.norm": {"group": "group", "layer": "layer"},
        "encoder.context.norm": {False: "post", True: "pre"},
    },
)
DEFAULTS = {
    "encoder.features.gradient_scale": 1.0,
    "encoder.normalize_epsilon": 1e-7,
    "encoder.context.num_heads": 12,
    "encoder.context.norm": "post",
    "encoder.context.activation_dropout": 0.1,
    "encoder.context.layer_drop": 0.1,
    "encoder.input_dropout": 0.0,
    "objective.target_dropout": 0.0,
}
"""The values of transformers for settings that `config.json` lacks, where `base` differs."""
SUPPORTED_VALUES: settings.Settings = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
}
"""Settings that speechx supports with one value only."""
COLUMNS = {
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
}
"""The convolutions, and the values of transformers for a `config.json` that lacks them."""
LORA = "adapter_config.json"
ARCHITECTURES = ("Wav2Vec2Model", "Wav2Vec2ForPreTraining", "Wav2Vec2ForCTC")


def require_wav2vec2(folder: Path) -> dict[str, Any]:
    """The content of `config.json`; an error if it describes another kind of model."""
    about = read_json(folder / "config.json")
    source = str(folder / "config.json")
    kind_there = about.get("model_type")
    if kind_there != "wav2vec2":
        raise UserError(
            f"{source} describes a {kind_there!r} model, but speechx reads 'wav2vec2': give the "
            "folder of a wav2vec 2.0, XLSR or XLS-R model"
        )
    if other := [name for name in about.get("architectures") or () if name not in ARCHITECTURES]:
        raise UserError(
            f"{source}: architectures is {' '.join(map(str, other))}; expected one of "
            f"{', '.join(ARCHITECTURES)}"
        )
    return about


def read(folder: Path, _: Any = None) -> SavedModel:
    """The model in a folder."""
    about = require_wav2vec2(folder)
    source = str(folder / "config.json")
    given = read_folder(folder)
    adapters, usual = mms.adapter_languages(folder, about, given)
    if adapters:
        given = {n: tensor for n, tensor in given.items() if not mms.of_language(n)}
    if (folder / LORA).is_file():
        raise UserError(
            f"{folder / LORA}: transformers adds the adapter of this file to the weights, which "
            "speechx does not: merge it into them (merge_and_unload of peft) and save the model"
        )
    settings.require(about, {**SUPPORTED_VALUES, "quantization_config": None}, source)
    if not any(name.startswith("wav2vec2.") for name in given):  # Wav2Vec2Model
        given = {f"wav2vec2.{name}": tensor for name, tensor in given.items()}
    weights = names.to_ours(given, names.HUGGING_FACE, str(folder))
    measured = settings.measure(weights, str(folder))
    columns = [about.get(column, usual) for column, usual in COLUMNS.items()]
    if not all(isinstance(column, list) for column in columns) or len({*map(len, columns)}) > 1:
        raise UserError(f"{source}: conv_dim, conv_kernel, conv_stride must be lists of one length")
    layers = list(zip(*columns, strict=True))
    stated = {**DEFAULTS, **WORDS.ours({**about, "conv_dim": layers}, source)}
    audio = read_audio_settings(folder)
    stated["encoder.normalize"] = audio.normalize
    rows, languages, notes = None, about.get("languages"), audio.notes
    kept = {k: v for k, v in audio.given.items() if k == "return_attention_mask"}
    if f"{names.HEAD}.weight" in weights:
        count = len(weights[f"{names.HEAD}.weight"])
        if about.get("vocab_size", count) != count:
            raise UserError(
                f"{source}: vocab_size is {about['vocab_size']}, but the tensors have {count}: "
                "these settings are of another model"
            )
        symbols, more = read_rows(folder, about, count)
        rows, notes = (symbols, str(folder / "vocab.json")), (*notes, *more)
        kept |= {"do_lower_case": True} if symbols.lower else {}
    saved = settings.build(folder, source, stated, measured, WORDS, weights, rows, languages, notes)
    return replace(saved, foreign_settings=kept, adapters=adapters, usual_language=usual)


def write(saved: SavedModel, folder: Path) -> tuple[str, ...]:
    """Fills the empty `folder`; returns notes on what had no place in it."""
    weights, vocabulary, words = saved.weights, saved.vocabularies.get("ctc"), WORDS.theirs(saved)
    about: dict[str, Any] = {
        "architectures": ["Wav2Vec2ForPreTraining" if vocabulary is None else "Wav2Vec2ForCTC"],
        "model_type": "wav2vec2",
        **words,
        **SUPPORTED_VALUES,
        **dict(zip(COLUMNS, map(list, zip(*words["conv_dim"], strict=True)), strict=True)),
        "languages": list(saved.languages),
        "torch_dtype": "float32",
    }
    if vocabulary is None:
        about["proj_codevector_dim"] = words["codevector_dim"]
    else:
        symbols, weights = to_rows(weights, vocabulary, tuple(TOKENS.values()), "Hugging Face")
        about |= {
            "vocab_size": len(symbols),
            "ctc_loss_reduction": "sum",
            "ctc_zero_infinity": True,
            **{f"{name}_id": symbols.index(token) for name, token in TOKENS.items()},
        }
        lower = bool(saved.foreign_settings.get("do_lower_case"))
        write_tokenizer(folder, vocabulary, symbols, lower)
    write_json(folder / "config.json", about)
    audio = {
        "do_normalize": saved.encoder.normalize,
        # Its group norm over time sees padding whatever the mask, and was trained without one.
        "return_attention_mask": saved.foreign_settings.get(
            "return_attention_mask", words["feat_extract_norm"] == "layer"
        ),
    }
    write_audio_settings(folder, audio)
    theirs = names.to_theirs(weights, names.HUGGING_FACE)
    theirs = {name: tensor.contiguous() for name, tensor in theirs.items()}
    save_file(theirs, folder / "model.safetensors", metadata={"format": "pt"})
    return ()
