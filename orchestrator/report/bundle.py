"""A sweep in one archive: a small store without weights, with all that was printed of it.

    bundle.json                     format, name of the sweep, sha256 of every other file
    report.html claims.* tables/ figures/       what people read
    store.json sweeps/ records/ nodes/ failed/  what all of that is rendered from again, without Ray, MLflow or torch

An archive comes from anywhere: nothing of it is unpacked but plain files with plain names, of bounded size, whose
checksums are right.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, NamedTuple

from orchestrator.errors import NotFound, StoreError, SweepError
from orchestrator.storage.writing import write_atomically
from orchestrator.store import Store
from orchestrator.sweepfile.problems import NAME

if TYPE_CHECKING:
    from orchestrator.report.dossier import Dossier

FORMAT = 1
MANIFEST = "bundle.json"
ENDINGS = (".zip", ".tar.gz", ".tgz")
MAX_FILES = 200_000
MAX_BYTES = 4 << 30  # unpacked
PIECE = 1 << 20


class Member(NamedTuple):
    """A file of an archive, before it is trusted."""

    name: str
    is_file: bool
    open: Callable[[], IO[bytes] | None]


def is_bundle(name: str | Path) -> bool:
    """Whether a name on the command line is an archive and no sweep's name."""
    return str(name).endswith(ENDINGS)


@contextmanager
def opened(name: str, store: str | Path) -> Iterator[tuple[Store, str]]:
    """The store and the name of the sweep that `name` means: a sweep of `store`, or a bundle, unpacked meanwhile.

    Raises:
        NotFound: no such bundle.
        StoreError: it is damaged, or no bundle.
    """
    if not is_bundle(name):
        yield Store.at(store).refresh(), name
        return
    path = Path(name)
    if not path.is_file():
        raise NotFound(f"{path}: no such file; `sweep report NAME --bundle {path.name}` makes it")
    with tempfile.TemporaryDirectory(prefix="sweep-bundle-") as folder:
        sweep = unpack(path, Path(folder))
        yield Store.at(folder), sweep


def pack(dossier: Dossier, path: Path) -> None:
    """Write the bundle, whole or not at all; equal stores give equal bytes.

    Raises:
        SweepError: the name has no known ending, or the file cannot be written.
    """
    from orchestrator.report.contents import contents

    if not is_bundle(path):
        raise SweepError(f"--bundle {path}: its name must end with {', '.join(ENDINGS)}")
    files = contents(dossier)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    manifest = {"format": FORMAT, "name": dossier.name, "files": digests}
    files[MANIFEST] = json.dumps(manifest, indent=1).encode()
    try:
        write_atomically(path, _zipped(files) if path.name.endswith(".zip") else _tarred(files))
    except OSError as error:
        raise SweepError(f"--bundle {path}: {error.strerror or error}") from error


def unpack(path: Path, folder: Path) -> str:
    """Unpack a bundle into an empty folder; returns the name of its sweep.

    Raises:
        StoreError: it is damaged, or no bundle, or holds what a bundle never does.
    """
    try:
        digests = _extract(path, folder)
        manifest = json.loads((folder / MANIFEST).read_text())
        name, expected = str(manifest["name"]), dict(manifest["files"])
        found = manifest["format"]
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise StoreError(f"{path}: no bundle of a sweep, or damaged ({error})") from error
    if found != FORMAT:
        raise StoreError(f"{path}: a bundle of format {found}; this version reads {FORMAT}")
    if not NAME.fullmatch(name):
        raise StoreError(f"{path}: {name!r} cannot be a sweep's name")
    digests.pop(MANIFEST)
    if wrong := sorted(set(digests.items()) ^ set(expected.items())):
        raise StoreError(f"{path}: damaged: {wrong[0][0]} is not what was packed")
    return name


def _extract(path: Path, folder: Path) -> dict[str, str]:
    """The checksum of each file that was unpacked."""
    digests: dict[str, str] = {}
    left = MAX_BYTES
    for member in _zip_members(path) if path.name.endswith(".zip") else _tar_members(path):
        target = _target(path, member, folder)
        if member.name in digests or len(digests) >= MAX_FILES:
            raise StoreError(f"{path}: {member.name!r} stands twice, or there are more than {MAX_FILES} files")
        source = member.open()
        if source is None:
            raise StoreError(f"{path}: {member.name!r} is no plain file")
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with source, open(target, "wb") as file:
            while piece := source.read(PIECE):
                left -= len(piece)
                if left < 0:
                    raise StoreError(f"{path}: more than {MAX_BYTES >> 30} GB when unpacked")
                digest.update(piece)
                file.write(piece)
        digests[member.name] = digest.hexdigest()
    return digests


def _target(path: Path, member: Member, folder: Path) -> Path:
    """Where a member goes: below the folder, whatever its name says.

    Raises:
        StoreError: it is no plain file, or its name leads elsewhere.
    """
    parts = PurePosixPath(member.name).parts
    plain = parts and not member.name.startswith("/") and not set("\\\0:") & set(member.name)
    if not member.is_file or not plain or ".." in parts or PurePosixPath(*parts).as_posix() != member.name:
        raise StoreError(f"{path}: {member.name!r} is no plain file below the bundle; nothing of it is used")
    return folder.joinpath(*parts)


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            is_file = not info.is_dir() and not info.flag_bits & 1 and (not stat.S_IFMT(mode) or stat.S_ISREG(mode))
            yield Member(info.filename, is_file, lambda info=info: archive.open(info))


def _tar_members(path: Path) -> Iterator[Member]:
    with tarfile.open(path, "r:gz") as archive:
        for info in archive:
            yield Member(info.name, info.isreg(), lambda info=info: archive.extractfile(info))


def _zipped(files: Mapping[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name)  # of 1980: equal contents, equal bytes
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, files[name])
    return sink.getvalue()


def _tarred(files: Mapping[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with gzip.GzipFile(fileobj=sink, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(files[name]), 0o644
            archive.addfile(info, io.BytesIO(files[name]))
    return sink.getvalue()
