"""Files of n-gram models: ARPA (.arpa, .arpa.gz), ours (.safetensors), KenLM's binary ones.

The first bytes of a file decide how it is read, and its name how it is written.
"""

from pathlib import Path

from speechx.decoding.arpa import read_arpa, write_arpa
from speechx.decoding.kenlm_file import MAGIC
from speechx.decoding.ngram import NGram
from speechx.errors import UserError

WRITTEN = (".arpa", ".arpa.gz", ".safetensors")
HEADER = 8  # bytes before the JSON of a file of tensors


def read_ngram(path: str | Path) -> NGram:
    """The model of an ARPA file or of a .safetensors file of `speechx lm train`. UserError for
    other files; for binary files of KenLM there is `speechx.decoding.kenlm_file.KenlmModel`."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(max(len(MAGIC), HEADER + 1))
    except OSError as error:
        raise UserError(f"{path}: cannot read the language model: {error.strerror}") from None
    if head.startswith(MAGIC):
        raise UserError(
            f"{path} is a binary file of KenLM, which does not list its tokens; give the ARPA file "
            "that it was made from"
        )
    if head[HEADER : HEADER + 1] == b"{" and b"\0" in head[:HEADER]:
        return NGram.load(path)
    return read_arpa(path)


def write_ngram(path: str | Path, model: NGram) -> None:
    """Writes a model in the format of the suffix. UserError for other suffixes."""
    path = check_name(path)
    if path.suffix == ".safetensors":
        model.save(path)
    else:
        write_arpa(path, model)


def check_name(path: str | Path) -> Path:
    """The path. UserError if no format has its suffix."""
    path = Path(path)
    if not path.name.endswith(WRITTEN):
        raise UserError(
            f"{path}: the suffix chooses the format; expected one of {', '.join(WRITTEN)}"
        )
    return path
