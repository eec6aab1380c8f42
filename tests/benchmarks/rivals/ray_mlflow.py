"""Ray's own MLflow callback, called as Tune calls it, without Tune's time: a result of all names per step.

Prints the seconds that the trials took, without imports and without making the database.
"""

from __future__ import annotations

import sys
import time

from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.experiment import Trial


def run(callback: MLflowLoggerCallback, index: int, params: int, names: int, steps: int) -> None:
    trial = Trial("stub", stub=True, config={f"param{number}": f"{index}.{number}" for number in range(params)})
    callback.on_trial_start(index, [trial], trial)
    for step in range(steps):
        result = {f"level{number}": (index + number) / (step + 1) for number in range(names)}
        callback.on_trial_result(index, [trial], trial, {**result, "training_iteration": step})
    callback.on_trial_complete(index, [trial], trial)


def main(num_trials: int, uri: str, experiment: str, params: int, names: int, steps: int) -> None:
    callback = MLflowLoggerCallback(tracking_uri=uri, experiment_name=experiment)
    callback.setup()
    run(callback, -1, params, names, steps)  # warm
    start = time.perf_counter()
    for index in range(num_trials):
        run(callback, index, params, names, steps)
    print(f"seconds {time.perf_counter() - start}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], *map(int, sys.argv[4:7]))
