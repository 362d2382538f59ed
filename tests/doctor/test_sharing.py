"""What train shares with dev and test, and what only seems to be shared. Of one recording on
several lines one stays wherever one is good, and nothing good is lost."""

from dataclasses import replace

import numpy as np

from speechx.data.exclusion import Exclusions
from speechx.data.manifest import read_manifest
from tests.doctor.broken_corpora import RATE, clip, examined, found, sound_corpus, speech


def test_speakers_and_sentences_of_train_in_dev_and_test(tmp_path):
    train = sound_corpus(tmp_path, 4)
    same = clip(tmp_path, "same", speaker=train[0].speaker)
    again = clip(tmp_path, "again", text=f"¡{train[1].text.upper()}!")
    diagnosis = examined(tmp_path, train=train, test=[same], dev=[again], decode="none")
    some = found(diagnosis)
    assert some["speaker_leak"] == [train[0].speaker]
    assert some["sentence_leak"] == [again.text]
    assert not diagnosis.serious
    for fact in ("2 utterances in dev and test", "a speaker (1), a sentence (1)"):
        assert fact in diagnosis.text()


def leaks(folder, train, test):
    folder.mkdir()
    diagnosis = examined(folder, train=train, test=test, decode="none")
    return [case for case in diagnosis.cases if case.check in ("speaker_leak", "sentence_leak")]


def test_the_same_name_in_another_language_or_corpus_is_another_speaker(tmp_path):
    train = [clip(tmp_path, "a", speaker="0001", corpus="one", text="una cosa")]
    other = clip(tmp_path, "b", speaker="0001", corpus="one", language="ca", text="una cosa")
    third = clip(tmp_path, "c", speaker="0001", corpus="two", text="otra cosa")
    anonymous = [clip(tmp_path, x, speaker=None, text=f"frase {x}") for x in "de"]
    test = [other, third, anonymous[1]]
    assert leaks(tmp_path / "1", [*train, anonymous[0]], test) == []
    again = clip(tmp_path, "f", speaker="0001", corpus="two", text="¡Una cosa!")
    (case,) = leaks(tmp_path / "2", train, [*test, again])
    assert (case.check, case.subject) == ("sentence_leak", "¡Una cosa!")


def test_a_leak_is_counted_and_its_first_utterance_named(tmp_path):
    train = sound_corpus(tmp_path, 3)
    text, speaker = train[0].text, train[0].speaker
    test = [clip(tmp_path, id, text=text, speaker=speaker) for id in ("t1", "t2")]
    first, second = leaks(tmp_path / "1", train, test)
    assert (first.check, first.subject, first.count) == ("speaker_leak", "good0", 2)
    assert (second.check, second.count) == ("sentence_leak", 2)
    assert second.detail.endswith("first in t1")
    assert leaks(tmp_path / "2", train[:1], train[1:]) == []


def test_an_id_in_two_manifests(tmp_path):
    one, two, three = sound_corpus(tmp_path, 3)
    diagnosis = examined(tmp_path, train=[one, two], other=[replace(three, id=one.id)])
    assert found(diagnosis) == {"repeated_id": [one.id]}
    fine = replace(three, id=one.id, language="ca")
    (tmp_path / "b").mkdir()
    assert found(examined(tmp_path / "b", train=[one, two], other=[fine])) == {}


def test_a_recording_in_train_and_test_is_a_leak_whatever_its_id(tmp_path):
    some = sound_corpus(tmp_path, 4)
    test = [some[0], replace(some[1], id="renamed")]
    diagnosis = examined(tmp_path, train=some, test=test, decode="none", out=tmp_path / "out")
    assert found(diagnosis)["recording_leak"] == ["good0", "good1"]
    assert diagnosis.serious
    assert "1 of 6 utterances" in diagnosis.verdict()
    assert "in train: 2" in diagnosis.verdict()
    assert [(e.id, e.reason) for e in diagnosis.exclusions()] == [("good1", "recording_leak")]
    same, _ = (c.detail for c in diagnosis.cases if c.check == "recording_leak")
    assert f"remove it from {tmp_path / 'train.jsonl'}" in same
    assert "remove these lines from train" in diagnosis.text()
    rows = {row[0]: row for row in diagnosis.costs()}
    assert rows["Recordings of dev or test in train"][-1] == "1 left out"


def test_a_bad_recording_of_an_id_that_another_has_is_not_on_the_list(tmp_path):
    train = sound_corpus(tmp_path, 3)
    silent = clip(tmp_path, "silent", np.zeros(RATE, np.float32))
    test = [replace(silent, id=train[0].id), clip(tmp_path, "t", speech(seed=77))]
    diagnosis = examined(tmp_path, train=train, test=test, out=tmp_path / "out")
    some = found(diagnosis)
    assert some["silent"] == some["ambiguous_id"] == ["good0"]
    assert diagnosis.serious
    (case,) = (c for c in diagnosis.cases if c.check == "ambiguous_id")
    for fact in ("good0", "es", str(tmp_path / "train.jsonl")):
        assert fact in case.detail
    assert Exclusions([tmp_path / "out" / "exclude.tsv"]).kept(
        read_manifest(tmp_path / "train.jsonl")
    ) == read_manifest(tmp_path / "train.jsonl")
    assert diagnosis.costs()[-2][1] == "0"


def test_excluded_utterances_of_all_manifests_are_counted(tmp_path):
    train = [*sound_corpus(tmp_path, 3), clip(tmp_path, "silent", np.zeros(RATE, np.float32))]
    spelt = [replace(u, phones=("a",)) for u in train]
    diagnosis = examined(tmp_path, train=train, train_phones=spelt)
    assert [e.id for e in diagnosis.exclusions()] == ["silent"]
    assert diagnosis.lost == (2, 2.0)
    assert diagnosis.costs()[-2][1] == "2"
    assert "2 of 8 utterances" in diagnosis.verdict()


def test_of_two_duplicates_the_good_one_is_kept(tmp_path):
    bad = clip(tmp_path, "bad", speech(1.0, seed=5), text="x y z " * 40)
    good = clip(tmp_path, "good", speech(1.0, seed=5), text="hola")
    third = clip(tmp_path, "third", speech(1.0, seed=5), text="hola")
    diagnosis = examined(tmp_path, train=[bad, good, third])
    assert {e.id for e in diagnosis.exclusions()} == {"bad", "third"}
    assert found(diagnosis)["duplicate"] == ["bad", "third"]
    (tmp_path / "x").mkdir()
    diagnosis = examined(tmp_path / "x", test=[bad], train=[good])
    assert [e.id for e in diagnosis.exclusions()] == ["bad"], "so train keeps it"
