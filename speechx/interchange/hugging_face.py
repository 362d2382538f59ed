"""Folders of Hugging Face transformers: Wav2Vec2Model, Wav2Vec2ForPreTraining, Wav2Vec2ForCTC.

`config.json` has the sizes, `preprocessor_config.json` whether recordings are normalised,
`vocab.json` the symbols of a CTC head, whose blank is the padding token. Weights are
`model.safetensors` or `pytorch_model.bin`, whole or in numbered parts. Two of our settings that
transformers lacks are written to `config.json` beside its own, where it ignores them:
`feature_grad_mult` and `languages`.
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from speechx.errors import UserError
from speechx.interchange import names, settings
from speechx.interchange.pickles import read_pickle
from speechx.interchange.vocabulary_rows import VocabularyRows, to_rows
from speechx.models.folder import SavedModel, read_tensors

WORDS = settings.SettingNames(
    {
        "conv_dim": "encoder.features.layers",
        "conv_bias": "encoder.features.bias",
        "feat_extract_norm": "encoder.features.norm",
        "feature_grad_mult": "encoder.features.gradient_scale",
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
COLUMNS = ("conv_dim", "conv_kernel", "conv_stride")
TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
"""In the order of the first rows of the heads that are written; the first is the blank."""


def read(folder: Path, _: Any = None) -> SavedModel:
    """The model in a folder."""
    about = _json(folder / "config.json")
    source = str(folder / "config.json")
    kind_there = about.get("model_type")
    if kind_there != "wav2vec2":
        raise UserError(
            f"{source} describes a {kind_there!r} model, but speechx reads 'wav2vec2': give the "
            "folder of a wav2vec 2.0, XLSR or XLS-R model"
        )
    given = _load(folder)
    if about.get("adapter_attn_dim") is not None or any("adapter_layer" in n for n in given):
        raise UserError(
            f"{folder} is an MMS model with an adapter per language (adapter_layer), which speechx "
            "does not have; convert the model without adapters, such as mms-300m or mms-1b"
        )
    settings.require(about, SUPPORTED_VALUES, source)
    if not any(name.startswith("wav2vec2.") for name in given):  # Wav2Vec2Model
        given = {f"wav2vec2.{name}": tensor for name, tensor in given.items()}
    weights = names.to_ours(given, names.HUGGING_FACE, str(folder))
    measured = settings.measure(weights, str(folder))
    columns = [about.get(column) for column in COLUMNS]
    if not all(isinstance(column, list) for column in columns):
        raise UserError(f"{source}: conv_dim, conv_kernel and conv_stride must be lists")
    layers = list(zip(*columns, strict=False))
    stated = {**DEFAULTS, **WORDS.ours({**about, "conv_dim": layers}, source)}
    if (folder / "preprocessor_config.json").is_file():
        audio = _json(folder / "preprocessor_config.json")
        if audio.get("sampling_rate", 16_000) != 16_000:
            raise UserError(
                f"{folder / 'preprocessor_config.json'}: sampling_rate is "
                f"{audio['sampling_rate']}; speechx needs 16000"
            )
        stated["encoder.normalize"] = bool(audio.get("do_normalize", True))
    rows, languages = None, about.get("languages")
    if f"{names.HEAD}.weight" in weights:
        count = len(weights[f"{names.HEAD}.weight"])
        if about.get("vocab_size", count) != count:
            raise UserError(
                f"{source}: vocab_size is {about['vocab_size']}, but the tensors have {count}: "
                "these settings are of another model"
            )
        rows = _rows(folder, about, count), str(folder / "vocab.json")
    return settings.build(folder, source, stated, measured, WORDS, weights, rows, languages)


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
        characters = vocabulary.token_type == "characters"
        tokenizer: dict[str, Any] = {
            "tokenizer_class": f"Wav2Vec2{'' if characters else 'Phoneme'}CTCTokenizer",
            "do_lower_case": False,
            **TOKENS,
        }
        tokenizer |= (
            {"word_delimiter_token": "|"}
            if characters
            else {"phone_delimiter_token": " ", "word_delimiter_token": None, "do_phonemize": False}
        )
        _write_json(folder / "vocab.json", {symbol: row for row, symbol in enumerate(symbols)})
        _write_json(folder / "tokenizer_config.json", tokenizer)
        _write_json(folder / "special_tokens_map.json", TOKENS)
    _write_json(folder / "config.json", about)
    audio = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": 16_000,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": saved.encoder.normalize,
        # Its group norm over time sees padding whatever the mask, and was trained without one.
        "return_attention_mask": words["feat_extract_norm"] == "layer",
    }
    _write_json(folder / "preprocessor_config.json", audio)
    theirs = names.to_theirs(weights, names.HUGGING_FACE)
    theirs = {name: tensor.contiguous() for name, tensor in theirs.items()}
    save_file(theirs, folder / "model.safetensors", metadata={"format": "pt"})
    return ()


def _load(folder: Path) -> dict[str, Tensor]:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return _read_weights(folder / name)
        if (folder / f"{name}.index.json").is_file():
            parts = _json(folder / f"{name}.index.json").get("weight_map", {})
            weights: dict[str, Tensor] = {}
            for part in sorted(set(parts.values())):
                weights |= _read_weights(folder / Path(part).name)
            return weights
    raise UserError(
        f"{folder} has a config.json but no weights: expected model.safetensors or "
        "pytorch_model.bin"
    )


def _read_weights(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_tensors(path)
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no tensors by name")
    return {name: t for name, t in content.items() if isinstance(t, Tensor)}


def _rows(folder: Path, about: dict[str, Any], count: int) -> VocabularyRows:
    """The symbols of the `count` rows, from the files of the tokenizer."""
    path = folder / "vocab.json"
    if not path.is_file():
        raise UserError(f"{folder} has a CTC head but no vocab.json with the symbols of its rows")
    rows = _json(path)
    if any(isinstance(row, dict) for row in rows.values()):
        raise UserError(
            f"{path} has a vocabulary for each language (MMS); keep the one of this head in it"
        )
    tokenizer: dict[str, Any] = dict(TOKENS)
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            tokenizer |= {k: v for k, v in _json(folder / name).items() if v is not None}
    added = {_text(t): int(n) for n, t in tokenizer.get("added_tokens_decoder", {}).items()}
    if (folder / "added_tokens.json").is_file():
        added |= _json(folder / "added_tokens.json")
    # Tokens added after training have no row in the head.
    rows = {**{symbol: row for symbol, row in added.items() if row < count}, **rows}
    numbers = list(rows.values())
    if not all(isinstance(n, int) for n in numbers) or sorted(numbers) != list(range(len(rows))):
        raise UserError(f"{path}: rows are not numbered from 0 to {len(rows) - 1}, each once")
    by_row = {row: symbol for symbol, row in rows.items()}
    tokens = {key: _text(tokenizer[key]) for key in TOKENS}
    blank, padding = about.get("pad_token_id", 0), rows.get(tokens["pad_token"])
    if blank not in by_row or padding not in (blank, None):
        raise UserError(
            f"{folder}: the blank is row pad_token_id = {blank} of config.json, but "
            f"{tokens['pad_token']} is row {padding} of vocab.json"
        )
    return VocabularyRows(
        tuple(by_row[row] for row in range(len(rows))),
        blank,
        frozenset(tokens.values()),
        _text(tokenizer.get("word_delimiter_token", "|")),
        "phonemes" if "Phoneme" in str(tokenizer.get("tokenizer_class")) else None,
    )


def _text(token: Any) -> str:
    """A token as it stands, or in the form that carries its flags."""
    return str(token["content"] if isinstance(token, dict) else token)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object, found a {type(content).__name__}")
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
