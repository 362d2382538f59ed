"""A model in one of its languages: its encoder with the adapter, the head and the vocabulary that
were trained for it.

    saved = in_language(open_model("mms-1b-all"), "yor")
    saved.language, saved.adapter      # yor, adapter.yor.safetensors (sha256 1c0ffee5)

`open_model` opens the encoder of such a model alone, as a training needs it.
"""

from collections.abc import Iterator
from dataclasses import replace

from speechx.errors import UserError
from speechx.interchange import mms
from speechx.interchange.names import HEAD
from speechx.models.adapter_files import (
    SavedAdapter,
    adapters_in,
    encoder_mark,
    head_of,
    read_adapter,
)
from speechx.models.adapters import adapter_shapes
from speechx.models.encoder import with_adapters
from speechx.models.folder import SavedModel, is_model_folder
from speechx.text.language_choice import choose, listed
from speechx.text.languages import iso639_3


def in_language(saved: SavedModel, language: str | None) -> SavedModel:
    """A model that `open_model` has read, with the adapter for a language if it has adapters.

    `language` is a name of the model's own, a code of ISO 639 or an English name. It may be left
    out if the model has one language, or writes something without an adapter. A UserError names the
    languages of the model if it is wrong, ambiguous or needed.
    """
    if not saved.adapters:
        return saved if language is None else _named(saved, language)
    if language is None:
        return _usual(saved)
    return with_adapter(saved, _read(saved, _choose(saved, language)))


def each_adapter(saved: SavedModel) -> Iterator[SavedAdapter]:
    """All adapters of a model, read one by one, as they are needed."""
    for language in saved.adapters:
        adapter = _read(saved, language)
        with_adapter(saved, adapter)  # refuses one of another model
        yield adapter


def with_adapter(saved: SavedModel, adapter: SavedAdapter) -> SavedModel:
    """A model that reads out through an adapter; its own heads, which fit the encoder without it,
    are left out."""
    source = f"adapter {adapter.label or adapter.language} of {saved.folder}"
    if adapter.mark not in (None, encoder_mark(saved.weights)):
        raise UserError(
            f"{source} was trained on another encoder than this one: put it into the folder of "
            "the model that it was trained from"
        )
    context = saved.encoder.context
    down = adapter.weights.get("encoder.context.layers.0.adapter.down.weight")
    dim = 0 if down is None else len(down)
    expected = adapter_shapes(context.embed_dim, dim, context.num_layers) if dim else {}
    for name, vocabulary in adapter.vocabularies.items():
        head = HEAD.replace("ctc", name)
        expected[f"{head}.weight"] = (len(vocabulary), context.embed_dim)
        expected[f"{head}.bias"] = (len(vocabulary),)
    shapes = {name: tuple(tensor.shape) for name, tensor in adapter.weights.items()}
    if wrong := [n for n in {**expected, **shapes} if shapes.get(n) != expected.get(n)] or not dim:
        first = f" (first: {wrong[0]})" if isinstance(wrong, list) else ""
        raise UserError(f"{source} does not fit this encoder or its own vocabulary{first}")
    return replace(
        saved,
        encoder=with_adapters(saved.encoder, dim),
        weights={
            **{n: t for n, t in saved.weights.items() if n.startswith("encoder.")},
            **adapter.weights,
        },
        objectives={
            name: {**saved.objectives.get(name, {}), "kind": "ctc", "tokens": tokens.token_type}
            for name, tokens in adapter.vocabularies.items()
        },
        vocabularies=adapter.vocabularies,
        temperatures={
            name: saved.temperatures.get(head_of(name, adapter.language), 1.0)
            for name in adapter.vocabularies
        },
        language=adapter.language,
        adapter=adapter.label,
        notes=(*saved.notes, *adapter.notes),
    )


def _choose(saved: SavedModel, language: str) -> str:
    """The name of the adapter for a language."""
    try:
        return choose(language, saved.adapters, str(saved.folder))
    except UserError:
        if is_model_folder(saved.folder):
            raise
        absent = mms.without_file(saved.folder, saved.adapters)
        try:
            name = choose(language, absent, str(saved.folder))
        except UserError:
            name = ""
        if not name:
            raise
    raise UserError(
        f"{saved.folder} has a vocabulary for {name}, but not its adapter: put "
        f"adapter.{name}.safetensors or adapter.{name}.bin into the folder"
    )


def _usual(saved: SavedModel) -> SavedModel:
    """The model where no language is given."""
    if saved.vocabularies:
        note = f"no language was given, so no adapter is used; it has {listed(saved.adapters)}"
        return replace(saved, notes=(*saved.notes, note))
    if saved.usual_language is not None:
        if is_model_folder(saved.folder):
            adapter = _read(saved, saved.usual_language)
        else:
            adapter = mms.read_adapter(saved.folder, saved.usual_language, inside=True)
        if len(saved.adapters) > 1:
            note = (
                f"no language was given, so {adapter.language} is used, the usual one, of "
                f"{adapter.label}; it has {listed(saved.adapters)}"
            )
            saved = replace(saved, notes=(*saved.notes, note))
        return with_adapter(saved, adapter)
    if len(saved.adapters) > 1:
        raise UserError(
            f"{saved.folder} has adapters for {len(saved.adapters)} languages, and one must be "
            f"chosen with language= (--language): {listed(saved.adapters)}"
        )
    return with_adapter(saved, _read(saved, saved.adapters[0]))


def _read(saved: SavedModel, language: str) -> SavedAdapter:
    files = adapters_in(saved.folder)
    if language in files:
        return read_adapter(files[language])
    return mms.read_adapter(saved.folder, language)


def _named(saved: SavedModel, language: str) -> SavedModel:
    """A model without adapters, in a language that must be one of those it was trained on."""
    if not saved.languages:
        note = f"it has no adapters, so the language {language} changes nothing but the result"
        return replace(saved, language=iso639_3(language), notes=(*saved.notes, note))
    return replace(saved, language=choose(language, saved.languages, str(saved.folder)))
