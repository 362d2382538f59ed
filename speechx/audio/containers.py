"""What a file is by its first bytes, in words for messages."""

import re

SOUND = tuple(
    (name, re.compile(pattern, re.DOTALL))
    for name, pattern in (
        ("WebM", rb"\x1aE\xdf\xa3.{0,64}webm"),
        ("Matroska", rb"\x1aE\xdf\xa3"),
        ("MPEG-4 (m4a)", rb".{4}ftypM4[AB]"),
        ("3GPP", rb".{4}ftyp3g"),
        ("QuickTime", rb".{4}(ftypqt|moov|mdat|wide)"),
        ("MPEG-4", rb".{4}ftyp"),
        ("AMR", rb"#!AMR"),
        ("Windows Media", rb"0&\xb2u\x8ef\xcf\x11"),
        ("AAC", rb"\xff[\xf0\xf1\xf8\xf9]|ADIF"),
        ("Ogg with Speex", rb"OggS.{20,40}Speex"),
        ("Ogg", rb"OggS"),
        ("AVI", rb"RIFF.{4}AVI "),
        ("Flash video", rb"FLV\x01"),
        ("an MPEG stream", rb"\0\0\x01[\xb3\xba]|G.{187}G.{187}G"),
        ("AC-3", rb"\x0bw"),
        ("RealAudio", rb"\.ra\xfd|\.RMF"),
        ("SILK", rb"\x02?#!SILK"),
        ("WavPack", rb"wvpk"),
        ("Monkey's Audio", rb"MAC "),
        ("True Audio", rb"TTA[12]"),
        ("Musepack", rb"MP\+|MPCK"),
        ("DSD", rb"DSD |FRM8"),
        ("Core Audio (caf)", rb"caff"),
        ("AIFF", rb"FORM.{4}AIF[FC]"),
        ("Sun audio (au)", rb"\.snd|dns\."),
        ("Wave64", rb"riff\x2e\x91\xcf\x11"),
        ("WAV", rb"(RIFF|RIFX|RF64|BW64).{4}WAVE"),
        ("FLAC", rb"fLaC"),
        ("NIST SPHERE", rb"NIST_1A"),
        ("Creative Voice (voc)", rb"Creative Voice File"),
        ("an audio format of a phone or a game", rb"#!SPEEX|VAGp"),
    )
)
"""Formats that hold sound; ffmpeg reads nearly all."""

OTHER = tuple(
    (name, re.compile(pattern, re.DOTALL))
    for name, pattern in (
        ("a zip archive; unpack it", rb"PK\x03\x04"),
        ("a file packed by gzip; unpack it", rb"\x1f\x8b"),
        ("a file packed by bzip2; unpack it", rb"BZh[1-9]"),
        ("a file packed by xz; unpack it", rb"\xfd7zXZ\0"),
        ("a file packed by zstd; unpack it", rb"\(\xb5/\xfd"),
        ("a 7z archive; unpack it", rb"7z\xbc\xaf\x27\x1c"),
        ("a rar archive; unpack it", rb"Rar!"),
        ("a tar archive; unpack it", rb".{257}ustar"),
        ("a pointer of Git LFS; run git lfs pull", rb"version https://git-lfs"),
        (
            "a web page, perhaps the error of a server; download it again",
            rb"\s*<(?i:!DOCTYPE|html)",
        ),
        ("a PDF", rb"%PDF"),
        ("a picture", rb"\x89PNG|\xff\xd8\xff|GIF8|II\*\0|MM\0\*|RIFF.{4}WEBP"),
        ("MIDI, which is notes and no sound", rb"MThd"),
        ("an array of numpy", rb"\x93NUMPY"),
        ("shorten without a SPHERE header; convert it with ffmpeg or shorten -x", rb"ajkg"),
        ("bytes that are all 0; copy it again", rb"\0+\Z"),
    )
)
"""What else is found under the names of audio files."""


KNOWN = ("Core Audio (caf)", "AIFF", "Sun audio (au)", "Wave64", "WAV", "FLAC", "Ogg")
"""Formats that libsndfile reads as a rule."""


def sound_name(head: bytes) -> str | None:
    """The format of sound that begins with `head`."""
    if is_text(head) and not head.startswith(b"NIST_1A"):
        return None
    return next((name for name, sign in SOUND if sign.match(head)), None)


def other_name(head: bytes) -> str | None:
    """What begins with `head`, if it is no sound."""
    found = next((name for name, sign in OTHER if sign.match(head)), None)
    if found is None and head and is_text(head):
        return "text"
    return found


def is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return False
    return not re.search(rb"[\0-\x08\x0e-\x1f]", head)
