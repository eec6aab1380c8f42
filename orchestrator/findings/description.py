"""What `sweep describe` says of one thing: its documentation, and the fields or options that a sweep file may set."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from orchestrator.commands.request import saved_spec, sweep_names
from orchestrator.errors import NotFound, allowed
from orchestrator.findings.catalogue import PARTS, members
from orchestrator.findings.levels import level_text
from orchestrator.spec import SweepSpec, read
from orchestrator.store import Store
from orchestrator.sweepfile.stages import workload as load
from workloads.contract import SHIPPED

TAGS = ("name", "init")  # what tells the parts of a union apart
WORDS = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "object": "map",
    "null": "null",
}
OPTIONS = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def describe(thing: str, store: Store) -> str:
    """Everything of that name, one after the other: a part or measure, a workload, a sweep file, a sweep of the store.

    Raises:
        NotFound: there is nothing of that name, or it is a module that is no workload.
        SpecError: it is a sweep file with something wrong in it.
    """
    if thing.endswith((".yaml", ".yml")):
        return "\n".join(_sweep(read(Path(thing))))
    known = _known(store)
    if thing not in known and "." in thing:
        known[thing] = [lambda: _workload(thing)]
    if thing not in known:
        raise NotFound(f"nothing is called {thing!r}; {allowed(thing, sorted(known))}")
    return "\n\n".join("\n".join(lines()) for lines in known[thing])


def _known(store: Store) -> dict[str, list[Callable[[], Iterator[str]]]]:
    """Name -> how each thing of that name is described."""
    from workloads.measures import MEASURES

    found: dict[str, list[Callable[[], Iterator[str]]]] = {}
    for name in SHIPPED:
        found.setdefault(name, []).append(lambda name=name: _workload(name))
    for kind in PARTS:
        for name, part in members(kind).items():
            found.setdefault(name, []).append(lambda kind=kind, name=name, part=part: _part(kind, name, part))
    for name in MEASURES:
        found.setdefault(name, []).append(lambda name=name: _measure(name))
    for name in sweep_names(store):
        found.setdefault(name, []).append(lambda name=name: _sweep(saved_spec(store, name)))
    return found


def _workload(name: str) -> Iterator[str]:
    try:
        workload = load(name)
    except LookupError as error:
        raise NotFound(str(error.args[0])) from error
    yield f"{name}: a workload, version {workload.version}"
    yield from _text(inspect.getmodule(workload.run))
    yield from _text(workload.config)
    yield from _fields(workload.config)


def _part(kind: str, name: str, part: type[BaseModel]) -> Iterator[str]:
    yield f"{name}: one of the {kind}"
    yield from _text(part)
    yield from _fields(part)


def _measure(name: str) -> Iterator[str]:
    from workloads.measures import MEASURES

    found = MEASURES[name]
    yield f"{name}: a measure, version {found.version}"
    yield from _text(found.function)
    yield from ("", f"  source      {found.source}", f"  unit        {found.unit}", f"  convention  {found.convention}")
    looks_at = "every network that a stage with `over` gathers" if found.gathers else ", ".join(found.roles)
    yield f"  looks at    {looks_at}"
    if found.options:
        yield from ("", "  options")
        for key, item in found.options.items():
            yield _line(key, WORDS[OPTIONS[item.annotation]], _value(item.default))


def _sweep(spec: SweepSpec) -> Iterator[str]:
    yield f"{spec.record_name}: a sweep"
    if spec.title:
        yield f"  {spec.title}"
    for key, value in spec.source.items():
        yield f"  {key}: {value if isinstance(value, str | int | float) else json.dumps(value)}"
    yield from ("", "  stages")
    for stage in spec.stages.values():
        yield f"    {stage.name}: {stage.workload}"
    yield from ("", "  axes")
    for axis in spec.axes.values():
        yield f"    {axis.name}: {', '.join(level_text(level.label) for level in axis.levels)}"
    for kind, things in (("tables", spec.tables), ("figures", spec.figures)):
        if things:
            yield from ("", f"  {kind}", f"    {', '.join(things)}")
    if spec.claims:
        yield from ("", "  claims", *(f"    {claim.name}: {claim.says}" for claim in spec.claims.values()))


def _text(thing: Any) -> Iterator[str]:
    """The documentation, without the sections that are for programmers."""
    text = (inspect.getdoc(thing) or "").split("\nRaises:")[0].split("\nExample:")[0].rstrip()
    if text:
        yield ""
        yield from (f"  {line}".rstrip() for line in text.splitlines())


def _fields(config: type[BaseModel]) -> Iterator[str]:
    """A line for each field: name, type with its bounds, default, description."""
    schema = config.model_json_schema(mode="serialization")  # bounds are lost where a field may be written as 2/255
    definitions = schema.get("$defs", {})
    fields = {name: field for name, field in schema.get("properties", {}).items() if name not in TAGS}
    if fields:
        yield from ("", "  fields")
    for name, field in fields.items():
        yield _line(name, _kind(field, definitions), _default(name, field, schema))
        if says := field.get("description"):
            yield f"        {says}"


def _line(name: str, kind: str, default: str | None) -> str:
    return f"    {name}: {kind} ({'required' if default is None else f'default {default}'})"


def _default(name: str, field: Mapping[str, Any], schema: Mapping[str, Any]) -> str | None:
    return None if name in schema.get("required", ()) else _value(field.get("default"))


def _value(value: object) -> str:
    """A default as a sweep file would have it; of a part its name."""
    if isinstance(value, Mapping):
        return next((str(value[tag]) for tag in TAGS if tag in value), json.dumps(value))
    return value if isinstance(value, str) else json.dumps(value)


def _kind(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A type in words; a part is shown by the names that may stand there."""
    if "$ref" in field:
        return _kind(definitions[field["$ref"].rpartition("/")[2]], definitions)
    if choices := field.get("oneOf") or field.get("anyOf"):
        return " | ".join(dict.fromkeys(_kind(choice, definitions) for choice in choices))
    if "const" in field:
        return _value(field["const"])
    if "enum" in field:
        return " | ".join(map(_value, field["enum"]))
    for tag in TAGS:
        if "const" in (stated := field.get("properties", {}).get(tag, {})):
            return str(stated["const"])
    if field.get("type") == "array":
        return f"list of {_kind(field['items'], definitions)}" if "items" in field else "list"
    if field.get("properties"):
        return "map of " + ", ".join(field["properties"])
    bounds = [f"{sign} {field[bound]:g}" for bound, sign in BOUNDS.items() if bound in field]
    return " ".join([WORDS.get(field.get("type", ""), "anything"), ", ".join(bounds)]).rstrip()
