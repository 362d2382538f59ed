"""Files of n-gram models: ARPA (.arpa, .arpa.gz), ours (.safetensors), KenLM's binary ones.

The first bytes of a file decide how it is read, and its name how it is written.
"""

from pathlib import Path

from speechx.decoding.arpa import read_arpa, write_arpa
from speechx.decoding.kenlm_file import MAGIC, KenlmModel
from speechx.decoding.ngram import NGram
from speechx.errors import UserError

WRITTEN = (".arpa", ".arpa.gz", ".safetensors")
HEADER = 8  # bytes before the JSON of a file of tensors


def read_ngram(path: str | Path) -> NGram:
    """The model of an ARPA file, of a .safetensors file of `speechx lm train`, or of a binary file
    of KenLM that has few tokens. UserError for other files."""
    model = read_scores(path)
    return model if isinstance(model, NGram) else model.ngram()


def read_scores(path: str | Path) -> NGram | KenlmModel:
    """As `read_ngram`, but a binary file of KenLM stays one, which may have any number of words."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(max(len(MAGIC), HEADER + 1))
    except OSError as error:
        raise UserError(f"{path}: cannot read the language model: {error.strerror}") from None
    if head.startswith(MAGIC):
        return KenlmModel(path)
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
