"""Few-shot splits: small, disjoint, and a function of the seed."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from speechx.data.few_shot import few_shot, split_few_shot
from speechx.data.manifest import Utterance, read_manifest, write_manifest
from speechx.errors import UserError


def corpus(speakers: int, each: int, seconds: float = 5.0, language: str = "es") -> list[Utterance]:
    return [
        Utterance(
            id=f"{s}_{i}",
            audio=Path(f"/audio/{s}_{i}.mp3"),
            duration=seconds + (s * 7 + i * 3) % 5 / 10,
            language=language,
            text=f"frase {s} {i}",
            speaker=f"s{s}",
            extra={"release": "cv-corpus-9.0"},
        )
        for s in range(speakers)
        for i in range(each)
    ]


def minutes(some: list[Utterance]) -> float:
    return sum(u.duration for u in some) / 60


def speakers(some: list[Utterance]) -> set[str | None]:
    return {u.speaker for u in some}


def test_amounts_nesting_and_disjoint_speakers() -> None:
    made = few_shot(corpus(200, 40), (10, 60, 300))
    sizes = {split: minutes(some) for split, some in made.splits.items()}
    wanted = {"test": 60, "dev": 20, "train_10min": 10, "train_1h": 60, "train_5h": 300}
    assert sizes.keys() == wanted.keys()
    assert all(wanted[s] - 0.1 < sizes[s] <= wanted[s] for s in wanted)
    s = made.splits
    assert s["train_1h"][: len(s["train_10min"])] == s["train_10min"]
    assert s["train_5h"][: len(s["train_1h"])] == s["train_1h"]
    assert not speakers(s["test"]) & speakers(s["dev"])
    assert not (speakers(s["test"]) | speakers(s["dev"])) & speakers(s["train_5h"])
    assert made.notes == []
    assert made.report().endswith("not the Riviere split")
    assert {u.extra["split"] for u in s["dev"]} == {"few-shot, seed 1, not the Riviere split"}
    assert {u.extra["release"] for u in s["dev"]} == {"cv-corpus-9.0"}


def test_speakers_have_about_the_same_amount() -> None:
    """Even if they recorded very different amounts."""
    some = corpus(60, 20) + [
        replace(u, id=f"m{u.id}", text=f"más {u.text}", speaker="s0") for u in corpus(1, 600)
    ]
    train = few_shot(some, (30,), 5, 10).splits["train_30min"]
    spoken = Counter()
    for u in train:
        spoken[u.speaker] += u.duration
    assert len(spoken) > 20
    assert max(spoken.values()) - min(spoken.values()) < 6  # less than two utterances


def test_dev_and_test_have_several_speakers() -> None:
    """In many corpora a few speakers recorded most of the audio."""
    for seed in range(3):
        draw = random.Random(seed)
        some = [replace(u, speaker=f"s{int(draw.paretovariate(1)) % 300}") for u in corpus(100, 50)]
        s = few_shot(some).splits
        for split in ("dev", "test"):
            spoken = Counter()
            for u in s[split]:
                spoken[u.speaker] += u.duration
            assert len(spoken) >= 10
            assert max(spoken.values()) < spoken.total() / 3
            assert not speakers(s[split]) & speakers(s["train_10h"])
        assert not speakers(s["dev"]) & speakers(s["test"])
        assert minutes(s["test"]) > 40
        assert minutes(s["dev"]) > 15
        assert len(speakers(s["train_10h"])) >= 3


def test_few_speakers_are_noted() -> None:
    made = few_shot(corpus(6, 600), (10,))
    assert "few speakers in test (2), dev (2), train_10min (2)" in made.notes
    giant = [replace(u, speaker="s9") for u in corpus(100, 50)]
    some = [*giant, *(replace(u, id=f"x{u.id}", text=f"x {u.text}") for u in corpus(8, 80))]
    splits = few_shot(some, (10,)).splits
    assert speakers(splits["train_10min"]) == {"s9"}
    assert len(speakers(splits["test"]) | speakers(splits["dev"])) == 8


def test_splits_depend_on_the_seed_and_not_on_the_order_of_rows() -> None:
    some = corpus(50, 30)
    shuffled = random.Random(7).sample(some, len(some))
    ids = [[u.id for u in x] for x in few_shot(some).splits.values()]
    assert ids == [[u.id for u in x] for x in few_shot(shuffled).splits.values()]
    other = few_shot(some, seed=2).splits["train_10min"]
    assert {u.id for u in other} != {u.id for u in few_shot(some).splits["train_10min"]}


def test_too_little_audio_gives_smaller_splits_and_notes() -> None:
    made = few_shot(corpus(60, 20))  # 104 minutes
    assert list(made.splits) == ["test", "dev", "train_10min", "train_1h"]
    assert minutes(made.splits["train_10min"]) > 9.9
    assert 15 < minutes(made.splits["train_1h"]) < 35
    assert any("train_1h has" in n and "of 60 min" in n for n in made.notes)
    assert any(note.startswith("no train_10h:") for note in made.notes)
    little = few_shot(corpus(60, 4))  # 21 minutes, less than any split
    assert list(little.splits) == ["test", "dev", "train_10min"]
    assert all(minutes(some) > 1 for some in little.splits.values())
    with pytest.raises(UserError, match="es: nothing is left for"):
        few_shot(corpus(1, 1))


def test_splits_of_two_speakers_share_speakers_but_no_sentences() -> None:
    some = corpus(2, 400)
    some += [replace(u, id=f"again_{u.id}", text=f"¡{u.text.upper()}!") for u in some if u.text]
    made = few_shot(some, (10,), 5, 10)
    assert any("speakers are in several splits (only 2)" in note for note in made.notes)
    sentences = {
        split: {u.text.strip("¡!").lower() for u in x if u.text} for split, x in made.splits.items()
    }
    assert not sentences["test"] & sentences["dev"]
    assert not sentences["train_10min"] & (sentences["test"] | sentences["dev"])
    unnamed = few_shot([replace(u, speaker=None) for u in some], (10,), 5, 10)
    assert any("not all are named" in note for note in unnamed.notes)


def test_sentences_of_the_test_set_are_not_trained_on() -> None:
    some = [replace(u, text=f"frase {int(u.id.split('_')[1]) % 30}") for u in corpus(200, 40)]
    made = few_shot(some, (5,), 0.5, 1)
    held_out = {u.text for split in ("dev", "test") for u in made.splits[split]}
    assert held_out
    assert not held_out & {u.text for u in made.splits["train_5min"]}
    assert any("sentence of dev or test" in note for note in made.notes)


def test_only_labelled_speech_of_one_language() -> None:
    some = corpus(50, 30)
    made = few_shot([*some, replace(some[0], id="x", text=None), some[1]], (10,), 5, 10)
    assert made.notes[:2] == [
        "1 without text or phones are left out", "1 repeated ids are left out",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"one language, but .* \['es', 'it'\]"):
        few_shot([*some, *corpus(1, 1, language="it")])
    for minutes in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match=f"minutes above 0, not {minutes}"):
            few_shot(some, (10, minutes))
        with pytest.raises(UserError, match=f"minutes above 0, not {minutes}"):
            few_shot(some, (10,), minutes)


def test_phones_without_text_are_labels() -> None:
    some = [replace(u, text=None, phones=tuple(u.id)) for u in corpus(50, 30)]
    assert len(few_shot(some, (10,), 5, 10).splits) == 3


def test_an_empty_text_with_phones_is_not_a_sentence() -> None:
    some = [replace(u, text="", phones=(f"p{i}", "a")) for i, u in enumerate(corpus(50, 30))]
    made = few_shot(some, (10, 20), 5, 10)
    nothing = [replace(u, text=None) for u in some]
    assert [u.id for u in made.splits["train_20min"]] == [
        u.id for u in few_shot(nothing, (10, 20), 5, 10).splits["train_20min"]
    ]


def test_files_and_lists_are_written_and_others_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for language in ("es", "it"):
        write_manifest(tmp_path / f"{language}.jsonl", corpus(50, 30, language=language))
    manifests = [tmp_path / "es.jsonl", tmp_path / "it.jsonl"]
    counts = split_few_shot(manifests, tmp_path / "out", (10,), 5, 10)
    assert list(counts) == ["es", "it"]
    assert [line[:3] for line in capsys.readouterr().err.splitlines()] == ["es:", "it:"]
    for split, count in counts["it"].items():
        listed = read_manifest(tmp_path / "out" / "it" / f"{split}.jsonl")
        lines = (tmp_path / "out" / "it" / f"{split}.txt").read_text().splitlines()
        assert [u.id for u in listed] == lines[1:]
        assert len(listed) == count
        about = f"# it {split} of cv-corpus-9.0, seed 1; not the Riviere split"
        assert lines[0] == about
    with pytest.raises(UserError, match="holds the manifests of few-shot splits, seed 1"):
        split_few_shot(manifests, tmp_path / "out", (10,), 5, 10, seed=2)
    with pytest.raises(UserError, match=r"seed 1, 10 min, dev 5, test 10, of .* another -o"):
        split_few_shot(manifests, tmp_path / "out", (10, 20), 5, 10)
    write_manifest(tmp_path / "cv" / "es" / "test.jsonl", corpus(1, 1))
    with pytest.raises(UserError, match="another -o"):
        split_few_shot(manifests, tmp_path / "cv", (10,), 5, 10)


def test_files_of_an_earlier_draw_are_removed(tmp_path: Path) -> None:
    """A train split that is no longer made would share utterances with the new test split."""
    path, out = tmp_path / "es.jsonl", tmp_path / "out"
    write_manifest(path, corpus(60, 40))
    split_few_shot([path], out)
    assert (out / "es" / "train_10h.txt").is_file()
    (out / "es" / "notes.txt").touch()
    write_manifest(path, corpus(15, 20))
    splits = split_few_shot([path], out)["es"]
    assert list(splits) == ["test", "dev", "train_10min"]
    made = {f"{split}{suffix}" for split in splits for suffix in (".jsonl", ".txt")}
    assert {f.name for f in (out / "es").iterdir()} == {*made, "source.txt", "notes.txt"}
