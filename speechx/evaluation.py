"""From a model and a manifest to scores.

    speechx evaluate --model runs/mine/best --manifest test.jsonl -o scores.json

A head is scored by what it writes: phone error rate, character and word error rate, or accuracy. An
objective without labels has its metrics computed on the utterances. The probabilities of words,
phones or languages are compared with what is right, and `--calibrate` corrects them. Languages that
the model was not trained on have their own evaluation (`speechx.unseen`).
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from speechx.corpora.kaldi import is_kaldi, utterances_of
from speechx.data.batches import Batches
from speechx.data.corpus import Corpus
from speechx.data.labels import labelled, tokens_of
from speechx.data.manifest import Utterance, read_manifest
from speechx.data.sampling import every_row, once, padded_batches
from speechx.decoding.accuracy import Accuracy, accuracy
from speechx.decoding.calibration import Reliability
from speechx.decoding.decoder import Decoder, TokenSpan
from speechx.decoding.judgement import Judged, judge
from speechx.decoding.never_written import never_written
from speechx.decoding.phone_details import PhoneDetails, phone_details
from speechx.decoding.preparation import policy_of, prepare, words_of
from speechx.decoding.scoring import Score, Scored, check_references, score, speaker_table
from speechx.errors import UserError
from speechx.interchange.languages import in_language
from speechx.interchange.opening import open_model
from speechx.language_model import check_unseen
from speechx.leaks import check_leaks
from speechx.log import logger
from speechx.models.adapter_files import head_of
from speechx.models.compute import require_compute_type
from speechx.models.folder import SavedModel, is_model_folder, write_temperature
from speechx.objectives.model import SpeechModel
from speechx.text.vocabulary import TokenType
from speechx.training.distributed import pick_device
from speechx.training.progress import Progress
from speechx.training.speech_data import SpeechData
from speechx.training.validation import metrics_by_language, metrics_table
from speechx.transcription.recognizer import UNUSED, Recognizer, read_batch, recognizer
from speechx.whole_file import require_writable, write_whole
from speechx.wording import number_of

READ_SECONDS = 60.0  # of recordings that are read at once
MIN_SECONDS = 1.0  # of an utterance on which an objective without labels is evaluated
AnyScore: TypeAlias = Score | Accuracy


def evaluate_model(
    model: Path | str,
    manifests: Sequence[Path],
    out: Path | None = None,
    device: str = "auto",
    head: str | None = None,
    calibrate: bool = False,
    train: Sequence[Path] = (),
    allow_leaks: bool = False,
    page: Path | None = None,
    details: bool = False,
    prepare_model: Callable[[Recognizer], None] | None = None,
    *,
    language: str | None = None,
    compute_type: str = "float32",
    batch_size: int | None = None,
    threads: int | None = None,
) -> tuple[str, int]:
    """Evaluates one head of a model folder, or of a file of another toolkit, and returns the tables
    to print and the exit code; of a model without heads its objectives. `manifests` may also be
    Kaldi data directories. With `calibrate` the temperature of its probabilities is fitted on the
    manifests and written into the model folder. `details` adds speakers and confused phones to the
    tables, and `page` is written as HTML. `prepare_model` gets the opened model before it is used,
    to choose its decoder. `language` chooses the adapter, by default that of the manifests. The
    others are as in `speechx.load` and `compute_with`.

    What `speechx.leaks` finds between the manifests and the training data (`train`, or those of the
    model's run) is an error unless `allow_leaks`; so are sentences in the text of a language
    model."""
    require_compute_type(compute_type)
    if calibrate:
        _require_calibratable(Path(model))
    for file in filter(None, (out, page)):
        require_writable(file)  # before the computation, which may take hours
    saved = open_model(Path(model), UNUSED)
    if language is not None:
        saved = one_language(saved, language, Path(model))
    elif saved.adapters and not saved.vocabularies:
        saved = in_language(saved, _only_language(manifests))
    others = [name for name in saved.objectives if name not in saved.vocabularies]
    if head is not None and head not in saved.objectives:
        raise UserError(f"{model} has no head {head!r}; it has {', '.join(saved.objectives)}")
    if head in others or not saved.vocabularies:
        if calibrate:
            raise UserError(
                f"{head or model} has no labels, so it has no probabilities to calibrate"
            )
        if page is not None:
            raise UserError(f"{head or model} writes nothing that --page could show")
        if compute_type != "float32":
            raise UserError(
                f"compute_type {compute_type} is for a head; {model} is evaluated as it "
                "was trained: leave it out"
            )
        chosen, unread = others if head is None else [head], list[str]()
        results = evaluate_objectives(saved, chosen, manifests, out, device, failed=unread)
        table = "\n\n".join(metrics_table(name, each) for name, each in results.items())
        return table, 2 if unread else 0
    if others and head is None and saved.vocabularies:
        logger.info(f"{model}: evaluates a head; --head chooses {', '.join(others)} instead")
    opened = recognizer(saved, Path(model), device, head)
    if page is not None and opened.vocabulary.token_type == "languages":
        raise UserError(f"{model} writes languages; --page shows phones or characters")
    changed = None if compute_type == "float32" else compute_type  # validation changes nothing
    opened.compute_with(batch_size, threads, changed)
    if prepare_model is not None:
        prepare_model(opened)
    listed = read_test_data(manifests)
    leaks = check_leaks(Path(model), listed, train, allow_leaks)
    if not allow_leaks:
        check_unread(opened, listed)
    failed: list[str] = []
    about = {"leaks": leaks and leaks.to_dict()}
    found = _evaluate(opened, manifests, listed, out, calibrate, failed, about)
    if calibrate:
        name = next(n for n, each in opened.model.heads.items() if each is opened.head)
        name = head_of(name, saved.language if saved.adapter else None)
        write_temperature(Path(model), name, found.confidence.temperature)
        logger.info(f"{model}: config.yaml has now temperature {found.confidence.temperature:.2f}")
    if page is not None:
        write_page(page, model, listed, found.scores, found.decoded, found.phones)
    return found.table(details), 2 if failed else 0


def one_language(saved: SavedModel, language: str, model: Path) -> SavedModel:
    """The model in one of its languages."""
    hint = f"for a language that it was not trained on, give --inventory {language}"
    if not (saved.adapters or saved.languages):
        raise UserError(f"{model} has no adapters among which --language chooses; {hint}")
    try:
        return in_language(saved, language)
    except UserError as error:
        raise UserError(f"{error}; {hint}") from None


def check_unread(recognizer: Recognizer, utterances: Sequence[Utterance]) -> None:
    """UserError if the text of the recognizer's language model has sentences of these."""
    lm = recognizer.decoding.lm
    if lm is None:
        return
    if not lm.has_sentences:
        logger.info(
            "the language model does not have the sentences of its text (only .safetensors files "
            "do), so whether the test data stand in it is not known"
        )
    check_unseen(lm, utterances)


def _only_language(manifests: Sequence[Path]) -> str | None:
    """The language of the test data, which chooses an adapter."""
    languages = sorted({u.language for u in read_test_data(manifests)})
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
    return _evaluate(recognizer, manifests, read_test_data(manifests), out, False, failed).scores


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
    asked = asked_of(utterances, vocabulary.token_type)
    (tokens,), spans = decode_all(recognizer, utterances, [recognizer.decoder], True, failed)
    decoded = compared(asked, tokens, vocabulary.token_type)
    scores, judged = _scores(decoded, spans, utterances, vocabulary.token_type, 1000)
    phones = None
    if vocabulary.token_type == "phonemes":
        written = as_written(utterances, tokens, "phonemes")
        phones = phone_details(decoded, written, policy_of("phonemes", utterances))
    temperature = judged.temperature() if calibrate else recognizer.head.temperature
    confidence = judged.reliability(temperature)
    if out is not None:
        headline = next(iter(scores.values()))
        about = about_model(recognizer, manifests, len(listed) - len(utterances), failed)
        each = {name: s.to_dict() for name, s in scores.items()}
        more = {
            "never_written": asdict(never), "scores": each, "reliability": confidence.to_dict(),
        }  # fmt: skip
        if phones is not None:
            more["details"] = phones.to_dict()
        write_json(out, {**about, **(notes or {}), **headline.to_dict(), **more})
    return Evaluated(scores, confidence, decoded, phones)


def write_page(
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


def _require_calibratable(folder: Path) -> None:
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
    asked = asked_of(utterances, token_type)
    (tokens,), spans = decode_all(
        recognizer, utterances, [recognizer.decoder], show_progress, failed
    )
    decoded = compared(asked, tokens, token_type)
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
    listed = read_test_data(manifests)
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
        write_json(out, {**about, "unreadable": failed, **results})
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


def asked_of(utterances: Sequence[Utterance], token_type: TokenType) -> list[Scored]:
    """The utterances with their references, prepared for comparison, and nothing written yet.
    UserError, before anything is decoded, for what cannot be scored."""
    asked = [
        Scored(
            u.id,
            u.language,
            u.speaker,
            prepare(tokens_of(u, token_type), token_type, u.language),
            (),
        )
        for u in utterances
    ]
    check_references(asked)
    return asked


def compared(
    asked: Sequence[Scored], tokens: Sequence[Sequence[str]], token_type: TokenType
) -> list[Scored]:
    """With the tokens that were written, prepared for comparison."""
    return [
        replace(u, hypothesis=prepare(written, token_type, u.language))
        for u, written in zip(asked, tokens, strict=True)
    ]


def as_written(
    utterances: Sequence[Utterance], tokens: Sequence[Sequence[str]], token_type: TokenType
) -> list[Scored]:
    """References and tokens without any preparation."""
    return [
        Scored(u.id, u.language, u.speaker, tokens_of(u, token_type), written)
        for u, written in zip(utterances, tokens, strict=True)
    ]


def decode_all(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    decoders: Sequence[Decoder],
    show_progress: bool,
    failed: list[str] | None = None,
) -> tuple[list[list[tuple[str, ...]]], list[list[TokenSpan]]]:
    """The tokens of each utterance by each decoder, or the words where a decoder has a lexicon;
    and as spans by the first decoder. Utterances that cannot be read have none, and their messages
    are added to `failed`; without `failed` they are an error."""
    tokens: list[list[tuple[str, ...]]] = [[() for _ in utterances] for _ in decoders]
    first: list[list[TokenSpan]] = [[] for _ in utterances]
    progress = Progress("evaluate", None, len(utterances), 0, silent=not show_progress)
    unread: dict[int, str] | None = None if failed is None else {}
    outputs = recognizer.decode(utterances, decoders, unread)
    for done, (index, of_decoders) in enumerate(outputs, start=1):
        first[index] = of_decoders[0]
        for each, spans in zip(tokens, of_decoders, strict=True):
            words = tuple(span.word for span in spans if span.word is not None)
            each[index] = words or tuple(span.token for span in spans)
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
    return tokens, first


def read_test_data(manifests: Sequence[Path]) -> list[Utterance]:
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


def about_model(
    recognizer: Recognizer, manifests: Sequence[Path], unlabelled: int, failed: Sequence[str]
) -> dict[str, Any]:
    return {
        "model": str(recognizer.folder),
        "compute_type": recognizer.compute_type,
        "manifests": [str(m) for m in manifests],
        "without_labels": unlabelled,
        "unreadable": list(failed),
    }


def write_json(path: Path, data: dict[str, Any]) -> None:
    write_whole(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")
