"""Everything that a report is made of, read from the store once: spec, records, nodes, failures, where they ran."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import record
from orchestrator.figures.source import NODE, Source
from orchestrator.storage import index
from orchestrator.store import Failure, Outcome, Store

if TYPE_CHECKING:
    import pyarrow

    from orchestrator.spec import SweepSpec

FACTS = "facts.json"
TIMES = frozenset({"started", "finished", "resumed_at", "checkpoint"})
ABOUT = frozenset({"kind", "work"})  # what forecasts need, no provenance
UNFINISHED = ("missing", "failed", "skipped")


@dataclass(frozen=True)
class Dossier:
    """A sweep of a store.

    Attributes:
        saved: What `sweep run` kept of the request: file, scale, set.
        data_dir: Where data sets lie, for fingerprints of files of one's own.
    """

    name: str
    spec: SweepSpec
    store: Store
    records: pyarrow.Table
    saved: Mapping[str, Any]
    data_dir: Path

    @classmethod
    def of(cls, store: Store, name: str, spec: SweepSpec, data_dir: Path) -> Dossier:
        """The sweep `name` as the store has it now.

        Raises:
            NotFound: there are no records.
        """
        folder = store.sweep_folder(name)
        records = record.read(store.records_folder(name))
        return cls(name, spec, store, records, json.loads((folder / "plan.json").read_text()), data_dir)

    @property
    def folder(self) -> Path:
        return self.store.sweep_folder(self.name)

    @cached_property
    def source(self) -> Source:
        return Source(self.records, self.store, self.name, self.folder)

    @cached_property
    def statuses(self) -> Counter[str]:
        return Counter(self.source.column("status"))

    @property
    def trials(self) -> int:
        return self.records.num_rows

    @property
    def partial(self) -> str:
        """What is not there yet, "" for a sweep that is whole."""
        if not self.trials:
            return "no trials"
        parts = [f"{self.statuses[what]} {what}" for what in UNFINISHED if self.statuses[what]]
        return f"{', '.join(parts)} of {self.trials} trials" if parts else ""

    @cached_property
    def labels(self) -> list[str]:
        """The stages, and measures of stages, that trials have nodes of."""
        return [name.removeprefix(NODE) for name in self.records.column_names if name.startswith(NODE)]

    @cached_property
    def uses(self) -> dict[str, Counter[str]]:
        """By label, how many trials use each node."""
        return {
            label: Counter(key for key in self.source.column(f"{NODE}{label}") if key is not None)
            for label in self.labels
        }

    @cached_property
    def outcomes(self) -> Mapping[str, Outcome]:
        """The finished nodes."""
        return dict(index.look(self.store, {key for counts in self.uses.values() for key in counts}))

    @cached_property
    def failures(self) -> dict[str, Failure]:
        """The nodes that failed and are not finished, by key."""
        if not (self.store.root / "failed").is_dir():
            return {}
        keys = [key for counts in self.uses.values() for key in counts if key not in self.outcomes]
        found = {key: self.store.failure(key) for key in dict.fromkeys(keys)}
        return {key: failure for key, failure in found.items() if failure is not None}

    def label_of(self, key: str) -> str:
        return next((label for label, counts in self.uses.items() if key in counts), "")

    @cached_property
    def meta(self) -> dict[str, Counter[str]]:
        """Where and with what the nodes were computed: by field how many nodes have each value."""
        found: dict[str, Counter[str]] = {}
        for outcome in self.outcomes.values():
            for name, value in outcome.meta.items():
                if name not in TIMES | ABOUT:
                    found.setdefault(name, Counter())[str(value)] += 1
        return found

    @cached_property
    def versions(self) -> dict[str, Counter[str]]:
        """The libraries of the runs of the sweep: by name how many runs had each version."""
        found: dict[str, Counter[str]] = {}
        path = self.folder / "runs.jsonl"
        for line in path.read_text().splitlines() if path.is_file() else ():
            with suppress(ValueError, AttributeError):  # a line that was cut when its driver was killed
                for name, value in json.loads(line).get("tags", {}).items():
                    if name.startswith("version."):
                        found.setdefault(name.removeprefix("version."), Counter())[str(value)] += 1
        return found

    @cached_property
    def span(self) -> tuple[float, float] | None:
        """When the first node began and the last one ended, in unix seconds; None if none is finished."""
        began = [time for outcome in self.outcomes.values() if (time := _time(outcome, "started")) is not None]
        ended = [time for outcome in self.outcomes.values() if (time := _time(outcome, "finished")) is not None]
        return (min(began), max(ended)) if began and ended else None

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """The data sets that were used, with what identifies their content."""
        kept = self.folder / FACTS
        if kept.is_file():
            return json.loads(kept.read_text())["fingerprints"]
        found: dict[str, str] = {}
        configs = {json.dumps([item.workload, item.config], sort_keys=True): item for item in self.outcomes.values()}
        for outcome in configs.values():
            for name, fingerprint in _datasets(outcome, self.data_dir):
                found.setdefault(name, fingerprint)
        return dict(sorted(found.items()))

    @property
    def text(self) -> str:
        """The sweep file as it was run."""
        return (self.folder / "spec.yaml").read_text(encoding="utf-8-sig")

    @property
    def remarks(self) -> str:
        """The comment at the head of the sweep file; of one that extends others, its own."""
        own = next(iter(sorted(self.folder.glob("original-1-*"))), self.folder / "spec.yaml")
        lines = []
        for line in own.read_text(encoding="utf-8-sig").splitlines():
            if not (found := re.match(r"#\s?(.*)", line)):
                break
            if not found[1].startswith("yaml-language-server:"):  # is for editors
                lines.append(found[1].strip())
        return " ".join(lines).strip()


def _time(outcome: Outcome, name: str) -> float | None:
    value = outcome.meta.get(name)
    return float(value) if isinstance(value, int | float) else None


def _datasets(outcome: Outcome, data_dir: Path) -> Iterator[tuple[str, str]]:
    """The data sets of a node's config; what cannot be known here is said in the fingerprint's place."""
    from workloads.contract import DatasetConfig, load_workload, walk

    try:
        config = load_workload(outcome.workload).config.model_validate_json(json.dumps(outcome.config))
        parts = [part for _, part in walk(config) if isinstance(part, DatasetConfig)]
    except (ImportError, LookupError, TypeError, ValueError) as error:  # a workload that is not on the path from here
        raw = outcome.config.get("data")
        if isinstance(raw, Mapping):
            yield str(raw.get("name")), f"not known here: {error}".splitlines()[0]
        return
    for part in parts:
        try:
            yield str(getattr(part, "name", type(part).__name__)), part.fingerprint(data_dir)
        except Exception as error:  # its file is not here: whatever it raises
            yield str(getattr(part, "name", type(part).__name__)), f"not known here: {error}".splitlines()[0]
