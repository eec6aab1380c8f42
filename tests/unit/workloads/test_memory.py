"""Memory is estimated before a start and respected; where it runs out all the same, the array halves and goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contract.here import Here
from workloads import train
from workloads.contract import Hardware, Job, Result
from workloads.datasets import Digits
from workloads.events import Record
from workloads.models import MLP, ResNet18
from workloads.optimizers import SGD, Group, Langevin
from workloads.regularizers import NormBias
from workloads.train import Stop, TrainConfig
from workloads.training import memory
from workloads.training.array import Array
from workloads.training.pool import Pool
from workloads.training.slot import begin
from workloads.training.step import Stepper

ROOT = Path(__file__).resolve().parents[3]


def config(**fields: Any) -> TrainConfig:
    defaults: dict[str, Any] = {
        "data": Digits(subset=64), "model": MLP(width=32), "optimizer": SGD(lr=0.05, momentum=0.9), "batch_size": 32,
        "stop": Stop(epochs=2),
    }  # fmt: skip
    return TrainConfig(**(defaults | fields))


def jobs(made: TrainConfig, count: int) -> list[Job]:
    return [Job(made, Here(seed=seed)) for seed in range(count)]


def needed(made: TrainConfig, size: int) -> int:
    return memory.needed(made, made.data.load(Path(), 0), size, own_images=True)


def test_the_estimate_grows_with_what_there_is():
    one = needed(config(), 1)
    assert needed(config(), 4) == pytest.approx(4 * one, rel=0.01)
    assert needed(config(batch_size=64), 1) > one
    assert needed(config(model=MLP(width=64)), 1) > one
    assert needed(config(precision="fp64"), 1) > one
    assert needed(config(batch_size="full"), 1) == needed(config(batch_size=64), 1)


def test_the_estimate_is_of_the_right_size():
    """Against what a step of a plain network allocates, as torch's profiler counts it."""
    made = config(model=ResNet18(width=16), batch_size=64)
    assert made.model is not None
    data = made.data.load(Path(), 0)
    model = made.model.build(data.shape, 10)
    made.start.apply(model, 0)  # pyright: ignore[reportAttributeAccessIssue]
    weights = sum(item.numel() for item in model.parameters()) * 4
    x = torch.rand(64, *data.shape)
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        outputs = model(x)
    assert outputs.requires_grad, "what it was computed from is still there"
    kept = sum(event.self_cpu_memory_usage for event in profile.key_averages())
    estimate = needed(made, 1) - memory.COPIES * weights
    assert kept < estimate < 4 * kept


def most_at_once(step: Stepper, rows: torch.Tensor) -> int:
    """The most bytes that a step holds beside what was there before."""
    step(rows, None)
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step(rows, None)
    recorded: Any = profile.profiler
    events = [event for event in recorded.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"regularizer": NormBias(mu2=1.0, weight=0.1)},
        {"optimizer": Langevin(lr=0.1, momentum=0.9, noise=0.1)},
        {"optimizer": SGD(lr=0.1, momentum=0.9, weight_decay=0.1, groups=(Group(match="bias", weight_decay=0.0),))},
    ],
    ids=["plain", "norm bias", "noise", "groups"],
)
def test_what_a_step_does_with_the_weights_is_counted(fields: dict[str, Any], precision: str):
    """Of a network whose weights outweigh everything else."""
    made = config(model=MLP(width=300, depth=3), batch_size=2, data=Digits(subset=8), precision=precision, **fields)
    array = Array(made, begin(Job(made, Here())).data, 2, False, "cpu")
    step = Stepper(array, frozenset({"lr", "momentum", "weight_decay", "noise"} & array.numbers.keys()))
    there = sum(item.nbytes for item in (array.network.weights, *array.state.values()))
    assert there + most_at_once(step, torch.arange(2).repeat(2, 1)) < 1.02 * needed(made, 2)


def test_the_estimate_counts_a_look_at_all_images_where_a_step_takes_less():
    widest = 64  # the flattened image
    assert needed(config(data=Digits(subset=1000), batch_size=1), 1) > 1000 * 3 * widest * 4


def test_what_torch_keeps_of_former_arrays_is_free_for_the_next(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert memory.available("cuda:0") == int(600 * memory.USABLE)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells")
def test_memory_that_files_are_kept_in_is_free(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "free_in_groups", lambda: iter([2**62]))
    lines = Path("/proc/meminfo").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    assert memory.available("cpu") == pytest.approx(kilobytes * 1024 * memory.USABLE, rel=0.2)


@pytest.mark.parametrize(
    ("own", "files", "left"),
    [
        ("0::/\n", {"memory.max": "max", "memory.current": "5"}, []),
        ("0::/\n", {"memory.max": "100", "memory.current": "70", "memory.stat": "anon 60\ninactive_file 8\n"}, [38]),
        ("0::/\n", {"memory.max": "100", "memory.current": "110", "memory.stat": ""}, [0]),
        (
            "0::/a/b\n",
            {"a/memory.max": "100", "a/memory.current": "20", "a/memory.stat": "", "a/b/memory.max": "max"},
            [80],
        ),
        ("0::/of/the/host\n", {"memory.max": "100", "memory.current": "1", "memory.stat": ""}, [99]),
        (
            "4:memory:/a\n3:cpu:/b\n",
            {
                "memory/a/memory.limit_in_bytes": "50", "memory/a/memory.usage_in_bytes": "20",
                "memory/a/memory.stat": "inactive_file 1\ntotal_inactive_file 2\n",
            },
            [32],
        ),
        ("3:cpu:/\n", {"memory.max": "100", "memory.current": "1", "memory.stat": ""}, []),
        (None, {}, []),
    ],
)  # fmt: skip
def test_memory_left_in_control_groups(
    tmp_path: Path, own: str | None, files: dict[str, str], left: list[int], monkeypatch: pytest.MonkeyPatch
):
    """A container that takes more than its limit is killed: there is no error from which an array could be halved."""
    if own is not None:
        (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    found = [*memory.free_in_groups(tmp_path / "own", tmp_path / "root")]
    assert found == left
    monkeypatch.setattr(memory, "free_in_groups", lambda: iter(found))
    if found:
        assert memory.available("cpu") == int(found[0] * memory.USABLE)


def test_an_event_that_runs_out_of_memory_halves_the_array(monkeypatch: pytest.MonkeyPatch):
    def apply(event: Record, trainee: Any) -> dict[str, float]:
        if trainee.array.size > 2:
            raise torch.OutOfMemoryError("no more")
        return {}

    monkeypatch.setattr(Record, "apply", apply)
    made = config(events=(Record.model_validate_json('{"measures": ["train_loss"]}'),))
    ended = [*train.run_array(jobs(made, 4), Hardware(slots=4))]
    assert all(isinstance(item.result, Result) for item in ended), ended
    assert {item.array for item in ended} == {2}


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (MemoryError("one training takes about 5 MiB"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("shapes differ"), False),
    ],
)
def test_what_a_shortage_is(error: Exception, is_one: bool):
    assert memory.is_shortage(error) == is_one


def test_a_part_of_a_pool_takes_no_images_of_its_own():
    data = config().data.load(Path(), 0)
    pool = Pool(data, 3, True, "cpu", torch.float32)
    for slot in range(3):
        pool.fill(slot, dataclasses.replace(data, train_x=data.train_x + slot))
    part = pool.take(torch.tensor([2, 0]))
    assert part.images.data_ptr() == pool.images.data_ptr()
    assert torch.equal(part.block(0, 5)[:, 0], data.train_x[:5, 0] + 2)
    assert torch.equal(part.block(0, 5)[:, 1], data.train_x[:5, 0])


def test_a_limit_makes_the_array_smaller_and_changes_nothing_else():
    made = config(precision="fp64")
    free = [*train.run_array(jobs(made, 6), Hardware(slots=6))]
    tight = [*train.run_array(jobs(made, 6), Hardware(slots=6, memory=int(2.5 * needed(made, 1))))]
    assert {item.array for item in free} == {6}
    assert {item.array for item in tight} == {2}
    by_seed = {item.job.context.seed: item.result for item in free}
    for item in tight:
        expected = by_seed[item.job.context.seed]
        assert isinstance(item.result, Result)
        assert isinstance(expected, Result)
        assert item.result.weights is not None
        assert expected.weights is not None
        for name, tensor in expected.weights.items():
            assert torch.allclose(item.result.weights[name], tensor, rtol=0, atol=1e-9)


def test_what_does_not_fit_at_all_fails_with_numbers():
    ended = [*train.run_array(jobs(config(), 3), Hardware(slots=2, memory=1000))]
    assert len(ended) == 3
    assert all(isinstance(item.result, MemoryError) for item in ended)
    assert "takes about" in str(ended[0].result)


OUT_OF_MEMORY = """
import json, resource, shutil, sys, tempfile
from pathlib import Path
import torch
from tests.contract.here import Here
from workloads import train
from workloads.contract import Hardware, Job, Result
from workloads.datasets import Digits
from workloads.models import MLP
from workloads.optimizers import SGD
from workloads.train import Stop, TrainConfig

made = TrainConfig(data=Digits(subset=64), model=MLP(width=700), optimizer=SGD(lr=0.05, momentum=0.9), batch_size=32,
                   precision="fp64", stop=Stop(epochs=2))

folder = Path(tempfile.mkdtemp())

class OnDisk(Here):
    # Only what is being computed counts against the limit.
    def save(self, state):
        super().save(state)
        torch.save(self.kept, folder / str(self.seed))
        self.kept = None

    def restore(self):
        if (folder / str(self.seed)).exists():
            self.kept = torch.load(folder / str(self.seed), weights_only=False)
        found, self.kept = super().restore(), None
        return found

def run(name):
    jobs = [Job(made, OnDisk(seed=seed)) for seed in range(8)]
    ended = {}
    for item in train.run_array(jobs, Hardware(slots=8, memory=10**12)):
        if not isinstance(item.result, Result):
            raise item.result
        torch.save(item.result.weights, folder / f"{name}{item.job.context.seed}")
        ended[item.job.context.seed] = (item.array, len(item.job.context.rows))
    for path in folder.glob("[0-9]"):
        path.unlink()
    return ended

free = run("free")
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + int(sys.argv[1]), -1))
tight = run("tight")
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
weights = {name: [torch.load(folder / f"{name}{seed}") for seed in range(8)] for name in ("free", "tight")}
differences = [(a[name] - b[name]).abs().max().item() for a, b in zip(*weights.values()) for name in a]
shutil.rmtree(folder)
print(json.dumps({"free": [free[s][0] for s in range(8)], "tight": [tight[s][0] for s in range(8)],
                  "furthest": max(differences), "rows": [tight[s][1] for s in range(8)]}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="address-space limits are Linux's")
def test_running_out_of_memory_halves_the_array_and_goes_on():
    """Really: the process may map no more than what three or four of the eight networks are reckoned to take."""
    model = config(model=MLP(width=700), precision="fp64")
    allowed = int(3.5 * needed(model, 1))  # the estimate is on the safe side: all eight fit into what five would
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, str(allowed)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=280,
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},  # an arena for each thread maps 64 MB at once
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout)
    assert seen["free"] == [8] * 8
    assert max(seen["tight"]) in (1, 2, 4)
    assert seen["furthest"] < 1e-9
    assert seen["rows"] == [2] * 8, "what was begun and given up has left nothing in the history"
