"""Somebody who reaches a Ray of ours but has not its token: no job, no state, no node, by any door that it has."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from tests.deploy.rayhead import REPO, Head, ray_head
from tests.integration.servers import free_port, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]
ROUTE = re.compile(r"@[\w.]+\.(get|post|put|delete|patch)\(\s*f?\"(/[^\"]*)\"")
OPEN = {
    "/": "the page that asks for the token",
    "/favicon.ico": "its picture",
    "/api/authentication_mode": "that it asks for a token",
    "/api/gcs_healthz": "that it lives",
    "/api/healthz": "that it lives",
    "/api/local_raylet_healthz": "that it lives",
    "/metrics": "numbers of load, said in deploy/hosts/README.md",
}
"""What Ray answers to anybody, and what that tells them."""

JOB = json.dumps({"entrypoint": "touch OWNED", "submission_id": "owned"})
CONNECT = """
import sys, ray
ray.init(address=sys.argv[1], logging_level="CRITICAL")
print("nodes", len(ray.nodes()))
ray.get(ray.remote(lambda: open(sys.argv[2], "w").close()).remote())
"""
READ = """
import sys
from ray._raylet import GcsClient
client = GcsClient(address=sys.argv[1])
print("nodes", len(client.get_all_node_info(timeout=20)), client.internal_kv_keys(b"", namespace=None))
"""


@pytest.fixture(scope="module")
def stale() -> Iterator[str]:
    """A token that a cluster had before this one."""
    with ray_head() as before:
        yield before.token


@pytest.fixture(scope="module")
def head(stale: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """With its agent up: it takes jobs from who has the token."""
    with ray_head() as made:
        spec = tmp_path_factory.mktemp("spec") / "noop.yaml"
        spec.write_text("name: noop\nstages: {talk: {workload: tests.toys.chatty, steps: 1}}\naxes: {seed: 1}\n")
        done = made.sweep("submit", spec, "--address", made.dashboard, "--store", spec.parent / "store")
        assert done.returncode == 0, done.stderr
        followed = made.sweep("status", "noop", "--address", made.dashboard, "--follow")
        assert "is done" in followed.stdout
        yield made


def routes() -> set[tuple[str, str]]:
    """The method and path of all that Ray's dashboard and its agents serve, read off their source."""
    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    text = "\n".join(path.read_text() for path in (Path(spec.origin).parent / "dashboard").rglob("*.py"))
    return {(found[1].upper(), re.sub(r"\{[^}]*\}", "x", found[2])) for found in ROUTE.finditer(text)}


def ask(place: tuple[str, int], method: str, path: str, headers: dict[str, str], body: str | None = None) -> int:
    connection = http.client.HTTPConnection(*place, timeout=30)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    except http.client.HTTPException:
        return 0  # what answers there speaks no HTTP
    finally:
        connection.close()


def listening(head: Head) -> set[tuple[str, int]]:
    """Where its processes accept connections."""
    places = set()
    for process in head.processes():
        for found in process.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr:
                host = "127.0.0.1" if found.laddr[0] in ("0.0.0.0", "::") else str(found.laddr[0])
                places.add((host, int(found.laddr[1])))
    return {place for place in places if ":" not in place[0]}


def credentials(head: Head, stale: str) -> dict[str, dict[str, str]]:
    wrong = head.token[:-1] + ("0" if head.token[-1] != "0" else "1")
    tries = {"none": "", "empty": "Bearer ", "wrong": f"Bearer {wrong}", "stale": f"Bearer {stale}"}
    tries |= {"part": f"Bearer {head.token[:32]}", "bare": "Bearer", "basic": "Basic YWRtaW46YWRtaW4="}
    found = {name: {"Authorization": value} if value else {} for name, value in tries.items()}
    return {
        **found,
        "cookie": {"Cookie": f"ray-authentication-token={wrong}"},
        "x": {"X-Ray-Authorization": f"Bearer {stale}"},
    }


def test_nothing_that_it_serves_answers_without_the_token(head: Head, stale: str) -> None:
    doors = sorted(routes())
    assert len(doors) > 50
    assert ("POST", "/api/jobs/") in doors
    own = ("127.0.0.1", head.ports["dashboard-port"])
    answering = {
        place for place in listening(head) if place == own or ask(place, "GET", "/api/version", {}) in (401, 403)
    }
    agent = {place for place in answering if place[1] == head.ports["dashboard-agent-listen-port"]}
    assert own in answering
    assert agent, "the agent, which starts jobs, is asked too"
    told = []
    for name, headers in credentials(head, stale).items():
        for place in answering if name in ("none", "wrong") else [own, *agent]:
            for method, path in doors if name in ("none", "wrong") else [("GET", "/api/jobs/"), ("POST", "/api/jobs/")]:
                status = ask(place, method, path, {**headers, "Content-Type": "application/json"}, JOB)
                if status not in (401, 403) and not (status in (404, 405) or path in OPEN):
                    told.append((name, place, method, path, status))
    assert not told
    assert ask(own, "GET", "/api/jobs/", {"Authorization": f"Bearer {head.token}"}) == 200, "and with it, it does"
    jobs = head.sweep("status", "--address", head.dashboard).stdout
    assert "owned" not in jobs


@pytest.mark.parametrize("code", [CONNECT, READ])
def test_no_driver_and_no_reader_of_state_gets_in(head: Head, stale: str, tmp_path: Path, code: str) -> None:
    owned = tmp_path / "owned"
    client = f"ray://127.0.0.1:{head.ports['ray-client-server-port']}"
    changes = ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": stale}, {"RAY_AUTH_TOKEN": "0" * 64})
    tries = [(head.gcs, change) for change in changes] + ([(client, changes[0])] if code is CONNECT else [])
    for address, change in tries:
        command = ["timeout", "40", sys.executable, "-c", code, address, str(owned)]
        done = subprocess.run(
            command, env=head.environment(**change), cwd=tmp_path, capture_output=True, text=True, timeout=100
        )
        assert done.returncode != 0, (address, change)
        assert "nodes" not in done.stdout
        assert not owned.exists()
    command = [sys.executable, "-c", code, head.gcs, str(owned)]
    done = subprocess.run(command, env=head.environment(), cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert "nodes" in done.stdout, "with the token it does"


def test_a_node_without_the_token_does_not_join(head: Head, stale: str, tmp_path: Path) -> None:
    ports = [f"--{name}={free_port()}" for name in ("dashboard-agent-listen-port", "metrics-export-port")]
    join = ["timeout", "40", str(Path(sys.executable).with_name("ray")), "start", "--address", head.gcs, "--num-cpus=7"]
    for change in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": stale}):
        command = [*join, "--block", "--node-ip-address=127.0.0.1", *ports]
        done = subprocess.run(command, env=head.environment(**change), cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode != 0
    read = [sys.executable, "-c", READ, head.gcs]
    found = subprocess.run(read, env=head.environment(), capture_output=True, text=True, check=True)
    assert found.stdout.startswith("nodes 1 ")


def test_a_head_that_is_open_to_all_is_told_of(tmp_path: Path) -> None:
    """The other way round: what these tests ask for can be seen to fail, and `doctor` says so."""
    with ray_head(token=False) as head:
        own = ("127.0.0.1", head.ports["dashboard-port"])
        assert ask(own, "GET", "/api/jobs/", {}) == 200
        command = [sys.executable, "-m", "orchestrator.cli", "doctor", "--json", "--store", str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": str(REPO)}
        wait_for(lambda: any(port == head.ports["port"] for _, port in listening(head)))
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=100)
        said = [item["what"] for item in json.loads(done.stdout) if item["check"] == "open_ports" and not item["well"]]
        assert [text for text in said if f":{head.ports['port']} and asks nobody" in text], done.stdout
