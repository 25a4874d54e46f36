"""What stands in ImageJ's Results of a table of ours."""

from __future__ import annotations

import pytest

from deepbio.image import Table
from imagej_bridge.files import first_columns


@pytest.mark.parametrize(
    ("units", "told"),
    [
        ({"area": "um^2", "centroid_y": "um", "orientation": "deg"}, {"unit": "um"}),
        ({"volume": "ml", "time": "s"}, {"unit": "ml"}),
        ({"time": "s", "area": "mm^2"}, {"unit": "mm"}),
        ({"time": "s"}, {}),
        ({}, {}),
    ],
)
def test_the_unit_of_rows_is_that_of_what_is_measured(units: dict[str, str], told: dict[str, str]) -> None:
    table = Table({name: [1.0] for name in (*units, "label")}, units)
    assert first_columns(table, "a.tif") == {"image": "a.tif", **told}
