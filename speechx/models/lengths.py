"""Which frames of a padded batch are real.

B utterances · T frames
"""

import torch
from torch import Tensor


def frame_mask(frames_B: Tensor, width: int) -> Tensor:
    """(B, width) booleans, true on the first `frames_B` positions of each row."""
    return torch.arange(width, device=frames_B.device) < frames_B[:, None]
