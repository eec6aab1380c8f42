"""A shared server as teams run one: MLflow with basic authentication over PostgreSQL and an artifact root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from orchestrator.store import Store
from orchestrator.to_mlflow.server import embedded_uri
from tests.integration.servers import PASSWORD, POSTGRES, MlflowServer, content, differences, postgres

pytestmark = [
    pytest.mark.mlflow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not POSTGRES, reason="PostgreSQL IS NOT INSTALLED: apt-get install postgresql"),
]
REPO = Path(__file__).resolve().parents[2]
SWEEP = """
name: shared
stages:
  first:  {workload: tests.toys.chatty, x: 2, steps: 3}
  second: {workload: tests.toys.chatty, from: first, steps: 6}
axes:
  second.x: [0.1, 2, 1e-5]
  one: {LONG: {}}
  two: {LONG: {}}
  three: {LONG: {}}
  seed: 2
tables:
  last: {rows: [second.x], values: [last]}
""".replace("LONG", "long_" * 18)  # so that the names of runs are longer than what PostgreSQL takes
# Without the last line MLflow hashes the password anew for each request, which takes up to a second.
AUTHENTICATION = """
[mlflow]
default_permission = READ
database_uri = sqlite:///basic_auth.db
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""
CREDENTIALS = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
WRONG = {"MLFLOW_TRACKING_PASSWORD": "wrong-horse-battery", "SWEEP_TRACKING_WAIT": "4"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """Lets nobody in without a password, which it has from its environment, as that of the database."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "auth.ini").write_text(AUTHENTICATION)
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "PGPASSWORD": PASSWORD,
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of the tests",
    }
    with postgres() as database:
        made = MlflowServer(folder, database, ("--app-name", "basic-auth"), environment)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def sweep(*arguments: object, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]
    environment = {**os.environ, **environment}
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=200, env=environment)


def secrets_in(folder: Path) -> list[Path]:
    """The files that hold the password."""
    return [path for path in folder.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]


def test_a_team_server_has_what_the_embedded_one_has(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, store, own = tmp_path / "shared.yaml", tmp_path / "store", Store.at(tmp_path / "own")
    spec.write_text(SWEEP)
    run = ["run", spec, "--inline", "--quiet", "--store"]
    assert sweep(*run, own.root, environment={}).returncode == 0
    expected = content(embedded_uri(own), "shared")

    refused = sweep(*run, store, "--tracking-uri", server.uri, environment=CREDENTIALS | WRONG)
    assert refused.returncode == 0, "an MLflow that lets nobody in fails no sweep"
    assert "sweep sync" in refused.stdout
    assert [*store.glob("spool/*/*.jsonl")]

    caught_up = sweep("sync", "--store", store, environment=CREDENTIALS)
    assert caught_up.returncode == 0, caught_up.stdout + caught_up.stderr
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    found = content(server.uri, "shared")
    assert not differences(found, expected)
    assert [*server.folder.glob("artifacts/**/end.txt")], "they are in the artifact root"
    assert PASSWORD not in repr(found)
    assert not secrets_in(store)
    assert not secrets_in(server.folder)


def test_the_password_is_in_no_command_line(server: MlflowServer, tmp_path: Path) -> None:
    spec, store = tmp_path / "shared.yaml", tmp_path / "store"
    spec.write_text(SWEEP.replace("name: shared", "name: unseen"))
    slow = tmp_path / "slow"
    slow.touch()
    command = [sys.executable, "-m", "orchestrator.cli", "run", spec, "--store", store, "--tracking-uri", server.uri]
    environment = {**os.environ, **CREDENTIALS, "CHATTY_SLOW": str(slow)}
    with subprocess.Popen(
        [*map(str, command), "--inline", "--quiet"], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=environment,
    ) as driver:  # fmt: skip
        lines: list[str] = []
        while not any("orchestrator.to_mlflow.writer" in line for line in lines):
            assert driver.poll() is None
            lines = command_lines()
        slow.unlink()
        out, error = driver.communicate(timeout=200)
    assert driver.returncode == 0, error
    assert any(server.uri in line for line in lines)
    assert not any(PASSWORD in line for line in lines)
    assert PASSWORD not in out + error


def command_lines() -> list[str]:
    """Of all processes, as `ps` shows them."""
    if shutil.which("ps"):
        return subprocess.run(["ps", "-eo", "args", "-ww"], capture_output=True, text=True).stdout.splitlines()
    return [path.read_bytes().replace(b"\0", b" ").decode() for path in Path("/proc").glob("[0-9]*/cmdline")]
