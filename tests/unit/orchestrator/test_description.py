"""What MLflow is told of the data sets that a run reads."""

from __future__ import annotations

from pathlib import Path

from orchestrator.to_mlflow.description import MAX_DIGEST, _datasets


def test_a_data_set_is_told_without_what_one_trial_makes_of_it(tmp_path: Path) -> None:
    """MLflow keeps it once an experiment: as the first trial said it, for all of them."""
    model = {"model": {"name": "mlp", "width": 8, "depth": 1}, "optimizer": {"name": "sgd", "lr": 0.1}}
    whole, part = (
        _datasets("train", {**model, "data": data, "stop": {"epochs": 1}}, tmp_path)
        for data in ({"name": "digits"}, {"name": "digits", "subset": 100, "confusion": 40})
    )
    assert whole == part
    [told] = whole
    assert (told["name"], len(told["digest"])) == ("digits", MAX_DIGEST)
