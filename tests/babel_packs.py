"""Miniature BABEL packs: real layouts and names, murmur for speech."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from tests.audio.shorten_writer import ULAW_2, encode

SEGMENT_SECONDS = 1.25


@dataclass
class Pack:
    """One release, `root/<wrapper>/conversational/...`."""

    root: Path
    code: str = "103"
    wrapper: str = "IARPA_BABEL_OP1_103/release-current"

    @property
    def folder(self) -> Path:
        return self.root / self.wrapper

    def call(
        self,
        part: str,
        name: str,
        transcript: str | None,
        seconds: float = 5.0,
        roman: str | None = None,
        suffix: str = "sph",
        rate: int = 8000,
        portion: str = "conversational",
    ) -> Path:
        """A recording named BABEL_OP1_<code>_<name>, and its transcripts; returns its path."""
        stem = f"BABEL_OP1_{self.code}_{name}"
        here = self.folder / portion / part
        audio = here / "audio" / f"{stem}.{suffix}"
        write_telephone(audio, sum(map(ord, name)), seconds, rate)
        for kind, text in (("transcription", transcript), ("transcript_roman", roman)):
            if text is not None:
                write_transcript(here / kind / f"{stem}.txt", text)
        return audio

    def lexicon(self, text: str, name: str = "lexicon.txt") -> None:
        path = self.folder / "conversational/reference_materials" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def write_transcript(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_telephone(path: Path, seed: int, seconds: float, rate: int = 8000) -> None:
    """Mu-law SPHERE (.sph), the same compressed by shorten (.shn.sph), or 16-bit .wav."""
    random = np.random.default_rng(seed)
    time_S = np.arange(round(seconds * rate)) / rate
    wave_S = random.normal(0, 0.1, len(time_S)) * np.sin(2 * np.pi * 3 * time_S + seed) ** 2
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".wav":
        soundfile.write(path, wave_S, rate)
    else:
        soundfile.write(path, wave_S, rate, format="NIST", subtype="ULAW")


def compress(path: Path) -> None:
    """The mu-law SPHERE file as LDC compresses it."""
    data = path.read_bytes()
    byte_S1 = np.frombuffer(data[1024:], np.uint8).astype(int)[:, None]
    value_S1 = np.where(byte_S1 > 127, 255 - byte_S1, byte_S1 - 128)
    head = data[:1024].replace(b"-s4 ulaw", b"-s26 ulaw,embedded-shorten-v2.00")
    path.write_bytes(head[:1024] + encode(value_S1, ULAW_2))


def turns(*texts: str) -> str:
    """A transcript of these texts, one each 1.25 s from 0."""
    lines = [f"[{n * SEGMENT_SECONDS:.3f}]\n{text}\n" for n, text in enumerate(texts)]
    return "".join([*lines, f"[{len(texts) * SEGMENT_SECONDS:.3f}]\n"])


NAMES = ("ana", "berta", "carla", "diana", "elena", "franca", "gina", "irene")


def make_conversations(root: Path, code: str, sentences: tuple[str, ...], callers: int = 6) -> Pack:
    """A pack for trainings: callers with both sides of a call in training, one in dev and eval.
    No two callers say the same sentence."""
    pack = Pack(root, code, f"{code}-miniature/release-current")
    for caller in range(callers + 2):
        part = "training" if caller < callers else "dev" if caller == callers else "eval"
        for side, line in enumerate(("inLine", "outLine")):
            said = [
                f"{sentences[(caller + side + n) % len(sentences)]} {NAMES[caller]}"
                for n in range(3)
            ]
            said[1] = f"<no-speech> {said[1]} <breath>"
            transcript = turns(*said, "<no-speech>", "(())") if part != "eval" else None
            name = f"{10_000 + caller}_20120101_0{caller:05d}_{line}"
            compress(pack.call(part, name, transcript, seconds=7.0))
    return pack
