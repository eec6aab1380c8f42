"""The nodes with files of an object store: how they are named, committed and set aside there."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.storage.bucket import Bucket
from orchestrator.storage.contents import HISTORY, parsed_history
from orchestrator.storage.outcome import OUTCOME, Outcome, from_json
from orchestrator.store import FEW

HEXADECIMAL = "0123456789abcdef"


def place(key: str) -> str:
    """The folder of a node, with its last slash."""
    return f"nodes/{key[:2]}/{key}/"


def commit_name(key: str) -> str:
    """The object that commits a node."""
    return f"{place(key)}{OUTCOME}"


def file_name(outcome: Outcome, name: str) -> str:
    """Where a file of a node lies: under its checksum, so that nobody writes over what another has committed."""
    return f"{place(outcome.key)}{outcome.files[name][:16]}/{name}"


@dataclass(frozen=True)
class NodeObjects:
    """The nodes of a bucket."""

    bucket: Bucket

    def outcome(self, key: str) -> Outcome | None:
        """None where there is none, or it is damaged."""
        found = self.bucket.get(commit_name(key))
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            outcome = None if found is None else from_json(found.content.decode())
            return outcome if outcome is not None and outcome.key == key else None
        return None

    def holds(self, key: str) -> bool:
        return self.bucket.holds(commit_name(key))

    def committed(self, wanted: Collection[str]) -> set[str]:
        """Those of `wanted` that are committed: asked for one by one, or by listing all where they are many."""
        if len(wanted) > FEW:
            return self.all().intersection(wanted)
        keys = [*wanted]
        return {key for key, there in zip(keys, self.bucket.many(self.holds, keys), strict=True) if there}

    def all(self) -> set[str]:
        """The keys of all that are committed; objects without an outcome are no node."""

        def listed(digit: str) -> set[str]:
            names = (entry.name.split("/") for entry in self.bucket.entries(f"nodes/{digit}"))
            return {name[2] for name in names if len(name) == 4 and name[3] == OUTCOME}

        return set().union(*self.bucket.many(listed, HEXADECIMAL))

    def send(self, folder: Path) -> bool:
        """Send a node, its outcome last; whether it is ours: False where another has committed it first."""
        content = (folder / OUTCOME).read_bytes()
        outcome = from_json(content.decode())
        self.bucket.many(lambda name: self.bucket.send(folder / name, file_name(outcome, name)), [*outcome.files])
        if self.bucket.create(commit_name(outcome.key), content):
            return True
        found = self.bucket.get(commit_name(outcome.key))  # perhaps ours, whose answer was lost
        return found is not None and found.content == content

    def set_aside(self, key: str) -> str | None:
        """Copy a damaged node to damaged/ and remove what commits it: where to, None if it is sound or gone.

        Its other objects stay: another host may have begun to send the same ones again.
        """
        found = self.bucket.get(commit_name(key))
        if found is None or self._sound(key):
            return None
        aside = f"damaged/{key}-{uuid.uuid4().hex[:8]}"
        for entry in self.bucket.entries(place(key)):
            self.bucket.copy(entry.name, f"{aside}/{entry.name.removeprefix(place(key))}")
        return aside if self.bucket.remove(commit_name(key), found.tag) else None

    def _sound(self, key: str) -> bool:
        """Reads all files of the node."""
        outcome = self.outcome(key)
        if outcome is None:
            return False
        for name, digest in outcome.files.items():
            found = self.bucket.get(file_name(outcome, name))
            if found is None or hashlib.sha256(found.content).hexdigest() != digest:
                return False
            if name == HISTORY and parsed_history(found.content) is None:
                return False
        return True
