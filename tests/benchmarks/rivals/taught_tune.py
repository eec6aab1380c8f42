"""Ray Tune as its documentation teaches it: a function, a new actor per trial, the MLflow callback on sqlite."""

from __future__ import annotations

import sys
from typing import Any

import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback


def noop(config: dict[str, Any]) -> None:
    tune.report({"value": config["x"]})


def main(num_trials: int, folder: str, jobs: int) -> None:
    ray.init(address="local", num_cpus=jobs, log_to_driver=False)
    callback = MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="noop")
    tuner = tune.Tuner(
        noop,
        param_space={"x": tune.grid_search([float(x) for x in range(num_trials)])},
        tune_config=tune.TuneConfig(metric="value", mode="min"),
        run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[callback]),
    )
    results = tuner.fit()
    assert len(results) == num_trials
    assert results.num_errors == 0
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
