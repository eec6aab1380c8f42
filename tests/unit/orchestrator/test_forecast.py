"""Forecasts: from nodes of the kind, else of the workload and model in proportion to the work, else from the work."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.plan import Plan, plan
from orchestrator.planning.costs import note_of
from orchestrator.planning.forecast import FACTORS, SECONDS, SPEEDS, Forecast, forecast
from orchestrator.planning.needs import needed
from orchestrator.planning.node import Node
from orchestrator.planning.outlook import learnt, outlook, outlook_text
from orchestrator.running.events import NodeDone, NodeStarted
from orchestrator.running.resources import Packing, Resources, pack
from orchestrator.spec import read
from orchestrator.storage import index
from orchestrator.store import Outcome, Store
from orchestrator.terminal.tally import Tally

TRAIN = """
name: costs
stages:
  fit:
    workload: train
    data: {name: digits, subset: 300}
    model: {name: mlp, width: 16, depth: 1}
    optimizer: {name: sgd, lr: LR}
    batch_size: 32
    stop: {STOP}
  go_on:
    workload: train
    start: {from: fit}
    data: {name: digits, subset: 300}
    optimizer: {name: sgd, lr: 0.1}
    batch_size: 32
    stop: {epochs: 3}
  measure: {workload: measure, from: go_on, measures: [test_accuracy, parameter_norm]}
axes:
  seed: [SEEDS]
"""
NOOP = """
name: toys
stages:
  first: {workload: tests.toys.noop, x: X}
  second: {workload: tests.toys.noop, from: first}
axes:
  second.x: [1, 2]
  seed: 2
"""


def planned(folder: Path, text: str, **values: object) -> Plan:
    for name, value in {"LR": 0.1, "STOP": "epochs: 4", "SEEDS": "0, 1", "X": 1, **values}.items():
        text = text.replace(name, str(value))
    path = folder / "sweep.yaml"
    path.write_text(text)
    return plan(read(path), folder)


def finished(node: Node, seconds: float, **meta: Any) -> Outcome:
    said = {
        "device": "cpu",
        "host": "here",
        "finished": 1.0,
        **note_of(node, seconds * node.config.get("threads", 1)),
        **meta,
    }
    return Outcome(node.key, node.workload, "done", {"value": 1.0}, node.config, node.seed, None, seconds, said, {})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store").prepare()


def foresee(made: Plan, store: Store, packing: Packing | None = None) -> Forecast:
    held = index.look(store, made.nodes)
    return forecast(made, needed(made, held), learnt(store, held), packing or pack(Resources(), 1, 9))


def stage(made: Plan, name: str) -> list[Node]:
    return [node for node in made.nodes.values() if node.stage == name]


def test_other_seeds_cost_what_these_did(tmp_path: Path, store: Store):
    before = planned(tmp_path, TRAIN, SEEDS="7, 8, 9")
    store.commit_rows([finished(node, 2.0 + node.seed) for node in stage(before, "fit")])
    found = foresee(planned(tmp_path, TRAIN), store).stages["fit"]
    assert (found.seconds, found.basis) == (pytest.approx(2 * 10), "measured")
    # Of 3 nodes that took 9, 10 and 11 s, whose standard deviation is 1 s, and the error of their mean.
    assert found.spread == pytest.approx(1 + (2 * (1 + 2 / 3)) ** 0.5 / 20)


def test_the_index_and_what_is_not_in_it_yet_count_once_each(tmp_path: Path, store: Store):
    before = planned(tmp_path, TRAIN, SEEDS="7, 8, 9")
    nodes = stage(before, "fit")
    store.commit_rows([finished(node, 10.0) for node in nodes[:2]])
    index.refresh(store, {})
    store.commit_rows([finished(nodes[2], 40.0)])
    known = index.look(store, before.nodes)
    assert learnt(store, known).of("cpu", nodes[0].kind) == learnt(store, known).of("cpu", nodes[2].kind)
    sample = learnt(store, known).of("cpu", nodes[0].kind)
    assert sample is not None
    assert (sample.count, sample.wall.total) == (3, 60.0)


def test_rates_change_the_cost_of_nothing(tmp_path: Path, store: Store):
    store.commit_rows([finished(node, 5.0) for node in stage(planned(tmp_path, TRAIN, LR=0.2), "fit")])
    found = foresee(planned(tmp_path, TRAIN), store).stages["fit"]
    assert (found.seconds, found.basis) == (pytest.approx(10.0), "measured")


def test_of_the_same_rates_rather_than_of_others(tmp_path: Path, store: Store):
    store.commit_rows([finished(node, 5.0) for node in stage(planned(tmp_path, TRAIN, LR=0.2, SEEDS="3, 4"), "fit")])
    store.commit_rows([finished(node, 7.0) for node in stage(planned(tmp_path, TRAIN, SEEDS="3, 4"), "fit")])
    assert foresee(planned(tmp_path, TRAIN), store).stages["fit"].seconds == pytest.approx(14.0)


def test_more_epochs_cost_more_in_proportion(tmp_path: Path, store: Store):
    before = stage(planned(tmp_path, TRAIN, STOP="epochs: 4"), "fit")
    store.commit_rows([finished(node, 5.0) for node in before])
    after = planned(tmp_path, TRAIN, STOP="epochs: 40")
    found = foresee(after, store).stages["fit"]
    assert before[0].work is not None
    assert (work := stage(after, "fit")[0].work) is not None
    assert found.seconds == pytest.approx(2 * 5 * work.operations / before[0].work.operations)
    assert 9 < found.seconds / 10 < 11
    assert (found.basis, found.at_most) == ("scaled", False)
    assert found.spread is not None
    assert found.spread >= FACTORS["scaled"]


def test_without_experience_the_work_is_all_there_is(tmp_path: Path, store: Store):
    made = planned(tmp_path, TRAIN, STOP="train_accuracy: 1.0, epochs: 50")
    found = foresee(made, store)
    fit, work = found.stages["fit"], stage(made, "fit")[0].work
    assert work is not None
    assert fit.seconds == pytest.approx(2 * (work.operations / SPEEDS["cpu"] + SECONDS))
    assert (fit.basis, fit.at_most, fit.spread) == ("estimated", True, pytest.approx(FACTORS["estimated"]))
    assert not found.stages["go_on"].at_most
    assert (found.whole.basis, found.whole.at_most) == ("estimated", True)


def test_the_work_of_a_training_is_what_the_network_does(tmp_path: Path):
    """300 images, 64 x 16 and 16 x 10 weights: forward, twice that backward, a look at the end, and at early stops."""
    once = 2 * (64 * 16 + 16 * 10) * 300
    [work] = {node.work for node in stage(planned(tmp_path, TRAIN), "fit")}
    assert work is not None
    assert (work.operations, work.at_most) == ((3 * 4 + 1) * once, False)
    assert work.numbers == 2 * (65 * 16 + 17 * 10), "the weights at the end and at the start"
    early = planned(tmp_path, TRAIN, STOP="train_accuracy: 1.0, epochs: 10, every: 5")
    [work] = {node.work for node in stage(early, "fit")}
    assert work is not None
    assert (work.operations, work.at_most) == ((3 * 10 + 1 + 2) * once, True)
    [work] = {node.work for node in stage(early, "go_on")}
    assert work is not None
    assert work.numbers == 65 * 16 + 17 * 10, "the start is another node's"


def test_other_devices_and_nodes_that_went_on_teach_nothing(tmp_path: Path, store: Store):
    before = stage(planned(tmp_path, TRAIN, SEEDS="7, 8"), "fit")
    store.commit_rows([finished(before[0], 5.0, device="cuda:0"), finished(before[1], 1.0, resumed_at=3)])
    made = planned(tmp_path, TRAIN)
    assert foresee(made, store).stages["fit"].basis == "estimated"
    on_gpu = foresee(made, store, pack(Resources(gpus=1), 1, 9))
    assert (on_gpu.stages["fit"].seconds, on_gpu.stages["fit"].basis) == (pytest.approx(10.0), "measured")
    assert on_gpu.on_gpu


def test_nothing_is_made_up_for_a_workload_that_says_nothing(tmp_path: Path, store: Store):
    made = planned(tmp_path, NOOP)
    assert (foresee(made, store).whole.basis, foresee(made, store).whole.spread) == ("unknown", None)
    store.commit_rows([finished(node, 4.0) for node in stage(planned(tmp_path, NOOP, X=5), "first")])
    found = foresee(made, store)
    assert (found.stages["first"].seconds, found.stages["first"].basis) == (pytest.approx(8.0), "scaled")


def test_wall_time_is_the_longest_chain_or_the_work_of_all_workers(tmp_path: Path, store: Store):
    made = planned(tmp_path, NOOP)
    others = planned(tmp_path, NOOP.replace("seed: 2", "seed: [8, 9]"))
    store.commit_rows([finished(node, 4.0 if node.stage == "first" else 1.0) for node in others.nodes.values()])
    walls = [foresee(made, store, Packing(workers, 1, 8, 0, Resources().arrays)).wall for workers in (1, 2, 8)]
    assert walls == [pytest.approx(2 * 4 + 4 * 1), pytest.approx(6.0), pytest.approx(4 + 1)]


def test_a_node_that_waits_takes_longer_than_it_uses(tmp_path: Path, store: Store):
    others = planned(tmp_path, NOOP.replace("seed: 2", "seed: [8, 9]"))
    store.commit_rows([finished(node, 4.0, cpu_seconds=1.0) for node in others.nodes.values()])
    found = foresee(planned(tmp_path, NOOP), store, Packing(1, 1, 8, 0, Resources().arrays))
    assert (found.whole.seconds, found.wall) == (pytest.approx(6 * 1.0), pytest.approx(6 * 4.0))


def test_what_is_done_costs_nothing_more(tmp_path: Path, store: Store):
    made = planned(tmp_path, NOOP)
    store.commit_rows([finished(node, 4.0) for node in made.nodes.values()])
    found = foresee(made, store)
    assert (found.whole.seconds, found.wall, found.stages) == (0.0, 0.0, {})


def test_time_left_is_the_forecast_until_a_node_has_ended(tmp_path: Path, store: Store):
    made = planned(tmp_path, NOOP)
    tally = Tally(made, made.nodes, 1000.0)
    assert tally.left(1000.0) is None
    others = planned(tmp_path, NOOP.replace("seed: 2", "seed: [8, 9]"))
    store.commit_rows([finished(node, 4.0) for node in others.nodes.values()])
    coming = foresee(made, store, Packing(1, 1, 8, 0, Resources().arrays))
    tally.expected = coming.left
    left = tally.left(1006.0)
    assert left is not None
    assert left.seconds == pytest.approx(coming.wall - 6) == pytest.approx(6 * 4 - 6)
    assert tally.left(5000.0) is None, "it takes longer than was thought: nobody knows"
    [first, *_] = made.nodes.values()
    tally.take(NodeStarted(first.key, 1000.0, "here"))
    tally.take(NodeDone(first.key, finished(first, 10.0), 1010.0))
    left = tally.left(1010.0)
    assert left is not None
    assert left.seconds == pytest.approx(10.0), "one more such node, at the pace so far"


def test_threads_are_cores(tmp_path: Path, store: Store):
    text = TRAIN.replace("batch_size: 32", "batch_size: 32\n    threads: 2")
    store.commit_rows([finished(node, 5.0) for node in stage(planned(tmp_path, text, SEEDS="7, 8"), "fit")])
    found = foresee(planned(tmp_path, text), store)
    assert found.stages["fit"].seconds == pytest.approx(2 * 2 * 5.0)
    assert all(found.nodes[node.key] == pytest.approx(5.0) for node in stage(planned(tmp_path, text), "fit"))


def test_room_in_the_store_is_that_of_such_nodes_or_of_their_numbers(tmp_path: Path, store: Store):
    made = planned(tmp_path, TRAIN)
    node = stage(made, "fit")[0]
    assert node.work is not None
    assert foresee(made, store).stages["fit"].bytes == pytest.approx(2 * (4 * node.work.numbers + 1000))
    before = stage(planned(tmp_path, TRAIN, SEEDS="7"), "fit")[0]
    kept = store.commit_folder(finished(before, 1.0), {"arrays.npz": lambda path: path.write_bytes(bytes(123_456))})
    index.refresh(store, {before.key: kept})
    assert 2 * 123_456 < foresee(made, store).stages["fit"].bytes < 2 * 126_000


def test_programs_get_every_figure(tmp_path: Path, store: Store):
    made = planned(tmp_path, TRAIN)
    held = index.look(store, made.nodes)
    shown, _ = outlook(made, held, learnt(store, held), Resources(array=2, jobs=2))
    shown = json.loads(json.dumps(shown, allow_nan=False))
    assert shown["trials"] == 2
    assert shown["stages"]["fit"].keys() >= {"nodes", "uses", "shared", "done", "to_do", "arrays", "cost"}
    assert shown["stages"]["fit"]["cost"].keys() == {"cpu_seconds", "spread", "basis", "at_most"}
    assert shown["stages"]["fit"]["arrays"] == [2]
    assert shown["stages"]["measure"]["arrays"] == []
    assert shown["forecast"].keys() >= {"cpu_hours", "gpu_hours", "wall_seconds", "spread", "basis", "disk_bytes"}
    whole = sum(counts["cost"]["cpu_seconds"] for counts in shown["stages"].values())
    assert shown["forecast"]["cpu_hours"] == pytest.approx(whole / 3600)
    on_gpu, _ = outlook(made, held, learnt(store, held), Resources(gpus=1))
    assert on_gpu["forecast"]["gpu_hours"] > 0 == on_gpu["forecast"]["cpu_hours"]
    assert "gpu_seconds" in on_gpu["stages"]["fit"]["cost"]


@pytest.mark.parametrize("resources", [Resources(), Resources(gpus=8, jobs=16), Resources(array=5, jobs=2)])
def test_the_table_fits_into_80_columns(tmp_path: Path, store: Store, resources: Resources):
    text = TRAIN.replace("go_on", "a_stage_with_a_name_that_is_far_too_long")
    made = planned(tmp_path, text, SEEDS=", ".join(map(str, range(2000))))
    held = index.look(store, made.nodes)
    shown, _ = outlook(made, held, learnt(store, held), resources)
    lines = outlook_text(shown).splitlines()
    assert max(map(len, lines)) <= 80
    header, *rows = lines[2:6]
    ends = {row.rindex("000", 0, header.index("to do") + 5) + 3 for row in rows}
    assert ends == {header.index("to do") + 5}, "the columns are not aligned"


def test_a_plan_knows_the_kind_and_the_work_of_its_nodes(tmp_path: Path):
    fit, other = (stage(planned(tmp_path, TRAIN, LR=rate), "fit") for rate in (0.1, 0.2))
    assert {node.kind for node in fit} == {node.kind for node in other}
    [longer] = {node.kind for node in stage(planned(tmp_path, TRAIN, STOP="epochs: 5"), "fit")}
    assert longer not in {node.kind for node in fit}
    wider = planned(tmp_path, TRAIN.replace("width: 16", "width: 32"))
    measures = [{node.kind for node in stage(made, "measure")} for made in (planned(tmp_path, TRAIN), wider)]
    assert not measures[0] & measures[1], "a measure of another network costs something else"
    assert replace(fit[0], kind="", work=None).key == fit[0].key
