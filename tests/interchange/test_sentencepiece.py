"""SentencePiece models of single characters, written here and read by fairseq2."""

from __future__ import annotations

import pytest

from speechx.errors import UserError
from speechx.interchange.sentencepiece import SPACE, read_pieces, write_characters
from speechx.interchange.vocabulary_rows import SPECIALS

SYMBOLS = (*SPECIALS, "|", "e", "т", "'")


def test_pieces_come_back(tmp_path):
    write_characters(tmp_path / "tokenizer.model", SYMBOLS)
    pieces, others = read_pieces(tmp_path / "tokenizer.model")
    assert pieces == (*SPECIALS, SPACE, "e", "т", "'")
    assert others == set(SPECIALS)


def test_pieces_of_the_user_are_text_and_unused_ones_are_not(tmp_path):
    """Protocol buffers written out: field 1 is a piece, with its text (1) and its type (3)."""
    content = b""
    for kind, text in enumerate(("a", "<unk>", "<s>", "'", "z"), start=1):
        piece = bytes([0x0A, len(text)]) + text.encode() + bytes([0x18, kind])
        content += bytes([0x0A, len(piece)]) + piece
    (tmp_path / "tokenizer.model").write_bytes(content)
    pieces, others = read_pieces(tmp_path / "tokenizer.model")
    assert pieces == ("a", "<unk>", "<s>", "'", "z")
    assert others == {"<unk>", "<s>", "z"}


@pytest.mark.interop
def test_fairseq2_reads_and_writes_text_with_it(tmp_path):
    import soundfile  # noqa: F401
    from fairseq2.data.tokenizers.char import load_char_tokenizer

    write_characters(tmp_path / "tokenizer.model", SYMBOLS)
    tokenizer = load_char_tokenizer(tmp_path / "tokenizer.model", None)
    assert tokenizer.vocab_info.size == len(SYMBOLS)
    assert tokenizer.vocab_info.bos_idx == 0
    assert tokenizer.vocab_info.pad_idx == 1
    assert tokenizer.vocab_info.unk_idx == 3
    ids = tokenizer.create_encoder()("e'т е")
    assert ids.tolist() == [5, 7, 6, 4, 3]
    assert tokenizer.create_decoder()(ids[:4]) == "e'т "


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "tokenizer.model"
    write_characters(path, SYMBOLS)
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    with pytest.raises(UserError, match="cannot be read as a SentencePiece model"):
        read_pieces(path)
    path.write_bytes(b"\xff" * 20)
    with pytest.raises(UserError, match="cannot be read as a SentencePiece model"):
        read_pieces(path)
