"""The report as one HTML file without scripts or links to other files; everything is escaped.

Speakers of the language can judge the findings best, so the page contains audio: for some
utterances of each check an excerpt to play and its spectrogram.

    S samples
"""

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined

from speechx.audio.files import read_audio
from speechx.doctor.checks import Case
from speechx.doctor.diagnosis import Diagnosis, short, writable
from speechx.doctor.picture import EXCERPT_SECONDS, HEIGHT, WIDTH, excerpt, spectrogram
from speechx.errors import UserError

ROWS = 100  # per check; the JSON file has all
PLAYERS_PER_CHECK = 4
AUDIBLE = frozenset(
    ("past_end", "silent", "recording_leak", "duplicate", "infeasible", "duration",
     "band_limited", "clipped", "faint", "offset", "fast", "slow", "too_short", "unreadable")
)  # fmt: skip
"""Checks that a listener can judge."""


def page(diagnosis: Diagnosis, players: int = 24) -> str:
    """The whole page, with at most `players` excerpts, of as many checks as possible."""
    audible = [cases for check, cases in diagnosis.by_check.items() if check.name in AUDIBLE]
    each = min(PLAYERS_PER_CHECK, max(1, players // max(1, len(audible))))
    chosen = [case for cases in audible for case in cases[:each] if case.utterance][:players]
    environment = Environment(
        loader=PackageLoader("speechx.doctor", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["short"] = short
    environment.filters["sentence"] = lambda text: f"{text[0].upper()}{text[1:]}."
    html = environment.get_template("page.html").render(
        diagnosis=diagnosis, excerpts={case: _excerpt(case) for case in chosen}, rows=ROWS,
        seconds=EXCERPT_SECONDS, width=WIDTH, height=HEIGHT,
    )  # fmt: skip
    return writable(html)


def _excerpt(case: Case) -> dict[str, str] | None:
    """The URLs of a spectrogram and a few seconds of audio; None if the audio cannot be read."""
    u = case.utterance
    assert u is not None
    seconds = min(u.duration, EXCERPT_SECONDS)
    try:
        wave_S = read_audio(u.audio, u.start, seconds, part=u.bytes, tolerance=seconds)
    except (UserError, OSError, ValueError):
        return None
    parts = {"picture": ("image/png", spectrogram(wave_S)), "sound": excerpt(wave_S)}
    return {
        name: f"data:{mime};base64,{base64.b64encode(data).decode()}"
        for name, (mime, data) in parts.items()
    }
