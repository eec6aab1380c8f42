"""What a path means on the machines of a cluster."""

from __future__ import annotations

from pathlib import Path

from orchestrator.storage.bucket import checked
from orchestrator.store import is_remote


def store_there(store: str) -> str:
    """The store as the cluster's machines are to find it: a folder under the path that it has here; one name for each.

    Raises:
        StoreError: it is neither a folder nor a bucket, or holds a secret.
    """
    text = store.removeprefix("file://")
    return checked(text).geturl().rstrip("/") if is_remote(text) else str(Path(text).expanduser().absolute())
