"""Opens a model that writes something, ready to transcribe."""

from pathlib import Path

from speechx.interchange.hub import EVERY, local_path
from speechx.interchange.languages import in_language
from speechx.interchange.opening import open_model
from speechx.models.compute import require_compute_type
from speechx.transcription.recognizer import UNUSED, Recognizer, recognizer
from speechx.transcription.spoken_language import by_spoken_language


def load(
    folder: Path | str,
    device: str = "auto",
    head: str | None = None,
    language: str | None = None,
    compute_type: str = "float32",
    any_language: bool = False,
) -> Recognizer:
    """Opens a folder that `speechx finetune` wrote, a CTC model of another toolkit, or `owner/name`
    of the Hugging Face Hub. Nothing but the folder is needed.

    `head` chooses among several heads; by default it is the first. `language` chooses among the
    adapters of a model for many languages (MMS), by its code or name; "auto" identifies the
    language of each recording, if the model has an objective for that. `compute_type` is float32,
    bfloat16 or int8. With `any_language`, a model without adapters takes any.
    """
    require_compute_type(compute_type)
    needed = EVERY if language == "auto" else language
    saved = open_model(local_path(folder, needed), UNUSED)
    if language == "auto":
        return by_spoken_language(saved, Path(folder), device, head, compute_type)
    if any_language and not saved.adapters:
        language = None
    opened = recognizer(in_language(saved, language), Path(folder), device, head)
    opened.compute_with(compute_type=compute_type)
    return opened
