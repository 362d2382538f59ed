"""The tokenizer of a folder of transformers: which symbol each row of a CTC head is.

Symbols are in `vocab.json` and `added_tokens.json`, settings in `tokenizer_config.json` and
`special_tokens_map.json`. A setting that speechx cannot honour is an error.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from speechx.errors import UserError
from speechx.interchange.json_objects import read_if_there, read_json, write_json
from speechx.interchange.preprocessing import PROCESSOR, TOKENIZER
from speechx.interchange.vocabulary_rows import VocabularyRows, second_space
from speechx.text.vocabulary import TokenType, Vocabulary

SPECIAL, VOCABULARY, ADDED = "special_tokens_map.json", "vocab.json", "added_tokens.json"
LANGUAGE_MODEL = "language_model"
TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
"""In the order of the first rows of the heads that are written; the first is the blank."""
CHARACTERS, PHONEMES = "Wav2Vec2CTCTokenizer", "Wav2Vec2PhonemeCTCTokenizer"
TOKENIZERS = (CHARACTERS, PHONEMES, "Wav2Vec2Tokenizer")
CLEANED = frozenset(".?!,'")
"""Characters before which `clean_up_tokenization_spaces` takes spaces away."""


def read_rows(
    folder: Path, about: Mapping[str, Any], count: int, language: str | None = None
) -> tuple[VocabularyRows, tuple[str, ...]]:
    """The symbols of the `count` rows of a head, and notes; `about` is the content of
    `config.json`. Of a vocabulary for each language the one of `language` counts, by default of
    `target_lang`."""
    path = folder / VOCABULARY
    if not path.is_file():
        raise UserError(f"{folder} has a CTC head but no vocab.json with the symbols of its rows")
    tokenizer = _settings(folder, about)
    every_language = read_json(path)
    rows = _language(every_language, language or tokenizer.get("target_lang"), path)
    phonemes = _is_phonemes(tokenizer, folder)
    tokens = {key: _text(tokenizer.get(key) or token, key, folder) for key, token in TOKENS.items()}
    specials = frozenset(tokens.values())
    added = _added(tokenizer, folder) | read_if_there(folder / ADDED)
    if language not in (None, tokenizer.get("target_lang")):  # their rows are of another vocabulary
        added = {}
    every = {**{symbol: row for symbol, row in added.items() if symbol not in rows}, **rows}
    _check_numbers(rows, every, {*specials, *added}, tokens["pad_token"], count, path)
    by_row = {row: symbol for symbol, row in every.items() if row < count}
    blank, padding = about.get("pad_token_id", 0), every.get(tokens["pad_token"])
    blank = padding if blank is None else blank
    if padding is None and isinstance(blank, int) and 0 <= blank < count:
        by_row.setdefault(blank, tokens["pad_token"])
    if blank not in by_row or padding not in (blank, None):
        raise UserError(
            f"{folder}: the blank is row pad_token_id = {blank} of config.json, but "
            f"{tokens['pad_token']} is row {padding} of vocab.json"
        )
    space = _space(tokenizer, folder, {*by_row.values()}, phonemes)
    symbols = [by_row.get(row, "") for row in range(count)]
    if phonemes:  # a boundary of words, for which transformers writes nothing
        symbols = [" " if symbol == space else symbol for symbol in symbols]
    lower = not phonemes and _flag(tokenizer, "do_lower_case", folder)
    if lower and "Σ" in symbols:
        raise UserError(
            f"{folder / TOKENIZER}: do_lower_case is true, and Σ of the vocabulary becomes ς at "
            "the end of words and σ elsewhere, which speechx does not do: set it to false; texts "
            "then have capitals"
        )
    notes = []
    if late := [s for s, row in every.items() if row >= count and s not in specials]:
        notes.append(f"added tokens that the head has no row for: {' '.join(late)}")
    if bare := [str(row) for row in range(count) if row not in by_row]:
        notes.append(
            f"{len(bare)} of {count} rows of the head have no symbol in {VOCABULARY} and are left "
            f"out ({', '.join(bare[:5])}{', ...' if len(bare) > 5 else ''})"
        )
    if lower:
        notes.append("do_lower_case: the symbols are written in lower case")
    if _flag(tokenizer, "clean_up_tokenization_spaces", folder) and CLEANED & {*symbols}:
        notes.append("clean_up_tokenization_spaces: spaces before . , ? ! ' stay as they are")
    if (folder / LANGUAGE_MODEL).is_dir():
        notes.append(f"{LANGUAGE_MODEL} is not used: the best symbol of each frame counts")
    nested = rows is not every_language
    token_type: TokenType | None = "phonemes" if phonemes else "characters" if nested else None
    found = VocabularyRows(tuple(symbols), blank, specials | {""}, space, token_type, lower)
    return found, tuple(notes)


def write_tokenizer(folder: Path, vocabulary: Vocabulary, symbols: list[str], lower: bool) -> None:
    """Writes the files of a tokenizer; `symbols` are in the order of the rows. With `lower` they
    become capitals, and the tokenizer writes them in lower case."""
    characters = vocabulary.token_type == "characters"
    tokenizer: dict[str, Any] = {
        "tokenizer_class": CHARACTERS if characters else PHONEMES,
        "do_lower_case": lower,
        **TOKENS,
    }
    boundary = " " if " " in vocabulary.tokens else None
    tokenizer |= (
        {"word_delimiter_token": "|"}
        if characters
        else {
            "phone_delimiter_token": " ",
            "word_delimiter_token": boundary,
            "do_phonemize": False,
        }
    )
    if characters:
        other = second_space(vocabulary.tokens)
        symbols = [" " if symbol == other else symbol for symbol in symbols]
    if lower:
        symbols = [s if s in TOKENS.values() else _capital(s) for s in symbols]
    write_json(folder / VOCABULARY, {symbol: row for row, symbol in enumerate(symbols)})
    write_json(folder / TOKENIZER, tokenizer)
    write_json(folder / SPECIAL, TOKENS)


def _capital(symbol: str) -> str:
    """The symbol that `do_lower_case` makes this one of; ß, ς and ı are their own."""
    capital = symbol.upper()
    return capital if len(capital) == len(symbol) and capital.lower() == symbol else symbol


def _settings(folder: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the tokenizer, from all files that may have some."""
    inner = read_if_there(folder / PROCESSOR).get("tokenizer")
    files = (
        {"tokenizer_class": about.get("tokenizer_class")},
        inner if isinstance(inner, dict) else {},
        read_if_there(folder / SPECIAL),
        read_if_there(folder / TOKENIZER),
    )
    settings: dict[str, Any] = {}
    for given in files:  # null is a value only where there is no other
        settings |= {k: v for k, v in given.items() if v is not None or k not in settings}
    return settings


def _check_numbers(
    rows: Mapping[str, Any],
    every: Mapping[str, Any],
    without_row: Collection[str],
    padding: str,
    count: int,
    path: Path,
) -> None:
    """Refuses rows that are not numbers, or more symbols than rows; `every` has the added tokens
    too, `without_row` are the symbols that need none."""
    numbers = [n for n in every.values() if isinstance(n, int) and n >= 0]
    if len({*numbers}) < len(every) or rows.get(padding, 0) >= count:
        raise UserError(f"{path}: rows are not numbered from 0 to {count - 1}, each once")
    if [s for s, n in rows.items() if n >= count and s not in without_row]:
        raise UserError(
            f"{path}: the vocabulary has {len(rows)} symbols, but the head has {count} rows: it is "
            "the vocabulary of another model"
        )


def _is_phonemes(tokenizer: Mapping[str, Any], folder: Path) -> bool:
    kind = tokenizer.get("tokenizer_class")
    if kind is None:
        return "phone_delimiter_token" in tokenizer
    if kind not in TOKENIZERS:
        raise UserError(
            f"{folder / TOKENIZER}: tokenizer_class is {kind!r}; expected one of "
            f"{', '.join(TOKENIZERS)}"
        )
    return bool(kind == PHONEMES)


def languages_of(folder: Path, about: Mapping[str, Any]) -> tuple[list[str], str | None]:
    """The languages that have a vocabulary each, and `target_lang`, which names the language of the
    weights beside; none and None where there is no such file."""
    path = folder / VOCABULARY
    content = read_json(path) if path.is_file() else {}
    nested = [name for name, rows in content.items() if isinstance(rows, dict)]
    target = _settings(folder, about).get("target_lang") or about.get("target_lang")
    return sorted(nested), target if isinstance(target, str) else None


def _language(rows: dict[str, Any], language: Any, path: Path) -> dict[str, Any]:
    """The vocabulary; of one for each language, the one of `language`."""
    if not any(isinstance(row, dict) for row in rows.values()):
        return rows
    chosen = rows.get(language or "")
    if not isinstance(chosen, dict):
        raise UserError(
            f"{path} has a vocabulary for each language (MMS), but none for {language!r}; give "
            f"target_lang in {TOKENIZER} one of its {len(rows)} languages"
        )
    return chosen


def _space(
    tokenizer: Mapping[str, Any], folder: Path, symbols: set[str], phonemes: bool
) -> str | None:
    """The symbol of the space, if the tokenizer has one."""
    usual = None if phonemes else "|"
    given = tokenizer.get("word_delimiter_token", usual)
    space = None if given is None else _text(given, "word_delimiter_token", folder)
    written = tokenizer.get("replace_word_delimiter_char", " ")
    if not phonemes and written not in (" ", None) and space in symbols:
        raise UserError(
            f"{folder / TOKENIZER}: replace_word_delimiter_char is {written!r}; speechx writes "
            f"{space} as ' ' only: set it to ' ' and replace the spaces afterwards"
        )
    return space


def _flag(settings: Mapping[str, Any], name: str, folder: Path) -> bool:
    value = settings.get(name) or False
    if not isinstance(value, bool):
        raise UserError(f"{folder / TOKENIZER}: {name} is {value!r}; expected true or false")
    return value


def _added(tokenizer: Mapping[str, Any], folder: Path) -> dict[str, int]:
    """Added tokens and their rows."""
    name = "added_tokens_decoder"
    given = tokenizer.get(name) or {}
    if not isinstance(given, dict) or not all(map(_is_row, given)):
        raise UserError(
            f"{folder / TOKENIZER}: {name} is {str(given)[:80]}; expected an object with the "
            'number of a row before each token: {"32": {"content": "<s>"}}'
        )
    return {_text(token, name, folder): int(row) for row, token in given.items()}


def _is_row(key: str) -> bool:
    return key.isascii() and key.isdecimal() and len(key) < 10


def _text(token: Any, name: str, folder: Path) -> str:
    """A token as it stands, or in the form that carries its flags."""
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str):
        raise UserError(
            f"{folder / TOKENIZER}: {name} has the token {str(token)[:80]}; expected a text, or an "
            "object with its content"
        )
    return text
