"""Ray's job server over HTTP, as `JobSubmissionClient` speaks to it, without loading Ray.

That client follows RAY_ADDRESS before the address it is given; this one speaks to the address that the user named,
takes no proxy and follows no redirect: the token goes nowhere else.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from orchestrator.errors import SweepError

TIMEOUT = 60.0  # seconds; a head that is busy takes some
AGENT_SECONDS = 30.0  # that a head which has just started is given
NO_AGENT = "No available agent"
WHY_NO_AGENT = "another Ray on that machine may have its port: ray start --dashboard-agent-listen-port PORT"
OVER = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
TOKEN = re.compile(r"[\x21-\x7e]+")  # what can stand in a header


@dataclass(frozen=True)
class Job:
    """A job as the server describes it; times in unix seconds."""

    id: str
    status: str
    message: str
    metadata: Mapping[str, str]
    start: float | None
    end: float | None

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Job:
        start, end = (None if raw.get(name) is None else raw[name] / 1000 for name in ("start_time", "end_time"))
        metadata = raw.get("metadata") or {}
        return cls(raw["submission_id"], raw["status"], raw.get("message") or "", metadata, start, end)

    @property
    def over(self) -> bool:
        return self.status in OVER


class Refused(SweepError):
    """The job server did not do what it was asked.

    Attributes:
        text: All that it answered.
    """

    def __init__(self, message: str, text: str) -> None:
        self.text = text
        super().__init__(message)


class JobServer:
    """The job server at `http://HEAD:8265`.

    Raises:
        SweepError: the address cannot be one, nothing answers there, or the token is missing or not the server's.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise SweepError(f"--address {_shown(address)}: expected the address of Ray's dashboard, http://HEAD:8265")
        try:
            self._port = parts.port or 8265
        except ValueError:
            raise SweepError(f"--address {_shown(address)}: that is no port") from None
        self.address = f"{parts.scheme}://{parts.netloc}"
        self._secure, self._host, self._path = parts.scheme == "https", parts.hostname, parts.path.rstrip("/")
        self._token = find_token()

    def version(self) -> str:
        """Of the Ray that runs there."""
        found = self._json("GET", "/api/version")
        if not isinstance(found, dict) or "ray_version" not in found:
            raise SweepError(f"--address {self.address}: what answers there is not Ray's dashboard")
        return str(found["ray_version"])

    def refuse_another_version(self) -> None:
        """A driver and its workers must have one Ray, and what is sent was written for the one here."""
        there, here = self.version(), version("ray")
        if there != here:
            raise SweepError(
                f"--address {self.address}: Ray {there} runs there, {here} is installed here; use one version"
            )

    def upload(self, name: str, content: bytes) -> str:
        """Keep a package until no job needs it; returns the URI by which a job names it."""
        self._ask("PUT", f"/api/packages/gcs/{quote(name, safe='')}", content)
        return f"gcs://{name}"

    def submit(self, id: str, entrypoint: str, package: str, metadata: Mapping[str, str]) -> bool:
        """Start a job in the folder that `package` holds; False if there is one of that id."""
        environment = {"RAY_JOB_STOP_WAIT_TIME_S": "30"}  # 3 s is less than a driver has to let its workers finish
        job = {
            "submission_id": id,
            "entrypoint": entrypoint,
            "runtime_env": {"working_dir": package, "env_vars": environment},
            "metadata": dict(metadata),
        }
        until = time.monotonic() + AGENT_SECONDS
        while True:
            try:
                self._json("POST", "/api/jobs/", json.dumps(job).encode())
                return True
            except Refused as error:
                if "already exists" in error.text:
                    return False
                if NO_AGENT not in error.text:
                    raise
                if time.monotonic() > until:
                    raise SweepError(f"{error} ({WHY_NO_AGENT})") from None

    def jobs(self) -> list[Job]:
        """The jobs that were submitted, the latest last."""
        found = [Job.read(raw) for raw in self._json("GET", "/api/jobs/") if raw.get("submission_id")]
        return sorted(found, key=lambda job: job.start or 0.0)

    def logs(self, id: str) -> str:
        """What a job has written so far."""
        return str(self._json("GET", f"/api/jobs/{quote(id, safe='')}/logs")["logs"])

    def wait(self, id: str, seconds: float) -> str:
        """What a job has written, once it is over.

        Raises:
            SweepError: it is not over in time, or gone: the head was started anew.
        """
        until = time.monotonic() + seconds
        while not all(job.over for job in self._named(id)):
            if time.monotonic() > until:
                raise SweepError(f"--address {self.address}: job {id} is not done after {seconds:.0f} s")
            time.sleep(0.5)
        return self.logs(id)

    def _named(self, id: str) -> list[Job]:
        found = [job for job in self.jobs() if job.id == id]
        if not found:
            raise SweepError(f"--address {self.address}: job {id} is not there any more")
        return found

    def stop(self, id: str) -> None:
        """Ask a job to end: SIGTERM, and SIGKILL where that was not heard."""
        self._json("POST", f"/api/jobs/{quote(id, safe='')}/stop")

    def _json(self, method: str, path: str, body: bytes | None = None) -> Any:
        answer = self._ask(method, path, body)
        try:
            return json.loads(answer)
        except ValueError:
            raise SweepError(f"--address {self.address}: what answers there is not Ray's dashboard") from None

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=TIMEOUT)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            connection.request(method, self._path + path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise SweepError(f"--address {self.address}: no Ray dashboard answers there ({why})") from error
        finally:
            connection.close()
        if response.status != 200:
            text = answer.decode(errors="replace")
            raise Refused(self._refusal(response.status, text), text)
        return answer

    def _refusal(self, status: int, text: str) -> str:
        place = f"--address {self.address}"
        if status == 401:
            return f"{place}: asks for a token: RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH the file that holds it"
        if status == 403:
            return f"{place}: another token than its own was sent: see RAY_AUTH_TOKEN and RAY_AUTH_TOKEN_PATH"
        lines = [line.strip() for line in text.splitlines() if len(line.strip()) > 2] or ["no reason given"]
        return f"{place}: refused (HTTP {status}): {_shown(lines[-1], 300)}"


def find_token() -> str | None:
    """The token that Ray itself would use: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token; None without.

    Raises:
        SweepError: it is asked for (RAY_AUTH_MODE=token) and not there, or cannot be one.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    if mode == "disabled":
        return None
    token, source = os.environ.get("RAY_AUTH_TOKEN", "").strip(), "RAY_AUTH_TOKEN"
    if not token:
        named = os.environ.get("RAY_AUTH_TOKEN_PATH")
        path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
        source = f"RAY_AUTH_TOKEN_PATH={path}" if named else str(path)
        try:
            token = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            if named or mode == "token":
                why = getattr(error, "strerror", None) or "it is no text"
                raise SweepError(f"{source}: no token for Ray can be read there ({why})") from None
    if token and not TOKEN.fullmatch(token):
        raise SweepError(f"{source}: that cannot be a token for Ray: it holds spaces, lines or other characters")
    return token or None


def _shown(text: str, most: int = 100) -> str:
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= most else f"{shown[:most]}..."
