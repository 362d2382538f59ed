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
        ("ffmpeg -i c0.mp3 -f wav -ar 16000 -ab 16 -ac 1 - |",
         Sound("c0.mp3", needs=(("averaged", 2),))),
        ("sph2pipe -f wav -c 2 a.sph | ffmpeg -i - -ac 1 -f wav - |", Sound("a.sph", 1)),
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
        ("sox -v 1.0 a.wav -e signed-integer -2 -t wav - dither -s |", Sound("a.wav")),
        ("ffmpeg -f mov -acodec aac -i a.m4a -sample_fmt s16 -f wav - |", Sound("a.m4a")),
        ("ffmpeg -i a.wav -af aresample=16000:resampler=soxr,aformat=s16 -f wav - |",
         Sound("a.wav")),
        ("faad -f 1 -b 1 -w a.aac |", Sound("a.aac")),
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
        *(
            (f"{command} |", "")
            for command in (
                "sox -v 10 a.wav -t wav -",
                "sox --volume=100 a.wav -t wav -",
                "sox -e a-law a.wav -t wav -",
                "sox -b 8 a.wav -t wav -",
                "sox -x a.wav -t wav -",
                "sox -U a.wav -t wav -",
                "sox a.wav -v 2 -t wav -",
                "sox a.wav -U -t wav -",
                "sox a.wav -e gsm-full-rate -t wav -",
                "sox a.wav -1 -t wav -",
                "sox a.wav -e unsigned -t wav -",
                "sox a.wav -t wav - remix -p 1,2",
                "sox a.wav -t wav - dither -p 8",
                "sox a.wav -t wav - rate -q 16k",
                "opusdec --packet-loss 30 a.opus -",
                "faad -f 2 -w a.aac",
                "oggdec -b 8 -o - a.ogg",
                "mpg123 -e ulaw -w - a.mp3",
                "sph2pipe -f wav -u a.sph",
                "sph2pipe -f wav -a a.sph",
                "ffmpeg -i a.wav -c:a pcm_mulaw -f wav -",
                "ffmpeg -i a.wav -sample_fmt u8 -f wav -",
                "ffmpeg -acodec pcm_mulaw -i a.wav -f wav -",
                "ffmpeg -f concat -i l.txt -f wav -",
                "ffmpeg -i a.wav -af aformat=sample_fmts=u8 -f wav -",
                "ffmpeg -i a.wav -af aformat=u8 -f wav -",
                "ffmpeg -i a.wav -af aresample=async=1 -f wav -",
                "ffmpeg -i a.wav -af aresample=16000:isr=8000 -f wav -",
            )
        ),
    ],
)
def test_entries_that_are_refused_by_name(entry: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"is not run: |is no file") as raised:
        sound_of(entry)
    assert why in str(raised.value)


def test_a_program_of_a_pipeline_is_told_what_it_reads() -> None:
    """Not what the first file holds."""
    read = "sox a.wav -r 16k -c 1 -t wav - | sox -r 16k -c 1 -t wav - -t wav - |"
    assert sound_of(read) == Sound("a.wav")
    read = "sph2pipe -f wav -c 2 a.sph | ffmpeg -ac 1 -ar 8000 -i - -f wav - |"
    assert sound_of(read) == Sound("a.sph", 1, needs=(("rate", 8000),))
    assert sound_of("sox a.wav -c 1 -t wav - remix 2 |") == Sound("a.wav", 1)
    with pytest.raises(ValueError, match="only one channel is left"):
        sound_of("sox a.wav -c 1 -t wav - | sox -t wav - -t wav - remix 2 |")
    with pytest.raises(ValueError, match="rate of 16000 as one of 8000"):
        sound_of("sox a.wav -r 16k -t wav - | sox -r 8k -t wav - -t wav - |")
