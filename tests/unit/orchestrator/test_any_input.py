"""Whatever stands in a sweep file, it is read or refused in words: no traceback, no hang, no flood of memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import SweepError
from orchestrator.plan import plan
from orchestrator.sweepfile.check import read_checked
from tests.golden.wrong import FILES, ROOT

SECONDS, MEGABYTES = 1.0, 500
MOMENT = 5.0  # seconds; a machine that tests run on is busy, and a hang lasts longer
SHIPPED = [ROOT / "sweeps" / name for name in ("quickstart.yaml", "bad_minima/table2_heuristics.yaml")]
TEXTS = [path.read_bytes() for path in SHIPPED]
TREES = [yaml.safe_load(text) for text in TEXTS]

# What breaks parsers, planners and file systems.
EDGES: list[Any] = [
    *(None, True, "", " ", "..", "../..", "/etc/passwd", "a\nb", "a\x00b", "\u202e", "\ud7ff", "$(touch x)", "'", '"'),
    *("{}", "*", "<<", "=", "1e400", "nan", "1/0", "from", "seed", [], {}, [[]], {"": ""}, [None]),
    *({"name": "sgd"}, {"from": "fit"}),
    *(0, -1, 1, 2**63, -(2**64), 10**30, 0.0, -0.0, 1e308, 5e-324),
    {"until": {"metric": "x", "standard_error": 0}, "at_least": 2, "at_most": 1},
]  # fmt: skip
SCRAPS = [
    *(b"\n", b" ", b"  ", b"- ", b": ", b"&a ", b"*a", b"<<: ", b"!!python/object:x ", b"|", b">", b"%", b"@", b"`"),
    *(b"\t", b"\xff", b"\xef\xbb\xbf", b"\x00", b"\xe2\x80\xa8", b"? ", b"---\n", b"...\n", b"#", b'"', b"'"),
    *(b"1e999", b".nan", b"9" * 400, b"[" * 200, b"{a: " * 60, b""),
]  # fmt: skip
KEYS = ["from", "name", "over", "seed", "where", "zip", "x", "a.b", "", "*"]
values = st.recursive(
    st.sampled_from(EDGES) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


def paths(tree: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of everything in a tree."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [above, *(place for key, value in inside for place in paths(value, (*above, key)))]


def changed(tree: Any, place: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    """A copy of the tree with something else at one place."""
    if not place:
        return change(tree)
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[place[0]] = changed(copy[place[0]], place[1:], change)
    return copy


@st.composite
def torn(draw: st.DrawFn) -> bytes:
    """A shipped sweep with parts cut out and scraps put in."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 1, 2, 10, 80])))
        text = text[:start] + draw(st.sampled_from(SCRAPS) | st.binary(max_size=6)) + text[end:]
    return text


@st.composite
def twisted(draw: st.DrawFn) -> bytes:
    """A shipped sweep with something unexpected at some places, or under some further keys."""
    tree = draw(st.sampled_from(TREES))
    for _ in range(draw(st.integers(1, 3))):
        value, key, adding = draw(values), draw(st.sampled_from(KEYS)), draw(st.booleans())

        def change(old: Any, value: Any = value, key: str = key, adding: bool = adding) -> Any:
            return {**old, key: value} if adding and isinstance(old, dict) else value

        tree = changed(tree, draw(st.sampled_from(paths(tree))), change)
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def read_or_refused(text: bytes, path: Path) -> None:
    """What stands in a file is read and planned, or refused by an error of ours, which the command line prints."""
    path.write_bytes(text)
    begun = time.monotonic()
    with suppress(SweepError):
        plan(read_checked(path, None, {}), path.parent / "no data")
    assert time.monotonic() - begun < MOMENT


SLOWNESS = [
    HealthCheck.function_scoped_fixture,
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
]
quick = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
long = settings(quick, max_examples=5000, derandomize=False, suppress_health_check=SLOWNESS)


@given(text=torn())
@quick
def test_a_torn_file(text: bytes, tmp_path: Path) -> None:
    read_or_refused(text, tmp_path / "sweep.yaml")


@given(text=twisted())
@quick
def test_a_twisted_tree(text: bytes, tmp_path: Path) -> None:
    read_or_refused(text, tmp_path / "sweep.yaml")


@pytest.mark.slow
@pytest.mark.timeout(1500)
@given(text=torn() | twisted() | st.binary(max_size=200))
@long
def test_many_files(text: bytes, tmp_path: Path) -> None:
    read_or_refused(text, tmp_path / "sweep.yaml")


COUNTED = """
import json, re, time
from tests.golden.wrong import FILES, said
said(FILES[0])
slow = {}
for name in FILES:
    begun = time.process_time()
    said(name)
    slow[name] = time.process_time() - begun
worst = max(slow, key=slow.get)
peak = re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())  # getrusage counts the parent's as well
print(json.dumps([slow[worst], worst, int(peak[1]) / 1024]))
"""


def test_the_worst_of_the_corpus_takes_less_than_a_second_and_half_a_gigabyte() -> None:
    """Processor time of one file after the imports, and the memory of a process that reads them all."""
    done = subprocess.run([sys.executable, "-c", COUNTED], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, name, megabytes = json.loads(done.stdout)
    assert seconds < SECONDS, name
    assert megabytes < MEGABYTES
    assert len(FILES) >= 150
