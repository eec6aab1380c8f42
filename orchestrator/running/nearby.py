"""The data folder on a disk of the machine itself: copied once for all workers of a machine, not once a trial.

A folder that all machines see, such as NFS, is slow where hundreds of workers read it at once. A machine whose
environment names a folder of its own in SWEEP_NEARBY_DATA has a copy there: the first worker makes it while the others
wait. A copy is named by the files that it has, with their sizes and times, and appears whole or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import uuid
from functools import cache
from pathlib import Path

VARIABLE = "SWEEP_NEARBY_DATA"


@cache
def nearby(data_dir: Path) -> Path:
    """Where the data of a folder is to be read on this machine; copies it if nobody has, once a process at most.

    Where it cannot be copied, as on a full disk, that is said in the worker's log, and it is the folder itself.
    """
    place = os.environ.get(VARIABLE)
    if not place or not data_dir.is_dir():
        return data_dir
    try:
        return _copied(data_dir, Path(place))
    except OSError as error:
        print(f"{VARIABLE}: {data_dir} cannot be copied to {place}: {error}; it is read where it is", flush=True)
        return data_dir


def _copied(data_dir: Path, place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    copy = place / _name(data_dir)
    if copy.is_dir():
        return copy
    with open(place / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go of by the system, whatever becomes of its holder
        if copy.is_dir():
            return copy
        for cut_off in place.glob(f".{'[0-9a-f]' * 16}-{'[0-9a-f]' * 8}"):  # its machine or its worker was taken away
            shutil.rmtree(cut_off, ignore_errors=True)
        temporary = place / f".{copy.name}-{uuid.uuid4().hex[:8]}"
        try:
            shutil.copytree(data_dir, temporary)
            temporary.rename(copy)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return copy


def _name(data_dir: Path) -> str:
    """Of what is in a folder: other files, sizes or times of change are another copy."""
    found = hashlib.sha256(str(data_dir).encode())
    for folder, folders, names in os.walk(data_dir, followlinks=True):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            state = path.stat()
            found.update(f"{path.relative_to(data_dir)}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return found.hexdigest()[:16]
