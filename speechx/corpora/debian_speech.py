"""Real recorded speech for anyone with a Debian or Ubuntu machine: eleven hours, 32 languages.

Debian ships a few programs together with openly licensed voices. `prepare` fetches their packages,
turns every recording into 16 kHz mono FLAC (decoding mp3, ogg or 8 kHz again in every epoch is
slow) and writes manifests:

    OUT/<language>/{train,dev,test}.jsonl   with text; no sentence is in two of them
    OUT/<language>/unlabelled.jsonl         no text, or one that can be read in several ways
    OUT/<language>/dropped.tsv              what is left out, and why
    OUT/LICENCES.md, OUT/licences/          whose work this is
    OUT/packages/                           the packages; may be deleted afterwards

`text` is what the package lists, unchanged; where it cannot be trusted, it is kept as the extra key
`listed`. Most languages have one to three speakers, so speakers are in all splits.

    S samples · T frames of 10 ms
"""

import hashlib
import re
import statistics
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from speechx.audio.files import SAMPLE_RATE, read_audio
from speechx.corpora.debian_packages import fetch, unpacked, write_licences
from speechx.corpora.debian_sources import SOURCES, PackageRecording
from speechx.corpora.engine.preparation import SPLITS, UNLABELLED, Preparation
from speechx.corpora.engine.processes import spread
from speechx.corpora.engine.write import Counts, Output, finish
from speechx.data.manifest import Utterance, claim
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.languages import language_code
from speechx.whole_file import write_whole

SOURCE = "debian-speech"
LANGUAGES = tuple(sorted({language for source in SOURCES for language in source.languages}))
MIN_LABELLED = 100  # a language with fewer texts cannot be split usefully: all of it is unlabelled


def prepare(out: Path, languages: Sequence[str] | None = None) -> Counts:
    """Fetch the packages of these languages (None: all, 650 MB) and write manifests under `out`.

    Languages are named by any of their codes. A package that cannot be fetched is logged and
    done without. Raises UserError for an unknown language, a machine without apt, and when no
    recording is left.
    """
    wanted = set(map(language_code, languages) if languages else LANGUAGES)
    for language in sorted(wanted - set(LANGUAGES)):
        near = get_close_matches(language, LANGUAGES, 1, 0.4)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(
            f"no Debian package known here has recordings in {language!r}{hint}; "
            f"there are: {' '.join(LANGUAGES)}"
        )
    sources = [source for source in SOURCES if wanted & set(source.languages)]
    folder = out / "packages"
    have, failed = fetch([name for s in sources for name in s.packages], folder)

    recordings: dict[str, list[PackageRecording]] = defaultdict(list)
    for source in sources:
        if all(name in have for name in source.packages):
            for recording in source.read(*(have[name] / "usr/share" for name in source.packages)):
                recordings[recording.language].append(recording)
    found = sorted(wanted & set(recordings))
    problems = "; ".join(f"{name}: {problem}" for name, problem in failed.items())
    if not found:
        raise UserError(f"nothing to prepare: {problems or 'no recording in the packages'}")
    for language in found:
        claim(out / language, SOURCE)
    write_licences(unpacked(folder), out)
    counts = finish(
        (_read_language(out / x, x, recordings[x]) for x in found),
        Output(out, allow_missing=True, convert=True),
        SOURCE,
    )
    if failed:
        logger.info(f"{len(failed)} packages not fetched: {problems}")
    if missing := sorted(wanted - set(found)):
        logger.info(f"no recordings in {' '.join(missing)}")
    return counts


def _read_language(
    folder: Path, language: str, recordings: Iterable[PackageRecording]
) -> Preparation:
    """Lists the recordings of one language; writes `dropped.tsv`."""
    todo, dropped = sort_out(recordings)
    logger.info(f"{language}: examining {len(todo)} recordings")
    spoken: dict[PackageRecording, float] = {}
    for recording, found in zip(todo, spread(_spoken, ((one,) for one in todo)), strict=True):
        if isinstance(found, str):
            dropped[recording.id] = found
        else:
            spoken[recording] = found
    dropped |= misfits(spoken)
    some = Preparation(language)
    kept = [recording for recording in spoken if recording.id not in dropped]
    enough = sum(map(is_plain, kept)) >= MIN_LABELLED
    for recording in kept:
        text = recording.text if enough and is_plain(recording) else None
        utterance = Utterance(
            id=recording.id,
            audio=recording.path,
            duration=0.0,
            language=language,
            text=text,
            phones=None if text is None else recording.phones,
            speaker=recording.speaker,
            extra={"listed": recording.text} if recording.text and text is None else {},
        )
        some.add(UNLABELLED if text is None else split_of(text), utterance)
    rows = "".join(f"{id}\t{reason}\n" for id, reason in sorted(dropped.items()))
    write_whole(folder / "dropped.tsv", f"id\treason\n{rows}")
    some.left_out["dropped (dropped.tsv)"] = len(dropped)
    return some


def sort_out(
    recordings: Iterable[PackageRecording],
) -> tuple[list[PackageRecording], dict[str, str]]:
    """Recordings of speech, each sound once; and why the others are dropped, by id."""
    kept, dropped = [], {}
    first: dict[bytes, str] = {}
    for recording in sorted(recordings, key=lambda r: r.id):
        reason = recording.drop
        if not recording.path.is_file():
            reason = "not in the package"
        elif reason is None:
            sound = hashlib.sha256(recording.path.read_bytes()).digest()
            if first.setdefault(sound, recording.id) != recording.id:
                reason = f"the same recording as {first[sound]}"
        if reason:
            dropped[recording.id] = reason
        else:
            kept.append(recording)
    return kept, dropped


def _spoken(recording: PackageRecording) -> float | str:
    """Seconds from the first to the last 10 ms that are within 30 dB of the loudest and above
    -50 dB of full scale, or why there are none."""
    try:
        wave_S = read_audio(recording.path)
    except UserError as error:
        return str(error)
    hop = SAMPLE_RATE // 100
    frames = len(wave_S) // hop
    power_T = np.square(wave_S[: frames * hop]).reshape(frames, hop).mean(axis=1)
    active = np.flatnonzero(power_T > max(1e-5, 1e-3 * power_T.max(initial=0)))
    seconds = (active[-1] - active[0] + 1) / 100 if len(active) else 0.0
    return "no sound" if seconds < 0.05 else seconds


def misfits(spoken: Mapping[PackageRecording, float]) -> dict[str, str]:
    """Recordings whose spoken seconds do not fit their text, by id.

    Too fast is 1.8 times the usual rate of the speaker, and never less than 18 letters a second:
    a text that was made longer after it had been read. Too slow is below 2 for more than 3 s (a
    short word may be drawn out).
    """
    rates: dict[str, list[tuple[float, PackageRecording]]] = defaultdict(list)
    for recording, seconds in spoken.items():
        if is_plain(recording):
            letters = sum(c.isalpha() for c in recording.text or "")
            rates[recording.speaker].append((letters / seconds, recording))
    bad = {}
    for of_speaker in rates.values():
        fastest = max(18.0, 1.8 * statistics.median(rate for rate, _ in of_speaker))
        for rate, recording in of_speaker:
            if rate > fastest or (rate < 2 and spoken[recording] > 3):
                bad[recording.id] = f"{rate:.1f} letters a second do not fit its text"
    return bad


# Signs that are read aloud in more than one way or not at all; a '?' or U+FFFD where a letter was
# lost; the name of another prompt.
NOT_PLAIN = re.compile(r"[\d\[\](){}<>/\\|@=+_%$€¥&#*~^\ufffd]|\?\s+[^\W\d_A-ZÀ-ÞА-ЯЁ]|\bvm-")


SCRIPTS = {"ar": "ARABIC", "el": "GREEK", "he": "HEBREW", "ml": "MALAYALAM"}
SCRIPTS |= dict.fromkeys(("be", "bg", "ru", "uk"), "CYRILLIC")


def is_plain(recording: PackageRecording) -> bool:
    """Whether there is a text that can be read aloud in one way only.

    This excludes letters of another script, and single letters, which may mean their names except
    where they are syllables.
    """
    text = recording.text or ""
    letters = [c for c in text if c.isalpha()]
    script = SCRIPTS.get(recording.language, "LATIN")
    return (
        len(letters) > (0 if recording.language == "ml" else 1)
        and all(unicodedata.name(c, "").startswith(script) for c in letters)
        and not NOT_PLAIN.search(text)
    )


def split_of(text: str) -> str:
    """80/10/10 by a hash of the letters alone: case and punctuation do not part a sentence."""
    folded = unicodedata.normalize("NFC", text).casefold()
    key = "".join(c for c in folded if unicodedata.category(c)[0] in "LMN")
    bucket = int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % 10
    return SPLITS[max(0, bucket - 7)]
