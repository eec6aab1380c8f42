"""MLflow as its tutorials show it: a run per trial, `log_params`, then `mlflow.log_metric` point by point.

Prints the seconds that the trials took, without imports and without making the database.
"""

from __future__ import annotations

import sys
import time

import mlflow


def trial(index: int, params: int, names: int, steps: int) -> None:
    with mlflow.start_run(run_name=f"trial {index}"):
        mlflow.log_params({f"param{number}": f"{index}.{number}" for number in range(params)})
        for step in range(steps):
            for number in range(names):
                mlflow.log_metric(f"level{number}", (index + number) / (step + 1), step=step)


def main(num_trials: int, uri: str, experiment: str, params: int, names: int, steps: int) -> None:
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment)
    trial(-1, params, names, steps)  # warm
    start = time.perf_counter()
    for index in range(num_trials):
        trial(index, params, names, steps)
    print(f"seconds {time.perf_counter() - start}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], *map(int, sys.argv[4:7]))
