"""Which encoding a text file has: UTF-8 or UTF-16, with and without a byte order mark.

Other encodings are not guessed. The error shows how the text reads in each code page that gives
words, so that a person who knows the language can choose.

    text = decoded(path.read_bytes())     # or a ValueError that says what the file is
"""

import codecs
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CODE_PAGES = (  # what is more common first
    "latin1", "cp1252", "cp1250", "cp1251", "koi8-r", "cp1254", "cp1257", "cp1253", "cp1255",
    "cp1256", "cp874", "cp932", "euc-jp", "cp949", "gb18030", "big5", "iso-8859-2", "cp866",
    "cp852", "cp1258",
)  # fmt: skip
ALPHABETS = (  # Latin letters beyond ASCII of languages that had code pages
    "àâæçéèêëîïôœùûüÿ", "äöüß", "áéíñóúü", "àèéìíòóùú", "áâãàçéêíóôõúü", "àçèéíïòóúü", "åäöé",
    "æøåé", "áðéíóúýþæö", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "ąćęłńóśźż", "áéíóöőúüű",
    "čćđšž", "ăâîşţ", "çğıi̇öşüâî", "ąčęėįšųūž", "āčēģīķļņšūž", "äöüõšž",
)  # fmt: skip
FITS = 0.9
SAMPLE = 1 << 17  # bytes to judge a code page by
MOST_BYTES = 1 << 26  # of a text, to find what is wrong with it
HEAD_BYTES = 1 << 16  # to find the encoding by
SHOWN_LINES = 100  # of which a word may be in a message
MOST_READINGS = 4  # in a message
BAD_SHARE = 0.1  # of the words beyond ASCII that may be no words in the right code page
FOREIGN = {  # by the first bytes: what is no text, and what to do
    b"PAR1": "a Parquet table; save it as CSV: pandas.read_parquet(OLD).to_csv(NEW, index=False)",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file; save it there as CSV (UTF-8)",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"%PDF": "a PDF; the table itself was expected, as CSV or TSV",
    b"{\\rtf": "a document in RTF; save it as plain text (UTF-8)",
    b"RIFF": "a sound file; the table that lists the recordings was expected",
    b"fLaC": "a sound file; the table that lists the recordings was expected",
    b"OggS": "a sound file; the table that lists the recordings was expected",
    b"ID3": "a sound file; the table that lists the recordings was expected",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"BZh": "packed by bzip2; unpack it first: bunzip2 FILE",
    b"\xfd7zXZ": "packed by xz; unpack it first: unxz FILE",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it first: unzstd FILE",
    b"PK\x03\x04": "a zip archive; unpack it first",
}
OFFICE = {  # by what is in a zip archive
    b"xl/": "an Excel workbook; save it there as CSV UTF-8 (File, Save As), one file per sheet",
    b"word/": "a Word document; save the table as CSV or as plain text (UTF-8)",
    b"opendocument.spreadsheet": "an OpenDocument spreadsheet; save it there as CSV (UTF-8)",
    b"opendocument.text": "an OpenDocument text; save it there as plain text (UTF-8)",
    b"Index/": "a Numbers document; export it there as CSV (UTF-8)",
}


def foreign(head: bytes) -> str | None:
    """What a file is that holds no text, and what to do with it; `head` is its beginning."""
    for magic, what in FOREIGN.items():
        if head.startswith(magic) and (magic in (b"%PDF", b"{\\rtf") or _binary(head)):
            is_zip = magic.startswith(b"PK")
            return next((known for part, known in OFFICE.items() if is_zip and part in head), what)
    return None


def _binary(head: bytes) -> bool:
    """Whether there are bytes that no text has: an id may well be `ID3` or `PAR1`."""
    return any(byte < 9 or 13 < byte < 32 or byte > 0xF7 for byte in head[:1024])


def encoding_of(head: bytes) -> str:
    """The encoding of a text that begins with these bytes; UTF-8 unless they are UTF-16."""
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return encoding
    if b"\0" in head and not _may_be_utf_8(head):
        ascii_of = {encoding: _ascii(head, encoding) for encoding in ("utf-16-le", "utf-16-be")}
        best = max(ascii_of, key=ascii_of.__getitem__)
        if ascii_of[best] and ascii_of[best] > min(ascii_of.values()):
            return best
    return "utf-8-sig"


def _may_be_utf_8(head: bytes) -> bool:
    """Whether zeros are damage: a word of ASCII is before them, which UTF-16 would divide."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return re.search(rb"[!-~]{3}", head.partition(b"\0")[0]) is not None


def _ascii(head: bytes, encoding: str) -> int:
    """How many letters, signs and ends of lines of ASCII there are; 0 if zeros are among them."""
    text = head[: len(head) // 2 * 2].decode(encoding, errors="replace")
    return 0 if "\0" in text else sum(" " <= c <= "~" or c in "\t\r\n" for c in text)


def decoded(data: bytes) -> str:
    """The text of a whole file, with `\\n` at the ends of lines; a ValueError says what it is
    instead, and what to do."""
    if what := foreign(data):
        raise ValueError(what)
    try:
        text = data.decode(encoding_of(data[:HEAD_BYTES]))
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise ValueError(why_not_text(data)) from None


def why_not_text(data: bytes) -> str:
    """Why the beginning of a file cannot be decoded, and what to do: never a conversion that would
    give nonsense."""
    encoding = encoding_of(data[:HEAD_BYTES])
    if encoding != "utf-8-sig":
        name = encoding[:6].upper()
        return f"not UTF-8 text but {name}, and damaged or cut off; save it again, as UTF-8"
    text = data.decode("utf-8", errors="replace")
    bad = text.count("\N{REPLACEMENT CHARACTER}")
    if bad == 0:
        return "not UTF-8 text, somewhere far from its beginning; save it again, as UTF-8"
    if sum(c > "\x7f" for c in text) > 10 * bad:
        line = text[: text.index("\N{REPLACEMENT CHARACTER}")].count("\n") + 1
        return f"not UTF-8 text; line {line} has damaged bytes, others are UTF-8; correct that line"
    lines = enumerate(re.split(rb"\r\n|\n|\r", data), start=1)
    foreign_lines = [(number, line) for number, line in lines if not line.isascii()]
    number, readings = _readings(foreign_lines)
    if not readings:
        return "not UTF-8 text, nor in a known code page; save it as UTF-8 in its own program"
    shown = ", ".join(f"{word!r} in {page}" for page, word in readings.items())
    which = "convert it" if len(readings) == 1 else "convert it from the one that is right"
    command = f"iconv -f {next(iter(readings))} -t utf-8 OLD > NEW"
    return f"not UTF-8 text; line {number} has {shown}; {which}: {command}"


def _readings(lines: Sequence[tuple[int, bytes]]) -> tuple[int, dict[str, str]]:
    """A line, and its word that reads most differently in the code pages in which all lines are
    words, by code page; the most probable one first."""
    data = b"\n".join(line for _, line in lines)[:SAMPLE]
    texts: dict[str, str] = {}
    for page in CODE_PAGES:
        try:  # the last character may be cut
            text = codecs.getincrementaldecoder(page)().decode(data, final=len(data) < SAMPLE)
        except UnicodeDecodeError:
            continue
        if text not in texts.values() and _is_language(text, page):
            texts[page] = text
    pages = sorted(texts, key=lambda page: _share_of_an_alphabet(texts[page]) < FITS)
    pages = pages[:MOST_READINGS]
    words = [(n, w) for n, line in lines[:SHOWN_LINES] for w in re.split(rb"[\s;,\"]+", line)]
    read = [(n, [_word(word, page) for page in pages]) for n, word in words if not word.isascii()]
    number, shown = max(read, key=lambda found: len(set(found[1])))
    return number, dict(zip(pages, shown, strict=True))


def _word(word: bytes, page: str) -> str:
    """How a word reads, or the part of it between bars that has most letters beyond ASCII."""
    parts = word.decode(page, errors="replace").split("|")
    return max(parts, key=lambda part: sum(c > "\x7f" for c in part))[:40]


def _share_of_an_alphabet(text: str) -> float:
    """Of the Latin letters beyond ASCII, how many are in the alphabet that has most of them."""
    letters = [
        c for c in text.lower() if c > "\x7f" and unicodedata.name(c, "").startswith("LATIN")
    ]
    most = max(sum(c in alphabet for c in letters) for alphabet in ALPHABETS)
    return most / len(letters) if letters else 1.0


def _is_language(text: str, page: str) -> bool:
    """Whether nearly all words beyond ASCII may be words of a language that uses the code page."""
    if any(unicodedata.category(c) in ("Cc", "Cn", "Co") for c in set(text) - set("\t\r\n")):
        return False
    words = [word for word in BETWEEN.split(text) if not word.isascii()]
    scripts = {script for word in words for script in _scripts(word)}
    kana = scripts & {"HIRAGANA", "KATAKANA"}
    if (page in ("cp932", "euc-jp")) != bool(kana) and scripts & EAST_ASIAN:
        return False
    return sum(map(_is_nonsense, words)) <= BAD_SHARE * len(words)


def _scripts(word: str) -> set[str]:
    names = (unicodedata.name(c, "?") for c in word if unicodedata.category(c)[0] in "LM")
    return {name.split(" ")[0].split("-")[0] for name in names} - {"MODIFIER", "COMBINING"}


def _is_nonsense(word: str) -> bool:
    """Whether no language writes this: signs within it, two scripts, or capitals after small
    letters."""
    core = word.strip("".join(c for c in word if unicodedata.category(c)[0] == "P" or c in AROUND))
    letters = [c for c in core if unicodedata.category(c)[0] in "LM"]
    scripts = _scripts(core)
    if len(letters) < len(core.translate(INNER)) or scripts & NOT_SCRIPTS or NO_THAI.search(core):
        return True
    if len(scripts) > 1 and (not scripts <= EAST_ASIAN or "HANGUL" in scripts):
        return True
    if any(a.islower() and b.isupper() for a, b in pairwise(core)):
        return True
    if len(letters) > 2 and all(c.isupper() and c > "\x7f" for c in letters):
        return True  # a small letter in one code page is a capital in another
    beyond_ascii = sum(c > "\x7f" for c in letters)
    return scripts == {"LATIN"} and len(letters) > 3 and 4 * beyond_ascii > 3 * len(letters)


BETWEEN = re.compile(
    r"[\s\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e\u3000-\u303f\uff01-\uff20\uff3b-\uff40\uff5b-\uff65]+"
)
AROUND = "0123456789$°©®™€£¥¢§¿¡№²³½¼¾"
INNER = str.maketrans("", "", "'-0123456789’–—·‐\xad")
EAST_ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "FULLWIDTH"}
NOT_SCRIPTS = {"FEMININE", "MASCULINE", "MICRO", "HALFWIDTH", "?"}
NO_THAI = re.compile("[เ-ไ](?![ก-ฮ])|ฯ[ก-ฮ]|[ะ-ู]{2}")
