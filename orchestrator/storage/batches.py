"""The batch files of an object store: written once, named by the server's time, listed from where one has read to."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.storage.bucket import Bucket
from orchestrator.storage.connection import Unreachable
from orchestrator.storage.mirror import plain
from orchestrator.storage.outcome import Outcome, read_rows, to_json
from orchestrator.storage.writing import write_atomically

PLACE = "nodes/rows/"
MARGIN = 300.0  # seconds that a batch may take to be there after it was named


@dataclass
class Batches:
    """What this process has seen of them.

    Args:
        root: The mirror: each file is brought into it once.

    Attributes:
        names: Those that were listed.
        until: The server's time of the last listing; None before the first.
    """

    root: Path
    bucket: Bucket
    names: set[str] = field(default_factory=set)
    until: float | None = None
    _rows: dict[str, Outcome] = field(default_factory=dict)
    _read: set[str] = field(default_factory=set)

    def all(self) -> set[str]:
        """Every name, listed anew."""
        self.names, self.until = set(), None
        return set(self.listed())

    def listed(self) -> set[str]:
        """Every name; after the first time only what may be new is listed."""
        after = "" if self.until is None else f"{PLACE}{max(0, int(self.until - MARGIN)):010d}"
        now = self.bucket.now()
        names = (entry.name.removeprefix(PLACE) for entry in self.bucket.entries(PLACE, after))
        self.names.update(name for name in names if name.endswith(".jsonl") and plain(name))
        self.until = now
        return self.names

    def rows(self, but: frozenset[str]) -> Iterator[tuple[str, list[Outcome]]]:
        """The outcomes of each batch whose name is not in `but`, by name."""
        wanted = sorted(self.listed() - but)
        self.bucket.many(self._bring, [name for name in wanted if not self._path(name).exists()])
        for name in wanted:
            yield name, read_rows(self._path(name))

    def row(self, key: str) -> Outcome | None:
        """The outcome of one node; each batch is looked through once."""
        if key not in self._rows:
            for name, outcomes in self.rows(frozenset(self._read)):
                self._rows.update({outcome.key: outcome for outcome in outcomes})
                self._read.add(name)
        return self._rows.get(key)

    def new(self) -> str:
        """A name that no other has; later ones come behind it."""
        return f"{int(self.bucket.now()):010d}-{uuid.uuid4().hex}.jsonl"

    def commit(self, outcomes: Sequence[Outcome]) -> None:
        """Write a batch; what cannot be sent is kept on this host, to be sent another time.

        Raises:
            Unreachable: it could not be sent.
        """
        content = "".join(to_json(outcome) + "\n" for outcome in outcomes).encode()
        name = self.new()
        try:
            self.bucket.put(f"{PLACE}{name}", content)
        except Unreachable:
            write_atomically(self.root / "unsent" / name, content)
            raise
        write_atomically(self._path(name), content)

    def _bring(self, name: str) -> None:
        if (found := self.bucket.get(f"{PLACE}{name}")) is not None:
            write_atomically(self._path(name), found.content)

    def _path(self, name: str) -> Path:
        return self.root / PLACE / name
