"""Ray Tune over the frontier: one Tune trial is one group of nodes; the only module that knows Ray.

A `Searcher` hands out what the frontier has ready; the trainable executes a group in a thread and its `step` returns
whenever nodes finish, so that dependants are released at once and live metrics travel in Tune's own results.
Nothing is ever restored from Tune: after a crash the plan minus the store is what is left. Tune runs in a thread of its
own: signals and a Ray that has died must be noticed however long it waits for something.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
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
    RAY_prestart_worker_first_driver="0",  # trials are actors with processes of their own: those would idle
    RAY_DEDUP_LOGS="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
)

import ray
from ray import cloudpickle, tune
from ray._private import services
from ray._private import worker as ray_worker
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.errors import SweepError
from orchestrator.frontier import Frontier
from orchestrator.running.conductor import Conductor
from orchestrator.running.provenance import provenance
from orchestrator.running.pulse import Pulse
from orchestrator.running.resources import Packing, Resources
from orchestrator.running.stopping import GRACE, Interrupted, Stopping
from orchestrator.running.worker import Worker
from orchestrator.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALIVE = 0  # the state of a node, as Ray numbers them
ASK_SECONDS = 60.0


class _GroupTrainable(tune.Trainable):
    """Executes groups, one after the other, in a process that stays warm."""

    def setup(self, config: dict[str, Any]) -> None:
        self._worker = Worker()
        self._worker.begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._worker.begin(new_config)
        return True

    def leave(self) -> None:
        self._worker.leave(0.0)

    def step(self) -> dict[str, Any]:
        return self._worker.step()

    def cleanup(self) -> None:
        """Tune lets this process go, perhaps in the middle of a group."""
        self._worker.leave(GRACE)


class _Conductor(Conductor, tune.Callback):
    """The conductor as Tune calls it."""


class _FrontierSearcher(Searcher):
    """Ray Tune's view of the frontier."""

    def __init__(self, conductor: _Conductor) -> None:
        super().__init__(metric="num_events", mode="max")
        self._conductor = conductor

    def suggest(self, trial_id: str) -> Any:
        """A group; None while all that is left waits; FINISHED at the end."""
        group = self._conductor.next(trial_id)
        return Searcher.FINISHED if group is None and self._conductor.finished else group

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the conductor is told, with more."""

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


def node_cores(address: str) -> tuple[float, ...]:
    """The CPUs of each node of a running Ray that has some.

    Raises:
        SweepError: it does not say.
    """
    try:
        extension: Any = sys.modules["ray._raylet"]
        client = extension.GcsClient(address=services.canonicalize_bootstrap_address_or_die(address))
        nodes = [*client.get_all_node_info(timeout=30).values()]
    except Exception as error:  # of many kinds
        raise SweepError(f"--address {address}: {_first_line(error)}") from error
    cores = [float(node.resources_total.get("CPU", 0.0)) for node in nodes if node.state == ALIVE]
    return tuple(sorted(own for own in cores if own >= 1))


def on_each_node(address: str, ask: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """What a function returns on each node of a running Ray, or the error that it ended with, by the node's address.

    The function travels with the whole module that it is of: that must need nothing but the standard library.

    Raises:
        SweepError: Ray cannot be used.
    """
    cloudpickle.register_pickle_by_value(sys.modules[ask.__module__])
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL"}
    try:
        ray.init(address=address, **common)
    except Exception as error:  # of many kinds
        raise SweepError(f"--address {address}: {_first_line(error)}") from error
    try:
        asked = {}
        for node in ray.nodes():
            if node["Alive"]:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                options: dict[str, Any] = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
                task: Any = ray.remote(**options)(ask)
                asked[node["NodeManagerAddress"]] = task.remote(*arguments)
        return {place: _answer(reference) for place, reference in asked.items()}
    finally:
        ray.shutdown()


def _answer(reference: Any) -> Any:
    try:
        return ray.get(reference, timeout=ASK_SECONDS)
    except Exception as error:  # what went wrong there is what was asked for
        return error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def schedule(
    frontier: Frontier, store: Store, data_dir: Path, resources: Resources, packing: Packing, stopping: Stopping
) -> None:
    """Run the frontier to its end on Ray.

    Raises:
        Interrupted: a stop was asked for.
        NotWritable: the store takes nothing any more.
        EngineLost: Ray has died.
    """
    payload = {
        "store": store.uri,
        "data": str(data_dir.absolute()),
        "host": socket.gethostname(),
        "device": resources.device,
        "share": packing.gpus_per_worker or 1.0,
        "provenance": provenance(),
        "path": [entry or os.getcwd() for entry in sys.path],
    }
    with _ray(resources, packing), tempfile.TemporaryDirectory(prefix="sweep-tune-", ignore_cleanup_errors=True) as at:
        stopping.listen()  # ray.init() has put a handler of its own in place
        conductor = _Conductor(frontier, payload, stopping, ray.kill, _piece(resources, packing))
        trainable = tune.with_resources(_GroupTrainable, _place(resources, packing))
        run = threading.Thread(
            target=conductor.run,
            args=(lambda: _tuner(trainable, packing, at, conductor).fit(),),
            name="tune",
            daemon=True,
        )
        run.start()
        node: Any = ray_worker._global_node
        pulse = Pulse(node.gcs_address, node.raylet_socket_name)
        while run.is_alive():
            run.join(0.2)
            pulse.check()
            if stopping.number is not None and stopping.overdue(2.0):  # Tune waits for something
                raise Interrupted(stopping.number)
    if conductor.error is not None:
        raise conductor.error


def _place(resources: Resources, packing: Packing) -> tune.PlacementGroupFactory:
    """What a worker takes, in one piece: a trial never has parts of two machines."""
    piece = {"CPU": packing.threads, "GPU": packing.gpus_per_worker}
    labels: dict[str, Any] = {"bundle_label_selector": [dict(resources.labels)]} if resources.labels else {}
    return tune.PlacementGroupFactory([piece], **labels)


def _piece(resources: Resources, packing: Packing) -> str:
    """The same in words."""
    gpus = [f"{packing.gpus_per_worker:g} GPU"] if packing.gpus else []
    labels = [f"{name}={value}" for name, value in resources.labels]
    return ", ".join([f"{packing.threads} CPU{'' if packing.threads == 1 else 's'}", *gpus, *labels])


def _tuner(trainable: Any, packing: Packing, folder: str, conductor: _Conductor) -> tune.Tuner:
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_FrontierSearcher(conductor),
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
            storage_path=tempfile.mkdtemp(dir=folder),
            verbose=0,
            callbacks=[conductor],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
