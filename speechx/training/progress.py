"""Progress of a run: a bar on a terminal, plain lines elsewhere, JSON lines on disk."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from speechx.log import logger


class Progress:
    """Counts steps and seconds of audio, for people and, if given, for a log (JSON lines). A silent
    one shows and writes nothing."""

    def __init__(
        self, name: str, log: Path | None, steps: int, start: int, silent: bool = False
    ) -> None:
        self.name, self.log, self.steps, self.start, self.silent = name, log, steps, start, silent
        self.begun, self.audio, self.step = time.monotonic(), 0.0, start
        self.bar = None
        if sys.stderr.isatty() and not silent:
            from tqdm import tqdm

            shape = "{desc} {percentage:3.0f}% | {n}/{total} | {elapsed}<{remaining} | {postfix}"
            self.bar = tqdm(total=steps, initial=start, desc=name, bar_format=shape)

    def advance(self, step: int, audio_seconds: float) -> None:
        """`step` steps are done; the last one took `audio_seconds` of audio."""
        self.audio += audio_seconds
        if self.bar is not None:
            self.bar.update(step - self.step)
        self.step = step

    def report(self, values: Mapping[str, float | str]) -> None:
        """One line of the log, and one for people."""
        if self.silent:
            return
        spent = time.monotonic() - self.begun
        line = {"step": self.step, **values, "audio_seconds": self.audio, "seconds": spent}
        if self.log is not None:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        shown = "  ".join(f"{key} {_short(value)}" for key, value in values.items())
        speed = f"{self.audio / max(spent, 1e-9):.0f}x real time"
        if self.bar is not None:
            self.bar.set_postfix_str(f"{self.audio:.0f} s audio, {speed}  {shown}")
            return
        done = self.step - self.start
        left = spent / done * (self.steps - self.step) if done else 0.0
        logger.info(
            f"{self.name}: {self.step}/{self.steps}  {_clock(spent)}<{_clock(left)}  "
            f"{self.audio:.0f} s audio, {speed}  {shown}"
        )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class Bar:
    """Seconds of recordings: done of all, elapsed, left, speed. Only on a terminal."""

    def __init__(self, name: str, seconds: float) -> None:
        from tqdm import tqdm

        times = "{n:.0f}/{total:.0f} s | {elapsed}<{remaining} | {rate_fmt}"
        shape = "{desc}: {percentage:3.0f}% | " + times
        self.bar = tqdm(
            total=seconds,
            desc=name,
            bar_format=shape,
            unit="x",
            leave=False,
            disable=None,
            file=sys.stderr,
        )

    def reach(self, seconds: float) -> None:
        """`seconds` of the recordings are done."""
        self.bar.update(seconds - self.bar.n)

    def close(self) -> None:
        self.bar.close()


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
