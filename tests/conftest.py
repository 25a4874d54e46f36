"""The phantom: an image whose sizes, spacing, direction and origin have nothing in common."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from deepbio.image import Grid, Image, LabelMap

collect_ignore_glob = ["data/*/make*.py"]  # need nnU-Net and others, which tests do not

SHAPE = (5, 7, 11)
SPACING = (1.2, 0.8, 0.5)
ORIGIN = (-17.3, 42.9, 101.7)


def rotation(ndim: int, *, left_handed: bool = False) -> np.ndarray:
    """A direction matrix in our convention, oblique to every axis; mirrored if `left_handed`."""
    turned = np.eye(ndim)
    for first, second, angle in ((0, 1, 0.3), (1, 2, -0.7), (0, 2, 0.8)):
        if second < ndim:
            step = np.eye(ndim)
            step[[first, second], [first, second]] = np.cos(angle)
            step[first, second], step[second, first] = -np.sin(angle), np.sin(angle)
            turned = step @ turned
    columns = turned[:, ::-1].copy()  # x, y, z of the array along the turned x, y, z of the world
    if left_handed:
        columns[:, 0] *= -1
    return columns


def make_grid(ndim: int = 3, *, left_handed: bool = False, unit: str = "millimeter") -> Grid:
    return Grid(SHAPE[-ndim:], SPACING[-ndim:], ORIGIN[:ndim], rotation(ndim, left_handed=left_handed), unit)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20180116)


@pytest.fixture
def oblique() -> Callable[..., Grid]:
    """``oblique(3, left_handed=True)``: the phantom's grid."""
    return make_grid


@pytest.fixture(params=[False, True], ids=["right-handed", "left-handed"])
def phantom(request: pytest.FixtureRequest, rng: np.random.Generator) -> Image:
    pixels = rng.integers(-1000, 3000, SHAPE, dtype=np.int16)
    return Image(pixels, "ZYX", make_grid(3, left_handed=request.param))


@pytest.fixture(params=[False, True], ids=["right-handed", "left-handed"])
def flat_phantom(request: pytest.FixtureRequest, rng: np.random.Generator) -> Image:
    pixels = rng.integers(-1000, 3000, SHAPE[1:], dtype=np.int16)
    return Image(pixels, "YX", make_grid(2, left_handed=request.param))


@pytest.fixture
def phantom_labels(rng: np.random.Generator) -> LabelMap:
    return LabelMap(rng.integers(0, 9, SHAPE).astype(np.int32), "ZYX", make_grid(3))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the tests may reach beyond this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
