"""Equal to fairseq2: its wav2vec 2.0 and its wav2vec 2.0 ASR models, built by its own factories.

Noise and negatives are its own draws: both sides start from the same seed, and the negatives are
drawn a second time for ours. In padded batches its large type is as exact as ours; in its base
type padding enters the statistics of the group norm, so there ours in a padded batch is compared
with its utterances one by one.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from speechx.interchange import names
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
DIVERSITY, PENALTY, SEED = 0.1, 10.0, 7


@pytest.fixture(scope="module", autouse=True)
def uncompiled():
    """Its quantizer compiles its sum over the codebook, which takes a minute on a CPU."""
    import soundfile  # noqa: F401  fairseq2 needs the libsndfile that comes with it

    with torch.compiler.set_stance("force_eager"):
        yield


def their_encoder(config):
    from fairseq2.models.transformer import TransformerNormOrder
    from fairseq2.models.wav2vec2 import Wav2Vec2EncoderConfig

    features, context = config.features, config.context
    large = context.norm == "pre"
    return Wav2Vec2EncoderConfig(
        model_dim=context.embed_dim,
        feature_dim=features.dim,
        layer_norm_features=not large,
        feature_extractor_layer_descs=[
            (layer.channels, layer.kernel, layer.stride) for layer in features.layers
        ],
        feature_extractor_bias=features.bias,
        feature_extractor_layer_norm_convs=features.norm == "layer",
        feature_grad_scale=features.gradient_scale,
        pos_conv_kernel_size=context.position_kernel,
        num_pos_conv_groups=context.position_groups,
        num_encoder_layers=context.num_layers,
        num_encoder_attn_heads=context.num_heads,
        ffn_inner_dim=context.ffn_dim,
        dropout_p=0.0,
        attn_dropout_p=0.0,
        layer_drop_p=0.0,
        norm_order=TransformerNormOrder.PRE if large else TransformerNormOrder.POST,
    )


def pretraining_pair(kind):
    from fairseq2.models.wav2vec2 import Wav2Vec2Config, create_wav2vec2_model

    torch.manual_seed(0)
    config = small(kind, gradient_scale={"base": 0.1, "large": 1.0}[kind])
    theirs = create_wav2vec2_model(
        Wav2Vec2Config(
            encoder_config=their_encoder(config),
            final_dim=QUANTIZER.dim,
            quantized_dim=QUANTIZER.dim,
            num_codebooks=QUANTIZER.num_groups,
            num_codebook_entries=QUANTIZER.num_entries,
            codebook_sampling_temperature=(TEMPERATURE, 0.5, 1.0),
            num_distractors=NEGATIVES,
        )
    )
    roughen(theirs.train())
    ours = pretraining_model(config).train()
    table = names.fairseq2(config, head=False)
    adopt(ours, theirs, table, without=("quantizer.num_updates",))
    return ours, theirs, table


def layout(given):
    from fairseq2.nn import BatchLayout

    lengths = None if given.lengths_B is None else given.lengths_B.tolist()
    return BatchLayout(tuple(given.wave_BS.shape), lengths)


def with_their_negatives(given, entries):
    """The case with the negatives that their forward draws from `SEED`, after the Gumbel noise for
    `entries` if it draws any: masked frames of the row, one further from a frame's own on."""
    rows, masked = given.negatives_BMK.shape[:2]
    torch.manual_seed(SEED)
    if entries:
        torch.empty(rows * masked * 2, entries).exponential_()
    drawn_BMK = torch.randint(0, masked - 1, (rows, masked * NEGATIVES))
    drawn_BMK = drawn_BMK.unflatten(1, (masked, NEGATIVES))
    own_M1 = torch.arange(masked)[:, None]
    return replace(given, negatives_BMK=drawn_BMK + (drawn_BMK >= own_M1))


def their_pretraining(theirs, given, diversity, penalty, table):
    states = []
    layers = theirs.encoder.layers
    hooks = [layers[0].register_forward_pre_hook(lambda _module, given: states.append(given[0]))]
    for layer in layers:
        hooks.append(layer.register_forward_hook(lambda _module, _given, y: states.append(y)))
    theirs.masker.mask_factory = lambda **_: given.mask_BT
    theirs.zero_grad()
    torch.manual_seed(SEED)
    loss, output = theirs(
        given.wave_BS, layout(given), diversity_weight=diversity, features_penalty_weight=penalty
    )
    (loss.aggregate / given.mask_BT.sum()).backward()
    for hook in hooks:
        hook.remove()
    quantized = output.quantizer_output
    return Theirs(
        hidden=[given.true(state_BTD) for state_BTD in states],
        output_ND=given.true(output.encoder_output),
        targets_MQ=output.quantized_targets.flatten(0, 1),
        contrastive=loss.contrastive.detach(),
        gradients=gradients(theirs, table),
        codes_MG=quantized.cb.unflatten(1, (2, -1)).argmax(2),
        perplexities={
            "soft_perplexity": quantized.prob_perplexity,
            "code_perplexity": quantized.code_perplexity,
        },
        loss=(loss.aggregate / given.mask_BT.sum()).detach(),
    )


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_pretraining(kind, batch, monkeypatch):
    """With Gumbel noise, with the gradient scale and the feature penalty of the base type."""
    from fairseq2.models.wav2vec2 import vector_quantizer

    ours, theirs, table = pretraining_pair(kind)
    given = case(ours.encoder.config, batch)
    if kind == "base" and batch == "padded":
        # Perplexity, feature penalty and noise are of the whole batch.
        monkeypatch.setattr(F, "gumbel_softmax", without_noise)
        monkeypatch.setattr(vector_quantizer, "gumbel_softmax", without_noise)
        rows = [with_their_negatives(part, 0) for part in given.rows()]
        their = joined([their_pretraining(theirs, row, 0.0, 0.0, table) for row in rows])
        given = replace(given, negatives_BMK=torch.cat([row.negatives_BMK for row in rows]))
        our = pretrain(ours, given, 0.0)
    else:
        given = with_their_negatives(given, QUANTIZER.num_entries)
        # Padded frames count in their feature penalty, not in ours.
        penalty = PENALTY if batch == "equal" else 0.0
        their = their_pretraining(theirs, given, DIVERSITY, penalty, table)
        our = pretrain(ours, given, DIVERSITY, penalty, seed=SEED)
        masked_NC = our.output.features.features_BTC[given.mask_BT]
        quantizer = ours.objectives["wav2vec2"].quantizer
        best_NG = quantizer.weight_proj(masked_NC).unflatten(1, (2, -1)).argmax(2)
        assert not torch.equal(best_NG, their.codes_MG), "the noise moved no pick"
    title = f"fairseq2 {kind} {batch}"
    check_pretraining(title, given, our, their)
    check_gradients(title, our.gradients, their.gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_picks_the_best_codes(kind):
    ours, theirs, table = pretraining_pair(kind)
    ours.eval(), theirs.eval()
    given = with_their_negatives(case(ours.encoder.config, "equal"), 0)
    their = their_pretraining(theirs, given, 0.0, 0.0, table)
    our = pretrain(ours, given, 0.0, step=None)
    check_pretraining(f"fairseq2 {kind} evaluation", given, our, their)


def their_recognition(theirs, given, table):
    from fairseq2.nn import BatchLayout

    theirs.zero_grad()
    targets_layout = BatchLayout(tuple(given.labels_BU.shape), given.label_lengths_B.tolist())
    loss, logits_BTV, _ = theirs(
        given.wave_BS, layout(given), given.labels_BU, targets_layout, return_logits=True
    )
    loss.backward()
    return given.true(logits_BTV), loss, gradients(theirs, table)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_ctc(kind, batch):
    """Logits, summed loss and gradients of the ASR model."""
    from fairseq2.models.wav2vec2.asr import Wav2Vec2AsrConfig, create_wav2vec2_asr_model

    torch.manual_seed(0)
    config = small(kind)
    theirs = create_wav2vec2_asr_model(
        Wav2Vec2AsrConfig(encoder_config=their_encoder(config), target_vocab_size=OUTPUTS)
    )
    roughen(theirs.eval())
    ours = ctc_model(config).eval()
    table = names.fairseq2(config, head=True)
    adopt(ours, theirs, table)
    given = case(config, batch)
    our = recognise(ours, given)
    batches = given.rows() if kind == "base" and batch == "padded" else [given]
    parts = [their_recognition(theirs, part, table) for part in batches]
    logits, losses, grads = zip(*parts, strict=True)
    title = f"fairseq2 {kind} {batch}"
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
    ours, theirs, _ = pretraining_pair("base")
    ours.eval(), theirs.eval()
    given = case(ours.encoder.config, "padded")
    last = given.rows()[2]
    frames = int(last.frames_B)

    def their(part):
        seqs, seqs_layout = theirs.encoder_frontend(part.wave_BS, layout(part))
        return theirs.encoder(seqs, seqs_layout)

    with torch.no_grad():
        their_leak = apart(their(given)[2:, :frames], their(last))
        our = ours.encoder(given.wave_BS, given.lengths_B).context_BTD
        our_leak = apart(our[2:, :frames], ours.encoder(last.wave_BS).context_BTD)
    print(f"padded and alone: fairseq2 base {their_leak:.1e}, ours {our_leak:.1e}")
    assert their_leak > 1e-2
    assert our_leak < TOLERANCE
