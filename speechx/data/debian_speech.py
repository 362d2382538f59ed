"""Real recorded speech for anyone with a Debian or Ubuntu machine: about eleven hours, 33 languages.

Debian ships a few programs together with openly licensed voices. `prepare` fetches their packages,
turns every recording into 16 kHz mono FLAC (decoding mp3, ogg or 8 kHz again in every epoch is
slow) and writes manifests:

    OUT/<language>/{train,dev,test}.jsonl   with text; no sentence is in two of them
    OUT/<language>/unlabelled.jsonl         no text, or one that can be read in several ways
    OUT/<language>/dropped.tsv              what is left out, and why
    OUT/LICENCES.md, OUT/licences/          whose work this is
    OUT/packages/                           the packages; may be deleted afterwards

`text` is what the package lists, unchanged. Speakers are not split: most languages have one to three.
"""

import hashlib
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from speechx.audio.files import SAMPLE_RATE, read_audio, write_flac
from speechx.data.debian_packages import fetch, unpacked, write_licences
from speechx.data.debian_sources import SOURCES, Recording
from speechx.data.manifest import Utterance, write_manifest
from speechx.errors import UserError

SPLITS = ("train", "dev", "test")
MIN_LABELLED = 100  # a language with fewer texts cannot be split usefully: all of it is unlabelled
HOP = SAMPLE_RATE // 100  # 10 ms

LANGUAGES = tuple(sorted({language for source in SOURCES for language in source.languages}))


def prepare(
    out: Path, languages: Sequence[str] | None = None, log: Callable[[str], None] = print
) -> dict[str, dict[str, int]]:
    """Fetch the packages of these languages (None: all, 700 MB) and write manifests under `out`.

    Returns language -> split -> number of utterances. Languages are named as CommonVoice names
    them. A package that cannot be fetched is logged and done without. Raises UserError for an
    unknown language, a machine without apt, and when no recording is left.
    """
    wanted = set(LANGUAGES if not languages else languages)
    for language in sorted(wanted - set(LANGUAGES)):
        near = get_close_matches(language, LANGUAGES, 1, 0.4)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(
            f"no Debian package here has recordings in {language!r}{hint}; "
            f"languages: {' '.join(LANGUAGES)}"
        )
    sources = [source for source in SOURCES if wanted & set(source.languages)]
    folder = out / "packages"
    have, failed = fetch([name for s in sources for name in s.packages], folder, log)

    recordings: dict[str, list[Recording]] = defaultdict(list)
    for source in sources:
        if all(name in have for name in source.packages):
            for recording in source.read(*(have[name].share for name in source.packages)):
                if recording.language in wanted:
                    recordings[recording.language].append(recording)
    problems = "; ".join(f"{name}: {problem}" for name, problem in failed.items())
    if not recordings:
        raise UserError(f"nothing to prepare: {problems or 'the packages hold no recordings'}")
    write_licences(unpacked(folder).values(), out)
    counts = {
        language: write_language(out / language, language, recordings[language], log)
        for language in sorted(recordings)
    }
    for language in sorted(wanted - set(recordings)):
        log(f"{language}: nothing, because its packages are missing")
    if failed:
        log(f"{len(failed)} packages not fetched: {problems}")
    return counts


def write_language(
    folder: Path, language: str, recordings: Iterable[Recording], log: Callable[[str], None]
) -> dict[str, int]:
    """Convert the recordings of one language and write its manifests; returns counts per split."""
    dropped: list[tuple[str, str]] = []
    first: dict[str, str] = {}
    todo = []
    for recording in sorted(recordings, key=lambda r: r.id):
        reason = recording.drop
        if reason is None and not recording.path.is_file():
            reason = "not in the package"
        if reason is None:
            content = hashlib.sha256(recording.path.read_bytes()).hexdigest()
            if first.setdefault(content, recording.id) != recording.id:
                reason = f"the same recording as {first[content]}"
        if reason:
            dropped.append((recording.id, reason))
        else:
            todo.append((recording, folder / "audio" / f"{recording.id}.flac"))

    log(f"{language}: converting {len(todo)} recordings")
    splits: dict[str, list[Utterance]] = {name: [] for name in (*SPLITS, "unlabelled")}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        converted = list(pool.map(lambda job: convert(*job), todo))
    good = []
    for (recording, target), (duration, reason) in zip(todo, converted, strict=True):
        if reason:
            dropped.append((recording.id, reason))
        else:
            good.append((recording, target, duration))
    enough = sum(plain(recording) for recording, _, _ in good) >= MIN_LABELLED
    for recording, target, duration in good:
        labelled = enough and plain(recording)
        splits[split_of(recording.text or "") if labelled else "unlabelled"].append(
            Utterance(
                id=recording.id,
                audio=target,
                duration=duration,
                language=language,
                text=recording.text if labelled else None,
                phones=recording.phones if labelled else None,
                speaker=recording.speaker,
                extra={"listed": recording.text} if recording.text and not labelled else {},
            )
        )
    for split, utterances in splits.items():
        manifest = folder / f"{split}.jsonl"
        if utterances:
            write_manifest(manifest, utterances)
        else:
            manifest.unlink(missing_ok=True)
    lines = [f"{id}\t{reason}\n" for id, reason in sorted(dropped)]
    (folder / "dropped.tsv").write_text("id\treason\n" + "".join(lines), encoding="utf-8")
    counts = {split: len(utterances) for split, utterances in splits.items()}
    log(
        f"{language}: "
        + ", ".join(f"{n} {split}" for split, n in counts.items())
        + f"; {len(dropped)} dropped (see {folder / 'dropped.tsv'})"
    )
    return counts


# Signs that are read aloud in more than one way or not at all, a '?' or U+FFFD in the place of a
# lost letter, and the name of another prompt.
NOT_PLAIN = re.compile(r"[\d\[\](){}<>/\\|@=+_%$€¥&#*~^\ufffd]|\?\s+[^\W\d_A-ZÀ-ÞА-ЯЁ]|\bvm-")


def plain(recording: Recording) -> bool:
    """Whether the text can only be read in one way; a single letter may stand for its name."""
    text = recording.text or ""
    letters = sum(c.isalpha() for c in text)
    return letters > (0 if recording.language == "ml" else 1) and not NOT_PLAIN.search(text)


def split_of(text: str) -> str:
    """80/10/10 by a hash of the letters alone, so case and punctuation do not part a sentence."""
    folded = unicodedata.normalize("NFC", text).casefold()
    key = "".join(c for c in folded if unicodedata.category(c)[0] in "LMN")
    bucket = int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % 10
    return SPLITS[max(0, bucket - 7)]


def convert(recording: Recording, target: Path) -> tuple[float, str | None]:
    """Write one recording as FLAC: its duration in seconds, or why it was not written."""
    try:
        wave_S = read_audio(recording.path)
    except UserError as error:
        return 0.0, str(error)
    reason = unusable(wave_S, recording.text if plain(recording) else None)
    if reason is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_flac(target, wave_S)
    return len(wave_S) / SAMPLE_RATE, reason


def unusable(wave_S: np.ndarray, text: str | None) -> str | None:
    """Why a recording cannot be used: no sound, or a text that does not fit its length.

    Reading is 8 to 20 letters a second. Only what nobody can say is refused: above 32, and below 2
    where the voice goes on for more than 3 s (a short word may be drawn out).
    """
    frames = len(wave_S) // HOP
    if frames < 10:
        return "shorter than 0.1 s"
    power_T = np.square(wave_S[: frames * HOP].reshape(frames, HOP)).mean(axis=1)
    if power_T.max() < 1e-5:  # -50 dB of full scale
        return "no sound"
    active = np.flatnonzero(power_T > power_T.max() * 1e-3)
    seconds = (active[-1] - active[0] + 1) / 100
    rate = sum(c.isalpha() for c in text or "") / seconds
    if text and (rate > 32 or (rate < 2 and seconds > 3)):
        return f"{rate:.1f} letters a second: the text is not what is said"
    return None
