"""Phone labels for utterances that have a text, and inventories of utterances that have phones."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from speechx.data.manifest import Utterance, first_few, is_manifest, read_manifest
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.g2p import g2p
from speechx.text.inventory import Inventory
from speechx.text.ipa import problem_with


def add_phones(
    utterances: Sequence[Utterance],
    drop_empty: bool = False,
    note: Callable[[str], None] = logger.info,
) -> list[Utterance]:
    """The same utterances with `phones` from their text, and the version of `g2p` as an extra key.
    `note` gets notes for people: language flags and tones taken off, per language.

    Each distinct text is read once. A text that is missing or has no phones is an error that lists
    the first few ids; with `drop_empty` such utterances are left out and noted, as long as any is
    left.
    """
    spoken: dict[str, tuple[dict[str, tuple[str, ...]], str]] = {}
    for language in dict.fromkeys(u.language for u in utterances):
        texts = list(dict.fromkeys(u.text for u in utterances if u.language == language and u.text))
        result = g2p(texts, language)
        spoken[language] = dict(zip(texts, result.phones, strict=True)), result.version
        if result.flags or result.tones:
            note(
                f"{language}: {result.flags} language-switch flags and {result.tones} tone marks "
                f"taken off the phones of {len(texts)} texts"
            )
        strange = Counter(p for phones in result.phones for p in phones if problem_with(p))
        if strange:
            counts = ", ".join(f"{phone!r} {n} times" for phone, n in strange.most_common())
            note(f"{language}: phones that are not IPA: {counts}")
    labelled: list[Utterance] = []
    empty: list[str] = []
    for utterance in utterances:
        phones, version = spoken[utterance.language]
        found = phones.get(utterance.text or "", ())
        if not found:
            empty.append(utterance.id)
            continue
        extra = {**utterance.extra, "g2p": version}
        labelled.append(dataclasses.replace(utterance, phones=found, extra=extra))
    if empty:
        those = f"{len(empty)} of {len(utterances)} utterances"
        if not drop_empty or not labelled:
            raise UserError(
                f"{those} have no text with phones ({first_few(empty)}): "
                "give them a text, or leave them out (--drop-empty)."
            )
        note(f"{those} without phones left out ({first_few(empty)})")
    return labelled


def read_inventory(path: Path, language: str = "und") -> Inventory:
    """The inventory in a file: a list of phones, or all phones of a manifest."""
    if not is_manifest(path):
        return Inventory.from_file(path, language)
    phones = (phone for utterance in read_manifest(path) for phone in utterance.phones or ())
    return Inventory.of(phones, language, str(path))
