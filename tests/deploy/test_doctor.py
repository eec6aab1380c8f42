"""`sweep doctor` on what is really wrong: open ports, small disks, missing data, other code on a real node."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.doctor import nodes, ports, probe
from orchestrator.doctor.checks import Finding, Patient, check, examine
from orchestrator.doctor.probe import count_cards, describe
from orchestrator.storage import connection
from tests.deploy.rayhead import REPO, Head, ray_head
from tests.faults.test_disks import mounted
from tests.integration.servers import free_port, wait_for

CLEAN = {"RAY_AUTH_MODE": "token"}


def doctor(*arguments: object, home: Path, **environment: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code, and what was found."""
    command = [sys.executable, "-m", "orchestrator.cli", "doctor", "--json", *map(str, arguments)]
    own = {**os.environ, "PYTHONPATH": str(REPO), "HOME": str(home), **CLEAN, **environment}
    done = subprocess.run(command, cwd=home, env=own, capture_output=True, text=True, timeout=200)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def wrong(found: list[dict[str, Any]], name: str) -> list[str]:
    """What is to be mended, with how, by one check."""
    return [f"{item['what']} -> {item['mend']}" for item in found if item["check"] == name and not item["well"]]


def test_all_is_well(tmp_path: Path) -> None:
    code, found = doctor("--store", tmp_path / "runs", home=tmp_path)
    assert not [item for item in found if item["check"] not in ("open_ports", "gpu") and not item["well"]]
    assert code == any(not item["well"] for item in found)
    assert next(item for item in found if item["check"] == "store")["what"].endswith("GB free")
    assert not [*tmp_path.rglob(".doctor-*")]


@contextmanager
def serving(folder: Path, host: str, *options: str) -> Iterator[int]:
    """A real MLflow."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--host", host, "--port", str(port), "--workers", "1", *options]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "log", "ab") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        wait_for(lambda: "Application startup complete" in (folder / "log").read_text())
        yield port
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=30)


@pytest.mark.slow
@pytest.mark.mlflow
def test_a_port_that_is_open_to_the_world(tmp_path: Path) -> None:
    for host, told in (("0.0.0.0", 1), ("127.0.0.1", 0)):
        folder = tmp_path / host
        folder.mkdir()
        with serving(folder, host) as port:
            code, found = doctor("--store", tmp_path / "runs", home=tmp_path)
            said = [text for text in wrong(found, "open_ports") if f":{port} " in text]
            assert len(said) == told
            assert all("asks nobody who calls" in text and "mlflow.sh" in text for text in said)
            assert code == 1 or not told
            found = doctor("--tracking-uri", f"http://127.0.0.1:{port}", home=tmp_path)[1]
            assert not wrong(found, "tracking")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("postgresql+psycopg2://me@127.0.0.1/mlflow", "psycopg2 is not installed -> pip install"),
        ("http://me:secret@127.0.0.1:1", "holds a password"),
        ("http://127.0.0.1:1", "does not answer"),
        ("http://127.0.0.1:99999", "out of range"),
    ],
)
def test_a_tracking_uri_that_will_not_do(tmp_path: Path, uri: str, said: str) -> None:
    code, found = doctor("--tracking-uri", uri, home=tmp_path)
    assert code == 1
    assert said in wrong(found, "tracking")[0]
    assert "secret" not in str(found)


class Forbidding(http.server.BaseHTTPRequestHandler):
    """Says what MLflow says to whoever calls it by a name that it does not allow, with passwords or without."""

    def do_GET(self) -> None:
        self.send_error(403)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_who_refuses_a_name_only_is_not_guarded() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Forbidding) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = ("127.0.0.1", server.server_port)
        assert not ports.is_guarded(psutil.Process(), "MLflow", place)
        assert ports.is_guarded(psutil.Process(), "Ray", place), "Ray says it to a wrong token"
        server.shutdown()


def test_ports_of_others_are_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "listening", lambda: [(("0.0.0.0", 8265), None), (("0.0.0.0", 22), None)])
    said = [finding.what for finding in ports.open_ports(Patient())]
    assert said[0].endswith("only root can see: 22, 8265")
    assert said[1] == "no port of Ray or MLflow of this user's is open to other machines"


def test_a_store_that_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "runs", "/proc/runs"):
        code, found = doctor("--store", place, home=tmp_path)
        assert code == 1
        assert "cannot be written" in wrong(found, "store")[0]


def test_a_store_on_a_disk_that_is_full_or_nearly_so(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 1) as disk:
        code, found = doctor("--store", disk / "runs", home=tmp_path)
        assert code == 1
        assert "0.0 GB free -> free space" in wrong(found, "store")[0]
        (disk / "full").write_bytes(b"x" * 2**20)
        code, found = doctor("--store", disk / "runs", home=tmp_path)
        assert code == 1
        assert "No space left on device" in wrong(found, "store")[0]
        assert {path.name for path in disk.iterdir()} == {"full"}


def test_data_sets_that_are_missing_or_damaged(tmp_path: Path) -> None:
    code, found = doctor("--data", tmp_path / "nowhere", home=tmp_path)
    assert code == 1
    assert "no such folder" in wrong(found, "data_sets")[0]
    (tmp_path / "data").mkdir()
    code, found = doctor("--data", tmp_path / "data", home=tmp_path)
    said = {text.split(":")[0] for text in wrong(found, "data_sets")}
    assert code == 1
    assert {"data set mnist", "data set cifar10", "data set cifar100"} <= said
    assert "data set digits" not in said


def test_a_token_that_others_may_read(tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    path = tmp_path / ".ray" / "auth_token"
    path.write_text("0" * 64)
    path.chmod(0o644)
    code, found = doctor(home=tmp_path)
    assert code == 1
    assert wrong(found, "token") == [f"token {path}: mode 644 -> others may read it: chmod 600 {path}"]
    path.chmod(0o600)
    assert not wrong(doctor(home=tmp_path)[1], "token")
    assert "RAY_AUTH_TOKEN_PATH" in wrong(doctor(home=tmp_path, RAY_AUTH_TOKEN_PATH="/nowhere")[1], "token")[0]
    assert "0" * 64 not in str(found)


def test_cards_are_counted_by_their_maker_and_kind(tmp_path: Path) -> None:
    for name, maker, kind in (("a", "0x10de", "0x030200"), ("b", "0x10de", "0x0c0330"), ("c", "0x8086", "0x030000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{maker}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    (tmp_path / "broken").mkdir()
    assert count_cards(tmp_path) == 1


def test_what_a_node_lacks_is_told_of_that_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, data, mark = tmp_path / "store", tmp_path / "data", "mark"
    for folder in (store, data):
        folder.mkdir()
    (store / mark).touch()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    own = describe(None, None)
    whole = describe(str(store), mark, str(data))

    def wrong(said: dict[str, Any]) -> list[str]:
        found = nodes.compare(own, {"10.0.0.5": whole, "10.0.0.6": said}, str(store), str(data))
        return [item.what for item in found if not item.well]

    assert wrong(whole) == []
    monkeypatch.setattr(probe, "count_cards", lambda devices: 8)
    monkeypatch.setattr(probe, "has_driver", lambda: False)
    monkeypatch.setattr(nodes, "LEAST", 2**60)
    lacking = wrong(describe(str(store), "another folder's", str(data / "nowhere")))
    assert lacking[1] == "node 10.0.0.6: 8 NVIDIA GPUs without a driver", lacking
    assert f"GB free in {tmp_path}, where Ray writes" in lacking[2]
    assert lacking[3:] == [
        f"store {store}: is another folder, or none on node 10.0.0.6",
        f"data {data}: no such folder on node 10.0.0.6",
    ]


def test_a_bucket_is_asked_from_each_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has not the credentials, or does not reach it, ends a run: as a worker there would say it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "not-to-be-seen")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(connection, "FIRST_SECONDS", 0.1)
    monkeypatch.setattr(connection, "_connections", [])
    said = describe("s3://bucket/x", None)
    found = [*nodes.compare(describe(None, None), {"10.0.0.6": said}, "s3://bucket/x")]
    [wrong] = [item for item in found if not item.well]
    assert wrong.what.startswith("store s3://bucket/x: cannot be used from node 10.0.0.6: at http://127.0.0.1:9: does")
    assert "not-to-be-seen" not in str(found)
    assert not [item for item in found if "all nodes see it" in item.what]


def test_a_check_is_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.doctor import checks

    monkeypatch.setattr(checks, "_CHECKS", {})

    @check
    def moon(patient: Patient) -> Iterator[Finding]:
        yield Finding("no moon", "wait")
        raise ValueError("clouds")

    found = [item for item in examine(Patient()) if item.check == "moon"]
    assert [item.what for item in found] == ["no moon", "moon: ValueError: clouds"]
    assert str(found[0]) == "to mend  no moon\n         -> wait"


@pytest.mark.parametrize("arguments", [["--store", "http://x"], ["--nonsense"], ["--data"]])
def test_a_wrong_request(tmp_path: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "orchestrator.cli", "doctor", *arguments]
    refused = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=100)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def old_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A real node with another torch and other code of ours than here."""
    other = tmp_path_factory.mktemp("other")
    for package in ("orchestrator", "workloads"):
        shutil.copytree(REPO / package, other / package, ignore=shutil.ignore_patterns("__pycache__"))
    (other / "orchestrator" / "run.py").write_text("raise RuntimeError('an old checkout')\n")
    (other / "torch-1.13.0.dist-info").mkdir()
    (other / "torch-1.13.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.13.0\n")
    with ray_head(path=other) as made:
        yield made


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_node_that_differs(old_head: Head, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    theirs = {name: old_head.environment()[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")}
    asked = ("--address", old_head.gcs, "--store", store, "--data", tmp_path / "no")
    code, found = doctor(*asked, home=tmp_path, **theirs)
    assert code == 1
    said = wrong(found, "cluster")
    assert len(said) == 3, found
    assert any(text.startswith(f"data {tmp_path / 'no'}: no such folder on node ") for text in said)
    assert any(text.startswith("torch: ") and "1.13.0 on " in text for text in said)
    assert any(text.startswith("code: ") and "bring the same checkout" in text for text in said)
    well = [item["what"] for item in found if item["check"] == "cluster" and item["well"]]
    assert any(text.startswith("ray: ") for text in well)
    assert f"store {store}: all nodes see it" in well
    assert not [*store.iterdir()]

    code, found = doctor("--address", old_head.dashboard, "--store", store, home=tmp_path, **theirs)
    by_head = [item for item in found if item["host"] == "head"]
    assert by_head, found
    assert not [item for item in by_head if item["what"].startswith("code:") and not item["well"]], "it was sent"
    assert any(item["check"] == "store" for item in by_head)

    for address in (old_head.gcs, old_head.dashboard):
        code, found = doctor("--address", address, home=tmp_path, RAY_AUTH_TOKEN="0" * 64)
        assert code == 1
        assert len(wrong(found, "cluster")) == 1
        assert "token" in wrong(found, "cluster")[0]
    code, found = doctor("--address", f"127.0.0.1:{free_port()}", home=tmp_path)
    assert "no Ray answers there" in wrong(found, "cluster")[0]
