"""What a store keeps of a sweep file: enough to read the same sweep again when the file is gone or has changed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.sweepfile.paths import copied
from orchestrator.sweepfile.yamltext import write

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec


def saved_files(spec: SweepSpec) -> dict[str, bytes]:
    """Files by their names beside each other: `spec.yaml`, and what tables and figures read.

    A file that extends others is written whole, as it came out; the files that it came from are kept beside it. All as
    they were when the sweep was planned, which may be long ago: it may have waited for others.
    """
    document = spec.document
    value = copied(document.value)
    found: dict[str, Path] = {}
    for raw, source in _papers(spec, value):
        if found.setdefault(raw["paper"], source) != source:  # another file of that name, beside another sweep file
            raw["paper"] = next(name for n in count(2) if (name := f"{n}-{source.name}") not in found)
            found[raw["paper"]] = source
    papers = {name: path.read_bytes() for name, path in found.items() if path.is_file()}
    if len(document.files) < 2:
        return {"spec.yaml": document.contents[document.path], **papers}
    text = f"# {document.path.name} with what it extends: {', '.join(path.name for path in document.files[1:])}\n"
    originals = {
        f"original-{place}-{path.name}": document.contents[path] for place, path in enumerate(document.files, 1)
    }
    return {"spec.yaml": (_printable(text) + write(value)).encode(), **papers, **originals}


def _papers(spec: SweepSpec, value: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Path]]:
    """Everything that names a file of published values, as written, and the file."""
    for section in ("tables", "figures"):
        for name, item in (value.get(section) or {}).items():
            if item.get("paper"):
                yield item, spec.document.folder((section, name, "paper")) / item["paper"]


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
