"""Adapters: small layers that fit a frozen encoder to one language (MMS, Pratap et al. 2024).

One stands behind every layer of the context network: layer norm, a linear map down, ReLU, a linear
map up, and a residual connection. A fresh adapter changes nothing, since its map up is zero.

    B utterances · T frames · D = embed_dim
"""

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config, require_positive
from speechx.text.languages import iso639_3

_NAME = re.compile(r"context\.layers\.\d+\.adapter\.")


@config
class AdapterConfig:
    """An adapter to be trained, with a head, on an encoder that stays as it is."""

    language: str
    """A code of ISO 639 or an English name; a script or a dialect may follow an ISO 639-3 code, as
    in `uzb-script_cyrillic`."""
    dim: int = 16
    """Width between the two linear maps."""
    start: str | None = None
    """A language of the model of `init` whose adapter and head are copied first; by default the
    adapter starts fresh."""

    def __post_init__(self) -> None:
        require_positive(self, "dim")
        if not re.fullmatch(r"[a-z]{3}([-_][a-z0-9]+)*", self.name):
            raise ValueError(
                f"language is {self.language!r}; expected a code of ISO 639-3 such as yor, or an "
                "English name from data_manifests/languages.tsv"
            )

    @property
    def name(self) -> str:
        """The language as files are named."""
        word = self.language.strip().casefold()
        own = re.fullmatch(r"[a-z]{3}-(script|dialect)_[a-z0-9]+", word)
        return word if own else iso639_3(word)


class Adapter(nn.Module):
    """(B, T, D) in and out."""

    def __init__(self, embed_dim: int, adapter_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.down = nn.Linear(embed_dim, adapter_dim)
        self.up = nn.Linear(adapter_dim, embed_dim)
        nn.init.normal_(self.down.weight, std=0.02)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return x_BTD + self.up(F.relu(self.down(self.norm(x_BTD))))


def is_adapter(name: str) -> bool:
    """Whether a parameter with this name, in a model or in an encoder, belongs to an adapter."""
    return _NAME.search(name) is not None


def make_adapter(embed_dim: int, adapter_dim: int | None) -> Adapter | None:
    """A fresh adapter of this width; None without a width."""
    return None if adapter_dim is None else Adapter(embed_dim, adapter_dim)


def adapter_shapes(embed_dim: int, adapter_dim: int, num_layers: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of an encoder's adapters."""
    with torch.device("meta"):
        tensors = Adapter(embed_dim, adapter_dim).state_dict()
    return {
        f"encoder.context.layers.{layer}.adapter.{name}": tuple(tensor.shape)
        for layer in range(num_layers)
        for name, tensor in tensors.items()
    }
