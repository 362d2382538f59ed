"""CTC at layers in between (Lee and Watanabe 2021, section 3), and layers conditioned on it (Nozaki
and Komatsu 2021, section 3).

    loss = (1 - weight) * CTC of the last layer + weight * mean over the chosen layers of their CTC

All share the linear map of the head; before it, the layers in between have a layer norm that they
share. Self-conditioned CTC then adds what such a layer would write to its output, for the layers
above:

    x' = x + W softmax(head(norm(x)))

    B utterances · T frames · D = embed_dim · V = blank and tokens
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from speechx.config import config, require_fraction
from speechx.models.context.layers import AfterLayer
from speechx.models.encoder import EncoderConfig
from speechx.text.vocabulary import BLANK


@config
class IntermediateCTC:
    layers: tuple[int, ...]
    """After which layers, from 1 on and below the last."""
    weight: float = 0.5
    """Of their losses in the whole loss."""
    self_conditioned: bool = False
    """Whether the layers above get what these layers would write."""

    def __post_init__(self) -> None:
        require_fraction(self, "weight")
        if not self.layers or min(self.layers) < 1 or len(set(self.layers)) < len(self.layers):
            raise ValueError(
                f"layers {list(self.layers)} must be one or more different numbers from 1 on"
            )

    def require(self, encoder: EncoderConfig, kernel: int) -> None:
        """Raises ValueError if the encoder has no such layers below its last."""
        last = encoder.context.num_layers
        if max(self.layers) >= last:
            raise ValueError(
                f"objective.intermediate.layers {list(self.layers)} must be below the last layer, "
                f"which is {last}"
            )
        if self.self_conditioned and kernel > 1:
            raise ValueError(
                "objective.intermediate.self_conditioned needs an output for every frame: leave "
                "objective.kernel and objective.stride at 1"
            )


class IntermediateHead(nn.Module):
    """The layer norm, and the map W from what is written back to the encoder."""

    def __init__(self, config: IntermediateCTC, encoder: EncoderConfig, size: int) -> None:
        super().__init__()
        self.config, dim = config, encoder.context.embed_dim
        self.norm = nn.LayerNorm(dim)
        self.back = nn.Linear(size, dim) if config.self_conditioned else None

    def after_layer(
        self, scores: Callable[[Tensor], Tensor], found: list[Tensor] | None = None
    ) -> AfterLayer | None:
        """What the encoder calls after each of its layers: it adds the condition, and the scores
        (B, T, V) of the chosen layers to `found`. None where nothing is to be done."""
        if self.back is None and found is None:
            return None
        back = self.back

        def read(layer: int, x_BTD: Tensor) -> Tensor:
            if layer not in self.config.layers:
                return x_BTD
            scores_BTV = scores(self.norm(x_BTD.to(self.norm.weight.dtype)))
            if found is not None:
                found.append(scores_BTV)
            if back is None:
                return x_BTD
            written_BTV = scores_BTV.float().softmax(2).to(back.weight.dtype)
            return x_BTD + back(written_BTV).to(x_BTD.dtype)

        return read

    def copy(self, weights: Mapping[str, Tensor], rows: Sequence[tuple[int, int]]) -> None:
        """Copies the norm, and W for the tokens that another head shares: our row and theirs."""
        with torch.no_grad():
            for name in ("weight", "bias"):
                if (norm_D := weights.get(f"intermediate.norm.{name}")) is not None:
                    getattr(self.norm, name).copy_(norm_D)
            back_DV = weights.get("intermediate.back.weight")
            if self.back is not None and back_DV is not None:
                self.back.bias.copy_(weights["intermediate.back.bias"])
                for new, old in [(BLANK, BLANK), *rows]:
                    self.back.weight[:, new] = back_DV[:, old]
