"""The board of drivers in an object store: what only one can write is a conditional put."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field

from orchestrator.storage.board import Note
from orchestrator.storage.bucket import Bucket

HEARD = 1.0  # seconds for which a heartbeat that was read is not read again


@dataclass(frozen=True)
class BucketBoard:
    """A board in a bucket, below `work/`. A note's tag is its object's.

    Attributes:
        written: What this process wrote, by name: the text and the tag.
    """

    bucket: Bucket
    written: dict[str, Note] = field(default_factory=dict)
    _heard: dict[str, tuple[float, Note | None]] = field(default_factory=dict)
    _going: dict[str, Future[object]] = field(default_factory=dict)

    @property
    def away(self) -> float:
        return self.bucket.away

    def prepare(self) -> None:
        """Nothing: a bucket has no folders."""

    def read(self, name: str) -> Note | None:
        since, note = self._heard.get(name, (-HEARD, None))
        if name.endswith(".beat") and time.monotonic() - since < HEARD:
            return note
        found = self.bucket.get(f"work/{name}")
        note = None if found is None else Note(found.content.decode(errors="replace"), found.tag)
        if name.endswith(".beat"):
            self._heard[name] = time.monotonic(), note
        return note

    def write(self, name: str, text: str) -> None:
        self.written[name] = Note(text, self.bucket.put(f"work/{name}", text.encode()))

    def claim(self, name: str, identity: str, over: Note | None = None) -> bool:
        # A removal of ours that is still under way would take what is written now: equal content has an equal tag.
        if (going := self._going.pop(name, None)) is not None:
            wait([going])
        text = self.written[identity].text
        place, content = f"work/{name}", text.encode()
        tag = self.bucket.create(place, content) if over is None else self.bucket.replace(place, content, over.tag)
        if tag is not None:
            self.written[name] = Note(text, tag)
        return tag is not None

    def give_back(self, name: str, note: str) -> None:
        """In a thread: nobody waits for it."""
        ours = self.written.get(name)
        if ours is not None and ours.text == note:
            del self.written[name]
            for done in [item for item, going in [*self._going.items()] if going.done()]:
                del self._going[done]
            self._going[name] = self.bucket.workers.submit(self.bucket.remove, f"work/{name}", ours.tag)

    def settle(self) -> None:
        wait(self._going.values())

    def remove(self, name: str) -> None:
        self.bucket.remove(f"work/{name}")

    def names(self, folder: str) -> list[str]:
        start = f"work/{folder}/"
        return [entry.name.removeprefix(start) for entry in self.bucket.entries(start)]

    def age(self, name: str) -> float | None:
        place = f"work/{name}"
        found = next((entry for entry in self.bucket.entries(place) if entry.name == place), None)
        return None if found is None else max(0.0, self.bucket.now() - found.changed)

    def each(self, work: Callable[[str], bool], names: Iterable[str]) -> list[str]:
        keys = [*names]
        return [key for key, true in zip(keys, self.bucket.many(work, keys), strict=True) if true]
