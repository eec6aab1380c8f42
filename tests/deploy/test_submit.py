"""`sweep submit` to a real Ray head with a token: sent once, run once, as it was when it was sent; nothing leaks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from orchestrator.cli import main
from orchestrator.cluster.jobs import Job, JobServer
from orchestrator.cluster.there import store_there
from orchestrator.commands import submit
from orchestrator.errors import SweepError
from tests.deploy.rayhead import REPO, Head, ray_head
from tests.faults.processes import records, wait_for
from tests.integration.servers import free_port

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
OWN = """
import time
from pydantic import Field
from workloads.contract import Config, Context, Result
from constants import SAID
class OwnConfig(Config):
    x: float = 1.0
    seconds: float = Field(default=0.0, ge=0)
def run(config: OwnConfig, context: Context) -> Result:
    time.sleep(config.seconds)
    return Result({"said": SAID * config.x})
"""
SPEC = """
name: own
stages:
  say: {workload: mine.saying, seconds: SECONDS}
axes:
  say.x: [1, 2]
  seed: 2
tables:
  said: {rows: [say.x], values: [said]}
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """With other code of the same name on its own path: what was sent must win."""
    decoy = tmp_path_factory.mktemp("decoy")
    (decoy / "constants.py").write_text("SAID = 7.0\n")
    with ray_head(path=decoy) as made:
        yield made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's folder: a workload of their own, what it imports, a sweep, and what must not travel."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "saying.py").write_text(OWN)
    (tmp_path / "constants.py").write_text("SAID = 3.0\n")
    (tmp_path / "own.yaml").write_text(SPEC.replace("SECONDS", "1"))
    (tmp_path / ".env").write_text("PASSWORD=not-to-be-sent")
    return tmp_path


def jobs(head: Head, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, head.environment()[name])
    return JobServer(head.dashboard).jobs()


def until_over(head: Head, monkeypatch: pytest.MonkeyPatch, name: str) -> Job:
    def over() -> Job | None:
        mine = [job for job in jobs(head, monkeypatch) if name in job.metadata.get("sweeps", "")]
        return mine[-1] if mine and mine[-1].over else None

    return wait_for(over, f"the end of {name}")


def test_submitted_twice_at_once_it_runs_once_and_as_it_was(
    head: Head, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = project / "store"
    command = ["submit", project / "own.yaml", "--address", head.dashboard, "--store", store, "--jobs", "2"]
    line = [sys.executable, "-m", "orchestrator.cli", *map(str, command)]
    both = [
        subprocess.Popen(line, cwd=project, env=head.environment(), stdout=subprocess.PIPE, text=True) for _ in "12"
    ]
    said = [process.communicate(timeout=100)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    (project / "constants.py").write_text("SAID = 5.0\n")  # a later edit does not reach what runs
    id = said[0].split(" as ")[1].split(",")[0]
    assert all(f" as {id}, store {store}" in text for text in said)
    assert f"sweep status own --address {head.dashboard}" in said[0]
    other = head.sweep(*command, cwd=project)
    assert other.returncode == 2
    assert f"{id}: runs own already, with other code or options" in other.stderr
    (project / "constants.py").write_text("SAID = 3.0\n")
    assert until_over(head, monkeypatch, "own").status == "SUCCEEDED", head.sweep(
        "logs", "own", "--address", head.dashboard
    ).stdout
    found = records(store, "own")
    assert found["metric.said"] == [3.0, 3.0, 6.0, 6.0]
    assert len(jobs(head, monkeypatch)) == 1

    again = head.sweep(*command, cwd=project)
    assert again.returncode == 0, again.stderr
    assert f"submitted as {id.removesuffix('1')}2" in again.stdout
    assert until_over(head, monkeypatch, "own").status == "SUCCEEDED"
    assert "4 reused" in head.sweep("logs", "own", "--address", head.dashboard).stdout
    assert records(store, "own") == found
    status = head.sweep("status", "--address", head.dashboard, "--follow").stdout
    assert f"own: is done as {id.removesuffix('1')}2" in status


@pytest.mark.slow
def test_it_stops_in_good_order_and_goes_on(head: Head, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, spec = project / "store", project / "long.yaml"
    spec.write_text(SPEC.replace("name: own", "name: long").replace("SECONDS", "3"))
    submit = ["submit", spec, "--address", head.dashboard, "--store", store, "--jobs", "1"]
    assert head.sweep(*submit, cwd=project).returncode == 0
    wait_for(lambda: [*store.glob("work/leases/*")], "its first node")
    stopped = head.sweep("stop", "long", "--address", head.dashboard)
    assert stopped.returncode == 0, stopped.stderr
    assert "has stopped" in stopped.stdout
    assert "was stopped" in head.sweep("status", "long", "--address", head.dashboard).stdout
    assert not [*store.glob("work/leases/*")], "its leases were given back"
    assert head.sweep(*submit, cwd=project).returncode == 0
    assert until_over(head, monkeypatch, "long").status == "SUCCEEDED"
    assert records(store, "long")["status"] == ["done"] * 4
    assert "is not running" in head.sweep("stop", "long", "--address", head.dashboard).stdout


NASTY = ["a'b\"c", "$(touch owned)", "`touch owned`", "../../owned", "; touch owned #", "-rf", "{owned,owned}"]
REFUSED = ["a\nb; touch owned", "x" * 1000, "x" * 10_000]


@pytest.mark.slow
def test_no_name_level_or_value_reaches_a_shell(head: Head, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, store = project / "nasty.yaml", project / "a store; touch owned"
    content = {
        "name": "nasty",
        "title": "$(touch owned) `touch owned` " + "x" * 10_000,
        "stages": {"say": {"workload": "mine.saying"}},
        "axes": {"how": {name: {"say.x": place} for place, name in enumerate(NASTY)}},
    }
    submit = ["submit", spec, "--address", head.dashboard, "--store", store]
    spec.write_text(json.dumps(content))
    done = head.sweep(*submit, cwd=project)
    assert done.returncode == 0, done.stderr
    job = until_over(head, monkeypatch, "nasty")
    name = json.loads(job.metadata["sweeps"])[0]
    assert job.status == "SUCCEEDED", head.sweep("logs", name, "--address", head.dashboard).stdout
    found = records(store, name)
    assert dict(zip(found["axis.how"], found["metric.said"], strict=True)) == {
        level: 3.0 * place for place, level in enumerate(NASTY)
    }
    assert not [path for top in (project, head.folder) for path in top.rglob("owned*")]


@pytest.mark.parametrize(
    "store", ["s3://me:swordfish@bucket/x", "s3://bucket/x?key=swordfish", "s3:/bucket/x", "ftp://x/y"]
)
def test_what_is_no_store_is_refused(tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"name": "calm", "stages": {"talk": {"workload": "tests.toys.chatty"}}, "axes": {"seed": 1}}
    (tmp_path / "calm.yaml").write_text(json.dumps(content))
    for command in (["submit", str(tmp_path / "calm.yaml"), "--address", "http://127.0.0.1:1"], ["status"]):
        assert main([*command, "--store", store]) == 2
        shown = capsys.readouterr().err
        assert "allowed: a local folder, or s3://BUCKET/PREFIX" in shown
        assert "swordfish" not in shown


def test_a_label_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"name": "calm", "stages": {"talk": {"workload": "tests.toys.chatty"}}, "axes": {"seed": 1}}
    (tmp_path / "calm.yaml").write_text(json.dumps(content))
    assert main(["submit", str(tmp_path / "calm.yaml"), "--address", "http://127.0.0.1:1", "--on", "large"]) == 2
    assert "--on large: expected LABEL=VALUE" in capsys.readouterr().err


class Jobs(JobServer):
    """What a server says of its jobs."""

    def __init__(self, *jobs: Job) -> None:
        super().__init__("http://127.0.0.1:1")
        self.found = jobs

    def jobs(self) -> list[Job]:
        return list(self.found)


def test_a_job_that_runs_counts_before_a_later_one_that_is_over() -> None:
    job = Job("alpha-1", "RUNNING", "", {"sweeps": '["alpha"]', "store": "/x"}, None, None)
    later = Job("alpha-2", "SUCCEEDED", "", {"sweeps": '["alpha", "beta"]', "store": "/y"}, None, None)
    found = submit._latest(Jobs(job, later), None)
    assert {name: job.id for name, job in found.items()} == {"alpha": "alpha-1", "beta": "alpha-2"}


def test_a_job_that_went_with_its_head_is_not_waited_for() -> None:
    over = Job("doctor-1", "SUCCEEDED", "", {}, None, None)
    with pytest.raises(SweepError, match="job doctor-2 is not there any more"):
        Jobs(over).wait("doctor-2", 1.0)


def test_one_bucket_has_one_name() -> None:
    """What runs already is known by its store: `s3://BUCKET/PREFIX/` is no other."""
    assert {store_there(text) for text in ("s3://bucket/x", "s3://bucket/x/")} == {"s3://bucket/x"}
    assert store_there("/nfs/runs/") == store_there("file:///nfs/runs") == "/nfs/runs"


@pytest.mark.parametrize("name", [*NASTY, *REFUSED], ids=lambda name: name[:20] + str(len(name)))
def test_what_cannot_be_a_name_is_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"name": "nasty", "stages": {"talk": {"workload": "tests.toys.chatty"}}, "axes": {"seed": 1}}
    cases = {"cannot be a name": ({**content, "name": name}, []), "scale": (content, [f"--scale={name}"])}
    cases["talk.x"] = (content, ["--set", f"talk.x={name}"])
    if name in REFUSED:
        said = "name of a level" if len(name) <= 1024 else "no YAML"  # whose keys are not longer
        cases[said] = ({**content, "axes": {"how": {name: {"talk.x": 1}}}}, [])
    for said, (spec, options) in cases.items():
        (tmp_path / "nasty.yaml").write_text(json.dumps(spec))
        arguments = ["submit", str(tmp_path / "nasty.yaml"), "--address", "http://127.0.0.1:1", *options]
        assert main(arguments) == 2
        shown = capsys.readouterr().err
        assert said in shown
        assert "no Ray dashboard answers" not in shown
        assert len(shown) < 5000


@pytest.mark.slow
def test_no_secret_is_kept_or_shown(head: Head, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    password = "swordfish-" * 3
    spec = project / "own.yaml"
    store = project / "store"
    secret = {"MLFLOW_TRACKING_PASSWORD": password, "RAY_AUTH_TOKEN": head.token}
    submit = ["submit", spec, "--address", head.dashboard, "--store", store]
    with_password = head.sweep(*submit, "--tracking-uri", f"http://me:{password}@127.0.0.1:1", cwd=project, **secret)
    assert with_password.returncode == 2
    assert password not in with_password.stdout + with_password.stderr
    done = head.sweep(*submit, cwd=project, **secret)
    assert done.returncode == 0, done.stderr
    seen: set[str] = set()
    while not (job := jobs(head, monkeypatch)[-1]).over:
        for process in head.processes():
            with suppress(psutil.Error):
                seen.add(" ".join(process.cmdline()))
        time.sleep(0.2)
    assert job.status == "SUCCEEDED"
    text = "\n".join(
        [*seen, done.stdout, done.stderr, str(job), head.sweep("logs", "own", "--address", head.dashboard).stdout]
    )
    files = [path for folder in (store, head.folder / "ray") for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 30
    for word in (password, head.password, head.token, "not-to-be-sent"):
        assert word not in text
        assert not [path for path in files if word.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "asks for a token: RAY_AUTH_MODE=token"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "another token than its own"),
        ({"RAY_AUTH_TOKEN": "a\nb"}, "that cannot be a token"),
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere/token"}, "no token for Ray can be read there"),
    ],
)
def test_without_its_token_nothing_is_sent(
    head: Head, project: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], said: str
) -> None:
    before = len(jobs(head, monkeypatch))
    for command in (["submit", "own.yaml", "--store", "store"], ["logs", "own"]):
        refused = head.sweep(*command, "--address", head.dashboard, cwd=project, **change)
        assert refused.returncode == 2
        assert said in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        assert "0" * 64 not in refused.stderr
    assert len(jobs(head, monkeypatch)) == before


class _Another(BaseHTTPRequestHandler):
    """A dashboard of another Ray, and what is no dashboard at all."""

    def do_GET(self) -> None:
        body = b'{"ray_version": "2.9.3"}' if "old" in self.path else b"<html>hello</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what it is asked is no concern of the test's output."""


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("http://127.0.0.1:{free}", "no Ray dashboard answers there"),
        ("127.0.0.1:{free}", "expected the address of Ray's dashboard"),
        ("http://127.0.0.1:{port}/old", "Ray 2.9.3 runs there"),
        ("http://127.0.0.1:{port}/new", "what answers there is not Ray's dashboard"),
        ("http://127.0.0.1:99999", "that is no port"),
        ("http://me:secret@127.0.0.1:{port}", "expected the address"),
    ],
)
def test_a_wrong_address_is_refused(tmp_path: Path, path: str, said: str) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Another)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = path.format(free=free_port(), port=server.server_port)
        line = ["submit", REPO / "sweeps" / "quickstart.yaml", "--address", address, "--store", tmp_path / "store"]
        command = [sys.executable, "-m", "orchestrator.cli", *map(str, line)]
        refused = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=100)
    finally:
        server.shutdown()
        server.server_close()
    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
