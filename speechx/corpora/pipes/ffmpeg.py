"""What a call of ffmpeg reads: `ffmpeg [OPTION ...] -i FILE [OPTION ...] -`.

Options before the file describe it and must be true. Of filters, `aresample`, `aformat`,
`anull` and a `pan` to one channel are understood.
"""

import re
from collections.abc import Mapping

from speechx.corpora.pipes.sound import (
    PipedSound,
    Source,
    Words,
    check_output,
    input_of,
    options_of,
    rate_of,
    seconds_of,
    words_of,
)

FFMPEG_KEEPS = words_of("wav w64 rf64 flac aiff au caf sox")
FFMPEG_RAW = re.compile(r"([suf](8|16|24|32|64)(le|be)?|mulaw|alaw|vidc|adx|g72\d\w*)")
CODECS = re.compile(r"pcm|pcm_[sf](16|24|32|64)[lb]e|pcm_[am]u?law|flac|alac|copy")
FFMPEG_HARMLESS = words_of(
    "-v -loglevel -threads -ab -b:a -aq -q:a -map_metadata -metadata -fflags -flags -err_detect "
    "-probesize -analyzeduration -strict -compression_level -sample_fmt -vcodec -c:v "
    "-filter_threads -max_muxing_queue_size -thread_queue_size -avoid_negative_ts"
)
FFMPEG_ALONE = words_of(
    "-y -n -nostdin -hide_banner -nostats -stats -vn -sn -dn -bitexact -accurate_seek -re"
)
FFMPEG_USED = words_of(
    "-i -f -ac -ar -ss -t -to -acodec -codec:a -c:a -c -codec -af -filter:a -map -map_channel"
)
FFMPEG_SAME = {"-codec:a": "-acodec", "-c:a": "-acodec", "-c": "-acodec", "-codec": "-acodec",
               "-filter:a": "-af"}  # fmt: skip


def ffmpeg(words: Words, source: Source) -> PipedSound:
    """`ffmpeg [OPTION ...] -i FILE [OPTION ...] -`"""
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    files: list[str] = []
    outputs: list[str] = []
    for option, value in options_of(words, FFMPEG_HARMLESS | FFMPEG_USED, FFMPEG_ALONE):
        if option == "-i":
            files.append(value)
        elif not option:
            outputs.append(value)
        elif option in FFMPEG_USED:
            (after if files else before)[FFMPEG_SAME.get(option, option)] = value
    sound = input_of([file.removeprefix("file:") for file in files], source)
    check_output(outputs)
    if unknown := before.keys() - {"-f", "-ac", "-ar", "-ss", "-t", "-to", "-acodec"}:
        raise ValueError(f"its option {min(unknown)} comes before the file")
    if FFMPEG_RAW.fullmatch(before.get("-f", "")):
        raise ValueError(f"it reads {before['-f'][:40]!r}, which has no header")
    claims = [
        (name, before[f]) for name, f in (("rate", "-ar"), ("channels", "-ac")) if f in before
    ]
    sound = sound._replace(needs=(*sound.needs, *((name, rate_of(v)) for name, v in claims)))
    sound = _ffmpeg_cut(sound, before)
    if after.get("-f", "wav") not in FFMPEG_KEEPS:
        raise ValueError(f"it writes {after['-f'][:40]!r}, which loses sound or has no header")
    codec = after.get("-acodec", "pcm")
    if not CODECS.fullmatch(codec):
        raise ValueError(f"it codes by {codec[:40]!r}, which loses sound")
    if after.get("-map", "0") not in ("0", "a", "0:a", "0:a:0", "0:0"):
        raise ValueError(f"'-map {after['-map'][:40]}' may pick another track")
    if "-map_channel" in after:
        picked = re.fullmatch(r"0\.0\.(\d{1,3})", after["-map_channel"], re.ASCII)
        if not picked:
            raise ValueError(f"'-map_channel {after['-map_channel'][:40]}' is not known")
        sound = sound.with_channel(int(picked[1]))
    sound = _ffmpeg_cut(sound, after)
    for step in _listed(after.get("-af", "")):
        sound = _filtered(sound, step)
    sound = sound.with_channels(after.get("-ac", "1"))
    return sound.resampled(after["-ar"]) if "-ar" in after else sound


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _ffmpeg_cut(sound: PipedSound, options: Mapping[str, str]) -> PipedSound:
    start = seconds_of(options.get("-ss", "0"))
    end = seconds_of(options["-to"]) - start if "-to" in options else None
    return sound.cut(start, seconds_of(options["-t"]) if "-t" in options else end)


FRONT = {"c0": 0, "FL": 0, "c1": 1, "FR": 1, "1*c0": 0, "1*c1": 1}
MEANS = frozenset(("0.5*c0+0.5*c1", ".5*c0+.5*c1", "0.5*FL+0.5*FR", ".5*FL+.5*FR"))


def _filtered(sound: PipedSound, step: str) -> PipedSound:
    name, _, settings = step.partition("=")
    if name == "anull":
        return sound
    if name in ("aresample", "aformat"):
        for setting in _listed(settings.replace(":", ",")):
            key, equals, value = setting.partition("=")
            if not equals and name == "aresample":
                sound = sound.resampled(key)
            elif key in ("sample_rates", "r", "osr", "out_sample_rate"):
                sound = sound.resampled(value)
            elif key in ("channel_layouts", "cl") and value != "mono":
                raise ValueError(f"{step[:60]!r} changes the channels")
        return sound
    if found := re.fullmatch(r"mono\|c0=(.+)", settings.replace(" ", "")):
        if name == "pan" and found[1] in FRONT:
            return sound.with_channel(FRONT[found[1]])
        if name == "pan" and found[1] in MEANS:
            return sound.with_channels("2")
    raise ValueError(f"{step[:60]!r} changes the sound")
