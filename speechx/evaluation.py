"""From a model and a manifest to scores.

    speechx evaluate --model runs/mine/best --manifest test.jsonl -o scores.json

A head is scored by what it writes: phone error rate, character and word error rate, or accuracy. An
objective without labels has its metrics computed on the utterances. The probabilities of words,
phones or languages are compared with what is right, and `--calibrate` corrects them. Languages that
the model was not trained on have their own evaluation (`speechx.unseen`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from speechx.data.labels import labelled
from speechx.data.manifest import Utterance
from speechx.decoding.accuracy import Accuracy, accuracy
from speechx.decoding.calibration import Reliability
from speechx.decoding.decoder import TokenSpan
from speechx.decoding.judgement import Judged, judge
from speechx.decoding.kenlm_file import KenlmModel
from speechx.decoding.never_written import never_written
from speechx.decoding.ngram import NGram
from speechx.decoding.phone_details import PhoneDetails, phone_details
from speechx.decoding.preparation import policy_of
from speechx.decoding.scoring import Score, Scored, score, speaker_table
from speechx.errors import UserError
from speechx.hypotheses import (
    by_word,
    decode_all,
    read_test_data,
    references_of,
    unprepared,
    with_hypotheses,
    with_texts,
)
from speechx.interchange.languages import in_language
from speechx.interchange.opening import open_model
from speechx.language_model import check_unseen
from speechx.leaks import check_leaks
from speechx.log import logger
from speechx.models.compute import require_compute_type
from speechx.models.folder import SavedModel, is_model_folder, write_temperature
from speechx.objective_metrics import evaluate_objectives
from speechx.text.vocabulary import TokenType
from speechx.training.validation import metrics_table
from speechx.transcription.recognizer import UNUSED, Recognizer, recognizer
from speechx.whole_file import require_writable, write_json, write_whole

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
    """Evaluates one head of a model, or the objectives of a model without heads, and returns the
    tables to print and the exit code.

    manifests: test data, also Kaldi data directories. out, page: files for the scores, JSON and
    HTML. calibrate: fits the temperature of the probabilities on the manifests, and writes it into
    the model folder. train: manifests of the training data; by default those of the model's run.
    allow_leaks: scores although `speechx.leaks` finds test data in the training data, or the text
    of the language model has test sentences; both are else a UserError. details: adds speakers and
    confused phones to the tables. prepare_model: gets the opened model before it is used, to choose
    its decoder. language: of the adapter, by default the language of the manifests. The others are
    as in `speechx.load` and `Recognizer.compute_with`.
    """
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
        _require_no_head_options(head or str(model), calibrate, page, compute_type)
        unread: list[str] = []
        chosen = others if head is None else [head]
        results = evaluate_objectives(saved, chosen, manifests, out, device, unread)
        table = "\n\n".join(metrics_table(name, each) for name, each in results.items())
        return table, 2 if unread else 0
    if others and head is None:
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
        check_language_model(opened.decoding.lm, listed)
    failed: list[str] = []
    about = {"leaks": leaks and leaks.to_dict()}
    found = _evaluate(opened, manifests, listed, out, calibrate, failed, about)
    if calibrate:
        write_temperature(Path(model), opened.saved_head, found.confidence.temperature)
        logger.info(f"{model}: config.yaml now has temperature {found.confidence.temperature:.2f}")
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


def check_language_model(
    lm: NGram | KenlmModel | None, utterances: Sequence[Utterance], data: str = "test data"
) -> None:
    """UserError if the text of a language model has sentences of these utterances, which the
    message calls `data`. Logs if that is not known."""
    if lm is None:
        return
    if not lm.has_sentences:
        logger.info(
            f"it is not known whether the text of the language model has sentences of the {data}: "
            "only .safetensors files of `speechx lm train` keep track of sentences"
        )
    check_unseen(lm, utterances, data)


def _only_language(manifests: Sequence[Path]) -> str | None:
    """The language of the test data, whose adapter is used; None without utterances."""
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
    """The evaluation of a head. `decoded` are the tokens of the first score; `phones` has more
    scores of a phone model."""

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
    """Decodes and scores `listed`, the utterances of the manifests; with `calibrate`, the
    temperature is fitted on them. The scores and `notes` are written to `out`."""
    utterances = labelled(listed, recognizer.vocabulary.token_type)
    vocabulary = recognizer.vocabulary
    never = never_written(utterances, vocabulary.written, vocabulary.token_type)
    if never.tokens:
        logger.info(f"{recognizer.folder} can never write {never}")
    references = references_of(utterances, vocabulary.token_type)
    (tokens,), spans = decode_all(recognizer, utterances, [recognizer.decoder], True, failed)
    words: list[Scored] = []
    if recognizer.decoding.lexicon is not None:
        words = with_texts(utterances, tokens)
        tokens = [tuple(span.token for span in each) for each in spans]
    decoded = with_hypotheses(references, tokens, vocabulary.token_type)
    scores, judged = _scores(decoded, spans, utterances, vocabulary.token_type, 1000)
    scores |= text_scores(words, policy_of("characters", utterances))
    phones = None
    if vocabulary.token_type == "phonemes":
        written = unprepared(utterances, tokens, "phonemes")
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
    """Writes the scores as HTML; `decoded` are the tokens of the first score."""
    from speechx.score_page import score_page

    audio = {(u.language, u.id): u for u in listed}
    write_whole(page, score_page(f"of {model}", scores, decoded, audio, phones))


def _require_no_head_options(
    name: str, calibrate: bool, page: Path | None, compute_type: str
) -> None:
    """Refuses the options that only heads have, for an objective without labels."""
    if calibrate:
        raise UserError(f"{name} has no labels, so it has no probabilities to calibrate")
    if page is not None:
        raise UserError(f"{name} writes nothing that --page could show")
    if compute_type != "float32":
        raise UserError(
            f"compute_type {compute_type} is for a head; {name} is evaluated as it was trained: "
            "leave it out"
        )


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
    """The scores by metric, the main one first; the tokens that it compared; and the probabilities
    of what was written. Validation during training comes here, and scores as `speechx evaluate`
    does. Without `failed`, a recording that cannot be read is an error."""
    token_type = recognizer.vocabulary.token_type
    references = references_of(utterances, token_type)
    (tokens,), spans = decode_all(
        recognizer, utterances, [recognizer.decoder], show_progress, failed
    )
    decoded = with_hypotheses(references, tokens, token_type)
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
            return {**text_scores(decoded, prepared, resamples)}, judged


def text_scores(
    decoded: Sequence[Scored], prepared: str, resamples: int = 1000
) -> dict[str, Score]:
    """Error rates of prepared characters and of their words; none without utterances."""
    if not decoded:
        return {}
    return {
        "cer": score(decoded, "cer", prepared=prepared, resamples=resamples),
        "wer": score(by_word(decoded), "wer", prepared=prepared, resamples=resamples),
    }


def about_model(
    recognizer: Recognizer, manifests: Sequence[Path], unlabelled: int, failed: Sequence[str]
) -> dict[str, Any]:
    """What the JSON file of an evaluation says of the model and the test data."""
    return {
        "model": str(recognizer.folder),
        "compute_type": recognizer.compute_type,
        "manifests": [str(m) for m in manifests],
        "without_labels": unlabelled,
        "unreadable": list(failed),
    }
