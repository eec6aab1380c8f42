"""How this process speaks to S3: one client, asked again while the store does not answer; clear words if it refuses.

A store that has never answered this process is given seconds, one that has is given minutes: a wrong address is said at
once, and a run outlives a store that is away for a while.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

from orchestrator.storage.writing import NotWritable

FIRST_SECONDS = 10.0  # how long one that has not answered yet is asked
PATIENCE = 120.0  # how long one is asked that has
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between two attempts; the last again and again
AT_ONCE = 16  # requests of one process that are under way together
SILENT = {"429", "500", "502", "503", "504", "InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout"}
SILENT |= {"Throttling", "TooManyRequests"}
CONFLICT = {"409", "ConditionalRequestConflict", "OperationAborted"}
ABSENT = {"404", "NoSuchKey", "NotFound"}
NO_CONDITIONS = {"501", "NotImplemented"}
CHANGED = {"412", "PreconditionFailed"}
Made = TypeVar("Made")


class Unreachable(NotWritable):
    """The object store cannot be used: it is not there, refuses us, or has not answered for long."""

    exit_code = 2


class Changed(Exception):
    """The condition of a request does not hold."""


class NoConditions(Exception):
    """The server does not know requests with conditions."""


class Connection:
    """The client of this process.

    Attributes:
        answered: Whether the store has ever answered; one may be told so by another process of the run.
        given_up: Whether it was waited for in vain, and has not answered since: then it is asked once.
        away: When it did not answer last, on the monotonic clock.
        ahead: By how many seconds its clock is ahead of ours; None until it has said.
    """

    def __init__(self) -> None:
        self.answered = self.given_up = False
        self.away = -1e9
        self.ahead: float | None = None
        self.process = os.getpid()

    @cached_property
    def client(self) -> Any:
        from boto3.session import Session
        from botocore.config import Config

        address = endpoint()
        config = Config(
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=2 * AT_ONCE,
            retries={"total_max_attempts": 1},  # ours is in `ask`
            s3={"addressing_style": "path" if address else "auto"},  # buckets are no host names of a MinIO
        )
        return Session().client("s3", config=config, endpoint_url=address)

    @cached_property
    def workers(self) -> ThreadPoolExecutor:
        """Threads for requests that are under way together."""
        return ThreadPoolExecutor(AT_ONCE, "bucket")

    def ask(self, store: str, name: str, attempt: Callable[[], Made]) -> Made | None:
        """What `attempt` returns, tried until the store answers; None where there is no such object.

        Args:
            store, name: The store and the object, for messages.

        Raises:
            Changed, NoConditions: of requests with a condition.
            Unreachable: it refuses, or has not answered for long.
        """
        since, count = time.monotonic(), 0
        while True:
            try:
                made = attempt()
            except Exception as error:
                what = _verdict(error, store, name)
                if what is None:
                    self._hear(None)
                    return None
            else:
                self._hear(made)
                return made
            self.away = time.monotonic()
            patience = PATIENCE if self.answered else FIRST_SECONDS
            if self.given_up or self.away - since > patience:
                self.given_up = True
                raise refusal(store, f"{what} for {self.away - since:.0f} s; when it does, the same command goes on")
            time.sleep(PAUSES[min(count, len(PAUSES) - 1)])
            count += 1

    def _hear(self, answer: object) -> None:
        self.answered, self.given_up = True, False
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}) if isinstance(answer, dict) else {}
        if "date" in headers:
            self.ahead = parsedate_to_datetime(headers["date"]).timestamp() - time.time()


def connection() -> Connection:
    """That of this process: one that was forked off shares no sockets."""
    with _lock:
        if not _connections or _connections[0].process != os.getpid():
            _connections[:] = [Connection()]
        return _connections[0]


_lock = threading.Lock()
_connections: list[Connection] = []


def refusal(store: str, what: str) -> Unreachable:
    """What to say to a user: which store, where, what is wrong with it."""
    where = urlsplit(endpoint() or "")
    at = f" at {where.scheme}://{where.netloc.rpartition('@')[2]}" if where.netloc else ""
    return Unreachable(f"--store {store}{at}: {what}")


def _verdict(error: Exception, store: str, name: str) -> str | None:
    """What is to be said of a store that does not answer; None where it said that there is no such object.

    Raises:
        Unreachable, Changed, NoConditions: it said something else; or the error itself, if it is not the store's.
    """
    import botocore.exceptions as errors
    from boto3.exceptions import S3UploadFailedError

    if isinstance(error, S3UploadFailedError) and isinstance(error.__context__, Exception):
        error = error.__context__  # what was wrong with a part of a large file
    if isinstance(error, errors.ClientError):
        code = _code(error)
        if code in SILENT | CONFLICT:
            return f"does not answer (it says {code})"
        if code in ABSENT:
            return None
        raise _refused(code, store, name) from error
    if isinstance(error, errors.NoCredentialsError | errors.PartialCredentialsError | errors.CredentialRetrievalError):
        raise refusal(store, "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
    ours = isinstance(error, OSError) and error.filename is not None  # a file of this machine
    silent = (errors.HTTPClientError, errors.ConnectionError, errors.IncompleteReadError, S3UploadFailedError, OSError)
    if not ours and isinstance(error, silent):
        return f"does not answer ({type(error).__name__})"
    if isinstance(error, errors.BotoCoreError):
        raise refusal(store, str(error)) from error
    raise error


def _refused(code: str, store: str, name: str) -> Exception:
    if code in CHANGED:
        return Changed(name)
    if code in NO_CONDITIONS:
        return NoConditions(name)
    if code == "NoSuchBucket":
        return refusal(store, "there is no such bucket")
    return refusal(store, f"refuses {name or 'a listing'} ({code}): do the credentials in the environment allow it?")


def endpoint() -> str | None:
    """Where the object store is, if it is not AWS."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _code(error: Any) -> str:
    """S3's word for an error, or the HTTP status where that says more."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    return status if status in SILENT | CONFLICT | CHANGED else code or status
