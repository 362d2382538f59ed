"""A score as one HTML file, without scripts or links to other files: its tables, and the worst
utterances token by token, with their sound where it is known.

    S samples
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from speechx.audio.files import read_audio
from speechx.data.utterance import Utterance
from speechx.decoding.confusions import aligned
from speechx.decoding.phone_details import PhoneDetails
from speechx.decoding.scoring import Score, Scored, alignments, ranked_speakers
from speechx.doctor.diagnosis import writable
from speechx.doctor.picture import EXCERPT_SECONDS, excerpt
from speechx.errors import UserError
from speechx.wording import percent

SHOWN = 30  # utterances on a page
SPEAKERS = 50  # of a table
SPACE = "␣"  # as a token


@dataclass(frozen=True, slots=True)
class Shown:
    """An utterance on the page. `pairs`: a token of the reference, a token that was written, and
    their class in the style sheet. `sound` is a URL with the data, None if there is none."""

    scored: Scored
    edits: int
    pairs: list[tuple[str, str, str]]
    sound: str | None
    seconds: float | None


def score_page(
    title: str,
    scores: Mapping[str, Any],
    utterances: Sequence[Scored],
    audio: Mapping[tuple[str, str], Utterance | None],
    details: PhoneDetails | None = None,
) -> str:
    """The whole page. `utterances` are the tokens of the first score, `audio` their recordings by
    language and id."""
    environment = Environment(
        loader=PackageLoader("speechx", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = percent
    shown = _worst(utterances, audio)
    first = next(iter(scores.values()))
    html = environment.get_template("score_page.html").render(
        title=title,
        scores=scores,
        details=details,
        matrices=details.confusions.matrices() if details else {},
        speakers=ranked_speakers(first) if isinstance(first, Score) else [],
        most_speakers=SPEAKERS,
        shown=shown,
        total=len(utterances),
        players=sum(each.sound is not None for each in shown),
        seconds=EXCERPT_SECONDS,
    )
    return writable(html)


def _worst(
    utterances: Sequence[Scored], audio: Mapping[tuple[str, str], Utterance | None]
) -> list[Shown]:
    """The utterances with the highest rates, then with the most edits."""
    chunks = alignments([u.reference for u in utterances], [u.hypothesis for u in utterances])
    pairs = [list(aligned(u, some)) for u, some in zip(utterances, chunks, strict=True)]
    edits = [sum(wanted != written for wanted, written in some) for some in pairs]

    def order(n: int) -> tuple[float, int, str]:
        return -edits[n] / max(len(utterances[n].reference), 1), -edits[n], utterances[n].id

    worst = sorted((n for n in range(len(utterances)) if edits[n]), key=order)[:SHOWN]
    return [
        _shown(u, edits[n], pairs[n], audio.get((u.language, u.id)))
        for n in worst
        for u in (utterances[n],)
    ]


def _shown(
    scored: Scored, edits: int, pairs: Sequence[tuple[str, str]], u: Utterance | None
) -> Shown:
    marked = [
        (
            wanted.replace(" ", SPACE),
            written.replace(" ", SPACE),
            _kind(wanted, written),
        )
        for wanted, written in pairs
    ]
    return Shown(scored, edits, marked, _sound(u) if u else None, u.duration if u else None)


def _kind(wanted: str, written: str) -> str:
    if wanted == written:
        return "same"
    if wanted and written:
        return "sub"
    return "del" if wanted else "ins"


def _sound(u: Utterance) -> str | None:
    """The first seconds as a URL; None if they cannot be read."""
    seconds = min(u.duration, EXCERPT_SECONDS)
    try:
        wave_S = read_audio(u.audio, u.start, seconds, part=u.bytes, tolerance=seconds)
    except (UserError, OSError, ValueError):
        return None
    mime, data = excerpt(wave_S)
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
