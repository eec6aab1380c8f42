"""Records that are cut, mixed, empty or odd: a clear result or one message from table, claims, figures and report."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from orchestrator.cli import main
from tests.drawn import ODD, PLANE, run

COMMANDS = {
    "table": ["table"],
    "explain": ["table", "--explain", "5,noise=0.1/norm"],
    "claims": ["claims"],
    "figures": ["figures", "--format", "svg"],
    "report": ["report"],
    "index": ["report", "other"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    run(folder, PLANE)
    run(folder, PLANE.replace("name: plane", "name: other"))
    return folder / "runs"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


def ask(store: Path, command: str, name: str = "plane") -> int:
    first, *rest = COMMANDS[command]
    output = ["--output", str(store.parent / "out")] if first in ("figures", "report") else []
    return main([first, name, *rest, "--store", str(store), *output])


def trials(store: Path) -> Path:
    return store / "records" / "plane" / "trials.parquet"


def rewrite(path: Path, change: Callable[[pyarrow.Table], pyarrow.Table]) -> None:
    pyarrow.parquet.write_table(change(pyarrow.parquet.ParquetFile(path).read()), path)


def replaced(name: str, column: Callable[[pyarrow.Table], pyarrow.Array]) -> Callable[[pyarrow.Table], pyarrow.Table]:
    return lambda table: table.set_column(table.column_names.index(name), name, column(table))


def marked(table: pyarrow.Table) -> pyarrow.Table:
    return table.replace_schema_metadata({**(table.schema.metadata or {}), b"schema": b"7"})


def texts(table: pyarrow.Table) -> pyarrow.Array:
    return pyarrow.array(["much"] * table.num_rows)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "trials.parquet: damaged ("),
    "half": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "trials.parquet: damaged ("),
    "empty file": (lambda path: path.write_bytes(b""), "trials.parquet: damaged ("),
    "no Parquet": (lambda path: path.write_text("status\ndone\n" * 9), "trials.parquet: damaged ("),
    "a hole": (
        lambda path: path.write_bytes(path.read_bytes()[:300] + bytes(2000) + path.read_bytes()[2300:]),
        "trials.parquet: damaged (",
    ),
    "gone": (lambda path: path.unlink(), "trials.parquet: no records of a sweep 'plane'; `sweep run` writes them"),
    "no status": (lambda path: rewrite(path, lambda table: table.drop(["status"])), "it has no column 'status'"),
    "an odd status": (lambda path: rewrite(path, replaced("status", texts)), "a status 'much'; allowed: done,"),
    "a metric of words": (
        lambda path: rewrite(path, replaced("metric.norm", texts)),
        "column 'metric.norm' is string and should be double",
    ),
    "a later schema": (lambda path: rewrite(path, marked), "records of schema 7; this version reads 1"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", BROKEN)
def test_one_message(store: Path, case: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    change, message = BROKEN[case]
    change(trials(store))
    assert ask(store, command) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", ["figures", "report"])
@pytest.mark.parametrize("size", [0, 100, -50])
def test_cut_curves(store: Path, command: str, size: int, capsys: pytest.CaptureFixture[str]) -> None:
    path = store / "records" / "plane" / "curves" / "curves.parquet"
    path.write_bytes(path.read_bytes()[:size])
    code, said = ask(store, command), capsys.readouterr()
    if command == "figures":
        assert code == 2
        assert "curves.parquet: damaged (" in said.err
    else:
        assert code == 0, "the rest of the report is there"
        assert "curves.parquet: damaged (" in (store.parent / "out").read_text()


def foreign(table: pyarrow.Table) -> pyarrow.Table:
    """As other programs write it: dictionaries, large strings, narrower numbers, columns in another order, no error."""
    for name in ("status", "meta.trial", "meta.node.fit"):
        table = replaced(name, lambda found, name=name: found[name].dictionary_encode())(table)
    table = replaced("meta.commit", lambda found: found["meta.commit"].cast(pyarrow.large_string()))(table)
    table = replaced("metric.norm", lambda found: found["metric.norm"].cast(pyarrow.float32()))(table)
    return table.drop(["error"]).select([name for name in reversed(table.column_names) if name != "error"])


@pytest.mark.parametrize("command", COMMANDS)
def test_records_of_other_programs_are_read(store: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(trials(store), foreign)
    assert ask(store, command) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_records_without_provenance_are_read(store: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As a first version may have written them, or somebody by hand."""
    rewrite(trials(store), lambda table: table.select([n for n in table.column_names if not n.startswith("meta.")]))
    code, said = ask(store, command), capsys.readouterr()
    if command == "figures":
        assert (code, "the records have no stage 'fit'; allowed: none" in said.err) == (2, True)
    else:
        assert (code, said.err) == (0, ""), "the report says what is not there in its figures' places"


def test_records_that_hold_markup_are_shown_as_text(store: Path) -> None:
    """Of somebody else's store nothing is believed: no commit, no key of a node."""
    markup = '"><img src=x onerror=alert(1)>'
    for name in ("meta.commit", "meta.node.fit", "meta.trial"):
        rewrite(trials(store), replaced(name, lambda table: pyarrow.array([markup] * table.num_rows)))
    assert ask(store, "report") == 0
    page = (store.parent / "out").read_text()
    assert "&lt;img src=x" in page
    assert "<img" not in page


@pytest.mark.parametrize("command", COMMANDS)
def test_values_that_are_no_numbers(store: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    odd = [math.nan, math.inf, -math.inf]
    rewrite(
        trials(store),
        replaced("metric.norm", lambda table: pyarrow.array([odd[at % 3] for at in range(table.num_rows)])),
    )
    assert ask(store, command) == 0
    text = capsys.readouterr().out
    if command == "table":
        assert "2 not finite of 2 trials" in text
        assert "nan" not in text.lower()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_single_seed(store: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(
        trials(store), lambda table: table.filter(pyarrow.array([seed == 0 for seed in table["axis.seed"].to_pylist()]))
    )
    assert ask(store, command) == 0
    text = capsys.readouterr().out
    if command == "table":
        assert "single values, n=1" in " ".join(text.split()).lower()
        assert "± 0 " not in text
    if command == "claims":
        assert "? undecided" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_a_sweep_of_no_trials(store: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(trials(store), lambda table: table.slice(0, 0))
    code, said = ask(store, command), capsys.readouterr()
    if command == "explain":
        assert (code, "no row '5'; allowed: none" in said.err) == (2, True)
    else:
        assert (code, said.err) == (0, "")
    if command == "table":
        assert "The sweep has no trials." in said.out
    if command == "report":
        assert "<strong>Partial:</strong> no trials." in (store.parent / "out").read_text()


@pytest.mark.parametrize("format", ["text", "markdown", "csv", "json", "latex", "html"])
def test_levels_with_commas_and_greek_letters(tmp_path: Path, format: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, ODD)
    assert main(["table", "odd", "--store", str(tmp_path / "runs"), "--format", format]) == 0
    text = capsys.readouterr().out
    assert {"csv": '"a, b",', "latex": "\na, b & "}.get(format, "a, b") in text
    assert {"latex": r"$\mu$$^2$ = \$1\$ \& \_x", "html": "μ² = $1$ &amp; _x", "markdown": r"μ² = $1$ & \_x"}.get(
        format, "μ² = $1$ & _x"
    ) in text


def test_a_sweep_without_tables_or_claims_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, "name: bare\nstages: {walk: {workload: tests.toys.walk}}\naxes: {seed: 1}\n")
    assert main(["table", "bare", "--store", str(tmp_path / "runs")]) == 2
    assert "bare has no tables: its file has no `tables:`" in capsys.readouterr().err
    assert main(["claims", "bare", "--store", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out == "bare has no claims: its file has no `claims:`\n"
