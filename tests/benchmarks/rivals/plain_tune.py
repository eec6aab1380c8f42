"""The same trials by Ray Tune at its fastest: reused actors, one CPU a trial, no loggers, no dashboard.

    python plain_tune.py TRIALS DATA DEVICE JOBS FOLDER

TRIALS is a JSON list of [model, rate, seed]. It prints the train accuracy of each as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"

import ray
from ray import tune


class Plain(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        import torch

        torch.set_num_threads(1)
        self.given = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.given = new_config
        return True

    def step(self) -> dict[str, Any]:
        from tests.benchmarks.rivals.plain_trial import Trial, run

        given = self.given
        return run(Trial(*given["trial"]), Path(given["data"]), given["device"], Path(given["folder"])) | {"done": True}


def main(trials: str, data: str, device: str, jobs: int, folder: str) -> None:
    listed = json.loads(trials)
    gpus = 0 if device == "cpu" else 1
    ray.init(address="local", num_cpus=jobs, num_gpus=gpus, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_resources(Plain, {"cpu": 1, "gpu": gpus / jobs}),
        param_space={"trial": tune.grid_search(listed), "data": data, "device": device, "folder": folder},
        tune_config=tune.TuneConfig(metric="train_accuracy", mode="max", reuse_actors=True, max_concurrent_trials=jobs),
        run_config=tune.RunConfig(
            storage_path=folder, verbose=0, checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False)
        ),
    )
    results = tuner.fit()
    assert results.num_errors == 0
    print(json.dumps([result.metrics["train_accuracy"] for result in results if result.metrics]))
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
