"""The live view of a real run in a real pseudo-terminal, as a terminal emulator draws it."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pexpect
import pyte
import pytest

REPO = Path(__file__).resolve().parents[2]
SPEC = """
name: shown
stages:
  first: {workload: tests.toys.trouble, steps: 4000, pause: 0.05}
axes:
  trouble:
    yes: {first.trouble: error}
    no: {}
  seed: 3
"""
NOISE = re.compile(r"\b(ray|mlflow|alembic|torch|INFO|WARNING)\b", re.IGNORECASE)


class Terminal:
    """A process on a terminal of its own."""

    def __init__(self, width: int, height: int, *arguments: str) -> None:
        self.screen = pyte.HistoryScreen(width, height, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        command = ["-m", "orchestrator.cli", *arguments]
        self.process = pexpect.spawn(sys.executable, command, cwd=str(REPO), dimensions=(height, width), timeout=60)
        self.raw = b""

    def watch(self, text: str, seconds: float = 90.0) -> list[str]:
        """The lines of the screen once they have a text, or the process has ended."""
        until = time.monotonic() + seconds
        while text not in "\n".join(self.screen.display) and time.monotonic() < until:
            try:
                piece = self.process.read_nonblocking(1 << 16, timeout=0.2)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                break
            self.raw += piece
            self._stream.feed(piece)
        return [line.rstrip() for line in self.screen.display]

    def resize(self, width: int, height: int) -> None:
        self.process.setwinsize(height, width)
        self.screen.resize(height, width)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_the_view_is_one_picture_that_survives_a_resize_and_ctrl_c(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "shown.yaml").write_text(SPEC)
    arguments = ("run", str(tmp_path / "shown.yaml"), "--store", str(tmp_path / "s"), "--inline")
    terminal = Terminal(width, height, *arguments)
    shown = terminal.watch("value 2")  # the metrics of a node that runs
    assert any(line.startswith("nodes   ") and "3 failed" in line and "1 running" in line for line in shown), shown
    assert sum(line.startswith("trials  ") for line in shown) == 1, shown
    assert any(line.startswith("error   first") and "never works" in line for line in shown), shown
    terminal.resize(60, 20)
    time.sleep(1.5)
    until = time.monotonic() + 30  # what is read may end in the middle of a picture
    while "\n".join(shown := terminal.watch("never on the screen", 1.0)).count("\nnodes   ") != 1:
        assert time.monotonic() < until, shown
    terminal.process.sendintr()
    shown = terminal.watch("never on the screen", 30.0)
    assert not terminal.process.isalive()
    assert terminal.process.wait() == 130
    assert any("interrupted: what is finished is kept" in line for line in shown), shown
    assert sum(line.startswith("nodes   ") for line in shown) == 1, f"nothing is left behind: {shown}"
    assert terminal.raw.count(b"\x1b[?25l") == terminal.raw.count(b"\x1b[?25h") == 1, "the cursor is there again"
    assert not NOISE.search(re.sub(re.escape(str(tmp_path)), "", "\n".join(shown))), shown
    (tmp_path / "screen.txt").write_text("\n".join(shown))
