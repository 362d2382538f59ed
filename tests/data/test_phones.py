from pathlib import Path

import pytest

from speechx.data.manifest import Utterance
from speechx.data.phones import add_phones
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


def test_flags_are_reported_per_language():
    said: list[str] = []
    add_phones([utterance("a", "А computer сломался", "ru")], log=said.append)
    assert said == ["ru: 2 language-switch flags and 0 tone marks taken off the phones of 1 texts"]


def test_texts_without_phones_are_an_error_that_lists_them():
    given = [utterance("a", "ocho"), utterance("b", "..."), utterance("c", None)]
    with pytest.raises(UserError, match=r"2 of 3 utterances .*\(b, c\)"):
        add_phones(given)


def test_or_they_are_dropped_with_a_count():
    said: list[str] = []
    given = [utterance("a", "ocho"), *(utterance(str(n), "?") for n in range(7))]
    assert [u.id for u in add_phones(given, drop_empty=True, log=said.append)] == ["a"]
    assert said == ["7 of 8 utterances without phones left out (0, 1, 2, 3, 4, ...)"]


def test_symbols_that_are_not_ipa_are_reported():
    said: list[str] = []
    add_phones([utterance("a", "Saolaítear gach duine", "ga")], log=said.append)
    assert said == ["ga: phones that are not IPA: 'A' 1 times"]
