"""From a model and a manifest to error rates.

    speechx evaluate --model runs/mine/best --manifest test.jsonl -o scores.json

With an inventory the language counts as unseen, and five readings of the same outputs are scored,
so that mapping is not credited with what masking does:

    unmapped    the model's own phones
    masked      only phones that the language shares with the model
    mapped      every phone goes to its articulatory neighbour in the language
    random_map  shared phones stay, the others go to random phones of the language (mean of 5 draws)
    shuffled    `mapped`, scored against another sentence: chance
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechx.data.batches import read_utterance
from speechx.data.labels import labelled, units
from speechx.data.manifest import Utterance, read_manifest
from speechx.decoding.greedy import greedy
from speechx.decoding.mapping import Mapping, fold, masked_map, random_map
from speechx.decoding.scoring import Score, characters, check_references, score, words
from speechx.errors import UserError
from speechx.recognition import Recognizer
from speechx.text.inventory import Inventory
from speechx.text.ipa import normalize_ipa
from speechx.text.vocabulary import Kind
from speechx.training.progress import Progress, say
from speechx.whole_file import whole_file

RANDOM_MAPS = 5
PREPARED: dict[Kind, str] = {  # what is done to the two sides before they are compared
    "characters": "references by speechx.text.normalize (NFC, lower case, no punctuation), "
    "hypotheses as the model writes",
    "phonemes": "references and hypotheses in one spelling of IPA (speechx.text.ipa)",
}


def evaluate(
    recognizer: Recognizer, manifests: Sequence[Path], out: Path | None = None
) -> dict[str, Score]:
    """PER of a phoneme model, CER and WER of a character model; writes JSON to `out`."""
    kind = recognizer.vocabulary.kind
    listed = _read(manifests)
    utterances = labelled(listed, kind, say)
    references = _references(utterances, recognizer)
    heard = [
        recognizer.vocabulary.decode(e.id for e in greedy(p))
        for p in _outputs(recognizer, utterances)
    ]
    if kind == "phonemes":
        tokens = {"per": (references, _phones(heard))}
    else:
        texts = [recognizer.vocabulary.join(h) for h in heard]
        tokens = {
            "cer": (references, [characters(text) for text in texts]),
            "wer": ([words("".join(r)) for r in references], [words(text) for text in texts]),
        }
    prepared = _prepared(kind, utterances)
    scores = {
        metric: _score(*sides, utterances, metric, prepared) for metric, sides in tokens.items()
    }
    if out is not None:
        headline = next(iter(scores.values()))
        about = {
            "model": str(recognizer.folder),
            "manifests": [str(m) for m in manifests],
            "without_labels": len(listed) - len(utterances),
            **headline.to_dict(),
        }
        _write(out, {**about, "scores": {name: s.to_dict() for name, s in scores.items()}})
    return scores


def evaluate_unseen(
    recognizer: Recognizer,
    manifests: Sequence[Path],
    inventory: Inventory,
    out: Path | None = None,
) -> tuple[dict[str, Score], Mapping]:
    """The five readings, and the mapping that was used."""
    mapping = recognizer.map_inventory(inventory)
    listed = _read(manifests)
    utterances = labelled(listed, "phonemes", say)
    references = _references(utterances, recognizer)
    others = _others(utterances, references)
    outputs = [np.exp(p) for p in _outputs(recognizer, utterances)]
    source = recognizer.vocabulary.units

    def read(through: Mapping) -> list[list[str]]:
        return [[through.target[e.id - 1] for e in greedy(_log(fold(p, through)))] for p in outputs]

    mapped = read(mapping)
    draws = [read(random_map(source, inventory.phones, seed)) for seed in range(RANDOM_MAPS)]
    readings = {
        "unmapped": _phones(
            [recognizer.vocabulary.decode(e.id for e in greedy(_log(p))) for p in outputs]
        ),
        "masked": read(masked_map(source, inventory.phones)),
        "mapped": mapped,
        "shuffled": [mapped[other] for other in others],
    }
    prepared = _prepared("phonemes", utterances)
    methods = {
        name: _score(references, heard, utterances, "per", prepared)
        for name, heard in readings.items()
    }
    methods["random_map"] = _score(
        references * RANDOM_MAPS,
        [heard for draw in draws for heard in draw],
        utterances * RANDOM_MAPS,
        "per",
        f"{prepared}, summed over {RANDOM_MAPS} random maps",
        RANDOM_MAPS,
    )
    if out is not None:
        about = {
            "model": str(recognizer.folder),
            "manifests": [str(m) for m in manifests],
            "without_labels": len(listed) - len(utterances),
            "inventory": inventory.source,
        }
        _write(out, {**about, "methods": {name: s.to_dict() for name, s in methods.items()}})
    return methods, mapping


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
                f"utterance {utterance.id}: no other one says anything else; "
                "the shuffled control needs two different sentences"
            )
        others.append(other)
    return others


def _read(manifests: Sequence[Path]) -> list[Utterance]:
    return [utterance for manifest in manifests for utterance in read_manifest(manifest)]


def _references(utterances: Sequence[Utterance], recognizer: Recognizer) -> list[list[str]]:
    references = [list(units(u, recognizer.vocabulary.kind)) for u in utterances]
    if recognizer.vocabulary.kind == "phonemes":
        references = _phones(references)
    check_references(references, [u.language for u in utterances])
    return references


def _phones(sequences: Sequence[Sequence[str]]) -> list[list[str]]:
    """In one spelling of IPA, so that g and ɡ are not an error."""
    return [[normalize_ipa(phone) for phone in sequence] for sequence in sequences]


def _prepared(kind: Kind, utterances: Sequence[Utterance]) -> str:
    """What was done to the two sides, with every policy that the texts went through before."""
    policies = sorted({str(u.extra.get("text_policy") or "") for u in utterances})
    if policies == [""]:
        return PREPARED[kind]
    named = " and ".join(f"by the policy `{p}`" if p else "without a policy" for p in policies)
    return f"{PREPARED[kind]}; texts of the references {named}"


def _score(
    references: Sequence[Sequence[str]],
    hypotheses: Sequence[Sequence[str]],
    utterances: Sequence[Utterance],
    metric: str,
    prepared: str,
    readings: int = 1,
) -> Score:
    return score(
        references,
        hypotheses,
        [u.language for u in utterances],
        [u.id for u in utterances],
        # A speaker belongs to a language: two corpora may both have a reader "1".
        [f"{u.language}/{u.speaker}" if u.speaker else None for u in utterances],
        metric,
        prepared=prepared,
        readings=readings,
    )


def _outputs(recognizer: Recognizer, utterances: Sequence[Utterance]) -> Iterator[np.ndarray]:
    """Log-probabilities (T, V) of each utterance, one after the other."""
    progress = Progress("evaluate", None, len(utterances), 0)
    for index, utterance in enumerate(utterances):
        yield recognizer.log_probabilities(read_utterance(utterance, False))
        progress.advance(index + 1, utterance.duration)
    progress.report({"hours": sum(u.duration for u in utterances) / 3600})
    progress.close()


def _log(probabilities_TV: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities_TV, 1e-30))


def _write(path: Path, data: dict[str, Any]) -> None:
    with whole_file(path) as new:
        new.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
