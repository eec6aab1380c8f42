"""Files of published data sets: where torchvision keeps them, and the checksums they were published with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, eq=False)
class Published:
    """The files of a data set below the data folder, with their published md5."""

    folder: str
    files: Mapping[str, str]
    how: str

    @property
    def fingerprint(self) -> str:
        """md5 of the md5s: known without the data."""
        return "md5:" + hashlib.md5("".join(self.files.values()).encode()).hexdigest()

    def missing(self, data_dir: Path) -> str | None:
        """One sentence if a file is not there; whether it is right is said by `damaged` and by loading."""
        absent = [name for name in self.files if not (data_dir / self.folder / name).is_file()]
        if not absent:
            return None
        return f"{data_dir / self.folder}: {', '.join(absent)} missing; {self.how} (or name its folder with --data)"

    def damaged(self, data_dir: Path) -> list[str]:
        """The files that are there with another content than the published one."""
        present = [name for name in self.files if (data_dir / self.folder / name).is_file()]
        return [name for name in present if md5(data_dir / self.folder / name) != self.files[name]]

    def read(self, data_dir: Path, name: str) -> bytes:
        """The content of one file.

        Raises:
            ValueError: it is not the published content.
        """
        path = data_dir / self.folder / name
        content = path.read_bytes()
        if hashlib.md5(content).hexdigest() != self.files[name]:
            raise ValueError(f"{path}: damaged (its md5 is not the published {self.files[name]}); {self.how}")
        return content


@cache
def md5(path: Path) -> str:
    """Of a file, read once per process."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
