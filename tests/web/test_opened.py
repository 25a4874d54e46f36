"""Which of a page's images are channels of which model, without a browser."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trame_slicer", reason="the extra 'web' is not installed")

import deepbio
from deepbio.errors import ImageError
from deepbio.image import RGB, Grid, Image
from deepbio_web.opened import Opened
from deepbio_web.reading import Loaded, load
from tests.slicer.nodes import open_scene, rotation

PAIR = {"name": "pair", "volumes": ["T1", "FLAIR"], "least_volumes": 2}
SOME = {"name": "some", "volumes": ["T1", "T2", "FLAIR"], "least_volumes": 1}
PLAIN: dict[str, Any] = {"name": "plain", "volumes": []}
SHAPE = (5, 7, 11)
DIRECTION = rotation(0.3, -0.7, 0.8)[:, ::-1]


@pytest.fixture
def app() -> Any:
    scene, keep = open_scene()
    return SimpleNamespace(scene=scene, sequences_logic=keep[-2], keep=keep)


@pytest.fixture
def opened(app: Any, tmp_path: Path) -> Opened:
    """Three volumes on one grid, one that was moved by a voxel, a sequence and one of two channels."""
    return Opened([write(app, tmp_path, name) for name in ("a", "b", "c", "moved", "cine", "double")])


def write(app: Any, folder: Path, name: str) -> Loaded:
    origin = (17.3, -42.9, 102.2) if name == "moved" else (17.3, -42.9, 101.7)
    grid = Grid(SHAPE, (1.2, 0.8, 0.5), origin, DIRECTION, "millimeter")
    axes = {"cine": "TZYX", "double": "CZYX"}.get(name, "ZYX")
    pixels = np.zeros((2, *SHAPE) if len(axes) == 4 else SHAPE, np.int16)
    deepbio.write(folder / f"{name}.nrrd", Image(pixels, axes, grid))
    return load(folder / f"{name}.nrrd", app)


def values(opened: Opened, card: dict[str, Any]) -> list[int | None]:
    return [one["value"] for one in opened.show_for(card)[1]]


def test_what_can_be_a_channel_is_offered(opened: Opened) -> None:
    label, (flair,) = opened.show_for(PAIR)
    assert label == "Image (T1)"
    assert (flair["name"], flair["value"], flair["optional"]) == ("FLAIR", None, False)
    assert [one["title"] for one in flair["choices"]] == ["b.nrrd", "c.nrrd", "moved.nrrd"]
    assert opened.show_for(PLAIN) == opened.show_for(None) == ("Image", [])
    for at in (4, 5):  # which have frames or channels of their own
        opened.at = at
        assert opened.show_for(PAIR) == ("Image", [])
        assert opened.why_not(PAIR) == ""


def test_as_many_images_as_channels_are_proposed_in_their_order(opened: Opened) -> None:
    two = Opened(opened.images[:2])
    assert values(two, PAIR) == [1]
    assert [node.GetName() for node in two.further(PAIR)] == ["b"]
    two.at = 1
    assert values(two, PAIR) == [0]
    assert values(Opened(opened.images[:3]), SOME) == [1, 2]
    assert values(Opened(opened.images[:2]), SOME) == [None, None]


def test_what_is_missing_or_lies_elsewhere_is_told(opened: Opened) -> None:
    opened.show_for(PAIR)
    assert opened.why_not(PAIR) == "Choose an image for FLAIR."
    opened.choose(1, 3)
    assert opened.why_not(PAIR) == (
        "'moved' does not lie on the voxels of 'a': its first voxel is 0.5 mm away. "
        "Bring them to one grid first (registration, resampling)."
    )
    opened.choose(1, 2)
    assert (opened.why_not(PAIR), values(opened, PAIR)) == ("", [2])
    assert values(opened, SOME) == [2, None]
    opened.choose(1, None)
    opened.choose(2, 1)
    assert opened.why_not(SOME) == "Choose an image for T2."
    opened.choose(2, None)
    assert (opened.why_not(SOME), opened.further(SOME)) == ("", [])


def test_a_model_of_more_images_than_there_are_says_what_to_do(opened: Opened) -> None:
    alone = Opened(opened.images[:1])
    fits = {"pair": "", "some": "", "plain": "It is 2D."}
    reasons = alone.reasons(fits, {"pair": PAIR, "some": SOME, "plain": PLAIN})
    assert reasons == {
        "pair": "Takes 2 images (T1, FLAIR): open them together, deepbio view IMAGE IMAGE ...",
        "some": "",
        "plain": "It is 2D.",
    }
    assert opened.reasons(fits, {"pair": PAIR})["pair"] == ""


def test_planes_beside_volumes_are_refused(opened: Opened, app: Any, tmp_path: Path) -> None:
    deepbio.write(tmp_path / "stain.tif", Image(np.zeros((3, 7, 11), np.uint8), "CYX", channels=RGB))
    with pytest.raises(ImageError, match=r"'stain\.tif' is a plane, 'a\.nrrd' a volume"):
        Opened([opened.images[0], load(tmp_path / "stain.tif", app)])
