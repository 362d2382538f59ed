"""Equal to Hugging Face transformers: Wav2Vec2ForPreTraining and Wav2Vec2ForCTC.

In padded batches their large type is as exact as ours. Their base type is not: the group norm of
the first convolution takes its statistics over the padding too, so an utterance changes with its
neighbours. Ours in a padded batch is therefore compared with theirs utterance by utterance.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from speechx.interchange.names import HUGGING_FACE
from speechx.models.quantizer import ProductQuantizer
from tests.models.reference_models import (
    BATCHES,
    CTC_GRADIENTS,
    KINDS,
    NEGATIVES,
    OUTPUTS,
    QUANTIZER,
    TEMPERATURE,
    TOLERANCE,
    Theirs,
    adopt,
    apart,
    case,
    check,
    check_gradients,
    check_pretraining,
    ctc_model,
    gradients,
    joined,
    pretrain,
    pretraining_model,
    recognise,
    roughen,
    small,
    summed,
    without_noise,
)

pytestmark = pytest.mark.interop
DIVERSITY = 0.1


def their_config(config, **changes):
    """The transformers configuration of the same model, without dropout."""
    from transformers import Wav2Vec2Config

    features, context = config.features, config.context
    return Wav2Vec2Config(
        conv_dim=[layer.channels for layer in features.layers],
        conv_kernel=[layer.kernel for layer in features.layers],
        conv_stride=[layer.stride for layer in features.layers],
        conv_bias=features.bias,
        feat_extract_norm=features.norm,
        do_stable_layer_norm=context.norm == "pre",
        hidden_size=context.embed_dim,
        intermediate_size=context.ffn_dim,
        num_hidden_layers=context.num_layers,
        num_attention_heads=context.num_heads,
        num_conv_pos_embeddings=context.position_kernel,
        num_conv_pos_embedding_groups=context.position_groups,
        num_codevector_groups=QUANTIZER.num_groups,
        num_codevectors_per_group=QUANTIZER.num_entries,
        codevector_dim=QUANTIZER.dim,
        proj_codevector_dim=QUANTIZER.dim,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        layerdrop=0.0,
        feat_proj_dropout=0.0,
        feat_quantizer_dropout=0.0,
        **changes,
    )


def pretraining_pair(kind, diversity):
    from transformers import Wav2Vec2ForPreTraining

    torch.manual_seed(0)
    config = small(kind)
    changes = {
        "diversity_loss_weight": diversity,
        "contrastive_logits_temperature": 0.1,
        "num_negatives": NEGATIVES,
    }
    theirs = roughen(Wav2Vec2ForPreTraining(their_config(config, **changes)).train())
    theirs.quantizer.temperature = TEMPERATURE
    ours = pretraining_model(config).train()
    adopt(ours, theirs, HUGGING_FACE)
    return ours, theirs


def attention_mask(given):
    if given.lengths_B is None:
        return None
    return (torch.arange(given.wave_BS.shape[1]) < given.lengths_B[:, None]).long()


def their_indices(given):
    """Negatives as they number them: frames of the whole batch, at unmasked frames too."""
    rows, frames = given.mask_BT.shape
    indices_BTK = np.zeros((rows, frames, NEGATIVES), dtype=np.int64)
    for row, mask_T in enumerate(given.mask_BT.numpy()):
        places = np.flatnonzero(mask_T) + row * frames
        indices_BTK[row][mask_T] = places[given.negatives_BMK[row].numpy()]
    return torch.from_numpy(indices_BTK)


def their_pretraining(theirs, given):
    seen = {}
    hooks = [
        theirs.quantizer.weight_proj.register_forward_hook(
            lambda _module, _given, logits: seen.update(logits=logits)
        ),
        theirs.wav2vec2.encoder.layers[-1].register_forward_hook(
            lambda _module, _given, output: seen.update(last=output[0])
        ),
    ]
    theirs.zero_grad()
    output = theirs(
        given.wave_BS,
        attention_mask=attention_mask(given),
        mask_time_indices=given.mask_BT,
        sampled_negative_indices=their_indices(given),
        output_hidden_states=True,
    )
    (output.loss / given.mask_BT.sum()).backward()
    for hook in hooks:
        hook.remove()
    # Their last hidden state is the output, which `large` normalises once more.
    *hidden, last_BTD = output.hidden_states
    perplexity = "soft_perplexity" if theirs.training else "code_perplexity"
    return Theirs(
        hidden=[given.true(state_BTD) for state_BTD in (*hidden, seen["last"])],
        output_ND=given.true(last_BTD),
        targets_MQ=output.projected_quantized_states[given.mask_BT],
        contrastive=output.contrastive_loss.detach(),
        gradients=gradients(theirs, HUGGING_FACE),
        codes_MG=seen["logits"].unflatten(2, (2, -1)).argmax(3)[given.mask_BT],
        perplexities={perplexity: output.codevector_perplexity},
        loss=(output.loss / given.mask_BT.sum()).detach(),
    )


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_pretraining(kind, batch, monkeypatch):
    monkeypatch.setattr(F, "gumbel_softmax", without_noise)
    leaks = kind == "base" and batch == "padded"
    diversity = 0.0 if leaks else DIVERSITY  # the perplexity is one of the whole batch
    ours, theirs = pretraining_pair(kind, diversity)
    given = case(ours.encoder.config, batch)
    our = pretrain(ours, given, diversity)
    if leaks:
        their = joined([their_pretraining(theirs, part) for part in given.rows()])
    else:
        their = their_pretraining(theirs, given)
    title = f"transformers {kind} {batch}"
    check_pretraining(title, given, our, their)
    check_gradients(title, our.gradients, their.gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_picks_the_best_codes(kind):
    """In evaluation they report the perplexity of the picks and not of the softmax."""
    ours, theirs = (model.eval() for model in pretraining_pair(kind, 0.0))
    given = case(ours.encoder.config, "equal")
    our = pretrain(ours, given, 0.0, step=None)
    title = f"transformers {kind} evaluation"
    check_pretraining(title, given, our, their_pretraining(theirs, given))


def test_the_quantizer_draws_the_same_gumbel_noise():
    """Their quantizer and ours on the same frames from the same seed, forward and backward."""
    _, theirs = pretraining_pair("large", DIVERSITY)
    ours = ProductQuantizer(24, QUANTIZER)
    ours.weight_proj.load_state_dict(theirs.quantizer.weight_proj.state_dict())
    ours.codebook.data.copy_(theirs.quantizer.codevectors.view(2, 12, 8))
    features_BMC = torch.randn(3, 20, 24)
    torch.manual_seed(3)
    vectors_BMQ, perplexity = theirs.quantizer(features_BMC)
    torch.manual_seed(3)
    quantized = ours(features_BMC, TEMPERATURE)
    best_BMG = ours.weight_proj(features_BMC).unflatten(2, (2, 12)).argmax(3)
    assert not torch.equal(quantized.codes_BMG, best_BMG), "the noise moved no pick"
    (vectors_BMQ.square().sum() + perplexity).backward()
    (quantized.vectors_BMQ.square().sum() + quantized.soft_perplexity).backward()
    check(
        "transformers quantizer",
        {
            "vectors": (quantized.vectors_BMQ, vectors_BMQ),
            "perplexity": (quantized.soft_perplexity, perplexity),
            "gradient of the logits": (
                ours.weight_proj.weight.grad,
                theirs.quantizer.weight_proj.weight.grad,
            ),
            "gradient of the codebook": (
                ours.codebook.grad.flatten(0, 1),
                theirs.quantizer.codevectors.grad[0],
            ),
        },
    )


def their_recognition(theirs, given):
    theirs.zero_grad()
    labels_BU = given.labels_BU.masked_fill(given.labels_BU == 0, -100)
    output = theirs(given.wave_BS, attention_mask=attention_mask(given), labels=labels_BU)
    output.loss.backward()
    return given.true(output.logits), output.loss, gradients(theirs, HUGGING_FACE)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_ctc(kind, batch):
    """Logits, summed loss and gradients of Wav2Vec2ForCTC, whose blank is <pad>, number 0."""
    from transformers import Wav2Vec2ForCTC

    torch.manual_seed(0)
    config = small(kind)
    changes = {"vocab_size": OUTPUTS, "ctc_loss_reduction": "sum", "ctc_zero_infinity": True}
    theirs = roughen(Wav2Vec2ForCTC(their_config(config, **changes)).eval())
    ours = ctc_model(config).eval()
    adopt(ours, theirs, HUGGING_FACE)
    given = case(config, batch)
    our = recognise(ours, given)
    batches = given.rows() if kind == "base" and batch == "padded" else [given]
    logits, losses, grads = zip(*(their_recognition(theirs, part) for part in batches), strict=True)
    title = f"transformers {kind} {batch}"
    check(
        title,
        {
            "CTC logits": (given.true(our.logits_BTV), torch.cat(logits)),
            "CTC loss": (our.loss, torch.stack(losses).sum()),
        },
    )
    check_gradients(f"{title} CTC", our.gradients, summed(list(grads)), CTC_GRADIENTS)


def test_their_base_type_depends_on_padding_and_ours_does_not():
    """The reason to compare utterance by utterance above."""
    ours, theirs = (model.eval() for model in pretraining_pair("base", 0.0))
    given = case(ours.encoder.config, "padded")
    last = given.rows()[2]
    frames = int(last.frames_B)
    with torch.no_grad():
        their = theirs.wav2vec2(given.wave_BS, attention_mask=attention_mask(given))[0]
        our = ours.encoder(given.wave_BS, given.lengths_B).context_BTD
        their_leak = apart(their[2:, :frames], theirs.wav2vec2(last.wave_BS)[0])
        our_leak = apart(our[2:, :frames], ours.encoder(last.wave_BS).context_BTD)
    print(f"padded and alone: transformers base {their_leak:.1e}, ours {our_leak:.1e}")
    assert their_leak > 1e-2
    assert our_leak < TOLERANCE
