"""Whatever happens to MLflow while a sweep runs: no trial waits, and in the end it has what it would have had."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store import Store
from orchestrator.to_mlflow.server import embedded_uri
from tests.integration.servers import MlflowServer, Proxy, content, differences, wait_for

pytestmark = pytest.mark.mlflow
REPO = Path(__file__).resolve().parents[2]
SWEEP = """
name: outage
stages:
  first:  {workload: tests.toys.chatty, x: 2, steps: 3}
  second: {workload: tests.toys.chatty, from: first, steps: 6}
axes:
  second.x: [1, 2, 3]
  seed: SEEDS
tables:
  last: {rows: [second.x], values: [last]}
figures:
  third: {x: second.x, y: third}
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = tmp_path_factory.mktemp("mlflow")
    SqlAlchemyStore(f"sqlite:///{folder / 'empty.db'}", (folder / "artifacts").as_uri())
    return folder / "empty.db"


def begin(spec: Path, store: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(spec), "--store", str(store), "--inline", "--quiet"]
    environment = {**os.environ, "CHATTY_SLOW": str(spec.with_name("slow")), "CHATTY_PAUSE": "0.5"}
    return subprocess.Popen(
        [*command, *options], cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    )


def end(driver: subprocess.Popen[bytes]) -> None:
    _, error = driver.communicate(timeout=400)
    assert driver.returncode == 0, error.decode()


def undisturbed(spec: Path, tmp_path: Path, tables: Path) -> dict[str, dict[str, Any]]:
    """What the embedded MLflow has of the sweep."""
    store = Store.at(tmp_path / "undisturbed").prepare()
    shutil.copy(tables, store.root / "mlflow.db")
    end(begin(spec, store.root))
    return content(embedded_uri(store), "outage")


def sync(store: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator.cli", "sync", "--store", str(store), *options]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=300)


def finished(store: Path) -> int:
    return sum(1 for _ in store.glob("nodes/??/*/outcome.json"))


def outage(tmp_path: Path, tables: Path, *, seeds: int, bad: float, frozen: float, dead: float) -> None:
    """A sweep through a proxy to a server that fails in every way, for so many seconds each."""
    spec = tmp_path / "outage.yaml"
    spec.write_text(SWEEP.replace("SEEDS", str(seeds)))
    expected = undisturbed(spec, tmp_path, tables)
    slow = tmp_path / "slow"
    slow.touch()
    database, store = tmp_path / "server.db", tmp_path / "disturbed"
    shutil.copy(tables, database)
    server = MlflowServer(tmp_path, f"sqlite:///{database}")
    server.start()
    proxy = Proxy(server.port)
    try:
        driver = begin(spec, store, "--tracking-uri", proxy.uri)
        wait_for(lambda: finished(store) > 1 and proxy.answered.get(200, 0) > 5)
        for status in (500, 429):
            proxy.status = status
            time.sleep(bad)
        proxy.status = None
        time.sleep(1)
        server.signal(signal.SIGSTOP)
        time.sleep(frozen)
        server.signal(signal.SIGCONT)
        time.sleep(1)
        before = finished(store)
        server.kill()
        time.sleep(dead)
        wait_for(lambda: finished(store) > before)  # trials wait for nothing
        assert driver.poll() is None, "the sweep was too short to be disturbed"
        for path in tmp_path.glob("server.db*"):
            path.unlink()
        shutil.copy(tables, database)
        server.start()
        slow.unlink()
        end(driver)
        assert {500, 429, 502} <= proxy.answered.keys()
        assert sync(store).returncode == 0
        assert not differences(content(server.uri, "outage"), expected)
    finally:
        server.stop()
        proxy.stop()


@pytest.mark.timeout(400)
def test_an_outage_of_every_kind_leaves_no_trace(tmp_path: Path, tables: Path) -> None:
    outage(tmp_path, tables, seeds=4, bad=1.5, frozen=2, dead=2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_long_outages_leave_no_trace(tmp_path: Path, tables: Path) -> None:
    outage(tmp_path, tables, seeds=40, bad=20, frozen=45, dead=60)


def test_all_runs_are_made_again_from_the_store(tmp_path: Path, tables: Path) -> None:
    spec, store = tmp_path / "outage.yaml", Store.at(tmp_path / "undisturbed")
    spec.write_text(SWEEP.replace("SEEDS", "2"))
    expected = undisturbed(spec, tmp_path, tables)
    for path in [*store.root.glob("mlflow.db*"), store.root / "mlartifacts"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copy(tables, store.root / "mlflow.db")  # there, and empty
    done = sync(store.root, "--rebuild")
    assert done.returncode == 0, done.stderr
    assert not differences(content(embedded_uri(store), "outage"), expected)
    assert sync(store.root, "--rebuild").returncode == 0, "a second time"
    assert not differences(content(embedded_uri(store), "outage"), expected)


def test_what_a_full_disk_kept_from_mlflow_is_caught_up(tmp_path: Path, tables: Path) -> None:
    """A limit on the size of files stands for the disk: the writer's sqlite file cannot grow."""
    spec, store = tmp_path / "outage.yaml", Store.at(tmp_path / "full").prepare()
    spec.write_text(SWEEP.replace("SEEDS", "2"))
    expected = undisturbed(spec, tmp_path, tables)
    shutil.copy(tables, store.root / "mlflow.db")
    limit = (store.root / "mlflow.db").stat().st_size // 1024 // 8  # less than the writer journals
    script = (
        f"ulimit -f {limit}; exec {sys.executable} -m orchestrator.cli run {spec} --store {store.root} --inline --quiet"
    )
    run = subprocess.run(
        ["bash", "-c", script], cwd=REPO, capture_output=True, text=True, env={**os.environ, "SWEEP_TRACKING_WAIT": "2"}
    )
    assert run.returncode == 0, run.stderr
    assert [*store.spool.glob("*/*.jsonl")], "the limit was not felt"
    assert sync(store.root).returncode == 0
    assert not differences(content(embedded_uri(store), "outage"), expected)
