"""deploy/hosts from a laptop over a real sshd to machines inside this one: up, a sweep, faults, down."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.machines import BINARIES, REPO, Lan, Machine, lan, missing
from tests.faults.processes import finish, records, sweep, wait_for
from tests.integration.objectstore import BUCKET, SECRET, ObjectStore
from tests.integration.servers import POSTGRES

WHY_NOT = missing("sshd", "ssh", "ssh-keygen", "ss") or ("" if POSTGRES else "postgresql NOT INSTALLED")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.ray,
    pytest.mark.mlflow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        bool(WHY_NOT), reason=f"HOSTS CANNOT BE TRIED: {WHY_NOT}: apt-get install openssh-server iproute2"
    ),
]
HOSTS_SH = REPO / "deploy" / "hosts" / "hosts.sh"
HOSTS = """
# three machines of a test
head        = head
worker      = one
worker      = two
python      = {binaries}/python
folder      = {folder}/cluster
ray_options = --num-cpus=1 --object-store-memory=100000000
environment = {folder}/lab.env
"""
SWEEP = """
name: chatter
stages:
  talk: {workload: tests.toys.chatty, steps: 30}
axes:
  talk.x: [0.1, 2]
  seed: 3
tables:
  last: {rows: [talk.x], values: [last]}
"""
LONG = """
name: long
stages:
  talk: {workload: tests.toys.chatty, steps: 15}
axes:
  talk.x: [0.1, 2, 3]
  seed: 24
tables:
  last: {rows: [talk.x], values: [last]}
"""
TRIALS = 72  # so many that the sweep outlasts what happens to it: 15 s each, while the file `slow` is there
SSHD = """
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PasswordAuthentication no
UsePAM no
StrictModes no
PidFile none
"""
SSH = """
Host *
  User root
  IdentityFile {folder}/key
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking accept-new
"""


@dataclass
class Site:
    """A laptop that has a checkout, and hosts that have an sshd."""

    wire: Lan
    laptop: Machine
    bucket: ObjectStore

    @property
    def hosts(self) -> list[Machine]:
        return [machine for name, machine in self.wire.machines.items() if name != "laptop"]

    @property
    def slow(self) -> Path:
        """While this file is there, each step of a trial takes a second on the hosts."""
        return self.wire.folder / "slow"

    def environment(self) -> dict[str, str]:
        folder = self.wire.folder
        return {"SWEEP_HOSTS": str(folder / "hosts.conf"), "SWEEP_SSH": f"ssh -F {folder}/ssh_config"}

    def call(self, *arguments: object, timeout: float = 500) -> subprocess.CompletedProcess[str]:
        return self.laptop.run(HOSTS_SH, *arguments, timeout=timeout, environment=self.environment())

    def join(self, name: str, number: int) -> Machine:
        folder, machine = self.wire.folder, self.wire.join(name, number)
        (machine.home / "sshd_config").write_text(SSHD.format(folder=folder, address=machine.address))
        machine.start("/usr/sbin/sshd", "-D", "-e", "-f", machine.home / "sshd_config")
        wait_for(lambda: f"{machine.address}:22" in machine.check("ss", "-Htln"), "its sshd")
        return machine

    def processes(self, machine: Machine) -> str:
        """The command lines of what `up` started there."""
        lines = machine.check("ps", "-eo", "pid=,args=").splitlines()
        words = ("ray", "mlflow", "postgres", "node.sh", "raylet", "gcs_server")
        return "\n".join(line for line in lines if any(word in line for word in words))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with lan({"PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}) as wire:
        folder = wire.folder
        laptop = wire.join("laptop", 2)
        for name in ("key", "host_key"):
            laptop.check("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
        (folder / "ssh_config").write_text(SSH.format(folder=folder))
        (folder / "hosts.conf").write_text(HOSTS.format(folder=folder, binaries=BINARIES))
        (folder / "chatter.yaml").write_text(SWEEP)
        (folder / "s3").mkdir()
        made = Site(wire, laptop, ObjectStore(folder / "s3", host="10.77.0.5"))
        variables = {**made.bucket.environment, "CHATTY_SLOW": made.slow, "CHATTY_PAUSE": 1}
        (folder / "lab.env").write_text("".join(f"{name}={text}\n" for name, text in variables.items()))
        (folder / "lab.env").chmod(0o600)
        for number, name in enumerate(("head", "one", "two"), start=5):
            made.join(name, number)
        wire.machines["head"].start(*made.bucket.command)
        make = f"import boto3; boto3.client('s3').create_bucket(Bucket='{BUCKET}')"
        reached = wire.machines["one"].run
        wait_for(
            lambda: reached("python", "-c", make, environment=made.bucket.environment).returncode == 0, "its bucket"
        )
        yield made


def pids(text: str) -> set[str]:
    return {line.split()[0] for line in text.splitlines()}


def test_up_a_sweep_and_down(site: Site, tmp_path: Path) -> None:
    head, one, two = site.hosts
    (site.wire.folder / "lab.env").chmod(0o640)
    refused = site.call("up")
    assert refused.returncode == 2
    assert "may hold secrets and others may read it" in refused.stderr
    (site.wire.folder / "lab.env").chmod(0o600)
    up = site.call("up")
    assert up.returncode == 0, up.stdout + up.stderr
    before = {host.name: pids(site.processes(host)) for host in site.hosts}
    again = site.call("up")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "head: runs" in again.stdout
    assert all(before[host.name] & pids(site.processes(host)) == before[host.name] for host in site.hosts)
    status = site.call("status")
    assert status.returncode == 0, status.stdout + status.stderr
    assert f"Ray's nodes: {head.address} {one.address} {two.address}" in status.stdout

    check_what_is_open(site, head)
    check_that_a_token_is_asked_for(site, head, one)
    check_that_strangers_stay_out(site)

    store, spec = site.wire.folder / "store", site.wire.folder / "chatter.yaml"
    run = site.call("sweep", "run", spec, "--store", store, "--jobs", "3", "--plain")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "6 of 6 trials" in run.stdout
    finish(spec, tmp_path / "alone")
    assert records(store, "chatter") == records(tmp_path / "alone", "chatter")

    doctor = site.call("sweep", "doctor", "--address", "auto", "--store", store)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert doctor.stdout.count("the same on 3 nodes") >= 5
    assert f"store {store}: all nodes see it" in doctor.stdout
    assert doctor.stdout.endswith("all is well\n")

    own = site.call("sweep", "run", spec, "--store", "/tmp/own", "--plain")
    assert own.returncode == 1
    assert "does not see it: share one folder with all machines" in own.stdout + own.stderr

    two.kill()
    lost = site.call("status")
    assert lost.returncode != 0, "one does not answer"
    wait_for(lambda: two.address not in site.call("status").stdout.partition("Ray's nodes:")[2], "its leaving")
    down = site.call("down")
    assert "head: head: ended" in down.stdout, down.stdout + down.stderr
    assert down.returncode != 0, "one host was not there to be asked"
    for host in (head, one):
        assert not site.processes(host), site.processes(host)


def check_what_is_open(site: Site, head: Machine) -> None:
    """MLflow, its database and the dashboard are on loopback alone; Ray's own ports are asked below."""
    open_there = [line.split()[3] for line in head.check("ss", "-Htln").splitlines()]
    assert "127.0.0.1:5000" in open_there
    assert "127.0.0.1:8265" in open_there
    assert not [
        place
        for place in open_there
        if place.rpartition(":")[2] in {"5000", "8265", "5432"} and "127.0.0.1" not in place
    ]


def check_that_a_token_is_asked_for(site: Site, head: Machine, other: Machine) -> None:
    token = site.wire.folder / "laptop" / ".config" / "sweep" / "lab.token"
    assert token.stat().st_mode & 0o777 == 0o600
    ask = ["ray", "status", "--address", f"{head.address}:6379"]
    assert "3.0 CPU" in other.check(*ask, environment={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)})
    for wrong in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
        assert other.run(*ask, environment=wrong).returncode != 0
    jobs = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8265/api/jobs/', timeout=20)"
    refused = head.run("python", "-c", jobs)
    assert "HTTP Error 401" in refused.stderr or "HTTP Error 403" in refused.stderr
    secrets = [token.read_text(), SECRET, *head_passwords(site)]
    for host in site.hosts:
        lines = host.check("ps", "-eo", "args=")
        assert not [secret for secret in secrets if secret in lines]
    for log in site.wire.folder.glob("cluster/state/*/*.log"):
        assert not [secret for secret in secrets if secret in log.read_text()]


def check_that_strangers_stay_out(site: Site) -> None:
    """A node without the token does not join; a machine with another token cannot take the cluster over."""
    members = [host.address for host in site.hosts]
    join = ["timeout", "60", "ray", "start", "--address", f"{members[0]}:6379", "--num-cpus=1", "--block"]
    for stranger in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
        assert site.laptop.run(*join, environment=stranger).returncode != 0
        assert nodes(site) == members
    elsewhere = {**site.environment(), "XDG_CONFIG_HOME": str(site.wire.folder / "elsewhere")}
    refused = site.laptop.run(HOSTS_SH, "up", environment=elsewhere)
    assert refused.returncode != 0
    assert "another token is in use here" in refused.stdout + refused.stderr
    assert nodes(site) == members


def head_passwords(site: Site) -> list[str]:
    lines = (site.wire.folder / "cluster/state/head/mlflow/client.env").read_text().split()
    return [line.partition("=")[2] for line in lines if "PASSWORD" in line]


def test_a_submitted_sweep_outlives_what_happens_to_a_cluster(site: Site, tmp_path: Path) -> None:
    """The submitter leaves, a raylet is killed, a cable is out, a host dies, one joins, the driver is killed.

    The store is a bucket on the head, which the workers reach over the wire.
    """
    head, one, folder = site.wire.machines["head"], site.wire.machines["one"], site.wire.folder
    three = site.join("three", 8)
    spec, store = folder / "long.yaml", f"s3://{BUCKET}/long"
    spec.write_text(LONG)
    site.slow.touch()
    bring_up(site, "one", "three")
    submit = ["job", "submit", spec, "--store", store]
    try:
        first = job(site, *submit)
        assert "long: submitted as long-" in first
        assert "deploy/hosts/hosts.sh job status long\n" in first
        assert "long: runs already as long-" in job(site, *submit)
        site.wire.cable(site.laptop, "down")
        assert "ssh" not in site.laptop.check("ps", "-eo", "comm=").split(), "nothing of the laptop's is needed"
        wait_for(lambda: done(site), "the first of its nodes")
        kill_raylet(site, one)
        site.wire.cable(one, "down")
        time.sleep(60)
        site.wire.cable(one, "up")
        site.wire.cable(site.laptop, "up")
        assert "long: runs as long-" in job(site, "job", "status", "long")
        three.kill()
        site.join("four", 9)
        bring_up(site, "one", "four")
        before = done(site)
        kill_driver(head)
        wait_for(lambda: "has failed" in job(site, "job", "status", "long"), "the end of its job")
        assert re.search(r"long: submitted as long-[0-9a-f]{16}-2, ", job(site, *submit))
        site.slow.unlink()
        wait_for(lambda: one.address in nodes(site), "the coming back of the one whose cable was out")
        said = job(site, "job", "status", "long", "--follow")
        assert "long: is done as" in said, said + job(site, "job", "logs", "long")
        reused = re.search(r"(\d+) (?:nodes )?reused", log := job(site, "job", "logs", "long"))
        assert reused, log
        assert 0 < before <= int(reused[1]) < TRIALS
        assert done(site) == TRIALS, "each was committed once"
        assert SECRET not in log
        printed = site.call("sweep", "table", "long", "--store", store, "--format", "csv").stdout
        check_that_mlflow_has_each_trial_once(site, head)
    finally:
        site.wire.cable(site.laptop, "up")
        down = site.call("down")
    assert down.returncode == 0, down.stdout + down.stderr
    finish(spec, tmp_path / "alone")
    [mirror] = head.home.glob(".cache/sweep-orchestrator/stores/*")
    assert records(mirror, "long") == records(tmp_path / "alone", "long")
    assert printed == sweep("table", "long", "--store", tmp_path / "alone", "--format", "csv").stdout


def bring_up(site: Site, *workers: str) -> None:
    """The head with these workers."""
    lines = HOSTS.format(folder=site.wire.folder, binaries=BINARIES).splitlines()
    lines = [line for line in lines if not line.startswith("worker ")] + [f"worker = {name}" for name in workers]
    (site.wire.folder / "hosts.conf").write_text("\n".join(lines))
    up = site.call("up")
    assert up.returncode == 0, up.stdout + up.stderr


def job(site: Site, *arguments: object) -> str:
    called = site.call(*arguments)
    assert called.returncode == 0, called.stdout + called.stderr
    return called.stdout


def kill_raylet(site: Site, host: Machine) -> None:
    """Returns when its node is back."""
    before = raylets(site, host)
    host.check("kill", f"-{int(signal.SIGKILL)}", *before)
    wait_for(lambda: raylets(site, host) and raylets(site, host) != before, "another raylet")
    wait_for(lambda: host.address in nodes(site), "its coming back")


def raylets(site: Site, host: Machine) -> list[str]:
    return [line.split()[0] for line in site.processes(host).splitlines() if "/raylet/raylet " in line]


def kill_driver(head: Machine) -> None:
    lines = head.check("ps", "-eo", "pid=,args=").splitlines()
    drivers = [line.split()[0] for line in lines if line.endswith("-m orchestrator.cluster.submitted")]
    assert drivers
    head.check("kill", f"-{int(signal.SIGKILL)}", *drivers)


def done(site: Site) -> int:
    """How many nodes were committed: a second commit of one is refused by the store, and is no such line in its log."""
    return site.bucket.put("outcome.json", "long/nodes/")


def check_that_mlflow_has_each_trial_once(site: Site, head: Machine) -> None:
    code = """
from mlflow import MlflowClient
client = MlflowClient("http://127.0.0.1:5000")
runs = client.search_runs([client.get_experiment_by_name("long").experiment_id], max_results=1000)
keys = [run.data.tags["sweep.key"] for run in runs if not run.data.tags["sweep.key"].startswith("sweep-run-")]
print(len(keys), len(set(keys)), {run.info.status for run in runs if run.data.tags["sweep.key"] in keys})
"""
    lines = (site.wire.folder / "cluster/state/head/mlflow/client.env").read_text().split()
    found = head.check("python", "-c", code, environment=dict(line.split("=", 1) for line in lines))
    assert found.split(maxsplit=2)[:2] == [str(TRIALS)] * 2, found
    assert "{'FINISHED'}" in found


def nodes(site: Site) -> list[str]:
    """The addresses of Ray's nodes, as the head itself has them."""
    shown = site.wire.machines["head"].run(site.wire.folder / "cluster/current/deploy/hosts/node.sh", "status").stdout
    return shlex.split(next(line for line in shown.splitlines() if "Ray's nodes:" in line).partition("nodes:")[2])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("head = $(touch /tmp/owned)", "holds a character"),
        ("head = 0.0.0.0", "needs the address"),
        ("haed = 10.0.0.5", "haed is unknown"),
        ("head = -oProxyCommand=x", "begins with '-'"),
        ("head: 10.0.0.5", "expected 'key = value'"),
    ],
)
def test_a_wrong_file_is_refused(site: Site, line: str, said: str) -> None:
    wrong = site.wire.folder / "wrong.conf"
    wrong.write_text(f"{line}\n")
    refused = site.laptop.run(HOSTS_SH, "status", environment={"SWEEP_HOSTS": str(wrong)})
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "wrong.conf" in refused.stderr
