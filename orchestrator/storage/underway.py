"""What is kept of nodes that are under way, in an object store: so that another host goes on from there."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.storage.bucket import Bucket
from orchestrator.storage.mirror import Mirror, plain


@dataclass
class UnderWay:
    """The folders work/KEY of this host and of the store.

    Attributes:
        sent: The sizes and times of the files that both have, by name, of the nodes of this process.
    """

    root: Path
    bucket: Bucket
    sent: dict[str, tuple[int, int]] = field(default_factory=dict)

    def take_up(self, key: str) -> None:
        """Bring what the store has of a node, in place of what was left here."""
        mirror = Mirror(self.root, self.bucket)
        for entry in [entry for entry in self.bucket.entries(_place(key)) if plain(entry.name)]:
            if mirror.bring(entry.name):
                self.sent[entry.name] = _state(self.root / entry.name)

    def keep(self, key: str) -> None:
        """Send what has changed; the checkpoint last: what belongs to it is there then."""
        folder = self.root / _place(key)
        paths = [path for path in folder.rglob("[!.]*") if path.is_file()]
        for path in sorted(paths, key=lambda path: (path.parent == folder, path)):
            name, state = path.relative_to(self.root).as_posix(), _state(path)
            if self.sent.get(name) != state:
                self.bucket.send(path, name)
                self.sent[name] = state

    def forget(self, key: str) -> None:
        """Remove it, here and there."""
        for name in [name for name in self.sent if name.startswith(_place(key))]:
            del self.sent[name]
            self.bucket.remove(name)
        shutil.rmtree(self.root / _place(key), ignore_errors=True)


def _place(key: str) -> str:
    return f"work/{key}/"


def _state(path: Path) -> tuple[int, int]:
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_size, found.st_mtime_ns
    return 0, 0
