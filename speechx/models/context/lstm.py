"""The LSTM context network of CPC (van den Oord et al. 2018, section 2.3; Riviere et al. 2020,
section 2.1): a frame sees what came before it, and nothing else.

    B utterances · T frames · D = embed_dim · L layers
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from speechx.config import config, require_positive
from speechx.models.adapters import make_adapter
from speechx.models.context.layers import AfterLayer, run_layers


@config
class LSTMConfig:
    kind: Literal["lstm"] = "lstm"
    num_layers: int = 1
    embed_dim: int = 256
    adapter_dim: int | None = None
    """Width of an adapter behind every layer; None: no adapters."""
    layer_drop = 0.0

    def __post_init__(self) -> None:
        require_positive(self, "num_layers", "embed_dim", "adapter_dim")


class LSTM(nn.Module):
    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(LSTMLayer(config) for _ in range(config.num_layers))
        self.keep_hidden = True

    def forward(
        self,
        x_BTD: Tensor,
        frames_B: Tensor | None = None,
        layer_keep_L: Sequence[bool] | None = None,
        after_layer: AfterLayer | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Context, and the input of the first layer and the output of every layer, each (B, T, D).
        Padding stands behind the `frames_B` real frames, which do not see it."""
        hidden = run_layers(
            self.layers, x_BTD, layer_keep_L, keep_hidden=self.keep_hidden, after_layer=after_layer
        )
        return hidden[-1], hidden


class LSTMLayer(nn.Module):
    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.lstm = nn.LSTM(config.embed_dim, config.embed_dim, batch_first=True)
        self.adapter = make_adapter(config.embed_dim, config.adapter_dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        # The state adds up over hundreds of frames: it stays in the type of the weights.
        with torch.autocast(x_BTD.device.type, enabled=False):
            y_BTD, _ = self.lstm(x_BTD.to(next(self.lstm.parameters()).dtype))
        return y_BTD if self.adapter is None else self.adapter(y_BTD)
