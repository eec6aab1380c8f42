"""Sweep files: read from disk, as values and the place of each."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, SpecError, Where
from orchestrator.sweepfile.yamltree import MAX_LETTERS, Builder, Place, kind

__all__ = ["Document", "Place", "kind", "load", "parse_value"]


@dataclass(frozen=True)
class Document:
    """A file as values, and where each value stands: a mapping's entry at its key, a list's at its first character.

    Attributes:
        files: The file, and those that it extends, in the order of the chain.
        contents: What each of them held when it was read: it may change before a run is over, or begins.
    """

    path: Path
    value: dict[Any, Any]
    positions: Mapping[Place, Where]
    files: tuple[Path, ...] = ()
    contents: Mapping[Path, bytes] = field(default_factory=dict)

    def folder(self, path: Place) -> Path:
        """The folder of the file that says what stands at `path`."""
        return Path(self.where(path).file).parent

    def where(self, path: Place) -> Where:
        """The place of `path`, or of its nearest ancestor that has one."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.positions:
                return self.positions[path[:length]]
        return Where(str(self.path), 1, 1)


def load(path: Path) -> Document:
    """Read a file whose top is a mapping.

    Raises:
        SpecError: no such file, not UTF-8, too large, no YAML, duplicate keys, numbers out of range.
    """
    builder = Builder(str(path))
    content = _content(path)
    value = builder.document(_text(path, content))
    if not isinstance(value, dict):
        what = "is empty" if value is None else f"holds {kind(value)}"
        raise SpecError([Problem(Where(str(path), 1, 1), "", f"the file {what}; expected a mapping of fields")])
    return Document(path, value, builder.positions, (path,), {path: content})


def parse_value(text: str, source: str) -> Any:
    """The value that `text` has in a sweep file; `source` names it in messages.

    Raises:
        SpecError: it is no YAML value.

    Example:
        >>> parse_value("{name: mlp, lr: 5e-3, augment: on}", "--set")
        {'name': 'mlp', 'lr': 0.005, 'augment': 'on'}
    """
    return Builder(source).document(text)


def _content(path: Path) -> bytes:
    def refuse(message: str) -> SpecError:
        return SpecError([Problem(None, str(path), message)])

    try:
        if path.is_dir():
            raise refuse("is a folder; expected a YAML file")
        with open(path, "rb") as file:  # a device or a pipe has no size, and may have no end
            content = file.read(MAX_LETTERS + 1)
        if len(content) > MAX_LETTERS:
            raise refuse(f"is larger than {MAX_LETTERS // 1_000_000} MB; a sweep file is text written by hand")
    except FileNotFoundError:
        raise refuse(f"no such file{_nearest(path)}") from None
    except (OSError, ValueError) as error:
        raise refuse(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return content


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        where = Where(str(path), before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        raise SpecError([Problem(where, "", f"byte 0x{content[error.start]:02x} is not UTF-8")]) from None


def _nearest(path: Path) -> str:
    try:
        names = [item.name for item in path.parent.iterdir() if item.suffix in (".yaml", ".yml")]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean '{path.parent / near[0]}'?" if near else ""
