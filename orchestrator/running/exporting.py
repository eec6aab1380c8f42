"""`sweep export`: what is missing of sweeps as a package for `python -m workloads run`."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.context import START, WEIGHTS, load_input
from orchestrator.errors import DataError, SweepError
from orchestrator.plan import Plan
from orchestrator.planning.needs import needed
from orchestrator.planning.node import InputRef, Node
from orchestrator.running.provenance import provenance
from orchestrator.storage import index
from orchestrator.store import Damaged, Outcome, Store
from orchestrator.sweepfile.inputs import Part
from workloads.alone.package import (
    FORMAT,
    NODES,
    Code,
    Finished,
    Package,
    PackageError,
    PackageNode,
    Reference,
    code_digest,
    dump,
    parts,
    verified,
)
from workloads.contract import Config, Workload, load_workload

MISSING = "missing"  # the fingerprint of data that is known by its content and is not there


def export(plans: Sequence[Plan], store: Store, folder: Path, data_dir: Path) -> str:
    """Write what is missing of `plans`, and the files of the finished nodes it starts from; returns what was written.

    Raises:
        SweepError: the folder is in use, data is needed for a key and not there, or a file of the store is damaged.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SweepError(f"{folder}: not an empty folder; name another one")
    nodes: dict[str, Node] = {}
    for plan in plans:
        todo = needed(plan, index.known(store, plan.nodes))
        refuse_unknown(plan, todo, data_dir)
        nodes.update({key: node for key, node in plan.nodes.items() if key in todo})
    if not nodes:
        return "nothing is missing: nothing is written"
    behind = _Behind(store)
    try:
        for ref in (ref for node in nodes.values() for ref in node.inputs.values()):
            if ref.key not in nodes:
                behind.add_input(ref)
    except Damaged as error:
        raise SweepError(
            f"{error}; what is to be exported needs its weights: import them (`python -m workloads run --weights all`),"
            " or let `sweep run` compute it again"
        ) from error
    code = provenance()
    package = Package(
        format=FORMAT,
        code=Code(commit=str(code["commit"]), dirty=bool(code["dirty"]), digest=code_digest()),
        nodes=[_packaged(node, data_dir) for node in nodes.values()],
        finished=[*behind.finished()],
    )
    _write(package, store, folder)
    return f"{folder}: {len(nodes)} nodes to compute, {len(package.finished)} finished ones that they start from"


def _parsed(node: Node) -> tuple[Workload, Config]:
    workload = load_workload(node.workload)
    return workload, workload.config.model_validate_json(json.dumps(node.config))


def refuse_unknown(plan: Plan, todo: Iterable[str], data_dir: Path) -> None:
    """Data known by a published checksum may be missing here; data known by its content has no key without it.

    Raises:
        DataError: such data is missing.
    """
    lacking = dict.fromkeys(
        sentence
        for key in todo
        if key in plan.missing_data and MISSING in parts(*_parsed(plan.nodes[key]), data_dir).values()
        for sentence in plan.missing_data[key]
    )
    if lacking:
        raise DataError("\n".join(lacking))


def _packaged(node: Node, data_dir: Path) -> PackageNode:
    workload, config = _parsed(node)
    return PackageNode(
        key=node.key,
        label=node.label,
        workload=node.workload,
        config=_plain(node.config),
        seed=node.seed,
        inputs={role: Reference(key=ref.key, part=ref.part) for role, ref in node.inputs.items()},
        siblings=node.siblings,
        array=node.array,
        parts=parts(workload, config, data_dir),
    )


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it: what is compared when results come back."""
    return json.loads(json.dumps(config))


@dataclass
class _Behind:
    """The finished nodes behind a package: their outcomes, and which of their files are needed."""

    store: Store
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    files: dict[str, set[str]] = field(default_factory=dict)

    def add_input(self, ref: InputRef) -> None:
        """A workload may ask an input for its weights and for what they were at the start."""
        self._add(ref.key, "end")
        self._add(ref.key, "start")

    def _add(self, key: str, part: Part) -> None:
        if key not in self.outcomes:
            self.outcomes[key] = load_input(self.store, key, part).outcome
        outcome = self.outcomes[key]
        wanted = self.files.setdefault(key, set())
        if part == "end":
            wanted |= {WEIGHTS} & outcome.files.keys()
        elif outcome.start is None:
            wanted |= {START} & outcome.files.keys()
        else:
            below, _, its_part = outcome.start.partition(".")
            self._add(below, "start" if its_part else "end")

    def finished(self) -> Iterable[Finished]:
        for key, outcome in self.outcomes.items():
            yield Finished(
                key=key,
                workload=outcome.workload,
                config=_plain(outcome.config),
                seed=outcome.seed,
                metrics=dict(outcome.metrics),
                start=outcome.start,
                files={name: outcome.files[name] for name in sorted(self.files[key])},  # pyright: ignore[reportArgumentType]
            )


def _write(package: Package, store: Store, folder: Path) -> None:
    """The whole package or nothing."""
    temporary = folder.parent / f".{folder.name}-{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir(parents=True)
        for item in package.finished:
            if item.files and (outcome := store.outcome(item.key)):
                store.bring(outcome, item.files)
            for name, digest in item.files.items():
                (temporary / "inputs" / item.key).mkdir(parents=True, exist_ok=True)
                (temporary / "inputs" / item.key / name).write_bytes(
                    verified(store.node_folder(item.key) / name, digest)
                )
        (temporary / NODES).write_text(dump(package))
        temporary.rename(folder)
    except OSError as error:
        raise SweepError(f"{folder}: {error.strerror or error}") from error
    except PackageError as error:
        raise SweepError(str(error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
