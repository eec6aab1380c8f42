# ruff: noqa: E501  (a case a line)
from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import SpecError, Where
from orchestrator.sweepfile.yamlfile import load, parse_value
from orchestrator.sweepfile.yamltree import MAX_NODES


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "sweep.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load(path)
    return str(caught.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("y", "y"),
        ("5e-3", 5e-3),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("0o14", 12),
        ("0x1F", 31),
        ("007", 7),
        ("-3", -3),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("0b1", "0b1"),
        ("null", None),
        ("~", None),
        ("", None),
        ("none", "none"),
        ("True", True),
        ("false", False),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("! 5", "5"),
        ("2/255", "2/255"),
        ("[1, a, {b: 1.5}]", [1, "a", {"b": 1.5}]),
    ],
)
def test_plain_text_means_what_yaml_1_2_core_says(text: str, value: object) -> None:
    read = parse_value(text, "--set")
    assert read == value
    assert type(read) is type(value)


def test_values_know_where_they_stand(tmp_path: Path) -> None:
    path = written(tmp_path, "a:\n  b: [1, 2]\n  c: &x {d: 1}\ne: *x\n")
    document = load(path)
    assert document.value == {"a": {"b": [1, 2], "c": {"d": 1}}, "e": {"d": 1}}
    assert document.where(("a", "b")) == Where(str(path), 2, 3)
    assert document.where(("a", "b", 1)) == Where(str(path), 2, 10)
    assert document.where(("a", "b", 1, "deeper")) == Where(str(path), 2, 10)
    assert document.where(("e", "d")) == Where(str(path), 4, 1)
    assert document.where(("absent",)) == Where(str(path), 1, 1)


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    assert load(written(tmp_path, b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")).value == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sweep.yaml:1:1: the file is empty; expected a mapping"),
        ("- a\n", "sweep.yaml:1:1: the file holds a list; expected a mapping"),
        ("text", "sweep.yaml:1:1: the file holds the text 'text'"),
        (
            "a: [1,\nb: 2",
            "sweep.yaml:2:5: no YAML: did not find expected ',' or ']' (while parsing a flow sequence that begins in line 1)",
        ),
        ("a: 1\n\tb: 2\n", "sweep.yaml:2:1: no YAML: a tab cannot indent; use spaces"),
        ("a: 'x\n", "sweep.yaml:1:6: no YAML: found unexpected end of stream"),
        ("a: 1\n---\nb: 2\n", "sweep.yaml:2:1: a second document"),
        ("a: *b\n", "sweep.yaml:1:4: *b names no anchor above"),
        ("a: &b [*b]\n", "sweep.yaml:1:8: *b stands inside what it names"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "sweep.yaml:3:3: `<<` merges are not YAML 1.2"),
        (
            "a: !!python/object:os.system x\n",
            "sweep.yaml:1:4: the tag '!!python/object:os.system' is not",
        ),
        ("a: !!set {b}\n", "sweep.yaml:1:4: the tag '!!set' is not allowed"),
        ("[a]: 1\n", "sweep.yaml:1:1: a key must be plain text or a number"),
        ("a: .inf\n", "sweep.yaml:1:4: .inf is not a finite number"),
        ("a: [.nan]\n", "sweep.yaml:1:5: .nan is not a finite number"),
        ("a: 1e400\n", "sweep.yaml:1:4: 1e400 is not a finite number"),
        ("a: 9223372036854775808\n", "sweep.yaml:1:4: 9223372036854775808 does not fit a 64-bit whole number"),
        ("a: " + "9" * 5000, "does not fit a 64-bit whole number"),
        ("a: " + "[" * 5000, "sweep.yaml:1:54: nested deeper than 50 levels"),
        ("a: 1\nb: {c: 1, c: 2}\n", "sweep.yaml:2:11: b.c: duplicate key; it is already in line 2, column 5"),
        ("1: a\ntrue: b\n", "sweep.yaml:2:1: true: duplicate key; it is already in line 1, column 1 as the number 1"),
        ("a: \x01\n", "sweep.yaml:1:4: no YAML: the character"),
        (b"a: 1\nb: \xff\n", "sweep.yaml:2:4: byte 0xff is not UTF-8"),
    ],
)
def test_what_is_no_sweep_file_is_refused_with_its_place(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert message in refusal(written(tmp_path, text))


def test_all_duplicates_and_bad_numbers_are_said_at_once(tmp_path: Path) -> None:
    said = refusal(written(tmp_path, "a: 1\na: 2\nb: .inf\na: 3\n"))
    assert [line.split(": ")[0] for line in said.splitlines()] == ["sweep.yaml:2:1", "sweep.yaml:3:4", "sweep.yaml:4:1"]


def test_aliases_that_explode_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert f"more than {MAX_NODES:,} values" in refusal(written(tmp_path, "\n".join(lines)))


def test_aliases_that_nest_deeply_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 60)]
    assert "sweep.yaml:49:12: nested deeper than 50 levels" in refusal(written(tmp_path, "\n".join(lines)))


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("a: 1")
    assert refusal(tmp_path / "quikstart.yaml") == "quikstart.yaml: no such file; did you mean 'quickstart.yaml'?"
    assert refusal(tmp_path / "absent" / "x.yaml").endswith("x.yaml: no such file")
    assert "is a folder; expected a YAML file" in refusal(tmp_path)
    assert "cannot be read" in refusal(Path("a\0b"))
    assert "is larger than 5 MB" in refusal(written(tmp_path, b"#" * 5_000_001))


def test_a_device_is_not_read_to_its_end() -> None:
    with pytest.raises(SpecError, match="is larger than 5 MB"):
        load(Path("/dev/zero"))
