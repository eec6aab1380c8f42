"""The JSON schema of a sweep file (draft 2020-12): what editors complete and check while one is written.

Looser than `check`, since a stage need not be whole where it stands: levels, overlays and `extends` may add to it. So
nothing that a config requires is required here, and a part without a `name` may have any fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from orchestrator.figures.spec import KINDS
from orchestrator.sweepfile.axes import MAX_ADAPTIVE, MAX_LEVELS
from orchestrator.sweepfile.comparisons import ClaimSpec, TableSpec
from workloads.contract import SHIPPED, load_workload
from workloads.measures import MEASURES
from workloads.measures.registry import TYPES

Schema = dict[str, Any]

NAME = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
_TIME: Schema = {
    "description": "How long one of its nodes may run: seconds, or text such as 90s, 30min, 2h, 1d.",
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": r"^([0-9]+\.?[0-9]*|\.[0-9]+) ?(s|min|h|d)$"},
        {"type": "null"},
    ],
}
_SELECTION: Schema = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]},
}
_SELECTIONS: Schema = {"anyOf": [_SELECTION, {"type": "array", "items": _SELECTION}, {"type": "null"}]}
_AXIS_NAMES: Schema = {"type": "array", "items": {"type": "string"}}


def file_schema() -> Schema:
    """The schema, as JSON values."""
    configs, definitions = _configs()
    stage = _stage(configs)
    definitions.update({"Stage": stage, "Axes": _axes(), **_results()})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A sweep",
        "description": "docs/sweep-file.md explains it.",
        "type": "object",
        "required": ["name"],
        "properties": _fields(),
        "additionalProperties": False,
        "if": {"required": ["extends"]},
        "else": {
            "required": ["stages"],
            "properties": {"stages": {"additionalProperties": {"required": ["workload"]}}},
        },
        "$defs": dict(sorted(definitions.items())),
    }


def _fields() -> Schema:
    def named(of: str, text: str) -> Schema:
        entries = {"$ref": f"#/$defs/{of}"}
        return {
            "description": text,
            "type": ["object", "null"],
            "propertyNames": {"pattern": NAME},
            "additionalProperties": entries,
        }

    scale = {"type": ["object", "null"], "propertyNames": {"minLength": 1}}
    return {
        "name": {"description": "Of the folder in records/ and of the MLflow experiment.", **_text(NAME)},
        "extends": {
            "description": "Another sweep file, seen from this one: what stands here is laid over it.",
            **_text(),
        },
        "title": {"description": "One sentence.", "type": ["string", "null"]},
        "source": {"description": "What it reproduces: paper, table or figure.", "type": ["object", "null"]},
        "stages": {**named("Stage", "Steps; each may start from others."), "type": "object", "minProperties": 1},
        "axes": {"$ref": "#/$defs/Axes"},
        "zip": {
            "description": "Axes that vary together: [[a, b], [c, d]].",
            "anyOf": [{"type": "array", "items": _AXIS_NAMES}, _AXIS_NAMES, {"type": "null"}],
        },
        "where": {"description": "The combinations to keep: those that match any of these.", **_SELECTIONS},
        "exclude": {"description": "The combinations to drop: those that match any of these.", **_SELECTIONS},
        "tables": named("Table", "Tables to print: axes as rows and columns, metrics as cells."),
        "figures": named("Figure", "Figures to draw."),
        "claims": named("Claim", "Statements of the source, as checks that end supported, refuted or undecided."),
        "scales": {
            "description": "Overlays by name, taken with --scale: PATH, *.PATH or axis -> what replaces it.",
            **named("", ""),
            "additionalProperties": scale,
        },
    }


def _text(pattern: str | None = None) -> Schema:
    return {"type": "string", "pattern": pattern} if pattern else {"type": "string", "minLength": 1}


def _stage(configs: Mapping[str, Schema]) -> Schema:
    workload = {"anyOf": [{"enum": list(SHIPPED)}, {"type": "string", "pattern": r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"}]}
    own: Schema = {
        "workload": {"description": "What it computes: train, measure, or a module of your own.", **workload},
        "over": {"description": "Gather the nodes of all levels of this axis.", "type": ["string", "null"]},
        "time_limit": _TIME,
    }
    return {
        "type": "object",
        "properties": own,
        "allOf": [
            {
                "if": {"properties": {"workload": {"const": name}}, "required": ["workload"]},
                "then": {**config, "properties": {**config["properties"], **dict.fromkeys(own, True)}},
            }
            for name, config in configs.items()
        ],
    }


def _rule() -> Schema:
    """Adaptive seeds."""
    return {
        "type": "object",
        "description": "Seeds until a metric is known well enough.",
        "required": ["until", "at_least", "at_most"],
        "additionalProperties": False,
        "properties": {
            "until": {
                "type": "object",
                "required": ["metric", "standard_error"],
                "additionalProperties": False,
                "properties": {
                    "metric": _text(),
                    "standard_error": {
                        "anyOf": [
                            {"type": "number", "exclusiveMinimum": 0},
                            {"type": "string", "pattern": r"^([0-9]+\.?[0-9]*|\.[0-9]+) ?%$"},
                        ]
                    },
                },
            },
            "at_least": {"type": "integer", "minimum": 2, "maximum": MAX_ADAPTIVE},
            "at_most": {"type": "integer", "minimum": 2, "maximum": MAX_ADAPTIVE},
        },
    }


def _axes() -> Schema:
    whole = {"type": "integer", "minimum": 0}
    level = {"type": ["object", "null"], "propertyNames": {"pattern": r"^[^.]+\.[^.]"}}
    return {
        "description": "What varies: the product of the axes is the trials.",
        "type": ["object", "null"],
        "properties": {
            "seed": {
                "description": "How many seeds, a list of them, or a rule.",
                "anyOf": [
                    {"type": "integer", "minimum": 1, "maximum": MAX_LEVELS},
                    {"type": "array", "items": whole, "minItems": 1, "uniqueItems": True},
                    _rule(),
                ],
            }
        },
        "patternProperties": {
            r"^(?!seed$)[A-Za-z_][A-Za-z0-9_-]*$": {
                "description": "Named levels, each with the paths that it sets.",
                "type": "object",
                "minProperties": 1,
                "additionalProperties": level,
            },
            r"\.": {
                "description": "The values of a path STAGE.FIELD.",
                "type": "array",
                "minItems": 1,
                "items": _SCALAR,
            },
        },
        "additionalProperties": False,
    }


def _results() -> dict[str, Schema]:
    """Tables, figures and claims, from the classes that read them; their `name` is the key above."""
    found: dict[str, Schema] = {}
    for name, shape in (("Table", TableSpec), ("Claim", ClaimSpec)):
        found[name] = _without_name(_spread(TypeAdapter(shape).json_schema(), found))
    kinds: Schema = {}
    for kind, shape in KINDS.items():
        kinds[kind] = _without_name(_spread(TypeAdapter(shape).json_schema(), found))
    choice = [
        {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": schema}
        for kind, schema in kinds.items()
    ]
    default = {"if": {"not": {"required": ["kind"]}}, "then": kinds["lines"]}
    found["Figure"] = {"type": "object", "properties": {"kind": {"enum": [*kinds]}}, "allOf": [default, *choice]}
    return found


def _spread(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    definitions.update({key: _clean(value) for key, value in schema.pop("$defs", {}).items()})
    return _clean(schema)


def _without_name(schema: Schema) -> Schema:
    properties = {key: value for key, value in schema["properties"].items() if key != "name"}
    return {**schema, "properties": properties, "additionalProperties": False}


def _configs() -> tuple[dict[str, Schema], dict[str, Schema]]:
    """The config of every shipped workload, and what they refer to."""
    models = {name: load_workload(name).config for name in SHIPPED}
    found, whole = models_json_schema([(model, "validation") for model in models.values()], by_alias=True)
    definitions = {name: _clean(schema) for name, schema in whole["$defs"].items()}
    definitions["MeasureEntry"] = _measure()
    configs = {
        name: definitions.pop(found[model, "validation"]["$ref"].split("/")[-1]) for name, model in models.items()
    }
    return configs, definitions


def _measure() -> Schema:
    """A name, or a name with the options that the measure has."""
    options = {
        name: {
            option: TypeAdapter(TYPES[parameter.annotation]).json_schema() for option, parameter in it.options.items()
        }
        for name, it in sorted(MEASURES.items())
    }
    shapes = {
        name: {"properties": {"name": True, **{key: _clean(value) for key, value in known.items()}},
               "additionalProperties": False}
        for name, known in options.items()
    }  # fmt: skip
    return {"anyOf": [{"enum": [*options]}, {"type": "object", "required": ["name"], **_chosen(shapes)}]}


def _clean(schema: Any) -> Any:
    """Without what pydantic makes up and what need not stand there, unions by their `name` as choices."""
    if isinstance(schema, list):
        return [_clean(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "properties" in schema:
        schema = {**schema, "properties": {name: _clean(value) for name, value in schema["properties"].items()}}
    drop = ("title", "discriminator", "required")
    kept = {key: value if key == "properties" else _clean(value) for key, value in schema.items() if key not in drop}
    if "oneOf" in kept:  # without what is required, several may hold
        kept["anyOf"] = kept.pop("oneOf")
    if "discriminator" in schema:
        del kept["anyOf"]
        shapes = {name: {"$ref": ref} for name, ref in schema["discriminator"]["mapping"].items()}
        kept |= {"type": "object", **_chosen(shapes)}
    return kept


def _chosen(shapes: Mapping[str, Schema]) -> Schema:
    """An object whose `name` chooses which of the shapes it has."""
    return {"properties": {"name": {"enum": [*shapes]}}, "allOf": [*_cases(shapes.items())]}


def _cases(shapes: Iterable[tuple[str, Schema]]) -> Iterable[Schema]:
    for name, shape in shapes:
        yield {"if": {"properties": {"name": {"const": name}}, "required": ["name"]}, "then": shape}
