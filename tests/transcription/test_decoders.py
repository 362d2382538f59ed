"""Language models, lexicons and hot words on the way from the command to the result."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from speechx.cli.main import main
from speechx.data.manifest import write_manifest
from speechx.decoding.beam import BeamSettings
from speechx.decoding.kneser_ney import train
from speechx.errors import UserError
from speechx.models.folder import lm_file, write_decoding
from speechx.transcription.decoders import Decoding, read_hotwords, read_lexicon
from speechx.transcription.loading import load
from tests.conftest import tone_corpus, write_wav
from tests.decoding.test_kenlm_file import WORDS
from tests.toy_models import LETTERS, PHONES, toy_model

OPEN = BeamSettings(token_min_logp=-1e9, beam_prune_logp=-1e9, lm_weight=5.0, word_bonus=0.0)


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "talk.wav"
    write_wav(path, (0.1 * np.random.default_rng(0).standard_normal(24_000)).astype(np.float32))
    return path


@pytest.fixture
def speller(tmp_path):
    return toy_model(tmp_path / "characters", LETTERS, "characters")


@pytest.fixture
def phonetician(tmp_path):
    return toy_model(tmp_path / "phonemes", PHONES, "phonemes")


def test_a_language_model_of_words_closes_the_vocabulary_if_it_is_told_to(speller, recording):
    model = load(speller, "cpu")
    lm = train([["ab", "cab"], ["bad", "ab"]], 2)
    closed = replace(OPEN, unknown_word_score=-np.inf, unknown_part_score=-np.inf)
    model.decode_with(Decoding(lm, settings=closed))
    assert {word.text for word in model.transcribe(recording).words} <= {"ab", "cab", "bad"}


def test_hot_words_are_written_more_often(speller, recording):
    model = load(speller, "cpu")
    without = model.transcribe(recording).text.split()
    settings = replace(OPEN, hotword_weight=20.0)
    model.decode_with(Decoding(hotwords=("dab",), settings=settings))
    assert model.transcribe(recording).text.split().count("dab") > without.count("dab")


@pytest.mark.parametrize("options", [[], ["--decoder", "pyctcdecode"]])
def test_a_binary_file_of_kenlm_chooses_words(speller, recording, capsys, options):
    pytest.importorskip("kenlm")
    pytest.importorskip("pyctcdecode")
    command = ["transcribe", str(recording), "--model", str(speller), *options]
    written = []
    for words in (["--beam-size", "20"], ["--lm", str(WORDS), "--lm-weight", "9"]):
        assert main([*command, *words]) == 0
        written.append(capsys.readouterr().out.split())
    without, chosen = (sum(word in ("ab", "bad", "cab") for word in each) for each in written)
    assert chosen > without


def test_a_lexicon_makes_words_of_phones_that_have_times_of_both(phonetician, recording, tmp_path):
    (tmp_path / "lexicon.txt").write_text("Bett\tb e s\t0.5\nTschi\ttʃ i\tb i\n", encoding="utf-8")
    model = load(phonetician, "cpu")
    lexicon = read_lexicon(tmp_path / "lexicon.txt")
    assert lexicon == {"Bett": [("b", "e", "s")], "Tschi": [("tʃ", "i"), ("b", "i")]}
    model.decode_with(Decoding(lexicon=lexicon, settings=OPEN))
    transcript = model.transcribe(recording)
    assert transcript.words
    for word in transcript.words:
        spoken = tuple(phone.text for phone in word.phones)
        assert spoken in lexicon[word.text]
        assert (word.start, word.end) == (word.phones[0].start, word.phones[-1].end)
    assert transcript.text == " ".join(word.text for word in transcript.words)
    transcript.save(tmp_path / "talk.json")
    segment = json.loads((tmp_path / "talk.json").read_text())["segments"][0]
    assert segment["words"][0]["word"] in lexicon
    assert segment["phones"]


def test_words_of_an_unseen_language_from_the_command_line(
    phonetician, recording, tmp_path, capsys
):
    (tmp_path / "words.txt").write_text("casa\tk a z a\nseta\ts e t a\n", encoding="utf-8")
    command = ["phonemize", str(recording), "--model", str(phonetician), "--language", "it"]
    assert main([*command, "--lexicon", str(tmp_path / "words.txt")]) == 0
    *words, _ = capsys.readouterr().out.split()  # the recording may end inside a word
    assert words
    assert set(words) <= {"casa", "seta"}


def test_hot_words_are_respelled_if_the_model_cannot_write_them(speller, recording, caplog):
    model = load(speller, "cpu")
    settings = replace(OPEN, hotword_weight=20.0)
    written = []
    for hotwords in (("dab", "bad"), ("Dab!", "BAD"), ("“dab” bad",)):
        with caplog.at_level("INFO", "speechx"):
            model.decode_with(Decoding(hotwords=hotwords, settings=settings))
            written.append(model.transcribe(recording).text)
    assert len({*written}) == 1
    assert "'dab' for 'Dab!'" in caplog.text
    model.decode_with(Decoding(hotwords=("dab", "xyz")))
    with pytest.raises(UserError, match="xyz"):
        model.transcribe(recording)


def test_ordinary_text_is_a_lexicon_if_the_language_is_known(tmp_path, caplog):
    caplog.set_level("INFO", "speechx")
    (tmp_path / "text.txt").write_text("La casa,\nla seta!\n", encoding="utf-8")
    lexicon = read_lexicon(tmp_path / "text.txt", "it")
    assert list(lexicon) == ["la", "casa", "seta"]
    assert "read as text in it, with 3 words" in caplog.text
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match=r"empty\.txt has no words"):
        read_lexicon(tmp_path / "empty.txt", "it")
    with pytest.raises(UserError, match="name the language"):
        read_lexicon(tmp_path / "text.txt")


@pytest.mark.parametrize(
    ("name", "lines", "why"),
    [
        ("lexicon.csv", "casa,k a z a\nseta,s e t a\n", ".csv"),
        ("lexicon.txt", "casa,k a z a\nseta,s e t a\n", "no tab stands behind the word"),
        ("lexicon.txt", "casa k a z a\nseta s eː t a\n", "no tab stands behind the word"),
        ("lexicon.txt", "casa\tkaza\nseta\tseta\n", "no spaces divide the phones"),
        (
            "lexicon.txt",
            "casa\tk a z a\nre\tr e\nseta s e t a\n",
            "'seta s e t a' has no tab",
        ),
    ],
)
@pytest.mark.parametrize("token_type", ["phonemes", "characters"])
def test_what_is_meant_as_a_lexicon_is_not_read_as_text(tmp_path, name, lines, why, token_type):
    (tmp_path / name).write_text(lines, encoding="utf-8")
    with pytest.raises(UserError, match=why):
        read_lexicon(tmp_path / name, "it", token_type)


def test_a_text_is_a_lexicon_of_a_model_of_characters(speller, recording, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("Ab, cab\nbad.\n", encoding="utf-8")
    lexicon = ["--lexicon", str(tmp_path / "text.txt")]
    assert main(["transcribe", str(recording), "--model", str(speller), *lexicon]) == 0
    *words, _ = capsys.readouterr().out.split()
    assert set(words) <= {"ab", "cab", "bad"}


def test_the_beam_of_a_lexicon_stays_wide_with_the_weights_of_a_tuning():
    settings = Decoding(
        lexicon={"a": [("a",)]}, settings=BeamSettings(word_bonus=0.5)
    ).search_settings
    assert (settings.word_bonus, settings.token_min_logp, settings.beam_prune_logp) == (
        0.5,
        -30.0,
        -100.0,
    )
    chosen = BeamSettings(token_min_logp=-7.0)
    assert Decoding(lexicon={"a": [("a",)]}, settings=chosen).search_settings.token_min_logp == -7.0


def test_hot_words_come_with_commas_or_in_a_file(tmp_path):
    (tmp_path / "hot.txt").write_text("Tallinn\n\nTartu\n", encoding="utf-8")
    assert read_hotwords("Tallinn, Tartu") == read_hotwords(str(tmp_path / "hot.txt"))
    with pytest.raises(UserError, match="no hot words"):
        read_hotwords(" , ")
    with pytest.raises(UserError, match="no such file"):
        read_hotwords("missing.txt")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--decoder", "greedy", "--hotwords", "dab"], "greedy decoding uses no"),
        (["--beam-size", "0"], "beam_size must be at least 1"),
        (["--lm", "missing.arpa"], "missing.arpa"),
        (["--lm-weight", "nan"], "lm_weight must be 0 or more"),
        (["--lm-weight", "2"], "give --lm"),
        (["--hotword-weight", "2"], "give --hotwords"),
        (["--hotwords", "names.txt"], "names.txt"),
    ],
)
def test_options_that_make_no_sense_are_refused(speller, recording, capsys, options, named):
    assert main(["transcribe", str(recording), "--model", str(speller), *options]) == 1
    assert named in capsys.readouterr().err


def test_tuning_keeps_a_language_model_that_transcription_then_uses(speller, tmp_path, capsys):
    utterances = tone_corpus(tmp_path / "audio", {"xx": 3})
    model = load(speller, "cpu")
    read = [model.transcribe(u.audio).text for u in utterances]
    wanted = ["ab cab" for _ in read]
    dev = [replace(u, text=text) for u, text in zip(utterances, wanted, strict=True)]
    write_manifest(tmp_path / "dev.jsonl", dev)
    train([["ab", "cab"], ["cab", "ab"], ["ab"], ["cab"]], 2).save(tmp_path / "lm.safetensors")
    command = ["lm", "tune", str(speller), "--lm", str(tmp_path / "lm.safetensors")]
    assert main([*command, "--dev", str(tmp_path / "dev.jsonl"), "--beam-size", "20"]) == 0
    assert "with the language model" in capsys.readouterr().out
    again = load(speller, "cpu")
    assert again.decoding.lm is not None
    assert [again.transcribe(u.audio).text for u in utterances] != read
    out = ["evaluate", "--model", str(speller), "--manifest", str(tmp_path / "dev.jsonl")]
    assert main([*out, "--decoder", "greedy", "-o", str(tmp_path / "greedy.json")]) == 0
    assert main([*out, "-o", str(tmp_path / "kept.json")]) == 0
    greedy, kept = (
        json.loads((tmp_path / name).read_text())["scores"]["wer"]["overall"]["rate"]
        for name in ("greedy.json", "kept.json")
    )
    assert kept < greedy


def test_a_language_model_that_helps_nothing_is_not_kept(speller, tmp_path, capsys):
    utterances = tone_corpus(tmp_path / "audio", {"xx": 3})
    model = load(speller, "cpu")
    dev = [replace(u, text=model.transcribe(u.audio).text) for u in utterances]  # no error
    write_manifest(tmp_path / "dev.jsonl", dev)
    train([["bad"], ["dab"]], 2).save(tmp_path / "lm.safetensors")
    before = (speller / "config.yaml").read_bytes()
    lm = ["--lm", str(tmp_path / "lm.safetensors")]
    assert main(["lm", "tune", str(speller), *lm, "--dev", str(tmp_path / "dev.jsonl")]) == 0
    assert "0.0 %" in capsys.readouterr().out
    assert (speller / "config.yaml").read_bytes() == before
    assert load(speller, "cpu").decoding.lm is None


def test_a_language_model_of_the_test_sentences_is_refused(speller, tmp_path, capsys):
    utterances = tone_corpus(tmp_path / "audio", {"xx": 3})
    test, lm = str(tmp_path / "test.jsonl"), str(tmp_path / "lm.safetensors")
    write_manifest(tmp_path / "test.jsonl", utterances)
    assert main(["lm", "train", test, "-o", lm, "--tokens", "characters", "--order", "2"]) == 0
    capsys.readouterr()
    command = ["evaluate", "--model", str(speller), "--manifest", test, "--lm", lm]
    assert main(command) == 1
    assert "test data" in capsys.readouterr().err
    assert main([*command, "--allow-leaks"]) == 0
    assert main(["lm", "tune", str(speller), "--lm", lm, "--dev", test]) == 1


def test_tuning_on_recordings_of_the_training_is_refused(speller, tmp_path, capsys):
    utterances = tone_corpus(tmp_path / "audio", {"xx": 3})
    dev, lm = tmp_path / "dev.jsonl", tmp_path / "lm.safetensors"
    write_manifest(dev, [replace(u, text="ab cab") for u in utterances])
    (speller.parent / "config.yaml").write_text(f"data: {{train: [{dev}]}}\n", encoding="utf-8")
    train([["ab", "cab"], ["cab", "ab"]], 2).save(lm)
    command = ["lm", "tune", str(speller), "--lm", str(lm), "--dev", str(dev)]
    assert main(command) == 1
    assert "was trained on its dev data" in capsys.readouterr().err
    assert load(speller, "cpu").decoding.lm is None


def test_a_kept_language_model_is_not_used_for_phones_of_other_languages(
    phonetician, recording, capsys
):
    command = ["phonemize", str(recording), "--model", str(phonetician), "--language", "it"]
    assert main(command) == 0
    without = capsys.readouterr().out
    train([["b", "e"] * 9] * 4, 3).save(lm_file(phonetician, "ctc"))
    write_decoding(phonetician, "ctc", {"lm_weight": 9.0, "word_bonus": 9.0})
    model = load(phonetician, "cpu")
    assert model.decoding.lm is not None
    assert model.phonemize(recording, "it").text == without.strip()
    assert main(command) == 0
    assert capsys.readouterr().out == without
