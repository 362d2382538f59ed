"""Omnilingual CTC checkpoints: a `.pt` of fairseq2 with its character tokenizer beside it, no card.

The other side is the module of fairseq2, as wide as the published ones, since the width shows the
number of heads, and small in all other ways.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from speechx.errors import UserError
from speechx.interchange import fairseq2
from speechx.interchange.proof import prove
from speechx.interchange.reference_packages import fairseq2_hub
from speechx.interchange.sentencepiece import write_characters
from speechx.models.folder import SavedModel
from speechx.objectives.model import SpeechModel
from speechx.text.vocabulary import Vocabulary
from speechx.transcription.loading import load
from tests.conftest import small_convolutional
from tests.mms_folders import opened

pytestmark = pytest.mark.interop

UNUSED = ("mask_embedding",)
LETTERS = [chr(c) for c in (*range(97, 123), *range(0x430, 0x450), *range(0x1200, 0x1240))]
SYMBOLS = ["<s>", "<pad>", "</s>", "<unk>", "|", *LETTERS]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder with the checkpoint and the tokenizer, and fairseq2's own model."""
    pytest.importorskip("soundfile")
    pytest.importorskip("fairseq2")
    folder = tmp_path_factory.mktemp("omnilingual")
    small = small_convolutional("layer", num_layers=1)
    sizes = {"embed_dim": 1024, "num_heads": 16, "position_kernel": 8, "position_groups": 16}
    encoder = replace(small, context=replace(small.context, **sizes))
    words = Vocabulary("characters", (" ", *LETTERS))
    saved = SavedModel(folder, encoder, {}, {}, {"ctc": words})
    with fairseq2_hub("wav2vec2_asr") as hub:
        from fairseq2.assets import AssetCard

        card = AssetCard("test", fairseq2.family(saved, len(SYMBOLS)))
        model = hub.create_new_model(hub.get_model_config(card))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
        model.final_proj.weight.normal_()
    state = {n: t for n, t in model.state_dict().items() if not n.startswith("masker.")}
    torch.save({"model": state}, folder / "omniASR-CTC.pt")
    write_characters(folder / "omniASR_tokenizer.model", SYMBOLS)
    return folder, model.eval()


def wave():
    return (0.1 * np.random.default_rng(0).standard_normal(24_000)).astype(np.float32)


def test_outputs_are_those_of_fairseq2(published):
    folder, model = published
    from fairseq2.nn import BatchLayout

    saved = opened(folder / "omniASR-CTC.pt", None, UNUSED)
    assert saved.encoder.normalize
    assert saved.encoder.context.num_heads == 16
    wave_BS = torch.nn.functional.layer_norm(torch.from_numpy(wave()), (24_000,))[None]
    ours, _ = SpeechModel.from_saved(saved, UNUSED)
    with torch.inference_mode():
        theirs_TV = model(wave_BS, BatchLayout(tuple(wave_BS.shape), None))[0][0]
        output = ours.eval().encoder(wave_BS, torch.tensor([24_000]))
        ours_TV = ours.objectives["ctc"].logits(output)[0][0]
    rows = [0, *range(4, len(SYMBOLS))]
    assert (ours_TV - theirs_TV[:, rows]).abs().max() < 1e-4 * theirs_TV.abs().max()


def test_texts_are_those_of_fairseq2(published):
    folder, _ = published
    proof = prove(opened(folder, None, UNUSED), folder, "fairseq2")
    assert proof.read


def test_it_needs_no_language_and_a_language_only_names_the_result(published):
    folder, _ = published
    plain, named = (
        load(folder, device="cpu", language=name).transcribe(wave()) for name in (None, "yor_Latn")
    )
    assert plain.text == named.text != ""
    assert named.language == "yor"
    assert plain.language is plain.adapter is named.adapter is None


def test_of_several_tokenizers_the_one_that_fits(published, tmp_path):
    folder = shutil.copytree(published[0], tmp_path / "many")
    write_characters(folder / "other.model", SYMBOLS[:-3])
    words = opened(folder, None, UNUSED).vocabularies["ctc"]
    assert len(words) == len(SYMBOLS) - 3
    shutil.copy(folder / "omniASR_tokenizer.model", folder / "twin.model")
    with pytest.raises(UserError, match="3 tokenizers"):
        opened(folder, None, UNUSED)
