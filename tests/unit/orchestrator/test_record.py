"""The rows: identity, types, names, statuses; and that strangers can read the file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pandas
import pyarrow
import pytest

from orchestrator import record
from orchestrator.errors import NotFound, StoreError
from orchestrator.findings import levels
from orchestrator.plan import Node, Plan, PlannedTrial
from orchestrator.space import Trial
from orchestrator.spec import Axis, Level, SweepSpec
from orchestrator.store import Failure, Outcome
from orchestrator.sweepfile.yamlfile import Document


def spec(axes: Mapping[str, list[Any]]) -> SweepSpec:
    return SweepSpec(
        name="example", title="Example", source={}, stages={}, zip=(), where=(), exclude=(), tables={}, claims={},
        axes={name: Axis(name, tuple(Level(label, {}) for label in labels)) for name, labels in axes.items()},
        scale=None, overrides={}, document=Document(Path("example.yaml"), {"name": "example"}, {}),
    )  # fmt: skip


def planned(
    levels: Mapping[str, Any], nodes: Mapping[str, str], targets: tuple[str, ...] | None = None
) -> PlannedTrial:
    key = "trial-" + "-".join(str(level) for level in levels.values())
    return PlannedTrial(Trial(levels, {}, 0), key, nodes, targets or tuple(nodes)[-1:])


def plan(axes: Mapping[str, list[Any]], *trials: PlannedTrial) -> Plan:
    keys = {key: label for trial in trials for label, key in trial.nodes.items()}
    return Plan(spec(axes), trials, {k: Node(k, v, None, "train", {}, 0, {}, k) for k, v in keys.items()})


def outcome(key: str, status: Any = "done", seconds: float = 1.0, **metrics: float) -> Outcome:
    meta = {"host": "one", "device": "cpu", "torch": "2.9", "commit": "c0ffee", "finished": 86400.0}
    return Outcome(key, "train", status, metrics, {}, 0, None, seconds, meta, {})


def failure(key: str) -> Failure:
    return Failure(key, "ValueError: no", "Traceback ...", {})


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1], pyarrow.int64()),
        ([0, 5e-4], pyarrow.float64()),
        ([True, False], pyarrow.bool_()),
        (["a", "b"], pyarrow.string()),
        ([None, 0.1], pyarrow.string()),
        ([True, 1], pyarrow.string()),
        (["auto", 3], pyarrow.string()),
        ([2**70], pyarrow.string()),
        ([None], pyarrow.string()),
    ],
)
def test_an_axis_has_the_type_of_its_labels(labels: list[Any], expected: pyarrow.DataType) -> None:
    table = record.rows(plan({"x": labels}, *(planned({"x": label}, {"fit": "k"}) for label in labels)), {}, {})
    assert table.schema.field("axis.x").type == expected
    assert table["axis.x"].null_count == 0
    found = table["axis.x"].to_pylist()
    assert all(levels.is_level(value, label) for value, label in zip(found, labels, strict=True))


def test_columns_in_order_and_types() -> None:
    one = plan(
        {"train.optimizer.lr": [0.1], "seed": [0]},
        planned({"train.optimizer.lr": 0.1, "seed": 0}, {"train": "t", "measure.loss": "m"}),
    )
    table = record.rows(one, {"t": outcome("t", hidden=1), "m": outcome("m", loss=2)}, {})
    assert table.column_names == [
        "axis.train.optimizer.lr", "axis.seed", "metric.loss", "status", "error", "meta.trial", "meta.group",
        "meta.node.train", "meta.node.measure.loss", "meta.seconds", "meta.host", "meta.device", "meta.torch",
        "meta.commit", "meta.array", "meta.finished",
    ]  # fmt: skip
    assert not any(pyarrow.types.is_null(column.type) for column in table.columns)
    row = table.to_pylist()[0]
    assert (row["metric.loss"], row["status"], row["error"]) == (2.0, "done", None)
    assert (row["meta.group"], row["meta.seconds"]) == ("lr=0.1", 2.0)
    assert row["meta.finished"] == "1970-01-02T00:00:00+00:00"


def test_a_measure_that_never_ran_has_its_column() -> None:
    nothing = record.rows(plan({}, planned({}, {"measure.loss": "m"})), {}, {})
    assert nothing.schema.field("metric.loss").type == pyarrow.float64()
    assert nothing.to_pylist()[0]["status"] == "missing"


def test_a_name_of_two_stages_is_told_apart_by_stage_and_of_two_parts_by_part() -> None:
    nodes = {"before.loss": "a", "after.loss": "b", "after.copy": "c"}
    known = {"a": outcome("a", loss=1), "b": outcome("b", loss=2, norm=5), "c": outcome("c", norm=7)}
    table = record.rows(plan({}, planned({}, nodes, tuple(nodes))), known, {})
    found = {name: value for name, value in table.to_pylist()[0].items() if name.startswith("metric.")}
    assert found == {
        "metric.before.loss": 1,
        "metric.after.loss": 2,
        "metric.after.loss.norm": 5,
        "metric.after.copy.norm": 7,
    }


def test_statuses() -> None:
    trials = [planned({"seed": seed}, {"corrupt": "c", "fit": f"f{seed}", "test": f"t{seed}"}) for seed in range(2)]
    two = plan({"seed": [0, 1]}, *trials)
    done = {"c": outcome("c"), "f0": outcome("f0"), "t0": outcome("t0", loss=1), "f1": outcome("f1", "diverged")}
    nan = done | {"t1": outcome("t1", loss=math.nan)}

    def statuses(outcomes: dict[str, Outcome], *failed: str) -> list[Any]:
        table = record.rows(two, outcomes, {key: failure(key) for key in failed})
        return list(zip(table["status"].to_pylist(), table["error"].to_pylist(), strict=True))

    assert statuses(nan) == [("done", None), ("diverged", None)]
    assert statuses(done) == [("done", None), ("missing", None)]
    assert statuses(done, "t1")[1] == ("failed", "test: ValueError: no")
    assert statuses({"c": outcome("c")}, "f0") == [("failed", "fit: ValueError: no"), ("missing", None)]
    assert statuses({}, "c") == [("skipped", "its input failed: corrupt: ValueError: no")] * 2
    assert statuses(nan, "t1")[1] == ("diverged", None), "an outcome counts more than an earlier failure"
    assert math.isnan(record.rows(two, nan, {})["metric.loss"].to_pylist()[1])


def test_the_cost_of_a_shared_node_is_shared() -> None:
    trials = [planned({"seed": seed}, {"fit": "f", "test": f"t{seed}"}) for seed in range(2)]
    known = {"f": outcome("f", seconds=10), "t0": outcome("t0", seconds=1), "t1": outcome("t1", seconds=2)}
    assert record.rows(plan({"seed": [0, 1]}, *trials), known, {})["meta.seconds"].to_pylist() == [6, 7]


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    one = plan({"seed": [0]}, planned({"seed": 0}, {"test": "t"}))
    tables = [record.rows(one, {"t": outcome("t", **metrics)}, {}) for metrics in ({"a": 1, "b": 2}, {"b": 2, "a": 1})]
    digests = [
        hashlib.sha256(record.write(tmp_path / str(place), table, one.spec).read_bytes()).hexdigest()
        for place, table in enumerate(tables)
    ]
    assert digests[0] == digests[1]
    assert [path.name for path in (tmp_path / "0").iterdir()] == ["trials.parquet"], "no temporary file is left"


def test_a_stranger_reads_it(tmp_path: Path) -> None:
    trials = [planned({"start": start, "seed": 0}, {"test": start}) for start in ("random", "adversarial")]
    two = plan({"start": ["random", "adversarial"], "seed": [0]}, *trials)
    table = record.rows(two, {"random": outcome("random", accuracy=0.9)}, {})
    path = record.write(tmp_path, table, two.spec)
    frame = pandas.read_parquet(path)
    assert frame["metric.accuracy"].dtype == "float64"
    assert frame.loc[0, "metric.accuracy"] == 0.9
    query = f'SELECT "axis.start", "metric.accuracy", status FROM read_parquet(\'{path}\') ORDER BY 1'
    assert duckdb.connect().execute(query).fetchall() == [("adversarial", None, "missing"), ("random", 0.9, "done")]
    kept = record.read(tmp_path)
    assert kept.to_pylist() == table.to_pylist()
    metadata = kept.schema.metadata
    assert (metadata[b"sweep"], metadata[b"schema"], len(metadata[b"spec"])) == (b"example", b"1", 64)


def test_reading_what_is_not_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"trials\.parquet: no records"):
        record.read(tmp_path)
    one = plan({"seed": [0]}, planned({"seed": 0}, {"test": "t"}))
    path = record.write(tmp_path, record.rows(one, {}, {}), one.spec)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreError, match="damaged"):
        record.read(tmp_path)


def test_curves_are_long_and_leave_out_what_was_not_logged(tmp_path: Path) -> None:
    trials = [planned({"seed": seed}, {"fit": "f", "test": f"t{seed}"}) for seed in range(2)]
    two = plan({"seed": [0, 1]}, *trials)
    history = pyarrow.table({"step": [0, 1], "loss": [2.0, math.nan], "accuracy": [None, 0.5]})
    table = record.curves(two, {"f": history})
    path = record.write_curves(tmp_path, table, two.spec)
    assert path == tmp_path / "curves" / "curves.parquet"
    assert table.column_names == ["axis.seed", "meta.trial", "stage", "step", "name", "value"]
    first = table.to_pylist()[:3]
    assert [(row["axis.seed"], row["stage"], row["step"], row["name"]) for row in first] == [
        (0, "fit", 1, "accuracy"),
        (0, "fit", 0, "loss"),
        (0, "fit", 1, "loss"),
    ]
    assert math.isnan(first[2]["value"])
    assert table.num_rows == 6
    empty = record.curves(two, {})
    assert (empty.num_rows, empty.schema) == (0, table.schema)


def test_short_names_stay_unambiguous() -> None:
    assert levels.short_names(["fit.lr", "lr"]) == {"fit.lr": "fit.lr", "lr": "lr"}
