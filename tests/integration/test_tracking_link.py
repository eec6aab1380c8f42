"""Where the screen says that MLflow is to be found: it is there."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from orchestrator.store import Store
from orchestrator.to_mlflow.server import SERVED, address
from tests.integration.servers import MlflowServer

pytestmark = [pytest.mark.mlflow, pytest.mark.timeout(600)]
REPO = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "orchestrator.cli"]
SWEEP = """
name: linked
stages:
  first: {workload: tests.toys.chatty}
"""


def link(folder: Path, store: Path, *options: str) -> str:
    """What `sweep run` says of MLflow in its end."""
    (folder / "linked.yaml").write_text(SWEEP)
    command = [*COMMAND, "run", str(folder / "linked.yaml"), "--store", str(store), "--inline", "--plain", *options]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert ":5000" not in done.stdout
    (line,) = re.findall(r"^MLflow    (.*)$", done.stdout, re.MULTILINE)
    return line


def experiment(page: str) -> str:
    """The name of the experiment of a page, as its server has it."""
    server, number = page.removesuffix("/runs").split("/#/experiments/")
    question = f"{server}/ajax-api/2.0/mlflow/experiments/get?experiment_id={number}"
    with urllib.request.urlopen(question, timeout=60) as answer:
        return json.loads(answer.read())["experiment"]["name"]


def test_the_link_is_that_of_the_user_interface_that_runs(tmp_path: Path) -> None:
    store = tmp_path / "runs"
    assert link(tmp_path, store) == f"sweep ui --store {store} (prints its address)"
    assert address(Store.at(store)) is None
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [*COMMAND, "ui", "--store", str(store), "--port", str(port)]
        server = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            said = server.stdout.readline().split()[1]
            assert said.startswith("http://127.0.0.1:")
            assert said != f"http://127.0.0.1:{port}", "which is taken"
            page = link(tmp_path, store)
            assert page.startswith(f"{said}/#/experiments/")
            assert experiment(page) == "linked"
        finally:
            server.terminate()
            server.wait(60)
    assert (store / SERVED).exists()
    assert address(Store.at(store)) is None, "it has ended"
    assert link(tmp_path, store) == f"sweep ui --store {store} (prints its address)"


def test_the_link_of_a_server_is_the_page_of_the_experiment(tmp_path: Path) -> None:
    server = MlflowServer(tmp_path, f"sqlite:///{tmp_path / 'server.db'}")
    server.start()
    try:
        page = link(tmp_path, tmp_path / "runs", "--tracking-uri", server.uri)
        assert page.startswith(f"{server.uri}/#/experiments/")
        assert experiment(page) == "linked"
        assert link(tmp_path, tmp_path / "runs", "--tracking-uri", server.uri) == page, (
            "of a run that had nothing to do"
        )
    finally:
        server.stop()
