"""The store: nothing half-written is ever read, damage is noticed, equal commits meet."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest

from orchestrator.errors import StoreError
from orchestrator.storage import index
from orchestrator.store import Damaged, Failure, Outcome, Store, from_json, to_json, write_atomically


def outcome(key: str, **changes: object) -> Outcome:
    values = {
        "key": key, "workload": "toy", "status": "done", "metrics": {"value": 1.0}, "config": {}, "seed": 0,
        "start": None, "seconds": 0.5, "meta": {"host": "here"}, "files": {},
    }  # fmt: skip
    return Outcome(**{**values, **changes})  # pyright: ignore[reportArgumentType]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "a store with spaces, ä").prepare()


def test_looking_at_a_store_makes_nothing(tmp_path: Path):
    assert index.known(Store.at(tmp_path / "none"), ["a" * 40]) == {}
    assert not (tmp_path / "none").exists()


def test_outcome_survives_json_with_non_finite_metrics():
    before = outcome("ab", metrics={"a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.1})
    text = to_json(before)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    after = from_json(text)
    assert math.isnan(after.metrics["a"])
    assert (after.metrics["b"], after.metrics["c"], after.metrics["d"]) == (math.inf, -math.inf, 0.1)


def test_every_flipped_bit_of_an_outcome_is_noticed():
    text = to_json(outcome("ab12", metrics={"accuracy": 0.5}, config={"lr": 0.1})).encode()
    for place in range(len(text)):
        for bit in (0, 3):
            damaged = bytearray(text)
            damaged[place] ^= 1 << bit
            with pytest.raises((ValueError, TypeError)):
                from_json(damaged.decode())


def test_an_outcome_from_before_there_were_checksums_is_read():
    before = outcome("ab12")
    assert from_json(json.dumps(asdict(before), sort_keys=True)) == before


def test_a_damaged_node_is_set_aside_and_a_sound_one_is_not(store: Store):
    store.commit_folder(outcome("ab12"), {"a.txt": lambda path: path.write_text("x")})
    assert store.set_aside("ab12") is None
    (store.node_folder("ab12") / "a.txt").write_text("y")
    aside = store.set_aside("ab12")
    assert aside is not None
    assert (aside / "a.txt").read_text() == "y"
    assert store.outcome("ab12") is None
    assert store.set_aside("ab12") is None
    store.commit_folder(outcome("ab12"), {"a.txt": lambda path: path.write_text("x")})
    assert store.outcome("ab12") is not None


def test_a_damaged_outcome_is_none_and_makes_room(store: Store):
    store.commit_folder(outcome("ab12", seconds=1.0), {"a.txt": lambda path: path.write_text("x")})
    (store.node_folder("ab12") / "outcome.json").write_text("{")
    assert store.outcome("ab12") is None
    assert index.known(store, ["ab12"]) == {}
    store.commit_folder(outcome("ab12", seconds=2.0), {"a.txt": lambda path: path.write_text("x")})
    found = store.outcome("ab12")
    assert found is not None
    assert found.seconds == 2.0


def test_a_damaged_row_is_not_there_and_harms_no_other(store: Store):
    store.commit_rows([outcome("aa"), outcome("bb"), outcome("cc")])
    [path] = store.rows_folder.iterdir()
    lines = path.read_text().splitlines()
    path.write_bytes(
        "\n".join([lines[0], lines[1].replace('"seed": 0', '"seed": 7'), lines[2][:-9]]).encode() + b"\xff"
    )
    assert index.known(store, ["aa", "bb", "cc"]).keys() == {"aa"}


def test_folder_is_committed_with_checksums_and_found(store: Store):
    committed = store.commit_folder(outcome("ab12"), {"notes.txt": lambda path: path.write_text("hello")})
    assert committed.folder
    assert store.outcome("ab12") == committed
    assert index.known(store, ["ab12", "cd34"]) == {"ab12": committed}


def test_failing_write_leaves_nothing(store: Store):
    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.commit_folder(outcome("ab12"), {"weights.safetensors": fail})
    assert store.outcome("ab12") is None
    assert [*(store.root / "nodes").rglob("*ab12*")] == []


def test_folder_without_outcome_is_no_node_and_is_replaced(store: Store):
    store.node_folder("ab12").mkdir(parents=True)
    (store.node_folder("ab12") / "weights.safetensors").write_bytes(b"half")
    assert store.outcome("ab12") is None
    store.commit_folder(outcome("ab12"), {"notes.txt": lambda path: path.write_text("whole")})
    assert [path.name for path in sorted(store.node_folder("ab12").iterdir())] == ["notes.txt", "outcome.json"]


def test_second_commit_of_a_node_keeps_the_first(store: Store):
    store.commit_folder(outcome("ab12", seconds=1.0), {"a.txt": lambda path: path.write_text("x")})
    store.commit_folder(outcome("ab12", seconds=2.0), {"a.txt": lambda path: path.write_text("x")})
    found = store.outcome("ab12")
    assert found is not None
    assert found.seconds == 1.0
    assert [path.name for path in (store.root / "nodes" / "ab").iterdir()] == ["ab12"]


def test_flipped_bit_in_weights_is_noticed(store: Store):
    import torch
    from safetensors.torch import save_file

    committed = store.commit_folder(
        outcome("ab12"), {"weights.safetensors": lambda path: save_file({"w": torch.ones(3)}, path)}
    )
    assert store.weights(committed)["w"].tolist() == [1, 1, 1]
    path = store.node_folder("ab12") / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(Damaged, match="damaged") as caught:
        store.weights(committed)
    assert caught.value.key == "ab12"


def test_rows_are_found_with_and_without_index(store: Store):
    store.commit_rows([outcome("aa"), outcome("bb")])
    assert index.known(store, ["aa", "cc"]).keys() == {"aa"}
    index.refresh(store, {})
    assert index.known(store, ["aa", "bb"]).keys() == {"aa", "bb"}
    for path in store.rows_folder.iterdir():
        path.unlink()
    assert index.known(store, ["aa"]) == {}, "the index must not outlive the nodes"


def test_index_is_merged_and_written_anew_when_it_is_gone_or_damaged(store: Store):
    for number in range(2 * index.FILES):
        store.commit_rows([outcome(f"{number:040x}")])
        index.refresh(store, {})
    assert len([*(store.root / "index").iterdir()]) <= index.FILES
    folder = store.commit_folder(outcome("ffff"), {"a.txt": lambda path: path.write_text("x")})
    keys = ["ffff", *(f"{number:040x}" for number in range(2 * index.FILES))]
    for path in (store.root / "index").iterdir():
        path.write_bytes(b"no parquet")
    assert index.known(store, keys).keys() == set(keys)
    for path in (store.root / "index").iterdir():
        path.unlink()
    index.refresh(store, {"ffff": folder})
    index.refresh(store, {"ffff": folder})
    assert len([*(store.root / "index").iterdir()]) == 1, "nothing new, nothing written"
    assert index.known(store, keys).keys() == set(keys)


def test_store_of_another_format_is_refused(store: Store):
    (store.root / "store.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="format 99"):
        Store.at(store.root)


def test_an_object_store_of_another_kind_is_refused_with_words():
    with pytest.raises(StoreError, match="allowed: a local folder, or s3://BUCKET/PREFIX"):
        Store.at("gs://bucket/sweeps")


def test_store_in_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        Store.at(tmp_path / "file" / "store").prepare()


def test_interrupted_atomic_write_keeps_the_old_file(tmp_path: Path):
    path = tmp_path / "a.json"
    write_atomically(path, "old")
    with pytest.raises(TypeError):
        write_atomically(path, None)  # pyright: ignore[reportArgumentType]
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_failure_is_kept_and_forgotten(store: Store):
    failure = Failure("aa", "ValueError: no", "Traceback ...", {"host": "here"})
    store.fail(failure)
    assert store.failure("aa") == failure
    store.forget_failure("aa")
    assert store.failure("aa") is None


def test_what_a_failure_says_can_be_shown_and_written_anywhere():
    failure = Failure("aa", "ValueError: lacks\n\t'fc.weight'\n\x1b[2J \udcff.png", "File \udcff\n  x\n", {})
    assert failure.error == r"ValueError: lacks 'fc.weight' \x1b[2J \udcff.png"
    assert failure.traceback == "File \\udcff\n  x\n"
