"""The box plot: where boxes, medians and dots lie, and what is told of values without a number."""

import math

import numpy as np
import pytest

from deepbio.render import Panel, box_plot
from deepbio.render.boxes import BOTTOM, BOX, GAP, LOW_ROW, MANY, ROW, TOP, WIDTH, nice_step

NAMES = 60 + 24  # width of the column of short names


def row_of(picture: np.ndarray, number: int) -> np.ndarray:
    """The middle of the upper half of a row's box, along x."""
    return picture[TOP + number * ROW + ROW // 2 - 9]


def is_near(pixels: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return np.abs(pixels.astype(int) - color).max(-1) < 12


def test_a_box_lies_between_the_quartiles() -> None:
    values = [0.0, 0.2, 0.25, 0.4, 0.6, 0.65, 0.8, 1.0, 0.2, 0.8]
    picture = np.asarray(box_plot([Panel("Dice", {"a": values}, low=0.0, high=1.0)]))
    assert picture.shape == (TOP + ROW + BOTTOM, NAMES + WIDTH + GAP + 8, 3)
    filled = np.flatnonzero(is_near(row_of(picture, 0), BOX))
    first, third = np.percentile(values, (25, 75))
    assert filled[0] == pytest.approx(NAMES + (WIDTH - 12) * first, abs=3)
    assert filled[-1] == pytest.approx(NAMES + (WIDTH - 12) * third, abs=3)


def test_the_median_is_dark() -> None:
    picture = np.asarray(box_plot([Panel("Dice", {"a": [0.1, 0.5, 0.9]}, low=0.0, high=1.0)]))
    dark = np.flatnonzero(row_of(picture, 0).max(-1) < 90)
    assert dark.mean() == pytest.approx(NAMES + (WIDTH - 12) * 0.5, abs=1)


def test_panels_share_their_rows() -> None:
    panels = [Panel(name, {"a": [1.0, 2.0], "b": [3.0]}) for name in ("x", "y", "z")]
    picture = box_plot(panels, title="three")
    assert picture.size == (NAMES + 3 * (WIDTH + GAP) + 8, TOP + 2 * ROW + BOTTOM)


@pytest.mark.parametrize(("rows", "height"), [(1, ROW), (MANY, ROW), (MANY + 1, LOW_ROW)])
def test_many_classes_get_lower_rows(rows: int, height: int) -> None:
    panel = Panel("Dice", {f"class {n}": [0.5] for n in range(rows)})
    assert box_plot([panel]).height == TOP + rows * height + BOTTOM


def ink(values: list[float], **limits: float) -> np.ndarray:
    return np.asarray(box_plot([Panel("x", {"a": values}, **limits)])).astype(int)


def test_infinite_values_are_told_beside_the_panel() -> None:
    with_two = ink([1.0, 2.0, math.inf, math.inf], low=0.0)
    margin = with_two[TOP : TOP + ROW, NAMES + WIDTH - 70 :]
    assert (margin.min(-1) < 160).any()
    assert not (ink([1.0, 2.0], low=0.0)[TOP : TOP + ROW, NAMES + WIDTH - 8 :].min(-1) < 160).any()


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf], [3.0], [0.0, 0.0]])
@pytest.mark.parametrize("limits", [{}, {"low": 0.0}, {"high": 1.0}, {"low": 0.0, "high": 1.0}])
def test_few_values_or_none(values: list[float], limits: dict[str, float]) -> None:
    assert (ink(values, **limits)[TOP : TOP + ROW] < 160).any()


def test_no_rows() -> None:
    assert box_plot([Panel("Dice", {})]).height == TOP + ROW + BOTTOM


def test_long_names_are_cut() -> None:
    wide = [box_plot([Panel("Dice", {"w" * n: [0.5]})]).width for n in (40, 400)]
    assert wide[0] == wide[1] == 240 + 24 + WIDTH + GAP + 8


@pytest.mark.parametrize("span", [1e-6, 0.3, 1.0, 7.0, 60.0, 61.0, 12345.0])
def test_steps_are_round_and_few(span: float) -> None:
    step = nice_step(span)
    assert span / step <= 6 + 1e-6
    assert span / step > 2
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9)) in (1, 2, 5)
