"""Configuration: frozen dataclasses beside the code they configure, one YAML file per run.

    speechx pretrain recipe.yaml optim.lr=3e-4 data.alpha=0.5

`@config` makes the dataclass; `read_yaml`, `override` and `parse` read the file, apply the `a.b=c`
settings and check everything at once: a user sees all mistakes in one go. `dump` writes YAML that
parses to an equal object, which is what an exact resume and an old checkpoint folder need.
"""

import dataclasses
import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml
from typing_extensions import dataclass_transform

from speechx.errors import UserError

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config(cls: type[T]) -> type[T]:
    """A frozen, keyword-only dataclass in which unknown keys are errors."""
    made = dataclasses.dataclass(frozen=True, kw_only=True, slots=True)(cls)
    made.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
    return made


def read_yaml(path: Path | str) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping."""
    try:
        raw = yaml.load(Path(path).read_text(encoding="utf-8"), _KeysOnce)
    except FileNotFoundError:
        raise UserError(f"configuration file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"configuration file {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where else ""
        raise UserError(
            f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}"
        ) from None
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise UserError(f"{path}: expected `key: value` lines, found a {type(raw).__name__}")
    return raw


class _KeysOnce(yaml.SafeLoader):
    """YAML in which no key stands twice: the first value would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add((key.tag, str(key.value)))
        return super().construct_mapping(node, deep)


def override(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`raw` with `a.b=c` settings applied; values are YAML, so lists and numbers work."""
    result = merge({}, raw)
    for setting in overrides:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UserError(
                f"override {setting!r} is not of the form key=value, as in optim.lr=1e-4"
            )
        inner = result
        *folders, last = key.split(".")
        for folder in folders:
            there = inner.get(folder)
            if there is None:
                inner[folder] = {}
            elif not isinstance(there, dict):
                raise UserError(f"override {setting!r}: {folder} is {there!r} and has no keys")
            inner = inner[folder]
        try:
            inner[last] = yaml.safe_load(value)
        except yaml.YAMLError:
            inner[last] = value
    return result


def source_of(path: Path | str, overrides: Sequence[str]) -> str:
    """How messages call the configuration: the file, and the settings given beside it."""
    many = {0: "", 1: " with 1 setting"}.get(len(overrides), f" with {len(overrides)} settings")
    return f"{path}{many}"


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, mappings merged; a mapping of another `kind` replaces."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            same_kind = "kind" not in value or value["kind"] == old.get("kind")
            result[key] = merge(old if same_kind else {}, value)
        else:
            result[key] = merge({}, value) if isinstance(value, dict) else value
    return result


def require_positive(config: Any, *names: str) -> None:
    """For `__post_init__`: each field is above 0 and finite, or None."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be above 0, but is {value}")
        if value is not None and math.isinf(value):
            raise ValueError(f"{name} must be finite, but is {value}")


def require_not_negative(config: Any, *names: str) -> None:
    """For `__post_init__`: each field is at least 0 and finite, or None."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 <= value < math.inf:
            raise ValueError(f"{name} must not be negative, but is {value}")


def require_fraction(config: Any, *names: str) -> None:
    """For `__post_init__`: each field is at least 0 and below 1."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(
                f"{name} must be at least 0 and below 1, but is {getattr(config, name)}"
            )


def require_multiple(config: Any, name: str, *divisors: str) -> None:
    """For `__post_init__`: the field is a multiple of each of the others."""
    value = getattr(config, name)
    for divisor in divisors:
        if value % getattr(config, divisor):
            raise ValueError(
                f"{name} {value} must be a multiple of {divisor} {getattr(config, divisor)}"
            )


def parse(cls: type[T], raw: dict[str, Any], source: str) -> T:
    """`raw` as a `cls`, or a UserError that lists every mistake with its place."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_python(raw)
    except ValidationError as error:
        lines = [_explain(cls, item) for item in _of_chosen_kind(error.errors())]
    raise UserError(f"{source}: " + "; ".join(dict.fromkeys(lines)))


def to_dict(value: Any) -> Any:
    """Plain data (mappings, lists, strings, numbers) of a config object."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_dict(item) for item in value]
    if isinstance(value, dict):
        return {key: to_dict(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys, as overrides write them."""
    result: dict[str, Any] = {}
    for key, value in data.items():
        inner = isinstance(value, dict)
        result |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return result


def dump(value: Any) -> str:
    """YAML that `read_yaml` and `parse` turn into an equal object."""
    return yaml.safe_dump(to_dict(value), sort_keys=False, allow_unicode=True)


def _of_chosen_kind(errors: Sequence[Any]) -> list[Any]:
    """Without the complaints of union members whose `kind` is not the one the user wrote. A `kind`
    that no member has gives one complaint, which names them all."""
    wrong = {
        e["loc"][:-1]: e for e in errors if e["loc"][-1:] == ("kind",) and "literal" in e["type"]
    }
    kept = [e for e in errors if not any(e["loc"][: len(place)] == place for place in wrong)]
    unions: dict[tuple[Any, ...], list[Any]] = {}
    for place, error in wrong.items():
        unions.setdefault(place[:-1], []).append(error)
    for union, refused in unions.items():
        if not any(e["loc"][: len(union)] == union for e in kept):
            kinds = " or ".join(e["ctx"]["expected"] for e in refused)
            kept.append({**refused[0], "msg": f"Input should be {kinds}"})
    return kept


def _explain(cls: type, item: Any) -> str:
    # The location may hold names of union members, which are no keys of the user's file; an unknown
    # key at its end is the user's own word, whatever it looks like.
    unknown = item["type"] == "unexpected_keyword_argument"
    known_part, own_word = (item["loc"][:-1], item["loc"][-1:]) if unknown else (item["loc"], ())
    place = [part for part in known_part if isinstance(part, int) or not _is_type_name(part)]
    place += own_word
    name = ".".join(str(part) for part in place) or "configuration"
    if unknown:
        known = _known_keys(cls, known_part)
        near = difflib.get_close_matches(str(place[-1]).lower(), known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else f" (known keys: {', '.join(known)})"
        return f"unknown key {name!r}{hint}"
    if item["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{name!r} is required"
    message = item["msg"].removeprefix("Value error, ")
    given = item.get("input")
    if item["type"] == "tuple_type":
        message = "a list is expected, as in [a, b]"
    shown = "" if isinstance(given, dict) else f", but is {given!r}"
    return f"{name}: {message[0].lower() + message[1:]}{shown}"


def _is_type_name(part: Any) -> bool:
    return isinstance(part, str) and (part[:1].isupper() or part.startswith(("tagged", "function")))


def _known_keys(cls: Any, location: Sequence[Any]) -> list[str]:
    """Field names of the config class at a location inside `cls`; the name of a union's member
    chooses among its classes."""
    classes, is_name = [cls], False
    for part in location:
        if is_name:  # a name that the user gave to a member of a mapping
            is_name = False
            continue
        if chosen := [found for found in classes if getattr(found, "__name__", None) == part]:
            classes = chosen
            continue
        inner: list[Any] = []
        for found in classes:
            hints = get_type_hints(found) if dataclasses.is_dataclass(found) else {}
            target = found if isinstance(part, int) else hints.get(part)
            is_name = is_name or get_origin(target) is dict
            inner += _dataclasses_in(target)
        classes = inner
    return [
        f.name
        for found in classes
        if dataclasses.is_dataclass(found)
        for f in dataclasses.fields(found)
    ]


def _dataclasses_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _dataclasses_in(inner)]
