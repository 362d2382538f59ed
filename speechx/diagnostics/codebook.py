"""Which codes of the shared quantizer each language uses: the analysis of the XLSR paper (Conneau
et al. 2020, on shared discrete representations).

    speechx analyze codebook --model runs/mine/final --manifest data/*/train.jsonl -o codes

Every frame of a sample of each language gets its codes: nothing is masked, the best entry of each
group is taken. `code_sharing` explains the numbers.

    B utterances · S samples · T frames · M = T, for nothing is masked · C feature channels
    · G groups · N frames of a language · L languages
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechx.audio.files import SAMPLE_RATE
from speechx.data.batches import Batches
from speechx.data.corpus import Corpus
from speechx.data.manifest import Utterance, first_few, read_manifest
from speechx.data.phone_times import TimedPhone, TimedPhones, phones_of, timed_phones
from speechx.data.sampling import Plan, every_row, once, padded_batches
from speechx.diagnostics.code_sharing import LanguageCodes, Sharing, measure
from speechx.diagnostics.unit_quality import CodedSpeech, UnitQuality, joined, unit_quality
from speechx.errors import UserError
from speechx.interchange.opening import open_model
from speechx.log import logger
from speechx.models.encoder import Encoder
from speechx.models.features.convolutional import StridedConfig
from speechx.models.quantizer import ProductQuantizer
from speechx.objectives.model import SpeechModel
from speechx.text_table import text_table
from speechx.training.distributed import pick_device
from speechx.training.progress import Bar
from speechx.whole_file import write_whole

PIECE_SECONDS = 30.0  # longer utterances are cut: training uses crops, too
BATCH_SECONDS = 60.0
OVERALL = "overall"


def analyze_codebook(
    model: Path | str,
    manifests: Sequence[Path],
    out: Path | None = None,
    minutes: float = 5.0,
    seed: int = 1,
    device: str = "auto",
    alignments: Path | None = None,
) -> Sharing:
    """Compares at most `minutes` of each language; writes codebook.json and two figures to `out`.

    `model` is a pretraining model with its quantizer, of any format that `speechx convert` reads.
    Where phones have times, in the manifests or in the folder `alignments`, codes are scored
    against them (unit_quality.py).
    """
    if not minutes > 0:
        raise UserError(f"--minutes must be more than 0, not {minutes:g}")
    if seed < 0:
        raise UserError(f"--seed must be 0 or more, not {seed}")
    if out is not None and not (find_spec("matplotlib") and find_spec("scipy")):
        raise UserError("figures need matplotlib and scipy: pip install 'speechx[figures]'")
    encoder, quantizer = open_quantizer(model)
    utterances = read_utterances(manifests)
    known, sampled = timed_phones(utterances, alignments), sample(utterances, minutes, seed)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # before the computation, which takes minutes
    chosen = pick_device(device)
    pieces = list(chain.from_iterable(sampled.values()))
    codes = codes_of_pieces(encoder.to(chosen), quantizer.to(chosen), pieces)
    about = {"model": str(model), "manifests": [str(m) for m in manifests]}
    size = quantizer.config.num_groups, quantizer.config.num_entries
    grid = encoder.config.features
    return compare(sampled, codes, known, grid, size, seed, out, {**about, "minutes": minutes})


def compare(
    sampled: Mapping[str, Sequence[Utterance]],
    codes: Mapping[Utterance, np.ndarray],
    known: TimedPhones,
    grid: StridedConfig,
    size: tuple[int, int],
    seed: int,
    out: Path | None,
    about: Mapping[str, Any],
) -> Sharing:
    """How languages use the codes (T, G) of their pieces, and how these agree with the phones that
    are known; `size` is the number of groups and of entries. Writes it to `out`."""
    sharing = measure(by_language(sampled, codes), *size, seed)
    sharing = replace(sharing, quality=_quality(sampled, codes, known, grid, seed))
    if out is not None:
        content = {**about, "seed": seed, **sharing.to_dict()}
        write_whole(out / "codebook.json", json.dumps(content, ensure_ascii=False) + "\n")
        if len(sharing.uses) > 1:
            from speechx.diagnostics.codebook_figures import draw_dendrogram, draw_heat_map

            draw_heat_map(sharing, out / "heat_map.png")
            draw_dendrogram(sharing, out / "dendrogram.png")
        else:
            logger.info("codebook: one language: nothing to compare, so no figures")
            for name in ("heat_map.png", "dendrogram.png"):  # of an earlier analysis
                (out / name).unlink(missing_ok=True)
    return sharing


def open_quantizer(path: Path | str) -> tuple[Encoder, ProductQuantizer]:
    """The encoder of a model, and the quantizer of its first objective that has one."""
    unused = ("mask_embedding",)  # nothing is masked here
    model, loaded = SpeechModel.from_saved(open_model(path, unused), unused)
    for part in model.objectives.modules():
        if isinstance(part, ProductQuantizer):
            logger.info(f"codebook: {path}: {loaded}")
            return model.eval().encoder, part
    trained = ", ".join(config.kind for config in model.configs.values()) or "nothing"
    raise UserError(
        f"{path} was trained with {trained} and has no quantizer, so it has no codes; give the "
        "pretraining model that it was fine-tuned from"
    )


def table(sharing: Sharing) -> str:
    """A row per language, then the codes they share and how reliable the numbers are."""
    rows = [
        ["", "minutes", "speakers", "codes", "perplexity", "halves", "speakers apart", "nearest"]
    ]
    languages = list(sharing.uses)
    for index, (language, use) in enumerate(sharing.uses.items()):
        nearest = "-"
        if use.nearest is not None:
            bits = sharing.divergence_LL[index, languages.index(use.nearest)]
            nearest = f"{use.nearest} {bits:.3f}"
        speakers = "?" if use.speakers is None else str(use.speakers)
        measured = (f"{use.minutes:.1f}", speakers, str(use.used), f"{use.perplexity:.1f}")
        controls = (_bits(use.halves), _bits(use.speakers_apart))
        rows.append([language + ("" if use.steady else "*"), *measured, *controls, nearest])
    lines = [text_table(rows, left=(0, 7)), "", *_remarks(sharing)]
    if sharing.quality:
        lines += ["", _quality_table(sharing.quality)]
    return "\n".join(lines)


def _quality_table(quality: Mapping[str, Mapping[str, UnitQuality]]) -> str:
    """A row for the codes of a language, in %."""
    rows = [["phones", "codes", "different", "frames", "phone purity", "cluster purity", "PNMI",
             "of chance", "boundary precision", "recall", "F1"]]  # fmt: skip
    for language, views in quality.items():
        for name, q in views.items():
            shares = (
                q.phone_purity, q.cluster_purity, q.pnmi, q.pnmi_of_chance, q.boundary_precision,
                q.boundary_recall, q.boundary_f1,
            )  # fmt: skip
            percent = [f"{100 * share:.1f}" for share in shares]
            rows.append([f"{language} {q.phones}", name, str(q.codes), str(q.frames), *percent])
    return text_table(rows, left=(0, 1))


def _remarks(sharing: Sharing) -> list[str]:
    possible, uses = sharing.groups * sharing.entries, sharing.uses
    if len(uses) == 1:
        return [f"{sharing.used_by[1]} of {possible} codes are used; one language, none to compare"]
    lines = [
        f"{sharing.used_by[-1]} of {possible} codes are used by all {len(uses)} languages, "
        f"{sharing.used_by[1]} by one only, {sharing.used_by[0]} by none",
        f"median divergence (Jensen-Shannon, bits): {_bits(sharing.between)} between languages, "
        f"{_bits(sharing.halves)} between halves of one, "
        f"{_bits(sharing.speakers_apart)} between speakers of one",
    ]

    def warn(meaning: str, names: list[str]) -> None:
        if names:
            lines.append(f"{meaning}: {', '.join(names)}")

    scant = [n for n, u in uses.items() if not u.steady]
    warn("* more minutes are needed: halves are more than half as far apart as languages", scant)
    warn("no further apart than halves of one", ["=".join(pair) for pair in sharing.alike()])
    # Speakers are compared by half of the audio, so they have more of the noise.
    noise = {n: (u.halves or 0) / 2 for n, u in uses.items()}
    far = [n for n, u in uses.items() if (u.speakers_apart or 0) - noise[n] > (u.from_others or 1)]
    warn("speakers further apart than languages, so perhaps not the language", far)
    single = [n for n, u in uses.items() if u.speakers == 1]
    warn("one speaker only, so perhaps not the language", single)
    return lines


def _bits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def sample(
    utterances: Sequence[Utterance], minutes: float, seed: int, name: str = "codebook"
) -> dict[str, list[Utterance]]:
    """Pieces of each language until there are `minutes`. Speakers take turns, so that one who spoke
    a lot does not dominate the language. Logs which languages have less."""
    speakers: dict[str, dict[str | None, list[Utterance]]] = defaultdict(lambda: defaultdict(list))
    for piece in chain.from_iterable(map(_pieces, utterances)):
        speakers[piece.language][piece.speaker].append(piece)
    sampled: dict[str, list[Utterance]] = {}
    short = []
    for index, (language, by_speaker) in enumerate(sorted(speakers.items())):
        random = np.random.default_rng([seed, index])
        turns = [[some[i] for i in random.permutation(len(some))] for some in by_speaker.values()]
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
        logger.info(f"{name}: unequal: less than {minutes:g} minutes of {', '.join(short)}")
    return sampled


def codes_by_language(
    encoder: Encoder, quantizer: ProductQuantizer, sampled: Mapping[str, Sequence[Utterance]]
) -> dict[str, LanguageCodes]:
    """Codes of all frames; languages without a single frame are left out."""
    pieces = list(chain.from_iterable(sampled.values()))
    return by_language(sampled, codes_of_pieces(encoder, quantizer, pieces))


def codes_of_pieces(
    encoder: Encoder, quantizer: ProductQuantizer, pieces: Sequence[Utterance]
) -> dict[Utterance, np.ndarray]:
    """The codes (T, G) of each piece."""
    bar = Bar("codebook", sum(piece.duration for piece in pieces))
    codes: dict[Utterance, np.ndarray] = {}
    done = 0.0
    for plan, codes_of_rows in _codes(encoder, quantizer, pieces):
        for row, codes_TG in zip(plan.rows, codes_of_rows, strict=True):
            codes[pieces[row.utterances[0]]] = codes_TG
            done += row.seconds
        bar.reach(done)
    bar.close()
    return codes


def by_language(
    sampled: Mapping[str, Sequence[Utterance]], codes: Mapping[Utterance, np.ndarray]
) -> dict[str, LanguageCodes]:
    """The codes of all frames of each language; languages without a frame are left out."""
    pieces = list(chain.from_iterable(sampled.values()))
    if short := [piece.id for piece in pieces if not len(codes[piece])]:
        logger.info(
            f"codebook: {len(short)} utterances are too short for a frame and left out: "
            f"{first_few(short)}"
        )
    found = {}
    for language, some in sampled.items():
        some = [piece for piece in some if len(codes[piece])]
        if not some:
            logger.info(f"codebook: {language} has no utterance of one frame and is left out")
            continue
        numbers = {speaker: i for i, speaker in enumerate(sorted({p.speaker or "" for p in some}))}
        speakers = [-1 if p.speaker is None else numbers[p.speaker] for p in some]
        frames = [len(codes[piece]) for piece in some]
        found[language] = LanguageCodes(
            codes_NG=np.concatenate([codes[piece] for piece in some]),
            piece_N=np.repeat(np.arange(len(some)), frames),
            speaker_N=np.repeat(speakers, frames),
            seconds=sum(piece.duration for piece in some),
        )
    if not found:
        raise UserError("no utterance of the manifests is long enough for one frame")
    return found


def _quality(
    sampled: Mapping[str, Sequence[Utterance]],
    codes: Mapping[Utterance, np.ndarray],
    known: TimedPhones,
    grid: StridedConfig,
    seed: int,
) -> dict[str, dict[str, UnitQuality]]:
    """By language, and over all: of the codes of all groups together, and of each group."""
    speech: dict[str, list[tuple[np.ndarray, np.ndarray, list[TimedPhone]]]] = defaultdict(list)
    for language, pieces in sampled.items():
        for piece in pieces:
            if phones := phones_of(piece, known):
                frames = np.arange(len(codes[piece]))
                centres = (grid.stride * frames + grid.centre) / SAMPLE_RATE
                speech[language].append((codes[piece], centres, phones))
    if len(speech) > 1:
        speech[OVERALL] = [one for some in list(speech.values()) for one in some]
    found: dict[str, dict[str, UnitQuality]] = {}
    for language, some in speech.items():
        groups = some[0][0].shape[1]
        views = {"all groups": slice(None)} if groups > 1 else {}
        views |= {f"group {g}" if groups > 1 else "units": slice(g, g + 1) for g in range(groups)}
        for name, columns in views.items():
            of_group = [
                CodedSpeech(joined(codes_TG[:, columns]), centres, phones)
                for codes_TG, centres, phones in some
            ]
            if (quality := unit_quality(of_group, seed)) is not None:
                found.setdefault(language, {})[name] = quality
    return found


def _codes(
    encoder: Encoder, quantizer: ProductQuantizer, pieces: Sequence[Utterance]
) -> Iterator[tuple[Plan, list[np.ndarray]]]:
    """Batches and the (T, G) codes of each of their rows, padding left out."""
    device, corpus = quantizer.codebook.device, Corpus.of(pieces)
    config = encoder.config
    reader = Batches(corpus, config.normalize, epsilon=config.normalize_epsilon)
    plans = padded_batches(every_row(corpus), BATCH_SECONDS, np.random.default_rng(0))
    for plan in once(plans):
        batch = reader[plan]
        with torch.inference_mode():
            features = encoder.extract(batch.wave_BS.to(device), batch.lengths_B.to(device))
            codes_BTG = quantizer(features.features_BTC, None).codes_BMG.cpu().numpy()
        assert features.frames_B is not None
        yield plan, [c[:n] for c, n in zip(codes_BTG, features.frames_B.tolist(), strict=True)]


def read_utterances(manifests: Sequence[Path], name: str = "codebook") -> list[Utterance]:
    """All utterances; one that is in two manifests counts once, or halves would share it."""
    listed = [u for path in manifests for u in read_manifest(path)]
    distinct = {(u.audio, u.start, u.duration, u.language): u for u in listed}
    if twice := len(listed) - len(distinct):
        logger.info(f"{name}: {twice} utterances are listed twice and count once")
    return list(distinct.values())


def _pieces(utterance: Utterance) -> list[Utterance]:
    """Equal parts of at most 30 seconds."""
    many = math.ceil(utterance.duration / PIECE_SECONDS)
    seconds = utterance.duration / many
    starts = (utterance.start + part * seconds for part in range(many))
    return [replace(utterance, start=start, duration=seconds) for start in starts]
