"""A worker's answer made into nodes, for answers that no bundled model gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import vtk

from deepbio.image import Grid
from SlicerDeepBioLib.inputs import Input
from SlicerDeepBioLib.placing import Placing
from tests.slicer.nodes import (
    add_sequence,
    add_transform,
    add_volume,
    affine,
    image_of,
    labels_of,
    node_names,
)

CARD = {"name": "foreign", "classes": {}}


def place(
    scene: Any, node: Any, output: Any = None, shown_as: str = "auto", **outputs: Any
) -> dict[str, Any]:
    placing = Placing(Input(node), CARD, {"record": {}, **outputs}, shown_as)
    for _ in placing.prepare(output):
        pass
    return placing.commit(scene, output)


def answer(labels: np.ndarray, axes: str = "ZYX") -> dict[str, Any]:
    return {"array": labels, "axes": axes}


def names_in(segmentation: Any) -> list[str]:
    count = segmentation.GetSegmentation().GetNumberOfSegments()
    return [segmentation.GetSegmentation().GetNthSegment(at).GetName() for at in range(count)]


def test_labels_that_the_card_does_not_name(scene: Any, pixels: np.ndarray, rng: np.random.Generator) -> None:
    labels = rng.choice(np.array([0, 2, 5], np.uint8), pixels.shape)
    node = add_volume(scene, pixels)
    placed = place(scene, node, labels=answer(labels), classes={"5": {"name": "rim"}}, instances=False)
    assert names_in(placed["segmentation"]) == ["class 2", "rim"]
    np.testing.assert_array_equal(np.array([0, 2, 5])[labels_of(placed["segmentation"], node)], labels)
    placed = place(scene, node, labels=answer(labels), classes={}, instances=True)
    assert names_in(placed["segmentation"]) == ["object 2", "object 5"]


def test_a_restored_image(scene: Any, pixels: np.ndarray) -> None:
    node = add_volume(scene, pixels, affine(left_handed=True))
    node.SetAndObserveTransformNodeID(add_transform(scene, affine((1, 1, 1), (0, 0.5, 0))).GetID())
    values = pixels.astype(np.float32) / 7
    grid = Input(node).source
    image = {"array": values, "axes": "ZYX", "channels": []}
    image.update(spacing=grid.spacing, origin=grid.origin, direction=grid.direction)
    (made,) = place(scene, node, image=image)["volumes"]
    assert made.GetName() == "brain foreign"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(made), values)
    assert image_of(made).grid == image_of(node).grid


def test_an_image_of_more_pixels_lies_where_it_says(scene: Any, pixels: np.ndarray) -> None:
    node = add_volume(scene, pixels)
    node.SetAndObserveTransformNodeID(add_transform(scene, affine((1, 1, 1), (0.1, 0.5, 0))).GetID())
    before = image_of(node).grid
    fine = Grid(
        (10, 14, 22),
        [step / 2 for step in before.spacing],
        before.to_world((-0.25, -0.25, -0.25)),
        before.direction,
        "millimeter",
    )
    image = {"array": np.zeros(fine.shape, np.float32), "axes": "ZYX", "channels": []}
    image.update(spacing=fine.spacing, origin=fine.origin, direction=fine.direction.tolist())
    (made,) = place(scene, node, image=image)["volumes"]
    assert made.GetTransformNodeID() == node.GetTransformNodeID()
    assert image_of(made).grid == fine


def test_a_plane_of_more_pixels_lies_where_it_says(scene: Any, pixels: np.ndarray) -> None:
    node = add_volume(scene, pixels[:1])
    node.SetAndObserveTransformNodeID(add_transform(scene, affine((1, 1, 1), (0.1, 0.5, 0))).GetID())
    own = Input(node).source
    before = Grid((7, 11), own.spacing, own.origin, own.direction, "millimeter")
    fine = Grid(
        (14, 33),
        (own.spacing[0] / 2, own.spacing[1] / 3),
        before.to_world((-0.25, -1 / 3)),
        before.direction,
        "millimeter",
    )
    image = {"array": np.zeros(fine.shape, np.float32), "axes": "YX", "channels": []}
    image.update(spacing=fine.spacing, origin=fine.origin, direction=fine.direction.tolist())
    (made,) = place(scene, node, image=image)["volumes"]
    assert made.GetTransformNodeID() == node.GetTransformNodeID()
    coarse, found = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(coarse)
    made.GetIJKToRASMatrix(found)
    # the corners of both pictures are the same: half a pixel beyond the first and the last index
    for first, last in ((-0.5, -0.5), (10.5, 6.5), (-0.5, 6.5)):
        expected = coarse.MultiplyPoint((first, last, 0, 1))
        at = (3 * (first + 0.5) - 0.5, 2 * (last + 0.5) - 0.5, 0, 1)
        np.testing.assert_allclose(found.MultiplyPoint(at), expected, atol=1e-9)


@pytest.mark.parametrize("signed", [False, True])
def test_maps_lie_over_the_image_in_colours(scene: Any, pixels: np.ndarray, signed: bool) -> None:
    node = add_volume(scene, pixels)
    before = node_names(scene)
    values = np.linspace(-4 if signed else 0, 2, pixels.size, dtype=np.float32).reshape(pixels.shape)
    grid = Input(node).source
    told = {"spacing": grid.spacing, "origin": grid.origin, "direction": grid.direction}
    placed = place(scene, node, explanation={"array": values, "axes": "ZYX", "channels": [], **told})
    (made,) = placed["volumes"]
    assert made.GetAttribute("DeepBio.Part") == "explanation"
    display = made.GetDisplayNode()
    top = display.GetWindowLevelMax()
    assert top == pytest.approx(np.percentile(np.abs(values), 99.5), rel=1e-5)
    assert display.GetWindowLevelMin() == pytest.approx(-top if signed else 0)
    colors = [[0.0] * 4 for _ in range(3)]
    for at, rgba in zip((0, 127, 255), colors, strict=True):
        display.GetColorNode().GetColor(at, rgba)
    assert colors[2][0] > 0.69
    assert not display.GetApplyThreshold()  # which would draw edges
    if signed:
        assert min(colors[1][:3]) > 0.95
        assert colors[0][2] > 2 * colors[0][0]  # blue speaks against
    placed["change"].take_back()
    assert node_names(scene) == before


def test_colours(scene: Any, pixels: np.ndarray, rng: np.random.Generator) -> None:
    node = add_volume(scene, pixels[:1])
    colours = rng.integers(0, 256, (3, 7, 11), dtype=np.uint8)
    image = {"array": colours, "axes": "CYX", "channels": ["red", "green", "blue"]}
    (made,) = place(scene, node, image=image)["volumes"]
    assert made.IsA("vtkMRMLVectorVolumeNode")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(made)[0, ..., 2], colours[2])


def test_an_image_for_every_frame(scene: Any, pixels: np.ndarray) -> None:
    browser, sequence = add_sequence(scene, [pixels, pixels + 1])
    values = np.stack([pixels * 0.5, pixels * 0.25]).astype(np.float32)
    before = node_names(scene)
    placed = place(scene, sequence, image={"array": values, "axes": "TZYX", "channels": []})
    (made,) = placed["volumes"]
    browser.SetSelectedItemNumber(1)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(made), values[1])
    browser.SetSelectedItemNumber(0)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(made), values[0])
    placed["change"].take_back()
    assert node_names(scene) == before


def test_what_fails_on_its_way_leaves_nothing(
    scene: Any, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = add_volume(scene, pixels)
    output = place(scene, node, labels=answer((pixels > 0).astype(np.uint8)), classes={"1": "bright"})[
        "segmentation"
    ]
    before, labels = node_names(scene), labels_of(output, node)

    def broken(*arguments: Any) -> None:
        raise MemoryError("no room for a table")

    monkeypatch.setattr(Placing, "_commit_tables", broken)
    with pytest.raises(MemoryError):
        place(scene, node, output, labels=answer((pixels < 0).astype(np.uint8)), classes={"1": "dark"})
    assert node_names(scene) == before
    np.testing.assert_array_equal(labels_of(output, node), labels)
    assert names_in(output) == ["bright"]


def test_the_place_follows_the_volume_of_now(scene: Any, pixels: np.ndarray) -> None:
    """Labels belong to voxels: moved during the run, the volume takes its segments along."""
    node = add_volume(scene, pixels)
    placing = Placing(
        Input(node),
        CARD,
        {"record": {}, "labels": answer((pixels > 0).astype(np.uint8)), "classes": {"1": "a"}},
    )
    turn = add_transform(scene, affine((1, 1, 1), (0.4, 0, 0.2), (9, 9, 9)))
    node.SetAndObserveTransformNodeID(turn.GetID())
    for _ in placing.prepare():
        pass
    made = placing.commit(scene)["segmentation"]
    assert made.GetTransformNodeID() == turn.GetID()
    np.testing.assert_array_equal(labels_of(made, node), pixels > 0)
