"""From a model and a manifest to scores.

    speechx evaluate --model runs/mine/best --manifest test.jsonl -o scores.json

A head is scored by what it writes: phone error rate, character and word error rate, or accuracy. An
objective without labels has its metrics computed on the utterances. The probabilities of words,
phones or languages are compared with what is right, and `--calibrate` corrects them.

With an inventory the language counts as unseen, and the same outputs are scored under five
conditions, so that mapping is not credited with what masking does:

    unmapped    the model's own phones
    masked      only phones that the language shares with the model
    mapped      every phone goes to its articulatory neighbour in the language
    random_map  shared phones stay, the others go to random phones of the language (mean of 5 draws)
    shuffled    `mapped`, scored against another sentence: chance

    N words or tokens that the model wrote
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from speechx.data.batches import Batches
from speechx.data.corpus import Corpus
from speechx.data.labels import labelled, tokens_of
from speechx.data.manifest import Utterance, read_manifest
from speechx.data.sampling import every_row, once, padded_batches
from speechx.decoding.accuracy import Accuracy, accuracy
from speechx.decoding.calibration import (
    Reliability,
    fit_temperature,
    reliability,
    right_tokens,
    word_probability,
)
from speechx.decoding.decoder import Decoder, GreedyDecoder, MappedDecoder, TokenSpan
from speechx.decoding.mapping import Mapping as PhoneMapping
from speechx.decoding.mapping import masked_map, random_map
from speechx.decoding.scoring import Score, Scored, characters, check_references, score, words
from speechx.errors import UserError
from speechx.interchange.languages import in_language
from speechx.interchange.opening import open_model
from speechx.log import logger
from speechx.models.adapter_files import head_of
from speechx.models.compute import require_compute_type
from speechx.models.folder import SavedModel, is_model_folder, write_temperature
from speechx.objectives.model import SpeechModel
from speechx.text.inventory import Inventory
from speechx.text.ipa import normalize_ipa
from speechx.text.languages import language_code
from speechx.text.normalize import letters, normalize
from speechx.text.unspaced import UNSPACED
from speechx.text.vocabulary import TokenType
from speechx.training.distributed import pick_device
from speechx.training.progress import Progress
from speechx.training.speech_data import SpeechData
from speechx.training.validation import metrics_by_language, metrics_table
from speechx.transcription.recognizer import (
    UNUSED,
    Recognizer,
    read_batch,
    recognizer,
)
from speechx.whole_file import require_writable, write_whole
from speechx.wording import most_frequent, number_of

RANDOM_MAPS = 5
READ_SECONDS = 60.0  # of recordings that are read at once
MIN_SECONDS = 1.0  # of an utterance on which an objective without labels is evaluated
PREPARED: dict[TokenType, str] = {  # what is done to the two sides before they are compared
    "characters": "references and hypotheses by speechx.text.normalize (NFC, lower case of the "
    "language, punctuation and symbols to spaces, one spelling of apostrophes and other signs "
    "inside words, digits as they are, single spaces)",
    "phonemes": "references and hypotheses in one spelling of IPA (speechx.text.ipa)",
    "languages": "references and hypotheses as one code for each language (speechx.text.languages)",
}
AnyScore: TypeAlias = Score | Accuracy
WORD = re.compile(f"[{UNSPACED}]|[^\\s{UNSPACED}]+")
"""A word of a transcript."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Words, phones or languages that a model wrote: their probabilities (N,) before calibration,
    and which are right (N,)."""

    what: str
    probability_N: np.ndarray
    right_N: np.ndarray

    def temperature(self) -> float:
        """The temperature that calibrates them."""
        return fit_temperature(self.probability_N, self.right_N)

    def reliability(self, temperature: float) -> Reliability:
        """How well the probabilities agree with what is right after `temperature`."""
        return reliability(self.what, self.probability_N, self.right_N, temperature)


@dataclass(frozen=True, slots=True)
class NeverWritten:
    """Reference tokens, after preparation, that no output of a model makes: each is an error."""

    tokens: int
    total: int
    """Reference tokens in all."""
    share: float
    counts: dict[str, int]
    """By token, the most frequent first."""

    def __str__(self) -> str:
        some = most_frequent(self.counts)
        return f"{self.tokens} of {self.total} reference tokens ({self.share:.1%}): {some}"


def evaluate_model(
    model: Path | str,
    manifests: Sequence[Path],
    inventory: Inventory | None = None,
    out: Path | None = None,
    device: str = "auto",
    head: str | None = None,
    calibrate: bool = False,
    *,
    language: str | None = None,
    compute_type: str = "float32",
    batch_size: int | None = None,
    threads: int | None = None,
) -> tuple[str, int]:
    """Evaluates one head of a model folder, or of a file of another toolkit, and returns the tables
    to print and the exit code; of a model without heads its objectives. With `calibrate` the
    temperature of its probabilities is fitted on the manifests and written into the model
    folder. `language` chooses the adapter, by default that of the manifests; an unseen language is
    given by its `inventory`. The others are as in `speechx.load` and `compute_with`."""
    require_compute_type(compute_type)
    if calibrate:
        _require_calibratable(Path(model), inventory)
    if out is not None:
        require_writable(out)  # before the computation, which may take hours
    saved = open_model(Path(model), UNUSED)
    if language is not None:
        saved = _in_language(saved, language, Path(model))
    elif saved.adapters and not saved.vocabularies:
        saved = in_language(saved, None if inventory is not None else _only_language(manifests))
    others = [name for name in saved.objectives if name not in saved.vocabularies]
    if head is not None and head not in saved.objectives:
        raise UserError(f"{model} has no head {head!r}; it has {', '.join(saved.objectives)}")
    if inventory is None and (head in others or not saved.vocabularies):
        if calibrate:
            raise UserError(
                f"{head or model} has no labels, so it has no probabilities to calibrate"
            )
        chosen, unread = others if head is None else [head], list[str]()
        if compute_type != "float32":
            raise UserError(
                f"compute_type {compute_type} is for a head; {model} is evaluated as it "
                "was trained: leave it out"
            )
        results = evaluate_objectives(saved, chosen, manifests, out, device, failed=unread)
        table = "\n\n".join(metrics_table(name, each) for name, each in results.items())
        return table, 2 if unread else 0
    if others and head is None and saved.vocabularies:
        logger.info(f"{model}: evaluates a head; --head chooses {', '.join(others)} instead")
    opened = recognizer(saved, Path(model), device, head)
    changed = None if compute_type == "float32" else compute_type  # validation changes nothing
    opened.compute_with(batch_size, threads, changed)
    failed: list[str] = []
    if inventory is None:
        scores, confidence = _evaluate(opened, manifests, out, calibrate, failed)
        if calibrate:
            name = next(n for n, each in opened.model.heads.items() if each is opened.head)
            name = head_of(name, saved.language if saved.adapter else None)
            write_temperature(Path(model), name, confidence.temperature)
            logger.info(f"{model}: config.yaml has now temperature {confidence.temperature:.2f}")
        tables = [result.table() for result in (*scores.values(), confidence)]
        return "\n\n".join(tables), 2 if failed else 0
    methods, mapping = evaluate_unseen(opened, manifests, inventory, out, failed)
    lines = [f"{mapping.summary()} (all of it: speechx phonemize --show-mapping)"]
    for name, result in methods.items():
        rate = result.overall
        lines.append(f"{name:<11} PER {rate.rate:6.1%}  [{rate.low:.1%}, {rate.high:.1%}]")
    return "\n".join(lines), 2 if failed else 0


def _in_language(saved: SavedModel, language: str, model: Path) -> SavedModel:
    """The model in one of its languages."""
    hint = f"for a language that it was not trained on, give --inventory {language}"
    if not (saved.adapters or saved.languages):
        raise UserError(f"{model} has no adapters among which --language chooses; {hint}")
    try:
        return in_language(saved, language)
    except UserError as error:
        raise UserError(f"{error}; {hint}") from None


def _only_language(manifests: Sequence[Path]) -> str | None:
    """The language of the test data, which chooses an adapter."""
    languages = sorted({u.language for u in _read(manifests)})
    if len(languages) > 1:
        raise UserError(
            f"a model with adapters is evaluated on one language at a time, but the manifests have "
            f"{', '.join(languages)}: give each language its own manifest"
        )
    return languages[0] if languages else None


def evaluate(
    recognizer: Recognizer,
    manifests: Sequence[Path],
    out: Path | None = None,
    failed: list[str] | None = None,
) -> dict[str, AnyScore]:
    """PER of a phoneme model, CER and WER of a character model, accuracy of a language
    identification; writes JSON to `out`, with the reliability of the probabilities. Recordings that
    cannot be read are logged and added to `failed`; they are scored as if the model had written
    nothing."""
    return _evaluate(recognizer, manifests, out, False, [] if failed is None else failed)[0]


def _evaluate(
    recognizer: Recognizer,
    manifests: Sequence[Path],
    out: Path | None,
    calibrate: bool,
    failed: list[str],
) -> tuple[dict[str, AnyScore], Reliability]:
    """Scores, and the reliability of the probabilities; with `calibrate`, after a fit on them."""
    listed = _read(manifests)
    utterances = labelled(listed, recognizer.vocabulary.token_type)
    vocabulary = recognizer.vocabulary
    never = never_written(utterances, vocabulary.tokens, vocabulary.token_type)
    if never.tokens:
        logger.info(f"{recognizer.folder} can never write {never}")
    scores, _, judged = score_utterances(recognizer, utterances, show_progress=True, failed=failed)
    temperature = judged.temperature() if calibrate else recognizer.head.temperature
    confidence = judged.reliability(temperature)
    if out is not None:
        headline = next(iter(scores.values()))
        about = _about(recognizer, manifests, len(listed) - len(utterances), failed)
        each = {name: s.to_dict() for name, s in scores.items()}
        more = {
            "never_written": asdict(never), "scores": each, "reliability": confidence.to_dict(),
        }  # fmt: skip
        _write(out, {**about, **headline.to_dict(), **more})
    return scores, confidence


def _require_calibratable(folder: Path, inventory: Inventory | None) -> None:
    if inventory is not None:
        raise UserError("--calibrate is for the model's own outputs, without an inventory")
    if not is_model_folder(folder):
        raise UserError(
            f"--calibrate writes into a speechx folder, which {folder} is not: convert it first "
            "with `speechx convert`, and calibrate the new folder"
        )
    require_writable(folder / "config.yaml")


def never_written(
    utterances: Sequence[Utterance], outputs: Iterable[str], token_type: TokenType
) -> NeverWritten:
    """The reference tokens that a model with these outputs cannot write."""
    outputs, total = tuple(outputs), 0
    possible: dict[str, frozenset[str]] = {}
    absent: Counter[str] = Counter()
    for u in utterances:
        if u.language not in possible:
            possible[u.language] = _possible(outputs, token_type, u.language)
        reference = _prepare(tokens_of(u, token_type), token_type, u.language)
        absent.update(token for token in reference if token not in possible[u.language])
        total += len(reference)
    never = absent.total()
    return NeverWritten(never, total, never / max(total, 1), dict(absent.most_common()))


def score_utterances(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    resamples: int = 1000,
    show_progress: bool = False,
    failed: list[str] | None = None,
) -> tuple[dict[str, AnyScore], list[Scored], Judged]:
    """The scores by metric, the headline first; what the headline compared; and the probabilities
    of what was written. Validation and `speechx evaluate` both come here, so their numbers are
    equal. Without `failed`, a recording that cannot be read is an error."""
    token_type = recognizer.vocabulary.token_type
    (decoded,), spans = _decode(recognizer, utterances, [recognizer.decoder], show_progress, failed)
    prepared, judged = _policy(token_type, utterances), _judged(decoded, spans, token_type)
    match token_type:
        case "languages":
            return {"accuracy": accuracy(decoded, prepared=prepared)}, decoded, judged
        case "phonemes":
            per = score(decoded, "per", prepared=prepared, resamples=resamples)
            return {"per": per}, decoded, judged
        case "characters":
            by_word = [
                replace(u, reference=_words(u.reference), hypothesis=_words(u.hypothesis))
                for u in decoded
            ]
            return (
                {
                    "cer": score(decoded, "cer", prepared=prepared, resamples=resamples),
                    "wer": score(by_word, "wer", prepared=prepared, resamples=resamples),
                },
                decoded,
                judged,
            )


def evaluate_unseen(
    recognizer: Recognizer,
    manifests: Sequence[Path],
    inventory: Inventory,
    out: Path | None = None,
    failed: list[str] | None = None,
) -> tuple[dict[str, Score], PhoneMapping]:
    """PER under the five conditions, and the mapping that was used. `failed` as in `evaluate`."""
    failed = [] if failed is None else failed
    mapping = recognizer.map_inventory(inventory)
    listed = _read(manifests)
    utterances = labelled(listed, "phonemes")
    source = recognizer.vocabulary.tokens
    decoders: list[Decoder] = [
        GreedyDecoder(source),
        MappedDecoder(masked_map(source, inventory.phones)),
        MappedDecoder(mapping),
        *(MappedDecoder(random_map(source, inventory.phones, n)) for n in range(RANDOM_MAPS)),
    ]
    never = never_written(utterances, inventory.phones, "phonemes")
    if never.tokens:
        logger.info(f"{inventory.source}: the inventory lacks {never}")
    others = _others(
        utterances,
        [_prepare(tokens_of(u, "phonemes"), "phonemes", u.language) for u in utterances],
    )
    decoded, _ = _decode(recognizer, utterances, decoders, True, failed)
    unmapped, masked, mapped, *draws = decoded
    shuffled = [
        replace(u, hypothesis=mapped[o].hypothesis) for u, o in zip(mapped, others, strict=True)
    ]
    prepared = _policy("phonemes", utterances)
    conditions = {"unmapped": unmapped, "masked": masked, "mapped": mapped, "shuffled": shuffled}
    methods = {name: score(each, "per", prepared=prepared) for name, each in conditions.items()}
    methods["random_map"] = score(
        [u for draw in draws for u in draw],
        "per",
        prepared=f"{prepared}, summed over {RANDOM_MAPS} random maps",
    )
    if out is not None:
        about = _about(recognizer, manifests, len(listed) - len(utterances), failed)
        each_method = {name: s.to_dict() for name, s in methods.items()}
        more = {"inventory": inventory.source, "never_written": asdict(never)}
        _write(out, {**about, **more, "methods": each_method})
    return methods, mapping


def evaluate_objectives(
    saved: SavedModel,
    names: Sequence[str],
    manifests: Sequence[Path],
    out: Path | None = None,
    device: str = "auto",
    seed: int = 1,
    failed: list[str] | None = None,
) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics of these objectives, which need no labels, by objective and language, and "overall".

    Utterances shorter than a second are left out; longer ones are cropped to 20 seconds. Recordings
    that cannot be read are left out, logged and added to `failed`.
    """
    failed = [] if failed is None else failed
    model, _ = SpeechModel.from_saved(saved)
    model.to(pick_device(device)).eval()
    listed = _read(manifests)
    utterances = [u for u in listed if u.duration >= MIN_SECONDS]
    if len(utterances) < len(listed):
        logger.info(
            f"{len(listed) - len(utterances)} of {number_of(len(listed), 'utterance')} left out: "
            f"shorter than {MIN_SECONDS:g} s"
        )
    utterances = _readable(utterances, failed)
    data = SpeechData(train=tuple(manifests), min_seconds=MIN_SECONDS)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name in names:
        try:
            model.configs[name].require(saved.encoder, MIN_SECONDS)
        except ValueError as error:
            raise UserError(f"{saved.folder}: {name} cannot be evaluated: {error}") from None
        results[name] = metrics_by_language(model, name, Corpus.of(utterances), data, seed)
        if not results[name]:
            raise UserError(
                f"no utterance of the manifests is as long as {MIN_SECONDS:g} s, which {name} needs"
            )
    if not results:
        raise UserError(f"{saved.folder} has no objective to evaluate")
    if out is not None:
        about = {"model": str(saved.folder), "manifests": [str(m) for m in manifests]}
        _write(out, {**about, "unreadable": failed, **results})
    return results


def _readable(utterances: Sequence[Utterance], failed: list[str]) -> list[Utterance]:
    """Those that can be read; the reasons of the others are logged and added to `failed`."""
    corpus, unread = Corpus.of(utterances), dict[int, str]()
    reader = Batches(corpus, normalized=False)
    plan_of = padded_batches(every_row(corpus), READ_SECONDS, np.random.default_rng(0))
    for plan in once(plan_of) if utterances else ():
        for _ in read_batch(reader, plan, unread):
            pass
    messages = [f"{utterances[n].id}: {why}" for n, why in sorted(unread.items())]
    failed += messages
    for message in messages:
        logger.info(f"speechx: {message}")
    if unread and len(unread) == len(utterances):
        raise UserError(f"none of the recordings can be read; {messages[0]}")
    if unread:
        total = number_of(len(utterances), "utterance")
        logger.info(f"{len(unread)} of {total} cannot be read and are left out")
    return [u for n, u in enumerate(utterances) if n not in unread]


def _decode(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    decoders: Sequence[Decoder],
    show_progress: bool,
    failed: list[str] | None = None,
) -> tuple[list[list[Scored]], list[list[TokenSpan]]]:
    """What each decoder makes of the utterances, both sides prepared for comparison: nothing of
    those that cannot be read, whose messages are added to `failed`; and the tokens of each
    utterance as the first decoder wrote them."""
    token_type = recognizer.vocabulary.token_type
    references = [_prepare(tokens_of(u, token_type), token_type, u.language) for u in utterances]
    blank = [
        Scored(u.id, u.language, u.speaker, reference, ())
        for u, reference in zip(utterances, references, strict=True)
    ]
    check_references(blank)
    decoded = [list(blank) for _ in decoders]
    first: list[list[TokenSpan]] = [[] for _ in utterances]
    progress = Progress("evaluate", None, len(utterances), 0, silent=not show_progress)
    unread: dict[int, str] | None = None if failed is None else {}
    outputs = recognizer.decode(utterances, decoders, unread)
    for done, (index, of_decoders) in enumerate(outputs, start=1):
        first[index] = of_decoders[0]
        for each, spans in zip(decoded, of_decoders, strict=True):
            written = [span.token for span in spans]
            hypothesis = _prepare(written, token_type, utterances[index].language)
            each[index] = replace(each[index], hypothesis=hypothesis)
        progress.advance(done, utterances[index].duration)
    progress.report({"hours": sum(u.duration for u in utterances) / 3600})
    progress.close()
    if failed is not None and unread:
        failed += [f"{utterances[n].id}: {why}" for n, why in sorted(unread.items())]
        if len(unread) == len(utterances):
            raise UserError(f"none of the recordings can be read; {failed[0]}")
        for message in failed:
            logger.info(f"speechx: {message}")
        logger.info(
            f"{len(unread)} of {number_of(len(utterances), 'utterance')} cannot be read; scored as "
            "if the model had written nothing"
        )
    return decoded, first


def _judged(
    decoded: Sequence[Scored], spans: Sequence[Sequence[TokenSpan]], token_type: TokenType
) -> Judged:
    """Which words (of characters) or tokens are right. A word is right if all that preparation
    makes of it is; if it makes nothing, the word does not count."""
    references, hypotheses, counts, probabilities = [], [], [], []
    for u, written in zip(decoded, spans, strict=True):
        pieces: list[str] = []
        for text, probability in _written(written, token_type):
            prepared = _prepare([text], token_type, u.language)
            parts = WORD.findall("".join(prepared)) if token_type == "characters" else prepared
            if parts:
                counts.append(len(parts))
                probabilities.append(probability)
                pieces += parts
        reference = u.reference
        if token_type == "characters":
            reference = WORD.findall("".join(reference))
        references.append(reference)
        hypotheses.append(pieces)
    right = np.concatenate([np.zeros(0, bool), *right_tokens(references, hypotheses)])
    each = [right[begin:end].all() for begin, end in pairwise(np.cumsum([0, *counts]))]
    what = "words" if token_type == "characters" else token_type
    return Judged(what, np.array(probabilities), np.array(each, bool))


def _written(spans: Sequence[TokenSpan], token_type: TokenType) -> list[tuple[str, float]]:
    """Words (of characters) or tokens, each with its probability."""
    if token_type != "characters":
        return [(span.token, span.probability) for span in spans]
    owners = [n for n, span in enumerate(spans) for _ in span.token]
    return [
        (
            word[0],
            word_probability(
                [spans[n].probability for n in dict.fromkeys(owners[word.start() : word.end()])]
            ),
        )
        for word in WORD.finditer("".join(span.token for span in spans))
    ]


def _prepare(tokens: Sequence[str], token_type: TokenType, language: str) -> list[str]:
    """Tokens of either side as they are compared: characters normalised; phones in one spelling of
    IPA, so that g and ɡ are equal; languages by one code."""
    match token_type:
        case "phonemes":
            return [phone for token in tokens if (phone := normalize_ipa(token))]
        case "characters":
            return characters(normalize("".join(tokens), language))
        case "languages":
            return [language_code(token) for token in tokens]


def _possible(outputs: Sequence[str], token_type: TokenType, language: str) -> frozenset[str]:
    """The prepared tokens that a model with these outputs can write."""
    if token_type == "characters":
        return letters(outputs, language)
    return frozenset(_prepare(outputs, token_type, language))


def _words(tokens: Sequence[str]) -> list[str]:
    return words("".join(tokens))


def _policy(token_type: TokenType, utterances: Sequence[Utterance]) -> str:
    """What was done to the two sides, with every policy that the texts went through before."""
    policies = sorted({str(u.extra.get("text_policy") or "") for u in utterances})
    if policies == [""]:
        return PREPARED[token_type]
    named = " and ".join(f"by the policy `{p}`" if p else "without a policy" for p in policies)
    return f"{PREPARED[token_type]}; texts of the references {named}"


def _others(utterances: Sequence[Utterance], references: Sequence[list[str]]) -> list[int]:
    """For each utterance the next one, around the corner, of another text and other phones."""

    def differ(n: int, m: int) -> bool:
        text = utterances[n].text
        return references[n] != references[m] and (text is None or text != utterances[m].text)

    count = len(utterances)
    others = []
    for n, utterance in enumerate(utterances):
        following = ((n + step) % count for step in range(1, count))
        other = next((m for m in following if differ(n, m)), None)
        if other is None:
            raise UserError(
                f"utterance {utterance.id}: all others have the same text; the shuffled control "
                "needs two different sentences"
            )
        others.append(other)
    return others


def _read(manifests: Sequence[Path]) -> list[Utterance]:
    """The utterances of all manifests; where two have one id, their manifests tell them apart."""
    if len({path.resolve() for path in map(Path, manifests)}) < len(manifests):
        raise UserError("a manifest is given twice")
    listed = [(path, u) for path in manifests for u in read_manifest(path)]
    times = Counter((u.language, u.id) for _, u in listed)
    return [
        replace(u, id=f"{path}:{u.id}") if times[u.language, u.id] > 1 else u for path, u in listed
    ]


def _about(
    recognizer: Recognizer, manifests: Sequence[Path], unlabelled: int, failed: Sequence[str]
) -> dict[str, Any]:
    return {
        "model": str(recognizer.folder),
        "compute_type": recognizer.compute_type,
        "manifests": [str(m) for m in manifests],
        "without_labels": unlabelled,
        "unreadable": list(failed),
    }


def _write(path: Path, data: dict[str, Any]) -> None:
    write_whole(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")
