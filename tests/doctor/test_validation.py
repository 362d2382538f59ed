"""A line for what is beyond use, and none for what is merely odd."""

from dataclasses import replace

import numpy as np
import soundfile

from speechx.data.manifest import write_manifest
from tests.doctor.broken_corpora import RATE, clip, problems, sound_corpus, speech


def test_a_good_manifest_has_no_problems(manifests):
    assert problems(manifests, decode=True) == []


def test_each_problem_is_named_once(tmp_path):
    soundfile.write(tmp_path / "torn.flac", speech(), RATE)
    data = (tmp_path / "torn.flac").read_bytes()
    hole = slice(len(data) // 2, len(data) // 2 + 200)
    (tmp_path / "torn.flac").write_bytes(data[: hole.start] + bytes(200) + data[hole.stop :])
    good, other = sound_corpus(tmp_path, 2)
    faint = clip(tmp_path, "faint", 0.1 * speech(seed=3))
    silent = clip(tmp_path, "silent", np.zeros(RATE, np.float32))
    torn = replace(good, id="torn", audio=tmp_path / "torn.flac", text="una frase")
    write_manifest(tmp_path / "a.jsonl", [good, faint, silent, torn])
    assert problems([tmp_path / "a.jsonl"]) == []
    damaged, silence = problems([tmp_path / "a.jsonl"], decode=True)
    assert silence == "silent: silent: all samples are equal"
    assert damaged.startswith("torn: unreadable audio: ")
    assert "damaged" in damaged
    gone = replace(good, id="gone", audio=tmp_path / "gone.wav", text="otra frase")
    late = replace(other, id="late", start=1.0)
    quiet = clip(tmp_path, "quiet", text=" ", phones=())
    write_manifest(tmp_path / "b.jsonl", [gone, late, quiet])
    with (tmp_path / "b.jsonl").open("a") as file:
        file.write("{}\n")
    lines = problems([tmp_path / "b.jsonl"])
    assert [line.split(":")[0] for line in lines[1:]] == ["gone", "late", "quiet", "quiet"]
    assert lines[0].startswith(f"{tmp_path / 'b.jsonl'}:4: ")
    assert "gone.wav" in lines[1]
    assert "ends at 3.000 s" in lines[2]
    assert "2.000 s long" in lines[2]
