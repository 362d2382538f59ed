"""JSON in whisper's shape, with `phones` and durations."""

import json
from dataclasses import fields
from typing import Any

from speechx.decoding.mapping import EXACT, Mapping
from speechx.transcription.result import Phone, Transcript, Word


def render(transcript: Transcript) -> str:
    return json.dumps(to_dict(transcript), ensure_ascii=False) + "\n"


def to_dict(transcript: Transcript) -> dict[str, Any]:
    segments = []
    for index, segment in enumerate(transcript.segments):
        values: dict[str, Any] = {
            "id": index, "start": segment.start, "end": segment.end, "text": segment.text,
        }  # fmt: skip
        if transcript.token_type != "phonemes" or segment.words:
            name = "language" if transcript.token_type == "languages" else "word"
            values[f"{name}s"] = [_named(name, word) for word in segment.words]
        if transcript.token_type == "phonemes" or segment.phones:
            values["phones"] = [_named("phone", phone) for phone in segment.phones]
        segments.append(values)
    about = {f.name: getattr(transcript, f.name) for f in fields(transcript)}
    del about["segments"], about["text"], about["token_type"], about["mapping"]
    if transcript.mapping is not None:
        about["mapping"] = _changes(transcript.mapping)
    return {"text": transcript.text, "segments": segments, **about}


def _changes(mapping: Mapping) -> dict[str, Any]:
    """What a mapping does to phones that the language does not have: enough to undo it."""
    pairs = [[row.source, row.target, row.match] for row in mapping.rows if row.match != EXACT]
    whole = mapping.to_dict()
    return {"made": whole["made"], "pairs": pairs, "left_out": whole["left_out"]}


def _named(name: str, token: Word | Phone) -> dict[str, Any]:
    """The token as whisper has it, under its own name."""
    values = {
        name: token.text, "start": token.start, "end": token.end, "probability": token.probability,
    }  # fmt: skip
    if isinstance(token, Word) and token.phones:
        values["phones"] = [_named("phone", phone) for phone in token.phones]
    return values
