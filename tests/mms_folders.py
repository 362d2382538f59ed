"""A folder of MMS as transformers lays it out: small, random, four languages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from speechx.interchange.languages import in_language
from speechx.interchange.opening import open_model

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
VOCABULARIES = {
    "eng": (*SPECIALS, "|", "a", "b", "c", "'"),
    "uzb-script_cyrillic": (*SPECIALS, "|", "а", "б"),
    "uzb-script_latin": (*SPECIALS, "|", "a", "b", "o"),
    "yor": (*SPECIALS, "|", "à", "ẹ", "b", "gb"),
}
DIM = 5


def opened(path, language=None, allow_missing=()):
    """A model in one of its languages."""
    return in_language(open_model(path, allow_missing), language)


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}), encoding="utf-8")


def mms_folder(folder: Path, target: str | None = None, binary: str | None = "yor") -> Path:
    """Writes the folder. The adapter of `target` is in model.safetensors too, as target_lang says;
    the adapter of `binary` is a pickle."""
    import torch
    from safetensors.torch import load_file, save_file

    from speechx.interchange import hugging_face, names
    from speechx.models.adapters import adapter_shapes
    from speechx.models.folder import open_folder
    from speechx.objectives.ctc import CTCConfig
    from speechx.objectives.model import SpeechModel
    from speechx.text.vocabulary import Vocabulary
    from tests.conftest import small_convolutional

    torch.manual_seed(0)
    encoder = small_convolutional("layer")
    tokens = {"ctc": Vocabulary("characters", ("a", "b"))}
    model = SpeechModel(encoder, {"ctc": CTCConfig(tokens="characters")}, tokens)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    ours = folder.with_name(f"{folder.name}_plain")
    model.save(ours, ())
    folder.mkdir(parents=True)
    hugging_face.write(open_folder(ours), folder)
    shutil.rmtree(ours)
    context = encoder.context
    shapes = adapter_shapes(context.embed_dim, DIM, context.num_layers)
    whole = load_file(folder / "model.safetensors")
    whole = {name: t for name, t in whole.items() if not name.startswith("lm_head")}
    for language, symbols in VOCABULARIES.items():
        weights = {name: torch.randn(shape) for name, shape in shapes.items()}
        weights[f"{names.HEAD}.weight"] = torch.randn(len(symbols), context.embed_dim)
        weights[f"{names.HEAD}.bias"] = torch.randn(len(symbols))
        theirs = names.to_theirs(weights, names.HUGGING_FACE)
        if language == binary:
            torch.save(theirs, folder / f"adapter.{language}.bin")
        else:
            save_file(theirs, folder / f"adapter.{language}.safetensors", {"format": "pt"})
        if language == target:
            whole |= theirs
    save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
    size = len(VOCABULARIES[target or "eng"])
    change(folder / "config.json", adapter_attn_dim=DIM, vocab_size=size)
    change(folder / "tokenizer_config.json", target_lang=target, do_lower_case=False)
    rows = {name: {s: i for i, s in enumerate(some)} for name, some in VOCABULARIES.items()}
    (folder / "vocab.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder
