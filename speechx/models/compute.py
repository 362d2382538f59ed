"""A trained encoder as fast as it gets: `prepare_for_inference`.

    prepare_for_inference(model, "bfloat16")
    model.encoder(wave_BS, lengths_B).context_BTD

On a CPU, utterances are computed one by one: nothing is spent on padding, attention needs no mask,
and an utterance gives the same numbers in every batch. Linear maps are packed, convolutions are
matrix products, the positional convolution is normalised once, and only the last layer is kept,
unless `keep_hidden` of the context network is set again.

`float32` gives what the encoder gave before, to 1e-5. `bfloat16` computes everything but the first
convolution and the head in bfloat16. `int8` has 8-bit weights and inputs in all linear maps of the
context network and in all convolutions of the extractor but the first; the rest is in bfloat16
where the processor multiplies it, else in float32. The parts of CPC and wav2vec (2019) have no
faster form: int8 leaves them in that type.

    B utterances · S samples · T frames · C feature channels · D = embed_dim
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from speechx.errors import UserError
from speechx.log import logger
from speechx.models.context.causal_convolutions import CausalConvolutions
from speechx.models.context.conformer import Conformer
from speechx.models.context.layers import AfterLayer, Attention
from speechx.models.context.lstm import LSTM
from speechx.models.context.transformer import PositionalConvolution, Transformer, TransformerLayer
from speechx.models.encoder import Encoder, EncoderOutput, Features
from speechx.models.features.convolutional import ConvolutionalExtractor
from speechx.models.features.windows import Linear, WindowExtractor
from speechx.models.packed import (
    Activation,
    Int8Linear,
    PackedLinear,
    multiplies_bfloat16,
    require_int8,
)

COMPUTE_TYPES = ("float32", "bfloat16", "int8")


def require_compute_type(compute_type: str) -> None:
    """Raises UserError for one that is not known."""
    if compute_type not in COMPUTE_TYPES:
        raise UserError(
            f"compute_type is {compute_type!r}; expected one of {', '.join(COMPUTE_TYPES)}"
        )


def prepare_for_inference(model: nn.Module, compute_type: str = "float32") -> None:
    """Changes `model.encoder` in place; load weights and move the model to its device before. After
    that it can neither be trained nor saved.

    Raises UserError for another compute type, and for int8 where the device has none.
    """
    require_compute_type(compute_type)
    encoder = model.encoder
    if not isinstance(encoder, Encoder):
        raise UserError("the model is prepared for inference already: open its folder again")
    device = encoder.mask_embedding.device
    if compute_type == "int8":
        if device.type != "cpu":
            raise UserError(
                f"compute_type int8 runs on the CPU, but the model is on {device}: give "
                "--device cpu, or compute_type bfloat16"
            )
        require_int8()
    if compute_type == "bfloat16" and device.type == "cpu" and not multiplies_bfloat16():
        logger.warning(
            "this processor multiplies bfloat16 many times slower than float32: int8 or float32 "
            "is faster here"
        )
    model.float()  # heads, and the weights that are rounded below
    model.encoder = InferenceEncoder(encoder.eval().requires_grad_(False), compute_type)


class InferenceEncoder(nn.Module):
    """`forward(wave (B, S), lengths (B,) or None)` of an encoder, for inference alone."""

    def __init__(self, encoder: Encoder, compute_type: str) -> None:
        super().__init__()
        self.config, self.embed_dim = encoder.config, encoder.embed_dim
        self.compute_type, self.encoder = compute_type, encoder
        dtype = torch.float32
        if compute_type == "bfloat16" or (compute_type == "int8" and multiplies_bfloat16()):
            dtype = torch.bfloat16
        self.one_by_one = encoder.mask_embedding.device.type == "cpu"
        assert isinstance(encoder.context, (Transformer, Conformer, LSTM, CausalConvolutions))
        encoder.context.keep_hidden = False
        if self.one_by_one:
            _pack(encoder, compute_type, dtype)
        else:
            encoder.to(dtype)

    def forward(
        self,
        wave_BS: Tensor,
        lengths_B: Tensor | None = None,
        after_layer: AfterLayer | None = None,
    ) -> EncoderOutput:
        """Context (B, T, D) and features in float32, 0 at padding; hidden states only where the
        context network keeps them. `wave_BS` at 16 kHz, `lengths_B` real samples per row, None if
        there is no padding. `after_layer` as in `Encoder.contextualize`."""
        context: Any = self.encoder.context
        keeps = context.keep_hidden
        if not self.one_by_one:
            output = self.encoder(wave_BS, lengths_B, after_layer=after_layer)
            hidden = tuple(x_BTD.float() for x_BTD in output.hidden) if keeps else ()
            return replace(output, context_BTD=output.context_BTD.float(), hidden=hidden)
        rows, width = wave_BS.shape
        lengths = [width] * rows if lengths_B is None else lengths_B.tolist()
        # Audio shorter than a frame becomes one frame of padding, as in training.
        size = max(self.config.features.frames(width), 1)
        context_BTD = wave_BS.new_zeros((rows, size, self.embed_dim), dtype=torch.float32)
        features_BTC, raw_BTC = (
            context_BTD.new_zeros((rows, size, self.config.features.dim)) for _ in range(2)
        )
        frames = [self.config.features.frames(length) for length in lengths]
        count_hidden = len(context.layers) + 1 if keeps else 0
        hidden = tuple(torch.zeros_like(context_BTD) for _ in range(count_hidden))
        for row, (length, count) in enumerate(zip(lengths, frames, strict=True)):
            if count:
                raw_1TC, _ = self.encoder.feature_extractor(wave_BS[row : row + 1, :length])
                features = Features(self.encoder.feature_norm(raw_1TC), None, raw_1TC)
                output = self.encoder.contextualize(features, after_layer=after_layer)
                context_BTD[row, :count] = output.context_BTD[0]
                features_BTC[row, :count] = features.features_BTC[0]
                raw_BTC[row, :count] = raw_1TC[0]
                for x_BTD, kept_1TD in zip(hidden, output.hidden, strict=False):
                    x_BTD[row, :count] = kept_1TD[0]
        short = width < self.config.features.receptive_field
        frames_B = None
        if lengths_B is not None or short:
            frames_B = torch.tensor(frames, device=wave_BS.device)
        features = Features(features_BTC, frames_B, raw_BTC)
        return EncoderOutput(context_BTD, frames_B, features, hidden)


def _pack(encoder: Encoder, compute_type: str, dtype: torch.dtype) -> None:
    """Replaces the parts that have a faster form. Weights are rounded once, from float32."""

    def pack(weight: Tensor, bias: Tensor | None, activation: Activation) -> Linear:
        if compute_type == "int8":
            return Int8Linear(weight, bias, activation, dtype)
        return PackedLinear(weight.to(dtype), None if bias is None else bias.to(dtype), activation)

    for module in list(encoder.context.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, nn.Linear):
                gelu = isinstance(module, TransformerLayer) and part is module.up
                setattr(module, name, pack(part.weight, part.bias, "gelu" if gelu else "none"))
        if isinstance(module, TransformerLayer):
            module.gelu = nn.Identity()
        if isinstance(module, Attention):
            module.by_head = dtype == torch.bfloat16
        if isinstance(module, PositionalConvolution):
            module.fold(dtype)
    projection, extractor = encoder.post_extract_proj, encoder.feature_extractor
    if isinstance(projection, nn.Linear):
        projection = PackedLinear(projection.weight.to(dtype), projection.bias.to(dtype))
    if isinstance(extractor, ConvolutionalExtractor):
        encoder.feature_extractor = nn.Identity()  # its norms stay in float32
        extractor = WindowExtractor(extractor, pack, dtype)
    encoder.to(dtype)
    encoder.feature_extractor = extractor
    encoder.add_module("post_extract_proj", projection)
