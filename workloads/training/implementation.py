"""How a step is carried out: on a CPU always as it is written; on a GPU as measurement finds fastest."""

from __future__ import annotations

from workloads.training.step import Step, Stepper


def fastest(stepper: Stepper, steps: int) -> Step:
    """On a CPU the step itself: nothing that was timed may choose there. Else the quickest way to make so many."""
    if not stepper.array.device.startswith("cuda"):
        return stepper
    from workloads.training.graphs import fastest_on_gpu

    return fastest_on_gpu(stepper, steps)
