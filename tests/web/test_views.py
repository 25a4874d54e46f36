"""What the views say about their sides."""

import numpy as np
import pytest

pytest.importorskip("trame_slicer")

from deepbio_web.views import letters_of


@pytest.mark.parametrize(
    ("way", "letters"),
    [
        ((1, 0, 0), "R"),
        ((0, 0, -1), "I"),
        ((0.98, 0.15, -0.1), "R"),
        ((-0.63, 0.77, 0.1), "AL"),  # a short-axis view of the heart: never one letter for two sides
        ((0.55, 0.6, -0.58), "AIR"),
    ],
)
def test_directions_have_the_letters_of_dicom(way: tuple[float, float, float], letters: str) -> None:
    unit = np.array(way) / np.linalg.norm(way)
    assert letters_of(unit) == letters
    opposite = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}
    assert letters_of(-unit) == "".join(opposite[one] for one in letters)
