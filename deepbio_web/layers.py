"""What of a result can be looked at in the views: images by themselves, and maps over the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import vtk
from vtk.util import numpy_support

import deepbio
from deepbio_web.made import image_of as made_images
from deepbio_web.made import is_made
from deepbio_web.reading import MILLIMETRES, Loaded
from SlicerDeepBioLib.answers import CHANNEL, PART, class_answers, is_map, of_part
from SlicerDeepBioLib.sequences import sequence_of

__all__ = ["IMAGES", "INPUT", "Layer", "first_layer", "image_of", "layers", "part_title"]

INPUT = "input"
IMAGES = ("image", "scores", "explanation", "uncertainty")
_TITLES = {"scores": "Scores", "explanation": "Explanation", "uncertainty": "Uncertainty"}
_MADE = {"restore": "Restored", "generate": "Made image", "classify": "Heat map"}  # the image of each task
_GIVEN = {"generate": "Mask"}  # what the input is called


@dataclass(frozen=True)
class Layer:
    """Something to look at.

    Attributes
    ----------
    id : str
        `INPUT`, or the id of the node.
    title : str
        For people.
    node : vtkMRMLVolumeNode
        What is shown.
    over : bool
        Whether it lies over the input, in colours.
    """

    id: str
    title: str
    node: Any
    over: bool


def layers(run: Any, loaded: Loaded) -> list[Layer]:
    """The input, what a run gave to look at, and its further channels; none where there is the input only."""
    if not run.volumes and not run.further:
        return []
    labels = run.segmentation is not None or run.label_map is not None
    given = "Image" if is_made(run) else _GIVEN.get(run.model.get("task", ""), "Image")
    title = loaded.stem if run.further else "Labels" if labels else given
    found = [Layer(INPUT, title, loaded.shown, over=False)]
    for node in run.volumes:
        part, channel = node.GetAttribute(PART), node.GetAttribute(CHANNEL)
        title = part_title(run.model, part)
        if channel:
            title = channel if title == "Heat map" else f"{title}: {channel}"
        found.append(Layer(node.GetID(), title, node, is_map(run.model, part)))
    return found + [Layer(node.GetID(), node.GetName(), node, over=False) for node in run.further]


def first_layer(run: Any, found: list[Layer]) -> str:
    """What is looked at when a run is done: labels where there are any, else an image, else a map."""
    if not found or run.segmentation is not None or run.label_map is not None:
        return INPUT
    likeliest = [name for name, _, _ in class_answers(run)[:1]]
    for one in found[1:]:
        if not one.over or one.node.GetAttribute(CHANNEL) in likeliest:
            return one.id
    return found[1].id


def part_title(card: dict[str, Any], part: str) -> str:
    """What a part of a result is called: ``"Restored"``, ``"Explanation"``."""
    return _TITLES.get(part) or _MADE.get(card.get("task") or "", "Image")


def image_of(run: Any, part: str, loaded: Loaded) -> deepbio.Image:
    """A part of a result as :func:`deepbio.run` gives it.

    Parameters
    ----------
    run : Run
        Of the module's logic.
    part : str
        Of `IMAGES`.
    loaded : Loaded
        The image it ran on.

    Returns
    -------
    deepbio.Image
        On the grid of the input, or on its own where it has other pixels.
    """
    nodes = of_part(run.volumes, part)
    flat = is_made(run) or (loaded.is_flat and "Z" not in loaded.image.axes)
    frames = [
        np.stack(channels, axis=0) for channels in zip(*[_frames(node, flat) for node in nodes], strict=True)
    ]
    colour = bool(nodes[0].IsA("vtkMRMLVectorVolumeNode"))
    if colour:
        frames = [np.moveaxis(frame[0], -1, 0) for frame in frames]
    if is_made(run):
        return made_images(
            [frame if colour or len(nodes) > 1 else frame[0] for frame in frames], colour=colour
        )
    names = tuple(node.GetAttribute(CHANNEL) for node in nodes)
    named = len(nodes) > 1 or bool(names[0])
    axes = ("C" if named or colour else "") + ("YX" if flat else "ZYX")
    pixels = np.stack([frame if named or colour else frame[0] for frame in frames])
    if "T" in loaded.image.axes:
        axes = "T" + axes
    else:
        pixels = pixels[0]
    spatial = pixels.shape[-2 if flat else -3 :]
    grid = loaded.image.grid if spatial == loaded.image.grid.shape else _grid(nodes[0], spatial, loaded)
    channels = ("red", "green", "blue") if colour else names if named else ()
    return deepbio.Image(pixels, axes, grid, channels, loaded.image.frame_interval)


def _frames(node: Any, flat: bool) -> list[np.ndarray]:
    """Pixels of a node in all frames: ([z,] y, x), colours last."""
    played = sequence_of(node)
    nodes = [node]
    if played is not None:
        sequence = played[1]
        nodes = [sequence.GetNthDataNode(at) for at in range(sequence.GetNumberOfDataNodes())]
    found = []
    for one in nodes:
        image = one.GetImageData()
        scalars = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
        pixels = scalars.reshape(*image.GetDimensions()[::-1], *scalars.shape[1:])
        found.append(pixels[0] if flat else pixels)
    return found


def _grid(node: Any, shape: tuple[int, ...], loaded: Loaded) -> deepbio.Grid:
    """The grid of a node, in the unit of the input."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    unit, dims = loaded.image.grid.unit, len(shape)
    world = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    world[:2] *= -1  # RAS to LPS
    world /= MILLIMETRES[unit]
    steps = world[:dims, :dims][:, ::-1]
    spacing = np.linalg.norm(steps, axis=0)
    return deepbio.Grid(shape, tuple(spacing), tuple(world[:dims, 3]), steps / spacing, unit)
