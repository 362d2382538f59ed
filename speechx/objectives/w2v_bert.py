"""w2v-BERT (Chung et al. 2021, section 3), the speech half of mSLAM (Bapna et al. 2022): the
contrastive objective of wav2vec 2.0 in the lower layers, and in the upper ones: which codes did its
quantizer give to the frames that were masked?

    loss = contrastive loss of wav2vec 2.0 with the context of layer `contrastive_layer`
        + prediction * sum over masked frames of the mean over groups of -log softmax(W c)[code]

c is the context of the last layer. The codes are those of the contrastive loss, and carry no
gradient. Both sums are divided by the global number of masked frames. In the paper masked frames
are random vectors; here they are the learned vector of wav2vec 2.0.

    B utterances · S samples · T frames · L layers · M masked frames · G groups · V entries of a
    group · D = embed_dim
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import nn
from torch.nn import functional as F

from speechx.config import config, require_not_negative, require_positive
from speechx.data.batches import Batch
from speechx.models.encoder import Encoder, EncoderConfig
from speechx.models.quantizer import QuantizerConfig
from speechx.objectives.objective import LogLine, Loss, Panel, Signature, Term
from speechx.objectives.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from speechx.text.vocabulary import Vocabulary


@config
class W2vBertConfig(Wav2Vec2Config):
    kind: Literal["w2v_bert"] = "w2v_bert"  # type: ignore[assignment]
    quantizer: QuantizerConfig = QuantizerConfig(num_groups=1, num_entries=1024, dim=1024)
    contrastive_layer: int = 8
    """How many layers the contrastive loss sees: 8 of 24 in mSLAM 0.6B."""
    prediction: float = 1.0
    """Weight of the prediction of codes."""
    features_penalty: float = 0.0

    def __post_init__(self) -> None:
        Wav2Vec2Config.__post_init__(self)  # super() does not work in a class with slots
        require_positive(self, "contrastive_layer")
        require_not_negative(self, "prediction")

    def build(self, encoder: EncoderConfig, vocabulary: Vocabulary | None) -> W2vBert:
        return W2vBert(self, encoder)

    def require(self, encoder: EncoderConfig, least_seconds: float) -> None:
        Wav2Vec2Config.require(self, encoder, least_seconds)
        layers = getattr(encoder.context, "num_layers", 1)
        if encoder.context.kind not in ("transformer", "conformer"):
            raise ValueError(
                f"objective w2v_bert predicts masked frames from both sides: set "
                f"encoder.context.kind to conformer or transformer, not {encoder.context.kind}"
            )
        if self.contrastive_layer >= layers:
            raise ValueError(
                f"objective.contrastive_layer = {self.contrastive_layer} leaves none of the "
                f"{layers} layers of the encoder for the prediction of codes"
            )

    def signatures(self) -> tuple[Signature, ...]:
        rate = "lower optim.lr, or raise objective.prediction"
        unpredicted = Signature("E101", "chance level", rate, self._unpredicted, after_warmup=True)
        return (*Wav2Vec2Config.signatures(self), unpredicted)

    def panels(self) -> tuple[Panel, ...]:
        bits = ("prediction_bits", "dev_prediction_bits", "prediction_chance_bits")
        return (
            *Wav2Vec2Config.panels(self),
            Panel("predicted codes, bits per group", bits, scale="from zero"),
            Panel("accuracy of predicted codes", ("prediction_accuracy",), scale="from zero"),
        )

    def _unpredicted(self, line: LogLine) -> str:
        bits, chance = (line.values[f"prediction_{name}"] for name in ("bits", "chance_bits"))
        if bits < (1 - self.limits.chance) * chance:
            return ""
        return (
            f"the predicted codes do not depend on the frames ({bits:.3f} bits, chance is "
            f"{chance:.3f}; accuracy {line.values['prediction_accuracy']:.3f})"
        )


class W2vBert(Wav2Vec2):
    """wav2vec 2.0, and a softmax for the codes of each group."""

    headline: ClassVar[tuple[str, ...]] = (
        "bits", "chance_bits", "prediction_bits", "prediction_accuracy", "code_perplexity",
    )  # fmt: skip

    def __init__(self, config: W2vBertConfig, encoder: EncoderConfig) -> None:
        super().__init__(config, encoder)
        self.layer, self.weight = config.contrastive_layer, config.prediction
        self.head = nn.Linear(encoder.context.embed_dim, config.quantizer.num_codes)

    def forward(
        self,
        encoder: Encoder,
        batch: Batch,
        step: int | None,
        layer_keep_L: Sequence[bool] | None = None,
    ) -> Loss:
        mask_BT, lengths_B = batch.draws["mask_BT"], batch.padded_lengths_B
        output = encoder(batch.wave_BS, lengths_B, mask_BT, layer_keep_L=layer_keep_L)
        lower, codes_BMG = self.contrast(output, output.hidden[self.layer], batch, step)
        codes_MG, groups = codes_BMG.flatten(0, 1), codes_BMG.shape[2]
        logits_MGV = self.head(output.context_BTD[mask_BT]).float().unflatten(1, (groups, -1))
        loss = F.cross_entropy(logits_MGV.flatten(0, 1), codes_MG.flatten(), reduction="sum")
        loss = loss / groups
        predicted_MGV = logits_MGV.detach().softmax(2)
        guess_GV = predicted_MGV.mean(0)
        guess_MG = guess_GV.T.gather(0, codes_MG)
        totals = {
            **lower.totals,
            "prediction": loss.detach(),
            "prediction_chance": -guess_MG.log2().mean(1).sum(),
            "prediction_correct": (predicted_MGV.argmax(2) == codes_MG).float().mean(1).sum(),
        }
        return Loss((*lower.terms, Term(self.weight * loss, "masked frames")), totals)

    def metrics(self, totals: Mapping[str, float]) -> dict[str, float]:
        """As of wav2vec 2.0; and per masked frame and group the bits of the predicted codes, those
        of the mean prediction, and their accuracy."""
        values, masked = super().metrics(totals), totals["masked"]
        values["loss"] += self.weight * totals["prediction"] / masked
        return {
            **values,
            "prediction_bits": totals["prediction"] / masked / math.log(2),
            "prediction_chance_bits": totals["prediction_chance"] / masked,
            "prediction_accuracy": totals["prediction_correct"] / masked,
        }
