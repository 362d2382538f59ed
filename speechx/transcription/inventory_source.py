"""Phone inventories by name: the SOURCE of --inventory and of `speechx inventory`.

    pt                          a language whose inventory is shipped, by code or name
    phones.txt                  a list of phones
    lexicon.tsv                 words, and behind a tab their phones
    train.jsonl                 the phones of a manifest
    phoible.csv#2175            PHOIBLE, by InventoryID, Glottocode, ISO 639-3 code or name
    phoible.csv#1+423           two inventories of PHOIBLE joined
    vocab.json                  a JSON list of phones, or phones and their ids
    pt:words.txt                a text, or the texts of a manifest, through G2P of the language
    runs/mine/best              the phones that a model writes
    OWNER/NAME                  the phones of a model of the Hugging Face Hub

Only models import torch.
"""

from pathlib import Path

from speechx.data.manifest import is_manifest, read_manifest
from speechx.data.phones import read_inventory
from speechx.decoding.mapping import Mapping
from speechx.errors import UserError
from speechx.text.inventory import Inventory, file_and_choice
from speechx.text.languages import language_code
from speechx.text.user_files import read_lines

UNUSED = ("mask_embedding", "quantizer")  # parts of a model that its phones do not need
CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


def inventory_of(word: str) -> Inventory:
    """The inventory of a source as above. UserError if there is none."""
    path = Path(word)
    if names_model(word):
        return inventory_of_model(path)
    if path.is_file() or file_and_choice(path)[1]:
        return read_inventory(path)
    language, colon, text = word.partition(":")
    if colon and len(language) > 1 and text:  # C:\phones.txt is no language
        return _of_text(Path(text), language)
    if path.suffix:
        return read_inventory(path)
    return Inventory.for_language(word)


def names_model(word: str) -> bool:
    """Whether a source is a model: a model folder, a checkpoint, or OWNER/NAME."""
    path = Path(word)
    if path.is_file() or not word:
        return path.suffix in CHECKPOINTS
    if path.is_dir():
        named = any((path / name).is_file() for name in ("config.yaml", "config.json"))
        return named or path.name != word or any(map(_is_checkpoint, path.iterdir()))
    if ":" in word or file_and_choice(path)[1]:
        return False
    return path.suffix in CHECKPOINTS or (path.name != word and not _is_list(path))


def inventory_of_model(model: Path, head: str | None = None) -> Inventory:
    """The phones that a model writes, in the spelling of all inventories."""
    tokens, language, source = phones_of_model(model, head)
    return Inventory.of([token for token in tokens if not token.isspace()], language, source)


def phones_of_model(model: Path, head: str | None = None) -> tuple[tuple[str, ...], str, str]:
    """The phones of `head`, or of the first head that writes phones, in the order of its outputs;
    their language ("mul" if there are several); and the model and head as text."""
    from speechx.interchange.opening import open_model

    saved = open_model(model, UNUSED)
    heads = {n: v for n, v in saved.vocabularies.items() if head is None or n == head}
    for name, vocabulary in heads.items():
        if vocabulary.token_type == "phonemes":
            language = saved.languages[0] if len(saved.languages) == 1 else "mul"
            source = f"{model}, head {name}" if len(saved.vocabularies) > 1 else str(model)
            return vocabulary.tokens, language, source
    writes = ", ".join(f"{n} writes {v.token_type}" for n, v in saved.vocabularies.items())
    wanted = "no head that writes phonemes" if head is None else f"no head {head!r} of phonemes"
    raise UserError(
        f"{model} has {wanted} ({writes or 'it has no heads'}); give a model that was fine-tuned "
        "with objective.tokens=phonemes"
    )


def inventory_of_mapping(mapping: Mapping) -> Inventory:
    """The targets of a mapping as an inventory."""
    return Inventory.of(mapping.target, "und", mapping.made or "the targets of a mapping")


def _of_text(path: Path, language: str) -> Inventory:
    """The phones of a text file, a sentence or a word a line, or of the texts of a manifest."""
    if is_manifest(path):
        lines = [u.text or "" for u in read_manifest(path)]
    else:
        lines = read_lines(path, "the text", "sentences or words, one a line")
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise UserError(f"{path}: there is no text; expected sentences or words, one a line.")
    return Inventory.from_texts(texts, language_code(language), str(path))


def _is_checkpoint(path: Path) -> bool:
    return path.suffix in CHECKPOINTS


def _is_list(path: Path) -> bool:
    """Whether the name is that of a file of phones, which may be missing."""
    return path.suffix.lower() in (".txt", ".tsv", ".csv", ".json", ".jsonl", ".parquet", ".lst")
