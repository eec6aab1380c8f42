"""Writing files whole or not at all, and saying so where nothing can be written any more."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import StoreError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}
UNSYNCED = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM}
"""What some file systems say of a folder that is to be synced."""
_IN_TEXT = re.compile(r"(?:os error|errno) (\d+)", re.IGNORECASE)  # of libraries that raise errors of their own


class NotWritable(StoreError, OSError):
    """The disk is full or takes nothing any more: no fault of a node's. The run ends, and goes on when it is mended."""

    exit_code = 1


def reason(error: BaseException) -> int | None:
    """The errno of an error which says that nothing can be written there; None for any other error.

    Example:
        >>> reason(OSError(28, "No space left on device")), reason(ValueError("os error 28")), reason(OSError(2, "no"))
        (28, 28, None)
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _IN_TEXT.search(str(error))):
        number = int(found[1])
    return number if number in FULL | CLOSED else None


def explain(path: Path | str, number: int) -> str:
    """What to say to a user where a file cannot be written: what, where, how much is free, what to do."""
    text = f"{path}: cannot be written: {os.strerror(number)}"
    place = next(
        (folder for folder in (Path(path).absolute(), *Path(path).absolute().parents) if folder.exists()), None
    )
    if number == errno.EFBIG:
        return f"{text}; raise the limit on the size of files (ulimit -f), and the same command goes on"
    if number not in FULL:
        return f"{text}; make it writable, and the same command goes on"
    free = "" if place is None else f" ({shutil.disk_usage(place).free / 2**20:.1f} MB free there)"
    return f"{text}{free}; free space, and the same command goes on"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the errors of a place where nothing can be written into one that says so.

    Raises:
        NotWritable: the disk is full, or takes nothing any more.
    """
    try:
        yield
    except NotWritable:
        raise
    except Exception as error:
        number = reason(error)
        if number is None:
            raise
        raise NotWritable(explain(path, number)) from error


def write_atomically(path: Path, content: str | bytes) -> None:
    """Temporary name in the same folder, fsync, rename, fsync of the folder: a reader sees the old file or the new one,
    never half, and the new one outlives a machine that loses its power.

    Raises:
        NotWritable: the disk is full, or takes nothing any more.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
        try:
            with open(temporary, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folders(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def sync_and_hash(path: Path) -> str:
    """The sha256 of a file that is then on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folders(*paths: Path) -> None:
    """See that the names in folders are on the disk, where a file system can and the folder may be read."""
    for path in paths:
        try:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            if error.errno not in UNSYNCED:
                raise
