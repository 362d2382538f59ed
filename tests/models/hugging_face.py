"""Our names for the tensors of transformers' Wav2Vec2ForPreTraining, and its config of our model.

A table, not branches: `*` stands for the number of a layer, and what follows a name (weight, bias)
is the same on both sides.
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn

from speechx.models.wav2vec2 import Wav2Vec2Config
from speechx.models.waveform import ConvolutionalConfig

NAMES = {
    "wav2vec2.masked_spec_embed": "trunk.mask_vector",
    "wav2vec2.feature_extractor.conv_layers.*.conv": "trunk.encoder.blocks.*.conv",
    "wav2vec2.feature_extractor.conv_layers.*.layer_norm": "trunk.encoder.blocks.*.norm",
    "wav2vec2.feature_projection.layer_norm": "trunk.feature_norm",
    "wav2vec2.feature_projection.projection": "trunk.project",
    "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original0":
        "trunk.transformer.position.gain",
    "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1":
        "trunk.transformer.position.direction",
    "wav2vec2.encoder.pos_conv_embed.conv.bias": "trunk.transformer.position.bias",
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
}  # fmt: skip


def our_name(theirs: str) -> str:
    """Our name of one of their tensors; KeyError if the table lacks it."""
    number = re.search(r"\.(\d+)\.", theirs)
    general = theirs.replace(number[0], ".*.", 1) if number else theirs
    whole = NAMES.get(general)
    if whole is None:
        place, _, last = general.rpartition(".")
        whole = f"{NAMES[place]}.{last}"
    return whole.replace("*", number[1]) if number else whole


def copy_weights(theirs: nn.Module, ours: nn.Module) -> None:
    """Copies every tensor of `theirs` to its place in `ours`; none may be missing or left over."""
    own = ours.state_dict()
    given: dict[str, Tensor] = {our_name(name): t for name, t in theirs.state_dict().items()}
    # Only the codebook has another shape: (1, G*V, Q/G) there, (G, V, Q/G) here.
    ours.load_state_dict({name: t.reshape(own[name].shape) for name, t in given.items()})


def their_config(config: Wav2Vec2Config, **changes: Any) -> Any:
    """The transformers configuration of the same model."""
    from transformers import Wav2Vec2Config as Theirs

    assert isinstance(config.encoder, ConvolutionalConfig)
    layers, transformer, quantizer = config.encoder.layers, config.transformer, config.quantizer
    settings = {
        "conv_dim": [layer.channels for layer in layers],
        "conv_kernel": [layer.kernel for layer in layers],
        "conv_stride": [layer.stride for layer in layers],
        "conv_bias": config.encoder.bias,
        "feat_extract_norm": config.encoder.norm,
        "do_stable_layer_norm": transformer.norm == "pre",
        "hidden_size": transformer.width,
        "intermediate_size": transformer.inner,
        "num_hidden_layers": transformer.blocks,
        "num_attention_heads": transformer.heads,
        "num_conv_pos_embeddings": transformer.position_kernel,
        "num_conv_pos_embedding_groups": transformer.position_groups,
        "hidden_dropout": transformer.dropout,
        "attention_dropout": transformer.attention_dropout,
        "activation_dropout": transformer.activation_dropout,
        "layerdrop": transformer.layer_drop,
        "feat_proj_dropout": config.input_dropout,
        "feat_quantizer_dropout": config.target_dropout,
        "num_codevector_groups": quantizer.groups,
        "num_codevectors_per_group": quantizer.entries,
        "codevector_dim": quantizer.width,
        "proj_codevector_dim": quantizer.width,
    }
    return Theirs(**{**settings, **changes})
