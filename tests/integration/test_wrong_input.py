"""A wrong sweep file: one clear message with place, field and nearest match, exit code 2, nothing written or loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
GOOD = """\
name: good
stages:
  fit:
    workload: train
    data: {name: digits}
    model: {name: mlp}
    optimizer: {name: sgd, lr: 0.1}
    stop: {epochs: 1}
  measure:
    workload: measure
    from: fit
    measures: [test_accuracy]
axes:
  recipe:
    plain: {}
    decay: {fit.optimizer.weight_decay: 0.01}
  seed: 2
"""
WRONG = {
    "unknown key": (
        ("  fit:\n    workload: train", "  fit:\n    workload: train\n    optimzer: {}"),
        ["sweep.yaml:5:5", "optimzer", "did you mean 'optimizer'"],
    ),
    "unknown top key": (("axes:", "axis: 1\naxes:"), ["sweep.yaml:13:1", "axis", "did you mean 'axes'"]),
    "wrong type": (("lr: 0.1", "lr: fast"), ["sweep.yaml:7:28", "lr", "number"]),
    "unknown measure": (
        ("[test_accuracy]", "[test_acuracy]"),
        ["sweep.yaml:12", "measures", "did you mean 'test_accuracy'"],
    ),
    "unknown data set": (("name: digits", "name: digitz"), ["sweep.yaml:5", "data", "did you mean 'digits'"]),
    "level sets no such path": (
        ("fit.optimizer.weight_decay", "fit.optimizer.weight_dekay"),
        ["sweep.yaml:16", "weight_dekay", "did you mean"],
    ),
    "empty axis": (
        ("  seed: 2", "  fit.optimizer.momentum: []\n  seed: 2"),
        ["sweep.yaml:17", "fit.optimizer.momentum"],
    ),
    "duplicate level": (("    decay:", "    plain: {}\n    decay:"), ["sweep.yaml:16", "plain"]),
    "cycle": (
        ("    stop: {epochs: 1}", "    stop: {epochs: 1}\n    start: {from: fit}"),
        ["sweep.yaml", "fit", "cycle"],
    ),
    "unknown stage": (("from: fit", "from: fitt"), ["sweep.yaml:11", "fitt", "did you mean 'fit'"]),
    "invalid yaml": (("axes:", "axes: ["), ["sweep.yaml:1"]),
    "too many trials": (("  seed: 2", "  seed: 60000"), ["sweep.yaml", "120,000", "100,000"]),
    "unknown workload": (("workload: measure", "workload: mesure"), ["sweep.yaml:10", "did you mean 'measure'"]),
}  # fmt: skip


def refused(folder: Path, *commands: list[str]) -> str:
    """What `sweep` says, once for each; checks the exit codes, that nothing was written and nothing heavy loaded."""
    before = sorted(folder.rglob("*"))
    code = (
        "import sys; from orchestrator.cli import main\n"
        f"for command in {commands!r}:\n"
        "    try: code = main(command)\n"
        "    except SystemExit as end: code = end.code\n"
        "    print(code)\n"
        "    print('NEXT', file=sys.stderr)\n"
        "print(*sorted({'torch', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=environment)
    assert run.stdout.split() == ["2"] * len(commands), run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert sorted(folder.rglob("*")) == before
    *said, rest = run.stderr.split("NEXT\n")
    assert rest == ""
    assert len({*said}) == 1, "all say the same"
    return said[0]


@pytest.mark.parametrize("case", WRONG)
def test_wrong_sweep_file(case: str, tmp_path: Path):
    (old, new), words = WRONG[case]
    assert GOOD.count(old) == 1
    (tmp_path / "sweep.yaml").write_text(GOOD.replace(old, new))
    message = refused(tmp_path, ["run", "sweep.yaml"], ["plan", "sweep.yaml"])
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere.yaml"], ["nowhere.yaml"]),
        (["run", "sweep.yaml", "--scale", "desc"], ["sweep.yaml", "no scale 'desc'"]),
        (["run", "sweep.yaml", "--set", "fit.optimizer.lrr=1"], ["lrr", "did you mean 'lr'"]),
        (["run", "sweep.yaml", "--set", "nonsense"], ["PATH=VALUE"]),
        (["run", "sweep.yaml", "--set", "seed=1", "--set", "seed=2"], ["--set seed", "set twice"]),
        (["run", "sweep.yaml", "--jobs", "0"], ["--jobs", "at least 1"]),
        (["run", "sweep.yaml", "--job", "x", "--storre", "y"], ["job"]),
        (["run", "sweep.yaml", "--store", "gs://bucket"], ["gs://bucket", "local folder", "s3://BUCKET"]),
        (["run", "sweep.yaml", "--tracking-uri", "http://me:secret@127.0.0.1:1"], ["--tracking-uri"]),
        (["run", "sweep.yaml", "--tracking-uri", "https://secret@127.0.0.1:1"], ["MLFLOW_TRACKING_PASSWORD"]),
        (["run", "sweep.yaml", "--tracking-uri", "127.0.0.1:5000"], ["127.0.0.1:5000", "http://HOST:PORT"]),
        (["run", "sweep.yaml", "--tracking-uri", "htp://127.0.0.1:5000"], ["htp://", "http://HOST:PORT"]),
        (["run", "sweep.yaml", "--tracking-uri", "mlruns"], ["mlruns", "sqlite:////FILE"]),
        (["status", "--tracking-uri", "http://[127.0.0.1"], ["--tracking-uri", "http://HOST:PORT"]),
        (["sync", "--tracking-uri", "http://127.0.0.1:50000000"], ["--tracking-uri", "http://HOST:PORT"]),
        (["run", "sweep.yaml", "--set", "fit.data.name=cifar10"], ["cifar-10-batches-py", "--data"]),
        (["run", "sweep.yaml", "--address", "127.0.0.1:1"], ["--address 127.0.0.1:1", "no Ray answers"]),
        (["run", "sweep.yaml", "--address", "somewhere"], ["expected host:port"]),
        (["run", "sweep.yaml", "--inline", "--jobs", "2"], ["--inline", "--jobs"]),
        (["run", "sweep.yaml", "sweep.yaml"], ["two of these sweeps are named good"]),
        (["table", "good"], ["no sweep 'good'"]),
        (["data", "check", "cifr10"], ["did you mean 'cifar10'"]),
        (["rum"], ["run"]),
    ],
)
def test_wrong_request(arguments: list[str], words: list[str], tmp_path: Path):
    (tmp_path / "sweep.yaml").write_text(GOOD)
    message = refused(tmp_path, arguments)
    for word in words:
        assert word in message, message
    assert "secret" not in message
