"""Equal to torchaudio's `wav2vec2_model`: the encoder and the CTC head; it has no quantizer.

In padded batches its large type is as exact as ours; in its base type padding enters the
statistics of the group norm, so there ours in a padded batch is compared with its utterances one
by one.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from speechx.interchange.names import TORCHAUDIO
from tests.models.reference_models import (
    BATCHES,
    CTC_GRADIENTS,
    KINDS,
    OUTPUTS,
    TOLERANCE,
    adopt,
    apart,
    case,
    check,
    check_gradients,
    ctc_model,
    gradients,
    recognise,
    roughen,
    small,
    summed,
)

pytestmark = pytest.mark.interop


def pair(kind):
    from torchaudio.models import wav2vec2_model

    torch.manual_seed(0)
    config = small(kind)
    features, context = config.features, config.context
    theirs = wav2vec2_model(
        extractor_mode={"base": "group_norm", "large": "layer_norm"}[kind],
        extractor_conv_layer_config=[
            (layer.channels, layer.kernel, layer.stride) for layer in features.layers
        ],
        extractor_conv_bias=features.bias,
        encoder_embed_dim=context.embed_dim,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=context.position_kernel,
        encoder_pos_conv_groups=context.position_groups,
        encoder_num_layers=context.num_layers,
        encoder_num_heads=context.num_heads,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=context.ffn_dim,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=context.norm == "pre",
        encoder_layer_drop=0.0,
        aux_num_out=OUTPUTS,
    )
    roughen(theirs.eval())
    ours = ctc_model(config).eval()
    adopt(ours, theirs, TORCHAUDIO, without=("encoder.mask_embedding",))
    return ours, theirs


def their_recognition(theirs, given):
    """Every layer's output, logits, CTC loss and its gradients."""
    theirs.zero_grad()
    states, _ = theirs.extract_features(given.wave_BS, given.lengths_B)
    logits_BTV, frames_B = theirs(given.wave_BS, given.lengths_B)
    assert frames_B is None or torch.equal(frames_B, given.frames_B)
    loss = F.ctc_loss(
        logits_BTV.log_softmax(2).transpose(0, 1),
        given.labels_BU,
        given.frames_B,
        given.label_lengths_B,
        reduction="sum",
    )
    loss.backward()
    hidden = [given.true(state_BTD) for state_BTD in states]
    return hidden, given.true(logits_BTV), loss, gradients(theirs, TORCHAUDIO)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_ctc(kind, batch):
    ours, theirs = pair(kind)
    given = case(ours.encoder.config, batch)
    our = recognise(ours, given)
    batches = given.rows() if kind == "base" and batch == "padded" else [given]
    parts = [their_recognition(theirs, part) for part in batches]
    hidden, logits, losses, grads = zip(*parts, strict=True)
    rows = {
        f"hidden {index}": (given.true(state_BTD), torch.cat(their_states))
        for index, (state_BTD, *their_states) in enumerate(
            zip(our.output.hidden[1:], *hidden, strict=True), 1
        )
    }
    assert len(rows) == 3
    rows["CTC logits"] = (given.true(our.logits_BTV), torch.cat(logits))
    rows["CTC loss"] = (our.loss, torch.stack(losses).sum())
    title = f"torchaudio {kind} {batch}"
    check(title, rows)
    check_gradients(f"{title} CTC", our.gradients, summed(list(grads)), CTC_GRADIENTS)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_head_it_is_the_encoder(kind):
    """The output of a model without `aux`, and the gradients of its squares."""
    ours, theirs = pair(kind)
    given = case(ours.encoder.config, "equal")
    theirs.aux = None
    their_BTD, _ = theirs(given.wave_BS)
    our_BTD = ours.encoder(given.wave_BS).context_BTD
    for output_BTD in (their_BTD, our_BTD):
        # Squares alone would be constant behind the last layer norm.
        (output_BTD.square() * torch.arange(32)).mean().backward()
    check(f"torchaudio {kind}", {"output": (our_BTD, their_BTD)})
    check_gradients(f"torchaudio {kind}", gradients(ours), gradients(theirs, TORCHAUDIO))


def recognise_logits(ours, given):
    batch = given.batch()
    return ours.objectives["ctc"].logits(ours.encoder(batch.wave_BS, batch.lengths_B))[0]


def test_their_base_type_depends_on_padding_and_ours_does_not():
    """The reason to compare utterance by utterance above."""
    ours, theirs = pair("base")
    given = case(ours.encoder.config, "padded")
    last = given.rows()[2]
    frames = int(last.frames_B)
    with torch.no_grad():
        their = theirs(given.wave_BS, given.lengths_B)[0]
        our = recognise_logits(ours, given)
        their_leak = apart(their[2:, :frames], theirs(last.wave_BS)[0])
        our_leak = apart(our[2:, :frames], recognise_logits(ours, last))
    print(f"padded and alone: torchaudio base {their_leak:.1e}, ours {our_leak:.1e}")
    assert their_leak > 1e-2
    assert our_leak < TOLERANCE
