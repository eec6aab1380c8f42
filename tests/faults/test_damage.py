"""Files that are not, or no longer, what was written: never used, computed again in the same run, kept aside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.store import Store
from tests.faults.processes import Driver, assert_undisturbed, finish, outcomes, sweep
from tests.integration.test_sweep import executed


def flip(path: Path) -> None:
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def nodes(store: Path, epochs: int) -> list[Path]:
    """The folders of the trainings of so many epochs."""
    found = [item["key"] for item in outcomes(store) if item["config"]["stop"]["epochs"] == epochs]
    return [Store(store).node_folder(key) for key in found]


def forget(store: Path, keep: int) -> None:
    """Let only the trainings of `keep` epochs be done: what starts from them is to be computed."""
    for item in outcomes(store):
        if item["config"]["stop"]["epochs"] != keep:
            shutil.rmtree(Store(store).node_folder(item["key"]))
    shutil.rmtree(store / "nodes" / "rows")


@pytest.fixture
def store(tmp_path: Path, undisturbed: Path) -> Path:
    return Path(shutil.copytree(undisturbed, tmp_path / "store"))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("weights.safetensors", flip),
        pytest.param("weights.safetensors", cut, marks=pytest.mark.faults),
        pytest.param("weights.safetensors", remove, marks=pytest.mark.faults),
        pytest.param("outcome.json", cut, marks=pytest.mark.faults),
        ("outcome.json", flip),
    ],
)
def test_a_damaged_input_is_computed_again_before_it_is_used(
    nets: Path, store: Path, undisturbed: Path, name: str, damage: Callable[[Path], None]
):
    forget(store, keep=50)
    [broken, sound] = nodes(store, 50)
    before = (broken / name).read_bytes()
    damage(broken / name)
    told = (broken / name).read_bytes() if (broken / name).exists() else None
    run = finish(nets, store)
    assert executed(run.stdout) == 1 + 4 + 8, "the other is not computed again"
    assert f"{broken / name}: " in run.stdout
    assert "computed again" in run.stdout
    [aside] = store.glob("damaged/*")
    assert aside.name.startswith(broken.name)
    assert ((aside / name).read_bytes() if told is not None else None) == told
    assert name == "outcome.json" or (broken / name).read_bytes() == before
    assert sound.is_dir()
    assert_undisturbed(store, undisturbed)


@pytest.mark.faults
@pytest.mark.parametrize("damage", [flip, cut])
def test_initial_weights_that_only_a_measure_reads_are_computed_again(
    nets: Path, store: Path, undisturbed: Path, damage: Callable[[Path], None]
):
    """`distance_from_start` reads what `go_on` started from: the weights of `fit`, which is not its own input."""
    shutil.rmtree(store / "nodes" / "rows")
    damage(nodes(store, 50)[0] / "weights.safetensors")
    run = finish(nets, store)
    assert executed(run.stdout) == 1 + 8
    assert_undisturbed(store, undisturbed)


@pytest.mark.faults
@pytest.mark.parametrize("damage", [flip, cut, empty])
def test_damaged_curves_are_computed_again(nets: Path, store: Path, undisturbed: Path, damage: Callable[[Path], None]):
    """Also those of a node that no other waits for, though all of the sweep is done."""
    for epochs in (50, 15):
        damage(nodes(store, epochs)[0] / "history.parquet")
    run = finish(nets, store)
    assert executed(run.stdout) == 2
    assert_undisturbed(store, undisturbed)
    curves = [path / "records" / "nets" / "curves" / "curves.parquet" for path in (store, undisturbed)]
    assert curves[0].read_bytes() == curves[1].read_bytes()


@pytest.mark.faults
@pytest.mark.parametrize("damage", [flip, cut])
def test_damaged_rows_are_computed_again(nets: Path, store: Path, undisturbed: Path, damage: Callable[[Path], None]):
    for path in store.glob("nodes/rows/*.jsonl"):
        damage(path)
    shutil.rmtree(store / "index")
    run = finish(nets, store)
    assert 1 <= executed(run.stdout) <= 8
    assert_undisturbed(store, undisturbed)


@pytest.mark.faults
def test_a_finished_sweep_is_not_read_through(nets: Path, store: Path):
    """Weights are checked where they are used, not each time a run finds that there is nothing to do."""
    flip(nodes(store, 15)[0] / "weights.safetensors")
    assert executed(finish(nets, store).stdout) == 0


@pytest.mark.ray
@pytest.mark.mlflow
@pytest.mark.faults
def test_two_workers_find_the_same_damage(nets: Path, store: Path, undisturbed: Path):
    forget(store, keep=50)
    for broken in nodes(store, 50):
        flip(broken / "weights.safetensors")
    with Driver(nets, store, "--jobs", "2") as driver:
        events = [event for event in driver.events() if event["event"] == "input_damaged"]
        assert driver.end()[0] == 0
    assert len({event["damaged"] for event in events}) == 2
    assert_undisturbed(store, undisturbed)


@pytest.mark.faults
@pytest.mark.parametrize("damage", [flip, cut, empty])
def test_a_damaged_checkpoint_is_begun_afresh(
    long_nets: Path, tmp_path: Path, undisturbed_long: Path, damage: Callable[[Path], None]
):
    store = tmp_path / "store"
    with Driver(long_nets, store, "--inline") as driver:
        driver.until("node_logged", step=5)
        driver.process.terminate()
        assert driver.end()[0] == 143
    [checkpoint] = store.glob("work/*/checkpoint.safetensors")
    damage(checkpoint)
    finish(long_nets, store)
    assert_undisturbed(store, undisturbed_long)
    assert "damaged: began afresh" in [item["meta"].get("checkpoint") for item in outcomes(store)]


def test_a_store_of_another_format_is_refused_with_words(nets: Path, store: Path):
    (store / "store.json").write_text(json.dumps({"format": 99}))
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    for command in (["run", nets], ["plan", nets], ["status"], ["table", "nets"]):
        told = sweep(*command, "--store", store)
        assert told.returncode == 2
        assert "written in store format 99; this version reads 1" in told.stderr
        assert len(told.stderr.splitlines()) == 1
    assert before == {path: path.stat().st_mtime_ns for path in store.rglob("*")}
