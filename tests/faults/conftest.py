"""The sweep that is disturbed, and what it makes where nothing disturbs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.processes import LONG, NETS, finish


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long enough for a machine that does much else: each of these starts several processes."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(400))


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    path = tmp_path / "nets.yaml"
    path.write_text(NETS)
    return path


@pytest.fixture
def long_nets(tmp_path: Path) -> Path:
    """Trainings that still go on when their fifth epoch is heard of."""
    path = tmp_path / "nets.yaml"
    path.write_text(LONG)
    return path


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "nets.yaml").write_text(NETS)
    finish(folder / "nets.yaml", folder / "store")
    return folder / "store"


@pytest.fixture(scope="session")
def undisturbed_long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Likewise, of the long trainings."""
    folder = tmp_path_factory.mktemp("undisturbed_long")
    (folder / "nets.yaml").write_text(LONG)
    finish(folder / "nets.yaml", folder / "store")
    return folder / "store"
