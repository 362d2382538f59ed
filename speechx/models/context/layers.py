"""Attention, initialisation and the loop over layers of the context networks.

B utterances · T frames · D = embed_dim · H heads · C channels of a head · L layers
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

AfterLayer: TypeAlias = Callable[[int, Tensor], Tensor]
"""From the number of a layer, from 1 on, and its output (B, T, D) to what the next layer gets."""

QUERIES = 512  # at a time, so that their scores stay in the cache


class Attention(nn.Module):
    """Attention between the frames of an utterance; a subclass starts the linear maps, and chooses
    the queries and what the mask holds."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.by_head = False
        """Compute one head after the other where there is no mask, for inference."""

    def split(self, y: Tensor) -> Tensor:
        """(..., T, D) to (..., H, T, C)."""
        return y.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def attend(self, query_BHTC: Tensor, x_BTD: Tensor, attention_mask: Tensor | None) -> Tensor:
        key_BHTC, value_BHTC = self.split(self.key(x_BTD)), self.split(self.value(x_BTD))
        if self.by_head and attention_mask is None:
            return self.out(products_by_head(query_BHTC, key_BHTC, value_BHTC).flatten(2))
        y_BHTC = F.scaled_dot_product_attention(
            query_BHTC,
            key_BHTC,
            value_BHTC,
            attn_mask=attention_mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out(y_BHTC.transpose(1, 2).flatten(2))


def products_by_head(query_BHTC: Tensor, key_BHTC: Tensor, value_BHTC: Tensor) -> Tensor:
    """Attention (B, T, H, C) as two matrix products a head, for some queries at a time. They use
    the bfloat16 units of a processor better than `scaled_dot_product_attention` does."""
    y_BTHC = torch.empty_like(query_BHTC.transpose(1, 2), memory_format=torch.contiguous_format)
    scale = query_BHTC.shape[3] ** -0.5
    for row, y_THC in enumerate(y_BTHC):
        for head in range(query_BHTC.shape[1]):
            key_CT, value_TC = key_BHTC[row, head].T, value_BHTC[row, head]
            queries = (scale * query_BHTC[row, head]).split(QUERIES)
            for query_TC, y_TC in zip(queries, y_THC[:, head].split(QUERIES), strict=True):
                y_TC.copy_((query_TC @ key_CT).softmax(1) @ value_TC)
    return y_BTHC


def init_linear(*linears: nn.Linear) -> None:
    """Draws the weights with deviation 0.02, and sets the biases to 0."""
    for linear in linears:
        nn.init.normal_(linear.weight, std=0.02)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)


def run_layers(
    layers: nn.ModuleList,
    x_BTD: Tensor,
    layer_keep_L: Sequence[bool] | None,
    *given: Tensor | None,
    keep_hidden: bool = True,
    after_layer: AfterLayer | None = None,
) -> tuple[Tensor, ...]:
    """The input of the first layer and the output of every layer, which gets `given` too; without
    `keep_hidden` only the last. `layer_keep_L`: layers that LayerDrop keeps, None for all.
    `after_layer` may change an output."""
    hidden = [x_BTD]
    for index, layer in enumerate(layers):
        y_BTD = layer(x_BTD, *given)
        # A dropped layer is multiplied by 0 and not left out: every rank has the same graph and
        # every parameter a gradient.
        keep = layer_keep_L is None or layer_keep_L[index]
        x_BTD = y_BTD if keep else x_BTD + 0 * y_BTD
        if after_layer is not None:
            x_BTD = after_layer(index + 1, x_BTD)
        if not keep_hidden:
            hidden.clear()
        hidden.append(x_BTD)
    return tuple(hidden)
