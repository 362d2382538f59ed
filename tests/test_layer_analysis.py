"""Layers of a model that knows tones, analysed; codes scored against phones with known times."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from speechx import layer_analysis
from speechx.cli.main import main
from speechx.data.manifest import Utterance, read_manifest, write_manifest
from speechx.data.phone_times import TimedPhone, phones_of, timed_phones
from speechx.diagnostics.abx import Token, abx_error, draw_triples, path_means
from speechx.diagnostics.codebook import analyze_codebook
from speechx.diagnostics.probes import accuracy, hold_out, make_task
from speechx.diagnostics.unit_quality import CodedSpeech, matches, pnmi, unit_quality
from speechx.errors import UserError
from speechx.features import extract_features
from speechx.layer_analysis import analyze_layers
from speechx.unit_analysis import analyze_units
from tests.conftest import RATE, TONES, tone_wave, write_wav
from tests.toy_models import toy_model
from tests.transcription.test_feature_model import pretrained, small_filterbank


def timed_tones(folder, languages=("xx", "yy"), speakers=3, each=4, seed=0):
    """Manifests of tones of 0.15 s with 0.03 s of silence behind each, and their times."""
    random, paths = np.random.default_rng(seed), []
    for language in languages:
        some = []
        for index in range(speakers * each):
            letters = "".join(random.choice(list(TONES), 8))
            audio = folder / language / f"{index}.wav"
            wave_S = tone_wave(letters, random)
            write_wav(audio, wave_S)
            times = [[0.18 * i, 0.18 * i + 0.15, letter] for i, letter in enumerate(letters)]
            some.append(
                Utterance(
                    id=f"{language}_{index}", audio=audio, duration=len(wave_S) / RATE,
                    language=language, speaker=f"{language}_{index % speakers}",
                    phones=tuple(letters), extra={"phone_times": times},
                )
            )  # fmt: skip
        paths.append(folder / f"{language}.jsonl")
        write_manifest(paths[-1], some)
    return paths


@pytest.fixture(scope="module")
def tones_in_time(tmp_path_factory):
    return timed_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return toy_model(tmp_path_factory.mktemp("model") / "toy")


def test_layers_know_tones_and_not_what_is_not_there(
    tones_in_time, model, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(layer_analysis, "TRIPLES", 500)
    words = ["analyze", "layers", str(model), *map(str, tones_in_time), "-o", str(tmp_path)]
    assert main(words) == 0
    found = json.loads((tmp_path / "layers.json").read_text())
    assert found["layers"] == [0, 1, 2]
    assert min(found["probes"]["phones"]["accuracy"]) > 0.7  # random weights keep tones apart
    assert found["probes"]["phones"]["chance"] < 0.4
    assert max(found["probes"]["language"]["accuracy"]) < 0.9  # both have the same tones
    assert found["probes"]["speaker"]["classes"] == 6
    for mode in ("within", "across"):
        assert max(found["abx"][mode]["error"]) < 0.2
    assert (tmp_path / "layers.png").stat().st_size > 1000
    table = capsys.readouterr().out
    assert "ABX across" in table
    assert main(words) == 0
    assert capsys.readouterr().out == table  # a seed decides everything


def test_what_has_no_labels_is_left_out(tones_in_time, model, tmp_path, caplog):
    some = [replace(u, extra={}, speaker=None) for u in read_manifest(tones_in_time[0])]
    write_manifest(tmp_path / "one.jsonl", some)
    with pytest.raises(UserError, match="nothing to probe"):
        analyze_layers(model, [tmp_path / "one.jsonl"])
    assert "the phones have no times" in caplog.text
    untimed = [replace(u, extra={}) for p in tones_in_time for u in read_manifest(p)]
    write_manifest(tmp_path / "two.jsonl", untimed)
    scores = analyze_layers(model, [tmp_path / "two.jsonl"])
    assert set(scores.accuracy) == {"language", "speaker"}
    assert scores.error == {}
    nobody = [replace(u, speaker=None) for p in tones_in_time for u in read_manifest(p)]
    write_manifest(tmp_path / "three.jsonl", nobody)
    scores = analyze_layers(model, [tmp_path / "three.jsonl"])
    assert set(scores.accuracy) == {"phones", "language"}
    assert set(scores.error) == {"any"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"minutes": 0}, "--minutes must be more than 0"),
        ({"seed": -1}, "--seed must be 0 or more"),
        ({"alignments": "nowhere"}, "a folder of alignments is needed"),
        ({"convention": "keras"}, "convention is 'keras'"),
    ],
)
def test_settings_that_cannot_be(tones_in_time, model, tmp_path, options, said):
    if "alignments" in options:
        options["alignments"] = tmp_path / options["alignments"]
    with pytest.raises(UserError, match=said):
        analyze_layers(model, tones_in_time, **options)


def test_alignments_of_ours_and_of_others(tones_in_time, tmp_path):
    from praatio import textgrid

    first, second, third, *_ = read_manifest(tones_in_time[0])
    expected = [TimedPhone(*one) for one in first.extra["phone_times"]]
    bare = [replace(u, extra={}) for u in (first, second, third)]
    json_phones = [{"phone": p.text, "start": p.start, "end": p.end} for p in expected]
    (tmp_path / f"{first.id}.json").write_text(json.dumps({"segments": [{"phones": json_phones}]}))
    grid = textgrid.Textgrid()
    entries = [(p.start, p.end, p.text) for p in expected] + [(1.43, 1.44, "sil")]
    grid.addTier(textgrid.IntervalTier("words", [(0, 1, "word")], 0, 1.44))
    grid.addTier(textgrid.IntervalTier("anna - phones", entries, 0, 1.44))
    (tmp_path / "anna").mkdir()
    grid.save(
        str(tmp_path / f"anna/{second.audio.stem}.TextGrid"),
        "long_textgrid",
        includeBlankSpaces=True,
    )
    part = replace(bare[1], id="part", start=0.36, duration=0.7)
    known = timed_phones([*bare, part], tmp_path)
    assert phones_of(bare[0], known) == expected
    assert [p.text for p in phones_of(bare[1], known)] == [p.text for p in expected]
    assert phones_of(bare[1], known)[3].start == pytest.approx(expected[3].start)
    assert phones_of(bare[2], known) == []
    assert [p.text for p in phones_of(part, known)] == [p.text for p in expected[2:6]][
        : len(phones_of(part, known))
    ]
    assert phones_of(part, known)[0].start == pytest.approx(0)
    cut = replace(bare[0], start=0.18, duration=0.4)
    assert [p.text for p in phones_of(cut, known)] == [p.text for p in expected[1:3]]
    (tmp_path / f"{third.id}.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read as an alignment"):
        timed_phones(bare, tmp_path)
    with pytest.raises(UserError, match="for none of the 1 utterances"):
        timed_phones([replace(first, id="x", audio=tmp_path / "x.wav")], tmp_path)
    for wrong in ([["a", 1, 2]], [[2, 1, "a"]], [[0, 1, "a"], [0.5, 2, "b"]], [3]):
        with pytest.raises(UserError, match=first.id):
            timed_phones([replace(first, extra={"phone_times": wrong})])


def test_codes_are_scored_against_phones(tones_in_time, tmp_path):
    folder = pretrained(tmp_path / "model", small_filterbank())
    sharing = analyze_codebook(folder, tones_in_time, tmp_path / "codes")
    written = json.loads((tmp_path / "codes/codebook.json").read_text())["phones"]
    assert set(written) == {"xx", "yy", "overall"}
    assert set(written["overall"]) == {"all groups", "group 0", "group 1"}
    assert (
        sharing.quality["xx"]["all groups"].pnmi
        > sharing.quality["xx"]["all groups"].pnmi_of_chance
    )
    extract_features(tones_in_time, tmp_path / "units", folder, layer=1, units=8)
    units = analyze_units(folder, tmp_path / "units", tones_in_time)
    quality = units.quality["overall"]["units"]
    assert quality.phones == 4
    assert quality.pnmi > 0.4 > 0.1 > quality.pnmi_of_chance
    assert (units.groups, units.entries) == (1, 8)
    words = ["analyze", "codebook", "--model", str(folder), "--units", str(tmp_path / "units")]
    assert main([*words, "--manifest", *map(str, tones_in_time)]) == 0


def test_quality_of_codes_by_hand():
    centres_N = 0.0125 + 0.02 * np.arange(20)
    phones = [TimedPhone(0.0, 0.1, "a"), TimedPhone(0.1, 0.2, "b"), TimedPhone(0.3, 0.4, "a")]
    exact = np.array([1] * 5 + [2] * 5 + [0] * 5 + [1] * 5)
    quality = unit_quality([CodedSpeech(exact, centres_N, phones)])
    assert (quality.frames, quality.phones, quality.codes) == (15, 2, 2)
    assert (quality.phone_purity, quality.cluster_purity, quality.pnmi) == pytest.approx((1, 1, 1))
    # Changes at 0.1025, 0.2025 and 0.3025; edges at 0, 0.1, 0.2, 0.3 and 0.4.
    assert quality.boundary_precision == 1
    assert quality.boundary_recall == pytest.approx(3 / 5)
    mixed = unit_quality([CodedSpeech(np.zeros(20, int), centres_N, phones)])
    assert (mixed.phone_purity, mixed.cluster_purity) == pytest.approx((10 / 15, 1))
    assert mixed.pnmi == mixed.boundary_f1 == 0
    assert unit_quality([CodedSpeech(exact, centres_N, [])]) is None
    assert pnmi(np.array([[2, 2], [2, 2]])) == pytest.approx(0)
    assert matches(np.array([0.10, 0.11, 0.5]), np.array([0.12, 0.13, 0.479])) == 2


def test_normalised_mutual_information_is_that_of_scikit_learn():
    from sklearn.metrics import mutual_info_score

    random = np.random.default_rng(0)
    code_N, phone_N = random.integers(0, 9, 400), random.integers(0, 5, 400)
    phone_N[code_N < 3] = 1
    count_KP = np.zeros((9, 5), int)
    np.add.at(count_KP, (code_N, phone_N), 1)
    share = np.bincount(phone_N) / 400
    expected = mutual_info_score(code_N, phone_N) / -(share * np.log(share)).sum()
    assert pnmi(count_KP) == pytest.approx(expected)


def test_warping_by_hand():
    def slow(cost_IJ):
        best = {(-1, -1): (0.0, 0)}
        for i, j in np.ndindex(cost_IJ.shape):
            before = [best[k] for k in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if k in best]
            total, steps = min(before, key=lambda some: some[0])
            best[i, j] = total + cost_IJ[i, j], steps + 1
        total, steps = best[cost_IJ.shape[0] - 1, cost_IJ.shape[1] - 1]
        return total / steps

    random = np.random.default_rng(0)
    cost_PIJ, one_P, other_P = (
        random.random((30, 6, 5)),
        random.integers(1, 7, 30),
        random.integers(1, 6, 30),
    )
    found_P = path_means(cost_PIJ, one_P, other_P)
    for cost_IJ, i, j, found in zip(cost_PIJ, one_P, other_P, found_P, strict=True):
        assert found == pytest.approx(slow(cost_IJ[:i, :j]))


def test_abx_of_known_tokens():
    random = np.random.default_rng(0)
    tokens, frames = [], []
    for speaker in ("s", "t"):
        for phone, angle in (("a", 0.0), ("b", 1.0)):
            for _ in range(4):
                tokens.append(Token("xx", speaker, phone, 3 * len(tokens), 3))
                frames += [[np.cos(angle), np.sin(angle), 0.1 * random.random()]] * 3
    features_ND = 7 * np.array(frames)
    for across in (False, True):
        triples = draw_triples(tokens, 200, across, np.random.default_rng(1))
        a, b, x = ([tokens[i] for i in some] for some in triples.T)
        assert len(triples) == 200
        for one, two, three in zip(a, b, x, strict=True):
            assert one.phone == three.phone != two.phone
            assert one.speaker == two.speaker
            assert (one.speaker != three.speaker) == across
            assert one is not three
        assert abx_error(features_ND, tokens, triples) == 0
        assert abx_error(np.ones_like(features_ND), tokens, triples) == 0.5
    assert len(draw_triples(tokens[:8], 5, True, random)) == 0


def test_probes_are_scored_on_what_they_have_not_seen():
    random = np.random.default_rng(0)
    labels = ["a", "b"] * 100
    groups = [str(i // 20) for i in range(200)]
    test_N = hold_out(["all"] * 200, groups, random)
    assert {g for g, t in zip(groups, test_N, strict=True) if t}.isdisjoint(
        {g for g, t in zip(groups, test_N, strict=True) if not t}
    )
    task = make_task(labels, test_N)
    known = np.array([[label == "a", 0.0] for label in labels]) + 0.1 * random.random((200, 2))
    assert accuracy(known, task) == 1
    assert accuracy(random.random((200, 300)), task) < 0.8  # by heart it would be 1
    assert task.chance == pytest.approx(0.5)
    assert make_task(["a"] * 200, test_N) is None
    assert not hold_out(["a", "a"], ["x", "x"], random).any()


def test_broken_audio_is_listed_and_the_others_go_on(tones_in_time, model, tmp_path, capsys):
    some = read_manifest(tones_in_time[0])
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    some[3] = replace(some[3], audio=tmp_path / "broken.wav")
    write_manifest(tmp_path / "some.jsonl", some)
    assert main(["analyze", "layers", str(model), str(tmp_path / "some.jsonl")]) == 2
    said = capsys.readouterr()
    assert "broken.wav" in said.err
    assert "phones" in said.out
