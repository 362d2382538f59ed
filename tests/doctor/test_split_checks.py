"""What train shares with dev and test, and what only seems to be shared."""

from dataclasses import replace

from tests.doctor.broken_corpora import clip, examined, found, sound_corpus


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
