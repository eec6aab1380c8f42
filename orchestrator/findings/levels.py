"""Levels as people read them, and as the columns of a table hold them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pyarrow

from orchestrator.sweepfile.axes import Scalar

_INT64 = range(-(2**63), 2**63)


def level_text(label: Scalar) -> str:
    """A level as YAML writes it; a whole number has no point, also in a column of floats.

    Example:
        >>> [level_text(label) for label in (None, True, 0.0, 5e-4, "none")]
        ['null', 'true', '0', '0.0005', 'none']
    """
    if label is None or isinstance(label, bool):
        return {None: "null", True: "true", False: "false"}[label]
    if isinstance(label, float) and label.is_integer() and abs(label) < 1e15:
        return str(int(label))
    return str(label)


def is_level(value: Scalar, label: Scalar) -> bool:
    """Whether a value of an axis column is the level that a spec writes as `label`."""
    if isinstance(value, str | bool) or isinstance(label, bool | str | None):
        return level_text(value) == level_text(label)
    return value == label


def short_names(axes: Iterable[str]) -> dict[str, str]:
    """Each axis' last dotted part where no other axis has the same, else its full name.

    Example:
        >>> short_names(["a.lr", "b.lr", "train.data.augment"])
        {'a.lr': 'a.lr', 'b.lr': 'b.lr', 'train.data.augment': 'augment'}
    """
    names = list(axes)
    last = Counter(name.rpartition(".")[2] for name in names)
    return {name: name if last[name.rpartition(".")[2]] > 1 else name.rpartition(".")[2] for name in names}


def level_type(labels: Sequence[Scalar]) -> pyarrow.DataType:
    """The column type of an axis: of its labels where they agree, float64 for mixed numbers, else string."""
    kinds = {type(label) for label in labels}
    if kinds == {bool}:
        return pyarrow.bool_()
    if kinds == {int}:
        return pyarrow.int64() if all(label in _INT64 for label in labels) else pyarrow.string()
    return pyarrow.float64() if kinds and kinds <= {int, float} else pyarrow.string()


def level_array(labels: Sequence[Scalar], of_type: pyarrow.DataType) -> pyarrow.Array:
    """Labels as a column of the type that `level_type` gave; as text they are what `level_text` writes."""
    if of_type == pyarrow.string():
        return pyarrow.array([level_text(label) for label in labels], of_type)
    return pyarrow.array(labels, of_type)
