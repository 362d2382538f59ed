"""The other packages at work on their own files, for a proof.

Their code reads the file, prepares the recordings, builds the model and runs it; from ours they get
the recordings, masks and negatives, and which row of a head is which token. Only these functions
import the packages.

    B = 1 utterance · S samples · T frames · D = embed_dim · V outputs of a head
    · M masked frames · K negatives · Q quantized width
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from speechx.audio.files import SAMPLE_RATE
from speechx.data.batches import Batch
from speechx.errors import UserError
from speechx.interchange import fairseq, fairseq2, torchaudio
from speechx.interchange.mms import of_language
from speechx.interchange.pickles import read_pickle
from speechx.interchange.preprocessing import read_audio_settings
from speechx.interchange.vocabulary_rows import VocabularyRows
from speechx.models.folder import SavedModel


@dataclass(frozen=True, slots=True)
class ReferenceOutputs:
    """What a package computes from the clips; empty lists where its model has no such part."""

    by: str
    """The package and its version."""
    outputs: list[Tensor] = field(default_factory=list)
    """Of the encoder, (T, D)."""
    logits: list[Tensor] = field(default_factory=list)
    """Of the CTC head, (T, V), the rows in our order."""
    losses: list[Tensor] = field(default_factory=list)
    """Contrastive, summed over the masked frames."""
    texts: list[str] = field(default_factory=list)
    """What its tokenizer makes of the best of these rows in every frame."""


def rows_of(saved: SavedModel, find: Callable[[], VocabularyRows]) -> tuple[list[int], int | None]:
    """Which of the rows that `find` gives are ours, the blank first, and how many it gives; without
    a head none and None."""
    if (vocabulary := saved.vocabularies.get("ctc")) is None:
        return [], None
    rows = find()
    theirs = rows.tokens(vocabulary.token_type)
    return [rows.blank, *map(theirs.index, vocabulary.tokens)], len(rows.symbols)


Clips: TypeAlias = Sequence[Batch]
"""One recording each, as it was made, with the draws mask_BT and negatives_BMK."""


def layer_normed(clips: Clips, wanted: bool | None, saved: SavedModel) -> Clips:
    """The recordings as fairseq, fairseq2 and torchaudio prepare them for a model; without the
    setting (None) as was assumed for ours."""
    if not (saved.encoder.normalize if wanted is None else wanted):
        return clips
    waves = [F.layer_norm(clip.wave_BS, clip.wave_BS.shape[1:]) for clip in clips]
    return [replace(clip, wave_BS=wave) for clip, wave in zip(clips, waves, strict=True)]


def from_hugging_face(saved: SavedModel, path: Path, clips: Clips) -> ReferenceOutputs:
    """transformers: `from_pretrained` on the folder."""
    import transformers

    folder = path if path.is_dir() else path.parent
    heads = {"ctc": "Wav2Vec2ForCTC", "wav2vec2": "Wav2Vec2ForPreTraining"}
    name = next((heads[each] for each in saved.objectives), "Wav2Vec2Model")
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        model, report = getattr(transformers, name).from_pretrained(
            folder, output_loading_info=True, local_files_only=True
        )
        chosen = {}
        if (saved.adapter or "").startswith("adapter."):  # a file of its own
            model.load_adapter(saved.language, local_files_only=True)
            report = {k: [n for n in some if not of_language(str(n))] for k, some in report.items()}
            chosen = {"target_lang": saved.language}
        extractor = transformers.Wav2Vec2FeatureExtractor
        try:
            processor = extractor.from_pretrained(folder, local_files_only=True)
        except OSError:  # version 4 on the layout of version 5, or no file
            processor = extractor(**read_audio_settings(folder).given)
        tokenizer = None
        if name == "Wav2Vec2ForCTC":  # do_phonemize needs espeak, for texts that go in
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, do_phonemize=False, **chosen
            )

        def symbols() -> VocabularyRows:
            assert tokenizer is not None
            space = getattr(tokenizer, "word_delimiter_token", None)
            by_row = {row: symbol for symbol, row in tokenizer.get_vocab().items()}
            found = [by_row.get(row, "") for row in range(model.config.vocab_size)]
            if saved.vocabularies["ctc"].token_type == "phonemes":
                found = [" " if symbol == space else symbol for symbol in found]
            lower = bool(getattr(tokenizer, "do_lower_case", False))
            blank = model.config.pad_token_id
            return VocabularyRows(tuple(found), blank, space=space, lower=lower)

        rows, _ = rows_of(saved, symbols)
    finally:
        transformers.logging.set_verbosity(before)
    # It draws the tensors that it does not find. A mask embedding is there only if masks are.
    odd = {what: [n for n in names if not str(n).endswith("masked_spec_embed")]
           for what, names in report.items()}  # fmt: skip
    if any(odd.values()):
        raise UserError(f"{folder}: {name} of transformers finds other tensors: {odd}")
    model.float().eval()
    result = ReferenceOutputs(f"transformers {transformers.__version__}")
    encoder = model if name == "Wav2Vec2Model" else model.wav2vec2
    for raw in clips:
        given = processor(raw.wave_BS[0].numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        clip = replace(raw, wave_BS=given["input_values"])
        result.outputs.append(encoder(clip.wave_BS).last_hidden_state[0])
        if tokenizer is not None:
            logits_TV = model(clip.wave_BS).logits[0][:, rows]
            best_T = torch.tensor(rows)[logits_TV.argmax(1)]
            result.logits.append(logits_TV)
            result.texts.append(tokenizer.decode(best_T, clean_up_tokenization_spaces=False))
        if name == "Wav2Vec2ForPreTraining":
            model.config.apply_spec_augment = True  # or it ignores the mask
            # They number all frames and want negatives at unmasked ones too, which have no effect.
            mask_BT, negatives_BMK = clip.draws["mask_BT"], clip.draws["negatives_BMK"]
            negatives_BTK = torch.zeros(*mask_BT.shape, negatives_BMK.shape[2]).long()
            places_M = mask_BT[0].nonzero().flatten()
            negatives_BTK[mask_BT] = places_M[negatives_BMK[0]]
            output = model(
                clip.wave_BS, mask_time_indices=mask_BT, sampled_negative_indices=negatives_BTK
            )
            result.losses.append(output.contrastive_loss)
    return result


def from_fairseq2(saved: SavedModel, file: Path, clips: Clips) -> ReferenceOutputs:
    """fairseq2: `load_model` of its model hub on the asset card, or on the file with our settings
    where there is no card."""
    card, where = fairseq2.find_card(file)

    def symbols() -> VocabularyRows:
        count = fairseq2.head_rows(read_pickle(file))
        return fairseq2.find_rows(file, card, where, count)[0]

    rows, outputs = rows_of(saved, symbols)
    given = dict(card)
    if not card.get("model_config") and not card.get("model_arch"):
        given |= fairseq2.family(saved, outputs)
        if rows:  # trained without masks, a file has no mask embedding
            masked = "encoder.mask_embedding" in saved.weights
            given["model_config"]["use_masking"] = masked
    clips = layer_normed(clips, card.get("normalize_audio"), saved)
    # Tensors only, whatever the card allows.
    given |= {"checkpoint": str(file), "restrict": True}
    with fairseq2_hub(given["model_family"]) as hub:
        from fairseq2.assets import AssetCard

        model = hub.load_model(AssetCard("proof", given), device=torch.device("cpu"))
        result = fairseq2_outputs(model, clips, rows, "fairseq2")
    if rows and len(tokenizers := sorted(file.parent.glob("*.model"))) == 1:
        from fairseq2.data.tokenizers import sentencepiece

        decode = sentencepiece.SentencePieceDecoder(sentencepiece.SentencePieceModel(tokenizers[0]))
        for logits_TV in result.logits:
            best = torch.tensor(rows)[logits_TV.argmax(1)].unique_consecutive()
            result.texts.append(str(decode(best[best != rows[0]])))
    return result


def from_fairseq_by_fairseq2(saved: SavedModel, file: Path, clips: Clips) -> ReferenceOutputs:
    """A fairseq checkpoint through the converters of fairseq2."""
    content = read_pickle(file)
    rows, outputs = rows_of(saved, lambda: fairseq.find_rows(file, content)[0])
    clips = layer_normed(clips, fairseq.normalizes(content, bool(rows), str(file)), saved)
    card = fairseq2.family(saved, outputs)
    with fairseq2_hub(card["model_family"]) as hub:
        from fairseq2.assets import AssetCard
        from fairseq2.models.wav2vec2.asr.interop import convert_wav2vec2_asr_state_dict
        from fairseq2.models.wav2vec2.interop import convert_wav2vec2_state_dict

        config = hub.get_model_config(AssetCard("proof", card))
        model = hub.create_new_model(config)
        state = dict(content["model"])
        if rows:
            state = convert_wav2vec2_asr_state_dict(state, config)
        else:
            # The converter of fairseq2 0.7 detects a fairseq file by a name that no file has, and
            # leaves out the positional convolution, unlike its converter of CTC models.
            state["mask_emb.weight"] = state["mask_emb"]
            state = {
                name.replace("encoder.pos_conv.0.", "encoder_frontend.pos_encoder.conv."): tensor
                for name, tensor in convert_wav2vec2_state_dict(state, config).items()
                if name != "masker.temporal_mask_embed.weight"
            }
        model.load_state_dict(state)
        return fairseq2_outputs(model, clips, rows, "fairseq converter of fairseq2")


@contextmanager
def fairseq2_hub(family: str) -> Iterator[Any]:
    """The models of a family of fairseq2. Its quantizer compiles a sum, which takes a compiler and
    a minute, and it draws a progress bar on stderr: here it does neither."""
    os.environ.setdefault("FAIRSEQ2_NO_PROGRESS", "1")
    with torch.compiler.set_stance("force_eager"):
        from fairseq2.models.wav2vec2 import get_wav2vec2_model_hub
        from fairseq2.models.wav2vec2.asr import get_wav2vec2_asr_model_hub

        hubs: dict[str, Any] = {
            "wav2vec2": get_wav2vec2_model_hub,
            "wav2vec2_asr": get_wav2vec2_asr_model_hub,
        }
        yield hubs[family]()


def fairseq2_outputs(model: Any, clips: Clips, rows: list[int], by: str) -> ReferenceOutputs:
    from importlib.metadata import version

    from fairseq2.nn import BatchLayout

    model.float().eval()
    result = ReferenceOutputs(f"{by} {version('fairseq2')}")
    for clip in clips:
        layout = BatchLayout(tuple(clip.wave_BS.shape), None)
        seqs, frames = model.encoder_frontend(clip.wave_BS, layout)
        result.outputs.append(model.encoder(seqs, frames)[0])
        if rows:
            logits_BTV, _ = model(clip.wave_BS, layout)
            result.logits.append(logits_BTV[0][:, rows])
        else:
            # Masks and negatives are drawn inside; these two draw ours.
            model.masker.mask_factory = lambda draws=clip.draws, **_: draws["mask_BT"]
            model._sample_distractors = lambda targets_BMQ, draws=clip.draws: targets_BMQ[
                :, draws["negatives_BMK"][0]
            ]
            loss, _ = model(clip.wave_BS, layout)
            result.losses.append(loss.contrastive)
    return result


def from_torchaudio(saved: SavedModel, file: Path, clips: Clips) -> ReferenceOutputs:
    """torchaudio: `wav2vec2_model` with the arguments beside the file, or ours without them."""
    about, _ = torchaudio.find_about(file)
    rows, outputs = rows_of(saved, lambda: VocabularyRows(tuple(map(str, about["labels"])), 0))
    arguments = about.get("model") or torchaudio.arguments(saved, outputs)
    clips = layer_normed(clips, about.get("normalize_waveform"), saved)
    return torchaudio_outputs(arguments, read_pickle(file), clips, rows, "torchaudio")


def from_fairseq_by_torchaudio(saved: SavedModel, file: Path, clips: Clips) -> ReferenceOutputs:
    """A fairseq checkpoint through the converter of torchaudio, which drops the quantizer."""
    from torchaudio.models.wav2vec2.utils.import_fairseq import _convert_state_dict

    content = read_pickle(file)
    weights = _convert_state_dict(
        {name.removeprefix("w2v_encoder."): t for name, t in content["model"].items()}
    )
    rows, outputs = rows_of(saved, lambda: fairseq.find_rows(file, content)[0])
    clips = layer_normed(clips, fairseq.normalizes(content, bool(rows), str(file)), saved)
    arguments = torchaudio.arguments(saved, outputs)
    return torchaudio_outputs(arguments, weights, clips, rows, "fairseq converter of torchaudio")


def torchaudio_outputs(
    arguments: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    clips: Clips,
    rows: list[int],
    by: str,
) -> ReferenceOutputs:
    import torchaudio as theirs

    model = theirs.models.wav2vec2_model(**arguments)
    model.load_state_dict(weights)
    model.float().eval()
    result = ReferenceOutputs(f"{by} {theirs.__version__.split('+')[0]}")
    head, model.aux = model.aux, None
    for clip in clips:
        output_TD = model(clip.wave_BS)[0][0]
        result.outputs.append(output_TD)
        if rows:
            result.logits.append(head(output_TD)[:, rows])
    return result


READERS: Mapping[tuple[str, str], Callable[[SavedModel, Path, Clips], ReferenceOutputs]] = {
    ("hugging_face", "transformers"): from_hugging_face,
    ("fairseq2", "fairseq2"): from_fairseq2,
    ("torchaudio", "torchaudio"): from_torchaudio,
    ("fairseq", "fairseq2"): from_fairseq_by_fairseq2,
    ("fairseq", "torchaudio"): from_fairseq_by_torchaudio,
}
"""By format and package. fairseq itself installs on no recent Python, so its files go through the
converters of fairseq2 and torchaudio."""
PACKAGES = {format: [p for f, p in READERS if f == format] for format, _ in READERS}
