"""Ray Tune over the frontier: one Tune trial is one group of nodes; the only module that knows Ray.

A `Searcher` hands out what the frontier has ready; the trainable executes a group in a thread and its `step` returns
whenever nodes finish, so that dependants are released at once and live metrics travel in Tune's own results.
Nothing is ever restored from Tune: after a crash the plan minus the store is what is left.
"""

from __future__ import annotations

import os
import queue
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Read by Ray when it is imported or when a run starts.
os.environ.update(
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",  # five files a trial, three times the cost, and nobody reads them
    TUNE_GLOBAL_CHECKPOINT_S="1000000000",  # nothing is restored from Tune, so it need not snapshot its state
    RAY_CHDIR_TO_TRIAL_DIR="0",
    RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS="0",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_DEDUP_LOGS="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
)

import ray
from ray import tune
from ray.tune.search import Searcher

from orchestrator.events import Event, NodeDone, NodeFailed
from orchestrator.execute import Executor
from orchestrator.frontier import Frontier, Group
from orchestrator.provenance import provenance
from orchestrator.resources import Packing, Resources
from orchestrator.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP_SECONDS = 1.0  # how long a step waits before it reports what was logged so far


class _GroupTrainable(tune.Trainable):
    """Executes groups, one after the other, in a process that stays warm."""

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        for entry in config["path"]:
            if entry not in sys.path:
                sys.path.append(entry)
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        threading.Thread(target=self._execute, args=(config,), daemon=True, name="execute").start()

    def _execute(self, config: dict[str, Any]) -> None:
        try:
            executor = Executor(
                Store(Path(config["store"])),
                Path(config["data"]),
                config["device"],
                config["provenance"],
                self._events.put,
                config["share"],
            )
            executor.run(config["group"])
            self._crash = None
        except BaseException:  # such as a full disk: the driver must hear of it
            self._crash = traceback.format_exc()
        self._events.put(None)

    def step(self) -> dict[str, Any]:
        """What happened since the last step; at once when a node finishes, else after a second."""
        events: list[Event] = []
        ended = finished = False
        deadline = time.monotonic() + STEP_SECONDS
        while not (ended or (finished and self._events.empty())):
            try:
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if event is None:
                ended = True
            else:
                events.append(event)
                finished = finished or isinstance(event, NodeDone | NodeFailed)
        return {"events": events, "num_events": len(events), "crash": self._crash if ended else None, "done": ended}


class _FrontierSearcher(Searcher):
    """Ray Tune's view of the frontier."""

    def __init__(self, frontier: Frontier, payload: Mapping[str, Any]) -> None:
        super().__init__(metric="num_events", mode="max")
        self._frontier = frontier
        self._payload = payload
        self._groups: dict[str, Group] = {}

    def suggest(self, trial_id: str) -> Any:
        """A group; None while all that is left waits; FINISHED at the end."""
        if self._frontier.finished:
            return Searcher.FINISHED
        group = self._frontier.next()
        if group is None:
            return Searcher.FINISHED if self._frontier.finished else None
        self._groups[trial_id] = group
        return {**self._payload, "group": group}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        for event in result["events"]:
            self._frontier.record(event)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if result and not error:
            self.on_trial_result(trial_id, result)
        group = self._groups.pop(trial_id, None)
        if group is not None:
            crash = (result or {}).get("crash")
            self._frontier.lost(group, crash or "the worker process ended before the node was finished")

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles the searcher for a restore that we never do."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: see the module's docstring."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see the module's docstring."""


@contextmanager
def _ray(resources: Resources, packing: Packing) -> Iterator[None]:
    """Ray, quiet; an embedded one is ended with us, a running one is left."""
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if resources.address:
        ray.init(address=resources.address, **common)
    else:
        ray.init(
            address="local",
            num_cpus=packing.workers * packing.threads,
            num_gpus=packing.gpus,
            include_dashboard=False,
            object_store_memory=200 * 2**20,
            **common,
        )
    try:
        yield
    finally:
        ray.shutdown()


def schedule(frontier: Frontier, store: Store, data_dir: Path, resources: Resources, packing: Packing) -> None:
    """Run the frontier to its end on Ray."""
    payload = {
        "store": str(store.root),
        "data": str(data_dir.absolute()),
        "device": resources.device,
        "share": packing.gpus_per_worker or 1.0,
        "provenance": provenance(),
        "path": [entry or os.getcwd() for entry in sys.path],
    }
    with _ray(resources, packing), tempfile.TemporaryDirectory(prefix="sweep-tune-") as folder:
        tune.Tuner(
            tune.with_resources(_GroupTrainable, {"cpu": packing.threads, "gpu": packing.gpus_per_worker}),
            tune_config=tune.TuneConfig(
                search_alg=_FrontierSearcher(frontier, payload),
                num_samples=sys.maxsize,
                # One more than can run, so that a worker finds its next group made; arrays grow by waiting.
                max_concurrent_trials=packing.workers + (not packing.arrays.on),
                reuse_actors=True,
                metric="num_events",
                mode="max",
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="run",
                storage_path=folder,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    if not frontier.finished:  # Tune has taken a Ctrl-C for itself and returned as if all were well
        raise KeyboardInterrupt
