"""The causal convolutional context network of wav2vec (Schneider et al. 2019, section 3.1).

Every layer is a convolution over a frame and those before it, a group norm over the channels and
the frames of the recording, and ReLU; input and output are added and scaled by the square root of a
half. Before the first frame stand copies of it. The statistics of the norm run over the whole
recording, as in the paper: they are all that a frame knows of later ones.

    B utterances · T frames · D = embed_dim · L layers
"""

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config, require_positive
from speechx.models.adapters import make_adapter
from speechx.models.context.layers import AfterLayer, run_layers
from speechx.models.lengths import recording_norm

SCALE = math.sqrt(0.5)  # of the sum of input and output


@config
class CausalConvolutionsConfig:
    kind: Literal["causal_convolutions"] = "causal_convolutions"
    kernels: tuple[int, ...] = tuple(range(2, 14))
    """Frames that each layer sees."""
    embed_dim: int = 512
    adapter_dim: int | None = None
    """Width of an adapter behind every layer; None: no adapters."""
    layer_drop = 0.0

    def __post_init__(self) -> None:
        require_positive(self, "embed_dim", "adapter_dim")
        if not self.kernels or min(self.kernels) < 1:
            raise ValueError("kernels must hold at least one number of frames, each 1 or more")

    @property
    def num_layers(self) -> int:
        return len(self.kernels)


class CausalConvolutions(nn.Module):
    def __init__(self, config: CausalConvolutionsConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(CausalConvolution(config, k) for k in config.kernels)
        self.keep_hidden = True

    def forward(
        self,
        x_BTD: Tensor,
        frames_B: Tensor | None = None,
        layer_keep_L: Sequence[bool] | None = None,
        after_layer: AfterLayer | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Context, and the input of the first layer and the output of every layer, each (B, T, D).
        `frames_B`: real frames per row, None if there is no padding."""
        hidden = run_layers(
            self.layers,
            x_BTD,
            layer_keep_L,
            frames_B,
            keep_hidden=self.keep_hidden,
            after_layer=after_layer,
        )
        return hidden[-1], hidden


class CausalConvolution(nn.Module):
    def __init__(self, config: CausalConvolutionsConfig, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(config.embed_dim, config.embed_dim, kernel)
        self.norm = nn.GroupNorm(1, config.embed_dim)
        self.adapter = make_adapter(config.embed_dim, config.adapter_dim)

    def forward(self, x_BTD: Tensor, frames_B: Tensor | None) -> Tensor:
        x_BDT = x_BTD.transpose(1, 2)
        before = self.conv.kernel_size[0] - 1
        y_BDT = self.conv(F.pad(x_BDT, (before, 0), mode="replicate"))
        y_BDT = F.relu(recording_norm(y_BDT, frames_B, self.norm))
        x_BTD = ((x_BDT + y_BDT) * SCALE).transpose(1, 2)
        return x_BTD if self.adapter is None else self.adapter(x_BTD)
