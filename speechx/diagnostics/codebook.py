"""Which codes of the shared quantizer each language uses: the analysis of the XLSR paper (Conneau
et al. 2020, on shared discrete representations).

    speechx analyze codebook --model runs/mine/final --manifest data/*/train.jsonl -o codes

Every frame of a sample of each language gets its codes: nothing is masked, the best entry of each
group is taken. What the numbers mean, and what they are worth, is said in `code_sharing`.

    T frames · G groups · N frames of a language
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechx.code_sharing import Heard, Sharing, measure
from speechx.data.batches import Batches, load
from speechx.data.corpus import Corpus
from speechx.data.manifest import Utterance, first_few, read_manifest
from speechx.data.sampling import Plan, every_row, once, padded_batches
from speechx.errors import UserError
from speechx.interchange.conversion import fresh, open_any
from speechx.models.wav2vec2 import Wav2Vec2Pretraining
from speechx.training.checkpoint import load_weights
from speechx.training.distributed import pick_device
from speechx.training.progress import Bar, say

PIECE_SECONDS = 30.0  # longer utterances are cut: training too hears crops
BATCH_SECONDS = 60.0


def analyze_codebook(
    model: Path | str,
    manifests: Sequence[Path],
    out: Path | None = None,
    minutes: float = 5.0,
    seed: int = 1,
    device: str = "auto",
) -> Sharing:
    """Hears at most `minutes` of each language; writes codebook.json and two figures to `out`.

    `model` is a pretraining model with its quantizer, of any format that `speechx convert` reads.
    """
    if not minutes > 0:
        raise UserError(f"--minutes must be more than 0, not {minutes:g}")
    if seed < 0:
        raise UserError(f"--seed must be 0 or more, not {seed}")
    if out is not None and not (find_spec("matplotlib") and find_spec("scipy")):
        raise UserError("figures need matplotlib and scipy: pip install 'speechx[figures]'")
    unused = ("mask_vector",)  # nothing is masked here
    saved = open_any(model, None, unused)
    if saved.kind != "pretraining":
        raise UserError(
            f"{model} holds a {saved.kind} model, which has no quantizer and so no codes; "
            "give the pretraining model that it was fine-tuned from"
        )
    sampled = sample(_read(manifests), minutes, seed)
    network = Wav2Vec2Pretraining(saved.config)
    say(f"codebook: {model}: {load_weights(network, saved.weights, str(model), fresh(unused))}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # here: hearing takes minutes
    heard = listen(network.to(pick_device(device)).eval(), sampled)
    sharing = measure(heard, saved.config.quantizer.groups, saved.config.quantizer.entries, seed)
    if out is not None:
        about = {"model": str(model), "manifests": [str(m) for m in manifests]}
        _write(out, {**about, "minutes": minutes, "seed": seed, **sharing.to_dict()})
        if len(sharing.uses) > 1:
            from speechx.codebook_figures import draw_dendrogram, draw_heat_map

            draw_heat_map(sharing, out / "heat_map.png")
            draw_dendrogram(sharing, out / "dendrogram.png")
        else:
            say("codebook: one language: nothing to compare, so no figures")
            for name in ("heat_map.png", "dendrogram.png"):  # of an earlier analysis
                (out / name).unlink(missing_ok=True)
    return sharing


def table(sharing: Sharing) -> str:
    """A row per language, then what they share and how far the numbers can be trusted."""
    rows = [("", "minutes", "voices", "codes", "perplexity", "halves", "voices apart", "nearest")]
    languages = list(sharing.uses)
    for index, (language, use) in enumerate(sharing.uses.items()):
        nearest = "-"
        if use.nearest is not None:
            bits = sharing.divergence_LL[index, languages.index(use.nearest)]
            nearest = f"{use.nearest} {bits:.3f}"
        rows.append(
            (
                language + ("" if use.steady else "*"),
                f"{use.minutes:.1f}",
                "?" if use.voices is None else str(use.voices),
                str(use.used),
                f"{use.perplexity:.1f}",
                _bits(use.halves),
                _bits(use.voices_apart),
                nearest,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column in (0, 7) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", *_remarks(sharing)])


def _remarks(sharing: Sharing) -> list[str]:
    possible, uses = sharing.groups * sharing.entries, sharing.uses
    if len(uses) == 1:
        return [f"{sharing.used_by[1]} of {possible} codes are used; one language, none to compare"]
    lines = [
        f"{sharing.used_by[-1]} of {possible} codes are used by all {len(uses)} languages, "
        f"{sharing.used_by[1]} by one only, {sharing.used_by[0]} by none",
        f"median divergence (Jensen-Shannon, bits): {_bits(sharing.between)} between languages, "
        f"{_bits(sharing.halves)} between halves of one, "
        f"{_bits(sharing.voices_apart)} between voices of one",
    ]

    def warn(meaning: str, names: list[str]) -> None:
        if names:
            lines.append(f"{meaning}: {', '.join(names)}")

    scant = [n for n, u in uses.items() if not u.steady]
    warn("* more minutes are needed: halves are more than half as far apart as languages", scant)
    warn("no further apart than halves of one", ["=".join(pair) for pair in sharing.alike()])
    # Voices are compared by half of the audio, so they have more of the noise.
    noise = {n: (u.halves or 0) / 2 for n, u in uses.items()}
    far = [n for n, u in uses.items() if (u.voices_apart or 0) - noise[n] > (u.from_others or 1)]
    warn("voices further apart than languages, so perhaps not the language", far)
    single = [n for n, u in uses.items() if u.voices == 1]
    warn("one voice only, so perhaps not the language", single)
    return lines


def _bits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def sample(
    utterances: Sequence[Utterance], minutes: float, seed: int
) -> dict[str, list[Utterance]]:
    """Pieces of each language until there are `minutes`, every voice in its turn, so that one who
    spoke a lot is not the language. Amounts that are less are said."""
    voices: dict[str, dict[str | None, list[Utterance]]] = defaultdict(lambda: defaultdict(list))
    for piece in chain.from_iterable(map(_pieces, utterances)):
        voices[piece.language][piece.speaker].append(piece)
    sampled: dict[str, list[Utterance]] = {}
    short = []
    for index, (language, of_voice) in enumerate(sorted(voices.items())):
        random = np.random.default_rng([seed, index])
        turns = [[some[i] for i in random.permutation(len(some))] for some in of_voice.values()]
        rounds = zip_longest(*(turns[i] for i in random.permutation(len(turns))))
        chosen, seconds = [], 0.0
        for piece in chain.from_iterable(rounds):
            if piece is not None and seconds < minutes * 60:
                chosen.append(piece)
                seconds += piece.duration
        sampled[language] = chosen
        if seconds < minutes * 60:
            short.append(f"{language} {seconds / 60:.1f}")
    if short:
        say(f"codebook: unequal amounts: less than {minutes:g} minutes of {', '.join(short)}")
    return sampled


def listen(
    network: Wav2Vec2Pretraining, sampled: Mapping[str, Sequence[Utterance]]
) -> dict[str, Heard]:
    """Codes of all frames; only the encoder and the quantizer are needed for them."""
    pieces = list(chain.from_iterable(sampled.values()))
    bar = Bar("codebook", sum(piece.duration for piece in pieces))
    codes: dict[Utterance, np.ndarray] = {}
    done = 0.0
    for plan, codes_of_rows in _codes(network, pieces):
        for row, codes_TG in zip(plan.rows, codes_of_rows, strict=True):
            codes[pieces[row.utterances[0]]] = codes_TG
            done += row.seconds
        bar.reach(done)
    bar.close()
    if silent := [piece.id for piece in pieces if not len(codes[piece])]:
        say(
            f"codebook: {len(silent)} utterances are too short for a frame and left out: "
            f"{first_few(silent)}"
        )
    heard = {}
    for language, some in sampled.items():
        some = [piece for piece in some if len(codes[piece])]
        if not some:
            say(f"codebook: {language} has no utterance of one frame or more and is left out")
            continue
        speakers = {speaker: i for i, speaker in enumerate(sorted({p.speaker or "" for p in some}))}
        voices = [-1 if p.speaker is None else speakers[p.speaker] for p in some]
        frames = [len(codes[piece]) for piece in some]
        heard[language] = Heard(
            codes_NG=np.concatenate([codes[piece] for piece in some]),
            piece_N=np.repeat(np.arange(len(some)), frames),
            voice_N=np.repeat(voices, frames),
            seconds=sum(piece.duration for piece in some),
        )
    if not heard:
        raise UserError("no utterance of the manifests is long enough for one frame")
    return heard


def _codes(
    network: Wav2Vec2Pretraining, pieces: Sequence[Utterance]
) -> Iterator[tuple[Plan, list[np.ndarray]]]:
    """Batches and the (T, G) codes of each of their rows, padding left out."""
    device = network.quantizer.codebook_GVQ.device
    corpus = Corpus.of(pieces)
    plans = list(once(padded_batches(every_row(corpus), BATCH_SECONDS, np.random.default_rng(0))))
    reader = Batches(corpus, network.config.normalize, None, None, 0)
    field = network.trunk.encoder.config.field
    for plan, batch in zip(plans, load(reader, plans, 0), strict=True):
        wave_BS, lengths_B = batch.wave_BS, batch.lengths_B
        if wave_BS.shape[1] < field:
            wave_BS = torch.nn.functional.pad(wave_BS, (0, field - wave_BS.shape[1]))
        with torch.inference_mode():
            latents_BTC, frames_B = network.trunk.encoder(wave_BS.to(device), lengths_B.to(device))
            features_BTC = network.trunk.feature_norm(latents_BTC)
            codes_BTG = network.quantizer(features_BTC, None).codes_BMG.cpu().numpy()
        yield plan, [c[:n] for c, n in zip(codes_BTG, frames_B.tolist(), strict=True)]


def _read(manifests: Sequence[Path]) -> list[Utterance]:
    """All utterances; one that is in two manifests counts once, or it would be its own control."""
    listed = [u for path in manifests for u in read_manifest(path)]
    once = {(u.audio, u.start, u.duration, u.language): u for u in listed}
    if len(once) < len(listed):
        say(f"codebook: {len(listed) - len(once)} utterances are listed twice and count once")
    return list(once.values())


def _pieces(utterance: Utterance) -> list[Utterance]:
    """Equal parts of at most 30 seconds."""
    many = math.ceil(utterance.duration / PIECE_SECONDS)
    seconds = utterance.duration / many
    return [
        replace(utterance, start=utterance.start + part * seconds, duration=seconds)
        for part in range(many)
    ]


def _write(out: Path, content: dict[str, Any]) -> None:
    new = out / f".codebook.json.{os.getpid()}"
    new.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    new.replace(out / "codebook.json")
