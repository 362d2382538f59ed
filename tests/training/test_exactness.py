"""K micro-batches, or K processes, give the gradient of one big batch.

That holds for every term that is a sum over targets. The diversity term of wav2vec 2.0 is not: it
is a function of the mean softmax of one micro-batch, so a step has the mean of its micro-batches'
diversity terms, weighted by their masked frames.

    B utterances · S samples · U labels
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from speechx.data.batches import Batch
from speechx.data.sampling import Position
from speechx.models.quantizer import QuantizerConfig
from speechx.objectives.best_rq import BestRQConfig
from speechx.objectives.cpc import CPCConfig
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.language_id import LanguageIDConfig
from speechx.objectives.masked_autoencoding import MaskedAutoencodingConfig
from speechx.objectives.model import SpeechModel
from speechx.objectives.unispeech import UniSpeechConfig
from speechx.objectives.w2v_bert import W2vBertConfig
from speechx.objectives.wav2vec import Wav2VecConfig
from speechx.objectives.wav2vec2 import Wav2Vec2Config
from speechx.text.vocabulary import Vocabulary
from speechx.training.distributed import distributed
from speechx.training.health import Health
from speechx.training.loop import Job, Task, TrainingConfig, train
from tests.conftest import (
    SMALL_QUANTIZER,
    small_causal,
    small_convolutional,
    small_filterbank,
)
from tests.ranks import run_in_two_processes
from tests.training.test_loop import FORGETFUL, last_gradient

CONTRASTIVE = Wav2Vec2Config(
    num_negatives=10, quantizer=QuantizerConfig(**SMALL_QUANTIZER), target_dropout=0.0,
    diversity=0.0, features_penalty=10.0,
)  # fmt: skip
OBJECTIVES: dict[str, Any] = {
    "wav2vec2": CONTRASTIVE,
    "diverse": replace(CONTRASTIVE, diversity=0.1),
    "ctc": CTCConfig(tokens="phonemes"),
    "language_id": LanguageIDConfig(),
    "cpc": CPCConfig(
        window=4800, num_steps=4, num_negatives=10, num_heads=2, ffn_dim=12, dropout=0.0
    ),
    "wav2vec": Wav2VecConfig(num_steps=4),
    "best_rq": BestRQConfig(num_codebooks=2, num_codes=20),
    "w2v_bert": W2vBertConfig(
        contrastive_layer=1,
        num_negatives=10,
        quantizer=QuantizerConfig(**SMALL_QUANTIZER),
        target_dropout=0.0,
        diversity=0.0,
    ),
    "unispeech": UniSpeechConfig(contrastive=replace(CONTRASTIVE, features_penalty=0.0)),
    "masked_autoencoding": MaskedAutoencodingConfig(decoder_dim=16),
}
EXACT = tuple(name for name in OBJECTIVES if name != "diverse")
PARTS = ((0, 1, 2), (3,))  # rows of two micro-batches, and of two processes
ROWS = (0, 1, 2, 3)
VOCABULARIES = {"phonemes": ("a", "b", "c"), "languages": ("xx", "yy")}


def model_of(name: str, encoder: Any = None) -> SpeechModel:
    """Without dropout: it would not draw the same numbers for other batches."""
    small = small_filterbank()
    context = replace(small.context, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)
    encoder = encoder or replace(small, context=context, input_dropout=0.0)
    encoder = small_causal(name) if name in ("cpc", "wav2vec") else encoder
    objective = OBJECTIVES[name]
    vocabularies = {}
    if objective.token_type is not None:
        tokens = VOCABULARIES[objective.token_type]
        vocabularies = {name: Vocabulary(objective.token_type, tokens)}
    torch.manual_seed(0)
    return SpeechModel(encoder, {name: objective}, vocabularies)


def whole_batch(name: str, model: SpeechModel) -> Batch:
    """Four utterances of noise with everything drawn: of equal length for an objective without
    labels, else padded."""
    objective, random = OBJECTIVES[name], np.random.default_rng(0)
    labelled = objective.token_type is not None
    lengths = [16_000, 12_000, 14_000, 9_000] if labelled else [16_000] * 4
    batch = Batch(
        position=Position(),
        wave_BS=torch.from_numpy(random.standard_normal((4, 16_000)).astype(np.float32)),
        lengths_B=torch.tensor(lengths),
        padded=labelled,
        ids=tuple("abcd"),
        languages=("xx",) * 4,
        speakers=tuple((None, "xx", name) for name in "sstu"),
        labels_BU=torch.tensor([[1, 2, 1], [2, 1, 0], [1, 1, 2], [2, 0, 0]]),
        label_lengths_B=torch.tensor([3, 2, 3, 1]),
    )
    draws, counts = objective.draw(batch, random, model.encoder.config)
    return replace(batch, draws=draws, counts=counts)


def part_of(batch: Batch, rows: tuple[int, ...], number: int) -> Batch:
    """A micro-batch of some rows, with their share of the counts."""
    index = torch.tensor(rows)
    assert batch.labels_BU is not None
    assert batch.label_lengths_B is not None
    draws = {key: tensor[index] for key, tensor in batch.draws.items()}
    if "negatives_RWPN" in draws:  # frames of the batch, all of which stand in this part
        frames = small_causal("cpc").features.frames(4800) * draws["negatives_RWPN"].shape[1]
        draws["negatives_RWPN"] = draws["negatives_RWPN"] - rows[0] * frames
    return replace(
        batch,
        position=Position(0, number, number),
        wave_BS=batch.wave_BS[index],
        lengths_B=batch.lengths_B[index],
        ids=tuple(batch.ids[row] for row in rows),
        labels_BU=batch.labels_BU[index],
        label_lengths_B=batch.label_lengths_B[index],
        draws=draws,
        counts={key: count * len(rows) // len(batch.ids) for key, count in batch.counts.items()},
    )


def without_noise(logits: Tensor, tau: float, hard: bool) -> Tensor:
    """A Gumbel softmax whose noise is 0: it does not depend on what else is in the batch."""
    soft = (logits / tau).softmax(-1)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]) - soft.detach() + soft


def one_step(out: Path, name: str, parts: Any, encoder: Any = None) -> None:
    """A step over the micro-batches, dealt out to the ranks."""
    model = model_of(name, encoder)
    whole = whole_batch(name, model)
    with distributed("cpu") as ranks, pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "gumbel_softmax", without_noise)
        numbered = list(enumerate(parts))[ranks.rank :: ranks.world]

        def batches(start: Position) -> Iterator[Batch]:
            return iter([part_of(whole, rows, number) for number, rows in numbered])

        job = Job(
            name="test", out=out, optim=FORGETFUL, health=Health(), accumulate=len(numbered),
            training=TrainingConfig(steps=1, log_steps=1, save_steps=1, device="cpu"),
        )  # fmt: skip
        train(job, model, [Task(name, batches, 1.0)], NoHooks(), ranks)


class NoHooks:
    def validate(self, model: Any) -> tuple[dict[str, float | str], float | None]:
        return {}, None

    def save(self, model: Any, error: Any) -> None:
        pass


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Runs of one step over one batch, over two micro-batches, and over two processes."""
    folder = tmp_path_factory.mktemp("exact")
    for name in OBJECTIVES:
        one_step(folder / f"{name}_whole", name, [ROWS])
        one_step(folder / f"{name}_parts", name, PARTS)
    run_in_two_processes(*((one_step, folder / f"{n}_ranks", n, PARTS) for n in OBJECTIVES))
    return folder


def difference(folder: Path, name: str, other: str, encoder: Any = None) -> float:
    """Largest difference between the gradients of two ways to take a step, by the norm of the
    gradient."""
    whole, parts = (
        last_gradient(folder / f"{name}_{way}", model_of(name, encoder)) for way in ("whole", other)
    )
    norm = float(torch.nn.utils.get_total_norm(whole.values()))
    assert norm > 0
    return max(float((parts[key] - whole[key]).abs().max()) for key in whole) / norm


@pytest.mark.parametrize("way", ["parts", "ranks"])
@pytest.mark.parametrize("name", EXACT)
def test_micro_batches_and_processes_give_the_gradient_of_one_batch(folders, name, way):
    assert difference(folders, name, way) < 1e-6


@pytest.mark.parametrize("way", ["parts", "ranks"])
def test_the_diversity_term_is_a_mean_of_terms_of_micro_batches(folders, way):
    """The one term that is not additive: two micro-batches are not one batch, but two processes
    are two micro-batches."""
    assert difference(folders, "diverse", way) > 1e-4
    parts, ranks = (
        last_gradient(folders / f"diverse_{way}", model_of("diverse")) for way in ("parts", "ranks")
    )
    for key, tensor in parts.items():
        torch.testing.assert_close(ranks[key], tensor, atol=1e-6, rtol=1e-5, msg=key)


def test_the_convolutional_model_is_exact_too(tmp_path):
    """With the group norm of the base model, the feature penalty is large."""
    encoder = small_convolutional("group")
    one_step(tmp_path / "wav2vec2_whole", "wav2vec2", [ROWS], encoder)
    one_step(tmp_path / "wav2vec2_parts", "wav2vec2", PARTS, encoder)
    assert difference(tmp_path, "wav2vec2", "parts", encoder) < 1e-6
