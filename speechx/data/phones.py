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
from speechx.text.unread import Unread

NO_PHONES = "without a text that has phones"
SHOWN = 12  # characters and words in a message


def add_phones(
    utterances: Sequence[Utterance],
    drop_empty: bool = False,
    note: Callable[[str], None] = logger.info,
) -> list[Utterance]:
    """The same utterances with `phones` from their text, and the version of `g2p` as an extra key.
    `note` gets notes for people: tones taken off, per language.

    Each distinct text is read once. A text that is missing, has no phones or is not read by the
    voice of its language (kanji, words in another script, numbers without rules) is an error that
    says how many there are of each kind, with the first few ids; with `drop_empty` such utterances
    are left out and noted, as long as any is left.
    """
    spoken: dict[str, dict[str, tuple[tuple[str, ...], Unread | None]]] = {}
    made_by = ""
    for language in dict.fromkeys(u.language for u in utterances):
        texts = list(dict.fromkeys(u.text for u in utterances if u.language == language and u.text))
        result = g2p(texts, language)
        made_by = result.version
        found = zip(result.phones, result.unread, strict=True)
        spoken[language] = dict(zip(texts, found, strict=True))
        if result.tones:
            note(
                f"{language}: {result.tones} tone marks taken off the phones of {len(texts)} texts"
            )
        strange = Counter(p for phones in result.phones for p in phones if problem_with(p))
        if strange:
            counts = ", ".join(f"{phone!r} {n} times" for phone, n in strange.most_common())
            note(f"{language}: phones that are not IPA: {counts}")
    labelled: list[Utterance] = []
    without: dict[str, _Without] = {}
    for utterance in utterances:
        phones, unread = spoken[utterance.language].get(utterance.text or "", ((), None))
        if phones:
            extra = {**utterance.extra, "g2p": made_by}
            labelled.append(dataclasses.replace(utterance, phones=phones, extra=extra))
            continue
        why = f"{utterance.language} {unread.why}" if unread else NO_PHONES
        kind = without.setdefault(why, _Without())
        kind.ids.append(utterance.id)
        kind.found.update(unread.found if unread else ())
    if without:
        ids = [name for kind in without.values() for name in kind.ids]
        kinds = "; ".join(f"{len(kind.ids)} {why}{kind}" for why, kind in without.items())
        kinds = "" if list(without) == [NO_PHONES] else f": {kinds}"
        those = f"{len(ids)} of {len(utterances)} utterances"
        if not drop_empty or not labelled:
            raise UserError(
                f"{those} have no text with phones ({first_few(ids)}){kinds}. Give them a text as "
                "it is spoken in their language, or leave them out (--drop-empty)."
            )
        note(f"{those} without phones left out ({first_few(ids)}){kinds}")
    return labelled


@dataclasses.dataclass(slots=True)
class _Without:
    """Utterances without phones for one reason. found: what was not read, and how often."""

    ids: list[str] = dataclasses.field(default_factory=list)
    found: Counter[str] = dataclasses.field(default_factory=Counter)

    def __str__(self) -> str:
        most = " ".join(word for word, _ in self.found.most_common(SHOWN))
        more = " ..." if len(self.found) > SHOWN else ""
        return f"{': ' if most else ''}{most}{more} ({first_few(self.ids)})"


def read_inventory(path: Path, language: str = "und") -> Inventory:
    """The inventory in a file: all phones of a manifest, with counts, or what `Inventory.from_file`
    reads."""
    if not is_manifest(path):
        return Inventory.from_file(path, language)
    counts: Counter[str] = Counter()
    languages = set()
    for utterance in read_manifest(path):
        counts.update(utterance.phones or ())
        if utterance.phones:
            languages.add(utterance.language)
    if language == "und" and len(languages) == 1:
        (language,) = languages
    return Inventory.counted(counts, language, str(path))
