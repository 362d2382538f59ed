"""What the commands of a wav.scp read is known, and what cannot be honoured is refused by name."""

import pytest

from speechx.corpora.pipes.commands import sound_of
from speechx.corpora.pipes.sound import PipedSound as Sound


@pytest.mark.parametrize(
    ("entry", "sound"),
    [
        ("/a b/c.wav", Sound("/a b/c.wav")),
        ("data/wav.ark:17", Sound("data/wav.ark", offset=17)),
        ("cat a.wav |", Sound("a.wav")),
        ("sph2pipe -f wav a.sph |", Sound("a.sph")),
        ("sph2pipe -c 2 -p -f wav 'a b.sph' |", Sound("a b.sph", 1)),
        ("/opt/sph2pipe_v2.5/sph2pipe -f wav -p -c 1 a.sph - |", Sound("a.sph", 0)),
        ("sph2pipe -f wav -t 1:2.5 a.sph |", Sound("a.sph", start=1.0, duration=1.5)),
        ("flac -c -d -s x.flac |", Sound("x.flac")),
        ("flac --decode --stdout --silent x.flac|", Sound("x.flac")),
        ("flac -cds 'a & b.flac' |", Sound("a & b.flac")),
        ("sox a.wav -t wav - |", Sound("a.wav")),
        ("sox -t mp3 a.mp3 -r 16k -c 1 -b 16 -e signed -t wav - |", Sound("a.mp3")),
        ("sox -G -V1 a.wav -r16000 -c1 -b16 -twav - channels 1 rate -h 16k dither |",
         Sound("a.wav")),
        ("sox a.mp3 -t wav - rate 16k |", Sound("a.mp3")),
        ("sox a.wav -t wav - remix 2 |", Sound("a.wav", 1)),
        ("sox a.wav -t wav - remix - |", Sound("a.wav")),
        ("sox a.wav -t wav - trim 1:01.5 2 |", Sound("a.wav", start=61.5, duration=2.0)),
        ("sox a.wav -t wav - trim 1.5 =2 |", Sound("a.wav", start=1.5, duration=0.5)),
        ("sox -r 16000 a.wav -t wav - |", Sound("a.wav", needs=(("rate", 16000),))),
        ("sox a.wav -r 8k -t wav - |", Sound("a.wav", needs=(("resampled", 8000),))),
        ("ffmpeg -i c0.mp3 -f wav -ar 16000 -ab 16 -ac 1 - |", Sound("c0.mp3")),
        ('ffmpeg -i "c 1.mp3" -f wav -ar 16000 -ab 16 - |', Sound("c 1.mp3")),
        ("/usr/bin/ffmpeg -v 8 -i a.m4a -acodec pcm_s16le pipe:1 2>/dev/null |", Sound("a.m4a")),
        ("ffmpeg -ss 10 -to 15 -i a.mp4 -af aresample=16000 -f wav - |",
         Sound("a.mp4", start=10.0, duration=5.0)),
        ("ffmpeg -i a.wav -af 'pan=mono|c0=c1' -f wav - |", Sound("a.wav", 1)),
        ("ffmpeg -i a.wav -map_channel 0.0.1 -f wav - |", Sound("a.wav", 1)),
        ("ffmpeg -i a.wav -ac 2 -f wav - |", Sound("a.wav", needs=(("channels", 2),))),
        ("sph2pipe -f wav -p -c 2 a.sph | sox -t wav - -t wav -r 16000 - |", Sound("a.sph", 1)),
        ("cat a.mp3 | ffmpeg -i pipe:0 -f wav - |", Sound("a.mp3")),
        ("mpg123 -q -r 16000 -m -w /dev/stdout a.mp3 |", Sound("a.mp3")),
        ("opusdec --rate 16000 --force-wav --quiet a.opus - |", Sound("a.opus")),
        ("oggdec -Q -o - a.ogg |", Sound("a.ogg")),
        ("lame --decode --quiet a.mp3 - |", Sound("a.mp3")),
        ("wav-copy wav.ark:17 - |", Sound("wav.ark", offset=17)),
    ],
)  # fmt: skip
def test_entries_that_are_understood(entry: str, sound: Sound) -> None:
    assert sound_of(entry) == sound


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("rm -rf / |", "'rm' is not known"),
        ("python local/read.py a.wav |", "'python' is not known"),
        ("| cat", "is no file"),
        ("-", "is no file"),
        ("https://a.example/a.wav", "is no file but a URL; fetch it first"),
        ("|", "a program is missing"),
        (" |", "a program is missing"),
        ("wget -O - http://x/a.wav |", "wget fetches"),
        ("aws s3 cp s3://bucket/a.wav - |", "aws fetches"),
        ("gunzip -c a.wav.gz |", "gunzip unpacks a file"),
        ("cat a.wav b.wav |", "reads 2 files"),
        ("sph2pipe -f wav -p -c 3 a.sph |", "'3' is no channel"),
        ("sph2pipe a.sph b.sph |", "writes 'b.sph'"),
        ("sph2pipe -f raw a.sph |", "'raw', which has no header"),
        ("sph2pipe -f wav $(touch x) |", "for a shell"),
        ("sph2pipe -f wav a.sph; touch x |", "for a shell"),
        ("sph2pipe -f wav a.sph > b.wav |", "for a shell"),
        ("sph2pipe 'a.sph |", "quotes do not match"),
        ("sph2pipe |", "reads 0 files"),
        ("sox |", "a file is missing"),
        ("sox a.wav b.wav |", "writes 'b.wav'"),
        ("sox a.wav -t wav - speed 1.1 |", "'speed' changes the sound"),
        ("sox a.wav -t wav - rate 16k vol 2 |", "'vol' changes the sound"),
        ("sox a.wav -t wav - downsample |", "'downsample' changes the sound"),
        ("sox -v 0.5 a.wav -t wav - |", "changes the volume"),
        ("sox -m a.wav b.wav -t wav - |", "joins several files"),
        ("sox a.wav -t wav - remix 1 2 |", "in its own way"),
        ("sox a.wav -t wav - trim -5 |", "counts from the end"),
        ("sox -t raw -r 8000 -e signed -b 16 a.raw -t wav - |", "'raw', which has no header"),
        ("sox a.wav -t mp3 - |", "loses sound"),
        ("sox a.wav -b 8 -t wav - |", "8 bits"),
        ("sox --effects-file x a.wav - |", "'--effects-file' is not known"),
        ('sox "|touch x" -t wav - |', "is no file"),
        ("ffmpeg |", "reads 0 files"),
        ("ffmpeg -i a.wav out.wav |", "writes 'out.wav'"),
        ("ffmpeg -i a.wav -i b.wav -f wav - |", "reads 2 files"),
        ("ffmpeg -i http://x/a.wav -f wav - |", "in another place"),
        ("ffmpeg -i a.wav -af atempo=2 -f wav - |", "'atempo=2' changes the sound"),
        ("ffmpeg -i a.wav -af aresample=16k,volume=2 -f wav - |", "'volume=2' changes the sound"),
        ("ffmpeg -f s16le -ar 16k -i a.raw -f wav - |", "'s16le', which has no header"),
        ("ffmpeg -i a.wav -acodec libmp3lame -f wav - |", "loses sound"),
        ("flac a.flac |", "lacks -d"),
        ("flac -d x |", "writes nothing to the pipe"),
        ("flac -cd --skip=9 x.flac |", "'--skip=9' is not known"),
        ("lame --decode a.mp3 |", "writes nothing to the pipe"),
        ("wav-reverberate --duration=5 a.wav - |", "adds an echo"),
        ("wav-copy scp:wav.scp ark:- |", "reads a whole table"),
    ],
)
def test_entries_that_are_refused_by_name(entry: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"is not run: |is no file") as raised:
        sound_of(entry)
    assert why in str(raised.value)
