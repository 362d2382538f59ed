"""Features and units of many utterances, as files: whole, resumable, refused where they differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors import safe_open

import speechx
from speechx.cli.main import main
from speechx.data.manifest import read_manifest, write_manifest
from speechx.errors import UserError
from speechx.features import extract_features
from speechx.models.units import UnitCodebook, runs_of
from speechx.transcription import feature_shards, unit_fitting
from speechx.transcription.feature_model import FeatureModel
from tests.conftest import RATE, tone_wave, write_wav
from tests.toy_models import toy_model


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return toy_model(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture(scope="module")
def encoder(model):
    return speechx.load_encoder(model, "cpu")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def stored(out: Path) -> dict[str, np.ndarray]:
    """All features of a folder, read with the libraries that users have."""
    found = {}
    for line in lines(out / "index.jsonl"):
        assert line["id"] not in found
        if "key" in line:
            with safe_open(out / line["shard"], "np") as shard:
                found[line["id"]] = shard.get_tensor(line["key"])
        else:
            rows = np.load(out / line["shard"], mmap_mode="r")
            found[line["id"]] = np.array(rows[line["offset"] :][: line["frames"]])
        assert len(found[line["id"]]) == line["frames"]
    shards = {line["shard"] for line in lines(out / "index.jsonl")}
    assert {path.name for path in out.glob("features-*")} == shards
    return found


@pytest.mark.parametrize("format", ["safetensors", "npy"])
@pytest.mark.parametrize("layer", ["1", "all"])
def test_every_utterance_is_there_once_with_the_features_of_python(
    tones, manifests, model, encoder, tmp_path, format, layer
):
    given = [str(path) for path in manifests]
    words = ["--model", str(model), "-o", str(tmp_path / "out"), "--layer", layer]
    assert main(["features", *given, *words, "--format", format, "--shard-mb", "0.02"]) == 0
    found = stored(tmp_path / "out")
    assert len({line["shard"] for line in lines(tmp_path / "out/index.jsonl")}) > 2
    assert set(found) == {u.id for u in tones}
    for u in tones[:4]:
        expected = encoder.features(u.audio, int(layer) if layer == "1" else "all")
        np.testing.assert_array_equal(found[u.id], expected)
    for line in lines(tmp_path / "out/index.jsonl"):
        assert line["first_centre"] == encoder.first_centre
        assert line["frame_step"] == 0.02


@pytest.mark.parametrize("format", ["safetensors", "npy"])
def test_a_killed_run_goes_on_and_nothing_is_lost_or_doubled(
    manifests, model, tmp_path, monkeypatch, format
):
    given = [str(manifests[0])]
    settings = {"layer": "2", "format": format, "shard_mb": 0.01}
    extract_features(given, tmp_path / "whole", model, **settings)
    expected, shards = stored(tmp_path / "whole"), len(list((tmp_path / "whole").glob("features*")))
    assert shards > 3
    append = feature_shards.Lines.append
    for when in (1, 3):
        for left in ("nothing", "half a line", "a line and a half")[2 * (format == "npy") :]:
            out = tmp_path / f"{when} {left}"
            written = 0

            def cut(self, some, when=when, left=left):
                nonlocal written
                written += 1
                if written < when:
                    return append(self, some)
                text = "".join(json.dumps(line) + "\n" for line in some)
                first = text.index("\n") + 1
                keep = {"nothing": 0, "half a line": 20, "a line and a half": first + 20}[left]
                with self.path.open("a") as file:
                    file.write(text[:keep])
                raise RuntimeError("killed")

            with monkeypatch.context() as patch:
                patch.setattr(feature_shards.Lines, "append", cut)
                with pytest.raises(RuntimeError, match="killed"):
                    extract_features(given, out, model, **settings)
            (out / ".shard.part").write_bytes(b"left")
            extract_features(given, out, model, **settings)
            found = stored(out)
            assert list(found) == list(expected)
            for name, features in expected.items():
                np.testing.assert_array_equal(found[name], features)


def test_ctrl_c_keeps_the_utterances_that_are_complete(manifests, model, tmp_path, monkeypatch):
    parts, computed = FeatureModel.parts, 0

    def interrupted(self, *given):
        nonlocal computed
        for part in parts(self, *given):
            computed += part.samples is not None
            yield part
            if computed == 5:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FeatureModel, "parts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract_features([manifests[0]], tmp_path, model, layer=1)
    assert len(stored(tmp_path)) == 5
    extract_features([manifests[0]], tmp_path, model, layer=1)
    assert len(stored(tmp_path)) == len(read_manifest(manifests[0]))


def test_broken_audio_is_named_and_tried_again(tones, model, encoder, tmp_path, capsys):
    broken = tmp_path / "broken.wav"
    write_wav(tmp_path / "short.wav", np.zeros(300, np.float32))
    broken.write_bytes(b"RIFF not a sound")
    some = [
        tones[0],
        speechx.data.utterance.Utterance(id="bad", audio=broken, duration=1, language="xx"),
        tones[1],
        speechx.data.utterance.Utterance(
            id="short", audio=tmp_path / "short.wav", duration=300 / RATE, language="xx"
        ),
    ]
    write_manifest(tmp_path / "some.jsonl", some)
    words = ["features", str(tmp_path / "some.jsonl"), "--model", str(model), "--layer", "all"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "bad of" in said
    assert "broken.wav" in said
    assert set(stored(tmp_path / "out")) == {tones[0].id, tones[1].id, "short"}
    assert stored(tmp_path / "out")["short"].shape == (0, 3, 16)
    shutil.copy(tones[2].audio, broken)
    some[1] = speechx.data.utterance.Utterance(id="bad", audio=broken, duration=0.5, language="xx")
    write_manifest(tmp_path / "some.jsonl", some)
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    assert len(stored(tmp_path / "out")["bad"]) == encoder.config.features.frames(8000)


def test_recordings_are_named_by_their_paths(model, tmp_path, encoder):
    wave_S = np.tile(tone_wave("abcd", np.random.default_rng(1)), 50)  # 36 s
    write_wav(tmp_path / "in/deep/long.wav", wave_S)
    extract_features([tmp_path / "in"], tmp_path / "out", model, layer=2)
    found = stored(tmp_path / "out")
    assert list(found) == ["deep/long"]
    frames = encoder.config.features.frames(len(wave_S))
    assert found["deep/long"].shape == (frames, 16)
    (line,) = lines(tmp_path / "out/index.jsonl")
    assert line["seconds"] == pytest.approx(len(wave_S) / RATE)


def test_units_have_a_codebook_that_is_used_again(manifests, tones, model, encoder, tmp_path):
    train, dev = map(str, manifests)
    one, two = tmp_path / "one", tmp_path / "two"
    words = ["--model", str(model), "--layer", "1", "--units", "6"]
    assert main(["features", train, *words, "-o", str(one)]) == 0
    assert main(["features", train, *words, "-o", str(two), "--collapse"]) == 0
    assert (one / "codebook/centres.safetensors").read_bytes() == (
        two / "codebook/centres.safetensors"
    ).read_bytes()
    codebook = UnitCodebook.load(one)
    assert codebook.centres_KD.shape == (6, 16)
    audio = {u.id: u.audio for u in tones}
    for line, collapsed in zip(lines(one / "units.jsonl"), lines(two / "units.jsonl"), strict=True):
        features_TD = encoder.features(audio[line["id"]], layer=1)
        distance_TK = np.square(features_TD[:, None] - codebook.centres_KD).sum(2)
        assert line["units"] == distance_TK.argmin(1).tolist()
        assert line["units"] == encoder.units(audio[line["id"]], one).tolist()
        assert len(line["units"]) == line["frames"] == sum(collapsed["durations"])
        assert line["units"] == np.repeat(collapsed["units"], collapsed["durations"]).tolist()
    again = ["--model", str(model), "--units", str(one), "-o", str(tmp_path / "dev")]
    assert main(["features", dev, *again]) == 0
    for line in lines(tmp_path / "dev/units.jsonl"):
        assert line["units"] == encoder.units(audio[line["id"]], codebook).tolist()
    assert (
        speechx.load(model, "cpu").encoder.units(audio[line["id"]], one).tolist() == line["units"]
    )


def test_killed_units_go_on_with_their_codebook(manifests, model, tmp_path):
    settings = {"layer": 1, "units": 5, "seed": 3}
    extract_features(manifests, tmp_path / "whole", model, **settings)
    whole = (tmp_path / "whole/units.jsonl").read_bytes()
    for kept in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "whole/units.jsonl").write_bytes(whole[:kept])
        extract_features(manifests, tmp_path / "whole", model, **settings)
        assert (tmp_path / "whole/units.jsonl").read_bytes() == whole


def test_the_sample_of_k_means_is_bounded_and_uniform(monkeypatch):
    monkeypatch.setattr(unit_fitting, "SAMPLE_BYTES", 4 * 200)
    sample = unit_fitting.FrameSample(1, 0)
    for begin in range(0, 5000, 70):
        sample.add(np.arange(begin, min(begin + 70, 5000), dtype=np.float32)[:, None])
    frames_ND = sample.frames()
    assert frames_ND.shape == (200, 1)
    assert len(np.unique(frames_ND)) == 200
    assert abs(frames_ND.mean() - 2500) < 350


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "--layer is needed"),
        ({"layer": 3}, "no layer 3; it has layers 0 to 2"),
        ({"layer": "six"}, "expected a number, several with commas, or all"),
        ({"layer": "1,1"}, "twice"),
        ({"layer": 0, "convention": "before_residual"}, "layer 0 is the input"),
        ({"layer": 1, "units": 100000}, "100000 units need as many frames"),
        ({"layer": 1, "units": 1}, "at least 2"),
        ({"layer": "all", "units": 4}, "units are made of one layer"),
        ({"units": "nowhere"}, "nowhere has no codebook"),
        ({"layer": 1, "dtype": "int8"}, "dtype is 'int8'"),
        ({"layer": 1, "units": 4, "dtype": "float16"}, "--dtype are for features"),
        ({"layer": 1, "collapse": True}, "--collapse is for units"),
        ({"layer": 1, "given": "nowhere.jsonl"}, "nowhere.jsonl: cannot be read"),
        ({"layer": 1, "language": "auto"}, "give its code"),
        ({"layer": 1, "compute_type": "float8"}, "compute_type"),
    ],
)
def test_settings_that_cannot_be(manifests, model, tmp_path, settings, said):
    given = settings.pop("given", manifests[1])
    with pytest.raises(UserError, match=said):
        extract_features([given], tmp_path, model, **settings)


def test_a_failed_start_does_not_bind_the_folder(manifests, model, tmp_path):
    with pytest.raises(UserError, match="need as many frames"):
        extract_features([manifests[1]], tmp_path, model, layer=1, units=100000)
    extract_features([manifests[1]], tmp_path, model, layer=1, units=4)


def test_other_settings_and_another_model_are_refused(manifests, model, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(model, other)
    about = yaml.safe_load((other / "config.yaml").read_text())
    about["encoder"]["context"]["num_heads"] = 4
    (other / "config.yaml").write_text(yaml.safe_dump(about))
    out, units = tmp_path / "out", tmp_path / "units"
    extract_features([manifests[1]], out, model, layer=1)
    extract_features([manifests[1]], units, model, layer=1, units=4)
    moved = tmp_path / "moved"
    shutil.copytree(model, moved)
    extract_features(manifests, out, moved, layer=1)  # the same model elsewhere
    assert len(stored(out)) == 20
    for changed, said in (
        ({"layer": 2}, "layers 1, not 2"),
        ({"layer": 1, "format": "npy"}, "format safetensors, not npy"),
        ({"layer": 1, "convention": "fairseq"}, "convention hugging_face, not fairseq"),
        ({"layer": 1, "units": 4}, "content features, not units"),
        ({"layer": 1, "model": other}, "another model"),
    ):
        with pytest.raises(UserError, match=said):
            extract_features([manifests[1]], out, changed.pop("model", model), **changed)
    for changed, said in (
        ({"layer": 1, "units": 5}, "units 4, not 5"),
        ({"layer": 1, "units": 4, "seed": 2}, "seed 1, not 2"),
        ({"layer": 1, "units": 4, "collapse": True}, "collapse False, not True"),
    ):
        with pytest.raises(UserError, match=said):
            extract_features([manifests[1]], units, model, **changed)
    with pytest.raises(UserError, match="fitted on layer 1 of"):
        extract_features([manifests[1]], tmp_path / "new", other, units=units)
    with pytest.raises(UserError, match="fitted on layer 1, not 2"):
        extract_features([manifests[1]], tmp_path / "new", model, units=units, layer=2)
    (out / "features-00000.safetensors").unlink()
    with pytest.raises(UserError, match="is gone"):
        extract_features([manifests[1]], out, model, layer=1)


def test_one_id_in_two_manifests_is_refused(tones, manifests, model, tmp_path):
    write_manifest(tmp_path / "again.jsonl", [tones[0]])
    with pytest.raises(UserError, match="have the same id"):
        extract_features([manifests[1], tmp_path / "again.jsonl"], tmp_path / "out", model, layer=1)


def test_runs():
    units_R, frames_R = runs_of(np.array([3, 3, 1, 1, 1, 3]))
    assert units_R.tolist() == [3, 1, 3]
    assert frames_R.tolist() == [2, 3, 1]
    assert [len(x) for x in runs_of(np.zeros(0, np.int64))] == [0, 0]
