"""The whole trunk and its pretraining heads: equal to Hugging Face's, and untouched by padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from speechx.models.wav2vec2 import Wav2Vec2, Wav2Vec2Pretraining
from speechx.objectives.contrastive import ContrastiveConfig, pretraining_loss, sample_negatives
from speechx.objectives.masking import Masking, span_mask
from tests.conftest import small_convolutional, small_filterbank
from tests.models.hugging_face import copy_weights, our_name, their_config

TOLERANCE = 1e-5
DIVERSITY, NEGATIVES, TEMPERATURE = 0.1, 12, 1.5


def without_noise(logits, tau=1.0, hard=False, eps=1e-10, dim=-1):
    """Gumbel-softmax without its noise: the best entry forward, the softmax backward."""
    assert hard
    soft = (logits / tau).softmax(dim)
    best = F.one_hot(soft.argmax(dim), soft.shape[dim]).to(soft.dtype)
    return best + (soft - soft.detach())


class Pair:
    """The same random weights, batch, masks and negatives in both toolkits, after one backward."""

    def __init__(self, norm: str, patch: pytest.MonkeyPatch) -> None:
        from transformers import Wav2Vec2ForPreTraining

        patch.setattr(F, "gumbel_softmax", without_noise)
        torch.manual_seed(0)
        random = np.random.default_rng(0)
        config = small_convolutional(norm, blocks=3)
        changes = {
            "diversity_loss_weight": DIVERSITY,
            "contrastive_logits_temperature": 0.1,
            "num_negatives": NEGATIVES,
        }
        theirs = Wav2Vec2ForPreTraining(their_config(config, **changes)).train()
        for parameter in theirs.parameters():  # their biases and gains start at 0 and 1
            parameter.data += 0.1 * torch.randn_like(parameter)
        theirs.quantizer.temperature = TEMPERATURE
        ours = Wav2Vec2Pretraining(config).train()
        copy_weights(theirs, ours)

        wave_BS = torch.randn(3, 16_000)
        frames = config.encoder.frames(16_000)
        mask_BT = torch.from_numpy(
            span_mask([frames] * 3, frames, Masking(), random, same_count=True)
        )
        self.masked = int(mask_BT[0].sum())
        negatives = sample_negatives(3, self.masked, NEGATIVES, random)
        # They number the frames of the whole batch, and expect negatives at unmasked frames too.
        flat_BTK = np.zeros((3, frames, NEGATIVES), dtype=np.int64)
        for row, mask_T in enumerate(mask_BT.numpy()):
            places = np.flatnonzero(mask_T) + row * frames
            flat_BTK[row][mask_T] = places[negatives[row]]
        self.theirs, self.ours, self.mask_BT = theirs, ours, mask_BT
        self.their_output = theirs(
            wave_BS,
            mask_time_indices=mask_BT,
            sampled_negative_indices=torch.from_numpy(flat_BTK),
            output_hidden_states=True,
        )
        self.trunk = ours.trunk(wave_BS, mask_BT=mask_BT)
        self.predictions = ours(wave_BS, mask_BT, TEMPERATURE)
        self.term = pretraining_loss(
            self.predictions,
            torch.from_numpy(negatives),
            config.quantizer.groups * config.quantizer.entries,
            ContrastiveConfig(negatives=NEGATIVES, diversity=DIVERSITY, penalty=0.0),
        )
        # Divided by the number of targets, as the training loop does.
        (self.their_output.loss / mask_BT.sum()).backward()
        (self.term.loss / mask_BT.sum()).backward()


@pytest.fixture(scope="module", params=["group", "layer"])
def pair(request):
    pytest.importorskip("transformers")
    with pytest.MonkeyPatch.context() as patch:
        yield Pair(request.param, patch)


def difference(what, ours, theirs):
    worst = float((ours - theirs).detach().abs().max())
    print(f"{what}: largest difference {worst:.1e}")
    return worst


@pytest.mark.interop
class TestEqualToHuggingFace:
    def test_context_and_every_hidden_state(self, pair):
        theirs = pair.their_output.hidden_states
        blocks = pair.ours.config.transformer.blocks
        assert len(pair.trunk.hidden) == len(theirs) == blocks + 1
        # Their last hidden state is the output, which `pre` models normalise once more.
        ours = [*pair.trunk.hidden[:-1], pair.trunk.context_BTD]
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert difference(f"hidden state {index}", one, other) < TOLERANCE
        assert ours[-1].std() > 0.1

    def test_quantized_targets_predictions_and_perplexity(self, pair):
        theirs, rows = pair.their_output, len(pair.mask_BT)
        for what, ours, other_BTQ in (
            ("targets", pair.predictions.targets_BMQ, theirs.projected_quantized_states),
            ("predictions", pair.predictions.predicted_BMQ, theirs.projected_states),
        ):
            other_BMQ = other_BTQ[pair.mask_BT].unflatten(0, (rows, -1))
            assert difference(what, ours, other_BMQ) < TOLERANCE
        perplexity = pair.predictions.quantized.soft_perplexity
        assert difference("perplexity", perplexity, theirs.codevector_perplexity) < TOLERANCE
        assert 2 < perplexity < 20

    def test_contrastive_loss_and_diversity(self, pair):
        theirs, frames = pair.their_output, 3 * pair.masked
        ours, other = pair.term.contrastive / frames, theirs.contrastive_loss / frames
        assert difference("contrastive loss per frame", ours, other) < TOLERANCE
        unused = (pair.term.loss - pair.term.contrastive) / DIVERSITY / frames
        assert difference("diversity", unused, theirs.diversity_loss / frames) < TOLERANCE
        assert difference("loss", pair.term.loss / frames, theirs.loss / frames) < TOLERANCE
        # Some negatives had the positive's codes, so the rule for them was at work.
        assert pair.term.negatives_equal_positive > 0

    def test_gradients_of_all_parameters(self, pair):
        own = dict(pair.ours.named_parameters())
        theirs = {our_name(name): p for name, p in pair.theirs.named_parameters()}
        assert set(theirs) == set(own)
        worst = largest = 0.0
        for name, parameter in theirs.items():
            assert parameter.grad is not None, name
            apart = float((own[name].grad - parameter.grad.view_as(own[name])).abs().max())
            assert apart < TOLERANCE, name
            size = float(own[name].grad.abs().max())
            # A bias of the keys moves all scores of a query alike, so it has no gradient.
            assert size > 1e-4 or name.endswith("key.bias"), name
            worst, largest = max(worst, apart), max(largest, size)
        print(f"gradients of {len(own)} tensors: up to {largest:.2g}, differ by {worst:.1e}")


@pytest.mark.interop
def test_padded_batch_equals_hugging_face_with_an_attention_mask():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    config = small_convolutional("layer")
    theirs = transformers.Wav2Vec2ForPreTraining(their_config(config)).eval()
    ours = Wav2Vec2Pretraining(config).eval()
    copy_weights(theirs, ours)
    wave_BS, lengths_B = torch.randn(2, 9000), torch.tensor([9000, 5200])
    wave_BS[1, 5200:] = 0
    attention = (torch.arange(9000) < lengths_B[:, None]).long()
    with torch.no_grad():
        trunk = ours.trunk(wave_BS, lengths_B)
        other = theirs.wav2vec2(wave_BS, attention_mask=attention).last_hidden_state
    for row, frames in enumerate(trunk.frames_B.tolist()):
        assert (trunk.context_BTD[row, :frames] - other[row, :frames]).abs().max() < TOLERANCE


ENCODERS = {
    "group": lambda: small_convolutional("group"),
    "layer": lambda: small_convolutional("layer"),
    "filterbank": small_filterbank,
}


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("times", [1.3, 32])
def test_padding_never_changes_a_result(kind, times):
    """A short utterance beside one `times` as long, with noise or with zeros behind its end."""
    torch.manual_seed(2)
    model = Wav2Vec2(ENCODERS[kind]()).eval()
    short = 4000
    wave_BS = torch.randn(2, int(times * short))
    lengths_B = torch.tensor([short, wave_BS.shape[1]])
    with torch.no_grad():
        alone = model(wave_BS[:1, :short])
        batch = model(wave_BS, lengths_B)
        wave_BS[0, short:] = 0
        silent = model(wave_BS, lengths_B)
    frames = alone.context_BTD.shape[1]
    assert batch.frames_B.tolist()[0] == frames
    for padded in (batch, silent):
        torch.testing.assert_close(
            padded.context_BTD[0, :frames], alone.context_BTD[0], atol=1e-4, rtol=0
        )
        torch.testing.assert_close(
            padded.features_BTC[0, :frames], alone.features_BTC[0], atol=1e-4, rtol=0
        )
    assert alone.context_BTD.std() > 0.1


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_row_too_short_for_a_frame_leaves_its_neighbours_alone(kind):
    torch.manual_seed(3)
    model = Wav2Vec2(ENCODERS[kind]())
    wave_BS = torch.randn(2, 6000)
    wave_BS[1, 3:] = 0
    model.eval()
    with torch.no_grad():
        both = model(wave_BS, torch.tensor([6000, 3]))
        alone = model(wave_BS[:1])
        nothing = model(wave_BS[1:, :3], torch.tensor([3]))
    assert both.frames_B.tolist() == [alone.context_BTD.shape[1], 0]
    assert both.context_BTD.isfinite().all()
    torch.testing.assert_close(both.context_BTD[0], alone.context_BTD[0], atol=1e-4, rtol=0)
    assert nothing.frames_B.tolist() == [0]
    model.train()
    trunk = model(wave_BS, torch.tensor([6000, 3]))
    trunk.context_BTD[0].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_masked_frames_are_hidden_and_masked_channels_are_zero():
    """What stands under the mask cannot be read from the context; targets still come from it."""
    torch.manual_seed(4)
    model = Wav2Vec2(small_filterbank()).eval()
    features = {}
    model.transformer.register_forward_pre_hook(lambda _, given: features.update(x=given[0]))
    wave_BS = torch.randn(2, 8000)
    frames = model.config.encoder.frames(8000)
    mask_BT = torch.zeros(2, frames, dtype=torch.bool)
    mask_BT[:, 4:9] = True
    channels_BD = torch.zeros(2, 16, dtype=torch.bool)
    channels_BD[1, 3:6] = True
    with torch.no_grad():
        plain = model(wave_BS)
        trunk = model(wave_BS, mask_BT=mask_BT, channel_mask_BD=channels_BD)
    assert torch.equal(features["x"][0, 4:9], model.mask_vector.expand(5, -1))
    assert (features["x"][1, :, 3:6] == 0).all()
    assert (features["x"][0, :, 3:6] != 0).any()
    assert torch.equal(trunk.features_BTC, plain.features_BTC)
