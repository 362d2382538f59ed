"""Which hidden states of an encoder the words "layer k" mean.

Layer 0 is the input of the first layer of the context network, with positions; layer k is what the
k-th layer gives. Toolkits differ on that, so the convention has a name:

hugging_face
    `hidden_states[k]` of transformers: the sum behind the residual connection, in post-norm
    models (base) behind its layer norm. The last layer of pre-norm models (large, XLSR) and of
    conformers has the final layer norm of the network too.
fairseq
    `extract_features(layer=k - 1)` of fairseq, `output_layer=k` of its HuBERT: the same, but never
    the final layer norm.
before_residual
    The third part of fairseq's `layer_results[k - 1]`: what the last feed-forward of the layer
    adds, before it is added (the targets of data2vec, Baevski et al. 2022, section 3.3). There is
    none of layer 0.

    B utterances · S samples · T frames · L layers that are read · D = embed_dim
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from speechx.errors import UserError
from speechx.models.context.conformer import ConformerLayer
from speechx.models.context.transformer import TransformerLayer
from speechx.models.encoder import Encoder

Convention: TypeAlias = Literal["hugging_face", "fairseq", "before_residual"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
Layer: TypeAlias = int | str | Sequence[int]
"""A number, several, `all`, or a text with commas."""


def parse_layers(layer: Layer, num_layers: int, convention: Convention) -> tuple[int, ...]:
    """The numbers of the layers, for a model that has `num_layers`. A UserError names what is wrong
    with them, or with the convention."""
    if convention not in CONVENTIONS:
        raise UserError(f"convention is {convention!r}; expected one of {', '.join(CONVENTIONS)}")
    least = 1 if convention == "before_residual" else 0
    if isinstance(layer, str):
        words = [word.strip() for word in layer.split(",")]
        if words == ["all"]:
            return tuple(range(least, num_layers + 1))
        if not all(word.isascii() and word.isdigit() for word in words):
            raise UserError(f"layer is {layer!r}; expected a number, several with commas, or all")
        layer = [int(word) for word in words]
    numbers = [layer] if isinstance(layer, int) else list(layer)
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
        raise UserError(f"layer is {layer!r}; expected a number, several, or all")
    for number in numbers:
        if number == 0 and least:
            raise UserError(
                "layer 0 is the input of the first layer: it has no residual to stop at"
            )
        if not least <= number <= num_layers:
            raise UserError(
                f"the model has no layer {number}; it has layers {least} to {num_layers}"
            )
    if len(set(numbers)) < len(numbers):
        raise UserError(f"layer is {layer!r}, which names a layer twice")
    return tuple(numbers)


def hidden_states(
    encoder: nn.Module,
    layers: Sequence[int],
    convention: Convention,
    wave_BS: Tensor,
    lengths_B: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """The layers (B, T, L, D) in float32, and the real frames per row. `encoder` is an `Encoder`,
    or one for inference; layers above the highest one are not computed."""
    inner = getattr(encoder, "encoder", encoder)
    assert isinstance(inner, Encoder)
    every = inner.context.layers
    assert isinstance(every, nn.ModuleList)
    before: dict[int, Tensor] = {}
    with _up_to(inner.context, max(layers)), ExitStack() as hooks:
        for number in layers if convention == "before_residual" else ():
            hooks.callback(_noting(every[number - 1], number, before).remove)
        output = encoder(wave_BS, lengths_B)
    if convention == "before_residual":
        found = [before[number] for number in layers]
    else:
        found = [output.hidden[number] for number in layers]
        if convention == "hugging_face" and len(every) in layers:
            found[layers.index(len(every))] = output.context_BTD
    return torch.stack([x_BTD.float() for x_BTD in found], 2), output.frames_B


@contextmanager
def _up_to(context: Any, highest: int) -> Iterator[None]:
    """A context network that ends with this layer, and keeps its hidden states."""
    layers, keeps = context.layers, context.keep_hidden
    context.layers, context.keep_hidden = layers[:highest], True
    try:
        yield
    finally:
        context.layers, context.keep_hidden = layers, keeps


def _noting(layer: nn.Module, number: int, before: dict[int, Tensor]) -> Any:
    """A hook on the last feed-forward of a layer that writes its output down."""
    match layer:
        case TransformerLayer():
            last: nn.Module = layer.down
        case ConformerLayer():
            last = layer.ffn2.down
        case _:
            raise UserError(
                f"layers of {type(layer).__name__} have no feed-forward with a residual: "
                "give another convention"
            )
    return last.register_forward_hook(lambda _, given, output: before.update({number: output}))
