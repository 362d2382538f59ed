"""`speechx data doctor`: one report on everything that is wrong with manifests and their audio.

    diagnosis = examine(["data/cv"], out="data/cv/doctor", options=DoctorOptions(decode="all"))
    print(diagnosis.text())

Every header and every text is read; the audio of a sample (or of all utterances, or none) is
decoded. With `out` it writes

    doctor.html     the report for people, with players and spectrograms of suspicious utterances
    doctor.json     the report for programs, with every case
    exclude.tsv     the utterances that training should leave out: give it as data.exclude
    respell.tsv     proposed text replacements: correct them and apply `speechx data respell`

and changes nothing else. Manifests are read as a stream, several times: a few numbers are kept of
each utterance, and the utterance itself only if something is wrong with it.
"""

import random
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np

from speechx.corpora.babel.reader import NO_SPEECH
from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.processes import PROCESSES, watched
from speechx.data.exclusion import Key, write_exclusions
from speechx.data.manifest import Utterance
from speechx.doctor import manifests, sharing, sound
from speechx.doctor.balance import Balance
from speechx.doctor.checks import SILENT_DB, Case, to_exclude
from speechx.doctor.diagnosis import Diagnosis, key_of, writable
from speechx.doctor.manifests import Numbered, find_manifests, select
from speechx.doctor.text_checks import Target, TextChecks
from speechx.doctor.workers import CHUNK, in_parallel
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.normalize import normalize
from speechx.whole_file import write_whole

T = TypeVar("T")
Decode = Literal["none", "sample", "all"]


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    decode: Decode = "sample"
    """Audio to decode: of no utterance, of `sample` utterances per language, or of all."""
    sample: int = 100
    model: Path | None = None  # that the labels must fit
    vocabulary: Path | None = None  # to be used instead of the model's
    alpha: float = 0.5
    least_seconds: float = 0.0  # shorter utterances are counted, to show what a limit costs
    most_seconds: float = 30.0  # longer labelled utterances are counted
    exclude: Sequence[str] = ()  # soft checks whose utterances are excluded too
    players: int = 24  # excerpts in the page; with 0 it contains no audio
    seed: int = 1
    missing_files: int = 1000  # at the start, after which no more files are opened
    seconds_per_file: float = 60.0  # and one more per MB, is the time limit

    def __post_init__(self) -> None:
        if self.decode not in get_args(Decode):
            raise UserError(f"--decode {self.decode}: expected none, sample or all")
        if not 0 <= self.alpha <= 1:
            raise UserError(f"--alpha must be between 0 and 1, but is {self.alpha:g}")
        for name in ("sample", "players", "least_seconds", "most_seconds"):
            if not (amount := getattr(self, name)) >= 0:
                raise UserError(f"--{name.replace('_', '-')} must be 0 or more, but is {amount:g}")


def examine(
    paths: Sequence[Path | str],
    out: Path | str | None = None,
    options: DoctorOptions | None = None,
    processes: int = PROCESSES,
) -> Diagnosis:
    """Examines manifests, and all manifests under folders; writes the report to `out`."""
    options = options or DoctorOptions()
    diagnosis = _Examination(find_manifests(paths), options, processes).run()
    if out is not None:
        write(diagnosis, Path(out), options.players)
    return diagnosis


def write(diagnosis: Diagnosis, out: Path, players: int) -> None:
    """Writes the four files, which replace the files of an earlier examination."""
    from speechx.data.text_replacements import write_replacements
    from speechx.doctor.page import page

    write_whole(out / "doctor.json", diagnosis.to_json())
    write_whole(out / "doctor.html", page(diagnosis, players))
    write_exclusions(out / "exclude.tsv", diagnosis.exclusions())
    write_replacements(out / "respell.tsv", diagnosis.replacements)


class _Examination:
    """The state between the passes over the manifests."""

    def __init__(self, files: Sequence[Path], options: DoctorOptions, processes: int) -> None:
        self.manifests, self.options, self.processes = files, options, processes
        self.excluding = to_exclude(options.exclude)
        self.target = Target.of(options.model, options.vocabulary)
        self.texts = TextChecks(self.target, self.excluding)
        self.splits, self.balance = sharing.UtteranceKeys(), Balance()
        self.cases: list[tuple[int, Case]] = []
        self.fingerprints = array("q")
        self.alike: dict[str, np.ndarray] = {}  # why recordings are equal, and keys to compare
        self.not_listed: set[Key] = set()
        self.unreadable: set[int] = set()
        self.sampled: dict[str, list[Numbered]] = defaultdict(list)
        self.utterances, self.seconds, self.decoded = 0, 0.0, 0
        self.moved = ""  # why no more files are opened

    def run(self) -> Diagnosis:
        self.read()
        self.compare_files()
        if self.options.decode != "none" and not self.moved:
            self.decode()
        self.compare_utterances()
        return self.diagnosis()

    def add(self, job: Numbered, findings: Iterable[tuple[str, str]]) -> set[str]:
        """Adds a case for each finding; returns the names of the checks."""
        cases = [_case(job, *finding) for finding in findings]
        self.cases += cases
        return {case.check for _, case in cases}

    def read(self) -> None:
        """Reads every line, every text and every header."""
        draw = random.Random(self.options.seed)
        seen: Counter[str] = Counter()
        missing: set[str] = set()  # files, as long as no other is found
        jobs = self._lines()
        for job, header in self._watched(sound.read_header, jobs, "headers"):
            number, _, u = job
            failed = self.add(job, sound.by_header(u, header))
            if isinstance(header, sound.Header):
                self.fingerprints.append(header.fingerprint)
                self.balance.of(u).rates[header.rate] += 1
                # Algorithm R: all utterances of a language have the same chance.
                chosen = self.sampled[u.language]
                place = draw.randrange(seen[u.language] + 1)
                seen[u.language] += 1
                if len(chosen) < self.options.sample:
                    chosen.append(job)
                elif place < self.options.sample:
                    chosen[place] = job
                continue
            self.fingerprints.append(0)
            self.unreadable.add(number)
            if len(self.unreadable) == number + 1 and "absent" in failed:
                missing.add(str(u.audio))
                if len(missing) == self.options.missing_files:
                    self._stop_opening(number + 1)
                    break
        for _ in jobs if self.moved else ():
            pass  # the texts are read all the same
        self.fingerprints.extend([0] * (self.utterances - len(self.fingerprints)))

    def _lines(self) -> Iterator[Numbered]:
        limits = self.options.least_seconds, self.options.most_seconds
        for manifest, u in manifests.stream(self.manifests):
            if isinstance(u, Problem):
                self.cases.append((-1, Case("line", u.where, u.why, split=manifest.stem)))
                continue
            job = self.utterances, manifest, u
            self.utterances += 1
            self.seconds += u.duration
            normal = normalize(u.text or "", u.language)
            self.splits.read(manifest.stem, u, normal)
            self.balance.read(manifest.stem, u)
            self.add(job, sound.by_length(u, self.target.frames, *limits))
            self.add(job, self.texts.read(job[0], manifest.stem, u, normal))
            yield job

    def _stop_opening(self, count: int) -> None:
        """Replaces the cases of missing files by one for all of them."""
        first = next(case.utterance for _, case in self.cases if case.check == "absent")
        assert first is not None
        folders = ", ".join(sorted({str(manifest.parent) for manifest in self.manifests})[:3])
        self.moved = (
            f"none of the first {self.options.missing_files:,} files exists: was the corpus moved? "
            f"Relative paths start at the manifest's folder ({folders}), absolute ones are valid "
            f"on one machine only; the first is {first.audio}"
        )
        logger.info(writable(f"doctor: {self.moved}. No more files are opened."))
        self.cases = [item for item in self.cases if item[1].check != "absent"]
        self.cases.append((-1, Case("absent", "", self.moved, count=count)))

    def compare_files(self) -> None:
        """Finds files with the same bytes, and utterances that are listed twice; removes the
        different durations of files that several utterances share."""
        files = self.splits.keys("file")
        _, inverse, counts = np.unique(files, return_inverse=True, return_counts=True)
        alone = counts[inverse] == 1
        self.cases = [(n, c) for n, c in self.cases if c.check != "duration" or alone[n]]
        fingerprints = np.frombuffer(self.fingerprints, np.int64)
        again, first = sharing.repeated(np.where(alone, fingerprints, 0))
        jobs = select(self.manifests, {*again.tolist(), *first.tolist()}).values()
        contents = np.zeros(len(alone), np.int64)
        for job, content in self._watched(sound.hash_bytes, jobs, "compared"):
            contents[job[0]] = content if isinstance(content, int) else 0
        self.alike["the file has the same bytes as that of"] = contents
        self.alike["the same segment of the same file as"] = self.splits.keys("sound")

    def decode(self) -> None:
        """Decodes the sample or all utterances, whose samples can be compared too."""
        jobs = manifests.numbered(self.manifests)
        if self.options.decode == "sample":
            jobs = iter(sorted(job for chosen in self.sampled.values() for job in chosen))
        readable = (job for job in jobs if job[0] not in self.unreadable)
        samples = np.zeros(self.utterances, np.int64)
        for job, found in self._watched(sound.measure, readable, "decoded", chunk=16):
            self.decoded += 1
            quiet = ("silent", "faint") if job[1].stem == NO_SPEECH else ()
            self.add(job, (f for f in sound.by_sound(job[2], found) if f[0] not in quiet))
            if isinstance(found, sound.Sound) and found.loudest >= SILENT_DB:  # silences are equal
                samples[job[0]] = found.samples
        self.alike["sample by sample the same as"] = samples

    def compare_utterances(self) -> None:
        """Checks that need the whole corpus."""
        paces = self.texts.odd_paces()
        leaks = {name: self.splits.leaks(name) for name in sharing.SHARED}
        ids = sharing.repeated(self.splits.keys("id"))[0].tolist()
        wanted = {*(n for n, *_ in paces), *ids, *(n for some in leaks.values() for n in some)}
        found = select(self.manifests, wanted)
        for number in ids:
            self.add(found[number], [("repeated_id", f"again in {found[number][1]}")])
        odd = [_case(found[number], check, detail) for number, check, detail in paces]
        self.compare_recordings({n for n, case in odd if case.check in self.excluding})
        later = [*(case for _, case in odd), *self.texts.cases()]
        for name, numbers in leaks.items():
            later += sharing.leak_cases(name, (found[n][1:] for n in numbers))
        later += self.balance.cases(self.options.alpha)
        self.cases += [(self.utterances, case) for case in later]
        self.cases.sort(key=lambda item: item[0])

    def compare_recordings(self, bad: set[int]) -> None:
        """Finds duplicates and leaks. Utterances that are `bad`, or excluded by a case so far, are
        not kept in place of good ones."""
        ids, side = self.splits.keys("id"), self.splits.side
        recording = sharing.recordings(list(self.alike.values()))
        ambiguous = sharing.several(ids, recording)
        bad = bad | {n for n, case in self.cases if n >= 0 and case.check in self.excluding}
        gone = np.zeros(len(ids), bool)
        gone[list(bad)] = True
        gone |= np.isin(ids, ids[gone & ~ambiguous])  # a list excludes every line of an id
        found = list(sharing.duplicates(recording, ids, side, gone))
        bad |= {number for _, number, _ in found}
        shared = sorted(n for n in bad if ambiguous[n])
        rows_of: dict[int, list[int]] = defaultdict(list)
        for n in np.flatnonzero(np.isin(ids, ids[shared])).tolist() if shared else ():
            rows_of[ids[n]].append(n)
        for number in shared:
            row = next(n for n in rows_of[ids[number]] if recording[n] != recording[number])
            found.append(("ambiguous_id", number, row))
        utterances = select(self.manifests, {n for _, *both in found for n in both})
        for check, number, first in found:
            (_, manifest, u), (_, other, kept) = utterances[number], utterances[first]
            if check == "ambiguous_id":
                self.not_listed.add(key_of(u))
                why = f"id {u.id} of {u.language} is another recording in {other}"
            else:
                why = f"{self._why(number, first)} {kept.id}"
                why += "" if other == manifest else f" in {other.stem}"
                why += "" if u.text == kept.text else ", but the texts differ"
            if check == "recording_leak" and ids[number] == ids[first]:
                self.not_listed.add(key_of(u))
                why += f", with the same id: remove it from {manifest}"
            self.add(utterances[number], [(check, why)])

    def _why(self, number: int, first: int) -> str:
        reasons = (why for why, keys in self.alike.items() if keys[number] == keys[first] != 0)
        return next(reasons, "through a third the same recording as")

    def diagnosis(self) -> Diagnosis:
        found = Diagnosis(
            manifests=tuple(map(str, self.manifests)),
            utterances=self.utterances, seconds=self.seconds, balance=self.balance,
            cases=tuple(case for _, case in self.cases), excluding=self.excluding,
            replacements=tuple(self.texts.letters.replacements()), alpha=self.options.alpha,
            notes=tuple(self._notes()), not_listed=frozenset(self.not_listed), moved=self.moved,
        )  # fmt: skip
        out = list(map(sharing.key_number, found.excluded))
        listed = np.flatnonzero(np.isin(self.splits.keys("id"), out)).tolist()
        excluded = select(self.manifests, listed)
        for _, manifest, u in excluded.values():
            self.balance.exclude(manifest.stem, u)
        lost = len(excluded), sum(u.duration for _, _, u in excluded.values())
        return replace(found, lost=lost)

    def _notes(self) -> Iterator[str]:
        options = self.options
        decoded = {
            "none": "no audio was decoded: silence, clipping and damage were not checked",
            "sample": f"the audio of {self.decoded:,} utterances was decoded, up to "
            f"{options.sample} per language (seed {options.seed}); --decode all decodes every one",
            "all": f"the audio of all {self.decoded:,} readable utterances was decoded",
        }
        if self.moved:
            yield f"No audio was examined: {self.moved}."
        else:
            yield f"Every text and every header was read; {decoded[options.decode]}."
        yield manifests.describe_use(self.manifests)
        yield f"Labels were compared with {self.target.name}."
        if few := self.texts.unjudged():
            yield f"Too few labelled utterances to check the pace of {', '.join(few)}."
        if evaluated := (self.splits.side == sharing.EVALUATION).sum():
            counts = {name: len(self.splits.leaks(name)) for name in sharing.SHARED}
            shared = ", ".join(f"a {name} ({count:,})" for name, count in counts.items())
            yield f"Of {evaluated:,} utterances in dev and test, some share with train: {shared}."

    def _watched(
        self,
        work: Callable[[Utterance], T],
        jobs: Iterable[Numbered],
        what: str,
        chunk: int = CHUNK,
    ) -> Iterator[tuple[Numbered, T | Problem]]:
        seconds = partial(sound.patience, per_file=self.options.seconds_per_file)
        results = in_parallel(work, jobs, itemgetter(2), self.processes, chunk, seconds)
        return watched(results, None, f"doctor: {what}", "utterances")


def _case(job: Numbered, check: str, detail: str) -> tuple[int, Case]:
    number, manifest, u = job
    return number, Case(check, u.id, detail, u.language, manifest.stem, u)
