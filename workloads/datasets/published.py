"""Files of published data sets: where torchvision keeps them, and the checksums they were published with."""

from __future__ import annotations

import gzip
import hashlib
import json
import shlex
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, eq=False)
class Published:
    """The files of a data set below the data folder, each as it is or gzipped, with the published md5 of its content.

    Attributes:
        source: The class of torchvision.datasets that downloads it.
    """

    folder: str
    files: Mapping[str, str]
    source: str

    @property
    def fingerprint(self) -> str:
        """md5 of the md5s: known without the data."""
        return "md5:" + hashlib.md5("".join(self.files.values()).encode()).hexdigest()

    def missing(self, data_dir: Path) -> str | None:
        """One sentence if a file is not there; whether it is right is said by `damaged` and by loading."""
        absent = [name for name in self.files if self._file(data_dir, name) is None]
        if not absent:
            return None
        what = f"{data_dir / self.folder}: {', '.join(absent)} missing"
        return f"{what}; {self.remedy(data_dir)} (or name the folder that has it with --data)"

    def remedy(self, data_dir: Path) -> str:
        """The command that puts it there."""
        code = f"import torchvision; torchvision.datasets.{self.source}({json.dumps(str(data_dir))}, download=True)"
        return f"fetch it with: python -c {shlex.quote(code)}"

    def damaged(self, data_dir: Path) -> list[str]:
        """The files that are there with another content than the published one."""
        files = {name: self._file(data_dir, name) for name in self.files}
        return [name for name, file in files.items() if file is not None and _md5(file) != self.files[name]]

    def read(self, data_dir: Path, name: str) -> bytes:
        """The content of one file.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is not the published content.
        """
        file = self._file(data_dir, name)
        if file is None:
            raise FileNotFoundError(self.missing(data_dir))
        content = _content(file)
        if content is None or hashlib.md5(content).hexdigest() != self.files[name]:
            raise ValueError(
                f"{file}: damaged (its md5 is not the published {self.files[name]}); remove it, then"
                f" {self.remedy(data_dir)}"
            )
        return content

    def _file(self, data_dir: Path, name: str) -> Path | None:
        plain = data_dir / self.folder / name
        return next((file for file in (plain, plain.with_name(f"{name}.gz")) if file.is_file()), None)


def _content(file: Path) -> bytes | None:
    """What the file holds, unzipped; None where it cannot be unzipped."""
    raw = file.read_bytes()
    if file.suffix != ".gz":
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error):
        return None


def _md5(file: Path) -> str | None:
    content = _content(file)
    return None if content is None else hashlib.md5(content).hexdigest()
