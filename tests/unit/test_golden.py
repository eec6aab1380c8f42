"""Keys, defaults and columns are pinned: they change on purpose, in a reviewed diff of tests/golden/pins.json."""

from __future__ import annotations

import json

import pytest

from tests.golden.pins import PINS, current


@pytest.mark.parametrize("kind", ["keys", "columns", "defaults"])
def test_pinned(kind: str):
    assert current()[kind] == json.loads(PINS.read_text(encoding="utf-8"))[kind], (
        "if this change is meant, raise the VERSION of what changed, then run: python tests/golden/pins.py"
    )
