"""The random-projection quantizer of BEST-RQ (Chiu et al. 2022, section 3.1): a random map and
random codes, which never train.

    code = argmin over v of | norm(c_v) - norm(A x) |

A has Xavier's uniform distribution, the codes are normal; norm() divides by the length, so the
nearest code is the one with the greatest cosine. USM (Zhang et al. 2023) has several quantizers,
each with a map and codes of its own.

    M frames · N numbers of a frame · K codebooks · V codes of each · E width of a code
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RandomProjection(nn.Module):
    """The maps and the codes are saved with the model: other ones would be other targets."""

    map_KNE: Tensor
    codes_KVE: Tensor

    def __init__(self, size: int, num_codebooks: int, num_codes: int, dim: int) -> None:
        super().__init__()
        maps = [nn.init.xavier_uniform_(torch.empty(size, dim)) for _ in range(num_codebooks)]
        self.register_buffer("map_KNE", torch.stack(maps))
        codes_KVE = torch.randn(num_codebooks, num_codes, dim)
        self.register_buffer("codes_KVE", F.normalize(codes_KVE, dim=2))

    @torch.no_grad()
    def forward(self, x_MN: Tensor) -> Tensor:
        """The codes (M, K) of frames whose numbers have mean 0 and variance 1."""
        with torch.autocast(x_MN.device.type, enabled=False):
            return (x_MN.float() @ self.map_KNE @ self.codes_KVE.transpose(1, 2)).argmax(2).T
