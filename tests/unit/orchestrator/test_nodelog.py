"""What a node printed is kept: that of its own time, of its children too, and no more than the end of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.storage.nodelog import MOST, node_log
from orchestrator.store import Store

BEGIN = """
import os, sys
from orchestrator.storage.nodelog import Printed
from orchestrator.store import Store
store = Store.at(sys.argv[1]).prepare()
print("of another node, still in the buffer")
printed = Printed.now()
"""
KEEP = "\nassert printed is not None\nprinted.keep(store, 'abcdef')\nprint('behind it')\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


def prints(store: Store, node: str) -> subprocess.CompletedProcess[bytes]:
    """A process whose output goes to a file, as a worker's does, and in which a node runs this code."""
    with open(store.root.with_name("printed.log"), "ab") as log:
        log.write(b"of the process before\n")
        log.flush()
        return subprocess.run([sys.executable, "-c", BEGIN + node + KEEP, str(store.root)], stdout=log, stderr=log)


def test_a_node_keeps_what_it_and_its_children_printed(store: Store) -> None:
    node = "print('küßt')\nos.system('echo a child; echo its complaint >&2')\nprint('trouble', file=sys.stderr)"
    assert prints(store, node).returncode == 0
    kept = node_log(store, "abcdef")
    assert kept == store.root / "logs" / "ab" / "abcdef.log"
    lines = kept.read_text().splitlines()
    assert sorted(lines) == ["a child", "its complaint", "küßt", "trouble"]
    assert lines.index("a child") < lines.index("its complaint")
    assert store.root.with_name("printed.log").read_text().splitlines()[-1] == "behind it", "the file itself is whole"


def test_a_node_that_printed_nothing_has_no_log(store: Store) -> None:
    assert prints(store, "").returncode == 0
    assert not node_log(store, "abcdef").exists()


def test_of_much_the_end_is_kept(store: Store) -> None:
    assert prints(store, f"print('first')\nprint('x' * {MOST})\nprint('last')").returncode == 0
    kept = node_log(store, "abcdef").read_bytes()
    assert len(kept) == MOST
    assert kept.endswith(b"x\nlast\n")
    assert b"first" not in kept


def test_a_log_that_cannot_be_kept_ends_nothing(store: Store) -> None:
    store.prepare()
    (store.root / "logs").write_text("in the way")
    assert prints(store, "print('something')").returncode == 0
    assert (store.root / "logs").read_text() == "in the way"


def test_what_goes_to_a_pipe_is_not_kept(store: Store) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + "print(printed, store.root)", str(store.root)], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == f"None {store.root}"
