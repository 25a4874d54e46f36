"""Values as JSON knows them."""

import json

import numpy as np
import pytest

from deepbio.errors import InputMismatch, MissingPackage
from deepbio.image import Table
from deepbio.worker.values import describe_error, grid_values, plain, table_values
from tests.conftest import make_grid


def test_nothing_of_numpy_and_no_nan_is_left() -> None:
    value = {1: np.float32(0.5), "a": [np.nan, np.inf, -np.inf, np.int64(3)], "b": np.array([[1.5, np.nan]])}
    told = plain(value)
    assert told == {"1": 0.5, "a": [None, None, None, 3], "b": [[1.5, None]]}
    json.dumps(told, allow_nan=False)


def test_a_table_keeps_its_order_units_and_texts() -> None:
    table = Table({"name": np.array(["b", "a"]), "volume": [2.5, np.nan]}, {"volume": "mm^3"})
    assert table_values(table) == {
        "columns": {"name": ["b", "a"], "volume": [2.5, None]},
        "units": {"volume": "mm^3"},
    }


@pytest.mark.parametrize("left_handed", [False, True])
def test_a_grid_tells_its_direction_by_rows(left_handed: bool) -> None:
    grid = make_grid(3, left_handed=left_handed)
    told = json.loads(json.dumps(grid_values(grid)))
    assert told["unit"] == "millimeter"
    assert told["direction"] == grid.direction.tolist()
    index = np.array([3, 5, 9])
    world = np.array(told["origin"]) + np.array(told["direction"]) @ (np.array(told["spacing"]) * index)
    np.testing.assert_allclose(world, grid.to_world(index), atol=1e-9)


def test_errors_keep_kind_message_and_hint() -> None:
    assert describe_error(InputMismatch("Three.", "Two.")) == {
        "error": "InputMismatch",
        "message": "Three.",
        "hint": "Two.",
    }
    assert describe_error(MissingPackage("torch", "This", "torch"))["hint"].startswith("Install it with: pip")
    bug = describe_error(ZeroDivisionError("division by zero"))
    assert bug["error"] == "ZeroDivisionError"
    assert "error in DeepBio itself" in bug["message"]
