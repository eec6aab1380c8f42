"""What says that a folder, or a prefix of a bucket, is a store, and of which format."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.errors import StoreError

FORMAT = 1


def marker() -> str:
    """What says that a folder is a store."""
    return json.dumps({"format": FORMAT})


def check_format(root: Path) -> None:
    """Refuse a store of another format.

    Raises:
        StoreError: it is one.
    """
    try:
        found = json.loads((root / "store.json").read_text()).get("format")
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError) as error:
        raise StoreError(f"{root / 'store.json'}: not a store's marker ({error})") from error
    if found != FORMAT:
        raise StoreError(f"{root}: written in store format {found}; this version reads {FORMAT}")
