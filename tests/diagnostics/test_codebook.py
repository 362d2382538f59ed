"""Two languages of the same tones and one of others; the quantizer knows the tones."""

import json
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from speechx.data.batches import Batches
from speechx.data.corpus import Corpus
from speechx.data.manifest import Utterance, read_manifest, write_manifest
from speechx.data.sampling import every_row, once, padded_batches
from speechx.diagnostics.code_sharing import LanguageCodes, measure
from speechx.diagnostics.codebook import analyze_codebook, codes_by_language, sample, table
from speechx.errors import UserError
from speechx.models.quantizer import QuantizerConfig
from speechx.objectives.model import SpeechModel
from speechx.objectives.wav2vec2 import Wav2Vec2Config
from tests.conftest import RATE, SMALL_QUANTIZER, small_convolutional, small_filterbank, write_wav
from tests.toy_models import toy_model

HERTZ = dict(zip("abcdefgh", (300, 500, 800, 1200, 1800, 2600, 3700, 5200), strict=True))
SOUNDS = {"xx": "abcd", "yy": "abcd", "zz": "defgh"}


def speak(letters, random):
    """0.2 seconds of a tone for each letter, noise under everything."""
    time = np.arange(int(0.2 * RATE)) / RATE
    tones = [np.sin(2 * np.pi * HERTZ[letter] * time) for letter in letters]
    wave_S = 0.3 * np.concatenate(tones)
    return (wave_S + 0.01 * random.standard_normal(len(wave_S))).astype(np.float32)


def corpus(folder, counts, letters=None, seed=0):
    """Utterances of 1 to 2 seconds, four speakers a language; a manifest for each language."""
    random = np.random.default_rng(seed)
    for language, count in counts.items():
        spoken = []
        for index in range(count):
            spelled = letters or "".join(
                random.choice(list(SOUNDS[language]), random.integers(5, 11))
            )
            path = folder / language / f"{index}.wav"
            write_wav(path, speak(spelled, random))
            spoken.append(
                Utterance(
                    id=f"{language}_{index}", audio=path, duration=len(spelled) * 0.2,
                    language=language, speaker=f"{language}_{index % 4}", text=spelled,
                )
            )  # fmt: skip
        write_manifest(folder / f"{language}.jsonl", spoken)
    return [folder / f"{language}.jsonl" for language in counts]


def small_model(encoder):
    """Random weights, the same ones every time."""
    torch.manual_seed(0)
    objective = Wav2Vec2Config(quantizer=QuantizerConfig(**SMALL_QUANTIZER))
    return SpeechModel(encoder, {"wav2vec2": objective}, {}).eval()


def codes_from(model, sampled):
    return codes_by_language(model.encoder, model.objectives["wav2vec2"].quantizer, sampled)


def knowing_tones(encoder, manifests):
    """A model whose first group was taught the tones: entry 0 for a, 1 for b and so on.

    The second group keeps its random weights."""
    model = small_model(encoder)
    with torch.no_grad():
        seen = [features_of(model, u) for path in manifests for u in read_manifest(path)]
    features_NC = torch.cat([features_TC for features_TC, _ in seen])
    entry_N = torch.tensor([list(HERTZ).index(letter) for _, some in seen for letter in some])
    logits = model.objectives["wav2vec2"].quantizer.weight_proj
    entries = SMALL_QUANTIZER["num_entries"]
    taught = torch.nn.Linear(features_NC.shape[1], entries)
    optimizer = torch.optim.Adam(taught.parameters(), 0.1)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(taught(features_NC), entry_N).backward()
        optimizer.step()
    with torch.no_grad():
        logits.weight[:entries] = taught.weight
        logits.bias[:entries] = taught.bias
    return model


def features_of(model, utterance):
    """The input of the quantizer, and the letter in the middle of each frame."""
    corpus, config = Corpus.of([utterance]), model.encoder.config
    (plan,) = once(padded_batches(every_row(corpus), 60.0, np.random.default_rng(0)))
    wave_BS = Batches(corpus, config.normalize)[plan].wave_BS
    features_TC = model.encoder.extract(wave_BS).features_BTC[0]
    stride, field = config.features.stride, config.features.receptive_field
    middles = [t * stride + field // 2 for t in range(len(features_TC))]
    return features_TC, [utterance.text[int(m / RATE / 0.2)] for m in middles]


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """Three manifests, 36 seconds of each language."""
    return corpus(tmp_path_factory.mktemp("codebook"), {"xx": 24, "yy": 24, "zz": 24})


@pytest.fixture(scope="module")
def network(tones):
    encoder = small_filterbank()
    layers = tuple(replace(layer, channels=32) for layer in encoder.features.layers)
    features = replace(encoder.features, layers=layers)
    return knowing_tones(replace(encoder, features=features), tones)


@pytest.fixture(scope="module")
def model(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "final"
    network.save(folder, ["xx", "yy", "zz"])
    return folder


@pytest.fixture(scope="module")
def result(model, tones, tmp_path_factory):
    out = tmp_path_factory.mktemp("analysis") / "codes"
    return analyze_codebook(model, tones, out, minutes=2), out


def test_the_quantizer_knows_its_tones(network, tones):
    """Also of zz, whose d it shares; a fifth of the frames lie on the border of two tones."""
    utterances = read_manifest(tones[2])
    (codes,) = codes_from(network, {"zz": utterances}).values()
    with torch.no_grad():
        letters = [letter for u in utterances for letter in features_of(network, u)[1]]
    entries = [list(HERTZ).index(letter) for letter in letters]
    right = (codes.codes_NG[:, 0] == entries).mean()
    print(f"{right:.1%} of {len(entries)} frames get the entry of their tone")
    assert right > 0.8


def test_languages_that_share_sounds_share_codes(result):
    sharing, _ = result
    assert list(sharing.uses) == ["xx", "yy", "zz"]
    same, other = sharing.divergence_LL[0, 1], sharing.divergence_LL[0, 2]
    print(f"same sounds {same:.4f}, others {other:.4f}, halves {sharing.halves:.4f} bit")
    assert same < 3 * sharing.halves
    assert other > 20 * sharing.halves
    assert sharing.uses["xx"].nearest == "yy"
    assert all(use.steady for use in sharing.uses.values())
    merged = sharing.tree()[0]
    assert {int(merged[0]), int(merged[1])} == {0, 1}


def test_files_hold_the_numbers_and_the_figures(result, tones, model):
    sharing, out = result
    assert {p.name for p in out.iterdir()} == {"codebook.json", "heat_map.png", "dendrogram.png"}
    for name in ("heat_map.png", "dendrogram.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    content = json.loads((out / "codebook.json").read_text())
    assert (content["model"], content["minutes"], content["seed"]) == (str(model), 2, 1)
    assert content["manifests"] == [str(path) for path in tones]
    assert content["order"] == ["xx", "yy", "zz"]
    assert np.array(content["divergence"]) == pytest.approx(sharing.divergence_LL, abs=1e-6)
    assert np.array(content["divergence"]).T.tolist() == content["divergence"]
    for language in content["order"]:
        about = content["languages"][language]
        counts_GV = np.array(about["counts_GV"])
        assert counts_GV.shape == (content["groups"], content["entries"]) == (2, 10)
        assert counts_GV.sum(1).tolist() == [about["frames"]] * 2
    assert sum(content["codes_used_by"]) == 20
    assert len(content["tree"]) == 2


def test_all_frames_have_their_codes_in_every_batch(tones):
    """Padded beside longer ones an utterance has the codes that it has alone, for both norms."""
    utterances = [u for path in tones for u in read_manifest(path)][:7]
    for config in (small_filterbank(), small_convolutional("group"), small_convolutional("layer")):
        network = small_model(config)
        (together,) = codes_from(network, {"xx": utterances}).values()
        alone = [c for u in utterances for c in codes_from(network, {"xx": [u]}).values()]
        frames = [config.features.frames(round(u.duration * RATE)) for u in utterances]
        assert [len(c.codes_NG) for c in alone] == frames
        assert np.bincount(together.piece_N).tolist() == frames
        assert (together.codes_NG == np.concatenate([c.codes_NG for c in alone])).mean() > 0.999


def test_the_table(result):
    sharing, _ = result
    text = table(sharing)
    head, *rows = text.splitlines()
    assert head.split()[:4] == ["minutes", "speakers", "codes", "perplexity"]
    assert [row.split()[0] for row in rows[:3]] == ["xx", "yy", "zz"]
    assert rows[0].split()[2] == "4"
    assert rows[0].split()[-2:] == ["yy", f"{sharing.divergence_LL[0, 1]:.3f}"]
    assert f"{sharing.used_by[3]} of 20 codes are used by all 3 languages" in text
    assert f"{sharing.between:.3f} between languages, {sharing.halves:.3f} between halves" in text


def test_the_table_says_how_far_to_trust_it(tones, network):
    """A second of xx, one speaker of yy; zz is enough."""
    xx, yy, zz = ([u for u in read_manifest(path)] for path in tones)
    some = [*xx[:2], *(u for u in yy if u.speaker == "yy_0"), *zz]
    lines = table(measure(codes_from(network, sample(some, 1, 1)), 2, 10)).splitlines()
    assert [row.split()[0] for row in lines[1:4]] == ["xx*", "yy", "zz"]
    assert (
        "* more minutes are needed: halves are more than half as far apart as languages: xx"
        in lines
    )
    assert "one speaker only, so perhaps not the language: yy" in lines


def test_the_sample_is_even_and_repeats(tones):
    """Speakers take turns until the minutes are full; the seed decides which utterances."""
    utterances = [u for path in tones for u in read_manifest(path)]
    first = sample(utterances, 0.25, 1)
    assert first == sample(utterances, 0.25, 1) != sample(utterances, 0.25, 2)
    for some in first.values():
        assert 15 <= sum(u.duration for u in some) < 15 + 2
        spoken = [u.speaker for u in some]
        each = [spoken.count(speaker) for speaker in sorted(set(spoken))]
        assert len(each) == 4
        assert max(each) - min(each) <= 1


def test_less_audio_than_wanted_is_reported(tones, capsys):
    sample([*read_manifest(tones[0]), *read_manifest(tones[1])[:3]], 0.5, 1)
    err = capsys.readouterr().err
    assert "less than 0.5 minutes of yy 0.1" in err
    assert "xx" not in err


def test_long_recordings_are_cut_into_pieces(network, tmp_path):
    (path,) = corpus(tmp_path, {"xx": 1}, letters="abcd" * 88)  # 70.4 seconds
    some = sample(read_manifest(path), 5, 1)["xx"]
    assert sorted(u.start for u in some) == pytest.approx([0, 70.4 / 3, 2 * 70.4 / 3])
    (codes,) = codes_from(network, {"xx": some}).values()
    assert len(np.unique(codes.piece_N)) == 3
    assert codes.seconds == pytest.approx(70.4)


def test_an_utterance_of_two_manifests_counts_once(model, tones, capsys):
    once = analyze_codebook(model, tones[:2])
    twice = analyze_codebook(model, [*tones[:2], tones[0]])
    assert "24 utterances are listed twice and count once" in capsys.readouterr().err
    assert twice.uses["xx"].frames == once.uses["xx"].frames


def test_models_of_other_toolkits_are_analyzed_too(tones, tmp_path, monkeypatch):
    from speechx.interchange import proof
    from speechx.interchange.conversion import convert

    small_model(small_convolutional("layer")).save(tmp_path / "ours", ["xx"])
    monkeypatch.setattr(proof, "available", lambda format: False)  # proved elsewhere
    convert(tmp_path / "ours", tmp_path / "theirs", "hugging_face")
    ours, theirs = (analyze_codebook(tmp_path / name, tones[:1]) for name in ("ours", "theirs"))
    assert (ours.uses["xx"].counts_GV == theirs.uses["xx"].counts_GV).all()
    assert ours.uses["xx"].used > 2


def test_one_language_is_reported(model, tones, tmp_path, capsys):
    out = tmp_path / "one"
    out.mkdir()
    (out / "heat_map.png").write_bytes(b"of an earlier analysis")
    sharing = analyze_codebook(model, tones[:1], out)
    assert "one language" in capsys.readouterr().err
    assert [p.name for p in out.iterdir()] == ["codebook.json"]
    assert json.loads((out / "codebook.json").read_text())["median_divergence"]["languages"] is None
    assert "one language, none to compare" in table(sharing)


def test_utterances_too_short_for_a_frame_are_reported(model, tones, tmp_path, capsys):
    blip = tmp_path / "blip.wav"
    write_wav(blip, np.zeros(300, dtype=np.float32))
    spoken = read_manifest(tones[0])
    short = replace(spoken[0], id="blip", audio=blip, duration=300 / RATE)
    write_manifest(tmp_path / "some.jsonl", [*spoken, short, replace(short, id="b", language="qq")])
    sharing = analyze_codebook(model, [tmp_path / "some.jsonl", tones[2]])
    err = capsys.readouterr().err
    assert "2 utterances are too short for a frame and left out: b, blip" in err
    assert "qq has no utterance of one frame and is left out" in err
    assert list(sharing.uses) == ["xx", "zz"]
    write_manifest(tmp_path / "none.jsonl", [short])
    with pytest.raises(UserError, match="long enough for one frame"):
        analyze_codebook(model, [tmp_path / "none.jsonl"])


def test_mistakes_are_user_errors(model, tones, tmp_path, monkeypatch):
    toy_model(tmp_path / "ctc")
    with pytest.raises(UserError, match="trained with ctc and has no quantizer"):
        analyze_codebook(tmp_path / "ctc", tones)
    with pytest.raises(UserError, match="--minutes must be more than 0, not -1"):
        analyze_codebook(model, tones, minutes=-1)
    with pytest.raises(UserError, match="--seed must be 0 or more, not -1"):
        analyze_codebook(model, tones, seed=-1)
    with pytest.raises(UserError, match="cannot read the manifest"):
        analyze_codebook(model, [tmp_path / "absent.jsonl"])
    monkeypatch.setattr("speechx.diagnostics.codebook.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'speechx\[figures\]'"):
        analyze_codebook(model, tones, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_languages_without_any_difference_can_be_drawn(tmp_path):
    from speechx.diagnostics.codebook_figures import draw_dendrogram, draw_heat_map

    same = LanguageCodes(
        np.zeros((20, 1), dtype=int), np.arange(20) % 2, np.zeros(20, dtype=int), 60.0
    )
    sharing = measure({"xx": same, "yy": same}, 1, 4)
    draw_heat_map(sharing, tmp_path / "heat.png")
    draw_dendrogram(sharing, tmp_path / "tree.png")
    assert len(list(tmp_path.iterdir())) == 2


def test_many_languages_fit_into_the_figures(tmp_path):
    """60 languages, some starred, some without controls: drawn, and not too large to be opened."""
    from speechx.diagnostics.codebook_figures import draw_dendrogram, draw_heat_map

    random = np.random.default_rng(0)
    samples = {}
    for index in range(60):
        frames = 200 if index % 3 else 5
        codes_NG = random.choice(320, (frames, 2), p=random.dirichlet(np.full(320, 0.1)))
        pieces = 10 if index % 5 else 1
        speaker_N = np.full(frames, -1) if index % 2 else np.arange(frames) % 3
        piece_N = np.arange(frames) % pieces
        samples[f"language {index}"] = LanguageCodes(codes_NG, piece_N, speaker_N, 60.0)
    sharing = measure(samples, 2, 320)
    for draw, name in ((draw_heat_map, "heat.png"), (draw_dendrogram, "tree.png")):
        draw(sharing, tmp_path / name)
        width, height = struct.unpack(">II", (tmp_path / name).read_bytes()[16:24])
        assert 1000 < max(width, height) < 8000


def test_the_figures_packages_are_imported_only_to_draw():
    modules = "speechx.diagnostics.codebook, speechx.diagnostics.codebook_figures"
    code = f"import sys, {modules}; sys.exit(bool({{'matplotlib', 'scipy'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
