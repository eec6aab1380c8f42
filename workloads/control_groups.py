"""The control groups of Linux that this process is in: containers and batch jobs limit cores and memory by them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OWN, ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


class Group(NamedTuple):
    """The folder of a group's files; those of the two versions of control groups have other names."""

    folder: Path
    version: int


def control_groups(controller: str, own: Path = OWN, root: Path = ROOT) -> Iterator[Group]:
    """The groups that limit `controller`, such as cpu, for this process: its own and those above; none elsewhere.

    Args:
        own: Where Linux lists the groups of a process, a line `NUMBER:CONTROLLERS:PATH` each; version 2 names none.
        root: Where they are mounted.
    """
    try:
        entries = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:  # not Linux
        return
    for _, controllers, path in entries:
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controller if controllers else root
        place = base / path.lstrip("/")
        for folder in (place, *place.parents):  # in a container the path may be the host's: then the root counts
            yield Group(folder, 1 if controllers else 2)
            if folder == base:
                break
