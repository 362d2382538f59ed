import ctypes
import hashlib
import re
from pathlib import Path

import pytest

from speechx.audio.espeak import Speaker
from speechx.audio.files import read_audio
from speechx.corpora import synthetic
from speechx.corpora.synthetic import VOICES, prepare, split_sentences
from speechx.data.manifest import read_manifest
from speechx.errors import UserError
from speechx.text.g2p import g2p
from speechx.text.ipa import normalize_ipa
from speechx.text.normalize import normalize
from speechx.text.shipped import shipped_sentences
from tests.doctor.broken_corpora import problems


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("synthetic")
    made = prepare(out, ["es", "hu"], 0.7, seed=3, processes=1)
    for language in ("es", "hu"):
        train = read_manifest(out / language / "train.jsonl")
        assert 0.7 <= sum(u.duration for u in train) / 60 < 0.9
        assert made[language]["train"] == len(train)
    return out


def test_manifests_are_sound_and_labelled(corpus):
    for language in ("es", "hu"):
        for split in ("train", "dev", "test"):
            assert problems([corpus / language / f"{split}.jsonl"], decode=True) == []
            utterances = read_manifest(corpus / language / f"{split}.jsonl")
            assert {u.language for u in utterances} == {language}
            for u in utterances[:3]:
                assert u.phones == g2p([u.text], language).phones[0]
                assert u.extra["g2p"].startswith("espeak-ng")
                wave_S = read_audio(u.audio)
                assert len(wave_S) / 16_000 == pytest.approx(u.duration, abs=1e-5)


def test_no_test_sentence_word_order_or_voice_is_in_training(corpus):
    splits = {s: read_manifest(corpus / "es" / f"{s}.jsonl") for s in ("train", "dev", "test")}
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not {u.text for u in splits[one]} & {u.text for u in splits[other]}
        assert not {u.speaker for u in splits[one]} & {u.speaker for u in splits[other]}
    assert len({u.speaker for u in splits["test"]}) == len(VOICES["test"])
    assert len(splits["test"]) == 4 * len({u.text for u in splits["test"]})


def test_word_salad_uses_only_words_of_training_sentences(corpus):
    sentences = split_sentences(shipped_sentences("es"))["train"]
    words = {word for sentence in sentences for word in normalize(sentence, "es").split()}
    texts = [u.text for u in read_manifest(corpus / "es" / "train.jsonl")]
    salads = [text for text in texts if text not in sentences]
    assert salads
    assert all(word in words for salad in salads for word in salad.split())


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_the_seed_decides_every_byte_whatever_the_order_or_the_processes(corpus, tmp_path):
    again = tmp_path / "again"
    prepare(again, ["hu", "es"], 0.7, seed=3, processes=2)
    assert checksums(again) == checksums(corpus)
    other = tmp_path / "other"
    prepare(other, ["hu"], 0.1, seed=4, processes=1)
    name = "hu/audio/hu-train-0000.flac"
    assert checksums(other)[name] != checksums(corpus)[name]


def test_salad_can_be_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "SALAD_SHARE", 0.0)
    prepare(tmp_path, ["it"], 0.3, processes=1)
    texts = {u.text for u in read_manifest(tmp_path / "it" / "train.jsonl")}
    assert texts <= set(shipped_sentences("it"))


def test_the_split_is_80_10_10():
    splits = split_sentences([str(n) for n in range(100)])
    assert {split: len(texts) for split, texts in splits.items()} == {
        "train": 80,
        "dev": 10,
        "test": 10,
    }
    with pytest.raises(UserError, match="at least 10"):
        split_sentences(["one"])


@pytest.mark.parametrize(
    ("languages", "minutes", "message"),
    [
        (["xx"], 1.0, "no sentences are shipped for the language 'xx'"),
        ([], 1.0, "no language was given"),
        (["es"], 0.0, "must be positive"),
        (["es"], float("nan"), "must be positive"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(tmp_path, languages, minutes, message):
    with pytest.raises(UserError, match=message):
        prepare(tmp_path / "out", languages, minutes)
    assert not (tmp_path / "out").exists()


def test_every_voice_reads_what_the_labels_say():
    """Catalan, because there some of espeak-ng's voices have another phone table."""
    speaker = Speaker()
    read = speaker._engine.espeak_TextToPhonemes
    read.restype = ctypes.c_char_p
    read.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    texts = shipped_sentences("ca")[:30]
    labels = g2p(texts, "ca").phones
    assert any("ŋ" in phones for phones in labels)
    for voice in (voice for voices in VOICES.values() for voice in voices):
        assert speaker._engine.espeak_SetVoiceByName(f"ca+{voice}".encode()) == 0
        for text, expected in zip(texts, labels, strict=True):
            rest = ctypes.pointer(ctypes.c_char_p(text.encode()))
            clauses = []
            while rest.contents.value is not None:
                clauses.append((read(rest, 1, ord("_") << 8 | 2) or b"").decode())
            phones = re.sub("[ˈˌ]", "", "_".join(clauses))
            assert tuple(map(normalize_ipa, re.findall(r"[^\s_]+", phones))) == expected, voice
