"""Polygons become the objects that StarDist 0.9.2 finds: tests/data/stardist/make.py saved them."""

import math
from pathlib import Path

import numpy as np
import pytest
from skimage.draw import polygon2mask

from deepbio.errors import CardError
from deepbio.tasks.decode import decode, split_objects
from deepbio.tasks.decoder import Decoder
from deepbio.tasks.stars import kept_stars
from deepbio.tasks.stitch import label_bands

DECODED = Path(__file__).parents[2] / "data" / "stardist" / "decoded.npz"
RAYS = 32


def _decoder(**changes: object) -> Decoder:
    entries = {"method": "stars", "grid": [1, 1], "divisor": [4, 4], "min_size": 1, "logits": False}
    return Decoder.from_card({**entries, **changes})


def _scores(shape: tuple[int, int], *discs: tuple[int, int, float, float]) -> np.ndarray:
    """Scores with one candidate (y, x, radius, probability) for each disc."""
    scores = np.zeros((1 + RAYS, *shape), np.float32)
    for y, x, radius, prob in discs:
        scores[0, y, x], scores[1:, y, x] = prob, radius
    return scores


def _crowd(shape: tuple[int, int], count: int, grid: int = 1, seed: int = 0) -> np.ndarray:
    """Scores of overlapping blobs, each with candidates around its centre."""
    drawn = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    scores = np.zeros((1 + RAYS, *shape), np.float32)
    angles = np.linspace(0, 2 * np.pi, RAYS, endpoint=False)
    for _ in range(count):
        cy, cx, radius = drawn.uniform(0, shape[0]), drawn.uniform(0, shape[1]), drawn.uniform(6, 12)
        low, high = (int(max(c - radius, 0)) for c in (cy, cx)), (int(c + radius + 2) for c in (cy, cx))
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        dy, dx = y[box] - cy, x[box] - cx
        depth = 1 - np.hypot(dy, dx) / radius
        better = depth > scores[0][box]
        along = np.sin(angles)[:, None, None] * dy + np.cos(angles)[:, None, None] * dx
        rays = -along + np.sqrt(np.maximum(radius**2 - dy**2 - dx**2 + along**2, 0))
        rays *= 1 + 0.1 * drawn.standard_normal(rays.shape)
        scores[0][box] = np.where(better, depth, scores[0][box])
        scores[1:, *box] = np.where(better, rays, scores[1:, *box])
    places = (np.indices(shape) % grid).any(0)  # what lies between is a repetition, which nobody looks at
    scores[:, places] = -1
    return scores


@pytest.mark.parametrize("overlap", [0.2, 0.4, 0.6])
def test_the_same_objects_as_stardist(overlap: float) -> None:
    told = np.load(DECODED)
    shape, points = told[f"labels_{overlap}"].shape, told["points"]
    scores = np.full((1 + RAYS, *shape), -1, np.float32)
    scores[0, points[:, 0], points[:, 1]] = told["prob"]
    scores[1:, points[:, 0], points[:, 1]] = told["dist"].T
    labels, anchors = split_objects(
        scores, _decoder(threshold=0.3, overlap=overlap, grid=[2, 2], divisor=[8, 8])
    )
    theirs = told[f"points_{overlap}"]
    assert {*anchors.tolist()} == {*(theirs @ [shape[1], 1]).tolist()}
    # StarDist numbers by probability, here objects are numbered by their centres
    order = np.argsort(theirs @ [shape[1], 1])
    names = np.concatenate([[0], order + 1])
    np.testing.assert_array_equal(names[labels], told[f"labels_{overlap}"])


def test_the_less_probable_of_two_goes_and_what_is_more_probable_lies_on_top() -> None:
    apart, near = (20, 20, 8.0, 0.9), (20, 25, 8.0, 0.8)
    scores = _scores((41, 60), apart, near, (20, 33, 8.0, 0.7))
    labels, anchors = split_objects(scores, _decoder(overlap=0.4))
    assert anchors.tolist() == [20 * 60 + 20, 20 * 60 + 33]
    assert labels[20, 26] == 1  # both hold it
    both, _ = split_objects(scores, _decoder(overlap=0.99))
    assert (both[20, 24], both[20, 29], both[20, 35]) == (1, 2, 3)
    area = (labels == 1).sum()
    assert abs(area - math.pi * 64) < 8


def test_candidates_at_the_border_of_the_padded_image_are_left_out() -> None:
    places = [(1, 9), (2, 9), (9, 1), (9, 2), (20, 9), (21, 9), (9, 29), (9, 30)]
    discs = [(y, x, 0.6, 0.9 - 0.01 * k) for k, (y, x) in enumerate(places)]
    # 22 rows are padded to 24, whose last two are left out; 32 columns are not padded
    _, anchors = split_objects(_scores((22, 32), *discs), _decoder())
    assert [divmod(int(a), 32) for a in anchors] == [(2, 9), (9, 2), (9, 29), (20, 9), (21, 9)]


def test_nothing_and_one_object() -> None:
    labels, anchors = split_objects(_scores((9, 14)), _decoder())
    assert (labels.max(), labels.shape, len(anchors)) == (0, (9, 14), 0)
    assert decode(_scores((9, 14), (4, 6, 2.0, 0.9)), _decoder()).max() == 1
    assert decode(_scores((9, 14), (4, 6, 2.0, 0.9)), _decoder(threshold=0.95)).max() == 0
    assert decode(_scores((9, 14), (4, 6, 2.0, 0.9)), _decoder(min_size=50)).max() == 0


@pytest.mark.parametrize("grid", [1, 2])
@pytest.mark.parametrize("heights", [(40, 24), (13, 7, 31)])
def test_windows_find_the_objects_of_the_whole(grid: int, heights: tuple[int, ...]) -> None:
    shape = (701, 93)
    scores = _crowd(shape, 150, grid)
    decoder = _decoder(grid=[grid, grid], divisor=[4 * grid, 4 * grid], reach=64, threshold=0.4)
    whole = decode(scores, decoder)
    assert whole.max() > 80
    stops = np.minimum(np.cumsum(np.resize(heights, 60)), shape[0])
    starts = [0, *stops[:-1]]
    bands = ((a, b, scores[:, a:b].copy()) for a, b in zip(starts, stops, strict=True) if b > a)
    labels = np.zeros(shape, np.int32)
    assert label_bands(bands, decoder, labels, window_pixels=200 * 93 * 4 // grid**2) == whole.max()
    np.testing.assert_array_equal(labels, whole)


def test_suppression_is_that_of_areas_counted_pixel_by_pixel() -> None:
    drawn = np.random.default_rng(0)
    points = np.unique(drawn.integers(40, 150, (40, 2)), axis=0)
    drawn.shuffle(points)
    dist = drawn.uniform(15, 30, (len(points), 1)) * drawn.uniform(0.7, 1, (len(points), RAYS))
    kept = kept_stars(points, dist.astype(np.float32), 0.35, (1, 1))
    masks = [_mask(point, rays) for point, rays in zip(points, dist, strict=True)]
    expected: list[int] = []
    for k, own in enumerate(masks):
        parts = [(own & masks[i]).sum() / min(own.sum(), masks[i].sum()) for i in expected]
        assert all(abs(part - 0.35) > 5e-3 for part in parts)  # nothing is left to rounding
        if all(part <= 0.35 for part in parts):
            expected.append(k)
    assert kept.tolist() == expected
    assert 5 < len(kept) < 30


def _mask(point: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """A polygon with corners as they are rounded, four times as fine."""
    angles = np.linspace(0, 2 * np.pi, RAYS, endpoint=False)
    corners = np.trunc(point[:, None] + rays * np.array([np.sin(angles), np.cos(angles)]))
    return polygon2mask((800, 800), 4 * corners.T + 1.5)


@pytest.mark.parametrize(
    "changes", [{"grid": []}, {"grid": [2, 2], "divisor": [3, 4]}, {"divisor": [8]}, {"grid": [1, 1, 1]}]
)
def test_a_card_needs_grid_and_divisor(changes) -> None:
    with pytest.raises(CardError, match=r"method 'stars', grid .* expected"):
        _decoder(**changes)


def test_other_methods_have_no_grid() -> None:
    with pytest.raises(CardError, match=r"has grid .* the method 'stars'"):
        Decoder.from_card({"method": "votes", "grid": [2, 2]})


def test_offsets_are_those_of_votes_only() -> None:
    assert _decoder().offsets(2) == {}
    assert _decoder().instances


def test_a_crowd_of_a_thousand_objects() -> None:
    scores = _crowd((1024, 1024), 1800, grid=2)
    labels, _ = split_objects(scores, _decoder(grid=[2, 2], divisor=[16, 16], threshold=0.3))
    assert labels.max() > 900
