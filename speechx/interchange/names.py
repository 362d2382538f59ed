"""What the tensors of a wav2vec 2.0 model are called elsewhere.

One table per format, from the name of a module there to its name here. `*` stands for the number
of a layer; what follows a module's name (weight, bias) is the same on both sides. A table is
one-to-one for a given model, so it is read in both directions:

    to_ours(weights, hugging_face(config), "folder")    to_theirs(weights, hugging_face(config))

Two tensors differ in more than their name. The codebook is (1, G*V, Q/G) elsewhere and (G, V, Q/G)
here. The weight-normed positional convolution has three spellings: `weight_g` with `weight_v`,
torch's newer `parametrizations.weight.original0` with `original1`, and a folded `weight`, whose
gain per tap is its norm. All are read; `weight_g` with `weight_v` is written, which all four load.

G groups · V entries · Q quantized width
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from speechx.errors import UserError
from speechx.models.wav2vec2 import Wav2Vec2Config
from speechx.models.waveform import ConvolutionalConfig

Table = Mapping[str, str]

POSITION = "trunk.transformer.position"
LEAVES = {
    "weight_g": "gain",
    "weight_v": "direction",
    "parametrizations.weight.original0": "gain",
    "parametrizations.weight.original1": "direction",
}

FAIRSEQ = {
    "mask_emb": "trunk.mask_vector",
    "feature_extractor.conv_layers.*.0": "trunk.encoder.blocks.*.conv",
    "layer_norm": "trunk.feature_norm",
    "post_extract_proj": "trunk.project",
    "encoder.pos_conv.0": POSITION,
    "encoder.layer_norm": "trunk.transformer.norm",
    "encoder.layers.*.self_attn.q_proj": "trunk.transformer.blocks.*.attention.query",
    "encoder.layers.*.self_attn.k_proj": "trunk.transformer.blocks.*.attention.key",
    "encoder.layers.*.self_attn.v_proj": "trunk.transformer.blocks.*.attention.value",
    "encoder.layers.*.self_attn.out_proj": "trunk.transformer.blocks.*.attention.out",
    "encoder.layers.*.self_attn_layer_norm": "trunk.transformer.blocks.*.attention_norm",
    "encoder.layers.*.fc1": "trunk.transformer.blocks.*.up",
    "encoder.layers.*.fc2": "trunk.transformer.blocks.*.down",
    "encoder.layers.*.final_layer_norm": "trunk.transformer.blocks.*.feed_norm",
    "quantizer.weight_proj": "quantizer.logits",
    "quantizer.vars": "quantizer.codebook_GVQ",
    "project_q": "project_targets",
    "final_proj": "project_context",
}

HUGGING_FACE = {
    "wav2vec2.masked_spec_embed": "trunk.mask_vector",
    "wav2vec2.feature_extractor.conv_layers.*.conv": "trunk.encoder.blocks.*.conv",
    "wav2vec2.feature_extractor.conv_layers.*.layer_norm": "trunk.encoder.blocks.*.norm",
    "wav2vec2.feature_projection.layer_norm": "trunk.feature_norm",
    "wav2vec2.feature_projection.projection": "trunk.project",
    "wav2vec2.encoder.pos_conv_embed.conv": POSITION,
    "wav2vec2.encoder.layer_norm": "trunk.transformer.norm",
    "wav2vec2.encoder.layers.*.attention.q_proj": "trunk.transformer.blocks.*.attention.query",
    "wav2vec2.encoder.layers.*.attention.k_proj": "trunk.transformer.blocks.*.attention.key",
    "wav2vec2.encoder.layers.*.attention.v_proj": "trunk.transformer.blocks.*.attention.value",
    "wav2vec2.encoder.layers.*.attention.out_proj": "trunk.transformer.blocks.*.attention.out",
    "wav2vec2.encoder.layers.*.layer_norm": "trunk.transformer.blocks.*.attention_norm",
    "wav2vec2.encoder.layers.*.feed_forward.intermediate_dense": "trunk.transformer.blocks.*.up",
    "wav2vec2.encoder.layers.*.feed_forward.output_dense": "trunk.transformer.blocks.*.down",
    "wav2vec2.encoder.layers.*.final_layer_norm": "trunk.transformer.blocks.*.feed_norm",
    "quantizer.weight_proj": "quantizer.logits",
    "quantizer.codevectors": "quantizer.codebook_GVQ",
    "project_q": "project_targets",
    "project_hid": "project_context",
    "lm_head": "head",
}

FAIRSEQ2 = {
    "masker.temporal_mask_embed": "trunk.mask_vector",
    "encoder_frontend.feature_extractor.layers.*.conv": "trunk.encoder.blocks.*.conv",
    "encoder_frontend.post_extract_layer_norm": "trunk.feature_norm",
    "encoder_frontend.model_dim_proj": "trunk.project",
    "encoder_frontend.pos_encoder.conv": POSITION,
    "encoder.layers.*.self_attn.q_proj": "trunk.transformer.blocks.*.attention.query",
    "encoder.layers.*.self_attn.k_proj": "trunk.transformer.blocks.*.attention.key",
    "encoder.layers.*.self_attn.v_proj": "trunk.transformer.blocks.*.attention.value",
    "encoder.layers.*.self_attn.output_proj": "trunk.transformer.blocks.*.attention.out",
    "encoder.layers.*.self_attn_layer_norm": "trunk.transformer.blocks.*.attention_norm",
    "encoder.layers.*.ffn.inner_proj": "trunk.transformer.blocks.*.up",
    "encoder.layers.*.ffn.output_proj": "trunk.transformer.blocks.*.down",
    "encoder.layers.*.ffn_layer_norm": "trunk.transformer.blocks.*.feed_norm",
    "quantizer.entry_proj": "quantizer.logits",
    "quantizer.entries": "quantizer.codebook_GVQ",
    "final_target_proj": "project_targets",
}

TORCHAUDIO = {
    "feature_extractor.conv_layers.*.conv": "trunk.encoder.blocks.*.conv",
    "feature_extractor.conv_layers.*.layer_norm": "trunk.encoder.blocks.*.norm",
    "encoder.feature_projection.layer_norm": "trunk.feature_norm",
    "encoder.feature_projection.projection": "trunk.project",
    "encoder.transformer.pos_conv_embed.conv": POSITION,
    "encoder.transformer.layer_norm": "trunk.transformer.norm",
    "encoder.transformer.layers.*.attention.q_proj": "trunk.transformer.blocks.*.attention.query",
    "encoder.transformer.layers.*.attention.k_proj": "trunk.transformer.blocks.*.attention.key",
    "encoder.transformer.layers.*.attention.v_proj": "trunk.transformer.blocks.*.attention.value",
    "encoder.transformer.layers.*.attention.out_proj": "trunk.transformer.blocks.*.attention.out",
    "encoder.transformer.layers.*.layer_norm": "trunk.transformer.blocks.*.attention_norm",
    "encoder.transformer.layers.*.feed_forward.intermediate_dense":
        "trunk.transformer.blocks.*.up",
    "encoder.transformer.layers.*.feed_forward.output_dense": "trunk.transformer.blocks.*.down",
    "encoder.transformer.layers.*.final_layer_norm": "trunk.transformer.blocks.*.feed_norm",
    "aux": "head",
}  # fmt: skip


def fairseq(config: Wav2Vec2Config, kind: str) -> Table:
    """A CTC model there holds the trunk as `w2v_encoder.w2v_model` and the head as `proj`."""
    norm = "conv_layers.0.2" if _group(config) else "conv_layers.*.2.1"
    table = {**FAIRSEQ, f"feature_extractor.{norm}": _encoder_norm(config)}
    if kind == "pretraining":
        return table
    trunk = {f"w2v_encoder.w2v_model.{n}": o for n, o in table.items() if o.startswith("trunk.")}
    return {**trunk, "w2v_encoder.proj": "head"}


def hugging_face(config: Wav2Vec2Config, kind: str) -> Table:
    """The same names for all models."""
    return HUGGING_FACE


def fairseq2(config: Wav2Vec2Config, kind: str) -> Table:
    """`final_proj` is the projection of the context in pretraining and the head of CTC."""
    norm = "0.group_norm" if _group(config) else "*.layer_norm"
    last = "encoder" if config.transformer.norm == "pre" else "encoder_frontend"
    return {
        **FAIRSEQ2,
        f"encoder_frontend.feature_extractor.layers.{norm}": _encoder_norm(config),
        f"{last}.layer_norm": "trunk.transformer.norm",
        "final_proj": "project_context" if kind == "pretraining" else "head",
    }


def torchaudio(config: Wav2Vec2Config, kind: str) -> Table:
    """Neither a mask vector nor a quantizer."""
    return TORCHAUDIO


def our_name(theirs: str, table: Table) -> str:
    """Our name of one of their tensors; KeyError if the table lacks it."""
    ours, leaf = _find(theirs, table)
    return _join(ours, LEAVES.get(leaf, leaf) if ours == POSITION else leaf)


def to_ours(weights: Mapping[str, Tensor], table: Table, source: str) -> dict[str, Tensor]:
    """The same tensors in float32 under our names; one that the table lacks is a UserError."""
    ours: dict[str, Tensor] = {}
    unknown = []
    for theirs, tensor in weights.items():
        try:
            ours[our_name(theirs, table)] = tensor.float()
        except KeyError:
            unknown.append(theirs)
    if unknown:
        raise UserError(
            f"{source} holds {len(unknown)} of {len(weights)} tensors that a wav2vec 2.0 model of "
            f"its settings does not have (first: {unknown[0]})"
        )
    folded = ours.pop(f"{POSITION}.weight", None)
    if folded is not None:
        gain = folded.norm(dim=(0, 1), keepdim=True)
        ours[f"{POSITION}.gain"] = gain
        # A tap of zeros has no direction, and any will do with a gain of 0; 0/0 would be NaN.
        ours[f"{POSITION}.direction"] = folded.where(gain > 0, 1.0)
    book, project = ours.get("quantizer.codebook_GVQ"), ours.get("project_targets.weight")
    if book is not None and project is not None and book.ndim == 3:
        groups = project.shape[1] // book.shape[2]
        if groups < 1 or book.shape[0] * book.shape[1] % groups:
            raise UserError(
                f"{source}: a codebook of shape {tuple(book.shape)} does not fit its projection "
                f"of width {project.shape[1]}"
            )
        ours["quantizer.codebook_GVQ"] = book.reshape(groups, -1, book.shape[2])
    return ours


def to_theirs(weights: Mapping[str, Tensor], table: Table) -> dict[str, Tensor]:
    """Our tensors under their names; KeyError if there is no place for one."""
    names = {ours: theirs for theirs, ours in table.items()}
    spelling = {ours: theirs for theirs, ours in reversed(LEAVES.items())}
    theirs: dict[str, Tensor] = {}
    for ours, tensor in weights.items():
        module, leaf = _find(ours, names)
        if ours == "quantizer.codebook_GVQ":
            tensor = tensor.reshape(1, -1, tensor.shape[2])
        theirs[_join(module, spelling.get(leaf, leaf))] = tensor
    return theirs


def _find(name: str, table: Table) -> tuple[str, str]:
    """The other side of the module that a tensor belongs to, and what follows the module."""
    number = re.search(r"\.(\d+)\.", name)
    for general in (re.sub(r"\.\d+\.", ".*.", name, count=1), name):
        parts = general.split(".")
        for end in range(len(parts), 0, -1):
            found = table.get(".".join(parts[:end]))
            if found is not None:
                other = found.replace("*", number[1]) if number else found
                return other, ".".join(parts[end:])
    raise KeyError(name)


def _join(module: str, leaf: str) -> str:
    return f"{module}.{leaf}" if leaf else module


def _group(config: Wav2Vec2Config) -> bool:
    assert isinstance(config.encoder, ConvolutionalConfig)
    return config.encoder.norm == "group"


def _encoder_norm(config: Wav2Vec2Config) -> str:
    return "trunk.encoder.blocks.0.norm" if _group(config) else "trunk.encoder.blocks.*.norm"
