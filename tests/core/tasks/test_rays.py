"""Rays of polyhedra: directions on the sphere, triangles that close it, and what is refused."""

import numpy as np
import pytest

from deepbio.errors import CardError
from deepbio.tasks.rays import Rays, rays_of

KINDS = [
    {"name": "GoldenSpiral", "n": 32, "anisotropy": [2.0, 1.0, 1.0]},
    {"name": "GoldenSpiral", "n": 96, "anisotropy": None},
    {"name": "Tetra", "n_level": 3},
    {"name": "Octo", "n_level": 2},
    {"name": "Cartesian", "n_rays_x": 11, "n_rays_z": 5},
]


def _volume(rays: Rays) -> float:
    return -np.linalg.det(rays.vertices[rays.faces].astype(float)).sum() / 6


@pytest.mark.parametrize("entries", KINDS)
def test_rays_are_unit_vectors_and_their_triangles_close_the_sphere(entries) -> None:
    rays = rays_of(entries)
    np.testing.assert_allclose(np.linalg.norm(rays.vertices, axis=1), 1, atol=1e-6)
    assert (np.linalg.det(rays.vertices[rays.faces].astype(float)) <= 1e-9).all()  # outward
    if entries["name"] != "Cartesian":  # whose poles are several rays each
        assert len(rays.faces) == 2 * len(rays.vertices) - 4
    edges = {tuple(edge) for a, b, c in rays.faces.tolist() for edge in ((a, b), (b, c), (c, a))}
    inner = [edge for edge in edges if not {*edge} <= {*range(11), *range(44, 55)}]
    assert all(edge[::-1] in edges for edge in (inner if entries["name"] == "Cartesian" else edges))
    assert 0.3 * 4.19 < _volume(rays) < 4.19


def test_the_spiral_goes_from_pole_to_pole_by_the_golden_angle() -> None:
    rays = rays_of({"name": "GoldenSpiral", "n": 21, "anisotropy": None})
    z, y, x = rays.vertices.T
    np.testing.assert_allclose(z, np.linspace(-1, 1, 21), atol=1e-7)
    turns = np.diff(np.unwrap(np.arctan2(y, x)[1:-1]))
    np.testing.assert_allclose(turns, (3 - np.sqrt(5)) * np.pi, atol=1e-5)
    flat = rays_of({"name": "GoldenSpiral", "n": 21, "anisotropy": [3, 1, 1]}).vertices
    stretched = flat * [3, 1, 1]
    np.testing.assert_allclose(
        stretched / np.linalg.norm(stretched, axis=1, keepdims=True), rays.vertices, atol=1e-6
    )


def test_explicit_rays_are_taken_as_they_are() -> None:
    octo = rays_of({"name": "Octo", "n_level": 1})
    told = {"name": "Explicit", "vertices0": octo.vertices.tolist(), "faces0": octo.faces.tolist()}
    np.testing.assert_array_equal(rays_of(told).vertices, octo.vertices)
    assert rays_of(told) is rays_of(dict(told))
    assert _volume(octo) == pytest.approx(4 / 3)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "the name '' is not known; known are GoldenSpiral"),
        ({"name": "__import__"}, "'__import__' is not known"),
        ({"name": "GoldenSpiral", "n": 3}, "3 rays; expected 4"),
        ({"name": "GoldenSpiral", "n": 10**9}, "1000000000 rays"),
        ({"name": "GoldenSpiral"}, "There are no rays"),
        ({"name": "GoldenSpiral", "n": 9, "anisotropy": [1, 0, 1]}, "There are no rays"),
        ({"name": "GoldenSpiral", "n": 9, "more": 1}, "There are no rays"),
        ({"name": "Octo", "n_level": 40}, "40 levels"),
        ({"name": "Cartesian", "n_rays_x": 2, "n_rays_z": 5}, "2 x 5 rays"),
        ({"name": "Explicit", "vertices0": [[0, 0, 1]] * 4, "faces0": [[0, 1, 9]]}, "are not there"),
        ({"name": "Explicit", "vertices0": [[0, 1]] * 4, "faces0": [[0, 1, 2]]}, "of shape"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_what_are_no_rays(entries, message: str) -> None:
    with pytest.raises(CardError, match=message):
        rays_of(entries)
