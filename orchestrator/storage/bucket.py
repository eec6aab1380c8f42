"""A folder in an S3 bucket: objects that are written whole, and some only if nobody has written them before.

Credentials, region and endpoint are boto3's, from the environment (AWS_*). A store that does not answer is asked again
for a while: seconds if it has never answered this process, minutes if it has.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from orchestrator.errors import StoreError
from orchestrator.storage.writing import NotWritable

FIRST_SECONDS = 10.0  # how long one that has not answered yet is asked
PATIENCE = 120.0  # how long one is asked that has
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between two attempts; the last again and again
AT_ONCE = 16  # requests of one process that are under way together
LARGE = 64 << 20  # bytes; more are sent in parts
SILENT = {"500", "502", "503", "504", "InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "Throttling"}
CONFLICT = {"409", "ConditionalRequestConflict", "OperationAborted"}
ABSENT = {"404", "NoSuchKey", "NotFound"}
NO_CONDITIONS = {"501", "NotImplemented"}
CHANGED = {"412", "PreconditionFailed"}
Item = TypeVar("Item")
Made = TypeVar("Made")


class Unreachable(NotWritable):
    """The object store cannot be used: it is not there, refuses us, or has not answered for long."""

    exit_code = 2


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
        parts = urlsplit(uri)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
            raise StoreError(f"--store {shown}: allowed: a local folder, or s3://BUCKET/PREFIX")
        try:
            import boto3
        except ImportError as error:
            raise StoreError(f"--store {shown}: needs boto3: pip install 'sweep-orchestrator[s3]'") from error
        assert boto3
        prefix = parts.path.strip("/")
        return cls(parts.netloc, f"{prefix}/" if prefix else "")

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
        self._again(name, lambda: self._send(path, name, size))

    def fetch(self, name: str, path: Path) -> bool:
        """Read an object into a new file; False where there is none."""

        def fetch() -> bool:
            with open(path, "wb") as file:
                return self._read_into(file, name)

        return self._again(name, fetch) is True

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
        """`work` on each item, several at once; the first error is raised when all have ended."""
        left: Sequence[Item] = [*items]
        return [work(item) for item in left] if len(left) < 2 else [*self.workers.map(work, left)]

    @property
    def workers(self) -> ThreadPoolExecutor:
        """Threads for requests."""
        return _connection().workers

    def now(self) -> float:
        """The server's time, as its last answer had it: the clocks of two machines do not agree."""
        return time.time() + _connection().ahead

    @property
    def away(self) -> float:
        """When it did not answer last, on the monotonic clock of this process."""
        return _connection().away

    def is_there(self) -> None:
        """Count as one that has answered: another process of this run has heard it."""
        _connection().answered = True

    def _put_if(self, name: str, content: bytes, **condition: str) -> str | None:
        try:
            made = self._ask("put_object", name, Body=content, **condition)
        except Changed:
            return None
        except NoConditions:
            raise self._refusal("does not write by condition (If-None-Match), which leases need") from None
        return None if made is None else made["ETag"]

    def _ask(self, method: str, name: str | None, **arguments: Any) -> dict[str, Any] | None:
        """The answer to one request, its body read; None where there is no such object."""
        key = {} if name is None else {"Key": self.prefix + name}

        def ask() -> dict[str, Any]:
            found = getattr(_connection().client, method)(Bucket=self.name, **key, **arguments)
            return found | {"Body": found["Body"].read()} if "Body" in found else found

        return self._again(name or "", ask)

    def _send(self, path: Path, name: str, size: int) -> None:
        client = _connection().client
        if size > LARGE:
            client.upload_file(str(path), self.name, self.prefix + name)
        else:
            client.put_object(Bucket=self.name, Key=self.prefix + name, Body=path.read_bytes())

    def _read_into(self, file: IO[bytes], name: str) -> bool:
        found = _connection().client.get_object(Bucket=self.name, Key=self.prefix + name)
        for piece in found["Body"].iter_chunks(1 << 20):
            file.write(piece)
        return True

    def _again(self, name: str, attempt: Callable[[], Made]) -> Made | None:
        """Try until the store answers; None where there is no such object.

        Raises:
            Changed, NoConditions: of requests with a condition.
            Unreachable: it refuses, or has not answered for long.
        """
        import botocore.exceptions as errors
        from boto3.exceptions import S3UploadFailedError

        connection, since = _connection(), time.monotonic()
        for count in range(1 << 30):
            try:
                made = attempt()
            except errors.ClientError as error:
                code = _code(error)
                if code in ABSENT:
                    connection.answered = True
                    return None
                if code not in SILENT | CONFLICT:
                    raise self._refused(code, name) from error
                what = f"answers {code}"
            except (errors.NoCredentialsError, errors.PartialCredentialsError, errors.CredentialRetrievalError) as error:
                raise self._refusal("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
            except (errors.HTTPClientError, errors.IncompleteReadError, S3UploadFailedError, OSError) as error:
                if isinstance(error, OSError) and error.filename is not None:
                    raise  # a file of ours
                what = f"does not answer ({type(error).__name__})"
            except (errors.BotoCoreError, ValueError) as error:
                raise self._refusal(str(error)) from error
            else:
                connection.heard(made)
                return made
            connection.away = time.monotonic()
            if connection.away - since > (PATIENCE if connection.answered else FIRST_SECONDS):
                raise self._refusal(f"{what} for {connection.away - since:.0f} s; the same command goes on")
            time.sleep(PAUSES[min(count, len(PAUSES) - 1)])
        raise AssertionError

    def _refused(self, code: str, name: str) -> Exception:
        if code in CHANGED:
            return Changed(name)
        if code in NO_CONDITIONS:
            return NoConditions(name)
        if code == "NoSuchBucket":
            return self._refusal("there is no such bucket")
        what = f"refuses us ({code}): do the credentials in the environment (AWS_*) allow it?"
        return self._refusal(f"{what} {self.prefix}{name}" if name else what)

    def _refusal(self, what: str) -> Unreachable:
        endpoint = _endpoint()
        return Unreachable(f"--store {self}{f' at {endpoint}' if endpoint else ''}: {what}")


class Changed(Exception):
    """The condition of a request does not hold."""


class NoConditions(Exception):
    """The server does not know requests with conditions."""


class _Connection:
    """The client of this process, and whether the store has answered it."""

    def __init__(self) -> None:
        self.answered = False
        self.away = -1e9
        self.ahead = 0.0
        self.process = os.getpid()

    @cached_property
    def client(self) -> Any:
        import boto3
        from botocore.config import Config

        endpoint = _endpoint()
        config = Config(
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=2 * AT_ONCE,
            retries={"total_max_attempts": 1},  # ours is in _again
            s3={"addressing_style": "path" if endpoint else "auto"},  # buckets are no host names of a MinIO
        )
        return boto3.session.Session().client("s3", config=config, endpoint_url=endpoint)

    @cached_property
    def workers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(AT_ONCE, "bucket")

    def heard(self, answer: object) -> None:
        """Take note of an answer, and of the server's clock."""
        self.answered = True
        if isinstance(answer, dict):
            headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            if "date" in headers:
                self.ahead = parsedate_to_datetime(headers["date"]).timestamp() - time.time()


_lock = threading.RLock()
_connections: list[_Connection] = []


def _connection() -> _Connection:
    """That of this process: one that was forked off shares no sockets."""
    with _lock:
        if not _connections or _connections[0].process != os.getpid():
            _connections[:] = [_Connection()]
        return _connections[0]


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _code(error: Any) -> str:
    """S3's word for an error, or the HTTP status where it has none."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    return status if status in SILENT | CONFLICT | CHANGED else code or status
