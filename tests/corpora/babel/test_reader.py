"""BABEL packs, with every oddity that LDC ships, read back exactly."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile

from speechx.audio.files import read_audio, read_native
from speechx.corpora.babel import Options, prepare
from speechx.corpora.babel.text import TextPolicy
from speechx.corpora.engine.write import Output
from speechx.data.manifest import Utterance, read_manifest
from speechx.errors import UserError
from tests.babel_packs import Pack, compress, turns, write_transcript
from tests.corpora.corpus_trees import logged, opened

A, B = "20120101_120000_inLine", "20120101_120000_outLine"
POLICY = str(TextPolicy())


def run(
    root: Path,
    out: Path,
    languages: Sequence[str] | None = None,
    allow_missing: bool = False,
    convert: bool = False,
    **options: object,
) -> str:
    """Prepares, and returns the log."""
    how = Options(**options)  # type: ignore[arg-type]
    with logged() as messages:
        prepare(root, Output(out, allow_missing, convert), languages, options=how)
    return "\n".join(messages)


def split(out: Path, name: str, language: str = "bn") -> dict[str, Utterance]:
    path = out / language / f"{name}.jsonl"
    return {u.id: u for u in read_manifest(path)} if path.exists() else {}


def times(utterances: dict[str, Utterance]) -> list[tuple[float, float]]:
    return [(u.start, round(u.start + u.duration, 3)) for u in utterances.values()]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Ten callers in training, so that a tenth of them is one; one in dev, one in eval."""
    made = Pack(tmp_path / "root")
    for caller in range(10):
        for line in (A, B):
            made.call("training", f"{20_000 + caller}_{line}", turns("one two", "three", "four"))
    made.call("dev", f"30000_{A}", turns("five", "<no-speech>", "six <hes> (())"))
    made.call("eval", f"40000_{A}", None, seconds=50.0)
    return made


def test_a_pack_becomes_the_promised_splits(pack: Pack, tmp_path: Path) -> None:
    log = run(pack.root, tmp_path / "out")
    train, dev = split(tmp_path / "out", "train"), split(tmp_path / "out", "dev")
    assert len(train) == 54
    assert len(dev) == 6
    held_out = {u.speaker.rsplit("_", 1)[0] for u in dev.values() if u.speaker}
    assert len(held_out) == 1
    assert not held_out & {u.speaker.rsplit("_", 1)[0] for u in train.values() if u.speaker}
    one = next(u for u in train.values() if u.start == 1.25)
    caller = one.speaker.split("_")[1] if one.speaker else ""
    assert one.id == f"103_{caller}_A_20120101_120000_000125"
    assert (one.text, one.duration, one.language, one.corpus) == ("three", 1.25, "bn", "babel")
    assert one.speaker == f"103_{caller}_A"
    release = "IARPA_BABEL_OP1_103/release-current"
    assert one.extra == {"release": release, "locale": "103", "text_policy": POLICY}
    assert [(u.id, u.text) for u in split(tmp_path / "out", "test").values()] == [
        ("103_30000_A_20120101_120000_000000", "five"),
        ("103_30000_A_20120101_120000_000250", "six"),
    ]
    pieces = split(tmp_path / "out", "unlabelled")
    assert [round(u.duration, 3) for u in pieces.values() if "40000" in u.id] == [16.667] * 3
    assert [u.start for u in pieces.values() if "40000" not in u.id] == [3.75] * 18
    assert all(u.text is None for u in pieces.values())
    assert not any(
        u.speaker and u.speaker.startswith(next(iter(held_out))) for u in pieces.values()
    )
    assert "bn: 22 recordings are at 8 kHz" in log
    assert log.count("8 kHz") == 1
    assert "by caller" in log
    assert (tmp_path / "out/bn/source.txt").read_text() == f"BABEL {release}\n"


def test_preparing_twice_writes_the_same(pack: Pack, tmp_path: Path) -> None:
    run(pack.root, tmp_path / "a")
    run(pack.root, tmp_path / "b")
    run(pack.root, tmp_path / "b")
    for manifest in sorted((tmp_path / "a/bn").iterdir()):
        assert manifest.read_bytes() == (tmp_path / "b/bn" / manifest.name).read_bytes()


@pytest.mark.parametrize("convert", [False, True])
def test_preparing_again_opens_no_recording(pack: Pack, tmp_path: Path, convert: bool) -> None:
    compress(next(pack.root.rglob("*.sph")))
    run(pack.root, tmp_path / "out", convert=convert)
    with opened(pack.root) as sources, opened(tmp_path / "out/bn/audio") as copies:
        run(pack.root, tmp_path / "out", convert=convert)
    assert not [path for path in sources if path.endswith(".sph")]
    assert not copies


def test_speakers_sides_and_prompts_are_those_of_the_names(pack: Pack, tmp_path: Path) -> None:
    for prompt in ("O1", "O2"):
        name = f"20000_20111102_170037_{prompt}_scripted"
        pack.call("training", name, turns("read aloud"), 1.25, portion="scripted")
    run(pack.root, tmp_path / "out")
    ids = [id for id in split(tmp_path / "out", "unlabelled") if "_O" in id]
    assert ids == [
        "103_20000_A_20111102_170037_O1_000000",
        "103_20000_A_20111102_170037_O2_000000",
    ]
    run(pack.root, tmp_path / "read", scripted="train")
    everything = split(tmp_path / "read", "train") | split(tmp_path / "read", "dev")
    assert everything[ids[0]].text == "read aloud"
    assert everything[ids[0]].speaker == "103_20000_A"
    assert everything["103_20000_B_20120101_120000_000000"].speaker == "103_20000_B"
    log = run(pack.root, tmp_path / "left", scripted="leave")
    assert not any("_O" in id for id in split(tmp_path / "left", "unlabelled"))
    assert "2 recordings of scripted/training" in log


def test_only_training_prompts_are_trained_on(pack: Pack, tmp_path: Path) -> None:
    prompt = "20120101_120000_O1_scripted"
    for caller, part in enumerate(("training", "dev", "eval", "sub-train"), start=50_000):
        pack.call(part, f"{caller}_{prompt}", turns("read"), 1.25, portion="scripted")
    log = run(pack.root, tmp_path / "out", scripted="train")
    assert "1 recordings of scripted/dev, 1 recordings of scripted/eval" in log
    manifests = "".join(path.read_text() for path in (tmp_path / "out/bn").glob("*.jsonl"))
    assert [f"{caller}_A" in manifests for caller in range(50_000, 50_004)] == [
        *(True, False, False, True)
    ]
    pack.call("sub-train", f"20000_{A}", turns("one"))
    run(pack.root, tmp_path / "ten", scripted="train", sub_train=True)
    texts = {u.speaker for u in split(tmp_path / "ten", "train").values()}
    assert "103_50003_A" in texts | {u.speaker for u in split(tmp_path / "ten", "dev").values()}
    assert "103_50000_A" in {u.speaker for u in split(tmp_path / "ten", "unlabelled").values()}


@pytest.mark.parametrize(
    ("wrapper", "release"),
    [
        ("103-bengali/release-current", "103-bengali/release-current"),
        ("103-bengali/release-0.4b", "103-bengali/release-0.4b"),
        ("IARPA_BABEL_OP1_103", "IARPA_BABEL_OP1_103"),
        ("11034/bn", "11034/bn"),
    ],
)
def test_a_release_names_its_language(tmp_path: Path, wrapper: str, release: str) -> None:
    Pack(tmp_path, wrapper=wrapper).call("untranscribed-training", f"50000_{A}", None)
    run(tmp_path, tmp_path / "out")
    assert (tmp_path / "out/bn/source.txt").read_text() == f"BABEL {release}\n"
    assert [u.extra["release"] for u in split(tmp_path / "out", "unlabelled").values()] == [release]


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        ({"policy": TextPolicy(hesitations="keep")}, "hesitations=keep"),
        ({"transcript": "roman"}, "transcript=roman"),
        ({"scripted": "train"}, "scripted=train"),
        ({"sub_train": True}, "sub-train"),
    ],
)
def test_other_labels_are_not_written_over(
    tmp_path: Path, choice: dict[str, object], named: str
) -> None:
    pack = Pack(tmp_path / "root")
    for part in ("training", "sub-train"):
        pack.call(part, f"50000_{A}", turns("one"), roman=turns("ek"))
    run(pack.root, tmp_path / "out")
    with pytest.raises(UserError, match=rf"give BABEL .*-current, {named} another -o"):
        run(pack.root, tmp_path / "out", **choice)
    run(pack.root, tmp_path / "out")


ODD = """[0.5]
<no-speech>
[1.75]
[1.75]
[2.0]
first
[3.0]
[4.0]
<bark> second
[5.004]
(()) <foreign>
[7.0]
<no-speech> <click>
[9.0]
third-
[9.0]
<no-speech>
[9.5]
"""


def test_untranscribed_stretches_are_kept_and_cut(pack: Pack, tmp_path: Path) -> None:
    pack.call("training", "20000_20120202_120000_inLine", ODD, seconds=12.0)
    log = run(pack.root, tmp_path / "out", longest=2.0)

    def of(name: str) -> dict[str, Utterance]:
        return {i: u for i, u in split(tmp_path / "out", name).items() if "20120202" in i}

    labelled = of("train") or of("dev")
    assert {u.text: (u.start, round(u.duration, 3)) for u in labelled.values()} == {
        "first": (2.0, 1.0),
        "second": (4.0, 1.004),
    }
    if of("train"):  # 0 to 0.5 and 1.75 to 2.0 are too short
        assert times(of("unlabelled")) == [(3.0, 4.0), (5.004, 7.0), (9.5, 10.75), (10.75, 12.0)]
        assert times(of("no-speech")) == [(0.5, 1.75), (7.0, 8.25), (8.25, 9.5)]
    assert "not BABEL's notation, left out of the text: <bark> (1)" in log
    assert "1 segments of no length" in log
    assert "2 untranscribed stretches below 1 s" in log


def test_duplicate_starts_keep_the_first(pack: Pack, tmp_path: Path) -> None:
    pack.call("dev", f"30001_{A}", "[1.001]\nfirst\n[1.004]\nsecond\n[2.0]\n")
    log = run(pack.root, tmp_path / "out")
    assert split(tmp_path / "out", "test")["103_30001_A_20120101_120000_000100"].text == "first"
    assert "1 listed twice" in log


def test_segments_are_cut_from_every_coding(pack: Pack, tmp_path: Path) -> None:
    plain = pack.call("dev", f"30001_{A}", turns("a", "b", "c"))
    expected_S = read_audio(plain, 1.25, 1.25)
    compress(plain)
    pack.call("dev", f"30002_{A}", turns("a", "b", "c"), suffix="wav", rate=48_000)
    log = run(pack.root, tmp_path / "out", convert=True)
    assert "1 at 48000 Hz (not by telephone) keep their wider band" in log
    test = split(tmp_path / "out", "test")
    cut = test["103_30001_A_20120101_120000_000125"]
    assert cut.audio.suffix == ".flac"
    assert cut.start == 0
    read_S = read_audio(cut.audio)
    assert abs(read_S - expected_S).max() < 1e-4
    first = test["103_30001_A_20120101_120000_000000"]
    assert first.duration == 1.25
    assert test["103_30002_A_20120101_120000_000250"].duration == 1.25


def test_the_romanised_transcripts_and_the_lexicon(pack: Pack, tmp_path: Path) -> None:
    for path in list(pack.root.rglob("transcription/*.txt")):
        roman = path.read_text().replace("one", "ek").replace("two", "dui")
        write_transcript(path.parent.parent / "transcript_roman" / path.name, roman)
    pack.lexicon("one\tek\te k _1\ntwo\tdui\td u . i _2\tt u\nthree\ttin\tt i n\n")
    log = run(pack.root, tmp_path / "out", transcript="roman", phones=True)
    train = list(split(tmp_path / "out", "train").values())
    assert [u.text for u in train[:3]] == ["ek dui", "three", "four"]
    assert train[0].phones == ("e_1", "k_1", "d", "u", "i_2")
    assert train[1].phones is None
    assert train[0].extra["text_policy"] == f"{POLICY} transcript=roman"
    assert "are not in the lexicon" in log
    run(pack.root, tmp_path / "plain", phones=True)
    train = list(split(tmp_path / "plain", "train").values())
    assert [u.phones for u in train[:3]] == [
        ("e_1", "k_1", "d", "u", "i_2"),
        ("t", "i", "n"),
        None,
    ]


def test_the_ten_hour_condition_has_only_its_labels(pack: Pack, tmp_path: Path) -> None:
    training = pack.folder / "conversational/training/transcription"
    for caller in range(4):
        name = f"BABEL_OP1_103_{20_000 + caller}_{A}.txt"
        write_transcript(
            training.parent.parent / "sub-train/transcription" / name,
            (training / name).read_text(),
        )
    pack.call("untranscribed-training", f"50000_{A}", None)
    run(pack.root, tmp_path / "out", sub_train=True)
    everything = split(tmp_path / "out", "train") | split(tmp_path / "out", "dev")
    assert {u.speaker for u in everything.values()} == {f"103_{20_000 + n}_A" for n in range(4)}
    pieces = split(tmp_path / "out", "unlabelled")
    assert pieces["103_20009_B_20120101_120000_000000"].duration == 5.0
    assert pieces["103_50000_A_20120101_120000_000000"].duration == 5.0
    pack.call("dev", f"30000_{A}", turns("five"), roman=turns("pach"))
    with pytest.raises(UserError, match=r"sub-train: has no transcript_roman"):
        run(pack.root, tmp_path / "roman", sub_train=True, transcript="roman")
    pack.call("sub-train", f"20000_{A}", None)  # its audio may be there once more
    again = run(pack.root, tmp_path / "again", sub_train=True)
    assert "1 recordings that are there twice" in again
    assert split(tmp_path / "again", "train").keys() == split(tmp_path / "out", "train").keys()
    for path in training.iterdir():  # a pack of that condition alone
        path.unlink()
    training.rmdir()
    run(pack.root, tmp_path / "alone")
    assert split(tmp_path / "alone", "train").keys() == split(tmp_path / "out", "train").keys()


def test_a_pack_without_transcripts_is_for_pretraining(tmp_path: Path) -> None:
    pack = Pack(tmp_path / "root")
    pack.call("untranscribed-training", f"50000_{A}", None)
    run(pack.root, tmp_path / "out")
    assert times(split(tmp_path / "out", "unlabelled")) == [(0.0, 5.0)]
    with pytest.raises(UserError, match=r"has no transcript_roman, it has no transcripts"):
        run(pack.root, tmp_path / "roman", transcript="roman")
    pack.call("dev", f"30000_{A}", None, roman=turns("ek"))
    with pytest.raises(UserError, match=r"has no transcription, it has transcript_roman"):
        run(pack.root, tmp_path / "plain")


def test_eval_with_transcripts_is_eval(pack: Pack, tmp_path: Path) -> None:
    pack.call("eval", f"40001_{A}", turns("seven", "<no-speech>"))
    run(pack.root, tmp_path / "out")
    assert [u.text for u in split(tmp_path / "out", "eval").values()] == ["seven"]
    assert not any("40001" in id for id in split(tmp_path / "out", "unlabelled"))


def test_few_callers_are_split_by_call(tmp_path: Path) -> None:
    pack = Pack(tmp_path / "root", "901")
    for hour in range(12):
        for line in ("inLine", "outLine"):
            pack.call("training", f"20000_20120101_{hour:02d}0000_{line}", turns("one", "two"), 2.5)
    log = run(pack.root, tmp_path / "out")
    assert "by call, of callers of train" in log
    train, dev = (split(tmp_path / "out", name, "901") for name in ("train", "dev"))
    assert len(dev) == 8  # two calls of 12, both sides
    assert len(train) == 40


def test_several_packs_and_the_names_of_their_languages(pack: Pack, tmp_path: Path) -> None:
    for code in ("101", "901"):
        other = Pack(pack.root, code, f"{code}/deep/er/release")
        other.call("dev", f"30000_{A}", turns("喂"))
    log = run(pack.root, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"yue", "bn", "901"}
    for words in (["101"], ["yue"], ["Cantonese"]):
        run(pack.root, tmp_path / words[0], words)
        assert [path.name for path in (tmp_path / words[0]).iterdir()] == ["yue"]
    with pytest.raises(UserError, match=r"tur; there are yue, bn, 901"):
        run(pack.root, tmp_path / "none", ["tur"])
    Pack(pack.root, "103", "another/release").call("dev", f"30000_{A}", turns("one"))
    with pytest.raises(UserError, match=r"2 releases of 103: .*current and .*another/rel"):
        run(pack.root, tmp_path / "two")
    run(pack.root, tmp_path / "one", ["101"])
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["yue"]
    assert log


def test_what_is_wrong_is_named_or_listed(pack: Pack, tmp_path: Path) -> None:
    folder = pack.folder / "conversational"
    wrongs = {
        "negative": ("[2.0]\na\n[1.0]\n", "ends at 1 s, before its start at 2 s"),
        "late": (
            turns("a") + "b\n[60.0]\n",
            "from 1.25 to 60 s ends after the recording, which is 5.00 s",
        ),
        "open": ("[0.0]\na\n[1.0]\nb\n", "ends with text"),
    }
    for index, (text, error) in enumerate(wrongs.values()):
        path = pack.call("dev", f"3100{index}_{A}", text)
        with pytest.raises(UserError, match=rf"{path.stem}.txt(:\d+)?: .*{error}"):
            run(pack.root, tmp_path / f"strict{index}")
        path.rename(tmp_path / path.name)
        (folder / "dev/transcription" / f"{path.stem}.txt").rename(tmp_path / f"{path.stem}.txt")
    (folder / "dev/audio/notes.sph").write_bytes(b"x")
    (folder / f"dev/audio/BABEL_OP1_104_30009_{A}.sph").write_bytes(b"x")
    (folder / f"dev/audio/BABEL_OP1_103_30008_{A}.sph").write_bytes(b"NIST_1A\n   1024\n")
    write_transcript(folder / f"dev/transcription/BABEL_OP1_103_30007_{A}.txt", turns("a"))
    (folder / f"dev/audio/BABEL_OP1_103_30006_{A}.sph").symlink_to("/etc/passwd")
    with pytest.raises(
        UserError,
        match=rf"30007_{A}.sph: no such file, but it is named by the transcript .*30007_{A}.txt",
    ):
        run(pack.root, tmp_path / "strict")
    with pytest.raises(UserError, match="--allow-missing leaves such files out"):
        run(pack.root, tmp_path / "strict")
    log = run(pack.root, tmp_path / "out", allow_missing=True)
    assert "1 missing (missing.txt), 4 corrupt (corrupt.txt)" in log
    listed = (tmp_path / "out/bn/corrupt.txt").read_text()
    assert "not named BABEL_" in listed
    assert "named as language 104 among 103" in listed
    assert "ends within its SPHERE header" in listed
    assert "leads out of" in listed
    assert len(split(tmp_path / "out", "test")) == 2


def test_transcripts_that_are_no_files_are_listed_and_not_waited_for(
    pack: Pack, tmp_path: Path
) -> None:
    transcripts = [
        pack.folder / f"conversational/dev/transcription/BABEL_OP1_103_3100{n}_{A}.txt"
        for n in range(2)
    ]
    for n in range(2):
        pack.call("dev", f"3100{n}_{A}", None)
    os.mkfifo(transcripts[0])
    transcripts[1].mkdir()
    with pytest.raises(UserError, match=rf"{transcripts[0]}: is not a file"):
        run(pack.root, tmp_path / "strict")
    assert "2 corrupt" in run(pack.root, tmp_path / "out", allow_missing=True)
    listed = (tmp_path / "out/bn/corrupt.txt").read_text()
    assert all(f"{path}\tis not a file" in listed for path in transcripts)


def test_callers_of_dev_and_test_are_in_no_other_split(pack: Pack, tmp_path: Path) -> None:
    run(pack.root, tmp_path / "before")
    speaker = next(iter(split(tmp_path / "before", "dev").values())).speaker or ""
    ours, prompt = speaker.split("_")[1], "20120101_120000_O1_scripted"
    for caller in (ours, "30000"):
        pack.call("eval", f"{caller}_20120303_120000_inLine", None)
        pack.call("untranscribed-training", f"{caller}_20120304_120000_inLine", None)
        pack.call("training", f"{caller}_{prompt}", turns("read"), portion="scripted")
        pack.call("sub-train", f"{caller}_20120305_120000_outLine", None)
    quiet = turns("<no-speech>", "seven", "")
    pack.call("training", "30000_20120202_120000_inLine", quiet)
    for how in ("unlabelled", "train"):
        log = run(pack.root, tmp_path / how, scripted=how)
        callers = {
            name: {
                u.speaker.split("_")[1] for u in split(tmp_path / how, name).values() if u.speaker
            }
            for name in ("train", "dev", "test", "unlabelled", "no-speech")
        }
        assert (callers["dev"], callers["test"]) == ({ours}, {"30000"})
        assert len(callers["train"]) == 9
        assert not {ours, "30000"} & (
            callers["train"] | callers["unlabelled"] | callers["no-speech"]
        )
        # of test: eval, untranscribed-training, sub-train, the prompt, training; of dev: eval
        assert "6 recordings of callers of dev and test" in log


def test_test_may_be_of_the_only_callers_of_train(pack: Pack, tmp_path: Path) -> None:
    for caller in range(10):
        pack.call("dev", f"{20_000 + caller}_20120202_120000_inLine", turns("five"))
    log = run(pack.root, tmp_path / "out")
    assert re.search(r"test 12 \(.* h, of callers of train\)", log)
    assert len(split(tmp_path / "out", "train")) == 54


def test_kept_hesitations_have_the_phones_of_their_tag(pack: Pack, tmp_path: Path) -> None:
    pack.lexicon("six\tchoy\ts I k s\n<hes>\t<hes>\t@ m\nfive\tpach\tf aI v\n")
    for policy, phones in (("keep", "s I k s @ m"), ("drop", "s I k s")):
        how = TextPolicy(hesitations=policy)  # type: ignore[arg-type]
        run(pack.root, tmp_path / policy, policy=how, phones=True)
        utterance = split(tmp_path / policy, "test")["103_30000_A_20120101_120000_000250"]
        assert utterance.phones == tuple(phones.split())


def test_odd_lines_of_the_lexicon_are_named_or_listed(pack: Pack, tmp_path: Path) -> None:
    pack.lexicon("six\tchoy\ts I k s\nno\tn o\nfive\tpach\tf aI v\n")
    with pytest.raises(UserError, match=r"lexicon.txt:2: a word, its romanisation and"):
        run(pack.root, tmp_path / "strict", phones=True)
    run(pack.root, tmp_path / "out", phones=True, allow_missing=True)
    assert "lexicon.txt:2\ta word" in (tmp_path / "out/bn/corrupt.txt").read_text()
    assert [u.phones for u in split(tmp_path / "out", "test").values()] == [
        ("f", "aI", "v"),
        ("s", "I", "k", "s"),
    ]


@pytest.mark.parametrize("content", ["nothing", "no pack", "empty pack"])
def test_a_folder_without_a_pack_is_an_error(tmp_path: Path, content: str) -> None:
    root = tmp_path / "root"
    if content != "nothing":
        (root / ("clips" if content == "no pack" else "conversational/training")).mkdir(
            parents=True
        )
    with pytest.raises(UserError, match=r"no such folder|neither .* `conversational`"):
        run(root, tmp_path / "out")


def test_links_out_of_the_root_are_followed_where_languages_are(pack: Pack, tmp_path: Path) -> None:
    elsewhere = Pack(tmp_path / "elsewhere", "104", "pack")
    elsewhere.call("dev", f"30000_{A}", turns("one"))
    (pack.root / "104-pashto").symlink_to(elsewhere.folder)
    (elsewhere.folder / "up").symlink_to(tmp_path)
    (pack.root / "up").symlink_to(tmp_path)
    (tmp_path / "none").mkdir()
    (pack.root / "none").symlink_to(tmp_path / "none")
    (pack.folder / "beside").symlink_to(elsewhere.root)
    log = run(pack.root, tmp_path / "out")
    assert f"104-pashto is a link, and is read from {elsewhere.folder}" in log
    assert log.count("is a link, and is read from") == 1
    for link in ("104-pashto/up", "root/up", "beside", "none"):
        assert f"{link}: a link to a folder outside" in log
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bn", "ps"]
    [u] = split(tmp_path / "out", "test", "ps").values()
    assert u.extra["release"] == "104-pashto"
    assert "is a link" not in run(pack.root, tmp_path / "out", ["bn"]).replace("is a link to", "")


def test_a_linked_recording_is_refused_and_not_missing(pack: Pack, tmp_path: Path) -> None:
    training = pack.folder / "conversational/training"
    for part in ("audio", "transcription"):
        (training / part).rename(tmp_path / part)
        (training / part).symlink_to(tmp_path / part)
        path = min((training / part).iterdir())
        with pytest.raises(UserError) as caught:
            run(pack.root, tmp_path / "out")
        assert f" leads out of {pack.folder}, so it is not read; what belongs" in str(caught.value)
        assert str(caught.value).count(path.stem) == 1
        assert str(caught.value).startswith(str(training / part))
        assert "--root" not in str(caught.value)
        assert "(and 19 more of language bn)" in str(caught.value)
        log = run(pack.root, tmp_path / "out", allow_missing=True)
        assert "20 corrupt" in log
        assert "missing.txt" not in log
        (training / part).unlink()
        (tmp_path / part).rename(training / part)


def test_a_lexicon_that_is_a_link_out_of_the_pack_is_not_read(pack: Pack, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root:x:0:0\n")
    pack.lexicon("one\tek\te k\n")
    lexicon = pack.folder / "conversational/reference_materials/lexicon.txt"
    lexicon.rename(pack.folder / "lexicon.txt")
    lexicon.symlink_to(pack.folder / "lexicon.txt")
    run(pack.root, tmp_path / "out", phones=True)
    lexicon.unlink()
    lexicon.symlink_to(secret)
    with pytest.raises(UserError, match=r"lexicon.txt: leads out of") as caught:
        run(pack.root, tmp_path / "out", phones=True)
    assert "root:x" not in str(caught.value)


def test_a_split_that_only_the_other_spelling_has_is_not_lost(pack: Pack, tmp_path: Path) -> None:
    for path in list(pack.root.rglob("training/transcription/*.txt")):
        write_transcript(path.parent.parent / "transcript_roman" / path.name, turns("ek"))
    why = r"conversational/dev: no words are in its transcript_roman, only in transcription, so no"
    with pytest.raises(UserError, match=why):
        run(pack.root, tmp_path / "out", transcript="roman")
    log = run(pack.root, tmp_path / "out", transcript="roman", allow_missing=True)
    assert re.search(r"test 0 \(.* h, no words are in transcript_roman of dev\)", log)
    assert "1 corrupt" in log
    assert split(tmp_path / "out", "train")


def test_the_report_of_a_tiny_pack_names_the_missing_dev(tmp_path: Path) -> None:
    pack = Pack(tmp_path / "root")
    for caller in range(3):
        pack.call("training", f"{20_000 + caller}_{A}", turns("one"))
    log = run(pack.root, tmp_path / "out")
    assert re.search(r"dev 0 \(.* h, as each call is more than 30% of training\)", log)


def test_choices_of_the_policy_reach_every_line(pack: Pack, tmp_path: Path) -> None:
    policy = TextPolicy(hesitations="keep", unknown="drop-utterance")
    log = run(pack.root, tmp_path / "out", policy=policy)
    lines = (tmp_path / "out/bn/test.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["five"]
    policy = TextPolicy(hesitations="keep")
    log += run(pack.root, tmp_path / "keep", policy=policy)
    lines = (tmp_path / "keep/bn/test.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["five", "six hes"]
    assert {json.loads(line)["text_policy"] for line in lines} == {str(policy)}
    assert "hesitations=keep" in str(policy)
    assert log


@pytest.mark.interop
def test_ids_times_and_speakers_are_those_of_lhotse(pack: Pack, tmp_path: Path) -> None:
    from lhotse.recipes.babel import prepare_single_babel_language

    # Of two times with nothing between them lhotse drops the first, and the text before lasts until
    # the second; here as in Kaldi it ends at the first. So both are the same here.
    odd = "[0.29]\none\n[1.15]\n[1.15]\ntwo\n[2.3]\n[2.3]\nthree\n[4.35]\n"
    pack.call("dev", f"30001_{A}", odd)
    pack.call("eval", f"40000_{A}", turns("seven"))  # lhotse stops at an eval without any
    for path in list(pack.root.rglob("*.sph")):  # for which lhotse needs another program
        soundfile.write(path.with_suffix(".wav"), read_native(path)[0], 8000)
        path.unlink()
    run(pack.root, tmp_path / "out")
    theirs = prepare_single_babel_language(pack.root)
    for part, splits in (("training", ("train", "dev")), ("dev", ("test",))):
        ours = {id: u for name in splits for id, u in split(tmp_path / "out", name).items()}
        labelled = {s.id: s for s in theirs[part]["supervisions"] if s.id in ours}
        assert labelled.keys() == ours.keys()
        for id, u in ours.items():
            assert (labelled[id].speaker, labelled[id].start) == (u.speaker, u.start)
            assert labelled[id].duration == pytest.approx(u.duration)
        left = [s.text for s in theirs[part]["supervisions"] if s.id not in ours]
        assert set(left) <= {"<silence>"}
