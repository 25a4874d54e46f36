"""Polyhedra become the objects that StarDist 0.9.2 finds: tests/data/stardist/make3d.py saved them."""

import json
from pathlib import Path

import numpy as np
import pytest

from deepbio.errors import CardError
from deepbio.tasks import polyhedra, stars3d
from deepbio.tasks.decode import decode, split_objects
from deepbio.tasks.decoder import Decoder
from deepbio.tasks.polyhedra import Polyhedra
from deepbio.tasks.rays import rays_of
from deepbio.tasks.stars3d import Candidates, candidate_bands, candidates_of, kept_polyhedra, split_stars_3d
from deepbio.tasks.stitch import label_bands

DATA = Path(__file__).parents[2] / "data" / "stardist"
SPIRAL = {"name": "GoldenSpiral", "n": 24, "anisotropy": None}


def _decoder(**changes: object) -> Decoder:
    entries = {"method": "stars", "grid": [1, 1, 1], "divisor": [2, 4, 4], "min_size": 1, "logits": False}
    return Decoder.from_card({**entries, "rays": SPIRAL, **changes})


def _scores(shape: tuple[int, ...], *balls: tuple[int, int, int, float, float]) -> np.ndarray:
    """Scores with one candidate (z, y, x, radius, probability) for each ball."""
    scores = np.zeros((25, *shape), np.float32)
    for z, y, x, radius, prob in balls:
        scores[0, z, y, x], scores[1:, z, y, x] = prob, radius
    return scores


def _crowd(shape: tuple[int, ...], count: int, grid: tuple[int, ...] = (1, 1, 1)) -> np.ndarray:
    """Scores of balls that touch and overlap, each with candidates around its centre."""
    drawn, rays = np.random.default_rng(3), rays_of(SPIRAL)
    scores = np.zeros((25, *shape), np.float32)
    place = np.indices(shape)
    for _ in range(count):
        centre, radius = [drawn.uniform(0, n) for n in shape], drawn.uniform(4, 7)
        away = np.stack([place[k] - centre[k] for k in range(3)])
        depth = 1 - np.sqrt((away**2).sum(0)) / radius
        better = (depth > scores[0]) & (depth > 0)
        along = np.einsum("rk,kn->rn", rays.vertices, away[:, better])
        reach = -along + np.sqrt(np.maximum(radius**2 - (away[:, better] ** 2).sum(0) + along**2, 0))
        scores[0, better] = depth[better]
        scores[1:, better] = reach * (1 + 0.1 * drawn.standard_normal(reach.shape))
    scores[:, (np.stack([place[k] % grid[k] for k in range(3)]) > 0).any(0)] = -1  # nobody looks there
    return scores


@pytest.mark.parametrize("overlap", [0.1, 0.3, 0.5])
def test_the_same_objects_as_stardist(overlap: float) -> None:
    told = np.load(DATA / "decoded3d.npz")
    rays = json.loads((DATA / "stack_resnet" / "config.json").read_text())["rays_json"]
    points, shape = told["points"].astype(np.int64), told[f"labels_{overlap}"].shape
    found = Candidates(points, told["prob"], told["dist"].astype(np.float32))
    labels, anchors = split_stars_3d(
        found, rays_of({"name": "GoldenSpiral", **rays["kwargs"]}), overlap, shape
    )
    theirs = np.ravel_multi_index(tuple(told[f"points_{overlap}"].astype(np.int64).T), shape)
    assert len(anchors) > 25
    assert {*anchors.tolist()} == {*theirs.tolist()}
    # StarDist numbers by probability, here objects are numbered by their centres
    names = np.concatenate([[0], np.argsort(theirs) + 1])
    assert (names[labels] != told[f"labels_{overlap}"]).sum() <= 3  # 0 where this was written


def test_the_less_probable_of_two_goes_and_what_is_more_probable_lies_on_top() -> None:
    balls = [(15, 14, 12, 8.0, 0.9), (15, 14, 16, 8.0, 0.8), (16, 14, 25, 8.0, 0.7)]
    scores = _scores((31, 29, 40), *balls)
    labels, anchors = split_objects(scores, _decoder(overlap=0.4))
    flat = [np.ravel_multi_index(balls[k][:3], (31, 29, 40)) for k in range(3)]
    assert anchors.tolist() == [flat[0], flat[2]]
    assert labels[15, 14, 18] == 1  # both hold it
    both, _ = split_objects(scores, _decoder(overlap=0.95))
    assert (both[15, 14, 11], both[15, 14, 21], both[16, 14, 30]) == (1, 2, 3)
    volume = Polyhedra.of(rays_of(SPIRAL), np.zeros((1, 3), int), np.full((1, 24), 8, np.float32)).volume[0]
    assert abs((labels == 1).sum() - volume) < 0.03 * volume


@pytest.mark.parametrize("exact", [True, False])
def test_suppression_is_that_of_voxels_in_both(monkeypatch: pytest.MonkeyPatch, exact: bool) -> None:
    """With all shortcuts, and with voxels counted in every pair."""
    if exact:
        monkeypatch.setattr(stars3d, "_SAMPLE", 10**6)
    drawn = np.random.default_rng(8)
    points = np.unique(drawn.integers(14, 60, (70, 3)), axis=0)
    drawn.shuffle(points)
    dist = drawn.uniform(7, 13, (len(points), 1)) * drawn.uniform(0.75, 1, (len(points), 24))
    shapes = Polyhedra.of(rays_of(SPIRAL), points, dist.astype(np.float32))
    cones = polyhedra.Cones(shapes.rays, (14, 14, 14))
    masks = np.zeros((len(points), 75, 75, 75), bool)
    for k, (low, high) in enumerate(zip(shapes.low, shapes.high, strict=True)):
        masks[k][tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = shapes.mask(
            k, cones, low, high
        )
    expected: list[int] = []
    for k, own in enumerate(masks):
        parts = [(own & masks[i]).sum() / min(shapes.volume[k], shapes.volume[i]) for i in expected]
        if all(part <= 0.3 for part in parts):
            expected.append(k)
    assert kept_polyhedra(shapes, 0.3).tolist() == expected
    assert 10 < len(expected) < 60


def test_what_is_close_to_the_limit_is_decided_by_volumes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two octahedra have 36 voxels in common, and a volume of 36 of 85.3: voxels cannot tell them apart there."""
    rays = rays_of({"name": "Octo", "n_level": 1})
    points, dist = np.array([[9, 9, 9], [9, 9, 11]]), np.full((2, 6), 4, np.float32)
    shapes = Polyhedra.of(rays, points, dist)
    limit = 36 / shapes.volume[0]
    assert kept_polyhedra(shapes, limit * 0.99).tolist() == [0]
    assert kept_polyhedra(shapes, limit * 1.01).tolist() == [0, 1]
    asked = []
    monkeypatch.setattr(stars3d, "kernel_volume", lambda *which: asked.append(which[1:]) or 36.0)
    kept_polyhedra(shapes, limit * 1.01)
    assert asked == [(0, 1)]
    kept_polyhedra(shapes, 0.01)
    assert len(asked) == 1  # far from the limit nobody asks


def test_candidates_at_the_border_of_the_padded_image_are_left_out() -> None:
    places = [
        (1, 9, 9),
        (2, 9, 9),
        (9, 1, 9),
        (9, 2, 9),
        (9, 20, 9),
        (9, 21, 9),
        (9, 9, 29),
        (9, 9, 30),
        (18, 9, 9),
    ]
    balls = [(*place, 0.6, 0.9) for place in places]
    # 22 rows are padded to 24, whose last two are left out; 32 columns and 20 slices are not padded
    found = candidates_of(_scores((20, 22, 32), *balls), _decoder(), (0, 0, 0), (20, 22, 32))
    assert found.points.tolist() == [[2, 9, 9], [9, 2, 9], [9, 9, 29], [9, 20, 9], [9, 21, 9]]
    part = _scores((20, 22, 32), *balls)[:, 4:, 8:, 8:]
    shifted = candidates_of(part, _decoder(), (4, 8, 8), (20, 22, 32))
    assert shifted.points.tolist() == [[9, 9, 29], [9, 20, 9], [9, 21, 9]]


def test_nothing_and_one_object() -> None:
    labels, anchors = split_objects(_scores((9, 12, 14)), _decoder())
    assert (labels.max(), labels.shape, len(anchors)) == (0, (9, 12, 14), 0)
    one = _scores((9, 12, 14), (4, 5, 7, 2.0, 0.9))
    assert decode(one, _decoder()).max() == 1
    assert decode(one, _decoder(threshold=0.95)).max() == 0
    assert decode(one, _decoder(min_size=90)).max() == 0


@pytest.mark.parametrize("grid", [(1, 1, 1), (1, 2, 2), (2, 2, 1)])
def test_windows_and_parts_find_the_objects_of_the_whole(grid: tuple[int, ...]) -> None:
    shape = (127, 25, 29)
    scores = _crowd(shape, 150, grid)
    decoder = _decoder(grid=list(grid), divisor=[2, 4, 4], reach=14, threshold=0.65)
    whole = decode(scores, decoder)
    assert whole.max() > 20
    stops = [*range(13, 127, 13), 127]
    bands = ((a, b, scores[:, a:b].copy()) for a, b in zip([0, *stops[:-1]], stops, strict=True))
    labels = np.zeros(shape, np.int32)
    assert label_bands(bands, decoder, labels, window_pixels=8 * 25 * 29) == whole.max()
    np.testing.assert_array_equal(labels, whole)
    places = scores[:, :: grid[0], :: grid[1], :: grid[2]]
    pieces = [
        ((z * grid[0], y * grid[1], 0), places[:, z : z + 20, y : y + 8])
        for z in range(0, places.shape[1], 20)
        for y in range(0, places.shape[2], 8)
    ]
    parts = list(candidate_bands(pieces, decoder, shape))
    assert [start for start, _, _ in parts[1:]] == [stop for _, stop, _ in parts[:-1]]
    assert parts[-1][1] == shape[0]
    again = np.zeros(shape, np.int32)
    assert label_bands(parts, decoder, again) == whole.max()
    np.testing.assert_array_equal(again, whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rays": {}}, "expected the rays' name and numbers in 3D"),
        ({"grid": [1, 1], "divisor": [4, 4]}, "and nothing in 2D"),
        ({"rays": "GoldenSpiral"}, "expected the rays' name"),
        ({"rays": {"name": "Other"}}, "'Other' is not known"),
        ({"grid": [2, 2, 2], "divisor": [3, 4, 4]}, "multiples of the grid"),
        ({"divisor": [4, 4]}, "or three, along z, y and x"),
    ],
)
def test_a_card_needs_grid_divisor_and_rays(changes, message: str) -> None:
    with pytest.raises(CardError, match=message):
        _decoder(**changes)
