"""What an instance network learns, computed from a label image.

Channels, in this order (`channel_names`):

* ``foreground``: 1 inside objects;
* ``depth``: distance to the object's edge over its largest value in that object, 0 outside
  (Bai & Urtasun, CVPR 2017, doi:10.1109/CVPR.2017.305, as a regression);
* ``offset_*``: vector from the pixel to the centre of its object in units of `OFFSET_UNIT`
  pixels (Neven et al., CVPR 2019, doi:10.1109/CVPR.2019.00904; Cheng et al., CVPR 2020,
  arXiv:1911.10194).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from deepbio.tasks.decode import OFFSET_UNIT

__all__ = ["channel_names", "instance_targets", "object_weights"]


def channel_names(dims: int) -> tuple[str, ...]:
    """Names of the channels for images of `dims` axes.

    Examples
    --------
    >>> channel_names(2)
    ('foreground', 'depth', 'offset_y', 'offset_x')
    """
    return ("foreground", "depth", *(f"offset_{axis}" for axis in "zyx"[3 - dims :]))


def instance_targets(labels: np.ndarray) -> np.ndarray:
    """Compute the target channels of a label image.

    Parameters
    ----------
    labels : ndarray of int, shape ([z,] y, x)
        Objects; 0 is background.

    Returns
    -------
    ndarray of float32, shape (2 + dims, [z,] y, x)
    """
    dims = labels.ndim
    out = np.zeros((2 + dims, *labels.shape), np.float32)
    count = int(labels.max(initial=0))
    if count == 0:
        return out
    flat = labels.ravel()
    inside = flat > 0
    objects = flat[inside]
    area = np.bincount(objects, minlength=count + 1)
    depth = _depth(labels).ravel()[inside]
    peak = np.zeros(count + 1, np.float32)
    np.maximum.at(peak, objects, depth)
    channels = out.reshape(2 + dims, -1)
    channels[0, inside] = 1
    channels[1, inside] = depth / peak[objects]
    for axis in range(dims):
        shape = [1] * dims
        shape[axis] = labels.shape[axis]
        where = np.broadcast_to(np.arange(labels.shape[axis], dtype=np.float64).reshape(shape), labels.shape)
        position = where.ravel()[inside]
        centre = np.bincount(objects, weights=position, minlength=count + 1) / np.maximum(area, 1)
        channels[2 + axis, inside] = (centre[objects] - position) / OFFSET_UNIT
    return out


def _depth(labels: np.ndarray) -> np.ndarray:
    """Distance to the nearest pixel of another label; at least 1 inside objects."""
    edge = labels == 0
    for axis in range(labels.ndim):
        ahead = np.moveaxis(labels, axis, 0)
        border = np.moveaxis(edge, axis, 0)
        change = ahead[1:] != ahead[:-1]
        # of two touching objects both rims count as edge, so depth falls to 0 between them
        border[1:] |= change
        border[:-1] |= change & (ahead[:-1] > 0)
    return np.asarray(ndimage.distance_transform_edt(~edge) + 1, np.float32)


def object_weights(labels: np.ndarray, typical: float) -> np.ndarray:
    """Weight of each pixel: small objects, and rims where objects touch, count more.

    Parameters
    ----------
    labels : ndarray of int
        Objects.
    typical : float
        Size in pixels of a typical object (the data set's median).

    Returns
    -------
    ndarray of float32
        ``sqrt(typical / size)`` within [0.5, 4] inside objects, 1 outside; three times that where
        another object is within two pixels (in the spirit of the U-Net's border weights).
    """
    area = np.bincount(labels.ravel())
    weight = np.sqrt(typical / np.maximum(area, 1)).clip(0.5, 4)
    weight[0] = 1
    touching = ndimage.binary_dilation(_contacts(labels), iterations=1)
    return np.asarray(weight[labels] * np.where(touching, 3, 1), np.float32)


def _contacts(labels: np.ndarray) -> np.ndarray:
    """Pixels that are next to a pixel of another object."""
    contacts = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        along, marked = np.moveaxis(labels, axis, 0), np.moveaxis(contacts, axis, 0)
        meet = (along[1:] != along[:-1]) & (along[1:] > 0) & (along[:-1] > 0)
        marked[1:] |= meet
        marked[:-1] |= meet
    return contacts
