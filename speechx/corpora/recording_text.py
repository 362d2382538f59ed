"""The text of one recording in subtitles (.srt, .vtt) or in a TextGrid of Praat.

Subtitles are joined in the order of their times, without their markup; everything else in them is
text, such as [music]. Of a TextGrid the tier of utterances is the text, or else the tier of words,
and a tier of phones has the phones; tiers are known by their names. A tier of another name is the
text if it is the only one.
"""

import html
import re
from pathlib import Path
from typing import Any

from speechx.corpora.engine.tables import open_text
from speechx.errors import UserError

SUBTITLES = (".srt", ".vtt")
SUFFIXES = (*SUBTITLES, ".textgrid")
TEXT_TIERS = (
    ("utterance", "utterances", "utt", "sentence", "sentences", "transcript", "transcription",
     "text", "orthography", "ort"),
    ("word", "words", "ort-mau"),
)  # fmt: skip
PHONE_TIERS = (
    ("phone", "phones", "phoneme", "phonemes", "phon", "segment", "segments", "ipa", "mau"),
)
TIME = re.compile(r"<[\d:.]+>")  # of a word inside a WebVTT subtitle


def read_recording(path: Path) -> tuple[str | None, tuple[str, ...] | None]:
    """The text, and the phones; either may be None. UserError for a file of another kind."""
    with open_text(path) as file:
        content = file.read().removeprefix("\ufeff")
    if _suffix(path) in SUBTITLES:
        return _subtitles(path, content), None
    return _grid(path, content)


def is_recording(path: Path) -> bool:
    """Whether the name is that of subtitles or a TextGrid."""
    return _suffix(path) in SUFFIXES


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _subtitles(path: Path, content: str) -> str:
    import pysubs2

    form = _suffix(path)[1:]
    found = pysubs2.SSAFile.from_string(content, format_=form)
    if not found and content.strip() and not content.startswith("WEBVTT"):
        raise UserError(
            f"{path} has no subtitles: the times of each, with --> between, are missing"
        )
    found.sort()
    texts = [subtitle.plaintext for subtitle in found if not subtitle.is_comment]
    if form == "vtt":
        texts = [html.unescape(TIME.sub("", text)) for text in texts]
    return " ".join(" ".join(texts).split())


def _grid(path: Path, content: str) -> tuple[str | None, tuple[str, ...] | None]:
    from praatio.utilities.textgrid_io import parseTextgridStr

    try:
        tiers = parseTextgridStr(content)["tiers"]
        labels = {
            str(tier["name"]): [str(entry[-1]) for entry in tier["entries"]] for tier in tiers
        }
    except Exception as error:  # praatio raises whatever its search for numbers raises
        raise UserError(
            f"{path} is not a TextGrid in a text format ({error}); save it in Praat as a text file"
        ) from None
    if len(labels) < len(tiers):
        raise UserError(f"{path}: two tiers have one name; give each its own")
    texts, phones = _chosen(path, labels, TEXT_TIERS), _chosen(path, labels, PHONE_TIERS)
    if texts is None and phones is None:
        if len(labels) != 1:
            raise UserError(
                f"{path}: none of its tiers ({', '.join(map(repr, labels)) or 'none'}) is known "
                "as text or phones; name one of them utterance, word or phone"
            )
        (texts,) = labels.values()
    joined = None if texts is None else " ".join(" ".join(texts).split())
    return joined, None if phones is None else tuple(" ".join(phones).split())


def _chosen(path: Path, labels: dict[str, Any], kinds: tuple[tuple[str, ...], ...]) -> Any:
    """The labels of the tier that is of the first of these kinds; None if there is none."""
    for names in kinds:
        found = [name for name in labels if name.rpartition(" - ")[2].strip().lower() in names]
        if len(found) > 1:
            raise UserError(
                f"{path} has several tiers of one kind: {', '.join(map(repr, found))}; one was "
                "expected, so save each speaker or version in a file of its own"
            )
        if found:
            return labels[found[0]]
    return None
