"""Bundles: what is packed comes back byte by byte; an archive that is not ours puts nothing anywhere."""

from __future__ import annotations

import gzip
import io
import json
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.commands.request import saved_spec
from orchestrator.errors import NotFound, StoreError, SweepError
from orchestrator.report import bundle
from orchestrator.report.bundle import MANIFEST, opened, pack, unpack
from orchestrator.report.dossier import Dossier
from orchestrator.store import Store
from tests.drawn import ODD, run


@pytest.fixture(scope="module")
def dossier(tmp_path_factory: pytest.TempPathFactory) -> Dossier:
    folder = tmp_path_factory.mktemp("bundles")
    name = run(folder, ODD)
    store = Store.at(folder / "runs")
    return Dossier.of(store, name, saved_spec(store, name), folder)


@pytest.fixture(scope="module")
def packed(dossier: Dossier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "odd.zip"
    pack(dossier, path)
    return path


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_bundle_holds_everything_and_no_weights(packed: Path) -> None:
    names = set(members(packed))
    assert {"report.html", "claims.txt", "claims.json", "store.json", "nodes/rows/bundle.jsonl", MANIFEST} < names
    assert {f"figures/bars.{form}" for form in ("svg", "pdf", "png")} < names
    assert {f"tables/distance.{form}" for form in ("md", "csv", "tex", "html", "json", "parquet", "txt")} < names
    assert {"sweeps/odd/spec.yaml", "sweeps/odd/plan.json", "records/odd/trials.parquet"} < names
    assert not [name for name in names if "safetensors" in name]


def test_packed_again_as_tar_it_holds_the_same_bytes(dossier: Dossier, packed: Path, tmp_path: Path) -> None:
    pack(dossier, tmp_path / "odd.tar.gz")
    for path, folder in ((packed, tmp_path / "a"), (tmp_path / "odd.tar.gz", tmp_path / "b")):
        folder.mkdir()
        assert unpack(path, folder) == "odd"
    for path in sorted(item for item in (tmp_path / "a").rglob("*") if item.is_file()):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_an_opened_bundle_is_a_store(packed: Path, dossier: Dossier) -> None:
    with opened(str(packed), "nowhere") as (store, name):
        again = Dossier.of(store, name, saved_spec(store, name), Path("nowhere"))
        assert again.outcomes.keys() == dossier.outcomes.keys()
        assert again.failures.keys() == dossier.failures.keys()
        assert again.records.equals(dossier.records)
        root = store.root
    assert not root.exists()


ATTACKS = ["../evil", "a/../../evil", "/evil", "a//b", "./a", "C:\\evil", "a\\..\\evil", "a/", "..", "a\0b", "c:evil"]


@pytest.mark.parametrize("name", ATTACKS)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    folder = tmp_path / "into"
    folder.mkdir()
    with pytest.raises(StoreError):
        unpack(path, folder)
    assert [item.name for item in tmp_path.iterdir()] in (["into", "evil.tar.gz"], ["evil.tar.gz", "into"])
    assert not Path("/evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "evil.tgz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    (tmp_path / "into").mkdir()
    with pytest.raises(StoreError, match="'link' is no plain file below the bundle"):
        unpack(path, tmp_path / "into")
    assert not list((tmp_path / "into").iterdir())


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    (tmp_path / "into").mkdir()
    with pytest.raises(StoreError, match="no plain file"):
        unpack(path, tmp_path / "into")


def changed(**files: bytes) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda found: found | {name.replace("__", "."): content for name, content in files.items()}


def without(name: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda found: {key: content for key, content in found.items() if key != name}


def manifest(**fields: object) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda found: found | {MANIFEST: json.dumps(json.loads(found[MANIFEST]) | fields).encode()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(report__html=b"other"), "damaged: report.html is not what was packed"),
        (changed(more=b"more"), "damaged: more is not what was packed"),
        (without("claims.txt"), "damaged: claims.txt is not what was packed"),
        (without(MANIFEST), "no bundle of a sweep, or damaged"),
        (changed(**{MANIFEST: b"{"}), "no bundle of a sweep, or damaged"),
        (changed(**{MANIFEST: b"[]"}), "no bundle of a sweep, or damaged"),
        (manifest(format=9), "a bundle of format 9; this version reads 1"),
        (manifest(name="../up"), "'../up' cannot be a sweep's name"),
    ],
)
def test_a_bundle_that_was_changed_is_refused(
    packed: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]], message: str
) -> None:
    path = zipped(tmp_path / "changed.zip", change(members(packed)))
    with pytest.raises(StoreError, match=r"changed\.zip: ") as caught, opened(str(path), "nowhere"):
        pass
    assert message in str(caught.value)


def test_a_cut_bundle_is_refused(packed: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.zip"
    path.write_bytes(packed.read_bytes()[:-2000])
    with pytest.raises(StoreError, match="or damaged"), opened(str(path), "nowhere"):
        pass
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(gzip.compress(b"no tar")[:-3])
    with pytest.raises(StoreError, match="or damaged"), opened(str(path), "nowhere"):
        pass


def test_a_file_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    (tmp_path / "into").mkdir()
    with pytest.raises(StoreError, match="'a' stands twice"):
        unpack(path, tmp_path / "into")


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "bomb.zip", {})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(9 << 20))
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(bundle, "MAX_BYTES", 4 << 20)
    (tmp_path / "into").mkdir()
    with pytest.raises(StoreError, match="when unpacked"):
        unpack(path, tmp_path / "into")


def test_names_of_bundles(dossier: Dossier, tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"its name must end with \.zip, \.tar\.gz, \.tgz"):
        pack(dossier, tmp_path / "odd.rar")
    with pytest.raises(NotFound, match="no such file"), opened(str(tmp_path / "odd.zip"), "nowhere"):
        pass
