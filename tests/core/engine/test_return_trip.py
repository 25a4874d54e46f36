"""Results from the working grid to the image's own."""

import numpy as np
import pytest
from scipy import ndimage

from deepbio.engine import return_trip as module
from deepbio.engine.geometry import GridSpec, Placement, place
from deepbio.engine.resample import nearest
from deepbio.engine.return_trip import classes_to_input, labels_to_input, scores_to_input
from deepbio.image import Grid

from .grids import GRIDS

BOX = ((1, 19), (2, 19), (0, 17))


def _bands(scores: np.ndarray, height: int):
    for start in range(0, scores.shape[1], height):
        stop = min(start + height, scores.shape[1])
        yield start, stop, scores[:, start:stop].copy()


def _joined(bands) -> np.ndarray:
    parts, end = [], 0
    for start, stop, part in bands:
        assert start == end
        assert part.shape[1] == stop - start
        parts.append(part)
        end = stop
    return np.concatenate(parts, axis=1)


def _expected(scores: np.ndarray, placed: Placement) -> np.ndarray:
    """Linear interpolation by scipy, where no axis shrinks."""
    places = [
        (np.arange(n) + 0.5) * size / n - 0.5
        for n, size in zip(placed.box_shape, placed.grid.shape, strict=True)
    ]
    where = np.meshgrid(*places, indexing="ij")
    return np.stack([ndimage.map_coordinates(c, where, order=1, mode="nearest") for c in scores])


@pytest.mark.parametrize("height", [1, 4, 100])
@pytest.mark.parametrize("spacing", [(3.0, 1.5, 2.0), (2.5, 1.1, 0.9)])
def test_scores_are_interpolated_linearly(height: int, spacing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_VALUES", 9000)
    placed = place(GRIDS["oblique"], GridSpec(spacing))
    scores = np.random.default_rng(0).standard_normal((3, *placed.grid.shape)).astype(np.float32)
    found = _joined(scores_to_input(_bands(scores, height), placed))
    np.testing.assert_allclose(found, _expected(scores, placed), atol=1e-5)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("smooth", [0, 3])
def test_classes_in_blocks_equal_the_argmax_of_the_whole(
    name: str, count: int, smooth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PIXELS", 4000)
    monkeypatch.setattr(module, "_EDGE", 11)
    placed = place(GRIDS[name], GridSpec((1.2, 1.3, 1.1), orientation="SAR"), BOX)
    scores = np.random.default_rng(0).standard_normal((count, *placed.grid.shape))
    if smooth:
        scores = np.stack([ndimage.gaussian_filter(c, smooth) for c in scores])
    scores = scores.astype(np.float32)
    whole = _joined(scores_to_input(_bands(scores, 3), placed))
    out = np.full(placed.box_shape, 99, np.uint8)
    present = classes_to_input(_bands(scores, 5), placed, out)
    ranked = np.sort(whole, axis=0)
    clear = ranked[-1] - ranked[-2] > 1e-5 if count > 1 else np.ones(out.shape, bool)
    np.testing.assert_array_equal(out[clear], whole.argmax(0)[clear])
    assert clear.mean() > 0.99
    assert present == np.count_nonzero(np.unique(out))


def test_two_dimensions() -> None:
    grid = Grid((41, 67), (0.4, 0.3), unit="micrometer")
    placed = place(grid, GridSpec((0.65, 0.65), "micrometer"))
    scores = np.random.default_rng(0).standard_normal((2, *placed.grid.shape)).astype(np.float32)
    found = _joined(scores_to_input(_bands(scores, 3), placed))
    np.testing.assert_allclose(found, _expected(scores, placed), atol=1e-5)
    out = np.empty(grid.shape, np.uint8)
    classes_to_input(_bands(scores, 7), placed, out)
    np.testing.assert_array_equal(out, found.argmax(0))


def test_nothing_to_interpolate_passes_the_bands_on() -> None:
    placed = place(GRIDS["axial"], GridSpec(orientation="SAR"))
    band = (0, 3, np.zeros((1, 3, 4, 5), np.float32))
    assert next(iter(scores_to_input([band], placed)))[2] is band[2]


def test_the_makers_of_bands_come_to_their_end() -> None:
    ended = []
    placed = place(GRIDS["axial"], GridSpec((1.0, 1.0, 1.0)))

    def bands():
        yield from _bands(np.zeros((2, *placed.grid.shape), np.float32), 10)
        ended.append(True)

    list(scores_to_input(bands(), placed))
    classes_to_input(bands(), placed, np.empty(placed.box_shape, np.uint8))
    assert ended == [True, True]


@pytest.mark.parametrize("rows", [1, 10**9])
def test_objects_come_back_whole(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIXELS", rows)
    placed = place(GRIDS["axial"], GridSpec((1.4, 1.6, 1.0)))
    labels = np.random.default_rng(0).integers(0, 9000, placed.grid.shape).astype(np.int32)
    out = np.zeros(placed.box_shape, np.int32)
    labels_to_input(labels, placed, out)
    for index in ((0, 0, 0), (20, 66, 90), (9, 31, 50)):
        world = placed.source.to_world(index)
        assert out[index] == labels[tuple(np.rint(placed.grid.to_index(world)).astype(int))]


@pytest.mark.parametrize("rows", [1, 10**9])
@pytest.mark.parametrize("shape", [(7, 9), (3, 5, 7)])
def test_no_object_vanishes(shape, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of one place each, none of which holds the centre of a pixel, in every second pixel."""
    monkeypatch.setattr(module, "_PIXELS", rows)
    placed = place(Grid(shape), GridSpec(zoom=2.75))
    working = placed.grid.shape
    aside = [
        np.flatnonzero(~np.isin(np.arange(n), nearest(n, m))) for n, m in zip(working, shape, strict=True)
    ]
    inside = [nearest(m, n) for n, m in zip(working, shape, strict=True)]
    expected, labels = np.zeros(shape, np.int32), np.zeros(working, np.int32)
    for index in np.ndindex(*shape):
        if sum(index) % 2 == 0:
            at = tuple(axis[holds[axis] == i][0] for i, axis, holds in zip(index, aside, inside, strict=True))
            labels[at] = expected[index] = expected.max() + 1
    out = np.zeros(shape, np.int32)
    assert labels_to_input(labels, placed, out) == expected.max() > 20
    np.testing.assert_array_equal(out, expected)


def test_a_lost_object_takes_the_pixel_it_lies_in() -> None:
    placed = place(Grid((3, 4)), GridSpec(zoom=2.0))
    labels = np.zeros((6, 8), np.int32)
    labels[2:6, 4:8] = 1
    labels[2, 2] = 2  # nearest takes the second place of a pair
    labels[4, 4] = 5  # in a pixel of the first, which has others
    out = np.zeros((3, 4), np.int32)
    assert labels_to_input(labels, placed, out) == 3
    assert out.tolist() == [[0, 0, 0, 0], [0, 2, 1, 1], [0, 0, 5, 1]]
    assert labels_to_input(labels, placed, out, min_size=2) == 1
    assert out.tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
