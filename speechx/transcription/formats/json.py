"""JSON in whisper's shape, with `phones` and durations."""

import json
from dataclasses import asdict
from typing import Any

from speechx.transcription.result import Phone, Transcript, Word


def render(transcript: Transcript) -> str:
    return json.dumps(to_dict(transcript), ensure_ascii=False) + "\n"


def to_dict(transcript: Transcript) -> dict[str, Any]:
    segments = []
    for index, segment in enumerate(transcript.segments):
        values: dict[str, Any] = {
            "id": index, "start": segment.start, "end": segment.end, "text": segment.text,
        }  # fmt: skip
        if transcript.token_type == "phonemes":
            values["phones"] = [_named("phone", phone) for phone in segment.phones]
        else:
            name = "language" if transcript.token_type == "languages" else "word"
            values[f"{name}s"] = [_named(name, word) for word in segment.words]
        segments.append(values)
    about = asdict(transcript)
    del about["segments"], about["text"], about["token_type"]
    return {"text": transcript.text, "segments": segments, **about}


def _named(name: str, token: Word | Phone) -> dict[str, Any]:
    """The token as whisper has it, under its own name."""
    values = asdict(token)
    text, phones = values.pop("text"), values.pop("phones", ())
    return {name: text, **values, **({"phones": [*phones]} if phones else {})}
