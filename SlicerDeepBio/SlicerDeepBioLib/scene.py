"""From a node of the scene to the pixels that a model sees: the one place where MRML meets deepbio's grid.

Slicer's world is RAS, in millimeters; a node's IJK indices run ``(x, y, z)``. deepbio's world is LPS, its
arrays run ``(z, y, x)``, and so do its spacings and the columns of its directions. A linear parent transform
is part of what the model sees, so that size and orientation are the patient's; results are placed voxel by
voxel on the node they came from (see ``results``), where no rounding can move them.
"""

from __future__ import annotations

import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy

__all__ = [
    "RGB",
    "SceneError",
    "Source",
    "describe_volume",
    "place_grid",
    "place_pixels",
    "place_plane",
    "read_volume",
    "world_matrix",
]

RGB = ("red", "green", "blue")
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS to LPS and back
_SKEW = 1e-3  # cosine between axes that are said to be perpendicular; directions in DICOM have 5 digits or so


class SceneError(ValueError):
    """A node that cannot be used, or a scene that does not allow it.

    Parameters
    ----------
    message : str
        What was found and what was expected.
    hint : str
        What the user can do.
    """

    kind = "SceneError"

    def __init__(self, message, hint=""):
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self):
        return f"{self.message} {self.hint}".strip()


class Source:
    """Pixels of a node with what the worker must know of them.

    Attributes
    ----------
    parts : list of ndarray
        Views of the memory of nodes: one a frame, one a channel where several volumes are the channels, else
        one in all. They have the axes of `axes` without the first, which is that of the parts, in the first two cases.
    axes : str
        A subset of ``"TCZYX"``.
    shape : tuple of int
        Along `axes`.
    dtype : numpy.dtype
    spacing : tuple of float
        Millimeters, in array order.
    origin : tuple of float
        LPS of the centre of the first pixel, millimeters; 0 for a plane.
    direction : list of list of float
        Rows are x, y[, z] of the world (LPS), columns the array's axes.
    channels : tuple of str
    frame_interval : float or None
        Seconds.
    name : str
        Name of the node.
    """

    unit = "millimeter"

    def __init__(self, parts, axes, grid, channels=(), name=""):
        self.parts = parts
        self.axes = axes
        self.spacing, self.origin, self.direction = grid
        self.channels = tuple(channels)
        self.frame_interval = None
        self.name = name

    @property
    def parted(self):
        """Whether the parts are to be put together along the first axis."""
        return len(self.axes) > self.parts[0].ndim

    @property
    def shape(self):
        """Size along each axis."""
        return ((len(self.parts),) if self.parted else ()) + tuple(self.parts[0].shape)

    @property
    def dtype(self):
        """Type that holds the pixels of all frames."""
        return np.result_type(*[part.dtype for part in self.parts])

    def fits_request(self):
        """The image as the worker's `fits` takes it: without pixels."""
        return {
            "axes": self.axes,
            "shape": list(self.shape),
            "channels": list(self.channels),
            "dtype": self.dtype.name,
        }

    def run_request(self, array):
        """The image as the worker's `run` takes it, with the pixels' message."""
        return {
            "array": array,
            "axes": self.axes,
            "spacing": list(self.spacing),
            "origin": list(self.origin),
            "direction": [list(row) for row in self.direction],
            "unit": self.unit,
            "channels": list(self.channels),
            "frame_interval": self.frame_interval,
            "name": self.name,
        }


def world_matrix(node, parent=None):
    """Affine map from IJK to RAS of the world, with the linear parent transforms.

    Parameters
    ----------
    node : vtkMRMLVolumeNode
        Whose voxels.
    parent : vtkMRMLTransformNode, optional
        Transform above it; by default the node's own.

    Returns
    -------
    ndarray, shape (4, 4)

    Raises
    ------
    SceneError
        If a parent transform is not linear.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    local = _numpy(matrix)
    parent = parent or node.GetParentTransformNode()
    if parent is None:
        return local
    if not parent.IsTransformToWorldLinear():
        raise SceneError(
            f"'{node.GetName()}' lies under the transform '{parent.GetName()}', which is not linear: models need "
            "straight axes.",
            "Harden the transform on a copy of the volume (Transforms module), or take the volume out of it.",
        )
    above = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(above)
    return _numpy(above) @ local


def _numpy(matrix):
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def _grid(node, matrix, plane):
    """Spacing, origin and direction in deepbio's order and world; those of a plane are its own."""
    lps = _LPS @ matrix
    lengths = np.linalg.norm(lps[:3, :3], axis=0)
    if not np.isfinite(lps).all() or lengths.min() <= 0:
        raise SceneError(
            f"'{node.GetName()}' has a spacing of {' x '.join(f'{n:g}' for n in lengths)} mm under its transforms; "
            "it must be positive.",
            "Mend the spacing in the Volumes module, or the transform above it.",
        )
    axes = lps[:3, :3] / lengths
    skew = np.abs(axes.T @ axes - np.eye(3)).max()
    if skew > _SKEW:
        angle = np.degrees(np.arccos(min(1.0, skew)))
        raise SceneError(
            f"The axes of '{node.GetName()}' are sheared: two of them meet at {angle:.1f} degrees, models need 90. "
            "A transform above it shears, or it was acquired with a tilted gantry.",
            "Resample it to straight axes first, with 'Resample Scalar/Vector/DWI Volume' or 'Crop Volume'.",
        )
    spacing = tuple(float(n) for n in lengths[::-1])
    if plane:
        return spacing[1:], (0.0, 0.0), [[0.0, 1.0], [1.0, 0.0]]
    return spacing, tuple(float(n) for n in lps[:3, 3]), axes[:, ::-1].tolist()


def _pixels(node):
    """View of a volume's voxels, shape (z, y, x) or (z, y, x, components)."""
    image = node.GetImageData() if node.IsA("vtkMRMLVolumeNode") else None
    if image is None and not node.IsA("vtkMRMLVolumeNode"):
        kind = node.GetNodeTagName() or node.GetClassName()
        raise SceneError(
            f"'{node.GetName()}' is not a volume but a {kind} node.",
            "Choose a volume or a sequence of volumes.",
        )
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or not scalars.GetNumberOfTuples():
        found = (
            "tensors, not intensities"
            if image is not None and image.GetPointData().GetTensors()
            else "no voxels"
        )
        raise SceneError(f"The volume '{node.GetName()}' has {found}.", "Choose another volume.")
    shape = tuple(reversed(image.GetDimensions()))
    count = scalars.GetNumberOfComponents()
    return vtk_to_numpy(scalars).reshape(shape if count == 1 else (*shape, count))


def _arranged(node):
    """Pixels of a volume with axes in deepbio's order, their axes and the names of their channels.

    A volume of one slice is a plane. Three components of 8 bits are a colour picture; of four, the last is the
    opacity, which must be full.
    """
    pixels = _pixels(node)
    channels = ()
    axes = "ZYX"
    if pixels.ndim == 4:
        if pixels.dtype == np.uint8 and pixels.shape[3] in (3, 4):
            channels = RGB
            _check_opaque(node, pixels[..., 3:])
            pixels = pixels[..., :3]
        pixels = np.moveaxis(pixels, 3, 0)
        axes = "CZYX"
    if pixels.shape[-3] == 1:
        pixels = pixels[..., 0, :, :]
        axes = axes.replace("Z", "")
    return pixels, axes, channels


def _check_opaque(node, alpha):
    if alpha.size and (alpha != 255).any():
        raise SceneError(
            f"The picture '{node.GetName()}' is transparent in places: what shows there is not known.",
            "Save it without an alpha channel and load it again.",
        )


def describe_volume(node):
    """What the worker's `fits` needs to know of a volume; its geometry may be what no model takes.

    Parameters
    ----------
    node : vtkMRMLVolumeNode
        Any volume with voxels.

    Returns
    -------
    dict
        As :meth:`Source.fits_request`.

    Raises
    ------
    SceneError
        If it is no volume or has no voxels.
    """
    pixels, axes, channels = _arranged(node)
    return Source([pixels], axes, ((), (), ()), channels).fits_request()


def read_volume(node, parent=None):
    """Pixels of a volume and where they are, as deepbio has them.

    Parameters
    ----------
    node : vtkMRMLVolumeNode
        A scalar, vector or label map volume.
    parent : vtkMRMLTransformNode, optional
        Transform above it; by default the node's own.

    Returns
    -------
    Source
        `parts` are views of the node's memory.

    Raises
    ------
    SceneError
        If it has no voxels, its axes are sheared, or a parent transform is not linear.
    """
    pixels, axes, channels = _arranged(node)
    grid = _grid(node, world_matrix(node, parent), plane="Z" not in axes)
    return Source([pixels], axes, grid, channels, node.GetName() or "")


def place_grid(node, grid):
    """IJK to RAS, for a node under the transform of another, of a grid that a result tells.

    Parameters
    ----------
    node : vtkMRMLVolumeNode
        The other node.
    grid : dict
        ``spacing``, ``origin`` and ``direction`` in three dimensions, as deepbio has them.

    Returns
    -------
    vtkMatrix4x4
    """
    own = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(own)
    return _vtk(_numpy(own) @ np.linalg.inv(world_matrix(node)) @ _LPS @ _affine(grid))


def place_plane(node, source, grid):
    """IJK to RAS of a plane that a result tells, for a node under the transform of another.

    Parameters
    ----------
    node : vtkMRMLVolumeNode
        The other node, of one slice.
    source : Source
        What was read from it: planes have their own two axes, which the result's grid is told in.
    grid : dict
        ``spacing``, ``origin`` and ``direction`` in two dimensions.

    Returns
    -------
    vtkMatrix4x4
    """
    own = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(own)
    before = {"spacing": source.spacing, "origin": source.origin, "direction": source.direction}
    return _vtk(_numpy(own) @ np.linalg.inv(_affine(before)) @ _affine(grid))


def place_pixels(grid):
    """IJK to RAS of an image that was made of nothing: upright in the axial view, one pixel a millimeter.

    Parameters
    ----------
    grid : dict
        ``spacing``, ``origin`` and ``direction`` in two or three dimensions.

    Returns
    -------
    vtkMatrix4x4
    """
    return _vtk(_LPS @ _affine(grid))


def _affine(grid):
    """Index (x, y[, z]) to the world that a grid is told in; a plane lies at z = 0, one millimeter thick."""
    dims = len(grid["spacing"])
    affine = np.eye(4)
    affine[:dims, :dims] = np.asarray(grid["direction"])[:, ::-1] * np.asarray(grid["spacing"])[::-1]
    affine[:dims, 3] = grid["origin"]
    return affine


def _vtk(values):
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, values[row, column])
    return matrix
