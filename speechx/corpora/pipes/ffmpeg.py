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
    check_value,
    count_of,
    input_of,
    options_of,
    rate_of,
    seconds_of,
    words_of,
)

FFMPEG_READS = words_of(
    "wav w64 rf64 flac mp3 mp2 ogg oga opus aiff au caf mov mp4 m4a 3gp matroska webm amr "
    "nistsphere asf avi aac mpeg mpegts tta wv sox voc"
)
FFMPEG_KEEPS = words_of("wav w64 rf64 flac aiff au caf sox")
# Of sound that is not compressed, another decoder reads something else without an error.
DECODERS = r"(lib)?(opus|vorbis)|mp[23](float)?|aac|flac|alac|libopencore_amr[nw]b|amr[nw]b|wma\w*"
CODECS = r"pcm_[sf](16|24|32|64)[lb]e|flac|alac|copy"
SAMPLES = r"s16p?|s32p?|s64p?|fltp?|dblp?"
ANY = r".*"
# Options that keep the sound with these values, wherever they stand.
FFMPEG_SAFE = {
    "-fflags": r"[+]?(bitexact|genpts|igndts|ignidx|nobuffer)([+](bitexact|genpts|igndts))*",
    "-flags": r"[+]?(bitexact|low_delay)",
    "-sample_fmt": SAMPLES,
} | dict.fromkeys(words_of(
    "-v -loglevel -threads -ab -b:a -aq -q:a -map_metadata -metadata -err_detect -probesize "
    "-analyzeduration -strict -compression_level -vcodec -c:v -filter_threads "
    "-max_muxing_queue_size -thread_queue_size -avoid_negative_ts"
), ANY)  # fmt: skip
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
    for option, value in options_of(words, FFMPEG_SAFE.keys() | FFMPEG_USED, FFMPEG_ALONE):
        if option == "-i":
            files.append(value)
        elif not option:
            outputs.append(value)
        elif option in FFMPEG_USED:
            (after if files else before)[FFMPEG_SAME.get(option, option)] = value
        elif option in FFMPEG_SAFE:
            check_value(option, value, FFMPEG_SAFE[option])
    sound = input_of([file.removeprefix("file:") for file in files], source)
    check_output(outputs)
    if unknown := before.keys() - {"-f", "-ac", "-ar", "-ss", "-t", "-to", "-acodec"}:
        raise ValueError(f"its option {min(unknown)} comes before the file")
    if before.get("-f", "wav") not in FFMPEG_READS:
        raise ValueError(f"it reads {before['-f'][:40]!r}, which has no header or is no sound file")
    check_value("-acodec", before.get("-acodec", "flac"), DECODERS)
    if "-ar" in before:
        sound = sound.described("rate", rate_of(before["-ar"]))
    if "-ac" in before:
        sound = sound.described("channels", count_of(before["-ac"]))
    sound = _ffmpeg_cut(sound, before)
    if after.get("-f", "wav") not in FFMPEG_KEEPS:
        raise ValueError(f"it writes {after['-f'][:40]!r}, which loses sound or has no header")
    codec = after.get("-acodec", "copy")
    if not re.fullmatch(CODECS, codec):
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
    if "-ac" in after:  # of more than two channels it weighs those of a layout
        one = count_of(after["-ac"]) == 1
        sound = sound.averaged(2) if one else sound.with_channels(after["-ac"])
    return sound.resampled(after["-ar"]) if "-ar" in after else sound


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _ffmpeg_cut(sound: PipedSound, options: Mapping[str, str]) -> PipedSound:
    start = seconds_of(options.get("-ss", "0"))
    end = seconds_of(options["-to"]) - start if "-to" in options else None
    return sound.cut(start, seconds_of(options["-t"]) if "-t" in options else end)


FRONT = {"c0": 0, "FL": 0, "c1": 1, "FR": 1, "1*c0": 0, "1*c1": 1}
# Settings of aformat and aresample that keep the sound with these values.
FILTER_SAFE = dict.fromkeys(words_of("f sample_fmts osf out_sample_fmt"), SAMPLES) | {
    "resampler": "swr|soxr",
    "precision": "2[0-9]|3[0-3]",
    "dither_method": "none|rectangular|triangular|triangular_hp",
}
MEANS = frozenset(("0.5*c0+0.5*c1", ".5*c0+.5*c1", "0.5*FL+0.5*FR", ".5*FL+.5*FR"))


def _filtered(sound: PipedSound, step: str) -> PipedSound:
    name, _, settings = step.partition("=")
    if name == "anull":
        return sound
    if name in ("aresample", "aformat"):
        first = "osr" if name == "aresample" else "f"
        for number, setting in enumerate(_listed(settings.replace(":", ","))):
            key, equals, value = setting.partition("=")
            if not equals and not number:
                key, value = first, setting
            if key in ("sample_rates", "r", "osr", "out_sample_rate"):
                sound = sound.resampled(value)
            elif key in ("channel_layouts", "cl") and value == "mono":
                sound = sound.averaged(2)
            elif key in FILTER_SAFE:
                check_value(f"{name}={key}", value, FILTER_SAFE[key])
            else:
                raise ValueError(f"{setting[:40]!r} of {name} may change the sound")
        return sound
    if found := re.fullmatch(r"mono\|c0=(.+)", settings.replace(" ", "")):
        if name == "pan" and found[1] in FRONT:
            return sound.with_channel(FRONT[found[1]])
        if name == "pan" and found[1] in MEANS:
            return sound.with_channels("2").with_channels("1")
    raise ValueError(f"{step[:60]!r} changes the sound")
