"""`sweep data fetch`, through torchvision's own download, from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy
import pytest

from orchestrator.cli import main
from workloads.datasets import check
from workloads.datasets.published import Published

FOLDER = "cifar-100-python"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the screen."""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A published data set of two images, in the form of CIFAR-100."""
    images = {"data": numpy.zeros((2, 3072), dtype=numpy.uint8), "fine_labels": [0, 1]}
    files = {"train": images, "test": images, "meta": {"fine_label_names": ["a", "b"]}}
    path = tmp_path / "served" / "cifar-100-python.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            raw = pickle.dumps(content)
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size = len(raw)
            tar.addfile(entry, io.BytesIO(raw))
    return path


@pytest.fixture
def published(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """torchvision's CIFAR-100 and ours are that archive, at an address of this machine."""
    import torchvision

    with tarfile.open(archive) as tar:
        sums = {item.name.split("/")[1]: hashlib.md5(tar.extractfile(item).read()).hexdigest() for item in tar}  # pyright: ignore[reportOptionalMemberAccess]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=archive.parent))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = torchvision.datasets.CIFAR100
    monkeypatch.setattr(source, "url", f"http://127.0.0.1:{server.server_port}/{archive.name}")
    monkeypatch.setattr(source, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(source, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(source, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(source, "meta", source.meta | {"md5": sums.pop("meta")})
    monkeypatch.setitem(check.KNOWN, "cifar100", Published(FOLDER, sums, "CIFAR100"))
    yield archive
    server.shutdown()
    server.server_close()


def fetch(name: str, folder: Path) -> int:
    return main(["data", "fetch", name, "--data", str(folder)])


def test_what_is_fetched_is_checked_and_not_fetched_again(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert fetch("cifar100", tmp_path / "data") == 0
    assert "2 files, md5 as published" in capsys.readouterr().out
    published.unlink()
    assert fetch("cifar100", tmp_path / "data") == 0, "it asks for nothing that is there"
    (tmp_path / "data" / FOLDER / "train").write_bytes(b"damaged")
    assert fetch("cifar100", tmp_path / "data") == 0, "torchvision keeps the archive and unpacks it again"


def test_a_download_that_fails_or_differs_is_said(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content = published.read_bytes()
    published.write_bytes(content + b"more")
    assert fetch("cifar100", tmp_path / "first") == 2
    assert "cifar100 could not be fetched: " in capsys.readouterr().err
    published.unlink()
    assert fetch("cifar100", tmp_path / "second") == 2
    assert "404" in capsys.readouterr().err


def test_what_has_no_download_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert fetch("digits", tmp_path) == 0
    assert fetch("cinic10", tmp_path) == 2
    assert "unpack it there" in capsys.readouterr().out
    assert fetch("cifar11", tmp_path) == 2
    assert "did you mean 'cifar1" in capsys.readouterr().err
