"""deploy/slurm under a real SLURM: slurmctld and two slurmd, each on a machine of its own inside this one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.machines import BINARIES, NONE, REPO, Lan, Machine, lan, missing
from tests.faults.processes import records
from tests.integration.servers import wait_for as wait_so_long

WHY_NOT = missing("slurmctld", "slurmd", "sbatch", "munged")
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.ray,
    pytest.mark.mlflow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(WHY_NOT), reason=f"SLURM CANNOT BE TRIED: {WHY_NOT}: apt-get install slurm-wlm munge"),
]
CONFIGURATION = """
ClusterName=test
SlurmctldHost=login(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
MpiDefault=none
ReturnToService=2
GresTypes=gpu
NodeName=node1 NodeAddr=10.77.0.11 CPUs=2 Gres=gpu:2
NodeName=node2 NodeAddr=10.77.0.12 CPUs=2 Gres=gpu:2
PartitionName=normal Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=9 PreemptMode=off
"""
SWEEP = """
name: chatter
stages:
  talk: {workload: tests.toys.chatty, steps: 40}
axes:
  talk.x: [0.1, 2]
  seed: 2
tables:
  last: {rows: [talk.x], values: [last]}
"""


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Long enough for a start of Ray on two nodes of a busy machine, and for what SLURM does once a minute."""
    print(f"waiting for {what}")
    wait_so_long(lambda: bool(condition()), 500)


@dataclass
class Slurm:
    """A login node, from which jobs are sent, and two nodes that run them."""

    wire: Lan
    login: Machine

    def submit(self, *arguments: object, environment: Mapping[str, str] = NONE) -> str:
        """The number of a job sent from this checkout."""
        command = 'cd "$0" && exec sbatch --parsable "$@"'
        return self.login.check("bash", "-c", command, REPO, *arguments, environment=environment).strip()

    def shown(self, job: str, what: str) -> str:
        """A field of a job as SLURM shows it."""
        text = self.login.check("scontrol", "show", "job", job)
        return next(part for part in text.split() if part.startswith(f"{what}=")).removeprefix(f"{what}=")

    def until(self, job: str, state: str) -> None:
        wait_for(lambda: self.shown(job, "JobState") == state, f"{state} of job {job}")


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with lan({"PYTHONPATH": str(REPO), "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}) as wire:
        (wire.folder / "slurm.conf").write_text(CONFIGURATION.format(folder=wire.folder))
        (wire.folder / "gres.conf").write_text(f"NodeName=node[1-2] Name=gpu File={wire.folder}/gpu[0-1]\n")
        for number in (0, 1):  # devices that hold nothing: SLURM asks that they are there
            os.mknod(wire.folder / f"gpu{number}", 0o20666, os.makedev(1, 3))
        (wire.folder / "state").mkdir()
        programs = wire.folder / "bin"
        programs.mkdir()
        (programs / "sweep").write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator.cli "$@"\n')
        (programs / "sweep").chmod(0o755)
        key = wire.folder / "munge.key"
        key.write_bytes(b"only for a test, on machines that nobody else reaches" * 4)
        key.chmod(0o400)
        wire.environment = {**wire.environment, "SLURM_CONF": str(wire.folder / "slurm.conf")}
        login = wire.join("login", 1)
        nodes = [wire.join(f"node{number}", 10 + number) for number in (1, 2)]
        for machine in (login, *nodes):
            machine.start("munged", "--foreground", "--force", f"--key-file={key}")
            wait_for(lambda machine=machine: machine.run("munge", "-n").returncode == 0, "munge")
        login.start("slurmctld", "-D")
        for node in nodes:
            node.start("slurmd", "-D", "-N", node.name)
        wait_for(lambda: login.run("sinfo", "-h", "-o", "%t %D").stdout.split() == ["idle", "2"], "idle nodes")
        yield Slurm(wire, login)


@dataclass
class Job:
    """One submission of deploy/slurm/sweep.sbatch."""

    number: str
    folder: Path

    @property
    def log(self) -> str:
        path = self.folder / f"{self.number}.log"
        return path.read_text() if path.exists() else ""


def send(slurm: Slurm, folder: Path, *options: str, slow: Path) -> Job:
    spec = folder / "chatter.yaml"
    spec.write_text(SWEEP)
    environment = {
        "SWEEP_BIN": f"{slurm.wire.folder}/bin:{BINARIES}",
        "SWEEP_SLURM_HOME": str(folder / "state"),
        "CHATTY_SLOW": str(slow),
        "CHATTY_PAUSE": "2",
    }
    job = [REPO / "deploy" / "slurm" / "sweep.sbatch", spec, "--store", folder / "store", "--gpus", "0", "--jobs", "2"]
    number = slurm.submit(*options, f"--output={folder}/%j.log", *job, environment=environment)
    return Job(number, folder)


@pytest.fixture
def folder(slurm: Slurm, request: pytest.FixtureRequest) -> Iterator[Path]:
    made = slurm.wire.folder / request.node.name[:20]
    made.mkdir()
    yield made
    shutil.rmtree(made)


def under_way(job: Job) -> bool:
    assert "Traceback" not in job.log, job.log
    return "4 trials" in job.log and bool([*(job.folder / "store").glob("work/leases/*")])


def assert_ended_well(slurm: Slurm, job: Job) -> None:
    slurm.until(job.number, "COMPLETED")
    assert "4 of 4 trials" in job.log, job.log
    assert len(records(job.folder / "store", "chatter")["metric.last"]) == 4
    assert not [*(job.folder / "store").glob("work/leases/*")]
    assert not [*(job.folder / "state").glob("*/token")], "the token is gone with the job"


def test_the_end_of_its_time_puts_it_back_and_it_goes_on(slurm: Slurm, folder: Path) -> None:
    slow = folder / "slow"
    slow.touch()
    job = send(slurm, folder, "--nodes=2", "--time=3", "--signal=B:USR1@80", slow=slow)
    wait_for(lambda: under_way(job), "the sweep under way")
    token = next((folder / "state").glob("*/token"))
    assert token.stat().st_mode & 0o777 == 0o600
    secret = token.read_text()
    wait_for(lambda: "the time is nearly up" in job.log, "the signal")
    slow.unlink()
    assert_ended_well(slurm, job)
    assert slurm.shown(job.number, "Restarts") == "1"
    assert job.log.count("ended with 143") == 1, job.log
    assert secret not in job.log


def test_a_more_urgent_job_puts_it_back_and_it_goes_on(slurm: Slurm, folder: Path) -> None:
    slow = folder / "slow"
    slow.touch()
    job = send(slurm, folder, "--nodes=1", "--time=20", slow=slow)
    wait_for(lambda: under_way(job), "the sweep under way")
    urgent = slurm.submit(
        "--partition=urgent", "--nodes=2", "--exclusive", f"--output={folder}/urgent", "--wrap=sleep 2"
    )
    wait_for(lambda: slurm.shown(job.number, "Restarts") == "1", "the requeue")
    slow.unlink()
    slurm.until(urgent, "COMPLETED")
    assert_ended_well(slurm, job)


def test_a_folder_that_another_made_in_tmp_is_not_rays(slurm: Slurm, folder: Path) -> None:
    job = send(slurm, folder, "--nodes=2", "--time=20", "--hold", slow=folder / "slow")
    left, node = f"/tmp/sweep-{job.number}", slurm.wire.machines["node2"]
    node.check("install", "--directory", "--owner=nobody", "--mode=777", left)
    slurm.login.check("scontrol", "release", job.number)
    slurm.until(job.number, "FAILED")
    assert f"{left} on node2 belongs to another" in job.log, job.log
    assert not node.check("ls", "-A", left)


def test_every_gpu_of_every_node_is_rays_and_none_gets_in_without_the_token(slurm: Slurm, folder: Path) -> None:
    """These GPUs are SLURM's alone, and a training would find none: so the sweep asks for none of them."""
    slow = folder / "slow"
    slow.touch()
    job = send(slurm, folder, "--nodes=2", "--gpus-per-node=2", "--time=20", slow=slow)
    wait_for(lambda: under_way(job), "the sweep under way")
    node, token = slurm.wire.machines["node2"], next((folder / "state").glob("*/token"))
    ask = ["ray", "status", "--address", f"10.77.0.11:{20000 + int(job.number)}"]
    shown = node.check(*ask, environment={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)})
    assert "/4.0 GPU" in shown
    assert "/4.0 CPU" in shown
    assert node.run(*ask, environment={"RAY_AUTH_MODE": "disabled"}).returncode != 0
    wrong = node.run(*ask, environment={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64})
    assert wrong.returncode != 0
    slow.unlink()
    assert_ended_well(slurm, job)
