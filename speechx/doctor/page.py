"""The report as one HTML file: no scripts, nothing fetched, everything that came from data escaped.

It is read by people who know the language better than the computer, so the sounds come with it:
for some utterances of each check an excerpt to play and its spectrogram.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources

from speechx.audio.files import read_audio
from speechx.doctor.checks import Case, Check
from speechx.doctor.diagnosis import Diagnosis, short, writable
from speechx.doctor.picture import EXCERPT_SECONDS, HEIGHT, WIDTH, excerpt, spectrogram
from speechx.errors import UserError

ROWS = 100  # of one check; the JSON file has all
PLAYERS_EACH = 4
TO_HEAR = frozenset(
    ("past_end", "silent", "recording_leak", "duplicate", "infeasible", "duration",
     "band_limited", "clipped", "faint", "offset", "fast", "slow", "too_short", "unreadable")
)  # fmt: skip
"""Checks that an ear can judge."""


def page(diagnosis: Diagnosis, players: int = 24) -> str:
    """The whole page; `players` excerpts at most, of as many checks as can be."""
    audible = [cases for check, cases in diagnosis.by_check.items() if check.name in TO_HEAR]
    each = min(PLAYERS_EACH, max(1, players // max(1, len(audible))))
    heard = [case for cases in audible for case in cases[:each] if case.utterance][:players]
    body = "\n".join(_body(diagnosis, {id(case) for case in heard}))
    style = resources.files("speechx.doctor").joinpath("page.css").read_text(encoding="utf-8")
    return writable(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; img-src data:; media-src data:\">\n"
        f"<title>speechx data doctor</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _body(diagnosis: Diagnosis, heard: set[int]) -> Iterator[str]:
    yield f"<header><h1>Data doctor</h1><p class=lead>{escape(diagnosis.headline())}</p>"
    mood = "bad" if diagnosis.serious else "good"
    yield f'<p class="verdict {mood}">{escape(diagnosis.verdict())}</p></header>'
    yield from _overview(diagnosis)
    for check, cases in diagnosis.by_check.items():
        yield from _section(diagnosis, check, cases, heard)
    yield "<section id=balance><h2>Hours and languages</h2><p>Shares of an epoch and how often it "
    yield "repeats each utterance, if languages are mixed by hours to the power of alpha; dev and "
    yield "test do not count, nor does what is left out.</p>"
    yield f"{_table(diagnosis.balance.table(diagnosis.alphas))}</section>"
    if len(filters := diagnosis.filters()) > 3:
        yield "<section id=filters><h2>What each check costs</h2><p>Or would, if its utterances "
        yield "were left out; one with several faults is in several rows.</p>"
        yield f"{_table(filters)}</section>"
    yield "<footer><h2>How this was made</h2>"
    yield "".join(f"<p>{escape(note)}</p>" for note in diagnosis.notes)
    if heard:
        yield (
            f"<p>This page holds the first {EXCERPT_SECONDS:g} seconds of {len(heard)} recordings; "
            "mind that before it is passed on (--players 0 makes one without).</p>"
        )
    some = diagnosis.manifests
    names = "".join(f"<li>{escape(name)}</li>" for name in some[:ROWS])
    more = f"<li>and {len(some) - ROWS} more</li>" if len(some) > ROWS else ""
    yield f"<details><summary>{len(some)} manifests</summary><ul>{names}{more}</ul></details>"
    yield "</footer>"


def _overview(diagnosis: Diagnosis) -> Iterator[str]:
    for hard, title in ((True, "To leave out"), (False, "To look at")):
        some = [(c, cases) for c, cases in diagnosis.by_check.items() if c.hard == hard]
        if some:
            yield f"<nav><h2>{title}</h2><ul>"
            for check, cases in some:
                yield (
                    f"<li><a href=#{check.name}><b>{len(cases):,}</b>{escape(check.title)}</a></li>"
                )
            yield "</ul></nav>"


def _section(
    diagnosis: Diagnosis, check: Check, cases: Sequence[Case], heard: set[int]
) -> Iterator[str]:
    kind = "hard" if check.hard else "soft"
    excluded = any(map(diagnosis.listed, cases))
    fate = "left out" if excluded else "to be mended" if check.hard else "kept"
    yield f"<section id={check.name} class={kind}><h2>{escape(check.title)} <small>{fate}</small>"
    yield f"</h2><p>{escape(_sentence(check.rule))} <i>{escape(_sentence(check.advice))}</i></p>"
    players = [case for case in cases if id(case) in heard]
    if players:
        yield "<div class=players>"
        yield from map(_player, players)
        yield "</div>"
    yield "<details open>" if len(cases) <= 10 else "<details>"
    shown = f"the first {ROWS} of {len(cases):,}" if len(cases) > ROWS else f"all {len(cases)}"
    yield f"<summary>{shown}</summary><table><tr><th>language<th>split<th>what<th>found"
    written = any(case.utterance is not None for case in cases)
    yield "<th>text</tr>" if written else "<th class=n>utterances</tr>"
    for case in cases[:ROWS]:
        text = case.utterance.text if case.utterance is not None else None
        last = (
            f"<td class=text>{escape(short(text or '', 120))}"
            if written
            else f"<td class=n>{case.count:,}"
        )
        cells = (case.language, case.split, short(case.subject, 60), case.detail)
        yield f"<tr>{''.join(f'<td>{escape(cell)}' for cell in cells)}{last}</tr>"
    yield "</table></details></section>"


def _player(case: Case) -> str:
    """The picture, the sound and the text of one utterance; why there is none if there is none."""
    u = case.utterance
    assert u is not None
    told = f"<figcaption><b>{escape(short(case.detail, 90))}</b><br>"
    told += f"{escape(short(u.text or ' '.join(u.phones or ()), 120))}<br>"
    told += f"<small>{escape(case.language)} {escape(short(u.id, 40))}, {u.duration:.2f} s</small>"
    try:
        seconds = min(u.duration, EXCERPT_SECONDS)
        wave_S = read_audio(u.audio, u.start, seconds, part=u.bytes, tolerance=seconds)
    except (UserError, OSError, ValueError):
        return f"<figure class=none><p>cannot be played</p>{told}</figcaption></figure>"
    picture = base64.b64encode(spectrogram(wave_S)).decode()
    mime, sound = excerpt(wave_S)
    coded = base64.b64encode(sound).decode()
    return (
        f'<figure><div><img alt="spectrogram, 0 to 8 kHz" width={WIDTH} height={HEIGHT} '
        f'src="data:image/png;base64,{picture}"></div>'
        f'<audio controls preload=none src="data:{mime};base64,{coded}"></audio>'
        f"{told}</figcaption></figure>"
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = [[escape(cell) for cell in row] for row in rows]
    lines = ["<tr>" + "".join(f"<th{_number(i)}>{cell}" for i, cell in enumerate(head)) + "</tr>"]
    for row in rest:
        lines.append(
            "<tr>" + "".join(f"<td{_number(i)}>{cell}" for i, cell in enumerate(row)) + "</tr>"
        )
    return f"<div class=wide><table>{''.join(lines)}</table></div>"


def _number(column: int) -> str:
    return " class=n" if column else ""


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
