"""Which frames of a padded batch are real, and their statistics.

B utterances · C channels · T frames
"""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Length = TypeVar("Length", int, Tensor)


def window_count(length: Length, size: int, hop: int) -> Length:
    """How many windows of `size`, one every `hop`, lie within a length; 0 if it is shorter."""
    count = (length - size) // hop + 1
    return count * (count > 0)


def frame_mask(frames_B: Tensor, width: int) -> Tensor:
    """(B, width) booleans, true on the first `frames_B` positions of each row."""
    return torch.arange(width, device=frames_B.device) < frames_B[:, None]


def real_statistics(
    x_BCT: Tensor, real_B1T: Tensor, dims: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Number of the real frames, their mean, `x_BCT` less that mean (0 at padding), and the sum of
    its squares; over `dims`, which stay as 1."""
    count = real_B1T.sum(dims, keepdim=True)
    mean = (x_BCT * real_B1T).sum(dims, keepdim=True) / count.clamp(min=1)
    centred_BCT = (x_BCT - mean) * real_B1T
    return count, mean, centred_BCT, centred_BCT.square().sum(dims, keepdim=True)


def scaled(centred_BCT: Tensor, variance: Tensor, norm: nn.GroupNorm | nn.BatchNorm1d) -> Tensor:
    """Divided by the deviation, times the weight of each channel, plus its bias."""
    x_BCT = centred_BCT * torch.rsqrt(variance + norm.eps)
    return x_BCT * norm.weight[:, None] + norm.bias[:, None]


def recording_norm(x_BCT: Tensor, lengths_B: Tensor | None, norm: nn.GroupNorm) -> Tensor:
    """Group norm with one group, over the channels and the real frames of each recording, in
    float32; the result has the type of the weights."""
    weight_C, bias_C = norm.weight.float(), norm.bias.float()
    if lengths_B is None:
        y_BCT = F.group_norm(x_BCT.float(), 1, weight_C, bias_C, norm.eps)
    else:
        real_BCT = frame_mask(lengths_B, x_BCT.shape[2])[:, None].expand(x_BCT.shape)
        count, _, centred_BCT, square = real_statistics(x_BCT.float(), real_BCT, (1, 2))
        y_BCT = scaled(centred_BCT, square / count.clamp(min=1), norm)
    return y_BCT.to(norm.weight.dtype)
