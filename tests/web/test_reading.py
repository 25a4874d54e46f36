"""From files to nodes: the pixels and their place, seen through the module's own reader of nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trame_slicer", reason="the extra 'web' is not installed")

import slicer
from vtk.util import numpy_support

import deepbio
from deepbio.image import RGB, Grid, Image
from deepbio_web.labels import labels_of
from deepbio_web.reading import load
from deepbio_web.results import read_table
from SlicerDeepBioLib.scene import read_volume
from SlicerDeepBioLib.sequences import Frames
from tests.slicer.nodes import open_scene


@pytest.fixture
def app() -> Any:
    scene, keep = open_scene()
    return SimpleNamespace(scene=scene, sequences_logic=keep[-2], keep=keep)


def test_a_volume_keeps_pixels_and_place(phantom: Image, app: Any, tmp_path: Path) -> None:
    deepbio.write(tmp_path / "phantom.nrrd", phantom)
    loaded = load(tmp_path / "phantom.nrrd", app)
    source = read_volume(loaded.node)
    assert np.array_equal(source.parts[0], phantom.numpy())
    assert source.spacing == pytest.approx(phantom.grid.spacing)
    assert source.origin == pytest.approx(phantom.grid.origin)
    assert np.allclose(source.direction, phantom.grid.direction)
    assert (loaded.stem, loaded.frames, loaded.is_flat) == ("phantom", 1, False)


def test_a_colour_picture_is_a_plane_of_colours(app: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 255, (3, 7, 11), dtype=np.uint8)
    deepbio.write(tmp_path / "stain.v2.tif", Image(pixels, "CYX", channels=RGB))
    loaded = load(tmp_path / "stain.v2.tif", app)
    source = read_volume(loaded.node)
    assert source.channels == RGB
    assert np.array_equal(source.parts[0], pixels)
    assert (loaded.stem, loaded.is_flat) == ("stain.v2", True)


def test_a_sequence_plays(
    oblique: Callable[..., Grid], app: Any, tmp_path: Path, rng: np.random.Generator
) -> None:
    pixels = rng.integers(0, 999, (3, 5, 7, 11), dtype=np.int16)
    deepbio.write(tmp_path / "cine.nii.gz", Image(pixels, "TZYX", oblique(3), frame_interval=0.1))
    loaded = load(tmp_path / "cine.nii.gz", app)
    source = Frames(loaded.node).read()
    assert np.array_equal(np.stack(source.parts), pixels)
    assert source.frame_interval == pytest.approx(0.1)
    loaded.node.SetSelectedItemNumber(2)
    shown = numpy_support.vtk_to_numpy(loaded.shown.GetImageData().GetPointData().GetScalars())
    assert np.array_equal(shown, pixels[2].ravel())


def test_labels_come_back_on_the_grid_of_the_image(phantom: Image, app: Any, tmp_path: Path) -> None:
    from SlicerDeepBioLib import results
    from SlicerDeepBioLib.sequences import identity_of
    from SlicerDeepBioLib.terminology import class_labels

    deepbio.write(tmp_path / "phantom.nrrd", phantom)
    loaded = load(tmp_path / "phantom.nrrd", app)
    expected = np.zeros(phantom.shape, np.int32)
    expected[1:4, 2:6, 3:10] = 1
    expected[2, 3:5, 4:9] = 7
    classes = {"1": {"name": "shell"}, "7": {"name": "core"}, "9": {"name": "not there"}}
    node = app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")
    for name, segment in results.make_segments(expected, identity_of(loaded.node), class_labels(classes)):
        node.GetSegmentation().AddSegment(segment, name)
    run = SimpleNamespace(sequence=None, segmentation=node, label_map=None, model={"classes": classes})
    labels = labels_of(run, loaded)
    assert np.array_equal(labels.numpy(), expected)
    assert labels.names == {1: "shell", 7: "core", 9: "not there"}
    assert labels.grid == loaded.image.grid


def test_a_table_says_lengths_in_the_unit_of_the_image() -> None:
    from SlicerDeepBioLib import results

    columns = {"name": ["a"], "length": [0.002], "area": [0.000004], "mean": [7.0]}
    node = results.add_table(slicer.vtkMRMLScene(), columns, {"length": "mm", "area": "mm^2"}, "table")
    assert read_table(node)["length [mm]"] == [0.002]
    microns = read_table(node, "micrometer")
    assert microns["length [um]"] == pytest.approx([2.0])
    assert microns["area [um^2]"] == pytest.approx([4.0])
    assert read_table(node, "pixel") == {
        "name": ["a"],
        "length [px]": [0.002],
        "area [px^2]": [0.000004],
        "mean": [7.0],
    }
