"""What a config class allows at a path: walks its fields through unions, lists and mappings."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

IS_KEY = {"is_key": True}
"""Metadata of a dataclass' field that a file does not state: it is the key above."""


def alternatives(annotation: Any) -> list[Any]:
    """The members of a union, of unions in it too, without annotations and None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return alternatives(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [item for member in get_args(annotation) for item in alternatives(member)]
    return [] if annotation in (None, type(None)) else [annotation]


def is_model(shape: Any) -> bool:
    """Whether it has fields of its own."""
    return isinstance(shape, type) and (issubclass(shape, BaseModel) or dataclasses.is_dataclass(shape))


def fields(shape: Any) -> dict[str, Any]:
    """The fields of a model as a file spells them, with their annotations."""
    if issubclass(shape, BaseModel):
        return {info.alias or name: info.annotation for name, info in shape.model_fields.items()}
    hints = get_type_hints(shape)
    return {item.name: hints[item.name] for item in dataclasses.fields(shape) if item.metadata != IS_KEY}


def is_open(shape: Any) -> bool:
    """Whether anything may stand below it as far as its type says."""
    return shape in (Any, object, dict, list, tuple) or (is_model(shape) and not fields(shape))


def takes_more(shape: Any) -> bool:
    """Whether it also takes fields that it does not name, as a measure does its options."""
    return issubclass(shape, BaseModel) and shape.model_config.get("extra") == "allow"


def tag(shape: Any) -> tuple[Any, ...]:
    """What a member of a union may be named: the values of its field `name`."""
    if not is_model(shape) or "name" not in fields(shape):
        return ()
    annotation = fields(shape)["name"]
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def narrowed(shapes: Sequence[Any], raw: Any) -> list[Any]:
    """The members of a union that `raw` chooses by its name; all where it chooses none."""
    name = raw.get("name") if isinstance(raw, Mapping) else None
    chosen = [shape for shape in shapes if isinstance(name, str) and name in tag(shape)]
    return chosen or list(shapes)


def below(shapes: Sequence[Any], segment: str | int) -> list[Any]:
    """The types that `segment` of a value of one of `shapes` may have; empty where there is no such field.

    A segment below a list is an index or the name of an entry.
    """
    found: list[Any] = []
    for shape in shapes:
        if is_open(shape):
            found.append(Any)
        elif is_model(shape) and segment not in fields(shape):
            found += [Any] if takes_more(shape) else []
        elif is_model(shape):
            found += alternatives(fields(shape)[str(segment)])
        else:
            found += _inside(shape, segment)
    return found


def _inside(shape: Any, segment: str | int) -> list[Any]:
    origin, arguments = get_origin(shape), [item for item in get_args(shape) if item is not Ellipsis]
    if not isinstance(origin, type) or not arguments:
        return []
    if issubclass(origin, Mapping):
        return alternatives(arguments[-1])
    if not issubclass(origin, Sequence):
        return []
    entries = [item for argument in arguments for item in alternatives(argument)]
    if isinstance(segment, int):
        return entries
    return [item for item in entries if is_open(item) or segment in tag(item) or (is_model(item) and not tag(item))]


def walk(model: Any, path: Iterable[str | int], raw: Any = None) -> list[Any]:
    """The types at `path`; where `raw` is given, unions are narrowed to what it chooses."""
    shapes = [model]
    for segment in path:
        shapes = below(narrowed(shapes, raw), segment)
        raw = item(raw, segment)
    return narrowed(shapes, raw)


def names_at(shapes: Sequence[Any]) -> list[str]:
    """The fields that any of `shapes` has; below a list, the names of its entries."""
    found: dict[str, None] = {}
    for shape in shapes:
        if is_model(shape):
            found.update(dict.fromkeys(fields(shape)))
        elif isinstance(get_origin(shape), type) and issubclass(get_origin(shape), Sequence):
            entries = [part for argument in get_args(shape) for part in alternatives(argument)]
            found.update(dict.fromkeys(name for entry in entries for name in tag(entry)))
    return list(found)


def holds_model(shapes: Sequence[Any]) -> bool:
    """Whether a value may be more than a scalar or a list of scalars."""
    for shape in shapes:
        arguments = () if get_origin(shape) in (None, Literal) else get_args(shape)
        inner = [entry for argument in arguments if argument is not Ellipsis for entry in alternatives(argument)]
        if is_open(shape) or is_model(shape) or holds_model(inner):
            return True
    return False


def item(raw: Any, segment: str | int) -> Any:
    """What `raw` has at a key or an index; None where it has nothing there."""
    if isinstance(raw, Mapping):
        return raw.get(segment)
    if isinstance(raw, list) and isinstance(segment, int):
        return raw[segment] if segment < len(raw) else None
    return None
