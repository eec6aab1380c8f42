"""What computes exported packages: the tensor format beside the real library, records, results and the clock."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch

from workloads.__main__ import main
from workloads.alone import tensors
from workloads.alone.context import Clock, PackagedContext, Stopped
from workloads.alone.package import (
    Code,
    Computed,
    Finished,
    Package,
    PackageError,
    PackageNode,
    code_digest,
    dump,
    load,
    parts,
    read_package,
)
from workloads.alone.request import Request, Work
from workloads.alone.results import Results, rows_from_json, rows_to_json
from workloads.alone.runner import Runner
from workloads.contract import Checkpoint, Context, Result, load_workload

KEY = "a" * 40
EVERY = {
    **{f"float.{dtype}": torch.randn(2, 3).to(dtype) for dtype in (torch.float64, torch.float32, torch.bfloat16)},
    "half": torch.tensor([1.5, -math.inf, math.nan], dtype=torch.float16),
    **{f"int.{dtype}": torch.arange(5).to(dtype) for dtype in (torch.int64, torch.int32, torch.int16, torch.int8)},
    "bytes": torch.arange(7, dtype=torch.uint8),
    "bits": torch.tensor([True, False, True]),
    "scalar": torch.tensor(3),
    "empty": torch.empty(0, 4),
    "transposed": torch.arange(6.0).view(2, 3).T,
    "ünï": torch.ones(1),
}


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """To the bit, NaN included."""
    flat = [item.contiguous().reshape(-1).view(torch.uint8) for item in (first, second)]
    return first.dtype == second.dtype and first.shape == second.shape and torch.equal(*flat)


def test_the_real_library_reads_what_is_written(tmp_path: Path):
    tensors.write(tmp_path / "x", EVERY, {"history": "[]"})
    theirs = safetensors.torch.load_file(tmp_path / "x")
    assert theirs.keys() == EVERY.keys()
    assert all(same(theirs[name], EVERY[name]) for name in EVERY)
    with safetensors.safe_open(tmp_path / "x", "pt") as file:
        assert file.metadata() == {"history": "[]"}


@pytest.mark.parametrize("named", [EVERY, {}], ids=["every type", "nothing"])
def test_what_the_real_library_writes_is_read(named: dict[str, torch.Tensor]):
    theirs = safetensors.torch.save({name: item.contiguous() for name, item in named.items()}, {"a": "b"})
    ours, metadata = tensors.read(theirs)
    assert metadata == {"a": "b"}
    assert ours.keys() == named.keys()
    assert all(same(ours[name], named[name]) for name in named)


def test_a_type_that_is_not_known_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="complex64"):
        tensors.write(tmp_path / "x", {"x": torch.zeros(1, dtype=torch.complex64)})


def file(header: object, data: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(**changed: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changed


DAMAGED = {
    "too short": b"\0\0",
    "header beyond the end": (10**6).to_bytes(8, "little") + b"{}",
    "huge header": (2**63).to_bytes(8, "little") + b"{}",
    "no JSON": file(b"{x"),
    "not UTF-8": file(b'{"\xff": 1}'),
    "deep": file(b"[" * 100_000),
    "no object": file([]),
    "NaN": file(b'{"x": NaN}'),
    "name twice": file(b'{"x": %b, "x": %b}' % ((json.dumps(entry()).encode(),) * 2)),
    "no entry": file({"x": 1}),
    "more in an entry": file({"x": entry(more=1)}),
    "unknown dtype": file({"x": entry(dtype="F4")}),
    "dtype of another kind": file({"x": entry(dtype=["F32"])}),
    "negative shape": file({"x": entry(shape=[-2])}),
    "shape is bool": file({"x": entry(shape=[True, 2])}),
    "shape is float": file({"x": entry(shape=[2.0])}),
    "backwards": file({"x": entry(data_offsets=[8, 0])}),
    "outside": file({"x": entry(shape=[4], data_offsets=[0, 16])}),
    "one offset": file({"x": entry(data_offsets=[8])}),
    "wrong size": file({"x": entry(shape=[3])}),
    "hole": file({"x": entry(shape=[1], data_offsets=[4, 8])}),
    "overlap": file({"x": entry(), "y": entry(shape=[1], data_offsets=[4, 8])}),
    "rest": file({"x": entry()}, b"\0" * 9),
    "metadata": file({"x": entry(), "__metadata__": {"a": 1}}),
}


STRICTER = {"name twice", "more in an entry"}  # than the real library, which lets these pass


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_refused(damage: str):
    with pytest.raises(tensors.DamagedError):
        tensors.read(DAMAGED[damage])
    if damage not in STRICTER:
        with pytest.raises(Exception):  # noqa: B017  it raises several kinds
            safetensors.torch.load(DAMAGED[damage])


def computed(**changed: object) -> Computed:
    fields = {
        "key": KEY, "workload": "w", "config": {"x": 1}, "seed": 0, "start": None, "files": {}, "status": "diverged",
        "metrics": {"loss": math.nan, "best": math.inf, "worst": -math.inf, "exact": 0.1 + 0.2},
        "seconds": 0.1, "meta": {},
    }  # fmt: skip
    return Computed.model_validate(fields | changed)


def test_metrics_that_are_not_finite_survive_strict_json(tmp_path: Path):
    (tmp_path / "x").write_text(dump(computed()))
    assert "NaN" not in (tmp_path / "x").read_text()
    metrics = load(Computed, tmp_path / "x").metrics
    assert math.isnan(metrics["loss"])
    assert (metrics["best"], metrics["worst"], metrics["exact"]) == (math.inf, -math.inf, 0.1 + 0.2)
    rows = [{"step": 1, "loss": math.inf}, {"step": 2, "other": 0.1}]
    assert rows_from_json(rows_to_json(rows)) == rows


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Computed, "{"),
        (Computed, '{"key": NaN}'),
        (Finished, dump(computed())),
        (Computed, dump(computed()).replace(KEY, "../../etc")),
        (Computed, dump(computed()).replace('"files": {}', '"files": {"../x": "00"}')),
    ],
    ids=["no JSON", "NaN", "more fields", "key is a path", "file is a path"],
)
def test_a_record_is_strict(kind: type[Finished], text: str, tmp_path: Path):
    (tmp_path / "x").write_text(text)
    with pytest.raises(PackageError, match=str(tmp_path / "x")):
        load(kind, tmp_path / "x")


def test_inputs_come_first(tmp_path: Path):
    node = {
        "key": KEY, "label": "a", "workload": "w", "config": {}, "seed": 0, "siblings": KEY, "array": None, "parts": {},
        "inputs": {"input": {"key": "b" * 40, "part": "end"}},
    }  # fmt: skip
    code = {"commit": "", "dirty": False, "digest": ""}
    (tmp_path / "nodes.json").write_text(json.dumps({"format": 1, "code": code, "nodes": [node], "finished": []}))
    with pytest.raises(PackageError, match=f"{KEY} comes before its input {'b' * 40}"):
        read_package(tmp_path)
    (tmp_path / "nodes.json").write_text('{"format": 2}')
    with pytest.raises(PackageError, match="format 2; this version reads 1"):
        read_package(tmp_path)


def context(folder: Path, clock: Clock | None = None) -> PackagedContext:
    return PackagedContext(0, "cpu", folder, {}, {}, folder, clock or Clock())


def test_time_up_keeps_a_state_that_the_next_context_goes_on_from(tmp_path: Path):
    first = context(tmp_path, Clock(end=0.0))
    assert isinstance(first, Context)
    assert first.restore() is None
    first.log(1, loss=math.nan)
    x = torch.randn(5, dtype=torch.float64)
    with pytest.raises(Stopped):
        first.save(lambda: Checkpoint({"x": x}, {"step": 7, "best": -math.inf}))
    second = context(tmp_path)
    kept = second.restore()
    assert kept is not None
    assert torch.equal(kept.tensors["x"], x)
    assert kept.numbers == {"step": 7, "best": -math.inf}
    assert [row["step"] for row in second.history] == [1]
    assert math.isnan(second.history[0]["loss"])


def test_a_state_is_asked_for_about_once_a_minute(tmp_path: Path):
    here = context(tmp_path)
    here.restore()
    here.save(lambda: pytest.fail("too early"))
    here._kept -= 60
    asked: list[int] = []
    for count in range(2):
        here.save(lambda count=count: asked.append(count) or Checkpoint({}, {}))
    assert asked == [0], "and not again at once"


def test_a_checkpoint_of_another_torch_is_told_however_often_it_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Resumed bytes are the same under the same torch alone: a record must say where that does not hold."""
    here = str(torch.__version__)
    for version, expected in (("1.0.0", None), (here, f"begun under torch 1.0.0, taken up under {here}")):
        monkeypatch.setattr(torch, "__version__", version)
        for _ in range(2):
            found = context(tmp_path, Clock(end=0.0))
            found.restore()
            assert found.trouble == expected
            with pytest.raises(Stopped):
                found.save(lambda: Checkpoint({}, {"step": 7}))


def test_a_checkpoint_that_cannot_be_read_is_none(tmp_path: Path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\0" * 20)
    here = context(tmp_path)
    here.log(1, loss=1.0)
    assert here.restore() is None
    assert here.history == []


def test_results_say_what_is_removed_before_it_is(tmp_path: Path):
    results = Results(tmp_path)
    kept = results.commit(computed(), Result({}, weights={"x": torch.ones(2)}), [{"step": 1}])
    assert kept.files.keys() == {"weights.safetensors", "history.json"}
    assert results.computed(KEY) == load(Computed, results.node(KEY) / "result.json")
    gone = results.remove_weights(kept)
    assert gone.files.keys() == {"history.json"}
    assert gone.removed == ["weights.safetensors"]
    assert not (results.node(KEY) / "weights.safetensors").exists()


def test_a_result_that_cannot_be_written_leaves_nothing(tmp_path: Path):
    results = Results(tmp_path)
    with pytest.raises(ValueError, match="complex64"):
        results.commit(computed(), Result({}, weights={"x": torch.ones(2, dtype=torch.complex64)}), [])
    assert not [*(tmp_path / "nodes").iterdir()]


def test_a_folder_that_cannot_be_locked_is_refused(tmp_path: Path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(PackageError, match="directory"), Results(tmp_path).locked():
        pass


def test_a_result_that_finds_no_place_ends_the_run_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    made = {"data": {"name": "digits", "subset": 20}, "model": {"name": "mlp", "width": 2}}
    made |= {"optimizer": {"name": "sgd", "lr": 0.1}, "stop": {"epochs": 1}}
    parsed = load_workload("train").config.model_validate_json(json.dumps(made))
    node = PackageNode(
        key=KEY, label="train", workload="train", config=parsed.model_dump(mode="json", by_alias=True), seed=0,
        inputs={}, siblings=KEY, array=None, parts=parts(load_workload("train"), parsed, tmp_path),
    )  # fmt: skip
    code = Code(commit="", dirty=False, digest=code_digest())
    package = tmp_path / "package"
    package.mkdir()
    (package / "nodes.json").write_text(dump(Package(format=1, code=code, nodes=[node], finished=[])))
    out = tmp_path / "out"
    out.mkdir()
    (out / "nodes.json").write_bytes((package / "nodes.json").read_bytes())
    (out / "nodes").write_text("in the way")
    assert main(["run", str(package), str(out)]) == 1
    said = capsys.readouterr().err
    assert said.endswith("what is finished is kept; the same command goes on\n")
    assert "nodes" in said
    (out / "nodes").unlink()
    assert main(["run", str(package), str(out)]) == 0


def test_a_result_says_which_gpu_computed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As `sweep run` records it: once imported, nothing else tells one machine's GPU from another's."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"the GPU at {device}")
    package = Package(format=1, code=Code(commit="", dirty=False, digest=""), nodes=[], finished=[])
    for device, expected in (("cuda:3", "the GPU at cuda:3"), ("cpu", None)):
        request = Request(tmp_path, tmp_path, tmp_path, device)
        runner = Runner(request, Work(package, {}), Results(tmp_path), Clock(), print)
        assert runner._meta(context(tmp_path)).get("gpu") == expected


def test_one_run_at_a_time(tmp_path: Path):
    with (
        Results(tmp_path).locked(),
        pytest.raises(PackageError, match="another run is at work"),
        Results(tmp_path).locked(),
    ):
        pass
