"""What says that a folder, or a prefix of a bucket, is a store, and of which format."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

from orchestrator.errors import StoreError
from orchestrator.storage.writing import NotWritable

FORMAT = 1
SEEN_SECONDS = 30.0  # a shared folder shows a new file after a while


def marker() -> str:
    """What says that a folder is a store."""
    return json.dumps({"format": FORMAT})


def local_folder(text: str) -> Path:
    """The folder that `--store` names.

    Raises:
        StoreError: it names none: an empty text, such as of a variable that is not set, is not the folder one is in.
    """
    if not text.strip():
        raise StoreError("--store: it is empty; allowed: a local folder, or s3://BUCKET/PREFIX")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:  # ~somebody
        raise StoreError(f"--store {text}: {error}") from None


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


def refuse_unseen(root: Path) -> None:
    """A worker on a machine that has another folder there, or none, would write where nobody looks.

    Raises:
        NotWritable: the driver has made the store, and this machine does not see it.
    """
    until = time.monotonic() + SEEN_SECONDS
    while not (root / "store.json").exists():
        if time.monotonic() > until:
            what = f"--store {root}: {socket.gethostname()} does not see it"
            raise NotWritable(f"{what}: share one folder with all machines, under one path")
        time.sleep(0.5)
