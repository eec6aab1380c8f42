"""Ray Tune at its fastest: a class trainable, reused actors, no loggers, no dashboard; results are dropped."""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"

import ray
from ray import tune


class Noop(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.x = config["x"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.x = new_config["x"]
        return True

    def step(self) -> dict[str, Any]:
        return {"value": self.x, "done": True}


def main(num_trials: int, folder: str, jobs: int) -> None:
    ray.init(address="local", num_cpus=jobs, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        Noop,
        param_space={"x": tune.grid_search([float(x) for x in range(num_trials)])},
        tune_config=tune.TuneConfig(metric="value", mode="min", reuse_actors=True, max_concurrent_trials=jobs),
        run_config=tune.RunConfig(
            storage_path=folder, verbose=0, checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False)
        ),
    )
    results = tuner.fit()
    assert len(results) == num_trials
    assert results.num_errors == 0
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
