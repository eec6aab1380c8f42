"""`mlflow.sh backup` beside a server that starts, over a real PostgreSQL: who starts it, and who stops it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.integration.servers import POSTGRES, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.mlflow,
    pytest.mark.timeout(200),
    pytest.mark.skipif(not POSTGRES, reason="PostgreSQL IS NOT INSTALLED: apt-get install postgresql"),
]
SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "mlflow" / "mlflow.sh"
# In the place of Python, so that no MLflow is waited for: secrets are made, and the server is a process that stays.
STAYS = "#!/bin/sh\ncase $1 in -c) echo made-by-a-test ;; *) exec sleep 1000 ;; esac\n"


class Site:
    """The folder of a server, and the script in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "stays").write_text(STAYS)
        (home / "stays").chmod(0o755)
        self.environment = {**os.environ, "SWEEP_MLFLOW_HOME": str(home), "SWEEP_PYTHON": str(home / "stays")}

    def start(self, command: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen([SCRIPT, command], env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def call(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([SCRIPT, command], env=self.environment, capture_output=True, text=True, timeout=100)

    def postgres(self, program: str, *arguments: str) -> None:
        account = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 and program == "pg_ctl" else []
        subprocess.run([*account, POSTGRES[-1] / program, *arguments], cwd="/", check=True, stdout=subprocess.DEVNULL)

    def control(self, action: str) -> None:
        options = ["-o", f"-c listen_addresses= -c unix_socket_directories='{self.home}/postgres'"]
        log = ["-l", f"{self.home}/postgres/log", *options] if action == "start" else []
        self.postgres("pg_ctl", "-D", f"{self.home}/postgres/data", "-w", "-s", *log, action)

    def psql(self, statement: str) -> None:
        self.postgres("psql", "-qX", "-h", f"{self.home}/postgres", "-U", "mlflow", "-d", "postgres", "-c", statement)

    def runs(self) -> bool:
        """Whether a PostgreSQL of this folder is there."""
        found = psutil.process_iter(["name", "cmdline"])
        return any(one.info["name"] == "postgres" and str(self.home) in str(one.info["cmdline"]) for one in found)

    def is_locked(self) -> bool:
        with open(self.home / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @contextmanager
    def serving(self) -> Iterator[None]:
        server = self.start("serve")
        try:
            wait_for(lambda: server.poll() is not None or sleeps(server))
            assert server.poll() is None, server.communicate()
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=60)
        assert server.returncode == 0
        assert not self.runs()


def sleeps(server: subprocess.Popen[str]) -> bool:
    found = psutil.process_iter(["name", "ppid"])
    return any(one.info["name"] == "sleep" and one.info["ppid"] == server.pid for one in found)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """With its databases made, which a server does, and nothing that runs."""
    home = Path(tempfile.mkdtemp(prefix="mlflow-", dir="/tmp"))  # which the account postgres can reach
    home.chmod(0o755)
    made = Site(home)
    with made.serving():
        pass
    yield made
    if made.runs():
        made.control("stop")
    shutil.rmtree(home)


def assert_backed_up(code: int, stdout: str, stderr: str) -> None:
    assert code == 0, stderr
    with tarfile.open(stdout.strip()) as archive:
        assert archive.getnames() == ["mlflow.dump", "mlflow_auth.dump", "artifacts"]


def test_the_socket_that_a_power_cut_left_is_no_server(site: Site) -> None:
    path = site.home / "postgres" / ".s.PGSQL.5432"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    shutil.chown(path, site.home.joinpath("postgres").stat().st_uid)
    made = site.call("backup")
    assert_backed_up(made.returncode, made.stdout, made.stderr)
    assert not site.runs()


def test_a_dump_that_fails_leaves_no_server_behind(site: Site) -> None:
    with site.serving():
        site.psql("alter database mlflow_auth allow_connections false")
    try:
        failed = site.call("backup")
        assert failed.returncode != 0
        assert "not currently accepting connections" in failed.stderr
        assert not site.runs()
        assert not [*site.home.glob("backup.*")]
    finally:
        with site.serving():
            site.psql("alter database mlflow_auth allow_connections true")


def test_no_server_starts_on_the_database_of_a_backup(site: Site) -> None:
    backup = site.start("backup")
    wait_for(lambda: site.is_locked() or backup.poll() is not None)
    backup.send_signal(signal.SIGSTOP)
    refused = site.call("serve")
    backup.send_signal(signal.SIGCONT)
    stdout, stderr = backup.communicate(timeout=100)
    assert refused.returncode == 2
    assert "another server, restore or backup holds" in refused.stderr
    assert_backed_up(backup.returncode, stdout, stderr)
    assert not site.runs()


def test_a_backup_waits_for_the_database_of_a_server_that_starts(site: Site) -> None:
    with site.serving():  # it holds the lock, and its database is not there yet
        site.control("stop")
        backup = site.start("backup")
        with pytest.raises(subprocess.TimeoutExpired):
            backup.wait(timeout=3)
        assert not site.runs(), "it is not for the backup to start it"
        site.control("start")
        stdout, stderr = backup.communicate(timeout=100)
        assert_backed_up(backup.returncode, stdout, stderr)
        assert site.runs(), "nor to stop it"
