"""Rays of star-convex polyhedra: directions in which distances are measured, and the triangles between their ends.

The kinds are those that the program StarDist knows in 3D, with its order of the rays, so that its networks' channels
mean the same here: a spiral with the golden angle (Saff & Kuijlaars, 1997, doi:10.1007/BF03024331), a grid of
longitudes and latitudes, and subdivided tetrahedra and octahedra.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.spatial import ConvexHull

from deepbio.errors import CardError

__all__ = ["Rays", "rays_of"]

_MOST = 1024  # rays
_POLE = 1e-12  # how far rays of one pole lie apart


@dataclass(frozen=True, eq=False)
class Rays:
    """Directions on the sphere, and how their ends are joined.

    Attributes
    ----------
    vertices : ndarray of float32, shape (n, 3)
        Unit vectors z, y, x.
    faces : ndarray of int64, shape (m, 3)
        Rays whose ends make a triangle.
    """

    vertices: np.ndarray
    faces: np.ndarray


def rays_of(entries: Mapping[str, Any]) -> Rays:
    """The rays that a card names.

    Parameters
    ----------
    entries : mapping
        ``name`` and what it needs: ``GoldenSpiral`` (``n``, ``anisotropy`` or null), ``Cartesian`` (``n_rays_x``,
        ``n_rays_z``), ``Tetra`` or ``Octo`` (``n_level``), ``Explicit`` (``vertices0``, ``faces0``).

    Raises
    ------
    CardError
        If there are no such rays, or more than 1024.

    Examples
    --------
    >>> rays = rays_of({"name": "GoldenSpiral", "n": 24, "anisotropy": [2.0, 1.0, 1.0]})
    >>> rays.vertices.shape, rays.faces.shape
    ((24, 3), (44, 3))
    """
    try:
        return _made(json.dumps(dict(entries), sort_keys=True))
    except (TypeError, ValueError, KeyError, IndexError, ArithmeticError) as error:
        raise CardError(
            f"There are no rays as {repr(dict(entries))[:200]} says: {str(error)[:200]}; known are {', '.join(_KINDS)}."
        ) from error


@lru_cache(maxsize=8)
def _made(entries: str) -> Rays:
    told = json.loads(entries)
    name = told.pop("name", "")
    if name not in _KINDS:
        raise ValueError(f"the name {name!r} is not known")
    vertices, faces = _KINDS[name](**told)
    vertices, faces = np.asarray(vertices, np.float32), np.asarray(faces, np.int64)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"rays of shape {vertices.shape}, triangles of shape {faces.shape}")
    if not 4 <= len(vertices) <= _MOST or not np.isfinite(vertices).all():
        raise ValueError(f"{len(vertices)} rays")
    if faces.min() < 0 or faces.max() >= len(vertices) or len(faces) > 4 * _MOST:
        raise ValueError("triangles name rays that are not there")
    vertices.setflags(write=False)
    faces.setflags(write=False)
    return Rays(vertices, faces)


def _golden_spiral(n: int, anisotropy: Any = None) -> tuple[Any, Any]:
    if not 4 <= n <= _MOST:
        raise ValueError(f"{n} rays; expected 4 to {_MOST}")
    angle = (3 - math.sqrt(5)) * math.pi * np.arange(n)
    z = np.linspace(-1, 1, n)
    radius = np.sqrt(1 - z**2)
    vertices = np.stack([z, radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    vertices = vertices / (np.ones(3) if anisotropy is None else np.asarray(anisotropy, float).reshape(3))
    faces = ConvexHull(vertices).simplices
    inward = np.linalg.det(vertices[faces]) > 0
    faces = np.where(inward[:, None], faces[:, ::-1], faces)
    return vertices / np.linalg.norm(vertices, axis=1, keepdims=True), faces


def _cartesian(n_rays_x: int, n_rays_z: int) -> tuple[Any, Any]:
    if not (n_rays_x >= 3 and n_rays_z >= 2 and n_rays_x * n_rays_z <= _MOST):
        raise ValueError(f"{n_rays_x} x {n_rays_z} rays")
    around = np.arange(n_rays_x) * np.float32(2 * np.pi / n_rays_x)
    down = (np.arange(n_rays_z) * np.float32(np.pi / n_rays_z)).astype(float)
    down[0], down[-1] = _POLE, np.pi - _POLE
    at_pole = np.zeros((n_rays_z, 1))
    at_pole[[0, -1]] = _POLE
    x = np.cos(around) * np.sin(down)[:, None] + at_pole
    y = np.sin(around) * np.sin(down)[:, None] + at_pole
    z = np.broadcast_to(np.cos(down)[:, None], x.shape)
    row, column = (n.ravel() for n in np.indices((n_rays_z - 1, n_rays_x)))
    after = (column + 1) % n_rays_x
    here, below = row * n_rays_x, (row + 1) * n_rays_x
    first = np.stack([here + column, below + after, here + after], axis=1)
    second = np.stack([here + column, below + column, below + after], axis=1)
    return np.stack([z.ravel(), y.ravel(), x.ravel()], axis=1), np.concatenate([first, second])


def _tetra(n_level: int) -> tuple[Any, Any]:
    a, b, c = math.sqrt(8 / 9), math.sqrt(2 / 9), math.sqrt(2 / 3)
    corners = np.array([[a, 0, -1 / 3], [-b, c, -1 / 3], [-b, -c, -1 / 3], [0, 0, 1]])
    return _subdivided(corners, [[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], n_level)


def _octo(n_level: int) -> tuple[Any, Any]:
    corners = np.array([[0, 0, 1], [0, 1, 0], [0, 0, -1], [0, -1, 0], [1, 0, 0], [-1, 0, 0]], float)
    ring = [(0, 1), (1, 2), (2, 3), (3, 0)]
    faces = [face for a, b in ring for face in ([a, b, 4], [a, 5, b])]
    return _subdivided(corners, faces, n_level)


def _subdivided(corners: np.ndarray, faces: list[list[int]], n_level: int) -> tuple[Any, Any]:
    """Each triangle becomes four, `n_level` - 1 times, whose new corners lie on the sphere."""
    if type(n_level) is not int or not 1 <= n_level <= 5:
        raise ValueError(f"{n_level} levels")
    vertices = list(corners)
    for _ in range(n_level - 1):
        middles: dict[tuple[int, int], int] = {}

        def middle(a: int, b: int, known: dict[tuple[int, int], int] = middles) -> int:
            edge = (min(a, b), max(a, b))
            if edge not in known:
                between = vertices[a] + vertices[b]
                vertices.append(between / np.linalg.norm(between))
                known[edge] = len(vertices) - 1
            return known[edge]

        finer = []
        for a, b, c in faces:
            ab, bc, ca = middle(a, b), middle(b, c), middle(c, a)
            finer += [[a, ab, ca], [b, bc, ab], [c, ca, bc], [ab, bc, ca]]
        faces = finer
    return np.array(vertices), faces


def _explicit(vertices0: Any, faces0: Any) -> tuple[Any, Any]:
    return vertices0, faces0


_KINDS: dict[str, Callable[..., tuple[Any, Any]]] = {
    "GoldenSpiral": _golden_spiral,
    "Cartesian": _cartesian,
    "Tetra": _tetra,
    "Octo": _octo,
    "Explicit": _explicit,
}
