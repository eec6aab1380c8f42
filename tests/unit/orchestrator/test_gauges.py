"""Samples of the machine: of nodes that run for long, told by the thread of the node."""

from __future__ import annotations

import threading
import time

import pytest

from orchestrator.running import gauges
from orchestrator.running.events import NodeSampled
from orchestrator.running.gauges import Gauges


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "SECONDS", 0.02)
    monkeypatch.setattr(gauges, "LONG", 0.1)


def test_a_long_node_has_all_samples_since_it_began_and_a_short_one_none() -> None:
    told: list[tuple[NodeSampled, int]] = []
    with Gauges("cpu", lambda sample: told.append((sample, threading.get_ident()))) as made:
        made.begin("long")
        made.begin("short")
        while not made._waiting:
            time.sleep(0.01)
        made.end("short")
        assert not told
        end = time.monotonic() + 30
        while not told and time.monotonic() < end:
            time.sleep(0.02)
            made.deliver()
        made.end("long")
    assert {sample.key for sample, _ in told} == {"long"}
    assert {thread for _, thread in told} == {threading.get_ident()}
    assert told[0][0].step == 0, "the first sample, taken before it was known to be long"
    values = told[-1][0].values
    assert {"cpu_utilization_percentage", "system_memory_usage_megabytes", "process_memory_megabytes"} <= values.keys()
    assert 0 < values["process_memory_megabytes"] < values["system_memory_usage_megabytes"] * 10
    assert not any(name.startswith("gpu") for name in values)


def test_a_machine_without_the_gpu_has_the_other_gauges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-that-is-not-here")
    assert "cpu_utilization_percentage" in gauges._Machine("cuda:0").values()


@pytest.mark.gpu
def test_a_gpu_tells_how_busy_it_is() -> None:
    values = gauges._Machine("cuda:0").values()
    assert 0 <= values["gpu_0_utilization_percentage"] <= 100
    assert 0 < values["gpu_0_memory_usage_percentage"] <= 100
    assert values["gpu_0_power_usage_watts"] > 0
