"""A text is read in UTF-8 or UTF-16; any other gets advice that gives words, never nonsense."""

import re

import pytest

from speechx.text_encoding import decoded

TABLE = "path\ttext\r\na.wav\t{}\r\n"
UTF = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


@pytest.mark.parametrize("encoding", UTF)
@pytest.mark.parametrize("text", ["žluťoučký kůň", "привет", "你好，世界", "", "אב"])
def test_utf_is_read_with_and_without_a_mark(encoding: str, text: str) -> None:
    data = TABLE.format(text).encode(encoding)
    assert decoded(data).removeprefix("\ufeff") == TABLE.format(text).replace("\r", "")


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("žluťoučký kůň", "cp1250"),
        ("Zażółć gęślą jaźń", "iso-8859-2"),
        ("perchè no, città", "latin1"),
        ("“perché” no…", "cp1252"),
        ("Größe, Straße", "latin1"),
        ("åäö är på sjön", "latin1"),
        ("kůň je bílý, řekl děda", "cp1250"),
        ("őszi szél, fűszer és ünnep", "cp1250"),
        ("čovjek, kuća, đak", "cp1250"),
        ("şimdi çok güzel, ışık ağaç öğle", "cp1254"),
        ("šių žmonių ąžuolas ėjo", "cp1257"),
        ("Привет мир", "cp1251"),
        ("Привет мир", "koi8-r"),
        ("Привет мир", "cp866"),
        ("Καλημέρα κόσμε", "cp1253"),
        ("مرحبا بالعالم", "cp1256"),
        ("สวัสดี", "cp874"),
        ("こんにちは世界、テキスト", "cp932"),
        ("こんにちは世界", "euc-jp"),
        ("你好，世界这是一个句子", "gb18030"),
        ("你好，世界這是一個句子", "big5"),
        ("안녕하세요 세계", "cp949"),
    ],
)
def test_the_advice_for_a_code_page_gives_the_text(text: str, page: str) -> None:
    data = TABLE.format(text).encode(page)
    with pytest.raises(ValueError, match="not UTF-8 text; line 2 has") as raised:
        decoded(data)
    (advised,) = re.findall(r"iconv -f (\S+) -t utf-8", str(raised.value))
    assert data.decode(advised) == TABLE.format(text)


@pytest.mark.parametrize(
    ("text", "page"),
    [("kůň", "cp1250"), ("ığdır", "cp1254"), ("שלום עולם", "cp1255"), ("žąsis", "cp1257")],
)
def test_where_several_code_pages_give_words_all_are_shown(text: str, page: str) -> None:
    with pytest.raises(ValueError, match="convert it from the one that is right") as raised:
        decoded(TABLE.format(text).encode(page))
    assert f"{text.split()[0]!r} in {page}" in str(raised.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"PK\x03\x04\x14\0\0\0[Content_Types].xml xl/workbook.xml", "an Excel workbook; save it"),
        (b"PK\x03\x04\x0a\0mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "an OpenDoc"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel"),
        (b"PAR1\x15\x04", "a Parquet table"),
        (b"RIFF\x24\0\0\0WAVE", "a sound file; the table"),
        (b"%PDF-1.7", "a PDF"),
        ("abc".encode("utf-16")[:-1], "UTF-16, and damaged or cut off"),
        (bytes(range(128, 256)), "nor in a known code page"),
        ("è".encode() * 30 + b"\n\xe8\n", "line 2 has damaged bytes, others are UTF-8"),
    ],
)
def test_what_is_no_text_is_named(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)) as raised:
        decoded(data)
    assert "iconv" not in str(raised.value)


@pytest.mark.parametrize("text", ["PAR1 due", "ID3_1 due", "RIFF tre", "BZh"])
def test_ids_may_be_those_of_formats(text: str) -> None:
    assert decoded(text.encode()) == text
