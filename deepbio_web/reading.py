"""From an image file to a node of the scene, whatever deepbio reads.

A file is read by :func:`deepbio.read`, as on the command line, so that all doors see the same pixels.
Deepbio counts axes as (z, y, x) in LPS; a node counts them as (i, j, k) in RAS.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from trame_slicer.core import SlicerApp
from vtk.util import numpy_support

import deepbio

__all__ = ["MILLIMETRES", "Loaded", "load"]

MILLIMETRES = {"millimeter": 1.0, "micrometer": 1e-3, "pixel": 1.0}


@dataclass(frozen=True)
class Loaded:
    """An image in the scene.

    Attributes
    ----------
    node : vtkMRMLVolumeNode or vtkMRMLSequenceBrowserNode
        What is segmented.
    shown : vtkMRMLVolumeNode
        What the views show: the node itself, or the frame that the browser has chosen.
    image : deepbio.Image
        What was read.
    name : str
        Of the file.
    """

    node: Any
    shown: Any
    image: deepbio.Image
    name: str

    @property
    def stem(self) -> str:
        """The name without the ending of its format."""
        return _stem(self.name)

    @property
    def frames(self) -> int:
        """Number of frames; 1 when the image is not a sequence."""
        return self.image.size("T")

    @property
    def sizes(self) -> dict[str, int]:
        """What options depend on: ``slices``, ``channels`` and ``frames``."""
        image = self.image
        return {"slices": image.size("Z"), "channels": image.size("C"), "frames": image.size("T")}

    @property
    def is_flat(self) -> bool:
        """Whether there is but one slice to look at."""
        return self.image.size("Z") == 1

    @property
    def facts(self) -> str:
        """Size and spacing, for people: ``"35 x 51 x 35 voxels of 1 x 1 x 1 mm"``."""
        grid = self.image.grid
        sizes = " \N{MULTIPLICATION SIGN} ".join(str(n) for n in grid.shape[::-1])
        text = f"{sizes} {'pixels' if self.is_flat else 'voxels'}"
        if grid.unit != "pixel":
            unit = "mm" if grid.unit == "millimeter" else "\N{MICRO SIGN}m"
            steps = " \N{MULTIPLICATION SIGN} ".join(f"{step:.3g}" for step in grid.spacing[::-1])
            text += f" of {steps} {unit}"
        if self.frames > 1:
            text += f", {self.frames} frames"
        if self.image.size("C") > 1:
            text += ", colour" if self.image.is_rgb else f", {self.image.size('C')} channels"
        return text


def load(path: str | Path, app: SlicerApp, series: str = "") -> Loaded:
    """Read an image and add it to the scene.

    Parameters
    ----------
    path : str or Path
        An image file, or the folder of a DICOM series.
    app : SlicerApp
        Its scene gets a volume, or a sequence with its browser.
    series : str
        One of the series of a DICOM folder, as ``deepbio run --series`` takes it.

    Returns
    -------
    Loaded

    Raises
    ------
    ImageError
        If the file cannot be read.
    """
    path = Path(path)
    image = deepbio.read(path, series=series) if series else deepbio.read(path)
    name = path.resolve().name
    if image.size("T") == 1:
        still = image.take("T", 0) if "T" in image.axes else image
        node = _volume(still, _stem(name))
        app.scene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        return Loaded(node, node, image, name)
    browser, proxy = _sequence(image, _stem(name), app)
    return Loaded(browser, proxy, image, name)


def _volume(image: deepbio.Image, name: str) -> Any:
    """A volume node, not yet in a scene, of an image without frames."""
    array = np.ascontiguousarray(image.numpy())
    if "C" in image.axes:
        array = np.ascontiguousarray(np.moveaxis(array, image.axes.index("C"), -1))
    components = image.size("C")
    sizes = image.grid.shape if len(image.grid.shape) == 3 else (1, *image.grid.shape)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)

    data = vtk.vtkImageData()
    data.SetDimensions(*sizes[::-1])
    pixels = numpy_support.numpy_to_vtk(array.reshape(-1, components), deep=True)
    pixels.SetName("ImageScalars")
    data.GetPointData().SetScalars(pixels)

    node = slicer.vtkMRMLVectorVolumeNode() if components > 1 else slicer.vtkMRMLScalarVolumeNode()
    node.SetName(name)
    if components == 3 and image.is_rgb:
        node.SetVoxelVectorType(slicer.vtkMRMLVolumeNode.VoxelVectorTypeColorRGB)
    node.SetAndObserveImageData(data)
    node.SetIJKToRASMatrix(_ijk_to_ras(image.grid))
    return node


def _ijk_to_ras(grid: deepbio.Grid) -> Any:
    """Matrix of a node on this grid, in millimetres; a plane lies at z = 0."""
    scale = MILLIMETRES[grid.unit]
    dims = len(grid.shape)
    world = np.eye(4)
    world[:dims, :dims] = (np.asarray(grid.direction) * grid.spacing)[:, ::-1] * scale
    world[:dims, 3] = np.asarray(grid.origin) * scale
    if dims == 2:
        world[2, 2] = grid.spacing[0] * scale
    world[:2] *= -1  # LPS to RAS
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, world[row, column])
    return matrix


def _sequence(image: deepbio.Image, name: str, app: SlicerApp) -> tuple[Any, Any]:
    """Add a sequence with its browser to the scene; return the browser and the volume that it drives."""
    sequence = app.scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName("time" if image.frame_interval else "frame")
    sequence.SetIndexUnit("s" if image.frame_interval else "")
    for number in range(image.size("T")):
        at = number * image.frame_interval if image.frame_interval else number
        sequence.SetDataNodeAtValue(_volume(image.take("T", number), name), f"{at:.9g}")
    browser = app.scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.SetPlaybackActive(False)
    browser.SetSelectedItemNumber(0)
    app.sequences_logic.UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(sequence)
    proxy.CreateDefaultDisplayNodes()
    return browser, proxy


def _stem(name: str) -> str:
    """File name without the endings of its format."""
    return name.removesuffix(".gz").rsplit(".", 1)[0] if "." in name.removesuffix(".gz")[1:] else name
