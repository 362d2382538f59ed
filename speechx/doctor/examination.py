"""`speechx data doctor`: one report on everything that is wrong with manifests and their audio.

    diagnosis = examine(["data/cv"], out="data/cv/doctor", decode="sample")
    print(diagnosis.text())

Every header is read, the sound of a sample (or of all, or none) is decoded, every text is read.
With `out` it writes there

    doctor.html     the report for people, with players and spectrograms of what is suspicious
    doctor.json     the same for machines, every case in it
    exclude.tsv     the utterances that training should leave out: give it as data.exclude
    respell.tsv     proposed spellings, to be corrected and applied by `speechx data respell`

and changes nothing else. Manifests are read as a stream, more than once: a number or two are kept
of each utterance, and the utterance itself only where something is wrong with it.
"""

from __future__ import annotations

import random
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from speechx.corpora.engine.processes import PROCESSES
from speechx.data.exclusion import Key, write_exclusions
from speechx.data.manifest import Utterance
from speechx.doctor.audio_checks import by_header, by_length, by_sound
from speechx.doctor.balance import Balance
from speechx.doctor.checks import SILENT_DB, Case, to_exclude
from speechx.doctor.copies import Copy, copies, recordings, several
from speechx.doctor.diagnosis import Diagnosis, key_of, writable
from speechx.doctor.shelves import NO_SPEECH, Shelf, pick, shelves, stream, uses
from speechx.doctor.sound import Header, Place, Sound, all_bytes, header, listen, patience
from speechx.doctor.split_checks import SplitChecks, key_number, leak_cases, repeated
from speechx.doctor.text_checks import Target, TextChecks
from speechx.doctor.workers import CHUNK, in_parallel
from speechx.errors import UserError
from speechx.text.normalize import normalize

T = TypeVar("T")
Decode = Literal["none", "sample", "all"]
SAMPLE = 100  # utterances of each language that are listened to
SECONDS_BETWEEN_PROGRESS = 10.0
Numbered = tuple[int, Shelf, Utterance]
MOVED = 1000  # files; if so many at the start are absent, no more are opened
CLOSED = frozenset(("absent", "unreadable"))
"""Checks after which there is nothing to listen to."""


def examine(
    paths: Sequence[Path | str],
    out: Path | str | None = None,
    *,
    decode: Decode = "sample",
    sample: int = SAMPLE,
    model: Path | None = None,
    vocabulary: Path | None = None,
    alpha: float = 0.5,
    least_seconds: float = 0.0,
    most_seconds: float = 30.0,
    exclude: Iterable[str] = (),
    players: int = 24,
    seed: int = 1,
    processes: int = PROCESSES,
    log: Callable[[str], object] = print,
) -> Diagnosis:
    """Examines manifests, and all manifests under folders; writes to the folder `out`.

    `decode` says whose sound is heard: of nobody, of `sample` utterances of each language, of all.
    `model` gives the frames and units that labels must fit, `vocabulary` other units. `exclude`
    names soft checks whose utterances are excluded too. What is shorter than `least_seconds`, or
    labelled and longer than `most_seconds`, is counted, to see what a limit would cost. `players`
    is how many excerpts go into the page (0: no sound leaves its place).
    """
    if decode not in ("none", "sample", "all"):
        raise UserError(f"--decode {decode}: expected none, sample or all")
    if not 0 <= alpha <= 1:
        raise UserError(f"--alpha must be between 0 and 1, but is {alpha:g}")
    amounts = {"sample": sample, "players": players,
               "least-seconds": least_seconds, "most-seconds": most_seconds}  # fmt: skip
    for name, amount in amounts.items():
        if not amount >= 0:
            raise UserError(f"--{name} must be 0 or more, but is {amount:g}")
    excluding = to_exclude(exclude)
    target = Target.of(model, vocabulary)
    found = _Examination(
        shelves([Path(path) for path in paths]), TextChecks(target, excluding), processes, log
    )
    found.read((least_seconds, most_seconds), sample, seed)
    found.compare_files()
    if decode != "none" and not found.moved:
        found.listen(decode == "all")
    found.look_back(alpha, excluding)
    diagnosis = found.diagnosis(excluding, alpha, decode, sample, seed)
    if out is not None:
        write(diagnosis, Path(out), players)
    return diagnosis


def write(diagnosis: Diagnosis, out: Path, players: int) -> None:
    """The four files; what is there of an earlier examination is replaced."""
    from speechx.doctor.page import page
    from speechx.doctor.respelling import write_respellings

    out.mkdir(parents=True, exist_ok=True)
    (out / "doctor.json").write_text(diagnosis.to_json(), encoding="utf-8")
    (out / "doctor.html").write_text(page(diagnosis, players), encoding="utf-8")
    write_exclusions(out / "exclude.tsv", diagnosis.exclusions())
    write_respellings(out / "respell.tsv", diagnosis.respellings)


class _Examination:
    """The state between the passes over the manifests."""

    def __init__(
        self,
        some: Sequence[Shelf],
        texts: TextChecks,
        processes: int,
        log: Callable[[str], object],
    ) -> None:
        self.shelves, self.texts, self.processes, self.log = some, texts, processes, log
        self.target, self.splits, self.balance = texts.target, SplitChecks(), Balance()
        self.cases: list[tuple[int, Case]] = []
        self.looks = array("q")
        self.alike: dict[str, np.ndarray] = {}  # why two are one recording, and keys to compare
        self.not_listed: set[Key] = set()
        self.closed: set[int] = set()
        self.sampled: dict[str, list[Numbered]] = defaultdict(list)
        self.heard = 0
        self.moved = ""  # why no file is opened any more
        self.utterances, self.seconds = 0, 0.0

    def add(self, number: int, shelf: Shelf, u: Utterance, check: str, detail: str) -> None:
        self.cases.append((number, self.case(shelf, u, check, detail)))

    def case(self, shelf: Shelf, u: Utterance, check: str, detail: str) -> Case:
        return Case(check, u.id, detail, u.language, shelf.split, u)

    def read(self, limits: tuple[float, float], sample: int, seed: int) -> None:
        """Every line, every text, every header."""
        dice = random.Random(seed)
        seen: dict[str, int] = defaultdict(int)
        jobs = self._lines(limits)
        headers = self._at_work(header, jobs)
        absent: set[str] = set()  # files, while there is no other
        for (number, shelf, u), found in self._watched(headers, "headers"):
            broken = False
            for check, detail in by_header(u, found):
                self.add(number, shelf, u, check, detail)
                broken |= check in CLOSED
            if isinstance(found, Header):
                self.balance.amounts[u.corpus or "", u.language].rates[found.rate] += 1
            self.looks.append(found.look if isinstance(found, Header) else 0)
            if broken:
                self.closed.add(number)
                if len(self.closed) == number + 1 and self.cases[-1][1].check == "absent":
                    absent.add(str(u.audio))
                    if len(absent) == MOVED:
                        self._stop_opening(number + 1)
                        break
                continue
            # Algorithm R: every utterance of a language has the same chance, none is kept in vain.
            chosen = self.sampled[u.language]
            place = dice.randrange(seen[u.language] + 1)
            seen[u.language] += 1
            if len(chosen) < sample:
                chosen.append((number, shelf, u))
            elif place < sample:
                chosen[place] = (number, shelf, u)

        for _ in jobs if self.moved else ():
            pass  # their texts are read all the same
        self.looks.extend([0] * (self.utterances - len(self.looks)))

    def _stop_opening(self, utterances: int) -> None:
        """One case for all that is absent, since none of the first files is there."""
        first = next(case.utterance for _, case in self.cases if case.check == "absent")
        assert first is not None
        folders = ", ".join(sorted({str(shelf.path.parent) for shelf in self.shelves})[:3])
        self.moved = (
            f"none of the first {MOVED:,} files is there: was the corpus moved? Relative paths "
            f"start at the manifest's folder ({folders}), absolute ones are right on one machine "
            f"only; the first is {first.audio}"
        )
        self.log(writable(f"doctor: {self.moved}. No more are opened."))
        self.cases = [item for item in self.cases if item[1].check != "absent"]
        self.cases.append((-1, Case("absent", "", self.moved, count=utterances)))

    def _lines(self, limits: tuple[float, float]) -> Iterator[Numbered]:
        for shelf, u in stream(self.shelves):
            if isinstance(u, str):
                where, _, why = u.partition(": ")
                self.cases.append((-1, Case("line", where, why, split=shelf.split)))
                continue
            number = self.utterances
            self.utterances += 1
            self.seconds += u.duration
            normal = normalize(u.text or "", u.language)
            self.splits.read(shelf.split, u, normal)
            self.balance.read(shelf.split, u)
            for check, detail in by_length(u, self.target.frames, *limits):
                self.add(number, shelf, u, check, detail)
            for check, detail in self.texts.read(number, shelf.split, u, normal):
                self.add(number, shelf, u, check, detail)
            yield number, shelf, u

    def compare_files(self) -> None:
        """The same recording under two names, or listed twice; and the durations of files that
        several utterances share are taken back."""
        files = np.frombuffer(self.splits.columns["file"], np.int64)
        _, inverse, counts = np.unique(files, return_inverse=True, return_counts=True)
        alone = counts[inverse] == 1
        self.cases = [
            (number, case)
            for number, case in self.cases
            if case.check != "duration" or alone[number]
        ]
        looks = np.where(alone, np.frombuffer(self.looks, np.int64), 0)
        again, first = repeated(looks)
        alike = pick(self.shelves, {*again.tolist(), *first.tolist()})
        contents = np.zeros(len(alone), np.int64)
        jobs = ((number, shelf, u) for number, (shelf, u) in alike.items())
        for (number, _, _), content in self._at_work(all_bytes, jobs):
            contents[number] = content if isinstance(content, int) else 0
        self.alike["the file has the same bytes as that of"] = contents
        self.alike["the same stretch of the same file as"] = np.frombuffer(
            self.splits.columns["sound"], np.int64
        )

    def listen(self, everything: bool) -> None:
        """Decodes all or the sample. The samples of all can be compared too."""
        jobs: Iterable[Numbered]
        if everything:
            whole = ((shelf, u) for shelf, u in stream(self.shelves) if not isinstance(u, str))
            jobs = ((i, s, u) for i, (s, u) in enumerate(whole) if i not in self.closed)
        else:
            jobs = sorted(job for some in self.sampled.values() for job in some)
        samples = np.zeros(self.utterances, np.int64)
        heard = self._at_work(listen, jobs, chunk=16)
        for (number, shelf, u), sound in self._watched(heard, "listened to"):
            self.heard += 1
            for check, detail in by_sound(u, sound):
                if shelf.split != NO_SPEECH or check not in ("silent", "faint"):
                    self.add(number, shelf, u, check, detail)
            if isinstance(sound, Sound) and sound.loudest >= SILENT_DB:  # all silences are equal
                samples[number] = sound.samples
        self.alike["sample by sample the same as"] = samples

    def look_back(self, alpha: float, excluding: frozenset[str]) -> None:
        """What only the whole corpus shows."""
        paces = list(self.texts.odd_paces())
        leaks = {name: self.splits.on_both_sides(name) for name in ("speaker", "sentence")}
        ids = self.splits.repeats("id")
        wanted = {
            *(n for n, *_ in paces),
            *ids.tolist(),
            *(i for some in leaks.values() for i in some.tolist()),
        }
        some = pick(self.shelves, wanted)
        for number in ids.tolist():
            shelf, u = some[number]
            self.add(number, shelf, u, "repeated_id", f"again in {shelf.path}")
        odd = [(number, self.case(*some[number], check, detail)) for number, check, detail in paces]
        self.compare(excluding, {n for n, case in odd if case.check in excluding})
        later = [case for _, case in odd]
        later += self.texts.cases()
        for name, numbers in leaks.items():
            both = [(some[i][0].split, some[i][1]) for i in numbers.tolist()]
            later += leak_cases(f"{name}_leak", both)
        self.cases += [(self.utterances, case) for case in [*later, *self.balance.cases(alpha)]]
        self.cases.sort(key=lambda item: item[0])

    def compare(self, excluding: frozenset[str], bad: set[int]) -> None:
        """What is said twice, once it is known what else is wrong: also with those of `bad`."""
        ids = np.frombuffer(self.splits.columns["id"], np.int64)
        recording = recordings(list(self.alike.values()))
        ambiguous = several(ids, recording)
        bad = bad | {n for n, case in self.cases if n >= 0 and case.check in excluding}
        gone = np.zeros(len(ids), bool)
        gone[list(bad)] = True
        gone |= np.isin(ids, ids[gone & ~ambiguous])  # a list takes every line of an id
        side = np.frombuffer(self.splits.side, np.int8)
        found = list(copies(recording, ids, side, gone))
        bad |= {copy.number for copy in found}
        twice = sorted(n for n in bad if ambiguous[n])
        namesakes: dict[int, list[int]] = defaultdict(list)
        for n in np.flatnonzero(np.isin(ids, ids[twice])).tolist() if twice else ():
            namesakes[ids[n]].append(n)
        for number in twice:
            other = next(n for n in namesakes[ids[number]] if recording[n] != recording[number])
            found.append(Copy("ambiguous_id", number, other))
        some = pick(self.shelves, {n for copy in found for n in (copy.number, copy.stays)})
        for copy in found:
            (shelf, u), (place, kept) = some[copy.number], some[copy.stays]
            if copy.check == "ambiguous_id":
                self.not_listed.add(key_of(u))
                why = f"id {u.id} of {u.language} is another recording in {place.path}"
            else:
                why = f"{self._why(copy)} {kept.id}"
                why += "" if place == shelf else f" in {place.split}"
                why += "" if u.text == kept.text else ", but the texts differ"
            if copy.check == "recording_leak" and ids[copy.number] == ids[copy.stays]:
                self.not_listed.add(key_of(u))
                why += f", by the same id: no list can tell them apart, remove it from {shelf.path}"
            self.add(copy.number, shelf, u, copy.check, why)

    def _why(self, copy: Copy) -> str:
        for why, keys in self.alike.items():
            if keys[copy.number] == keys[copy.stays] != 0:
                return why
        return "by a third the same recording as"

    def diagnosis(
        self, excluding: frozenset[str], alpha: float, decode: Decode, sample: int, seed: int
    ) -> Diagnosis:
        found = Diagnosis(
            manifests=tuple(str(shelf.path) for shelf in self.shelves),
            utterances=self.utterances,
            seconds=self.seconds,
            cases=tuple(case for _, case in self.cases),
            excluding=excluding,
            balance=self.balance,
            respellings=tuple(self.texts.letters.respellings()),
            alpha=alpha,
            notes=tuple(self._notes(decode, sample, seed)),
            not_listed=frozenset(self.not_listed),
            moved=self.moved,
        )
        out = [key_number(key_of(c.utterance)) for c in found.excluded if c.utterance is not None]
        ids = np.frombuffer(self.splits.columns["id"], np.int64)
        lost = pick(self.shelves, np.flatnonzero(np.isin(ids, out)).tolist())
        for shelf, u in lost.values():
            self.balance.exclude(shelf.split, u)
        return replace(found, lost=(len(lost), sum(u.duration for _, u in lost.values())))

    def _notes(self, decode: Decode, sample: int, seed: int) -> Iterator[str]:
        heard = {
            "none": "no sound was decoded: silence, clipping, damage and band-limits go unnoticed",
            "sample": f"the sound of {self.heard:,} was decoded, up to {sample} of each language "
            f"(seed {seed}); --decode all hears every one",
            "all": f"the sound of all {self.heard:,} that open was decoded",
        }
        if self.moved:
            yield f"No sound was examined: {self.moved}."
        else:
            yield f"Every text and every header was read; {heard[decode]}."
        yield uses(self.shelves)
        yield f"Labels were measured against {self.target.name}."
        if few := self.texts.unjudged():
            yield f"Too few labelled utterances to judge the pace of {', '.join(few)}."
        shared = [f"{len(self.splits.on_both_sides(name)):,} by a {name}"
                  for name in ("speaker", "sentence")]  # fmt: skip
        if scored := self.splits.scored():
            yield f"Of {scored:,} utterances in dev and test train knows {', '.join(shared)}."

    def _at_work(
        self, work: Callable[[Place], T], jobs: Iterable[Numbered], chunk: int = CHUNK
    ) -> Iterator[tuple[Numbered, T | str]]:
        def place(job: Numbered) -> Place:
            return Place.of(job[2])

        return in_parallel(work, jobs, place, self.processes, chunk, patience)

    def _watched(self, results: Iterable[T], what: str) -> Iterator[T]:
        said = time.monotonic()
        for done, result in enumerate(results, start=1):
            if time.monotonic() - said > SECONDS_BETWEEN_PROGRESS:
                said = time.monotonic()
                self.log(f"doctor: {what} {done:,} utterances")
            yield result
