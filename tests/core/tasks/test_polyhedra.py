"""Polyhedra on voxels: what lies inside is what lies in a tetrahedron of the centre and a triangle."""

import math

import numpy as np
import pytest

from deepbio.tasks import polyhedra as module
from deepbio.tasks.polyhedra import Cones, Polyhedra, hull_volume, kernel_volume, lens_volume
from deepbio.tasks.rays import Rays, rays_of

SPIRAL = {"name": "GoldenSpiral", "n": 40, "anisotropy": [2.0, 1.0, 1.3]}


def _rough(rays: Rays, count: int = 3, seed: int = 0) -> Polyhedra:
    drawn = np.random.default_rng(seed)
    points = drawn.integers(8, 14, (count, 3))
    dist = drawn.uniform(3, 6, (count, 1)) * drawn.uniform(0.6, 1.2, (count, len(rays.vertices)))
    return Polyhedra.of(rays, points, dist.astype(np.float32))


def _in_tetrahedra(polyhedra: Polyhedra, number: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Voxels of a box with barycentric coordinates of 0 and more in one of the tetrahedra."""
    shape = tuple(high - low + 1)
    voxels = np.indices(shape).reshape(3, -1).T + low - polyhedra.points[number]
    corners = polyhedra.dist[number, :, None].astype(float) * polyhedra.rays.vertices
    inside = np.zeros(len(voxels), bool)
    for face in polyhedra.rays.faces:
        parts = voxels @ np.linalg.inv(corners[face])
        inside |= (parts >= -1e-9).all(1) & (parts.sum(1) <= 1)
    return inside.reshape(shape)


@pytest.mark.parametrize("tabled", [2**23, 700, 0])
def test_inside_is_what_lies_in_a_tetrahedron(monkeypatch: pytest.MonkeyPatch, tabled: int) -> None:
    """Whether all, some or no voxels are looked up."""
    monkeypatch.setattr(module, "_MOST", tabled)
    shapes = _rough(rays_of(SPIRAL))
    cones = Cones(shapes.rays, (9, 9, 9))
    for number in range(3):
        low, high = shapes.low[number] - [0, 1, 1], shapes.high[number] + [1, 0, 1]
        found = shapes.mask(number, cones, low, high)
        expected = _in_tetrahedra(shapes, number, low, high)
        np.testing.assert_array_equal(found, expected)
        assert 40 < found.sum() < 0.8 * found.size
        start = shapes.points[number]
        ways = np.indices(found.shape).reshape(3, -1) + (low - start)[:, None]
        held = cones.holds(shapes.dist[[number, 0]], np.stack([ways, ways], axis=1))
        np.testing.assert_array_equal(held[0], expected.ravel())
        assert (held[1] == expected.ravel()).all() == (number == 0)


def test_boxes_hold_all_voxels_and_volumes_are_near_their_number() -> None:
    shapes = _rough(rays_of(SPIRAL), 12, 4)
    cones = Cones(shapes.rays, (12, 12, 12))
    for number in range(12):
        wide = shapes.mask(number, cones, shapes.low[number] - 1, shapes.high[number] + 1)
        assert wide.sum() == shapes.mask(number, cones, shapes.low[number], shapes.high[number]).sum()
        assert abs(wide.sum() - shapes.volume[number]) < 0.15 * shapes.volume[number]


def test_an_octahedron_has_the_volume_and_the_balls_of_one() -> None:
    rays = rays_of({"name": "Octo", "n_level": 1})
    shape = Polyhedra.of(rays, np.array([[9, 7, 5]]), np.full((1, 6), 3, np.float32))
    assert shape.volume[0] == pytest.approx(36)
    inner, outer = shape.radii(np.array([1.0, 1.0, 1.0]))
    assert (inner[0], outer[0]) == (pytest.approx(math.sqrt(3)), pytest.approx(3))
    inner, outer = shape.radii(np.array([2.0, 1.0, 1.0]))
    assert (inner[0], outer[0]) == (pytest.approx(2), pytest.approx(6))
    assert (shape.low[0].tolist(), shape.high[0].tolist()) == ([6, 4, 2], [12, 10, 8])
    mask = shape.mask(0, Cones(rays, (3, 3, 3)), shape.low[0], shape.high[0])
    assert mask.sum() == 63  # |z| + |y| + |x| <= 3


def test_kernels_and_hulls_of_two_octahedra() -> None:
    rays = rays_of({"name": "Octo", "n_level": 1})
    points = np.array([[9, 9, 9], [9, 9, 11], [9, 9, 40]])
    shapes = Polyhedra.of(rays, points, np.full((3, 6), 4, np.float32))
    # two pyramids, each as high as 3 of the 4
    common = 2 * 2 * 3**3 / 3
    assert kernel_volume(shapes, 0, 1) == pytest.approx(common)
    assert hull_volume(shapes, 0, 1) == pytest.approx(common)
    assert kernel_volume(shapes, 0, 2) == 0  # the middle is in none
    assert hull_volume(shapes, 0, 2) == math.inf
    dented = np.full((2, 6), 4, np.float32)
    dented[0, 4] = 1  # one corner pulled in: the kernel is smaller than the hull
    shapes = Polyhedra.of(rays, points[:2], dented)
    assert kernel_volume(shapes, 0, 1) <= hull_volume(shapes, 0, 1)


def test_balls_in_balls_and_apart() -> None:
    distance = np.array([0.0, 1.0, 3.0, 5.0, 5.1])
    found = lens_volume(distance, 3.0, np.array([2.0] * 5))
    ball = 4 / 3 * math.pi * 8
    assert found[:2] == pytest.approx([ball, ball])
    assert found[3:] == pytest.approx([0, 0], abs=1e-9)
    x = np.linspace(-3, 6, 200_001)  # discs along the line of the centres
    discs = np.pi * np.clip(np.minimum(9 - x**2, 4 - (x - 3) ** 2), 0, None)
    assert found[2] == pytest.approx(discs.sum() * (x[1] - x[0]), rel=1e-4)


def test_planes_of_triangles_without_area_are_inside_as_in_stardist() -> None:
    rays = rays_of({"name": "Cartesian", "n_rays_x": 11, "n_rays_z": 5})
    dist = np.full((1, 55), 6, np.float32)
    dist[0, 22:33] = 3  # a waist
    shape = Polyhedra.of(rays, np.array([[9, 9, 9]]), dist)
    cones = Cones(rays, (8, 8, 8))
    low, high = np.array([1, 1, 1]), np.array([17, 17, 17])
    mask = shape.mask(0, cones, low, high)
    assert cones.planes == (1,)
    assert mask[:, 8].all()
    assert not mask[:, 7].all()
    drawn = shape.drawn(0, cones, low, high)
    assert not drawn[0, 8].any()
    np.testing.assert_array_equal(np.delete(drawn, 8, 1), np.delete(mask, 8, 1))
    assert drawn[8, 8, 12:14].all()  # in the hull, beyond the waist
    assert Cones(rays_of({"name": "Cartesian", "n_rays_x": 8, "n_rays_z": 5}), (2, 2, 2)).planes == (1, 2)
    assert Cones(rays_of(SPIRAL), (2, 2, 2)).planes == ()
