"""Values and errors of deepbio as JSON knows them."""

from __future__ import annotations

from typing import Any

from deepbio.errors import DeepBioError
from deepbio.image import Grid, Table

__all__ = ["describe_error", "grid_values", "plain", "table_values"]


def plain(value: Any) -> Any:
    """Return `value` made of what JSON knows; NaN and infinity, which it does not, become None.

    Examples
    --------
    >>> plain({1: (2.5, float("nan"), True)})
    {'1': [2.5, None, True]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy
        return plain(value.tolist())
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def grid_values(grid: Grid) -> dict[str, Any]:
    """Where pixels are; `direction` as rows."""
    return {
        "spacing": list(grid.spacing),
        "origin": list(grid.origin),
        "direction": grid.direction.tolist(),
        "unit": grid.unit,
    }


def table_values(table: Table) -> dict[str, Any]:
    """Columns in display order, and the units of those that have one."""
    return {
        "columns": {name: plain(values) for name, values in table.columns.items()},
        "units": dict(table.units),
    }


def describe_error(error: BaseException) -> dict[str, str]:
    """Kind, message and hint of an error; one that deepbio did not raise on purpose is told as a bug.

    Examples
    --------
    >>> describe_error(KeyError("tile"))["message"]
    "This is an error in DeepBio itself: KeyError: 'tile'"
    """
    kind = type(error).__name__
    if isinstance(error, DeepBioError):
        return {"error": kind, "message": error.message, "hint": error.hint}
    message = f"This is an error in DeepBio itself: {kind}: {error}"
    return {"error": kind, "message": message, "hint": "Please report it, with the lines of the log."}
