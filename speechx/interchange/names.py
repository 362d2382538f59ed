"""The names of the tensors of a wav2vec 2.0 model in other toolkits.

One table per format, from the name of a module there to its name here. `*` stands for the number
of a layer; the end of a name after its module (weight, bias) is the same on both sides. A table is
one-to-one for a given model, so it is read in both directions:

    to_ours(weights, fairseq(encoder, head=False), "model.pt")    to_theirs(weights, HUGGING_FACE)

Two tensors differ in more than their name. The codebook is (1, G*V, E) elsewhere and (G, V, E)
here. The weight-normed positional convolution has three spellings: `weight_g` with `weight_v`,
torch's newer `parametrizations.weight.original0` with `original1`, and a folded `weight`, whose
norm per tap is `weight_g`. All are read; `weight_g` with `weight_v`, which all four load, is
written.

    G groups · V entries of a group · E width of an entry
"""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from speechx.errors import UserError
from speechx.models.context.transformer import TransformerConfig
from speechx.models.encoder import EncoderConfig
from speechx.models.features.convolutional import ConvolutionalConfig
from speechx.models.presets import base, large

Table = Mapping[str, str]

POSITION = "encoder.context.position"
PROJECTION = "encoder.post_extract_proj"
QUANTIZER, HEAD = "objectives.wav2vec2.", "objectives.ctc.head"
"""Where models that were read have the parts that not every model has."""
CODEBOOK = f"{QUANTIZER}quantizer.codebook"
LEAVES = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}
_LAYER = (  # the modules of a layer: here, in fairseq, in transformers, in fairseq2
    ("attention.query", "self_attn.q_proj", "attention.q_proj", "self_attn.q_proj"),
    ("attention.key", "self_attn.k_proj", "attention.k_proj", "self_attn.k_proj"),
    ("attention.value", "self_attn.v_proj", "attention.v_proj", "self_attn.v_proj"),
    ("attention.out", "self_attn.out_proj", "attention.out_proj", "self_attn.output_proj"),
    ("attention_norm", "self_attn_layer_norm", "layer_norm", "self_attn_layer_norm"),
    ("up", "fc1", "feed_forward.intermediate_dense", "ffn.inner_proj"),
    ("down", "fc2", "feed_forward.output_dense", "ffn.output_proj"),
    ("ffn_norm", "final_layer_norm", "final_layer_norm", "ffn_layer_norm"),
)


def _layers(column: int, start: str = "") -> Table:
    return {
        f"{start}encoder.layers.*.{row[column]}": f"encoder.context.layers.*.{row[0]}"
        for row in _LAYER
    }


FAIRSEQ = {
    "mask_emb": "encoder.mask_embedding",
    "feature_extractor.conv_layers.*.0": "encoder.feature_extractor.layers.*.conv",
    "layer_norm": "encoder.feature_norm",
    "post_extract_proj": PROJECTION,
    "encoder.pos_conv.0": POSITION,
    "encoder.layer_norm": "encoder.context.norm",
    **_layers(1),
    "quantizer.weight_proj": f"{QUANTIZER}quantizer.weight_proj",
    "quantizer.vars": CODEBOOK,
    "project_q": f"{QUANTIZER}project_q",
    "final_proj": f"{QUANTIZER}project_hid",
}

HUGGING_FACE = {
    "wav2vec2.masked_spec_embed": "encoder.mask_embedding",
    "wav2vec2.feature_extractor.conv_layers.*.conv": "encoder.feature_extractor.layers.*.conv",
    "wav2vec2.feature_extractor.conv_layers.*.layer_norm":
        "encoder.feature_extractor.layers.*.norm",
    "wav2vec2.feature_projection.layer_norm": "encoder.feature_norm",
    "wav2vec2.feature_projection.projection": PROJECTION,
    "wav2vec2.encoder.pos_conv_embed.conv": POSITION,
    "wav2vec2.encoder.layer_norm": "encoder.context.norm",
    **_layers(2, "wav2vec2."),
    "wav2vec2.encoder.layers.*.adapter_layer.norm": "encoder.context.layers.*.adapter.norm",
    "wav2vec2.encoder.layers.*.adapter_layer.linear_1": "encoder.context.layers.*.adapter.down",
    "wav2vec2.encoder.layers.*.adapter_layer.linear_2": "encoder.context.layers.*.adapter.up",
    "quantizer.weight_proj": f"{QUANTIZER}quantizer.weight_proj",
    "quantizer.codevectors": CODEBOOK,
    "project_q": f"{QUANTIZER}project_q",
    "project_hid": f"{QUANTIZER}project_hid",
    "lm_head": HEAD,
}  # fmt: skip

FAIRSEQ2 = {
    "masker.temporal_mask_embed": "encoder.mask_embedding",
    "encoder_frontend.feature_extractor.layers.*.conv": "encoder.feature_extractor.layers.*.conv",
    "encoder_frontend.post_extract_layer_norm": "encoder.feature_norm",
    "encoder_frontend.model_dim_proj": PROJECTION,
    "encoder_frontend.pos_encoder.conv": POSITION,
    **_layers(3),
    "quantizer.entry_proj": f"{QUANTIZER}quantizer.weight_proj",
    "quantizer.entries": CODEBOOK,
    "final_target_proj": f"{QUANTIZER}project_q",
}

_TORCHAUDIO = {
    "wav2vec2.feature_extractor": "feature_extractor",
    "wav2vec2.feature_projection": "encoder.feature_projection",
    "wav2vec2.encoder": "encoder.transformer",
    "lm_head": "aux",
}
TORCHAUDIO = {
    theirs + name.removeprefix(start): ours
    for start, theirs in _TORCHAUDIO.items()
    for name, ours in HUGGING_FACE.items()
    if name.startswith(start)
}
"""The modules of transformers, elsewhere in the tree."""


def fairseq(encoder: EncoderConfig, head: bool) -> Table:
    """A CTC model there holds its encoder as `w2v_encoder.w2v_model` and its head as `proj`."""
    norm = "conv_layers.0.2" if _group(encoder) else "conv_layers.*.2.1"
    table = {**FAIRSEQ, f"feature_extractor.{norm}": _extractor_norm(encoder)}
    if not head:
        return table
    inner = {n: ours for n, ours in table.items() if ours.startswith("encoder.")}
    return {**{f"w2v_encoder.w2v_model.{n}": o for n, o in inner.items()}, "w2v_encoder.proj": HEAD}


def fairseq2(encoder: EncoderConfig, head: bool) -> Table:
    """`final_proj` is the projection of the context in pretraining and the head of CTC."""
    norm = "0.group_norm" if _group(encoder) else "*.layer_norm"
    pre = isinstance(encoder.context, TransformerConfig) and encoder.context.norm == "pre"
    return {
        **FAIRSEQ2,
        f"encoder_frontend.feature_extractor.layers.{norm}": _extractor_norm(encoder),
        f"{'encoder' if pre else 'encoder_frontend'}.layer_norm": "encoder.context.norm",
        "final_proj": HEAD if head else f"{QUANTIZER}project_hid",
    }


def any_norm(table: Callable[[EncoderConfig, bool], Table], head: bool) -> Table:
    """For reading: the names with both kinds of norm, so that a norm that contradicts the settings
    is reported as such."""
    return {n: o for preset in (base(), large()) for n, o in table(preset.encoder, head).items()}


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
        norm = folded.norm(dim=(0, 1), keepdim=True)
        ours[f"{POSITION}.weight_g"] = norm
        # A tap of zeros has no direction, and any will do with a norm of 0; 0/0 would be NaN.
        ours[f"{POSITION}.weight_v"] = folded.where(norm > 0, 1.0)
    book, project = ours.get(CODEBOOK), ours.get(f"{QUANTIZER}project_q.weight")
    if book is not None and project is not None and book.ndim == 3:
        groups = project.shape[1] // book.shape[2]
        if groups < 1 or book.shape[0] * book.shape[1] % groups:
            raise UserError(
                f"{source}: a codebook of shape {tuple(book.shape)} does not fit its projection "
                f"of width {project.shape[1]}"
            )
        ours[CODEBOOK] = book.reshape(groups, -1, book.shape[2])
    return ours


def to_theirs(weights: Mapping[str, Tensor], table: Table) -> dict[str, Tensor]:
    """Our tensors under their names; KeyError if there is no place for one."""
    names = {ours: theirs for theirs, ours in table.items()}
    theirs: dict[str, Tensor] = {}
    for ours, tensor in weights.items():
        module, leaf = _find(ours, names)
        if ours == CODEBOOK:
            tensor = tensor.reshape(1, -1, tensor.shape[2])
        theirs[_join(module, leaf)] = tensor
    return theirs


def _find(name: str, table: Table) -> tuple[str, str]:
    """The module on the other side that a tensor belongs to, and the end of the tensor's name."""
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


def _group(encoder: EncoderConfig) -> bool:
    assert isinstance(encoder.features, ConvolutionalConfig)
    return encoder.features.norm == "group"


def _extractor_norm(encoder: EncoderConfig) -> str:
    return f"encoder.feature_extractor.layers.{'0' if _group(encoder) else '*'}.norm"
