"""A folder in an S3 bucket: objects that are written whole, and some only if nobody has written them before.

Credentials, region and endpoint are boto3's, from the environment (AWS_*).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, urlsplit

from orchestrator.errors import StoreError
from orchestrator.storage.connection import Changed, NoConditions, connection, endpoint, refusal

LARGE = 64 << 20  # bytes; more are sent in parts
NO_CONDITIONS = "does not write by condition (If-None-Match: *), which a store that several may use needs"
Item = TypeVar("Item")
Made = TypeVar("Made")


class Entry(NamedTuple):
    """An object as a listing has it: `tag` changes with its content, `changed` is the server's time of writing."""

    name: str
    size: int
    tag: str
    changed: float


class Object(NamedTuple):
    """What an object holds, and the tag that says which content it was."""

    content: bytes
    tag: str


def checked(uri: str) -> SplitResult:
    """The parts of `s3://bucket/prefix`.

    Raises:
        StoreError: `uri` is none, or holds a secret, which is not shown.
    """
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
        shown = f"{parts.scheme}:{'//' if parts.netloc else ''}{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise StoreError(f"--store {shown}: allowed: a local folder, or s3://BUCKET/PREFIX")
    return parts


@dataclass(frozen=True)
class Bucket:
    """The objects of a bucket whose names begin with `prefix`; they are named here by what follows it."""

    name: str
    prefix: str

    @classmethod
    def at(cls, uri: str) -> Bucket:
        """The folder at `s3://bucket/prefix`; asks nobody.

        Raises:
            StoreError: `uri` is none, or boto3 is not installed.
        """
        parts = checked(uri)
        try:
            import boto3
        except ImportError as error:
            raise StoreError(f"--store {uri}: needs boto3: pip install 'sweep-orchestrator[s3]'") from error
        assert boto3
        prefix = parts.path.strip("/")
        return cls(parts.netloc, f"{prefix}/" if prefix else "")

    @property
    def endpoint(self) -> str:
        """Whose bucket it is, where that is not AWS."""
        return endpoint() or ""

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/")

    def get(self, name: str) -> Object | None:
        """What an object holds; None where there is none."""
        found = self._ask("get_object", name)
        return None if found is None else Object(found["Body"], found["ETag"])

    def holds(self, name: str) -> bool:
        return self._ask("head_object", name) is not None

    def put(self, name: str, content: bytes) -> str:
        """Write an object, in place of what there is; returns its tag."""
        made = self._ask("put_object", name, Body=content)
        return "" if made is None else made["ETag"]

    def create(self, name: str, content: bytes) -> str | None:
        """Write an object where there is none; its tag, or None where there is one."""
        return self._put_if(name, content, IfNoneMatch="*")

    def replace(self, name: str, content: bytes, tag: str) -> str | None:
        """Write an object in place of the one with `tag`; its tag, or None where there is another, or none, now."""
        return self._put_if(name, content, IfMatch=tag)

    def remove(self, name: str, tag: str | None = None) -> bool:
        """Remove an object, if `tag` is still its; whether it is gone by us. Without a tag: whatever is there."""
        if tag is None:
            self._ask("delete_object", name)
            return True
        try:
            return self._ask("delete_object", name, IfMatch=tag) is not None
        except Changed:
            return False
        except NoConditions:  # such a server cannot remove by condition: look, then remove
            found = self.get(name)
            return found is not None and found.tag == tag and self.remove(name)

    def copy(self, name: str, target: str) -> None:
        """Copy an object inside the store."""
        self._ask("copy_object", target, CopySource={"Bucket": self.name, "Key": self.prefix + name})

    def send(self, path: Path, name: str) -> None:
        """Write an object from a file, in place of what there is."""
        size = path.stat().st_size
        connection().ask(str(self), name, lambda: self._send(path, name, size))

    def fetch(self, name: str, path: Path) -> bool:
        """Read an object into a new file; False where there is none."""

        def fetch() -> bool:
            with open(path, "wb") as file:
                return self._read_into(file, name)

        return connection().ask(str(self), name, fetch) is True

    def entries(self, under: str = "", after: str = "") -> Iterator[Entry]:
        """The objects whose names begin with `under`, by name; those behind `after` only."""
        more: dict[str, str] = {"StartAfter": self.prefix + after} if after else {}
        while True:
            page = self._ask("list_objects_v2", None, Prefix=self.prefix + under, **more)
            assert page is not None  # a listing of nothing is empty
            for item in page.get("Contents", ()):
                name, changed = item["Key"].removeprefix(self.prefix), item["LastModified"].timestamp()
                yield Entry(name, item["Size"], item["ETag"], changed)
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def many(self, work: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]:
        """`work` on each item, several at once; the first error is raised. `work` must not call this itself."""
        left: Sequence[Item] = [*items]
        return [work(item) for item in left] if len(left) < 2 else [*self.workers.map(work, left)]

    @property
    def workers(self) -> ThreadPoolExecutor:
        """Threads for requests."""
        return connection().workers

    def now(self) -> float:
        """The server's time, as its last answer had it: the clocks of two machines do not agree."""
        if connection().ahead is None:
            self.holds("store.json")  # any answer tells it
        return time.time() + (connection().ahead or 0.0)

    @property
    def away(self) -> float:
        """When it did not answer last, on the monotonic clock of this process."""
        return connection().away

    def is_there(self) -> None:
        """Count as one that has answered: another process of this run has heard it."""
        connection().answered = True

    def _put_if(self, name: str, content: bytes, **condition: str) -> str | None:
        try:
            made = self._ask("put_object", name, Body=content, **condition)
        except Changed:
            return None
        except NoConditions:
            raise refusal(str(self), NO_CONDITIONS) from None
        return None if made is None else made["ETag"]

    def _ask(self, method: str, name: str | None, **arguments: Any) -> dict[str, Any] | None:
        """The answer to one request, its body read; None where there is no such object."""
        key = {} if name is None else {"Key": self.prefix + name}

        def ask() -> dict[str, Any]:
            found = getattr(connection().client, method)(Bucket=self.name, **key, **arguments)
            return found | {"Body": found["Body"].read()} if "Body" in found else found

        return connection().ask(str(self), name or "", ask)

    def _send(self, path: Path, name: str, size: int) -> None:
        client = connection().client
        if size > LARGE:
            client.upload_file(str(path), self.name, self.prefix + name)
        else:
            client.put_object(Bucket=self.name, Key=self.prefix + name, Body=path.read_bytes())

    def _read_into(self, file: IO[bytes], name: str) -> bool:
        found = connection().client.get_object(Bucket=self.name, Key=self.prefix + name)
        for piece in found["Body"].iter_chunks(1 << 20):
            file.write(piece)
        return True
