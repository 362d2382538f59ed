"""Evaluation: the numbers are jiwer's, of the very transcripts that the commands write."""

from __future__ import annotations

import json
import unicodedata
import weakref
from dataclasses import replace
from pathlib import Path

import jiwer
import numpy as np
import pytest
import yaml

from speechx.audio.files import read_audio
from speechx.cli.main import main
from speechx.data.manifest import Utterance, read_manifest, write_manifest
from speechx.decoding.decoder import MappedDecoder
from speechx.decoding.kneser_ney import train
from speechx.decoding.mapping import random_map
from speechx.errors import UserError
from speechx.evaluation import evaluate
from speechx.interchange.conversion import convert
from speechx.models.folder import open_folder, times_file, write_temperature
from speechx.text.inventory import Inventory
from speechx.text.phone_policies import POLICIES
from speechx.transcription.loading import load
from speechx.transcription.recognizer import Recognizer
from speechx.unseen import RANDOM_MAPS, evaluate_unseen
from tests.conftest import tone_corpus
from tests.toy_models import LETTERS, PHONES, toy_model

METHODS = {
    "unmapped", "masked", "mapped", "weighted", "target_to_train", "random_map", "shuffled",
}  # fmt: skip


@pytest.fixture(scope="module")
def speller(tmp_path_factory) -> Recognizer:
    return load(toy_model(tmp_path_factory.mktemp("models") / "characters"), "cpu")


@pytest.fixture(scope="module")
def phonetician(tmp_path_factory) -> Recognizer:
    folder = tmp_path_factory.mktemp("models") / "phonemes"
    return load(toy_model(folder, PHONES, "phonemes"), "cpu")


@pytest.fixture(scope="module")
def held_out(tmp_path_factory) -> list[Path]:
    """Test manifests of two languages, one speaker or two each; texts of two words."""
    folder = tmp_path_factory.mktemp("tests")
    paths = []
    for language, utterances in (("xx", 5), ("yy", 3)):
        some = [
            replace(
                u, text=f"{u.text[:3]} {u.text[3:]}".title(), phones=tuple(PHONES[n : n + 4]) * 2
            )
            for n, u in enumerate(tone_corpus(folder, {language: utterances}, seed=utterances))
            if u.text
        ]
        paths.append(folder / f"{language}.jsonl")
        write_manifest(paths[-1], some)
    return paths


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    return Inventory.of(["a", "e", "u", "d", "k", "ɡ", "ʃ"], "xx", "a test")


def utterances(manifests: list[Path]) -> list[Utterance]:
    return [u for path in manifests for u in read_manifest(path)]


def test_characters_are_scored_as_jiwer_scores_the_transcripts(speller, held_out, tmp_path):
    scores = evaluate(speller, held_out, tmp_path / "deep/scores.json")
    some = utterances(held_out)
    said = [u.text.lower() for u in some if u.text]
    heard = [speller.transcribe(u.audio).text for u in some]
    assert set(scores) == {"cer", "wer"}
    assert scores["cer"].overall.rate == pytest.approx(jiwer.cer(said, heard))
    assert scores["wer"].overall.rate == pytest.approx(jiwer.wer(said, heard))
    for language in ("xx", "yy"):
        chosen = [n for n, u in enumerate(some) if u.language == language]
        theirs = jiwer.cer([said[n] for n in chosen], [heard[n] for n in chosen])
        assert scores["cer"].languages[language].rate == pytest.approx(theirs)
        assert scores["cer"].languages[language].utterances == len(chosen)
    written = json.loads((tmp_path / "deep/scores.json").read_text())
    assert written["manifests"] == [str(path) for path in held_out]
    assert written["model"] == str(speller.folder)
    assert written["metric"] == "cer"
    assert written["overall"]["rate"] == scores["cer"].overall.rate
    assert written["scores"]["wer"]["languages"]["yy"]["rate"] == scores["wer"].languages["yy"].rate
    assert {"policy", "macro", "worst", "low", "high"} <= {*written, *written["overall"]}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["scores.json"]


def test_phones_are_scored_as_tokens(phonetician, held_out):
    scores = evaluate(phonetician, held_out)
    some = utterances(held_out)
    said = [" ".join(u.phones or ()) for u in some]
    heard = [phonetician.transcribe(u.audio).text for u in some]
    assert set(scores) == {"per"}
    assert scores["per"].overall.rate == pytest.approx(jiwer.wer(said, heard))
    assert scores["per"].overall.tokens == 8 * len(some)


def test_a_lexicon_adds_the_error_rates_of_its_words(held_out, tmp_path):
    folder = toy_model(tmp_path / "model", PHONES, "phonemes")
    (tmp_path / "lexicon.txt").write_text("Tone\ta e\nOther\tb tʃ\ts i\n", encoding="utf-8")
    command = ["evaluate", "--model", str(folder), "--manifest", *map(str, held_out)]
    out = tmp_path / "scores.json"
    assert main([*command, "--lexicon", str(tmp_path / "lexicon.txt"), "-o", str(out)]) == 0
    written = json.loads(out.read_text())
    assert list(written["scores"]) == ["per", "cer", "wer"]
    assert {p for each in written["worst"] for p in each["hypothesis"].split()} <= set(PHONES)
    words = [w for each in written["scores"]["wer"]["worst"] for w in each["hypothesis"].split()]
    assert words.count("tone") + words.count("other") >= len(words) - len(utterances(held_out))


def test_two_spellings_of_a_phone_are_no_error(phonetician, held_out, tmp_path):
    some = utterances(held_out)[:2]
    heard = [phonetician.transcribe(u.audio).text.split() for u in some]
    assert "ɡ" in heard[0] + heard[1]
    latin = [tuple("g" if phone == "ɡ" else phone for phone in phones) for phones in heard]
    write_manifest(
        tmp_path / "own.jsonl", [replace(u, phones=p) for u, p in zip(some, latin, strict=True)]
    )
    assert evaluate(phonetician, [tmp_path / "own.jsonl"])["per"].overall.edits == 0


def own_words(model: Recognizer, some: list[Utterance], language: str) -> list[Utterance]:
    """The same recordings, with what the model writes as their text."""
    return [
        replace(u, language=language, text=text)
        for u in some
        if (text := model.transcribe(u.audio).text)
    ]


@pytest.mark.parametrize(
    ("tokens", "language", "change"),
    [
        ("ABCD ", "en", str.lower),
        ("ABCD ", "en", str.upper),
        ("I\u0130SÇ ", "tur", lambda text: text.replace("I", "ı").replace("İ", "i").lower()),
        ("ab.? ", "de", lambda text: f"«{text.upper()}!»".replace(".", " …").replace("?", " ")),
        ("oga' ", "uz", lambda text: text.upper().replace("'", "’")),
        ("e\u0301ao ", "fr", lambda text: unicodedata.normalize("NFC", text)),
    ],
)
def test_both_sides_are_prepared_by_one_rule(tokens, language, change, held_out, tmp_path):
    model = load(toy_model(tmp_path / "model", tuple(tokens)), "cpu")
    some = own_words(model, utterances(held_out), language)
    some = [replace(u, text=change(u.text or "")) for u in some]
    write_manifest(tmp_path / "m.jsonl", some)
    scores = evaluate(model, [tmp_path / "m.jsonl"], tmp_path / "scores.json")
    assert {name: each.overall.edits for name, each in scores.items()} == {"cer": 0, "wer": 0}
    assert scores["cer"].overall.tokens > 20
    for word in ("lower case", "punctuation", "apostrophes", "digits", "NFC"):
        assert word in scores["cer"].policy
    assert json.loads((tmp_path / "scores.json").read_text())["never_written"]["tokens"] == 0


def test_letters_that_a_model_never_writes_are_named_before_it_is_scored(
    held_out, tmp_path, capsys
):
    model = load(toy_model(tmp_path / "model", tuple("ABCD")), "cpu")
    some = [replace(u, language="en", text="Abba, Çad 7 a’c") for u in utterances(held_out)[:2]]
    write_manifest(tmp_path / "m.jsonl", some)
    evaluate(model, [tmp_path / "m.jsonl"], tmp_path / "scores.json")
    err = capsys.readouterr().err
    (line,) = (line for line in err.splitlines() if "can never write" in line)
    assert "12 of 28 reference tokens (42.9%): ' ' 6, 'ç' 2, '7' 2, \"'\" 2" in line
    assert err.index(line) < err.index("evaluate:")
    written = json.loads((tmp_path / "scores.json").read_text())["never_written"]
    assert written["counts"] == {" ": 6, "ç": 2, "7": 2, "'": 2}
    assert (written["tokens"], written["total"]) == (12, 28)
    assert written["share"] == pytest.approx(12 / 28)


def test_phones_that_a_model_or_an_inventory_lacks_are_named(
    phonetician, held_out, inventory, tmp_path, capsys
):
    some = [replace(u, phones=("a", "ɬ", "g")) for u in utterances(held_out)]
    some[0] = replace(some[0], phones=("a", "e"), text="another")
    write_manifest(tmp_path / "m.jsonl", some)
    evaluate(phonetician, [tmp_path / "m.jsonl"])
    assert "can never write 7 of 23 reference tokens (30.4%): 'ɬ' 7" in capsys.readouterr().err
    evaluate_unseen(phonetician, [tmp_path / "m.jsonl"], inventory)
    assert "a test: the inventory lacks 7 of 23 reference tokens" in capsys.readouterr().err


def test_languages_are_compared_by_one_code(held_out, tmp_path):
    from speechx.objectives.language_id import LanguageIDConfig
    from speechx.objectives.model import SpeechModel
    from speechx.text.vocabulary import Vocabulary
    from tests.conftest import small_filterbank

    outputs = {"language": Vocabulary("languages", ("tur", "tr_TR"))}
    SpeechModel(small_filterbank(), {"language": LanguageIDConfig()}, outputs).save(
        tmp_path / "model", ["tur"]
    )
    codes = ("tr", "tur", "tr_TR", "Turkish")
    some = [replace(u, language=c) for u, c in zip(utterances(held_out), codes, strict=False)]
    write_manifest(tmp_path / "m.jsonl", some)
    (accuracy,) = evaluate(load(tmp_path / "model", "cpu"), [tmp_path / "m.jsonl"]).values()
    assert accuracy.overall.rate == 1
    assert list(accuracy.languages) == ["tr"]
    assert "one code for each language" in accuracy.policy


def test_segments_are_scored_as_segments(speller, held_out, tmp_path):
    """Two stretches of one file, not the whole file twice."""
    first = utterances(held_out)[0]
    halves = [
        replace(first, id="1", duration=0.5, text="ab"),
        replace(first, id="2", start=0.4, duration=0.45, text="cd"),
    ]
    write_manifest(tmp_path / "halves.jsonl", halves)
    worst = evaluate(speller, [tmp_path / "halves.jsonl"])["cer"].worst
    for half in halves:
        wave_S = read_audio(half.audio, half.start, half.duration)
        (found,) = [w for w in worst if w.id == half.id]
        assert found.hypothesis == speller.transcribe(wave_S).text


def test_unlabelled_utterances_are_left_out_and_counted(speller, held_out, tmp_path, capsys):
    some = utterances(held_out)[:3]
    write_manifest(tmp_path / "some.jsonl", [*some[:2], replace(some[2], text=None)])
    scores = evaluate(speller, [tmp_path / "some.jsonl"])
    assert scores["cer"].overall.utterances == 2
    assert "1 of 3 utterances have no characters and are left out (xx_2)" in capsys.readouterr().err


@pytest.mark.parametrize("unseen", [False, True])
def test_recordings_that_cannot_be_read_are_named_and_count_as_silence(
    phonetician, held_out, inventory, tmp_path, capsys, unseen
):
    some = utterances(held_out)
    missing = [replace(u, audio=str(tmp_path / f"{u.id}.wav")) for u in some]
    manifest, out = tmp_path / "m.jsonl", tmp_path / "scores.json"
    write_manifest(manifest, [*some[:2], missing[2], *some[3:]])
    command = ["evaluate", "--model", str(phonetician.folder), "--manifest", str(manifest)]
    if unseen:
        write_manifest(tmp_path / "phones.jsonl", some)
        command += ["--inventory", str(tmp_path / "phones.jsonl")]
        command += ["--topline", str(phonetician.folder)]
    assert main([*command, "-o", str(out)]) == 2
    assert f"speechx: {some[2].id}: {missing[2].audio}: cannot be read" in capsys.readouterr().err
    written = json.loads(out.read_text())
    assert [message.split(":")[0] for message in written["unreadable"]] == [some[2].id]
    per = written["methods"]["unmapped"] if unseen else written["scores"]["per"]
    assert per["overall"]["tokens"] == sum(len(u.phones or ()) for u in some)
    (silent,) = [w for w in per["worst"] if w["id"] == some[2].id]
    assert (silent["hypothesis"], silent["edits"]) == ("", silent["tokens"])

    write_manifest(manifest, missing)
    assert main([*command, "-o", str(out)]) == 1
    assert "none of the recordings can be read" in capsys.readouterr().err


def test_a_label_of_stress_alone_is_no_token(phonetician, held_out, tmp_path):
    some = utterances(held_out)
    plain = evaluate(phonetician, held_out)["per"].overall
    stressed = [replace(u, phones=("ˈ", *u.phones)) for u in some if u.phones]
    manifest = tmp_path / "m.jsonl"
    write_manifest(manifest, stressed)
    marked = evaluate(phonetician, [manifest])["per"].overall
    assert (marked.tokens, marked.edits) == (plain.tokens, plain.edits)


def test_scores_say_what_they_leave_out_and_how_they_compare(
    speller, phonetician, held_out, inventory, tmp_path
):
    some = utterances(held_out)
    write_manifest(tmp_path / "some.jsonl", [*some[1:], replace(some[0], text=None, phones=None)])
    manifests = [tmp_path / "some.jsonl"]
    cases = [
        (evaluate, (), "per", "prepared: references and hypotheses in one spelling of IPA"),
        (evaluate_unseen, (inventory,), "per", "one spelling of IPA"),
        (
            evaluate,
            (),
            "cer",
            "prepared: references and hypotheses by speechx.text.normalize (NFC, lower case",
        ),
    ]
    for function, more, metric, prepared in cases:
        model = speller if metric == "cer" else phonetician
        function(model, manifests, *more, tmp_path / "scores.json")
        written = json.loads((tmp_path / "scores.json").read_text())
        assert written["without_labels"] == 1
        for result in written.get("scores", written.get("methods")).values():
            assert prepared in result["policy"]
            assert result["overall"]["utterances"] == len(some) - 1


def test_scores_name_the_policies_that_texts_went_through(speller, held_out, tmp_path):
    def policy(*named: str | None) -> str:
        some = [
            replace(u, extra={"text_policy": name} if name else {})
            for u, name in zip(utterances(held_out)[:3], named, strict=True)
        ]
        write_manifest(tmp_path / "some.jsonl", some)
        scores = evaluate(speller, [tmp_path / "some.jsonl"], tmp_path / "scores.json")
        written = json.loads((tmp_path / "scores.json").read_text())
        assert written["policy"] == scores["cer"].policy
        assert scores["wer"].table().endswith(scores["wer"].policy)
        return scores["wer"].policy

    assert "policy `" not in policy(None, None, None)
    one = policy("babel: hes=drop", "babel: hes=drop", "babel: hes=drop")
    assert "by the policy `babel: hes=drop`;" in one
    mixed = policy("babel: hes=drop", None, "babel: hes=keep")
    assert (
        "without a policy and by the policy `babel: hes=drop` and by the policy `babel: hes=keep`"
    ) in mixed


def test_only_one_batch_of_outputs_is_held(speller, held_out, tmp_path):
    """A test set of hours is tens of gigabytes of probabilities; only their decodings are kept."""
    some = utterances(held_out)
    many = [replace(u, id=f"{u.id}_{n}") for n in range(40) for u in some]
    alive, made = [], []

    class Counting:
        def decode(self, outputs):
            for outputs_TV in outputs:
                made.append(weakref.ref(outputs_TV.base))
                alive.append(len({id(r()) for r in made if r() is not None}))
            return [[] for _ in outputs]

    for _ in speller.decode(many, [Counting()]):
        pass
    assert len(alive) == len(many)
    assert max(alive) <= 2


def test_labels_of_the_wrong_kind_are_an_error(phonetician, held_out, tmp_path):
    write_manifest(tmp_path / "text.jsonl", [replace(u, phones=None) for u in utterances(held_out)])
    with pytest.raises(UserError, match="needs `phones` in the manifest"):
        evaluate(phonetician, [tmp_path / "text.jsonl"])


def test_the_five_conditions_of_an_unseen_language(phonetician, held_out, inventory, tmp_path):
    methods, mapping = evaluate_unseen(phonetician, held_out, inventory, tmp_path / "unseen.json")
    some = utterances(held_out)
    said = [" ".join(u.phones or ()) for u in some]
    unmapped = [phonetician.transcribe(u.audio).text for u in some]
    mapped = [phonetician.phonemize(u.audio, inventory).text for u in some]
    assert set(methods) == METHODS
    assert methods["unmapped"].overall.rate == pytest.approx(jiwer.wer(said, unmapped))
    assert methods["mapped"].overall.rate == pytest.approx(jiwer.wer(said, mapped))
    shuffled = mapped[1:] + mapped[:1]
    assert methods["shuffled"].overall.rate == pytest.approx(jiwer.wer(said, shuffled))
    assert mapping == phonetician.map_inventory(inventory)
    shared = {"a", "e", "ɡ"}
    heard = {phone for w in methods["masked"].worst for phone in w.hypothesis.split()}
    assert heard <= shared
    written = json.loads((tmp_path / "unseen.json").read_text())
    assert set(written["methods"]) == METHODS
    assert written["inventory"] == "a test"
    for name, score in methods.items():
        assert written["methods"][name]["overall"]["rate"] == score.overall.rate


def test_the_random_map_is_a_mean_over_draws(phonetician, held_out, inventory):
    methods, _ = evaluate_unseen(phonetician, held_out, inventory)
    some = utterances(held_out)
    assert methods["random_map"].overall.tokens == RANDOM_MAPS * methods["mapped"].overall.tokens
    draws = [random_map(PHONES, inventory.phones, seed) for seed in range(RANDOM_MAPS)]
    assert len({draw.rows for draw in draws}) == RANDOM_MAPS
    rates = []
    for draw in draws:
        heard = []
        for utterance in some:
            log_TV = phonetician.log_probabilities(read_audio(utterance.audio))
            heard.append(" ".join(span.token for span in MappedDecoder(draw).decode([log_TV])[0]))
        rates.append(jiwer.wer([" ".join(u.phones or ()) for u in some], heard))
    assert methods["random_map"].overall.rate == pytest.approx(np.mean(rates))


def test_draws_of_the_random_map_are_no_further_utterances(
    phonetician, held_out, inventory, tmp_path
):
    some = utterances(held_out)
    for speakers, resampled in ((True, "4 speakers"), (False, "8 utterances")):
        write_manifest(
            tmp_path / "m.jsonl",
            [replace(u, speaker=u.speaker if speakers else None) for u in some],
        )
        methods, _ = evaluate_unseen(phonetician, [tmp_path / "m.jsonl"], inventory)
        assert methods["random_map"].overall.resampled == resampled
        assert methods["mapped"].overall.resampled == resampled
        assert methods["random_map"].overall.utterances == len(some)
        assert "summed over 5 random maps" in methods["random_map"].policy


def test_the_shuffled_control_is_another_sentence(phonetician, held_out, inventory, tmp_path):
    """Corpora hold a sentence many times; its other reading is no chance level."""
    a, b, c, d = utterances(held_out)[:4]
    some = [a, replace(b, phones=a.phones), replace(c, text=a.text), d]
    write_manifest(tmp_path / "some.jsonl", some)
    mapped = [phonetician.phonemize(u.audio, inventory).text for u in some]
    methods, _ = evaluate_unseen(phonetician, [tmp_path / "some.jsonl"], inventory)
    theirs = jiwer.wer([" ".join(u.phones) for u in some], [mapped[n] for n in (3, 2, 3, 0)])
    assert methods["shuffled"].overall.rate == pytest.approx(theirs)
    for same in (some[:1], some[:2], [a, some[2]]):
        write_manifest(tmp_path / "same.jsonl", same)
        with pytest.raises(UserError, match="xx_0: all others have the same text"):
            evaluate_unseen(phonetician, [tmp_path / "same.jsonl"], inventory)


def test_characters_have_no_phones_to_map(speller, held_out, inventory):
    with pytest.raises(UserError, match="writes characters"):
        evaluate_unseen(speller, held_out, inventory)


def test_a_pretraining_model_has_its_metrics_per_language(manifests, tmp_path, capsys):
    from speechx.cli.main import main
    from speechx.objectives.model import SpeechModel
    from speechx.objectives.wav2vec2 import Wav2Vec2Config
    from tests.conftest import small_filterbank

    model = SpeechModel(small_filterbank(), {"wav2vec2": Wav2Vec2Config(num_negatives=10)}, {})
    model.save(tmp_path / "model", ["xx"])
    out = tmp_path / "scores.json"
    command = ["evaluate", "--model", str(tmp_path / "model"), "--manifest", str(manifests[1])]
    assert main([*command, "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == ["wav2vec2", "xx", "yy", "overall"]
    written = json.loads(out.read_text())["wav2vec2"]
    assert main([*command, "--head", "ctc"]) == 1
    assert "has no head 'ctc'; it has wav2vec2" in capsys.readouterr().err
    assert main([*command, "-o", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"speechx: {tmp_path}: Is a directory\n"
    assert 0 < written["overall"]["bits"] < 10
    assert main(["transcribe", "x.wav", "--model", str(tmp_path / "model")]) == 1
    assert "speechx finetune" in capsys.readouterr().err


def test_an_objective_beside_a_head_is_evaluated_by_its_name(manifests, tmp_path, capsys):
    from speechx.cli.main import main
    from speechx.objectives.ctc import CTCConfig
    from speechx.objectives.model import SpeechModel
    from speechx.objectives.wav2vec2 import Wav2Vec2Config
    from speechx.text.vocabulary import Vocabulary
    from tests.conftest import small_filterbank

    objectives = {
        "speech": Wav2Vec2Config(num_negatives=10), "letters": CTCConfig(tokens="characters")
    }  # fmt: skip
    letters = {"letters": Vocabulary("characters", ("a", "b"))}
    SpeechModel(small_filterbank(), objectives, letters).save(tmp_path / "model", ["xx"])
    command = ["evaluate", "--model", str(tmp_path / "model"), "--manifest", str(manifests[1])]
    assert main([*command, "--head", "speech"]) == 0
    assert "bits" in capsys.readouterr().out
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "CER" in captured.out
    assert "--head chooses speech" in captured.err


def test_a_manifest_is_scored_once_and_equal_ids_are_kept_apart(speller, held_out, tmp_path):
    with pytest.raises(UserError, match="given twice"):
        evaluate(speller, [held_out[0], held_out[0]])
    twin = tmp_path / "twin.jsonl"
    write_manifest(twin, read_manifest(held_out[0]))
    scores = evaluate(speller, [held_out[0], twin])
    once = evaluate(speller, [held_out[0]])
    assert scores["cer"].overall.tokens == 2 * once["cer"].overall.tokens


class TestCalibration:
    @pytest.fixture(params=["characters", "phonemes"])
    def folder(self, tmp_path, request) -> Path:
        tokens = {"characters": LETTERS, "phonemes": PHONES}[request.param]
        return toy_model(tmp_path / "model", tokens, request.param)

    def evaluated(self, folder: Path, manifests: list[Path], *options: str) -> dict:
        out = folder.parent / "scores.json"
        command = ["evaluate", "--model", str(folder), "--manifest", *map(str, manifests)]
        assert main([*command, "-o", str(out), *options]) == 0
        return json.loads(out.read_text())

    def test_evaluate_calibrates_a_folder(self, folder, held_out, capsys):
        before = self.evaluated(folder, held_out)
        assert "--calibrate" in capsys.readouterr().out
        saved, files = open_folder(folder), {p: p.read_bytes() for p in folder.iterdir()}
        after = self.evaluated(folder, held_out, "--calibrate")
        shown = capsys.readouterr().out
        again = self.evaluated(folder, held_out)
        assert again["reliability"] == after["reliability"]
        old, new = before["reliability"], after["reliability"]
        assert old["temperature"] == 1 != new["temperature"]
        assert new["expected_calibration_error"] < old["expected_calibration_error"]
        assert f"{new['expected_calibration_error']:.3f}" in shown
        assert old["count"] == new["count"] == sum(b["count"] for b in new["bins"])
        assert {p for p in files if p.read_bytes() != files[p]} == {folder / "config.yaml"}
        changed = open_folder(folder)
        assert changed.temperatures == {"ctc": new["temperature"]}
        assert changed.objectives == saved.objectives
        assert {n: s for n, s in before.items() if n != "reliability"} == {
            n: s for n, s in again.items() if n != "reliability"
        }

    def test_every_word_that_is_written_counts_once(self, folder, held_out):
        found = self.evaluated(folder, held_out)["reliability"]
        model = load(folder, "cpu")
        spans = [s for m in held_out for _, (s,) in model.decode(read_manifest(m))]
        texts = ["".join(span.token for span in each) for each in spans]
        words = sum(len(text.split()) for text in texts)
        assert found["count"] == (words if found["what"] == "words" else sum(map(len, spans)))

    def test_a_temperature_and_times_stay_with_their_model(self, tmp_path):
        folder = toy_model(tmp_path / "model")
        write_temperature(folder, "ctc", 1.5)
        times_file(folder, "ctc").write_bytes(b"times")
        convert(folder, tmp_path / "copy")
        assert open_folder(tmp_path / "copy").temperatures == {"ctc": 1.5}
        copy = times_file(tmp_path / "copy", "ctc")
        assert copy.read_bytes() == b"times"
        copy.unlink()
        assert load(tmp_path / "copy", "cpu").head.temperature == 1.5

    @pytest.mark.parametrize(
        "given", ["[1.5]", "{ctc: -1}", "{ctc: true}", "{ctc: .inf}", "{ctc: a}"]
    )
    def test_a_temperature_that_is_none(self, tmp_path, given):
        folder = toy_model(tmp_path / "model")
        with (folder / "config.yaml").open("a") as file:
            file.write(f"temperatures: {given}\n")
        with pytest.raises(UserError, match="temperatures"):
            open_folder(folder)

    def test_what_cannot_be_calibrated(self, tmp_path, held_out, capsys):
        (tmp_path / "other").mkdir()
        command = ["evaluate", "--calibrate", "--manifest", str(held_out[0]), "--model"]
        assert main([*command, str(tmp_path / "other")]) == 1
        assert "speechx convert" in capsys.readouterr().err
        folder = str(toy_model(tmp_path / "model", PHONES, "phonemes"))
        assert main([*command, folder, "--inventory", "it"]) == 1
        assert "unseen" in capsys.readouterr().err


def test_a_prism_folder_is_evaluated_in_one_command(phonetician, held_out, tmp_path, capsys):
    """wav.scp with paths below the folder above, text.good without spaces, text.lang with tags."""
    folder = tmp_path / "sets/sample"
    (folder / "wavs").mkdir(parents=True)
    scp, good, lang = [], [], []
    for n, u in enumerate(utterances(held_out)[:4]):
        (folder / f"wavs/u{n}.wav").write_bytes(Path(u.audio).read_bytes())
        scp.append(f"u{n}\tsample/wavs/u{n}.wav")
        good.append(f"u{n}\t{''.join(u.phones or ())}")
        lang.append(f"u{n} <eng><sample>")
    for name, lines in (("wav.scp", scp), ("text.good", good), ("text.lang", lang)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    out, page = tmp_path / "o.json", tmp_path / "page.html"
    command = ["evaluate", "--model", str(phonetician.folder), "--kaldi", str(folder)]
    assert main([*command, "-o", str(out), "--page", str(page), "--details"]) == 0
    written = json.loads(out.read_text())
    details = written["details"]
    assert written["manifests"] == [str(folder)]
    assert set(written["languages"]) == {"en"}
    assert details["prism"]["overall"]["utterances"] == 4
    assert (
        details["prism"]["overall"]["segments"] == details["policies"]["split"]["overall"]["tokens"]
    )
    assert set(details["policies"]) == set(POLICIES)
    assert details["policies"]["strict"]["overall"] == written["overall"]
    assert sum(row[2] for row in details["confusions"]["phones"]) == written["overall"]["edits"]
    assert "prism" in capsys.readouterr().out
    assert page.read_text().count("data:audio") == 4
    assert main([*command, "-o", str(out), "--inventory", "it"]) == 0
    unseen = json.loads(out.read_text())["prism"]
    assert set(unseen) == METHODS - {"random_map"}
    assert unseen["unmapped"] == details["prism"]


def test_evaluate_refuses_test_data_that_were_trained_on(speller, held_out, tmp_path, capsys):
    command = ["evaluate", "--model", str(speller.folder), "--manifest", *map(str, held_out)]
    shared = [*command, "--train", str(held_out[0])]
    assert main(shared) == 1
    assert "--allow-leaks" in capsys.readouterr().err
    assert main([*shared, "--allow_leaks", "-o", str(tmp_path / "o.json")]) == 0
    leaks = json.loads((tmp_path / "o.json").read_text())["leaks"]
    assert len(leaks["recording"]) == 5
    assert leaks["train"] == [str(held_out[0])]


class TestUnseen:
    def test_a_language_of_the_training_is_refused(self, tmp_path, held_out, capsys):
        folder = str(toy_model(tmp_path / "model", PHONES, "phonemes"))
        config = yaml.safe_load((tmp_path / "model/config.yaml").read_text())
        config["languages"] = ["ita"]
        (tmp_path / "model/config.yaml").write_text(yaml.safe_dump(config))
        manifest = tmp_path / "it.jsonl"
        write_manifest(manifest, [replace(u, language="it") for u in utterances(held_out)[:4]])
        command = ["evaluate", "--unseen", "--model", folder, "--manifest", str(manifest)]
        assert main(command) == 1
        assert "trained on it" in capsys.readouterr().err
        assert main([*command, "--allow-leaks"]) == 0

    def test_several_languages_have_their_own_inventories_and_one_table(
        self, tmp_path, held_out, capsys
    ):
        folder = str(toy_model(tmp_path / "model", PHONES, "phonemes"))
        some = utterances(held_out)
        write_manifest(tmp_path / "pt.jsonl", [replace(u, language="pt") for u in some[:4]])
        write_manifest(tmp_path / "ca.jsonl", [replace(u, language="ca") for u in some[:4]])
        for language, phones in (("pt", "a e ɡ"), ("ca", "a e t")):
            (tmp_path / f"{language}.phones.txt").write_text(phones)
            sentences = [list(phones.split())] * 3
            train(sentences, 2).save(tmp_path / f"{language}.safetensors")
        out = tmp_path / "o.json"
        command = ["evaluate", "--unseen", "--model", folder, "-o", str(out), "--topline", folder]
        command += ["--manifest", str(tmp_path / "pt.jsonl"), str(tmp_path / "ca.jsonl")]
        command += ["--inventory", str(tmp_path / "{language}.phones.txt")]
        assert main([*command, "--lm", str(tmp_path / "{language}.safetensors")]) == 0
        written = json.loads(out.read_text())
        assert set(written["methods"]) == METHODS | {"masked_lm", "mapped_lm", "topline"}
        for method in written["methods"].values():
            rates = [method["languages"][language]["rate"] for language in ("pt", "ca")]
            assert method["macro"] == pytest.approx(sum(rates) / 2)
        sources = [each["inventory"] for each in written["languages"]]
        assert ["ca.phones.txt" in sources[0], "pt.phones.txt" in sources[1]] == [True, True]


def test_how_a_model_computes_is_chosen_as_in_transcribe(speller, held_out, tmp_path):
    scores = {}
    for name, options in (
        ("plain", []),
        ("float32", ["--batch-size", "4", "--compute-type", "float32"]),
        ("bfloat16", ["--compute-type", "bfloat16"]),
    ):
        out = tmp_path / f"{name}.json"
        command = ["evaluate", "--model", str(speller.folder), "--manifest", *map(str, held_out)]
        assert main([*command, "-o", str(out), *options]) == 0
        scores[name] = json.loads(out.read_text())
    assert scores["plain"] == scores["float32"]
    assert scores["bfloat16"]["compute_type"] == "bfloat16"
    difference = scores["plain"]["overall"]["rate"] - scores["bfloat16"]["overall"]["rate"]
    assert abs(difference) < 0.1
    for options, said in ((["--compute-type", "int4"], "int4"), (["--threads", "0"], "threads")):
        command = ["evaluate", "--model", str(speller.folder), "--manifest", str(held_out[0])]
        assert main([*command, *options]) == 1, said


def test_a_language_is_that_of_the_model_and_an_unseen_one_has_an_inventory(
    phonetician, held_out, capsys
):
    command = ["evaluate", "--model", str(phonetician.folder), "--manifest", str(held_out[0])]
    assert main([*command, "--language", "pt"]) == 1
    assert "give --inventory pt" in capsys.readouterr().err
    assert main([*command, "--language", "xx"]) == 0


def test_metrics_go_on_past_a_recording_that_cannot_be_read(manifests, tmp_path, capsys):
    from speechx.objectives.model import SpeechModel
    from speechx.objectives.wav2vec2 import Wav2Vec2Config
    from tests.conftest import small_filterbank

    model = SpeechModel(small_filterbank(), {"wav2vec2": Wav2Vec2Config(num_negatives=10)}, {})
    model.save(tmp_path / "model", ["xx"])
    some = read_manifest(manifests[0])
    write_manifest(tmp_path / "good.jsonl", some[1:])
    broken = replace(some[0], audio=str(tmp_path / "gone.wav"))
    write_manifest(tmp_path / "bad.jsonl", [broken, *some[1:]])
    written = {}
    for name, code in (("good", 0), ("bad", 2)):
        command = ["evaluate", "--model", str(tmp_path / "model"), "-o", str(tmp_path / "o.json")]
        assert main([*command, "--manifest", str(tmp_path / f"{name}.jsonl")]) == code
        written[name] = json.loads((tmp_path / "o.json").read_text())
    assert f"{some[0].id}: " in capsys.readouterr().err
    assert written["good"]["wav2vec2"] == written["bad"]["wav2vec2"]
    assert [line.split(":")[0] for line in written["bad"]["unreadable"]] == [some[0].id]
    write_manifest(tmp_path / "none.jsonl", [broken])
    assert main([*command, "--manifest", str(tmp_path / "none.jsonl")]) == 1
    assert "none of the recordings can be read" in capsys.readouterr().err
