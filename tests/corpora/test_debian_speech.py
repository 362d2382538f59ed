"""Debian packages to manifests, with a fake apt-get and dpkg-deb: no network, no real package."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechx.audio.files import audio_info
from speechx.corpora import debian_speech
from speechx.corpora.debian_packages import licence_summary, write_licences
from speechx.corpora.debian_sources import (
    MSU_IPA,
    PackageRecording,
    read_asterisk,
    read_festvox_ru,
    read_fillets,
    read_klettres,
    read_ktuberling,
    read_tuxpaint,
)
from speechx.corpora.debian_speech import is_plain, misfits, prepare, split_of
from speechx.data.manifest import read_manifest
from speechx.errors import UserError
from speechx.text.ipa import normalize_ipa
from tests.doctor.broken_corpora import problems

APT_GET = """#!/bin/sh
echo "$3" >> {calls}
[ -d {archive}/"$3" ] || {{ echo "E: Unable to locate package $3" >&2; exit 100; }}
echo {archive}/"$3" > "$3_4%3a1.0-1_all.deb"
"""
DPKG_DEB = """#!/bin/sh
mkdir "$3" && cp -r "$(cat "$2")/usr" "$3" || { echo "dpkg-deb: broken" >&2; exit 2; }
"""


class Archive:
    """A folder of package trees that a fake apt-get serves."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.folder, self.calls = folder / "archive", folder / "calls"
        tools = folder / "bin"
        tools.mkdir()
        self.folder.mkdir()
        for name, script in (("apt-get", APT_GET), ("dpkg-deb", DPKG_DEB)):
            if name == "apt-get":
                script = script.format(calls=self.calls, archive=self.folder)
            (tools / name).write_text(script)
            (tools / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")

    def share(self, package: str) -> Path:
        share = self.folder / package / "usr/share"
        put(share / f"doc/{package}/copyright", "Files: *\nCopyright: Ann\nLicense: CC0-1.0\n")
        return share

    def fetched(self) -> list[str]:
        return self.calls.read_text().split() if self.calls.exists() else []


@pytest.fixture
def archive(tmp_path, monkeypatch) -> Archive:
    return Archive(tmp_path, monkeypatch)


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def sound(path: Path, seconds: float = 0.8, rate: int = 8000, level: float = 0.1) -> Path:
    """A noise of its own for each path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(list(str(path).encode()))
    wave = noise.normal(0, level, round(seconds * rate))
    soundfile.write(path, wave, rate, format="OGG" if path.suffix == ".ogg" else None)
    return path


def asterisk(share_texts: Path, share_sounds: Path, prompts: dict[str, str], seconds=0.8) -> Path:
    """A tiny asterisk-core-sounds-it with these prompts; returns the voice's folder."""
    listing = share_texts / "doc/asterisk-core-sounds-it/core-sounds-it.txt.gz"
    listing.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{key}: {text}\n" for key, text in prompts.items())
    listing.write_bytes(gzip.compress(f"\ufeff; Italian: a comment\n\n{lines}".encode()))
    voice = share_sounds / "asterisk/sounds/it_IT_m_Carlo"
    for key in prompts:
        sound(voice / f"{key}.wav", seconds)
    return voice


def italian(archive: Archive, prompts: dict[str, str]) -> Path:
    name = "asterisk-core-sounds-it"
    archive.share("klettres-data")
    archive.share("ktuberling-data")
    return asterisk(archive.share(name), archive.share(f"{name}-wav"), prompts)


SENTENCES = {f"digits/s{k}": f"frase numero {'ab' * k}." for k in range(40)}


def test_packages_become_manifests(archive, tmp_path, monkeypatch, messages):
    monkeypatch.setattr(debian_speech, "MIN_LABELLED", 20)
    voice = italian(
        archive,
        {k: v for k, v in list(SENTENCES.items())[:30]}
        | {"press": "premere 1 adesso", "letters/b": "b", "lost": "la conferenza ? piena"}
        | {"silent": "niente", "same": "il testo", "beep": "un suono beep"},
    )
    sound(voice / "silent.wav", level=1e-4)
    (voice / "same.wav").write_bytes((voice / "press.wav").read_bytes())
    sound(archive.share("ktuberling-data") / "ktuberling/sounds/it/eye.ogg", rate=44100)
    sound(archive.share("ktuberling-data") / "ktuberling/sounds/fr/eye.ogg", rate=44100)
    out = tmp_path / "out"
    messages.clear()

    counts = prepare(out, ["it"])

    assert sorted(archive.fetched()) == [
        "asterisk-core-sounds-it",
        "asterisk-core-sounds-it-wav",
        "klettres-data",
        "ktuberling-data",
    ]
    assert list(counts) == ["it"]
    assert sum(counts["it"].values()) == 30 + 3 + 1
    assert counts["it"]["unlabelled"] == 4
    labelled = [
        u for s in ("train", "dev", "test") for u in read_manifest(out / f"it/{s}.jsonl")
    ]  # 30 sentences: all splits have some
    prefix = "asterisk-core-sounds-it-wav"
    assert {u.id: u.text for u in labelled} == {
        f"{prefix}/{k}": v for k, v in list(SENTENCES.items())[:30]
    }
    assert {u.speaker for u in labelled} == {f"{prefix}/it_IT_m_Carlo"}
    assert {u.language for u in labelled} == {"it"}
    info = audio_info(labelled[0].audio)
    assert (info.rate, info.channels) == (16000, 1)
    assert labelled[0].duration == pytest.approx(info.duration) == pytest.approx(0.8)
    assert labelled[0].audio.is_relative_to(out / "it/audio")
    unlabelled = read_manifest(out / "it/unlabelled.jsonl")
    told = problems([out / "it"], decode=True)
    assert all("more labels than frames" in line for line in told), "sentences of 0.8 s"
    assert {u.id: (u.text, u.extra) for u in unlabelled} == {
        f"{prefix}/press": (None, {"listed": "premere 1 adesso"}),
        f"{prefix}/letters/b": (None, {"listed": "b"}),
        f"{prefix}/lost": (None, {"listed": "la conferenza ? piena"}),
        "ktuberling-data/it/eye": (None, {}),
    }
    assert (out / "it/dropped.tsv").read_text().splitlines() == [
        "id\treason",
        f"{prefix}/beep\ta tone or a noise",
        f"{prefix}/same\tthe same recording as {prefix}/press",
        f"{prefix}/silent\tno sound",
    ]
    assert any("3 dropped" in line for line in messages)
    assert "| ktuberling-data | 4:1.0-1 | CC0-1.0 (`*`) |" in (out / "LICENCES.md").read_text()
    assert (out / f"licences/{prefix}.txt").read_text().startswith("Files: *")


def test_a_second_run_needs_no_apt_and_gives_the_same(archive, tmp_path, monkeypatch):
    italian(archive, SENTENCES)
    monkeypatch.setattr(debian_speech, "MIN_LABELLED", 40)
    out = tmp_path / "out"
    first = prepare(out, ["it"])
    before = (out / "it/train.jsonl").read_bytes()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert prepare(out, ["it"]) == first
    assert (out / "it/train.jsonl").read_bytes() == before
    assert list((out / "packages").glob(".*")) == []


def test_too_few_texts_are_not_split(archive, tmp_path, monkeypatch):
    italian(archive, SENTENCES)
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(debian_speech, "MIN_LABELLED", 40)
        assert "train" in prepare(out, ["it"])["it"]
    assert prepare(out, ["it"]) == {"it": {"unlabelled": 40}}
    assert [p.name for p in (out / "it").glob("*.jsonl")] == ["unlabelled.jsonl"]
    first = read_manifest(out / "it/unlabelled.jsonl")[0]
    assert (first.text, first.extra["listed"]) == (None, SENTENCES["digits/s0"])


def test_without_apt_one_line_says_what_is_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"dpkg-deb not found.*klettres") as error:
        prepare(tmp_path / "out", ["it"])
    assert "\n" not in str(error.value)


def test_a_package_that_cannot_be_fetched_is_listed_and_done_without(archive, tmp_path, messages):
    italian(archive, {"a": "ciao a tutti"})
    (archive.folder / "klettres-data").rename(archive.folder / "gone")
    counts = prepare(tmp_path / "out", ["it", "de"])
    assert list(counts) == ["it"]
    end = "\n".join(messages[-2:])
    assert "1 packages not fetched: klettres-data: Unable to locate" in end
    assert "run apt-get update first" in end
    assert "no recordings in de" in end


def test_when_nothing_can_be_fetched_it_is_an_error(archive, tmp_path):
    with pytest.raises(UserError, match=r"nothing to prepare: .*apt-get update") as error:
        prepare(tmp_path / "out", ["it"])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out/LICENCES.md").exists()


def test_half_a_package_is_never_left(archive, tmp_path):
    italian(archive, {"a": "ciao a tutti"})
    for name in ("klettres-data", "asterisk-core-sounds-it"):
        (archive.folder / name / "usr").rename(archive.folder / name / "lost")
    with pytest.raises(UserError, match=r"asterisk-core-sounds-it: .*dpkg-deb: broken"):
        prepare(tmp_path / "out", ["it"])
    left = {p.name for p in (tmp_path / "out/packages").iterdir()}
    assert left == {
        "asterisk-core-sounds-it-wav_4%3a1.0-1_all",
        "ktuberling-data_4%3a1.0-1_all",
    }


def test_an_unknown_language_names_the_nearest(tmp_path):
    with pytest.raises(UserError, match=r"'sv-XXX'.*did you mean sv-SE\?.* ca cs da "):
        prepare(tmp_path, ["it", "sv-XXX"])


def test_no_sentence_is_in_two_splits_and_the_shares_are_80_10_10():
    texts = [f"sentence {'x' * (k % 7)} {k}" for k in range(3000)]
    of = [split_of(text) for text in texts]
    assert of == [split_of(f"  {text.upper().replace(' ', ', ')}!") for text in texts]
    shares = [of.count(split) / len(of) for split in ("train", "dev", "test")]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    assert split_of("é") == split_of("e\u0301")


@pytest.mark.parametrize(
    ("text", "language", "plain"),
    [
        ("Buongiorno, come va?", "it", True),
        ("¿Qué? ¿Cómo?", "es", True),
        ("Что? Ничего", "ru", True),
        ("premere 1", "it", False),
        ("кнопка OK", "ru", False),
        ("Где же подводник?", "cs", False),
        ("più [+]", "it", False),
        ("non pu? essere", "it", False),
        ("eliminato vm-tempremoved", "it", False),
        ("b", "it", False),
        ("ക", "ml", True),
        ("...", "it", False),
        (None, "it", False),
    ],
)
def test_which_texts_are_trusted(text, language, plain):
    assert is_plain(recording("x", text=text, language=language)) == plain


def recording(id: str, **keys) -> PackageRecording:
    return PackageRecording(
        **{"package": "p", "name": id, "language": "ca", "voice": "s", "path": Path(id), **keys}
    )


def test_texts_that_were_not_spoken_are_found_by_the_speakers_usual_rate():
    def clip(id, letters, seconds):
        return recording(id, text="a" * letters), seconds

    usual = [clip(f"usual{k}", 120 + k, 10.0) for k in range(20)]
    fast, slow, short = clip("fast", 240, 10.0), clip("slow", 15, 10.0), clip("short", 2, 2.0)
    assert set(misfits(dict([*usual, fast, slow, short]))) == {"p/fast", "p/slow"}
    assert misfits(dict([clip("slowly", 40, 10.0), clip("normal", 150, 10.0)])) == {}


def test_asterisk_reads_its_list_and_knows_what_is_no_speech(tmp_path):
    prompts = {"beep": "beep", "vm/due": "vm/due: Due: parole", "uno": "uno", "silence/1": "x"}
    voice = asterisk(tmp_path, tmp_path, prompts)
    sound(voice / "unlisted.wav")
    listing = tmp_path / "doc/asterisk-core-sounds-it/core-sounds-it.txt.gz"
    listing.write_bytes(listing.read_bytes() + gzip.compress(b"uno: dieci\nuno: uno\n"))
    found = {r.path.stem: r for r in read_asterisk("it", tmp_path, tmp_path)}
    assert found["due"].text == "Due: parole"
    assert found["uno"].text is None  # listed twice, differently
    assert found["unlisted"].text is None
    assert {key for key, r in found.items() if r.drop} == {"beep", "1"}
    assert found["due"].id == "asterisk-core-sounds-it-wav/vm/due"


def test_fillets_joins_sounds_with_the_lines_of_the_script(tmp_path):
    put(
        tmp_path / "games/fillets-ng/script/cave/dialogs_cs.lua",
        'dialogId("m-ahoj", "font_small", "Hi \\"you\\"!")\ndialogStr("Ahoj \\"ty\\"!")\n\n'
        'dialogId("v-only", "font_big", "only English")\n'
        'dialogId("v-kde", "font_big", "Where?")\ndialogStr("Kde?")\n',
    )
    for name in ("m-ahoj", "v-kde", "v-only", "splash"):
        sound(tmp_path / f"games/fillets-ng/sound/cave/cs/{name}.ogg")
    found = {r.path.stem: r for r in read_fillets("cs", tmp_path, tmp_path)}
    assert found["m-ahoj"].text == 'Ahoj "ty"!'
    assert found["m-ahoj"].speaker == "fillets-ng-data-cs/small"
    assert found["v-kde"].text == "Kde?"
    assert found["v-kde"].speaker == "fillets-ng-data-cs/big"
    assert {key for key, r in found.items() if r.drop} == {"v-only", "splash"}


def festvox(share: Path, labels: str) -> None:
    voice = share / "festival/voices/russian/msu_ru_nsh_clunits"
    put(voice / "etc/txt.done.data", '( ru_0001 "Это сол+ома, да." )\n')
    put(voice / "lab/ru_0001.lab", labels)
    sound(voice / "wav/ru_0001.wav", 2.0, 16000)


def test_festvox_has_text_speaker_and_phones_in_ipa(tmp_path):
    festvox(
        tmp_path, "#\n0.2 125 pau\n0.3 125 ee\n0.4 125 t\n0.5 125 tt\n0.6 125 sch\n0.7 125 ay\n"
    )
    (found,) = read_festvox_ru(tmp_path)
    assert found.id == "festvox-ru/ru_0001"
    assert (found.language, found.speaker) == ("ru", "festvox-ru/nsh")
    assert found.text == "Это солома, да."
    assert found.phones == ("ɛ", "t", "tʲ", "ɕː", "ə")


def test_festvox_refuses_a_phone_it_does_not_know(tmp_path):
    festvox(tmp_path, "#\n0.2 125 pau\n0.3 125 qq\n")
    with pytest.raises(UserError, match=r"ru_0001\.lab: phones qq"):
        list(read_festvox_ru(tmp_path))


def test_russian_phones_are_spelled_as_everywhere_else():
    assert len(MSU_IPA) == 50
    assert all(normalize_ipa(phone) == phone for phone in MSU_IPA.values())
    assert (MSU_IPA["g"], MSU_IPA["hh"], MSU_IPA["ss"], MSU_IPA["ch"]) == ("ɡ", "xʲ", "sʲ", "tɕ")


def test_phones_of_festvox_reach_the_manifest(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(debian_speech, "MIN_LABELLED", 1)
    festvox(archive.share("festvox-ru"), "#\n0.2 125 pau\n0.3 125 ee\n0.4 125 t\n")
    prepare(tmp_path / "out", ["ru"])
    (manifest,) = (tmp_path / "out/ru").glob("*.jsonl")
    (utterance,) = read_manifest(manifest)
    assert utterance.phones == ("ɛ", "t")
    assert utterance.text == "Это солома, да."


def test_klettres_texts_are_syllables_and_not_the_names_of_letters(tmp_path):
    for code, first in (("pt_BR", "B"), ("ml", "ക")):
        put(
            tmp_path / f"klettres/{code}/sounds.xml",
            f'<klettres><language code="{code}"><alphabet><sound name="{first}" '
            f'file="{code}/alpha/b.ogg"/></alphabet><syllables><sound name="BA" '
            f'file="{code}/syllab/ba.ogg"/><sound name="BO" file="{code}/syllab/no.ogg"/>'
            "</syllables></language></klettres>",
        )
        sound(tmp_path / f"klettres/{code}/alpha/b.ogg")
        sound(tmp_path / f"klettres/{code}/syllab/ba.ogg")
    found = {(r.id, r.language): r.text for r in read_klettres(tmp_path)}
    assert found == {
        ("klettres-data/ml/alpha/b", "ml"): "ക",
        ("klettres-data/ml/syllab/ba", "ml"): "BA",
        ("klettres-data/pt_BR/alpha/b", "pt"): None,
        ("klettres-data/pt_BR/syllab/ba", "pt"): "BA",
    }


def test_ktuberling_has_voices_without_texts(tmp_path):
    sounds = tmp_path / "ktuberling/sounds"
    put(sounds / "sr@latin.soundtheme", "<theme/>")
    sound(sounds / "sr@latin/eye.ogg")
    sound(sounds / "nn/eye.wav")
    found = list(read_ktuberling(tmp_path))
    assert [(r.id, r.language, r.text) for r in found] == [
        ("ktuberling-data/nn/eye", "nn-NO", None),
        ("ktuberling-data/sr@latin/eye", "sr", None),
    ]


def test_tuxpaint_texts_are_of_the_stamp_and_the_language(tmp_path):
    stamps = tmp_path / "tuxpaint/stamps"
    put(stamps / "animals/hen.txt", "A hen.\nca.utf8=Una gallina.\nda.utf8=En høne.\n")
    put(stamps / "symbols/alphabets/q.txt", "The letter Q.\nca.utf8=La lletra Q.\n")
    for name in ("animals/hen.ogg", "animals/hen_desc.ogg", "animals/hen_desc_ca.ogg"):
        sound(stamps / name)
    for name in ("animals/hen_desc_da.ogg.ogg", "animals/hen_desc_el.ogg"):
        sound(stamps / name)
    sound(stamps / "symbols/alphabets/q_desc_ca.ogg")
    found = [(r.path.name, r.language, r.text) for r in read_tuxpaint(tmp_path)]
    assert sorted(found, key=str) == [
        ("hen_desc.ogg", "en", "A hen."),
        ("hen_desc_ca.ogg", "ca", "Una gallina."),
        ("hen_desc_da.ogg.ogg", "da", "En høne."),
        ("hen_desc_el.ogg", "el", None),
        ("q_desc_ca.ogg", "ca", None),
    ]


def test_licences_are_summed_up_in_a_line_each(tmp_path):
    modern = (
        "Format: x\n\nFiles: *\nCopyright: A\nLicense: CC-BY-SA-3.0\n\nFiles: it-*\n"
        "Copyright: B\nLicense: CC-BY-3.0\n text\n\nFiles: debian/*\nLicense: GPL-2+\n"
        "\nLicense: CC-BY-3.0\n The text.\n"
    )
    assert licence_summary(modern) == "CC-BY-SA-3.0 (`*`); CC-BY-3.0 (`it-*`)"
    assert licence_summary("see `/usr/share/common-licenses/GPL-2'.") == "GPL-2"
    assert licence_summary("do as you like") == "see the text"
    write_licences({"empty": tmp_path / "empty_1_all"}, tmp_path)
    assert "| empty | 1 | unknown | not in the package |" in (tmp_path / "LICENCES.md").read_text()
