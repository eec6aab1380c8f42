"""MLflow's own client calls in a loop on sqlite, one run per trial: the price of the tracking alone."""

from __future__ import annotations

import sys
import time

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag


def main(num_trials: int, folder: str) -> None:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment("noop", artifact_location=f"{folder}/artifacts")
    parent = client.create_run(experiment, run_name="sweep").info.run_id
    for index in range(num_trials):
        now = int(time.time() * 1000)
        tags = {"mlflow.parentRunId": parent}
        run = client.create_run(experiment, start_time=now, run_name=f"x={index}", tags=tags).info.run_id
        client.log_batch(
            run,
            metrics=[Metric("value", float(index), now, 0)],
            params=[Param("x", str(float(index))), Param("seed", "0")],
            tags=[RunTag("group", f"x={index}")],
        )
        client.set_terminated(run)
    client.set_terminated(parent)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
