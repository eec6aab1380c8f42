"""What must not change by accident: keys of shipped sweeps, defaults of every config, columns of the records.

python tests/golden/pins.py     writes pins.json anew; the diff is the review
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PINS = Path(__file__).with_name("pins.json")


def current() -> dict[str, Any]:
    """What the code says now."""
    sys.path.insert(0, str(ROOT))
    from orchestrator import record
    from orchestrator.plan import plan
    from orchestrator.spec import read
    from workloads.contract import SHIPPED, load_workload

    keys, columns = {}, {}
    for path in sorted((ROOT / "sweeps").rglob("*.yaml")):
        name = path.relative_to(ROOT / "sweeps").as_posix()
        made = plan(read(path), ROOT / "no data here")
        keys[name] = {label: key for trial in (made.trials[0], made.trials[-1]) for label, key in trial.nodes.items()}
        columns[name] = {field.name: str(field.type) for field in record.rows(made, {}, {}).schema}
    schemas = {name: load_workload(name).config.model_json_schema(by_alias=True) for name in SHIPPED}
    return {"keys": keys, "columns": columns, "defaults": {name: _defaults(schema) for name, schema in schemas.items()}}


def _defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """Field -> default ("required" where there is none), by config."""
    parts = {schema["title"]: schema, **schema.get("$defs", {})}
    return {
        title: {name: field.get("default", "required") for name, field in part.get("properties", {}).items()}
        for title, part in sorted(parts.items())
    }


if __name__ == "__main__":
    PINS.write_text(json.dumps(current(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
