"""The scripts of deploy/ that need no cluster to be tried: what they refuse, and what they write."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.machines import REPO

DEPLOY = REPO / "deploy"


@pytest.mark.parametrize("line", ["head = -oProxyCommand=id", "worker = -lroot", "user = -v", "head = -x@10.0.0.5"])
def test_a_host_that_ssh_would_take_for_an_option_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "hosts.conf"
    file.write_text(f"head = 10.0.0.5\n{line}\n")
    environment = {**os.environ, "SWEEP_HOSTS": str(file), "SWEEP_SSH": "false"}
    refused = subprocess.run(
        [DEPLOY / "hosts" / "hosts.sh", "status"], env=environment, capture_output=True, text=True, timeout=30
    )
    assert refused.returncode == 2
    assert f"hosts.conf:2: {line.split()[0]} begins with '-'" in refused.stderr


SAYS = '#!/bin/sh\n[ "$1" != -c ] || exec {python} "$@"\nshift 2\nprintf "%s\\n" "$@"\n'  # after `-m MODULE`
TUNNEL = """#!{python}
import signal, socket, sys
forwarded = next(word for word in sys.argv if word.endswith(":8265"))
server = socket.create_server(("127.0.0.1", int(forwarded.split(":")[1])))
signal.pause()
"""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("{python}", sys.executable))
    path.chmod(0o755)
    return path


def test_what_a_user_says_of_a_job_comes_after_what_the_script_says(tmp_path: Path) -> None:
    """Of two equal options the later one counts; that of the tunnel is the script's."""
    (tmp_path / "hosts.conf").write_text("head = 10.0.0.5\n")
    environment = {
        **os.environ,
        "SWEEP_HOSTS": str(tmp_path / "hosts.conf"),
        "SWEEP_SSH": str(program(tmp_path / "ssh", TUNNEL)),
        "SWEEP_PYTHON": str(program(tmp_path / "python", SAYS)),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    token = tmp_path / "config" / "sweep" / "lab.token"
    command = [DEPLOY / "hosts" / "hosts.sh", "job", "submit", "FILE", "--tracking-uri", "http://mine:5000"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert f"{token} is not there: copy it from the machine where" in refused.stderr
    assert not token.exists(), "only `up` makes one"
    program(token, "0" * 64).chmod(0o600)
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    script, user = ["--tracking-uri", "http://127.0.0.1:5000"], ["FILE", "--tracking-uri", "http://mine:5000"]
    assert said.stdout.split()[:-1] == ["submit", *script, *user, "--address"]


@pytest.mark.parametrize("there", ["ray", "sweep"])
def test_a_job_without_both_of_its_programs_is_refused(tmp_path: Path, there: str) -> None:
    """Such as where a module of the cluster has a Ray, and the checkout was not installed."""
    program(tmp_path / "bin" / there, "#!/bin/sh\n")
    environment = {"SLURM_SUBMIT_DIR": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
    script = DEPLOY / "slurm" / "sweep.sbatch"
    refused = subprocess.run([script, "FILE"], env=environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"sweep and ray are not in {tmp_path}/.venv/bin: call sbatch in the checkout")


@dataclass
class Node:
    """node.sh as another account runs it, and the folder of Ray's sockets that it uses."""

    home: Path
    account: int

    @property
    def rays(self) -> Path:
        return Path(f"/tmp/sweep-{self.account}")

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        script = self.home / "code" / "1" / "deploy" / "hosts" / "node.sh"
        command = ["setpriv", f"--reuid={self.account}", "--clear-groups", script, *arguments]
        environment = {**os.environ, "HOME": str(self.home)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def node() -> Iterator[Node]:
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("NOT ROOT, OR NO setpriv: to be another account takes both")
    home = Path(tempfile.mkdtemp(prefix="node-", dir="/tmp"))  # which that account can reach
    made = Node(home, 50000 + os.getpid() % 10000)
    script = home / "code" / "1" / "deploy" / "hosts" / "node.sh"
    script.parent.mkdir(parents=True)
    for name in ("node.sh", "sweep-node@.service"):
        shutil.copy(DEPLOY / "hosts" / name, script.parent)
    state = home / "state" / socket.gethostname().partition(".")[0]
    state.mkdir(parents=True)
    python = program(home / "bin" / "python", SAYS)
    (state / "settings").write_text(f"10.0.0.6\n10.0.0.5\n6379\n{python}\n\n")
    subprocess.run(["chown", "-R", str(made.account), home], check=True)
    yield made
    shutil.rmtree(home)
    shutil.rmtree(made.rays, ignore_errors=True)


def test_what_a_user_says_on_a_host_comes_after_what_the_script_says(node: Node) -> None:
    user = ["FILE", "--tracking-uri", "http://mine:5000"]
    script = ["--address", "10.0.0.5:6379", "--tracking-uri", "http://127.0.0.1:5000", "--yes"]
    assert node.call("sweep", "run", *user).stdout.split() == ["run", *script, *user]
    assert node.call("sweep", "table", "NAME").stdout.split() == ["table", "NAME"]
    assert node.call("sweep").stdout.split() == []


def test_rays_folder_is_not_one_that_another_made(node: Node) -> None:
    node.rays.mkdir()
    node.rays.chmod(0o777)
    refused = node.call("sweep", "status")
    assert refused.returncode == 2
    assert f"{node.rays} belongs to another" in refused.stderr
    node.rays.rmdir()
    node.rays.symlink_to(node.home)
    assert node.call("sweep", "status").returncode == 2, "nor a link to what is one's own"
    node.rays.unlink()
    assert node.call("sweep", "status").stdout == "status\n"
    assert stat.S_IMODE(node.rays.stat().st_mode) == 0o700
    assert node.call("sweep", "status").stdout == "status\n", "one's own is used again"


def test_what_ended_at_once_is_told_with_the_place_of_its_log(node: Node) -> None:
    """Where systemd is, as programs in its place say, there is no file of ours."""
    program(node.home / "bin" / "loginctl", "#!/bin/sh\n")
    program(node.home / "bin" / "systemctl", '#!/bin/sh\ncase "$*" in *is-active*) exit 3 ;; esac\n')
    ended = node.call("start", "worker")
    assert ended.returncode == 2
    assert "worker: ended at once; see journalctl --user -u sweep-node@worker" in ended.stderr


def secrets(tmp_path: Path, **keys: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    shutil.copy(DEPLOY / "kubernetes" / "secrets.sh", tmp_path / "secrets.sh")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    made = subprocess.run([tmp_path / "secrets.sh"], env={**plain, **keys}, capture_output=True, text=True)
    return made, tmp_path / "secrets"


@pytest.mark.parametrize("given", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_a_key_makes_no_secrets(tmp_path: Path, given: str) -> None:
    made, folder = secrets(tmp_path, **{given: "half"})
    assert made.returncode == 2
    assert "go together: set both" in made.stderr
    assert not [*folder.iterdir()]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"AWS_ACCESS_KEY_ID": "of a test", "AWS_SECRET_ACCESS_KEY": "hidden"},
        {"AWS_ACCESS_KEY_ID": "of a test", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_SESSION_TOKEN": "brief=="},
    ],
)
def test_the_keys_that_are_set_go_to_mlflow(tmp_path: Path, keys: dict[str, str]) -> None:
    made, folder = secrets(tmp_path, **keys)
    assert made.returncode == 0, made.stderr
    lines = (folder / "mlflow.env").read_text().splitlines()
    assert [line for line in lines if line.startswith("AWS_")] == [f"{name}={value}" for name, value in keys.items()]
