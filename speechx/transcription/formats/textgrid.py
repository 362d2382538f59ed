"""Praat's TextGrid in its long text format: tiers utterance, word, phone. Empty intervals fill the
gaps, as Praat has them; a tier without anything in it is left out, except the first."""

from speechx.transcription.formats.intervals import tiers
from speechx.transcription.result import Transcript


def render(transcript: Transcript) -> str:
    from praatio.utilities.textgrid_io import getTextgridAsStr

    found = tiers(transcript)
    duration = found.duration / 1000
    named = {"utterance": found.utterances, "word": found.words, "phone": found.phones}
    grid = {
        "xmin": 0.0, "xmax": duration, "tiers": [
            {
                "class": "IntervalTier", "name": name, "xmin": 0.0, "xmax": duration,
                "entries": [(i.start / 1000, i.end / 1000, _label(i.text)) for i in intervals],
            }
            for name, intervals in named.items()
            if intervals or name == "utterance"
        ],
    }  # fmt: skip
    return getTextgridAsStr(grid, "long_textgrid", includeBlankSpaces=True)


def _label(text: str) -> str:
    """Praat reads no characters that control a terminal."""
    return "".join(c for c in text if c >= " " or c in "\t\n")
