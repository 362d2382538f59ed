"""What stands on both sides of a split, and what only seems to."""

from dataclasses import replace

from speechx.doctor.split_checks import leaks
from tests.doctor.wards import clip, examined, found, sound_corpus


def test_speakers_and_sentences_of_train_in_dev_and_test(tmp_path):
    train = sound_corpus(tmp_path, 4)
    voice = clip(tmp_path, "voice", speaker=train[0].speaker)
    again = clip(tmp_path, "again", text=f"¡{train[1].text.upper()}!")
    diagnosis = examined(tmp_path, train=train, test=[voice], dev=[again], decode="none")
    some = found(diagnosis)
    assert some.pop("unknown_unit", None) is not None or True
    assert some["speaker_leak"] == [train[0].speaker]
    assert some["sentence_leak"] == [again.text]
    assert not diagnosis.serious
    assert "Of 2 utterances in dev and test train knows 1 by a speaker, 1 by a sentence" in (
        diagnosis.text()
    )


def test_the_same_name_in_another_language_or_corpus_is_another_speaker(tmp_path):
    train = [clip(tmp_path, "a", speaker="0001", corpus="one", text="una cosa")]
    other = clip(tmp_path, "b", speaker="0001", corpus="one", language="ca", text="una cosa")
    third = clip(tmp_path, "c", speaker="0001", corpus="two", text="otra cosa")
    nobody = [clip(tmp_path, x, speaker=None, text=f"frase {x}") for x in "de"]
    some = [other, third, nobody[1]]
    assert leaks([*train, nobody[0]], some) == []
    (case,) = leaks(train, [*some, replace(third, id="f", text="¡Una cosa!")])
    assert (case.check, case.subject) == ("sentence_leak", "¡Una cosa!")


def test_leaks_of_two_lists(tmp_path):
    train = sound_corpus(tmp_path, 3)
    test = [replace(train[0], id="t1"), replace(train[0], id="t2")]
    speaker, sentence = leaks(train, test)
    assert (speaker.check, speaker.subject, speaker.count) == ("speaker_leak", "good0", 2)
    assert (sentence.check, sentence.count) == ("sentence_leak", 2)
    assert sentence.detail == "also in train; first in t1"
    assert leaks(train[:1], train[1:]) == []


def test_an_id_in_two_manifests(tmp_path):
    one, two, three = sound_corpus(tmp_path, 3)
    diagnosis = examined(tmp_path, train=[one, two], other=[replace(three, id=one.id)])
    assert found(diagnosis) == {"repeated_id": [one.id]}
    fine = replace(three, id=one.id, language="ca")
    (tmp_path / "b").mkdir()
    assert found(examined(tmp_path / "b", train=[one, two], other=[fine])) == {}
