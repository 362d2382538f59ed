"""Modified contrastive predictive coding (Riviere et al. 2020): which of N+1 frames is the one k
steps later?

    loss = sum over contexts t and steps k of
        -log( exp(f_k(c_1..c_t) . z_t+k / C) / sum_z~ exp(f_k(c_1..c_t) . z~ / C) )

z are the features, c the context of a causal encoder, and each f_k is a transformer of one layer
that sees the contexts up to t. z~ runs over the true frame and N frames of other times, drawn from
all windows of the same speaker in the batch, the same ones for all steps. Nothing is masked or
quantized. The sum is divided by the global number of predictions: contexts times steps.

A row of a batch is cut into windows, 1.28 seconds each, that the encoder sees one by one; what is
left at its end is not used, and the next random crop begins elsewhere. To have several windows of a
speaker, join the utterances of speakers to rows of several windows (`data.join_seconds`). A row
whose speaker the manifest does not name has negatives of its own alone.

The first and the last frame of a window see zeros beyond it. The logged variance is that of the
others; a model that knows no more than these two is 0.02 bits below a guess among 129.

    B utterances · S samples · L layers · R rows · W windows, of a row or of a batch · T frames of a
    window · P = T - K contexts · K steps · N negatives · J = N + 1 candidates
    · C feature channels = embed_dim · H heads · D distances in frames · E channels of a head
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config, require_fraction, require_positive
from speechx.data.batches import Batch
from speechx.log import logger
from speechx.models.encoder import Encoder, EncoderConfig
from speechx.objectives.future import FutureConfig, FutureObjective, future_loss
from speechx.objectives.negatives import sample_of_speakers
from speechx.objectives.objective import Loss
from speechx.text.vocabulary import Vocabulary


@config
class CPCConfig(FutureConfig):
    kind: Literal["cpc"] = "cpc"
    window: int = 20480
    """Samples of a window."""
    num_negatives: int = 128
    num_heads: int = 8
    """Of a predictor."""
    ffn_dim: int = 2048
    """Of a predictor."""
    dropout: float = 0.1
    """Of a predictor."""

    def __post_init__(self) -> None:
        FutureConfig.__post_init__(self)
        require_positive(self, "window", "num_negatives", "num_heads", "ffn_dim")
        require_fraction(self, "dropout")

    def draw(
        self, batch: Batch, random: np.random.Generator, encoder: EncoderConfig
    ) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Negatives as indices of all frames of all windows of the batch."""
        rows, samples = batch.wave_BS.shape
        windows, length = self.cut(samples)
        frames = encoder.features.frames(length)
        contexts = frames - self.num_steps
        negatives_RWPN = sample_of_speakers(
            batch.speakers or [None] * rows, windows, frames, contexts, self.num_negatives, random
        )
        counts = {"predictions": rows * windows * contexts * self.num_steps}
        return {"negatives_RWPN": torch.from_numpy(negatives_RWPN)}, counts

    def cut(self, samples: int) -> tuple[int, int]:
        """Into how many windows a row is cut, and the samples of one."""
        return max(1, samples // self.window), min(self.window, samples)

    def build(self, encoder: EncoderConfig, vocabulary: Vocabulary | None) -> CPC:
        return CPC(self, encoder)

    def require(self, encoder: EncoderConfig, least_seconds: float) -> None:
        FutureConfig.require(self, encoder, least_seconds)
        dim, frames = encoder.context.embed_dim, encoder.features.frames(self.window)
        if encoder.features.dim != dim or dim % self.num_heads:
            raise ValueError(
                f"objective cpc compares contexts with features: encoder.context.embed_dim ({dim}) "
                f"must be the channels of the features ({encoder.features.dim}) and a multiple of "
                f"objective.num_heads ({self.num_heads})"
            )
        if frames <= self.num_steps:
            raise ValueError(
                f"objective.window = {self.window} samples is {frames} frames, but more than "
                f"objective.num_steps = {self.num_steps} are needed"
            )


class CPC(FutureObjective):
    """A predictor for each step."""

    def __init__(self, config: CPCConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        contexts = encoder.features.frames(config.window) - config.num_steps
        self.predictors = nn.ModuleList(
            Predictor(config, encoder.features.dim, contexts) for _ in range(config.num_steps)
        )
        self.unnamed = False  # whether rows without a speaker have been logged

    def forward(
        self,
        encoder: Encoder,
        batch: Batch,
        step: int | None,
        layer_keep_L: Sequence[bool] | None = None,
    ) -> Loss:
        negatives_WPN = batch.draws["negatives_RWPN"].flatten(0, 1)
        windows, length = self.config.cut(batch.wave_BS.shape[1])
        wave_WS = batch.wave_BS[:, : windows * length].reshape(-1, length)
        output = encoder(wave_WS, layer_keep_L=layer_keep_L)
        features_WTC = output.features.features_BTC
        context_WPC = output.context_BTD[:, : negatives_WPN.shape[1]]
        predicted_WPKC = torch.stack([f(context_WPC) for f in self.predictors], 2)
        logits_WPKJ = scores(predicted_WPKC, features_WTC, negatives_WPN)
        truth = torch.zeros(logits_WPKJ[..., 0].numel(), dtype=torch.long, device=wave_WS.device)
        loss = F.cross_entropy(logits_WPKJ.flatten(0, 2), truth, reduction="sum")
        right_WPK = logits_WPKJ[..., 0] > logits_WPKJ[..., 1:].amax(3)
        chance_bits = logits_WPKJ.detach().isfinite().sum(3).float().log2().sum()
        unnamed = batch.speakers.count(None)
        if unnamed and not self.unnamed:
            self.unnamed = True
            logger.info(
                f"cpc: {unnamed} of {len(batch.ids)} rows of a batch name no speaker: the "
                "negatives of such a row come from itself (log.jsonl has without_speaker)"
            )
        return future_loss(
            loss, right_WPK.unbind(2), chance_bits, features_WTC[:, 1:-1],
            rows=float(len(batch.ids)), unnamed=float(unnamed),
        )  # fmt: skip

    def metrics(self, totals: Mapping[str, float]) -> dict[str, float]:
        """As of every prediction of later frames, and the share of rows without a speaker."""
        return {**super().metrics(totals), "without_speaker": totals["unnamed"] / totals["rows"]}


def scores(predicted_WPKC: Tensor, features_WTC: Tensor, negatives_WPN: Tensor) -> Tensor:
    """Mean products (W, P, K, J) of predictions with the true frame, which is the first candidate,
    and with the negatives. A negative that is the true frame itself has -inf."""
    windows, frames, channels = features_WTC.shape
    contexts, steps = predicted_WPKC.shape[1:3]
    with torch.autocast(features_WTC.device.type, enabled=False):
        predicted_WPKC, features_WTC = predicted_WPKC.float() / channels, features_WTC.float()
        # Frame t+k of context t, for every k: windows of K frames from frame 1 on.
        true_WPKC = features_WTC[:, 1:].unfold(1, steps, 1).transpose(2, 3)
        true_WPK1 = (predicted_WPKC * true_WPKC).sum(3, keepdim=True)
        false_WPNC = features_WTC.flatten(0, 1)[negatives_WPN]
        false_WPKN = predicted_WPKC @ false_WPNC.transpose(2, 3)
    first = torch.arange(windows, device=negatives_WPN.device)[:, None, None] * frames
    time_PK = torch.arange(contexts, device=first.device)[:, None] + torch.arange(
        1, steps + 1, device=first.device
    )
    itself_WPKN = negatives_WPN[:, :, None] == (first + time_PK)[..., None]
    return torch.cat([true_WPK1, false_WPKN.masked_fill(itself_WPKN, -torch.inf)], 3)


class Predictor(nn.Module):
    """A transformer layer in which a context sees itself and earlier ones, with a learned vector
    for each distance, added to the keys (shared by the heads), and layer norms after the sums:
    (W, P, C) in and out."""

    def __init__(self, config: CPCConfig, dim: int, contexts: int) -> None:
        super().__init__()
        self.num_heads, channels = config.num_heads, dim // config.num_heads
        self.query, self.key, self.value, self.out = (
            nn.Linear(dim, dim, bias=False) for _ in range(4)
        )
        self.position_DE = nn.Parameter(torch.empty(contexts, channels))
        nn.init.uniform_(self.position_DE, -1 / math.sqrt(channels), 1 / math.sqrt(channels))
        self.attention_norm, self.ffn_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.up, self.down = nn.Linear(dim, config.ffn_dim), nn.Linear(config.ffn_dim, dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_WPC: Tensor) -> Tensor:
        query_WHPE, key_WHPE, value_WHPE = (
            part(x_WPC).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        time_P = torch.arange(x_WPC.shape[1], device=x_WPC.device)
        distance_PP = time_P[:, None] - time_P
        by_distance_WHPD = query_WHPE @ self.position_DE[: len(time_P)].T.to(query_WHPE.dtype)
        index_WHPP = distance_PP.clamp(min=0).expand(by_distance_WHPD.shape)
        score_WHPP = query_WHPE @ key_WHPE.transpose(2, 3) + by_distance_WHPD.gather(3, index_WHPP)
        score_WHPP = score_WHPP.masked_fill(distance_PP < 0, -torch.inf)
        weight_WHPP = (score_WHPP / math.sqrt(query_WHPE.shape[3])).softmax(3)
        y_WHPE = self.dropout(weight_WHPP) @ value_WHPE
        x_WPC = self.attention_norm(x_WPC + self.out(y_WHPE.transpose(1, 2).flatten(2)))
        return self.ffn_norm(x_WPC + self.down(self.dropout(F.relu(self.up(x_WPC)))))
