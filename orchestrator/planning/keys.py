"""Keys: a node's key hashes exactly what determines its outcome.

Left out: fields at their defaults, parts at VERSION 1 that equal their default, and whatever a config declares in
`NOT_IDENTITY`. So a new field with a no-effect default changes no key, and raising one part's VERSION changes the keys
of the nodes that chose this part, and no others. Union tags (the required or Literal `name`) stay with their part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from workloads.contract import Config, DatasetConfig, Workload


def identity(config: Config, data_dir: Path) -> dict[str, Any]:
    """What of `config` differs from the defaults, with the VERSION (from 2 on) and the fingerprint of each part."""
    fields: dict[str, Any] = {}
    for name, info in type(config).model_fields.items():
        if name in config.NOT_IDENTITY:
            continue
        value = getattr(config, name)
        if not _is_default(value, info) or _is_tag(info):
            fields[info.alias or name] = _identity_of(value, data_dir)
    for name, value in (config.__pydantic_extra__ or {}).items():  # the options of a measure
        fields[name] = _identity_of(value, data_dir)
    version = getattr(config, "part_version", type(config).VERSION)
    if version != 1:
        fields["VERSION"] = version
    if isinstance(config, DatasetConfig):
        fields["fingerprint"] = config.fingerprint(data_dir)
    return fields


def _identity_of(value: Any, data_dir: Path) -> Any:
    if isinstance(value, Config):
        return identity(value, data_dir)
    if isinstance(value, tuple | list):
        return [_identity_of(item, data_dir) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _identity_of(item, data_dir) for key, item in value.items()}
    return value


def _is_tag(info: FieldInfo) -> bool:
    """A Literal of one value; one of several is an option like any other."""
    return get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1


def _is_default(value: Any, info: FieldInfo) -> bool:
    if info.is_required():
        return False
    return value == info.get_default(call_default_factory=True) and not _has_version(value)


def _has_version(value: Any) -> bool:
    """Whether a part, or one inside it, has a VERSION or a fingerprint: then it is in the key, default or not."""
    if isinstance(value, Config):
        if isinstance(value, DatasetConfig) or getattr(value, "part_version", type(value).VERSION) != 1:
            return True
        return any(_has_version(getattr(value, name)) for name in type(value).model_fields)
    if isinstance(value, tuple | list):
        return any(_has_version(item) for item in value)
    return False


def digest(value: Any) -> str:
    """blake2b-160 of the canonical JSON: sorted keys, no spaces, shortest floats."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def node_identity(
    workload: Workload, config: Config, seed: int, inputs: Mapping[str, str], data_dir: Path
) -> dict[str, Any]:
    """Everything that a node's key hashes; `inputs` are `KEY` or `KEY.start` by role."""
    return whole_identity(workload, identity(config, data_dir), seed, inputs)


def whole_identity(
    workload: Workload, config: Mapping[str, Any], seed: int, inputs: Mapping[str, str]
) -> dict[str, Any]:
    """`node_identity` of a config whose own `identity` is known."""
    whole: dict[str, Any] = {"workload": workload.name, "config": config, "seed": seed}
    if workload.version != 1:
        whole["VERSION"] = workload.version
    if inputs:
        whole["inputs"] = dict(inputs)
    return whole
