"""Machines inside this one: each with a network, an address, processes, a host name and a home of its own.

They are namespaces of the kernel, joined by a bridge that is in a namespace too: nothing of this machine's own network
changes, and `ray stop` or a lost host ends nothing outside. It takes root, `unshare` and `ip`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.integration.servers import wait_for

REPO = Path(__file__).resolve().parents[2]
BINARIES = Path(sys.executable).parent
KEEP = ["sleep", "infinity"]
WITH_US = ["setpriv", "--pdeathsig", "KILL"]  # a test that is killed leaves no machine behind
NONE: Mapping[str, str] = {}


def missing(*programs: str) -> str:
    """Why this machine cannot hold machines with these programs; empty if it can."""
    lacking = [name for name in ("ip", "unshare", "nsenter", "setpriv", *programs) if shutil.which(name) is None]
    if lacking:
        return f"{', '.join(lacking)} NOT INSTALLED"
    if os.getuid() != 0:
        return "NOT ROOT: network namespaces need it"
    tried = subprocess.run(["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "true"], capture_output=True)
    return "" if tried.returncode == 0 else f"NO NAMESPACES: {tried.stderr.decode().strip()}"


@dataclass
class Machine:
    """One of them. Killing `process` ends all that runs in it, as if its power had gone."""

    name: str
    address: str
    home: Path
    process: subprocess.Popen[bytes]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """The process that has number 1 inside."""
        return psutil.Process(self.process.pid).children()[0].pid

    def command(self, *arguments: object) -> list[str]:
        place = ["nsenter", f"--target={self.first}", "--net", "--pid", "--mount", "--uts", f"--wd={self.home}"]
        return [*place, "--", *map(str, arguments)]

    def variables(self, more: Mapping[str, str]) -> dict[str, str]:
        plain = {name: os.environ[name] for name in ("LANG", "LC_ALL", "OMP_NUM_THREADS") if name in os.environ}
        path = f"{BINARIES}:/usr/sbin:/usr/bin:/sbin:/bin"
        return {**plain, "PATH": path, "HOME": str(self.home), "USER": "root", **self.environment, **more}

    def run(
        self, *arguments: object, timeout: float = 120, environment: Mapping[str, str] = NONE
    ) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments)
        return subprocess.run(command, env=self.variables(environment), capture_output=True, text=True, timeout=timeout)

    def check(self, *arguments: object, timeout: float = 120, environment: Mapping[str, str] = NONE) -> str:
        """What a command printed that must not fail."""
        done = self.run(*arguments, timeout=timeout, environment=environment)
        assert done.returncode == 0, f"{self.name}: {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *arguments: object, environment: Mapping[str, str] = NONE) -> subprocess.Popen[bytes]:
        """A process that stays; its output goes to a file named like the program."""
        with open(self.home / f"{Path(str(arguments[0])).name}.log", "ab") as log:
            return subprocess.Popen(self.command(*arguments), env=self.variables(environment), stdout=log, stderr=log)

    def kill(self) -> None:
        for child in psutil.Process(self.process.pid).children():
            child.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class Lan:
    """Machines on one wire, 10.77.0.0/24."""

    folder: Path
    switch: subprocess.Popen[bytes]
    environment: Mapping[str, str]
    machines: dict[str, Machine] = field(default_factory=dict)

    def _switch(self, *arguments: object) -> None:
        subprocess.run(["nsenter", f"--target={self.switch.pid}", "--net", *map(str, arguments)], check=True)

    def join(self, name: str, number: int) -> Machine:
        """A machine 10.77.0.`number` that the others know by its name."""
        home = self.folder / name
        home.mkdir(mode=0o755)
        with open(self.folder / "hosts", "a") as hosts:
            hosts.write(f"10.77.0.{number} {name}\n")
        (home / "passwd").write_text(
            "".join(
                f"root:x:0:0:root:{home}:/bin/bash\n" if line.startswith("root:") else line
                for line in Path("/etc/passwd").read_text().splitlines(keepends=True)
            )
        )
        inside = f"""
            set -e
            hostname {name}
            mount -t tmpfs tmpfs /run
            mkdir -p /run/munge /run/sshd /run/outside
            mount --bind /tmp /run/outside
            mount -t tmpfs tmpfs /tmp
            {" ".join(f"mkdir /tmp/{top} && mount --bind /run/outside/{top} /tmp/{top};" for top in self._shared())}
            umount /run/outside
            mount --bind {home}/passwd /etc/passwd
            mount --bind {self.folder}/hosts /etc/hosts
            ip link set lo up
            touch {home}/up
            while :; do sleep 1000 & wait $!; done  # a shell reaps what has lost its parent, as an init does
        """
        spaces = [*WITH_US, "unshare", "--net", "--pid", "--mount", "--uts", "--fork", "--kill-child", "--mount-proc"]
        process = subprocess.Popen([*spaces, "bash", "-c", inside])
        wait_for((home / "up").exists, 20)
        machine = Machine(name, f"10.77.0.{number}", home, process, self.environment)
        wire = f"wire{number}"
        self._switch("ip", "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", machine.first)
        self._switch("ip", "link", "set", wire, "master", "lan", "up")
        machine.check("ip", "address", "add", f"{machine.address}/24", "dev", "eth0")
        machine.check("ip", "link", "set", "eth0", "up")
        self.machines[name] = machine
        return machine

    def _shared(self) -> list[str]:
        """What of /tmp all machines see, as they would a shared folder: the rest of it is each one's own."""
        places = [self.folder, REPO, BINARIES, *map(Path, sys.path)]
        return sorted({place.parts[2] for place in places if place.parts[:2] == ("/", "tmp") and len(place.parts) > 2})

    def cable(self, machine: Machine, state: str) -> None:
        """Pulls the cable (`down`) or puts it back (`up`)."""
        self._switch("ip", "link", "set", f"wire{machine.address.rpartition('.')[2]}", state)


@contextmanager
def lan(environment: Mapping[str, str]) -> Iterator[Lan]:
    """A wire without machines; ends with all that was started in them."""
    folder = Path(tempfile.mkdtemp(prefix="lan-", dir="/tmp"))  # short: the paths of sockets may have 107 characters
    folder.chmod(0o755)
    (folder / "hosts").write_text("127.0.0.1 localhost\n")
    switch = subprocess.Popen([*WITH_US, "unshare", "--net", *KEEP])
    made = Lan(folder, switch, environment)
    try:
        wait_for(lambda: os.readlink(f"/proc/{switch.pid}/ns/net") != os.readlink("/proc/self/ns/net"), 20)
        made._switch("ip", "link", "add", "lan", "type", "bridge")
        made._switch("ip", "link", "set", "lan", "up")
        yield made
    finally:
        for machine in made.machines.values():
            if machine.process.poll() is None:
                machine.kill()
        switch.kill()
        switch.wait()
        shutil.rmtree(folder, ignore_errors=True)
