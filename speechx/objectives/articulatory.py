"""The articulatory objective: CTC on phones that are composed of their attributes.

Allophant (Glocker, Herygers and Georges 2023, section 2), with the composition of Li et al. (2021,
"Hierarchical phone recognition with compositional phonetics"): every attribute (voiced at the
beginning, nasal at the end, two parts, ...) has an embedding, and the output row of a phone is the
sum of the embeddings of its attributes, scaled. The loss is that of the `ctc` objective, and so is
everything else. A phone that training never had has attributes too, so `for_inventory` gives a CTC
head for the phones of any language, without mapping.

Two things differ from Allophant: attributes are taken relative to their mean over the training
phones, and embeddings are as wide as the context. The outputs that are possible are the same, since
the blank has a row of its own; but the part that all phones share no longer changes in large steps,
so the head learns faster.

The attributes come from PanPhon (`speechx.text.articulation`). They are looked up when a fresh head
is first used, and are saved with it: a trained model needs PanPhon only for phones that are new.

A token that has no attributes (a tone, `ai5`), or those of a simpler token (ɪ̝ beside ɪ), gets an
output row of its own, as every token of the `ctc` objective has; the blank too.

Allophant's classifiers of single attributes and its allophone layer are not part of this.

    B utterances · T frames · D = embed_dim · A attributes · V = blank and tokens
    · U = blank and phones of a language
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.config import config
from speechx.errors import UserError
from speechx.log import logger
from speechx.models.encoder import EncoderConfig
from speechx.objectives.ctc import CTC, CTCConfig
from speechx.objectives.ctc_loss import CTCHeadConfig
from speechx.text.articulation import (
    NUM_ATTRIBUTES,
    attributes,
    problem_without_features,
)
from speechx.text.ipa import normalize_ipa
from speechx.text.vocabulary import BLANK, Vocabulary

UNSEEN = -1  # in place of a row, for a phone that training did not have
SCALE = 0.25  # of the sum, so that rows change about as fast as rows of a CTC head


@config
class ArticulatoryConfig(CTCHeadConfig):
    kind: Literal["articulatory"] = "articulatory"
    tokens: Literal["phonemes"] = "phonemes"

    @property
    def token_type(self) -> Literal["phonemes"]:
        return self.tokens

    def build(self, encoder: EncoderConfig, vocabulary: Vocabulary | None) -> Articulatory:
        assert vocabulary is not None
        return Articulatory(self, encoder, vocabulary)


class Articulatory(CTC):
    """A CTC head whose output rows are sums of the embeddings of attributes.

    `embeddings` has a row per attribute. `head` has the rows of the blank and of tokens with a row
    of their own (`own_V` is 1); its other rows are not used.
    """

    attributes_VA: Tensor
    mean_A: Tensor
    own_V: Tensor

    def __init__(
        self, config: ArticulatoryConfig, encoder: EncoderConfig, vocabulary: Vocabulary
    ) -> None:
        super().__init__(config, encoder, vocabulary)
        self.embeddings = nn.Linear(encoder.context.embed_dim, NUM_ATTRIBUTES)
        for parameter in (*self.embeddings.parameters(), self.head.weight):
            nn.init.zeros_(parameter)  # an attribute that training never has stays without effect
        tokens = len(vocabulary)
        self.register_buffer("attributes_VA", torch.zeros(tokens, NUM_ATTRIBUTES, dtype=torch.int8))
        self.register_buffer("mean_A", torch.zeros(NUM_ATTRIBUTES))
        self.register_buffer("own_V", torch.zeros(tokens, dtype=torch.int8))
        self.encoder_config = encoder
        self._known = False

    def scores(self, context_BTD: Tensor) -> Tensor:
        with torch.autocast(context_BTD.device.type, enabled=False):
            weight_VD, bias_V = self.rows()
        return F.linear(context_BTD, weight_VD, bias_V)

    def rows(self) -> tuple[Tensor, Tensor]:
        """Weight (V, D) and bias (V,) of the outputs for the blank and the tokens."""
        self._look_up()
        everything = torch.arange(len(self.own_V), device=self.own_V.device)
        return self._rows(self.attributes_VA, self.own_V, everything)

    def for_inventory(self, phones: Sequence[str]) -> CTC:
        """A CTC head that writes these phones and nothing else, for inference, without mapping.

        A phone that this head was trained on keeps its output; another one is composed of its
        attributes, for which PanPhon is needed. Phones for which there is neither are left out, and
        logged; so are phones that have the same attributes, of which the first is written. Raises
        UserError if no phone is left.
        """
        written, lost, row_U, attributes_UA, own_U = self._outputs(phones)
        if lost:
            logger.info(
                f"{len(lost)} of {len(lost) + len(written)} phones of the language are never "
                "written, because they have no articulatory features and the model was not trained "
                f"on them: {' '.join(lost)}"
            )
        if alike := [" and ".join(group) for group in _alike(written, attributes_UA, own_U)]:
            logger.info(
                "phones of the language with the same attributes, of which only the first is "
                f"written: {'; '.join(alike)}"
            )
        vocabulary = Vocabulary("phonemes", tuple(written))
        made = CTC(CTCConfig(tokens="phonemes"), self.encoder_config, vocabulary)
        made.to(self.head.weight).requires_grad_(False).eval()
        made.temperature = self.temperature
        with torch.no_grad():
            device = self.own_V.device
            given = attributes_UA.to(device), own_U.to(device), row_U.to(device)
            for parameter, rows in zip(made.head.parameters(), self._rows(*given), strict=True):
                parameter.copy_(rows)
        return made

    def composition(self, phones: Sequence[str]) -> dict[str, str]:
        """Where `for_inventory` has the output of each phone from: `trained`, `composed`, or why it
        is never written. Raises UserError if no phone can be written."""
        written, lost, row_U, attributes_UA, own_U = self._outputs(phones)
        outputs = zip(written, row_U[1:].tolist(), strict=True)
        found = {phone: "composed" if row == UNSEEN else "trained" for phone, row in outputs}
        found |= dict.fromkeys(lost, "never written, has no features")
        for first, *others in _alike(written, attributes_UA, own_U):
            found |= dict.fromkeys(others, f"never written, has the features of {first}")
        return found

    def _outputs(
        self, phones: Sequence[str]
    ) -> tuple[list[str], list[str], Tensor, Tensor, Tensor]:
        """The phones that can be written and those that cannot; of the blank and the former the row
        in this head (or UNSEEN), the attributes (U, A), and whether the row is their own."""
        if isinstance(phones, str):
            raise ValueError("an inventory is a sequence of phones, not one string")
        self._look_up()
        trained: dict[str, int] = {}
        for row, token in enumerate(self.vocabulary.tokens, start=1):
            trained.setdefault(normalize_ipa(token), row)
        given = list(dict.fromkeys(map(normalize_ipa, phones)))
        lost = [p for p in given if p not in trained and problem_without_features(p)]
        written = [phone for phone in given if phone not in lost]
        if not written:
            raise UserError(
                f"none of the {len(lost)} phones of the inventory can be written: expected IPA "
                "phones with articulatory features, or phones that the model was trained on"
            )
        row_U = torch.tensor([BLANK, *(trained.get(phone, UNSEEN) for phone in written)])
        attributes_UA = self.attributes_VA.cpu()[row_U]
        own_U = self.own_V.cpu()[row_U] * (row_U != UNSEEN)
        if unseen := [phone for phone in written if phone not in trained]:
            attributes_UA[row_U == UNSEEN] = torch.from_numpy(attributes(unseen))
        return written, lost, row_U, attributes_UA, own_U

    def copy_rows(self, weights: Mapping[str, Tensor], vocabulary: Vocabulary) -> int:
        """Copies the embeddings of all attributes, and the rows of tokens and of the blank that
        are their own; returns the number of tokens that start from there."""
        with torch.no_grad():
            for name, parameter in self.embeddings.named_parameters(prefix="embeddings"):
                parameter.copy_(weights[name])
            self._look_up()
            self.mean_A.copy_(weights["mean_A"])
        super().copy_rows(weights, vocabulary)
        composed = self.attributes_VA[1:].any(1).tolist()
        tokens = zip(self.vocabulary.tokens, composed, strict=True)
        return sum(has or token in vocabulary.tokens for token, has in tokens)

    def _rows(self, attributes_UA: Tensor, own_U: Tensor, row_U: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (U, D) and bias (U,) of outputs with these attributes; to outputs with `own_U` the
        row `row_U` of `head` is added."""
        has_U1, own_U1 = attributes_UA.any(1, keepdim=True), own_U[:, None]
        summed_UA = SCALE * has_U1 * (attributes_UA - self.mean_A)
        weight_UD = summed_UA @ self.embeddings.weight + own_U1 * self.head.weight[row_U]
        bias_U = summed_UA @ self.embeddings.bias + own_U * self.head.bias[row_U]
        return weight_UD, bias_U

    def _look_up(self) -> None:
        """The attributes of the tokens, once, if this head was not loaded with them."""
        if self._known or bool(self.own_V[BLANK]):  # the blank is always its own
            self._known = True
            return
        tokens, own_V = self.vocabulary.tokens, np.ones(len(self.vocabulary), bool)
        attributes_VA = np.zeros((len(own_V), NUM_ATTRIBUTES), np.int8)
        without = [t for t in tokens if problem_without_features(t)]
        rows = [i for i, token in enumerate(tokens, start=1) if token not in without]
        attributes_VA[rows] = attributes([tokens[i - 1] for i in rows])
        taken: set[bytes] = set()
        for i in sorted(rows, key=lambda i: (len(tokens[i - 1]), tokens[i - 1])):
            own_V[i] = attributes_VA[i].tobytes() in taken
            taken.add(attributes_VA[i].tobytes())
        alike = [tokens[i - 1] for i in rows if own_V[i]]
        for symbols, why in ((without, "no attributes"), (alike, "those of a simpler phone")):
            if symbols:
                logger.info(
                    f"articulatory: {len(symbols)} of {len(tokens)} phones get an output of their "
                    f"own, because they have {why}: {' '.join(symbols)}"
                )
        self.attributes_VA.copy_(torch.from_numpy(attributes_VA))
        self.own_V.copy_(torch.from_numpy(own_V))
        if rows:
            self.mean_A.copy_(torch.from_numpy(attributes_VA[rows].mean(0)))
        self._known = True


def _alike(phones: Sequence[str], attributes_UA: Tensor, own_U: Tensor) -> list[list[str]]:
    """Phones whose outputs are equal."""
    groups: dict[bytes, list[str]] = {}
    rows = zip(attributes_UA[1:].numpy(), own_U[1:].tolist(), strict=True)
    for phone, (row_A, own) in zip(phones, rows, strict=True):
        if not own:
            groups.setdefault(row_A.tobytes(), []).append(phone)
    return [group for group in groups.values() if len(group) > 1]
