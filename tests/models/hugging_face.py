"""Weights and settings of transformers' Wav2Vec2ForPreTraining, for comparisons with ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from speechx.interchange import names
from speechx.models.wav2vec2 import Wav2Vec2Config
from speechx.models.waveform import ConvolutionalConfig


def our_name(theirs: str) -> str:
    """Our name of one of their tensors; KeyError if the table lacks it."""
    return names.our_name(theirs, names.HUGGING_FACE)


def copy_weights(theirs: nn.Module, ours: nn.Module) -> None:
    """Copies every tensor of `theirs` to its place in `ours`; none may be missing or left over."""
    given: dict[str, Tensor] = dict(theirs.state_dict())
    ours.load_state_dict(names.to_ours(given, names.HUGGING_FACE, "transformers"))


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
