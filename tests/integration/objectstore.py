"""An object store on this machine: moto's server in a process of its own, which notes every request.

S3 decides a conditional put at one instant; moto looks and writes in two steps. So requests go through one at a time.
While the file `away` is in its folder, it answers 503 to all of them.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.integration.servers import free_port, wait_for

BUCKET = "sweeps"
ACCESS, SECRET = "tester", "not-to-be-seen"
REPO = Path(__file__).resolve().parents[2]


@dataclass
class ObjectStore:
    """The server, seen from a test."""

    folder: Path
    port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.integration.objectstore", str(self.folder), self.host, str(self.port)]

    def start(self) -> None:
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(self.command, cwd=REPO, stdout=log, stderr=log)
        wait_for(self._has_bucket)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _has_bucket(self) -> bool:
        assert self._process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
        connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
        try:
            connection.request("PUT", f"/{BUCKET}", headers={"Host": "127.0.0.1"})
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    @cached_property
    def client(self) -> Any:
        from boto3.session import Session

        session = Session(ACCESS, SECRET, region_name="us-east-1")
        return session.client("s3", endpoint_url=self.endpoint)

    def names(self, prefix: str = "") -> list[str]:
        """All objects below a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def read(self, name: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=name)["Body"].read()

    def write(self, name: str, content: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=name, Body=content)

    def remove(self, name: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=name)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Answering nothing but 503."""
        (self.folder / "away").touch()
        try:
            yield
        finally:
            (self.folder / "away").unlink()

    def requests(self) -> list[list[str]]:
        """The kind, status and path of every request so far."""
        return [line.split(" ", 2) for line in (self.folder / "requests").read_text().splitlines()]

    def put(self, ending: str, below: str) -> int:
        """How many objects with this ending were written below a prefix."""
        found = (path for kind, status, path in self.requests() if (kind, status) == ("PUT", "200"))
        return sum(path.startswith(f"/{BUCKET}/{below}") and path.endswith(ending) for path in found)

    def counts(self) -> Counter[str]:
        return Counter(kind for kind, status, _ in self.requests() if status != "503")


def _kind(environ: Mapping[str, Any]) -> str:
    listed = environ["REQUEST_METHOD"] == "GET" and "list-type" in parse_qs(environ.get("QUERY_STRING", ""))
    return "LIST" if listed else environ["REQUEST_METHOD"]


class _Noting:
    """A WSGI application in front of moto's."""

    def __init__(self, application: Any, folder: Path) -> None:
        self._application, self._folder = application, folder
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        said: list[str] = []

        def begin(status: str, headers: Any, *more: Any) -> Any:
            said.append(status.split()[0])
            return start_response(status, headers, *more)

        with self._lock:
            if (self._folder / "away").exists():
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                begin("503 Service Unavailable", [("Content-Length", "0")])
                answer: list[bytes] = [b""]
            else:
                answer = [*self._application(environ, begin)]
            with open(self._folder / "requests", "a") as log:
                log.write(f"{_kind(environ)} {said[0]} {environ['PATH_INFO']}\n")
        return answer


def _serve(folder: Path, host: str, port: int) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    WSGIRequestHandler.protocol_version = "HTTP/1.1"  # connections stay, as they do in S3
    application = _Noting(DomainDispatcherApplication(create_backend_app), folder)
    make_server(host, port, application, threaded=True).serve_forever()


if __name__ == "__main__":
    os.environ.update({"MOTO_ACCOUNT_ID": "123456789012"})
    _serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
