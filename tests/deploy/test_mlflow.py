"""deploy/mlflow as a group runs it: a real server over a real PostgreSQL, its backup and its restore."""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.servers import POSTGRES, free_port, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.mlflow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not POSTGRES, reason="PostgreSQL IS NOT INSTALLED: apt-get install postgresql"),
]
REPO = Path(__file__).resolve().parents[2]
SCRIPT = REPO / "deploy" / "mlflow" / "mlflow.sh"


@dataclass
class Served:
    """`mlflow.sh serve` in the foreground of a process of ours."""

    home: Path
    port: int = field(default_factory=free_port)

    def environment(self, **more: str) -> dict[str, str]:
        settings = {"SWEEP_MLFLOW_HOME": str(self.home), "SWEEP_PYTHON": sys.executable, "MLFLOW_WORKERS": "1"}
        return {**os.environ, **settings, "MLFLOW_PORT": str(self.port), **more}

    def ask(self, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        command = [str(SCRIPT), *map(str, arguments)]
        return subprocess.run(command, env=self.environment(**more), capture_output=True, text=True, timeout=120)

    def start(self) -> None:
        with open(self.home / "log", "ab") as log:
            self.process = subprocess.Popen([SCRIPT, "serve"], env=self.environment(), stdout=log, stderr=log)
        wait_for(lambda: self.process.poll() is not None or self.ask("status").returncode == 0, 200)
        assert self.process.poll() is None, (self.home / "log").read_text()[-3000:]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=100)

    def client(self) -> dict[str, str]:
        """What a user of the server sets: the file beside it, read by hand."""
        lines = (self.home / "client.env").read_text().split()
        return {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.port}", **dict(line.split("=", 1) for line in lines)}


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that the account postgres can reach, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="mlflow-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def write_run(monkeypatch: pytest.MonkeyPatch, served: Served, name: str, folder: Path) -> None:
    from mlflow import MlflowClient

    for key, value in served.client().items():
        monkeypatch.setenv(key, value)
    client = MlflowClient()
    found = client.get_experiment_by_name("kept")
    experiment = found.experiment_id if found else client.create_experiment("kept")
    run = client.create_run(experiment, run_name=name)
    client.log_metric(run.info.run_id, "loss", 0.25)
    (folder / f"{name}.txt").write_text(name)
    client.log_artifact(run.info.run_id, str(folder / f"{name}.txt"))


def runs(monkeypatch: pytest.MonkeyPatch, served: Served) -> dict[str, list[str]]:
    """The names of the runs and of their artifacts."""
    from mlflow import MlflowClient

    for key, value in served.client().items():
        monkeypatch.setenv(key, value)
    client = MlflowClient()
    experiment = client.get_experiment_by_name("kept")
    assert experiment is not None
    return {
        str(run.info.run_name): [item.path for item in client.list_artifacts(run.info.run_id)]
        for run in client.search_runs([experiment.experiment_id])
    }


def refusal(uri: str, **headers: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(uri, headers=headers), timeout=30)
    refused.value.close()
    return refused.value.code


ATTACKS = [
    ("POST", "runs/create", '{"experiment_id": "0", "run_name": "planted"}'),
    ("POST", "experiments/create", '{"name": "planted"}'),
    ("POST", "runs/log-metric", '{"run_id": "x", "key": "loss", "value": 0}'),
    ("POST", "runs/search", '{"experiment_ids": ["0"]}'),
    ("POST", "registered-models/create", '{"name": "planted"}'),
    ("POST", "users/create", '{"username": "planted", "password": "planted-planted"}'),
    ("PATCH", "users/update-password", '{"username": "admin", "password": "planted-planted"}'),
    ("GET", "experiments/search?max_results=10", None),
]
FILES = "/api/2.0/mlflow-artifacts/artifacts"
OTHERS = [("PUT", f"{FILES}/0/planted.txt", "planted"), ("GET", FILES, None), ("POST", "/graphql", "{}")]


def check_that_nobody_writes_without_the_password(port: int, password: str) -> None:
    """Under both of its prefixes without one; with a wrong one, another user, and a part of the right one."""
    prefixes = ("api/2.0/mlflow", "ajax-api/2.0/mlflow")
    paths = [(method, f"/{prefix}/{path}", body) for prefix in prefixes for method, path, body in ATTACKS]
    tries: list[tuple[str | None, list[Any]]] = [(None, [*paths, *OTHERS])]
    tries += [
        (who, paths[:2]) for who in ("admin:", "admin:password1234", f"root:{password}", f"admin:{password[:-1]}")
    ]
    for who, doors in tries:
        headers = {"Content-Type": "application/json"}
        headers |= {"Authorization": f"Basic {base64.b64encode(who.encode()).decode()}"} if who else {}
        for method, path, body in doors:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request(method, path, body, headers)
            assert connection.getresponse().status in (401, 403, 404), (who, method, path)
            connection.close()


def test_it_serves_backs_up_and_restores(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served(home)
    served.start()
    try:
        search = f"http://127.0.0.1:{served.port}/api/2.0/mlflow/experiments/search?max_results=1"
        assert refusal(search) == 401
        assert refusal(search, Host="elsewhere.example") == 403
        write_run(monkeypatch, served, "before", tmp_path)
        password = served.client()["MLFLOW_TRACKING_PASSWORD"]
        assert len(password) > 30
        check_that_nobody_writes_without_the_password(served.port, password)
        assert runs(monkeypatch, served).keys() == {"before"}
        assert not [pid for pid in psutil.process_iter(["cmdline"]) if password in " ".join(pid.info["cmdline"] or [])]
        assert stat.S_IMODE((home / "client.env").stat().st_mode) == 0o600
        assert password not in (home / "log").read_text()
        assert listening(served) == {("127.0.0.1", served.port)}, "PostgreSQL has no port"

        made = served.ask("backup", BACKUPS_KEPT="2")
        assert made.returncode == 0, made.stderr
        backup = Path(made.stdout.strip())
        assert stat.S_IMODE(backup.stat().st_mode) == 0o600
        write_run(monkeypatch, served, "after", tmp_path)
        refused = served.ask("restore", backup)
        assert refused.returncode == 2
        assert "stop it first" in refused.stderr
        assert runs(monkeypatch, served).keys() == {"before", "after"}
    finally:
        assert served.stop() == 0
    assert not processes_of(home), "its PostgreSQL has ended too"

    restored = served.ask("restore", backup)
    assert restored.returncode == 0, restored.stderr
    for _ in range(2):
        assert served.ask("backup", BACKUPS_KEPT="2").returncode == 0, "a server that is down can be backed up"
    assert len([*home.glob("backups/*.tar")]) == 2
    served.start()
    try:
        assert runs(monkeypatch, served) == {"before": ["before.txt"]}
    finally:
        assert served.stop() == 0


def test_a_file_that_is_no_backup_changes_nothing(home: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.tar"
    wrong.write_text("not a backup")
    refused = Served(home).ask("restore", wrong)
    assert refused.returncode == 2
    assert "is no backup" in refused.stderr
    assert not (home / "postgres").exists()


def processes_of(home: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if str(home) in str(process.info["cmdline"])]


def listening(served: Served) -> set[tuple[str, int]]:
    """The addresses on which the processes below the script, PostgreSQL's too, accept connections."""
    family = [served.process.pid, *(child.pid for child in psutil.Process(served.process.pid).children(recursive=True))]
    for process in processes_of(served.home):
        family += [process.pid, *(child.pid for child in process.children(recursive=True))]
    return {
        (str(found.laddr[0]), int(found.laddr[1]))
        for found in psutil.net_connections("tcp")
        if found.laddr and found.status == psutil.CONN_LISTEN and found.pid in family
    }
