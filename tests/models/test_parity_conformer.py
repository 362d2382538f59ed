"""Equal to Hugging Face transformers: Wav2Vec2ConformerModel with relative positions.

Their padded batches leak: padding stays out of the attention, but the depthwise convolution of
every layer reads it. Ours in a padded batch is therefore compared with theirs utterance by
utterance.
"""

from __future__ import annotations

import re

import pytest
import torch

from speechx.models.context.conformer import ConformerConfig
from speechx.models.encoder import Encoder, EncoderConfig
from speechx.models.features.convolutional import ConvolutionalConfig, seven_convolutions
from speechx.models.lengths import frame_mask

pytestmark = pytest.mark.interop
TOLERANCE = 1e-5
SAMPLES = {"equal": [16_000] * 3, "padded": [16_000, 11_111, 7000]}
NAMES = {
    "masked_spec_embed": "mask_embedding",
    "feature_extractor.conv_layers.*.conv": "feature_extractor.layers.*.conv",
    "feature_extractor.conv_layers.*.layer_norm": "feature_extractor.layers.*.norm",
    "feature_projection.layer_norm": "feature_norm",
    "feature_projection.projection": "post_extract_proj",
    "encoder.layer_norm": "context.norm",
    "encoder.layers.*.ffn1_layer_norm": "context.layers.*.ffn1_norm",
    "encoder.layers.*.ffn1.intermediate_dense": "context.layers.*.ffn1.up",
    "encoder.layers.*.ffn1.output_dense": "context.layers.*.ffn1.down",
    "encoder.layers.*.self_attn_layer_norm": "context.layers.*.attention_norm",
    "encoder.layers.*.self_attn.linear_q": "context.layers.*.attention.query",
    "encoder.layers.*.self_attn.linear_k": "context.layers.*.attention.key",
    "encoder.layers.*.self_attn.linear_v": "context.layers.*.attention.value",
    "encoder.layers.*.self_attn.linear_out": "context.layers.*.attention.out",
    "encoder.layers.*.self_attn.linear_pos": "context.layers.*.attention.position",
    "encoder.layers.*.self_attn.pos_bias_u": "context.layers.*.attention.bias_u",
    "encoder.layers.*.self_attn.pos_bias_v": "context.layers.*.attention.bias_v",
    "encoder.layers.*.conv_module.layer_norm": "context.layers.*.convolution_norm",
    "encoder.layers.*.conv_module.pointwise_conv1": "context.layers.*.convolution.pointwise_in",
    "encoder.layers.*.conv_module.depthwise_conv": "context.layers.*.convolution.depthwise",
    "encoder.layers.*.conv_module.batch_norm": "context.layers.*.convolution.batch_norm",
    "encoder.layers.*.conv_module.pointwise_conv2": "context.layers.*.convolution.pointwise_out",
    "encoder.layers.*.ffn2_layer_norm": "context.layers.*.ffn2_norm",
    "encoder.layers.*.ffn2.intermediate_dense": "context.layers.*.ffn2.up",
    "encoder.layers.*.ffn2.output_dense": "context.layers.*.ffn2.down",
    "encoder.layers.*.final_layer_norm": "context.layers.*.norm",
}


def our_name(theirs):
    number = re.search(r"\.(\d+)\.", theirs)
    parts = re.sub(r"\.\d+\.", ".*.", theirs).split(".")
    for end in range(len(parts), 0, -1):
        found = NAMES.get(".".join(parts[:end]))
        if found is not None:
            return ".".join([found, *parts[end:]]).replace("*", number[1] if number else "*")
    raise KeyError(theirs)


def pair(norm):
    """Their model with random weights, and ours with the same: no dropout, in evaluation."""
    from transformers import Wav2Vec2ConformerConfig, Wav2Vec2ConformerModel

    torch.manual_seed(0)
    features = ConvolutionalConfig(
        layers=seven_convolutions(24), norm=norm, bias=norm == "layer", gradient_scale=1.0
    )
    context = ConformerConfig(
        num_layers=3, embed_dim=32, ffn_dim=48, num_heads=4, conv_kernel=7, dropout=0.0,
        attention_dropout=0.0,
    )  # fmt: skip
    theirs = Wav2Vec2ConformerModel(
        Wav2Vec2ConformerConfig(
            conv_dim=[layer.channels for layer in features.layers],
            conv_bias=features.bias,
            feat_extract_norm=norm,
            hidden_size=context.embed_dim,
            intermediate_size=context.ffn_dim,
            num_hidden_layers=context.num_layers,
            num_attention_heads=context.num_heads,
            conv_depthwise_kernel_size=context.conv_kernel,
            hidden_act="swish",
            position_embeddings_type="relative",
            hidden_dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            conformer_conv_dropout=0.0,
            feat_proj_dropout=0.0,
            layerdrop=0.0,
        )
    ).eval()
    # Dead weight of theirs: made for all types of positions, used for none of them.
    del theirs.encoder.pos_conv_embed
    for parameter in theirs.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    for name, buffer in theirs.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.data += torch.rand_like(buffer)
    ours = Encoder(EncoderConfig(features=features, context=context, input_dropout=0.0)).eval()
    ours.load_state_dict({our_name(name): t for name, t in theirs.state_dict().items()})
    return ours, theirs


def batch(kind):
    """Three utterances of noise, a fifth of the frames masked, weights of frames in the loss."""
    torch.manual_seed(1)
    lengths_B = torch.tensor(SAMPLES[kind])
    wave_BS = torch.randn(3, 16_000)
    wave_BS = wave_BS.masked_fill(~frame_mask(lengths_B, 16_000), 0)
    frames_B = torch.tensor([ConvolutionalConfig().frames(n) for n in SAMPLES[kind]])
    mask_BT = (torch.rand(3, 49) < 0.2) & frame_mask(frames_B, 49)
    return wave_BS, lengths_B, frames_B, mask_BT, torch.randn(3, 49, 32)


def their_pass(theirs, wave_BS, mask_BT, attention_mask=None):
    """What their layers see and give, and the output. Their last hidden state is the output, for
    which the last layer's own is caught."""
    last = []
    hook = theirs.encoder.layers[-1].register_forward_hook(lambda _m, _i, out: last.append(out[0]))
    output = theirs(
        wave_BS, attention_mask, mask_time_indices=mask_BT.clone(), output_hidden_states=True
    )
    hook.remove()
    return [*output.hidden_states[:-1], last[0], output.last_hidden_state]


def our_pass(ours, wave_BS, lengths_B, mask_BT):
    output = ours(wave_BS, lengths_B, mask_BT)
    return [*output.hidden, output.context_BTD]


def apart(ours, theirs):
    """The largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float((ours - theirs).detach().abs().max() / theirs.detach().abs().max())


def check_gradients(title, ours, theirs):
    """Relative to the largest gradient of the model, and each to its own."""
    our = {name: parameter.grad for name, parameter in ours.named_parameters()}
    their = {our_name(name): parameter.grad for name, parameter in theirs.named_parameters()}
    assert set(our) == set(their)
    largest = max(float(gradient.abs().max()) for gradient in their.values())
    whole = max(float((our[n] - their[n]).abs().max()) for n in their) / largest
    # A bias of the keys moves all scores of a query alike: its gradient is 0 but for rounding.
    own = max(apart(our[n], their[n]) for n in their if not n.endswith("key.bias"))
    print(f"{title} gradients of {len(our)} tensors: {whole:.1e}, each to its own: {own:.1e}")
    assert whole < TOLERANCE
    assert own < 10 * TOLERANCE


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_hidden_states_output_and_gradients(norm, kind):
    ours, theirs = pair(norm)
    wave_BS, lengths_B, frames_B, mask_BT, weight_BTD = batch(kind)
    our = our_pass(ours, wave_BS, lengths_B if kind == "padded" else None, mask_BT)
    real_BT = frame_mask(frames_B, 49)
    (our[-1] * weight_BTD)[real_BT].sum().backward()
    their = []
    for row, frames in enumerate(frames_B.tolist()):  # gradients add up
        states = their_pass(
            theirs, wave_BS[row : row + 1, : lengths_B[row]], mask_BT[row : row + 1, :frames]
        )
        (states[-1] * weight_BTD[row, :frames]).sum().backward()
        their.append([state_BTD[0].detach() for state_BTD in states])
    assert len(our) == len(their[0]) == 5
    figures = [
        apart(state_BTD[real_BT], torch.cat(states))
        for state_BTD, states in zip(our, zip(*their, strict=True), strict=True)
    ]
    title = f"transformers conformer {norm} {kind}"
    print(f"{title} hidden states and output:", " ".join(f"{figure:.1e}" for figure in figures))
    assert max(figures) < TOLERANCE
    check_gradients(title, ours, theirs)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_training_with_the_statistics_of_the_batch(norm):
    """A batch without padding in training: outputs, gradients and running statistics."""
    ours, theirs = (model.train() for model in pair(norm))
    wave_BS, _, _, mask_BT, weight_BTD = batch("equal")
    our, their = our_pass(ours, wave_BS, None, mask_BT), their_pass(theirs, wave_BS, mask_BT)
    for states in (our, their):
        (states[-1] * weight_BTD).sum().backward()
    figures = [apart(*states) for states in zip(our, their, strict=True)]
    buffers = dict(ours.named_buffers())
    figures += [apart(buffers[our_name(name)], b) for name, b in theirs.named_buffers()]
    assert len(figures) == 5 + 3 * 3
    title = f"transformers conformer {norm} training"
    print(f"{title}: {max(figures):.1e}")
    assert max(figures) < TOLERANCE
    check_gradients(title, ours, theirs)


def test_their_padded_batches_hear_the_padding_and_ours_do_not():
    """What makes the comparison above go utterance by utterance."""
    ours, theirs = pair("layer")
    wave_BS, lengths_B, frames_B, mask_BT, _ = batch("padded")
    frames, samples = int(frames_B[2]), int(lengths_B[2])
    attention_mask = frame_mask(lengths_B, 16_000).long()
    with torch.no_grad():
        their = their_pass(theirs, wave_BS, mask_BT, attention_mask)[-1][2, :frames]
        our = our_pass(ours, wave_BS, lengths_B, mask_BT)[-1][2, :frames]
        alone = their_pass(theirs, wave_BS[2:, :samples], mask_BT[2:, :frames])[-1][0]
    print(f"padded and alone: transformers {apart(their, alone):.1e}, ours {apart(our, alone):.1e}")
    assert apart(their, alone) > 1e-2
    assert apart(our, alone) < TOLERANCE
