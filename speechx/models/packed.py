"""Linear maps whose weights lie in the order that the processor multiplies them in.

oneDNN packs the weight once, and does the bias and the activation in the same pass: for the sizes
of wav2vec 2.0 Base, 1.1 times the speed of `torch.nn.functional.linear` in float32. int8 stores the
weight with one scale per output, and the input with one scale per call; the products are summed in
int32.

These are the operators that torch.compile uses on a CPU. Without oneDNN (an ARM Mac), float32 and
bfloat16 fall back to `torch.nn.functional.linear`; so does bfloat16 on processors without AVX-512.

    T rows · N outputs · K inputs
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.errors import UserError

Activation = Literal["none", "gelu"]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation) -> Tensor:
    """`activation(x @ weight.T + bias)` in one pass; the weight (N, K) may be packed."""
    if _packs(weight.dtype):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "none")
    y = F.linear(x, weight, bias)
    return F.gelu(y) if activation == "gelu" else y


def _packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies packed weights of this type here."""
    if dtype == torch.bfloat16:
        return torch.backends.mkldnn.is_available() and (
            torch.ops.mkldnn._is_mkldnn_bf16_supported()
        )
    return torch.backends.mkldnn.is_available()


class PackedLinear(nn.Module):
    """`activation(x @ weight.T + bias)` in the type of the weight, for inference on a CPU."""

    def __init__(
        self, weight_NK: Tensor, bias_N: Tensor | None, activation: Activation = "none"
    ) -> None:
        super().__init__()
        self.dtype, self.activation = weight_NK.dtype, activation
        self.weight = weight_NK.detach().contiguous()
        self.bias = None if bias_N is None else bias_N.detach()
        if _packs(self.dtype):
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, None)

    def encode(self, x: Tensor) -> Tensor:
        """The input as `multiply` takes it."""
        return x.to(self.dtype)

    def multiply(self, x: Tensor) -> Tensor:
        """(..., K) to (..., N)."""
        return linear(x, self.weight, self.bias, self.activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.multiply(self.encode(x))


class Int8Linear(nn.Module):
    """The same with an int8 weight, and an input that is rounded to 8 bits between its smallest and
    its largest value. Rounding depends on all rows that come together, so a caller who wants the
    same result for an utterance in every batch gives one utterance at a time."""

    def __init__(
        self,
        weight_NK: Tensor,
        bias_N: Tensor | None,
        activation: Activation = "none",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`dtype` is the type of the output. Raises UserError where oneDNN has no int8."""
        super().__init__()
        require_int8()
        weight_NK = weight_NK.detach().float()
        self.dtype, self.activation = dtype, activation
        self.bias = None if bias_N is None else bias_N.detach().float()
        self.scale_N = weight_NK.abs().amax(1).clamp(min=1e-12) / 127
        self.zero_N = torch.zeros(len(weight_NK), dtype=torch.int8)
        rounded_NK = (weight_NK / self.scale_N[:, None]).round().to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(rounded_NK, None)
        # Without VNNI, pairs of products are summed in int16, which 8 bits would overflow.
        self.levels = 255 if torch.cpu._is_vnni_supported() else 127

    def encode(self, x: Tensor) -> tuple[Tensor, float, int]:
        """Bytes, their scale and their zero."""
        low, high = (float(end) for end in torch.aminmax(x))
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / self.levels, 1e-12)
        zero = round(-low / scale)
        x_q = torch.quantize_per_tensor(x.float(), scale, zero, torch.quint8)
        return x_q.int_repr(), scale, zero

    def multiply(self, x: Tensor, scale: float, zero: int) -> Tensor:
        """(..., K) bytes to (..., N)."""
        return torch.ops.onednn.qlinear_pointwise(
            x, scale, zero, self.weight, self.scale_N, self.zero_N, self.bias, 1.0, 0, self.dtype,
            self.activation, [], "none",
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.multiply(*self.encode(x))


def multiplies_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 faster than float32; others are much slower."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def require_int8() -> None:
    """Raises UserError where the machine cannot multiply in int8."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_prepack")):
        raise UserError(
            "compute_type int8 needs a CPU of the x86 family and a torch with oneDNN, which this "
            "machine lacks: use float32 or bfloat16"
        )
