"""Outlines hold the pixels of their objects, exactly, whatever the objects look like."""

from __future__ import annotations

import numpy as np
import pytest

from deepbio.errors import ImageError
from deepbio.image import LabelMap
from deepbio.io.outlines import Outline, outlines_of, trace_outlines


def filled(shape: tuple[int, ...], outline: Outline) -> np.ndarray:
    """Pixels inside by the even-odd rule: those with an odd number of upright edges on their left."""
    edges = np.zeros((shape[0], shape[1] + 1), int)
    for path in outline.paths:
        for (x, y), (x_next, y_next) in zip(path.tolist(), np.roll(path, -1, axis=0).tolist(), strict=True):
            if x == x_next:
                edges[min(y, y_next) : max(y, y_next), x] += 1
    return edges.cumsum(axis=1)[:, :-1] % 2 == 1


def twice_area(path: np.ndarray) -> int:
    x, y = path.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def assert_exact(labels: np.ndarray, outlines: list[Outline]) -> None:
    assert [outline.label for outline in outlines] == [label for label in np.unique(labels) if label]
    for outline in outlines:
        inside = labels == outline.label
        np.testing.assert_array_equal(filled(labels.shape, outline), inside)
        assert sum(map(twice_area, outline.paths)) == 2 * np.count_nonzero(inside)
        assert twice_area(outline.paths[0]) > 0
        for path in outline.paths:
            assert (path.dtype, path.shape[1]) == (np.int32, 2)
            steps = np.diff(path, axis=0, append=path[:1])
            assert ((steps != 0).sum(axis=1) == 1).all()  # along rows and columns, each step somewhere
            assert ((steps[:, 0] != 0) != (np.roll(steps[:, 0], 1) != 0)).all()  # each point is a turn


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64])
@pytest.mark.parametrize("shape", [(1, 1), (1, 13), (11, 1), (7, 11), (23, 9)])
@pytest.mark.parametrize("highest", [1, 2, 6])
def test_noise_of_any_type(
    rng: np.random.Generator, dtype: type, shape: tuple[int, int], highest: int
) -> None:
    labels = rng.integers(0, highest + 1, shape).astype(dtype)
    assert_exact(labels, trace_outlines(labels))


def test_large_labels_and_views(rng: np.random.Generator) -> None:
    labels = rng.choice(np.array([0, 3, 70000, 2**31 + 5], np.uint32), (9, 14))[::-1, 1::2]
    assert_exact(labels, trace_outlines(labels))


def test_an_object_that_fills_the_plane() -> None:
    (outline,) = trace_outlines(np.full((5, 8), 4, np.uint8))
    assert outline.paths[0].tolist() == [[0, 0], [8, 0], [8, 5], [0, 5]]


def test_pixels_that_touch_at_a_corner_are_one_path() -> None:
    (outline,) = trace_outlines(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]))
    assert [path.tolist() for path in outline.paths] == [
        [[0, 0], [1, 0], [1, 1], [2, 1], [2, 2], [1, 2], [1, 1], [0, 1]],
        [[2, 3], [3, 3], [3, 4], [2, 4]],
    ]


def test_holes_that_touch_at_a_corner_are_two_and_turn_the_other_way() -> None:
    labels = np.full((5, 6), 9)
    labels[1, 2] = labels[2, 3] = 0
    (outline,) = trace_outlines(labels)
    assert [twice_area(path) for path in outline.paths] == [60, -2, -2]
    assert_exact(labels, [outline])


def test_an_object_in_the_hole_of_another() -> None:
    labels = np.zeros((7, 9), np.uint16)
    labels[:, 1:] = 3
    labels[2:5, 3:7] = 0
    labels[3, 4:6] = 1
    inner, outer = trace_outlines(labels)
    assert (len(inner.paths), len(outer.paths)) == (1, 2)
    assert_exact(labels, [inner, outer])


def test_nothing_gives_nothing() -> None:
    assert trace_outlines(np.zeros((3, 5), np.int32)) == []


def test_only_planes_are_traced() -> None:
    with pytest.raises(ImageError, match=r"shape \(2, 3, 5\)"):
        trace_outlines(np.zeros((2, 3, 5), int))


@pytest.mark.parametrize(
    ("axes", "shape"), [("YX", (7, 11)), ("ZYX", (5, 7, 11)), ("TYX", (3, 7, 11)), ("TZYX", (3, 5, 7, 11))]
)
def test_planes_of_a_stack(rng: np.random.Generator, axes: str, shape: tuple[int, ...]) -> None:
    labels = rng.integers(0, 4, shape)
    found = list(outlines_of(LabelMap(labels, axes)))
    assert len({outline.name for outline in found}) == len(found)
    assert [(outline.t, outline.z) for outline in found] == sorted(
        (o.t, o.z) for o in found
    ) or axes != "TZYX"
    for outline in found:
        index = tuple(at for at in (outline.t, outline.z) if at is not None)
        assert len(index) == len(shape) - 2
        np.testing.assert_array_equal(filled(shape[-2:], outline), labels[index] == outline.label)
