"""What a store says of a sweep may be damaged: that is said, and is no reason to say nothing of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.plan import plan
from orchestrator.run import save_spec
from orchestrator.spec import read
from orchestrator.store import Store

SPEC = "name: NAME\nstages: {a: {workload: tests.toys.noop}}\naxes: {seed: 2}\n"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"scale": null}', '{"scale": null, "set": 3}', "\0"])
def test_a_sweep_whose_plan_is_damaged_is_said_beside_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
):
    store = Store.at(tmp_path / "store").prepare()
    for name in ("bad", "good"):
        (tmp_path / f"{name}.yaml").write_text(SPEC.replace("NAME", name))
        save_spec(plan(read(tmp_path / f"{name}.yaml"), tmp_path), store)
    place = store.sweep_folder("bad") / "plan.json"
    place.write_text(text)
    assert main(["status", "--store", store.uri]) == 0
    bad, good = capsys.readouterr().out.splitlines()
    assert bad.startswith(f"bad: {place}: damaged (")
    assert bad.endswith("`sweep run` of its file writes it anew")
    assert good == "good: 0 of 2 trials, 0 of 2 nodes done"
    for command in (["status", "bad"], ["table", "bad"], ["diff", "bad", "good"], ["gc"]):
        assert main([*command, "--store", store.uri]) == 2
        assert "damaged (" in capsys.readouterr().err


def test_a_sweep_that_has_lost_its_plan_is_not_forgotten(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Else `gc` would take all of its nodes for nobody's."""
    store = Store.at(tmp_path / "store").prepare()
    (tmp_path / "half.yaml").write_text(SPEC.replace("NAME", "half"))
    save_spec(plan(read(tmp_path / "half.yaml"), tmp_path), store)
    (store.sweep_folder("half") / "plan.json").unlink()
    assert main(["gc", "--store", store.uri, "--yes"]) == 2
    assert "sweep half cannot be planned, so nobody knows what it needs; nothing is removed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [("", "--store: it is empty; allowed: a local folder, or s3://BUCKET/PREFIX"), ("~nobody-of-that-name/x", "home")],
)
def test_a_store_that_names_no_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, said: str
):
    """Such as `--store "$UNSET"`: the folder one is in would be filled."""
    (tmp_path / "a.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    for command in ("run", "plan"):
        assert main([command, "a.yaml", "--store", name]) == 2
        assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]
