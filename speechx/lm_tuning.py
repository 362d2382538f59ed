"""The weights of a language model, chosen on dev, and the language model kept with the model.

    speechx lm tune runs/mine/best --lm words.safetensors --dev dev.jsonl

The error on dev is measured on a grid of `lm_weight` and `word_bonus`, then on a finer grid around
the best weights. These and the language model are then written into the model folder, and
`transcribe` and `evaluate` use them by default.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from speechx.data.labels import labelled
from speechx.data.manifest import Utterance, first_few
from speechx.decoding.beam import BeamDecoder, BeamSettings, level_of
from speechx.decoding.decoder import Decoder, GreedyDecoder
from speechx.decoding.ngram_file import read_ngram
from speechx.decoding.scoring import score
from speechx.errors import UserError
from speechx.evaluation import check_language_model
from speechx.hypotheses import (
    by_word,
    decode_all,
    read_test_data,
    references_of,
    with_hypotheses,
)
from speechx.interchange.opening import open_model
from speechx.leaks import check_leaks
from speechx.log import logger
from speechx.models.folder import is_model_folder, lm_file, write_decoding
from speechx.text_table import text_table
from speechx.transcription.recognizer import UNUSED, Recognizer, recognizer
from speechx.whole_file import require_writable
from speechx.wording import percent

WEIGHTS = (0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 3.0)
WORD_BONUSES, TOKEN_BONUSES = (-1.0, 0.0, 1.0, 2.0, 4.0), (-0.5, 0.0, 0.5, 1.0, 2.0)
FINER = (0.8, 1.0, 1.25)  # times the best weight


def tune_lm(
    model: Path | str,
    manifests: Sequence[Path],
    lm: Path,
    beam_size: int | None = None,
    device: str = "auto",
    head: str | None = None,
) -> str:
    """Chooses the weights by the error on `manifests` (dev data), writes them and the language
    model into the model folder, and returns a table. The error is WER if the model writes spaces,
    else CER or PER. If no weights make it smaller than without a language model, the folder stays
    as it is. UserError if the language model was trained on sentences of dev, or the model on
    recordings of dev."""
    folder = Path(model)
    if not is_model_folder(folder):
        raise UserError(
            f"{folder} is not a speechx folder, so the language model cannot be kept in it: "
            "convert it first with `speechx convert`"
        )
    require_writable(folder / "config.yaml")
    ngram = read_ngram(lm)
    opened = recognizer(open_model(folder, UNUSED), folder, device, head)
    vocabulary = opened.vocabulary
    if vocabulary.token_type == "languages":
        raise UserError(
            f"{folder} identifies languages; a language model is for models that write characters "
            "or phonemes"
        )
    utterances = labelled(read_test_data(manifests), vocabulary.token_type)
    check_language_model(ngram, utterances, "dev data")
    leaks = check_leaks(folder, utterances, allow=True)
    if leaks is not None and leaks.fatal(train_is_given=False):
        raise UserError(
            f"{folder} was trained on its dev data: of the utterances {leaks}, with "
            f"{first_few(leaks.train)}. Weights for text that the model knows by heart are wrong; "
            "give data that are neither training nor test data."
        )
    start = BeamSettings() if beam_size is None else BeamSettings(beam_size=beam_size)
    decoder = BeamDecoder(vocabulary.tokens, ngram, settings=start)
    bonuses = TOKEN_BONUSES if level_of(ngram, vocabulary.tokens) == "tokens" else WORD_BONUSES
    coarse = [
        replace(start, lm_weight=weight, word_bonus=bonus)
        for weight, bonus in product(WEIGHTS, bonuses)
    ]
    metric = _metric(opened)
    without: list[Decoder] = [
        GreedyDecoder(vocabulary.tokens),
        BeamDecoder(vocabulary.tokens, settings=start),
    ]
    greedy, beam, *errors = _errors(
        opened, utterances, metric, [*without, *map(decoder.with_settings, coarse)]
    )
    least, _, best = min(_ranked(errors, coarse))
    step = bonuses[1] - bonuses[0]
    fine = [
        replace(start, lm_weight=round(weight * best.lm_weight, 3), word_bonus=best.word_bonus + b)
        for weight, b in product(FINER, (-step / 2, 0.0, step / 2))
    ]
    errors = _errors(opened, utterances, metric, [*map(decoder.with_settings, fine)])
    least, _, best = min((least, 0, best), min(_ranked(errors, fine)), key=lambda found: found[0])
    table = text_table(
        [
            [f"{metric.upper()} on dev", "rate", "lm_weight", "word_bonus"],
            ["greedy", percent(greedy)],
            ["beam search", percent(beam)],
            ["with the language model", percent(least), f"{best.lm_weight:g}",
             f"{best.word_bonus:g}"],
        ]
    )  # fmt: skip
    if least >= min(greedy, beam):
        logger.warning(
            f"{lm} does not make {metric.upper()} on dev smaller, so {folder} does not keep it; "
            "train it on more text, or on text that is more like dev"
        )
        return table
    ngram.save(lm_file(folder, opened.saved_head))
    settings = {name: getattr(best, name) for name in ("beam_size", "lm_weight", "word_bonus")}
    write_decoding(folder, opened.saved_head, settings)
    logger.info(
        f"{folder}: decodes with {lm} by default ({settings}); --decoder greedy turns it off"
    )
    return table


def _metric(opened: Recognizer) -> str:
    if opened.vocabulary.token_type == "phonemes":
        return "per"
    return "wer" if any(map(str.isspace, opened.vocabulary.tokens)) else "cer"


def _errors(
    opened: Recognizer,
    utterances: Sequence[Utterance],
    metric: str,
    decoders: Sequence[Decoder],
) -> list[float]:
    """The error rate of each decoder."""
    token_type = opened.vocabulary.token_type
    references = references_of(utterances, token_type)
    tokens, _ = decode_all(opened, utterances, decoders, True, [])
    decoded = [with_hypotheses(references, each, token_type) for each in tokens]
    if metric == "wer":
        decoded = list(map(by_word, decoded))
    return [score(each, metric, resamples=1).overall.rate for each in decoded]


def _ranked(
    errors: Sequence[float], settings: Sequence[BeamSettings]
) -> Iterable[tuple[float, int, BeamSettings]]:
    """Errors and settings with a number between, so that of equal errors the first is the least."""
    return ((error, n, each) for n, (error, each) in enumerate(zip(errors, settings, strict=True)))
