from dataclasses import replace
from pathlib import Path

import pytest

from speechx.data.manifest import Utterance, write_manifest
from speechx.data.phones import add_phones, read_inventory
from speechx.errors import UserError


def utterance(name: str, text: str | None, language: str = "es") -> Utterance:
    return Utterance(
        id=name,
        audio=Path(f"/{name}.wav"),
        duration=1.0,
        language=language,
        text=text,
        extra={"kept": 1},
    )


def test_phones_and_version_are_added_and_the_rest_is_kept():
    given = [utterance("a", "ocho"), utterance("b", "да", "ru"), utterance("c", "ocho")]
    labelled = add_phones(given)
    assert [u.id for u in labelled] == ["a", "b", "c"]
    assert labelled[0].phones == labelled[2].phones == ("o", "tʃ", "o")
    assert labelled[1].phones[0] == "d"
    assert labelled[0].extra["kept"] == 1
    assert labelled[0].extra["g2p"].startswith("espeak-ng 1.")


def test_texts_that_the_voice_does_not_read_are_an_error_by_kind_name_and_count():
    given = [
        *(
            utterance("a", "ひらがな", "ja"),
            utterance("b", "漢字", "ja"),
            utterance("c", "東京へ", "ja"),
        ),
        *(utterance("d", "А computer сломался", "ru"), utterance("e", "чӑваш 25", "cv")),
    ]
    with pytest.raises(UserError) as error:
        add_phones(given)
    said = str(error.value)
    assert said.startswith("4 of 5 utterances have no text with phones (b, c, d, e): 2 ja ")
    for part in ("漢", "(b, c)", "1 ru", "(en): computer (d)", "1 cv", "25 (e)", "--drop-empty"):
        assert part in said


def test_or_they_are_left_out_by_kind_name_and_count(capsys):
    given = [
        utterance("a", "ひらがな", "ja"),
        utterance("b", "漢字", "ja"),
        utterance("c", "50%", "ja"),
    ]
    assert [u.id for u in add_phones(given, drop_empty=True)] == ["a"]
    said = capsys.readouterr().err
    assert "2 of 3 utterances without phones left out (b, c): 1 ja " in said
    assert "字" in said
    assert "50%" in said


def test_texts_without_phones_are_an_error_that_lists_them():
    given = [utterance("a", "ocho"), utterance("b", "..."), utterance("c", None)]
    with pytest.raises(UserError, match=r"2 of 3 utterances .*\(b, c\)"):
        add_phones(given)


def test_or_they_are_dropped_with_a_count(capsys):
    given = [utterance("a", "ocho"), *(utterance(str(n), "?") for n in range(7))]
    assert [u.id for u in add_phones(given, drop_empty=True)] == ["a"]
    assert (
        "7 of 8 utterances without phones left out (0, 1, 2, 3, 4, ...)" in capsys.readouterr().err
    )


def test_symbols_that_are_not_ipa_are_reported(capsys):
    add_phones([utterance("a", "Saolaítear gach duine", "ga")])
    assert "ga: phones that are not IPA: 'A' 1 times" in capsys.readouterr().err


def test_a_manifest_is_an_inventory_of_its_phones_and_a_list_is_one_too(tmp_path):
    some = [utterance("a", None), utterance("b", None)]
    some = [replace(some[0], phones=("a", "t͡ʃ")), replace(some[1], phones=("b", "a"))]
    for name in ("train.jsonl", "train.parquet"):
        write_manifest(tmp_path / name, some)
        assert read_inventory(tmp_path / name).phones == ("a", "b", "tʃ")
    (tmp_path / "phones.txt").write_text("a b tʃ\n", encoding="utf-8")
    assert read_inventory(tmp_path / "phones.txt", "xx").phones == ("a", "b", "tʃ")


def test_a_manifest_without_phones_or_that_is_none_is_named(tmp_path):
    write_manifest(tmp_path / "none.jsonl", [utterance("a", None)])
    with pytest.raises(UserError, match=r"none\.jsonl: no phones found"):
        read_inventory(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"phones": 3}\n')
    with pytest.raises(UserError, match=r"bad\.jsonl:1"):
        read_inventory(tmp_path / "bad.jsonl")
    with pytest.raises(UserError, match=r"absent\.jsonl"):
        read_inventory(tmp_path / "absent.jsonl")


def test_labels_that_are_not_ipa_do_not_refuse_the_inventory_of_a_manifest(tmp_path):
    write_manifest(tmp_path / "m.jsonl", [replace(utterance("a", None), phones=("a", "ai5", "A"))])
    assert read_inventory(tmp_path / "m.jsonl").phones == ("A", "a", "ai5")
