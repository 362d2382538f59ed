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
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from speechx.corpora.kaldi import is_kaldi, utterances_of
from speechx.data.corpus import Corpus
from speechx.data.labels import labelled, tokens_of
from speechx.data.manifest import Utterance, read_manifest
from speechx.decoding.accuracy import Accuracy, accuracy
from speechx.decoding.calibration import Reliability
from speechx.decoding.decoder import Decoder, GreedyDecoder, MappedDecoder, TokenSpan
from speechx.decoding.feature_errors import FeatureScore
from speechx.decoding.judgement import Judged, judge
from speechx.decoding.mapping import Mapping as PhoneMapping
from speechx.decoding.mapping import masked_map, random_map
from speechx.decoding.never_written import never_written
from speechx.decoding.phone_details import PhoneDetails, phone_details, prism_scores
from speechx.decoding.preparation import policy_of, prepare, words_of
from speechx.decoding.scoring import Score, Scored, check_references, score, speaker_table
from speechx.errors import UserError
from speechx.interchange.languages import in_language
from speechx.interchange.opening import open_model
from speechx.leaks import check_leaks
from speechx.log import logger
from speechx.models.adapter_files import head_of
from speechx.models.folder import SavedModel, is_model_folder, write_temperature
from speechx.objectives.model import SpeechModel
from speechx.text.inventory import Inventory
from speechx.text.vocabulary import TokenType
from speechx.training.distributed import pick_device
from speechx.training.progress import Progress
from speechx.training.speech_data import SpeechData
from speechx.training.validation import metrics_by_language, metrics_table
from speechx.transcription.recognizer import UNUSED, Recognizer, recognizer
from speechx.whole_file import require_writable, write_whole

RANDOM_MAPS = 5
MIN_SECONDS = 1.0  # of an utterance on which an objective without labels is evaluated
AnyScore: TypeAlias = Score | Accuracy


def evaluate_model(
    model: Path | str,
    manifests: Sequence[Path],
    inventory: Inventory | None = None,
    out: Path | None = None,
    device: str = "auto",
    head: str | None = None,
    calibrate: bool = False,
    train: Sequence[Path] = (),
    allow_leaks: bool = False,
    page: Path | None = None,
    details: bool = False,
) -> tuple[str, int]:
    """Evaluates one head of a model folder, or of a file of another toolkit, and returns the tables
    to print and the exit code; of a model without heads its objectives. `manifests` may also be
    Kaldi data directories. With `calibrate` the temperature of its probabilities is fitted on the
    manifests and written into the model folder. `details` adds speakers and confused phones to the
    tables, and `page` is written as HTML.

    What `speechx.leaks` finds between the manifests and the training data (`train`, or those of the
    model's run) is an error unless `allow_leaks`."""
    if calibrate:
        _require_calibratable(Path(model), inventory)
    for file in filter(None, (out, page)):
        require_writable(file)  # before the computation, which may take hours
    saved = open_model(Path(model), UNUSED)
    if saved.adapters and not saved.vocabularies:
        language = None if inventory is not None else _only_language(manifests)
        saved = in_language(saved, language)
    others = [name for name in saved.objectives if name not in saved.vocabularies]
    if head is not None and head not in saved.objectives:
        raise UserError(f"{model} has no head {head!r}; it has {', '.join(saved.objectives)}")
    if inventory is None and (head in others or not saved.vocabularies):
        if calibrate:
            raise UserError(
                f"{head or model} has no labels, so it has no probabilities to calibrate"
            )
        chosen = others if head is None else [head]
        if page is not None:
            raise UserError(f"{head or model} writes nothing that --page could show")
        results = evaluate_objectives(saved, chosen, manifests, out, device)
        return "\n\n".join(metrics_table(name, each) for name, each in results.items()), 0
    if others and head is None and saved.vocabularies:
        logger.info(f"{model}: evaluates a head; --head chooses {', '.join(others)} instead")
    opened = recognizer(saved, Path(model), device, head)
    if page is not None and opened.vocabulary.token_type == "languages":
        raise UserError(f"{model} writes languages; --page shows phones or characters")
    listed = _read(manifests)
    leaks = check_leaks(Path(model), listed, train, allow_leaks)
    about = {"leaks": leaks and leaks.to_dict()}
    failed: list[str] = []
    if inventory is None:
        found = _evaluate(opened, manifests, listed, out, calibrate, failed, about)
        scores, confidence = found.scores, found.confidence
        if calibrate:
            name = next(n for n, each in opened.model.heads.items() if each is opened.head)
            name = head_of(name, saved.language if saved.adapter else None)
            write_temperature(Path(model), name, confidence.temperature)
            logger.info(f"{model}: config.yaml has now temperature {confidence.temperature:.2f}")
        if page is not None:
            _write_page(page, model, listed, scores, found.decoded, found.phones)
        return found.table(details), 2 if failed else 0
    methods, mapping, mapped, prism = _evaluate_unseen(
        opened, manifests, listed, inventory, out, failed, about
    )
    if page is not None:
        _write_page(page, model, listed, {"per": methods["mapped"]}, mapped)
    lines = [f"{mapping.summary()} (all of it: speechx phonemize --show-mapping)"]
    for name, result in methods.items():
        rate = result.overall
        line = f"{name:<11} PER {rate.rate:6.1%}  [{rate.low:.1%}, {rate.high:.1%}]"
        features = f"  prism {prism[name].overall.rate:6.1%}" if name in prism else ""
        lines.append(line + features)
    return "\n".join(lines), 2 if failed else 0


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
    failed = [] if failed is None else failed
    return _evaluate(recognizer, manifests, _read(manifests), out, False, failed).scores


@dataclass(frozen=True, slots=True)
class Evaluated:
    """All that is known of a head after its evaluation; `decoded` are the tokens of the headline,
    `phones` more about those of a phone recogniser."""

    scores: dict[str, AnyScore]
    confidence: Reliability
    decoded: list[Scored]
    phones: PhoneDetails | None

    def table(self, details: bool = False) -> str:
        """The tables; with `details` also speakers and confused phones."""
        parts = [each.table() for each in self.scores.values()]
        if self.phones is not None:
            parts.append(self.phones.table())
        if details:
            parts += [speaker_table(s) for s in self.scores.values() if isinstance(s, Score)]
            if self.phones is not None:
                parts.append(self.phones.confusions.table())
        return "\n\n".join([*filter(None, parts), self.confidence.table()])


def _evaluate(
    recognizer: Recognizer,
    manifests: Sequence[Path],
    listed: Sequence[Utterance],
    out: Path | None,
    calibrate: bool,
    failed: list[str],
    notes: Mapping[str, Any] | None = None,
) -> Evaluated:
    """Scores, and the reliability of the probabilities; with `calibrate`, after a fit on them.
    `listed` are the utterances of the manifests, and `notes` are written with the scores."""
    utterances = labelled(listed, recognizer.vocabulary.token_type)
    vocabulary = recognizer.vocabulary
    never = never_written(utterances, vocabulary.tokens, vocabulary.token_type)
    if never.tokens:
        logger.info(f"{recognizer.folder} can never write {never}")
    (decoded,), (written,), spans = _decode(
        recognizer, utterances, [recognizer.decoder], True, failed
    )
    scores, judged = _scores(decoded, spans, utterances, vocabulary.token_type, 1000)
    phones = None
    if vocabulary.token_type == "phonemes":
        phones = phone_details(decoded, written, policy_of("phonemes", utterances))
    temperature = judged.temperature() if calibrate else recognizer.head.temperature
    confidence = judged.reliability(temperature)
    if out is not None:
        headline = next(iter(scores.values()))
        about = _about(recognizer, manifests, len(listed) - len(utterances), failed)
        each = {name: s.to_dict() for name, s in scores.items()}
        more = {
            "never_written": asdict(never), "scores": each, "reliability": confidence.to_dict(),
        }  # fmt: skip
        if phones is not None:
            more["details"] = phones.to_dict()
        _write(out, {**about, **(notes or {}), **headline.to_dict(), **more})
    return Evaluated(scores, confidence, decoded, phones)


def _write_page(
    page: Path,
    model: Path | str,
    listed: Sequence[Utterance],
    scores: Mapping[str, Any],
    decoded: Sequence[Scored],
    phones: PhoneDetails | None = None,
) -> None:
    from speechx.score_page import score_page

    audio = {(u.language, u.id): u for u in listed}
    write_whole(page, score_page(f"of {model}", scores, decoded, audio, phones))


def _require_calibratable(folder: Path, inventory: Inventory | None) -> None:
    if inventory is not None:
        raise UserError("--calibrate is for the model's own outputs, without an inventory")
    if not is_model_folder(folder):
        raise UserError(
            f"--calibrate writes into a speechx folder, which {folder} is not: convert it first "
            "with `speechx convert`, and calibrate the new folder"
        )
    require_writable(folder / "config.yaml")


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
    (decoded,), _, spans = _decode(
        recognizer, utterances, [recognizer.decoder], show_progress, failed
    )
    scores, judged = _scores(decoded, spans, utterances, token_type, resamples)
    return scores, decoded, judged


def _scores(
    decoded: list[Scored],
    spans: Sequence[Sequence[TokenSpan]],
    utterances: Sequence[Utterance],
    token_type: TokenType,
    resamples: int,
) -> tuple[dict[str, AnyScore], Judged]:
    prepared, judged = policy_of(token_type, utterances), judge(decoded, spans, token_type)
    match token_type:
        case "languages":
            return {"accuracy": accuracy(decoded, prepared=prepared)}, judged
        case "phonemes":
            per = score(decoded, "per", prepared=prepared, resamples=resamples)
            return {"per": per}, judged
        case "characters":
            by_word = [
                replace(u, reference=words_of(u.reference), hypothesis=words_of(u.hypothesis))
                for u in decoded
            ]
            return (
                {
                    "cer": score(decoded, "cer", prepared=prepared, resamples=resamples),
                    "wer": score(by_word, "wer", prepared=prepared, resamples=resamples),
                },
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
    listed = _read(manifests)
    return _evaluate_unseen(recognizer, manifests, listed, inventory, out, failed)[:2]


def _evaluate_unseen(
    recognizer: Recognizer,
    manifests: Sequence[Path],
    listed: Sequence[Utterance],
    inventory: Inventory,
    out: Path | None,
    failed: list[str],
    notes: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Score], PhoneMapping, list[Scored], dict[str, FeatureScore]]:
    """Also what was written under `mapped`, and the scores by the policy `prism`; `notes` are
    written with the scores."""
    mapping = recognizer.map_inventory(inventory)
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
        [prepare(tokens_of(u, "phonemes"), "phonemes", u.language) for u in utterances],
    )
    decoded, written, _ = _decode(recognizer, utterances, decoders, True, failed)
    unmapped, masked, mapped, *draws = decoded
    shuffled, as_written = (
        [replace(u, hypothesis=some[o].hypothesis) for u, o in zip(some, others, strict=True)]
        for some in (mapped, written[2])
    )
    prepared = policy_of("phonemes", utterances)
    conditions = {"unmapped": unmapped, "masked": masked, "mapped": mapped, "shuffled": shuffled}
    methods = {name: score(each, "per", prepared=prepared) for name, each in conditions.items()}
    methods["random_map"] = score(
        [u for draw in draws for u in draw],
        "per",
        prepared=f"{prepared}, summed over {RANDOM_MAPS} random maps",
    )
    of_conditions = zip(conditions, (*written[:3], as_written), strict=True)
    prism = prism_scores(dict(of_conditions))
    if out is not None:
        about = _about(recognizer, manifests, len(listed) - len(utterances), failed)
        each_method = {name: s.to_dict() for name, s in methods.items()}
        more = {
            "inventory": inventory.source,
            "never_written": asdict(never),
            "prism": {name: s.to_dict() for name, s in prism.items()},
        }
        _write(out, {**about, **(notes or {}), **more, "methods": each_method})
    return methods, mapping, mapped, prism


def evaluate_objectives(
    saved: SavedModel,
    names: Sequence[str],
    manifests: Sequence[Path],
    out: Path | None = None,
    device: str = "auto",
    seed: int = 1,
) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics of these objectives, which need no labels, by objective and language, and "overall".

    Utterances shorter than a second are left out; longer ones are cropped to 20 seconds.
    """
    model, _ = SpeechModel.from_saved(saved)
    model.to(pick_device(device)).eval()
    listed = _read(manifests)
    utterances = [u for u in listed if u.duration >= MIN_SECONDS]
    if len(utterances) < len(listed):
        logger.info(
            f"{len(listed) - len(utterances)} of {len(listed)} utterances are shorter than "
            f"{MIN_SECONDS:g} s and left out"
        )
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
        _write(out, {**about, **results})
    return results


def _decode(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    decoders: Sequence[Decoder],
    show_progress: bool,
    failed: list[str] | None = None,
) -> tuple[list[list[Scored]], list[list[Scored]], list[list[TokenSpan]]]:
    """What each decoder makes of the utterances, both sides prepared for comparison, and the same
    before preparation: nothing of those that cannot be read, whose messages are added to `failed`;
    and the tokens of each utterance as the first decoder wrote them."""
    token_type = recognizer.vocabulary.token_type
    references = [prepare(tokens_of(u, token_type), token_type, u.language) for u in utterances]
    blank = [
        Scored(u.id, u.language, u.speaker, reference, ())
        for u, reference in zip(utterances, references, strict=True)
    ]
    check_references(blank)
    decoded = [list(blank) for _ in decoders]
    given = [
        replace(each, reference=tokens_of(u, token_type))
        for each, u in zip(blank, utterances, strict=True)
    ]
    written = [list(given) for _ in decoders]
    first: list[list[TokenSpan]] = [[] for _ in utterances]
    progress = Progress("evaluate", None, len(utterances), 0, silent=not show_progress)
    unread: dict[int, str] | None = None if failed is None else {}
    outputs = recognizer.decode(utterances, decoders, unread)
    for done, (index, of_decoders) in enumerate(outputs, start=1):
        first[index] = of_decoders[0]
        for each, raw, spans in zip(decoded, written, of_decoders, strict=True):
            tokens = [span.token for span in spans]
            hypothesis = prepare(tokens, token_type, utterances[index].language)
            each[index] = replace(each[index], hypothesis=hypothesis)
            raw[index] = replace(raw[index], hypothesis=tokens)
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
            f"{len(unread)} of {len(utterances)} utterances cannot be read; they are scored as if "
            "the model had written nothing"
        )
    return decoded, written, first


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
    """The utterances of all manifests and Kaldi data directories; where two have one id, their
    manifests tell them apart."""
    if len({path.resolve() for path in map(Path, manifests)}) < len(manifests):
        raise UserError("a manifest is given twice")
    for path in map(Path, manifests):
        if path.is_dir() and not is_kaldi(path):
            raise UserError(
                f"{path}: neither a manifest nor a Kaldi data directory; name a manifest in it, or "
                "a folder with a wav.scp"
            )
    listed = [
        (path, u)
        for path in manifests
        for u in (utterances_of(path) if Path(path).is_dir() else read_manifest(path))
    ]
    times = Counter((u.language, u.id) for _, u in listed)
    return [
        replace(u, id=f"{path}:{u.id}") if times[u.language, u.id] > 1 else u for path, u in listed
    ]


def _about(
    recognizer: Recognizer, manifests: Sequence[Path], unlabelled: int, failed: Sequence[str]
) -> dict[str, Any]:
    return {
        "model": str(recognizer.folder),
        "manifests": [str(m) for m in manifests],
        "without_labels": unlabelled,
        "unreadable": list(failed),
    }


def _write(path: Path, data: dict[str, Any]) -> None:
    write_whole(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")
