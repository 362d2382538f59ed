"""Scores of a phone model on languages that it was not trained on.

    speechx evaluate --unseen --model runs/mine/best --manifest pt.jsonl ca.jsonl

The same outputs are scored under several conditions, which show how much of the gain is due to
masking and how much to the mapping:

    unmapped         the model's own phones
    masked           only phones that the language shares with the model
    mapped           every phone goes to its articulatory neighbour in the language, or where a
                     mapping that was read from a table sends it
    weighted         as `mapped`, by the weighted distance
    target_to_train  every phone of the language takes its nearest phone of the model
    masked_lm        `masked`, and a beam search with a phone n-gram of the language
    mapped_lm        `mapped`, and the same search
    composed         outputs of the language's phones, composed of attributes by an `articulatory`
                     head; `composed_lm` with the same search
    random_map       shared phones stay, the others go to random phones of the language (5 draws)
    shuffled         `mapped`, scored against another sentence: chance
    topline          a model that was trained on the language

With a lexicon the phones become words, which are scored against the texts.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speechx.data.labels import labelled
from speechx.data.manifest import Utterance
from speechx.decoding.decoder import Decoder, GreedyDecoder, MappedDecoder
from speechx.decoding.feature_errors import FeatureScore
from speechx.decoding.mapping import Mapping as PhoneMapping
from speechx.decoding.mapping import map_inventory, masked_map, random_map
from speechx.decoding.never_written import NeverWritten, never_written
from speechx.decoding.phone_details import prism_scores
from speechx.decoding.preparation import policy_of
from speechx.decoding.scoring import Score, Scored, score
from speechx.errors import UserError
from speechx.evaluation import about_model, check_language_model, text_scores, write_page
from speechx.hypotheses import (
    decode_all,
    read_test_data,
    references_of,
    unprepared,
    with_hypotheses,
    with_texts,
)
from speechx.interchange.languages import in_language
from speechx.interchange.opening import open_model
from speechx.leaks import check_leaks
from speechx.log import logger
from speechx.models.compute import require_compute_type
from speechx.objectives.articulatory import Articulatory
from speechx.text.inventory import Inventory
from speechx.text.languages import iso639_3
from speechx.transcription.inventory_source import inventory_of_mapping
from speechx.transcription.recognizer import UNUSED, Recognizer, recognizer
from speechx.whole_file import require_writable, write_json

RANDOM_MAPS = 5
RANDOM = "random_map"


class UnseenLanguage:
    """The inventory of a language, and the mapping of the model's phones to it."""

    def __init__(self, inventory: Inventory | None, mapping: PhoneMapping) -> None:
        self.inventory = inventory or inventory_of_mapping(mapping)
        self.mapping = mapping


def evaluate_unseen_model(
    model: Path | str,
    manifests: Sequence[Path],
    prepare_language: Callable[[Recognizer, str], tuple[Inventory | None, PhoneMapping | None]],
    out: Path | None = None,
    device: str = "auto",
    head: str | None = None,
    train: Sequence[Path] = (),
    allow_leaks: bool = False,
    page: Path | None = None,
    topline: str | None = None,
    require_unseen: bool = False,
    *,
    language: str | None = None,
    compute_type: str = "float32",
    batch_size: int | None = None,
    threads: int | None = None,
) -> tuple[str, int]:
    """Evaluates a phone model on each language of the manifests, and returns the table to print and
    the exit code.

    prepare_language: gets the opened model and a language, chooses the decoder, and returns the
    inventory or the mapping of the language. topline: a model that was trained on the language, in
    which {language} stands for its code. require_unseen: a language that the model was trained on
    is a UserError, unless `allow_leaks`. The other arguments are as in `evaluate_model`.
    """
    require_compute_type(compute_type)
    for file in filter(None, (out, page)):
        require_writable(file)  # before the computation, which may take hours
    saved = open_model(Path(model), UNUSED)
    if language is not None or (saved.adapters and not saved.vocabularies):
        saved = in_language(saved, language)
    opened = recognizer(saved, Path(model), device, head)
    opened.require("phonemes", "write an unseen language")
    opened.compute_with(batch_size, threads, None if compute_type == "float32" else compute_type)
    listed = read_test_data(manifests)
    leaks = check_leaks(Path(model), listed, train, allow_leaks)
    spoken = sorted({u.language for u in listed})
    known = {iso639_3(language) for language in saved.languages}
    trained = [language for language in spoken if iso639_3(language) in known]
    if trained and require_unseen and not allow_leaks:
        raise UserError(
            f"{model} was trained on {', '.join(trained)}, so these are not unseen: leave their "
            "manifests out, or score them all the same with --allow-leaks"
        )
    failed: list[str] = []
    found = Unseen(opened)
    for unseen in spoken:
        inventory, mapping = prepare_language(opened, unseen)
        if mapping is None:
            if inventory is None:
                raise UserError(
                    f"{unseen}: its phones are not known; give --inventory or --mapping"
                )
            mapping = opened.map_inventory(inventory)
        own = [u for u in listed if u.language == unseen]
        if not allow_leaks:
            check_language_model(opened.decoding.lm, own)
        best = None if topline is None else topline.replace("{language}", unseen)
        reference = None
        if best is not None:
            reference = recognizer(open_model(Path(best), UNUSED), Path(best), device)
            reference.require("phonemes", "be the topline of phones")
        found.add(UnseenLanguage(inventory, mapping), own, failed, reference)
    by_condition, _ = found.scores()
    if page is not None:
        shown = "mapped_lm" if "mapped_lm" in by_condition else "mapped"
        of = f"{model}, condition {shown}"
        write_page(page, of, listed, {"per": by_condition[shown]}, found.decoded[shown])
    if out is not None:
        about = about_model(opened, manifests, len(listed) - found.count, failed)
        about["leaks"] = leaks and leaks.to_dict()
        write_json(out, {**about, **found.to_dict()})
    return found.table(), 2 if failed else 0


def evaluate_unseen(
    opened: Recognizer,
    manifests: Sequence[Path],
    inventory: Inventory | None,
    out: Path | None = None,
    failed: list[str] | None = None,
    mapping: PhoneMapping | None = None,
) -> tuple[dict[str, Score], PhoneMapping]:
    """PER under all conditions with one inventory, and the mapping that was used: the one that is
    given, else the model's to the inventory. `failed` as in `evaluate`."""
    failed = [] if failed is None else failed
    if mapping is None:
        if inventory is None:
            raise ValueError("an inventory or a mapping is needed")
        mapping = opened.map_inventory(inventory)
    listed = read_test_data(manifests)
    found = Unseen(opened)
    found.add(UnseenLanguage(inventory, mapping), listed, failed)
    if out is not None:
        about = about_model(opened, manifests, len(listed) - found.count, failed)
        write_json(out, {**about, **found.to_dict()})
    return found.scores()[0], mapping


class Unseen:
    """What a model writes in languages that it was not trained on, by condition."""

    def __init__(self, opened: Recognizer) -> None:
        self.opened = opened
        self.languages: list[UnseenLanguage] = []
        self.utterances: list[Utterance] = []
        self.decoded: dict[str, list[Scored]] = {}
        """By condition, prepared for comparison."""
        self.written: dict[str, list[Scored]] = {}
        """Without preparation."""
        self.words: list[Scored] = []
        """Where a lexicon makes words of phones."""
        self.never: list[dict[str, Any]] = []
        self._scores: tuple[dict[str, Score], dict[str, FeatureScore]] | None = None

    @property
    def count(self) -> int:
        """Utterances that are scored."""
        return len(self.utterances)

    def add(
        self,
        language: UnseenLanguage,
        listed: Sequence[Utterance],
        failed: list[str],
        topline: Recognizer | None = None,
    ) -> None:
        """Decodes the utterances of a language under all conditions. Recordings that cannot be read
        are added to `failed`."""
        utterances = labelled(listed, "phonemes")
        inventory = language.inventory
        never = never_written(utterances, inventory.phones, "phonemes")
        if never.tokens:
            logger.info(f"{inventory.source}: the inventory lacks {never}")
        references = references_of(utterances, "phonemes")
        others = _other_sentences(utterances, references)
        conditions = self._conditions(language)
        draws = [
            MappedDecoder(random_map(self.opened.vocabulary.tokens, inventory.phones, seed))
            for seed in range(RANDOM_MAPS)
        ]
        decoders = [*conditions.values(), *draws]
        tokens, _ = decode_all(self.opened, utterances, decoders, True, failed)
        found = dict(zip(conditions, tokens, strict=False))
        found["shuffled"] = [found["mapped"][other] for other in others]
        if isinstance(self.opened.head, Articulatory):
            composed = self.opened.for_inventory(inventory)
            both: list[Decoder] = [GreedyDecoder(composed.vocabulary.tokens), composed.decoder]
            searches = composed.decoding.searches and composed.decoding.lexicon is None
            names = ["composed", *(["composed_lm"] if searches else [])]
            tokens_of_both, _ = decode_all(composed, utterances, both[: len(names)], True, failed)
            found |= dict(zip(names, tokens_of_both, strict=True))
        if topline is not None:
            (found["topline"],), _ = decode_all(
                topline, utterances, [topline.decoder], True, failed
            )
        if words := found.pop("words", None):
            self.words += with_texts(utterances, words)
        for name, each in found.items():
            self.decoded.setdefault(name, []).extend(with_hypotheses(references, each, "phonemes"))
            self.written.setdefault(name, []).extend(unprepared(utterances, each, "phonemes"))
        for each in tokens[len(conditions) :]:
            self.decoded.setdefault(RANDOM, []).extend(
                with_hypotheses(references, each, "phonemes")
            )
        self.utterances += utterances
        self.languages.append(language)
        self.never.append(asdict(never))
        self._scores = None

    def _conditions(self, language: UnseenLanguage) -> dict[str, Decoder]:
        source, target = self.opened.vocabulary.tokens, language.inventory.phones
        masked, mapped = masked_map(source, target), language.mapping
        conditions: dict[str, Decoder] = {
            "unmapped": GreedyDecoder(source),
            "masked": MappedDecoder(masked),
            "mapped": MappedDecoder(mapped),
            "weighted": MappedDecoder(map_inventory(source, target, measure="weighted")),
            "target_to_train": MappedDecoder(
                map_inventory(source, target, direction="target-to-train")
            ),
        }
        decoding = self.opened.decoding.for_inventory()
        if decoding.lexicon is not None:
            conditions["words"] = MappedDecoder(mapped, decoding.decoder(mapped.target))
        elif decoding.searches:
            for name, mapping in (("masked_lm", masked), ("mapped_lm", mapped)):
                conditions[name] = MappedDecoder(mapping, decoding.decoder(mapping.target))
        return conditions

    def scores(self) -> tuple[dict[str, Score], dict[str, FeatureScore]]:
        """PER by condition, and the scores by the policy `prism`."""
        if self._scores is None:
            prepared = policy_of("phonemes", self.utterances)
            drawn = f"{prepared}, summed over {RANDOM_MAPS} random maps"
            self._scores = (
                {
                    name: score(each, "per", prepared=drawn if name == RANDOM else prepared)
                    for name, each in self.decoded.items()
                },
                prism_scores(self.written),
            )
        return self._scores

    def word_scores(self) -> dict[str, Score]:
        """Error rates of the words that a lexicon made; none without one."""
        return text_scores(self.words, policy_of("characters", self.utterances))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        by_condition, prism = self.scores()
        one = len({language.inventory for language in self.languages}) == 1
        about = [
            {
                "inventory": language.inventory.source,
                "mapping": language.mapping.to_dict(),
                "never_written": never,
            }
            for language, never in zip(self.languages, self.never, strict=True)
        ]
        alone = {**about[0], "never_written": _joined(self.never)}
        return {
            **(alone if one else {"languages": about}),
            "prism": {name: each.to_dict() for name, each in prism.items()},
            "words": {name: each.to_dict() for name, each in self.word_scores().items()},
            "methods": {name: each.to_dict() for name, each in by_condition.items()},
        }

    def table(self) -> str:
        """For people: a line per condition, with the mean over languages if there are several."""
        by_condition, prism = self.scores()
        lines = [
            f"{language.mapping.summary()} (all of it: speechx phonemize --show-mapping)"
            for language in self.languages
        ]
        for name, each in by_condition.items():
            rate = each.overall
            line = f"{name:<15} PER {rate.rate:6.1%}  [{rate.low:.1%}, {rate.high:.1%}]"
            if len(each.languages) > 1:
                line += f"  mean {each.macro:6.1%}:"
                line += "".join(f"  {xx} {own.rate:.1%}" for xx, own in each.languages.items())
            if name in prism:
                line += f"  prism {prism[name].overall.rate:6.1%}"
            lines.append(line)
        lines += [
            f"words           {name.upper()} {each.overall.rate:6.1%}  "
            f"[{each.overall.low:.1%}, {each.overall.high:.1%}]"
            for name, each in self.word_scores().items()
        ]
        return "\n".join(lines)


def _joined(several: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The sum of several results of `never_written` with one inventory."""
    tokens, total = (sum(each[name] for each in several) for name in ("tokens", "total"))
    counts: Counter[str] = Counter()
    for each in several:
        counts.update(each["counts"])
    share = tokens / max(total, 1)
    return asdict(NeverWritten(tokens, total, share, dict(counts.most_common())))


def _other_sentences(utterances: Sequence[Utterance], references: Sequence[Scored]) -> list[int]:
    """For each utterance the index of the next one, cyclically, with another text and other phones.
    UserError if there is none."""

    def differ(n: int, m: int) -> bool:
        text = utterances[n].text
        other_text = text is None or text != utterances[m].text
        return other_text and list(references[n].reference) != list(references[m].reference)

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
