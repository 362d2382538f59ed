"""Many recordings with their texts to transcripts with times."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechx.audio.files import AUDIO_SUFFIXES
from speechx.data.manifest import first_few
from speechx.errors import UserError
from speechx.log import logger
from speechx.text_encoding import decoded
from speechx.transcription.formats import KNOWN
from speechx.transcription.inputs import Input, files_below
from speechx.transcription.recognizer import Recognizer
from speechx.transcription.recording import Recording
from speechx.transcription.result import Transcript
from speechx.wording import number_of

TEXT_SUFFIX = ".txt"


def given_text(text: str) -> Path | str:
    """A word of the command line: the name of a file, or the text itself."""
    try:
        is_file = Path(text).is_file()
    except (OSError, ValueError):  # a text, too long for a name
        is_file = False
    form = Path(text[:200]).suffix.lower()[1:]
    if not is_file and form in KNOWN and len(text.split()) == 1:
        raise UserError(f"{text}: there is no such file; give the text itself or a file with it")
    if is_file and form in KNOWN and f".{form}" != TEXT_SUFFIX:
        raise UserError(
            f"{text} is a {form} file, which holds more than the words. Expected the text itself, "
            f"or a {TEXT_SUFFIX} file with it."
        )
    return Path(text) if is_file else text


def with_texts(
    inputs: Iterable[Input],
    given: Sequence[str],
    folder: Path | None = None,
    text: Path | str | None = None,
) -> list[Input]:
    """Each recording with `text`, or with the .txt of its name, which lies beside it or in
    `folder`; a line of a manifest has its text. The log has the texts in `folder`, or in the
    folders that were `given`, that belong to no recording."""
    if text is not None:
        return [replace(one, text=text) for one in inputs]
    found = [one if one.utterance else replace(one, text=_place(one, folder)) for one in inputs]
    used = {one.text for one in found}
    folders = [Path(one) for one in given if Path(one).is_dir()]
    for place in folders:  # with the recordings that cannot be read, which are listed
        for file in files_below(place, AUDIO_SUFFIXES):
            way = file.relative_to(place).with_suffix(TEXT_SUFFIX)
            used |= {place / way} if folder is None else {folder / way, folder / way.name}
    searched = folders if folder is None else [folder]
    spare = [str(t) for f in searched for t in sorted(f.rglob(f"*{TEXT_SUFFIX}")) if t not in used]
    if spare:
        texts = number_of(len(spare), "text has", "texts have")
        logger.info(f"{texts} no recording ({first_few(spare)})")
    return found


def _place(one: Input, texts: Path | None) -> Path:
    """Where the text of a recording is, or should be; each channel may have one of its own."""
    audio = Path(one.recording.path or "")
    folders = [audio.parent] if texts is None else [texts / one.output.parent, texts]
    names = dict.fromkeys((f"{audio.stem}{TEXT_SUFFIX}", f"{one.output.name}{TEXT_SUFFIX}"))
    places = [folder / name for folder in folders for name in reversed(names)]
    return next((place for place in places if place.is_file()), folders[0] / next(iter(names)))


def align_each(
    model: Recognizer,
    given: Mapping[Recording, Input],
    recordings: Iterable[Recording],
    progress: Callable[[float], object],
    language: str | None = None,
    phones: bool = False,
    **settings: Any,
) -> Iterator[tuple[Recording, Transcript | UserError]]:
    """Each recording with the transcript of its text, or with the error. `language` goes before
    the language of a manifest; `settings` go to `align`."""
    done = 0.0
    for recording in recordings:
        one = given[recording]
        u = one.utterance
        try:
            reader = model.reader_of(recording)
            text, as_phones = _text(one, reader.vocabulary.token_type == "phonemes" and not phones)
            yield recording, reader.align(
                recording, text, language=language or (u.language if u else None),
                phones=phones or as_phones, **settings,
                progress=lambda now, start=done: progress(start + now),  # type: ignore[misc]
            )  # fmt: skip
        except UserError as error:
            yield recording, UserError(f"{one.shown}: {error}") if u else error
        done += one.seconds
        progress(done)


def _text(one: Input, wants_phones: bool) -> tuple[str, bool]:
    """The text of a recording, and whether it is phones; a manifest gives its phones if wanted."""
    if one.text is None and (u := one.utterance):
        phones = bool(u.phones) and wants_phones
        text = " ".join(u.phones or ()) if phones else u.text or ""
        if not text.strip():
            raise UserError("the manifest has no text for this utterance")
        return text, phones
    if not isinstance(one.text, Path):
        return one.text or "", False
    try:
        return decoded(one.text.read_bytes()), False
    except FileNotFoundError:
        raise UserError(f"{one.shown}: there is no text; expected {one.text}") from None
    except OSError as error:
        raise UserError(f"{one.text}: the text cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{one.text}: the text cannot be read: {error}") from None
