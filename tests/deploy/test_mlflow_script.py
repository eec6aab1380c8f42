"""deploy/mlflow/mlflow.sh without an MLflow: what it refuses, how it ends, whom it asks."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
SCRIPT = REPO / "deploy" / "mlflow" / "mlflow.sh"
DATABASES = {
    "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg://mlflow@db:5432/mlflow",
    "AUTH_DATABASE_URI": "postgresql+psycopg://mlflow@db:5432/mlflow_auth",
}


def call(home: Path, command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """With databases of one's own, as if PostgreSQL were elsewhere."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment = {**plain, "SWEEP_MLFLOW_HOME": str(home), "SWEEP_PYTHON": sys.executable, **DATABASES, **settings}
    return subprocess.run([SCRIPT, command], env=environment, capture_output=True, text=True, timeout=60)


def ending(tmp_path: Path, commands: str) -> str:
    """A program in the place of Python: the server is then a process that ends as we say."""
    path = tmp_path / "ends"
    path.write_text(f"#!/bin/sh\n{commands}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        *(({"MLFLOW_HOST": host}, "every interface") for host in ("0.0.0.0", "0", "0x0", "0.0", "::", "::0", "*")),
        ({"MLFLOW_HOST": "0:0:0:0:0:0:0:0"}, "every interface"),
        ({"MLFLOW_HOST": "::ffff:0.0.0.0"}, "every interface"),
        ({"MLFLOW_HOST": "10.0.0.5"}, "set MLFLOW_SERVER_ALLOWED_HOSTS"),
        *(
            ({"MLFLOW_HOST": "10.0.0.5", "MLFLOW_SERVER_ALLOWED_HOSTS": hosts}, "allows every name")
            for hosts in ("*", "*:5000", "10.0.0.5:5000, *", "*.*:*")
        ),
        *(
            ({name: uri}, "holds a password")
            for name in DATABASES
            for uri in (
                "postgresql://u:pass@db/m",
                "postgresql://u:pa/ss@db/m",
                "postgresql://db/m?password=x",
                "postgresql://u@db/m?user=u&password=x",
            )
        ),
    ],
)
def test_it_refuses(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    refused = call(tmp_path / "home", "status", **settings)
    assert refused.returncode == 2
    assert said in refused.stderr


@pytest.mark.parametrize(
    "settings",
    [
        {"MLFLOW_HOST": "10.0.0.5", "MLFLOW_SERVER_ALLOWED_HOSTS": "10.0.0.5:5000,*.lab.example:5000"},
        {"MLFLOW_HOST": "::1"},
        {"MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg://mlflow@/mlflow?host=/run/a:b"},
    ],
)
def test_it_takes(tmp_path: Path, settings: dict[str, str]) -> None:
    nowhere = ending(tmp_path, "exit 1")
    asked = call(tmp_path / "home", "status", SWEEP_PYTHON=nowhere, **settings)
    assert asked.returncode == 1
    assert "does not answer" in asked.stdout


def test_a_password_that_a_shell_would_run_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for password in (f"$(touch {tmp_path}/owned)", "two words of it", "a\nb-of-twelve-letters", "`id`"):
        refused = call(home, "serve", MLFLOW_AUTH_ADMIN_PASSWORD=password)
        assert refused.returncode == 2
        assert "letters, digits, _ and - only" in refused.stderr
        assert password not in refused.stderr
        assert not (home / "client.env").exists()


def test_a_password_of_ones_own_is_what_a_shell_reads(tmp_path: Path) -> None:
    home, password = tmp_path / "home", "My_own-password-1"
    ended = call(
        home, "serve", SWEEP_PYTHON=ending(tmp_path, "echo made-elsewhere"), MLFLOW_AUTH_ADMIN_PASSWORD=password
    )
    assert ended.returncode == 0, ended.stderr
    read = f'. {shlex.quote(str(home / "client.env"))}; printf %s "$MLFLOW_TRACKING_PASSWORD"'
    assert subprocess.run(["sh", "-c", read], capture_output=True, text=True).stdout == password


@pytest.mark.parametrize(
    ("commands", "code"),
    [("kill -KILL $$", 137), ("kill -SEGV $$", 139), ("exit 3", 3), ('kill -TERM "$PPID"; exec sleep 1', 0)],
)
def test_only_one_that_was_asked_to_end_has_ended_well(tmp_path: Path, commands: str, code: int) -> None:
    """The last one asks the script, as `systemctl stop` does; the others are what Restart=on-failure is for."""
    server = ending(tmp_path, f"case $1 in -c) echo made ;; *) {commands} ;; esac")
    assert call(tmp_path / "home", "serve", SWEEP_PYTHON=server).returncode == code


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_status_asks_the_server_and_no_proxy(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": ""}
        asked = call(tmp_path / "home", "status", MLFLOW_PORT=str(server.server_port), **proxy)
        server.shutdown()
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert "MLflow answers at" in asked.stdout


def test_a_backup_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """One such each night would fill the disk: only whole ones are counted and removed."""
    programs = {
        "pg_dump": 'for word; do case $word in --file=*) echo dump > "${word#--file=}" ;; esac; done',
        "tar": 'echo half > "$2"; exit 2',  # as on a disk that is full
    }
    for name, commands in programs.items():
        Path(ending(tmp_path, commands)).rename(tmp_path / name)
    (tmp_path / "home").mkdir()
    failed = call(tmp_path / "home", "backup", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert failed.returncode == 2
    assert "tar could not write" in failed.stderr
    assert [path.name for path in (tmp_path / "home").rglob("*")] == ["backups"]
