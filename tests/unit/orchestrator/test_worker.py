"""What a worker says of the machine that it is on; in a process of its own, whose signals and output it takes over."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ASK = """\
import sys, time
from orchestrator.running import worker
from orchestrator.storage.writing import NotWritable
def full(uri):
    raise NotWritable("/disk: cannot be written: No space left on device")
worker.Store.at = full
made = worker.Worker()
made.begin({"path": [], "store": "/disk", "host": sys.argv[1]})
while not (said := made.step())["done"]:
    time.sleep(0.05)
print(said["unwritable"])
"""


@pytest.mark.parametrize(("driver", "place"), [("another-host", f"on {socket.gethostname()}: "), ("", "")])
def test_a_disk_that_is_full_is_told_with_its_machine_where_that_is_not_the_drivers(driver: str, place: str):
    command = [sys.executable, "-c", ASK, driver or socket.gethostname()]
    said = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100)
    assert said.stdout == f"{place}/disk: cannot be written: No space left on device\n", said.stderr
