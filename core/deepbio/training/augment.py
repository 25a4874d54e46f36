"""Random patches: one affine (and on request elastic) resampling, then changes of intensity.

Every draw comes from the generator that is passed in, so a patch is a function of its seed.
The same code serves 2D and 3D.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

__all__ = ["Augmentation", "change_intensity", "draw_patch"]


@dataclass(frozen=True)
class Augmentation:
    """How strongly patches vary. Ranges are (low, high); probabilities are per patch.

    Attributes
    ----------
    spatial : float
        Share of the patches that are turned, zoomed and deformed. The others are cut out as they
        are (and flipped): resampling smooths, and the images that are predicted later are not.
    rotation : float
        Largest angle in degrees: in the plane in 2D, about every axis in 3D (about z only
        where `in_plane`).
    in_plane : bool
        Rotate 3D patches about their coarsest axis only, and lower the resolution across it only
        (thick slices).
    scale : (float, float)
        Zoom, drawn evenly in its logarithm.
    mirror : tuple of int
        Array axes that may be flipped.
    elastic : float
        Largest displacement in pixels of a smooth random field; 0 is off.
    gamma, contrast : (float, float)
        Exponent and factor.
    brightness, noise : float
        Largest offset and standard deviation, in units of the normalised intensity range.
    blur : float
        Largest standard deviation in pixels of a Gaussian (applied to a fifth of the patches).
    low_resolution : float
        Largest factor of down- and upsampling (a sixth of the patches); 1 is off.
    object_size : (float, float), optional
        Diameters in pixels between which the object that a patch is centred on is zoomed, in
        half of such patches: so that an object of any kind is seen at any size.
    colour : float
        Spread of the gain per channel of colour images.
    mix : float
        Standard deviation of what one colour channel takes from another (stain and white balance).
    to_grey, tint : float
        Probability that a colour patch loses its colour, and that a grey one gains one.
    spacing : tuple of float
        Relative size of a pixel along each axis, so that 3D patches turn as bodies do; empty: cubes.
    intensity : (float, float)
        Normalised intensities of the darkest and the brightest: where gamma is 0 and 1.
    """

    spatial: float = 1.0
    rotation: float = 180.0
    in_plane: bool = False
    scale: tuple[float, float] = (0.7, 1.5)
    mirror: tuple[int, ...] = (0, 1)
    elastic: float = 0.0
    gamma: tuple[float, float] = (0.6, 1.6)
    contrast: tuple[float, float] = (0.75, 1.3)
    brightness: float = 0.1
    noise: float = 0.06
    blur: float = 1.5
    low_resolution: float = 2.5
    object_size: tuple[float, float] | None = None
    colour: float = 0.12
    mix: float = 0.0
    to_grey: float = 0.1
    tint: float = 0.05
    spacing: tuple[float, ...] = ()
    intensity: tuple[float, float] = (0.0, 1.0)

    @property
    def coarse_axis(self) -> int:
        """The axis through thick slices."""
        return self.spacing.index(max(self.spacing)) if self.spacing else 0


def draw_patch(
    image: np.ndarray,
    labels: np.ndarray,
    centre: np.ndarray,
    size: tuple[int, ...],
    settings: Augmentation,
    rng: np.random.Generator,
    zoom: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Resample a patch around a point.

    Parameters
    ----------
    image : ndarray of float32, shape (C, [z,] y, x)
        Normalised image.
    labels : ndarray of int32, shape ([z,] y, x)
        Labels; taken from the nearest pixel, so no new ones arise.
    centre : ndarray of float, shape (dims,)
        Centre of the patch as an index.
    size : tuple of int
        Size of the patch.
    settings : Augmentation
        How strongly it varies.
    rng : numpy.random.Generator
        Source of every draw.
    zoom : float, optional
        Enlargement; drawn from ``settings.scale`` where it is not given.

    Returns
    -------
    image : ndarray of float32, shape (C, *size)
    labels : ndarray of int32, shape `size`
    """
    points = _random_points(labels.ndim, centre, size, settings, rng, zoom)
    low, high = _box(points, labels.shape)
    key = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    # grid_sample counts from -1 to 1 over the pixels' outer edges, x first
    extent = np.asarray(high - low, np.float32)
    grid = ((points - low.astype(np.float32) + 0.5) / extent * 2 - 1)[..., ::-1]
    place = torch.from_numpy(np.ascontiguousarray(grid))[None]
    pixels = torch.from_numpy(np.ascontiguousarray(image[(slice(None), *key)], np.float32))[None]
    marks = torch.from_numpy(labels[key].astype(np.float32))[None, None]
    new_image = F.grid_sample(pixels, place, "bilinear", "reflection", align_corners=False)[0].numpy()
    new_labels = F.grid_sample(marks, place, "nearest", "reflection", align_corners=False)[0, 0].numpy()
    return new_image, new_labels.astype(np.int32)


def _random_points(
    dims: int,
    centre: np.ndarray,
    size: tuple[int, ...],
    settings: Augmentation,
    rng: np.random.Generator,
    zoom: float | None,
) -> np.ndarray:
    """Where in the image, as fractional indices (*size, dims), the pixels of a patch come from."""
    middle = (np.array(size) - 1) / 2
    resampled = zoom is not None or settings.spatial >= 1 or rng.uniform() < settings.spatial
    if resampled:
        matrix = _random_matrix(dims, settings, rng, zoom)
    else:
        matrix = np.diag(_random_flips(dims, settings, rng))
        centre = np.round(centre - middle) + middle  # whole pixels, so nothing is interpolated
    axes = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in size]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    points = offsets @ matrix.T.astype(np.float32)
    if resampled and settings.elastic > 0:
        points += _smooth_field(size, settings.elastic, rng)
    return np.asarray(points + centre.astype(np.float32))


def _box(points: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Part of the image that the points need, so that only it is copied and resampled."""
    flat = points.reshape(-1, len(shape))
    low = np.floor(flat.min(0)).astype(int) - 1
    high = np.ceil(flat.max(0)).astype(int) + 2
    # reflection at the image's border must meet the border itself: clip, never shift
    low = np.clip(low, 0, np.maximum(np.array(shape) - 2, 0))
    high = np.clip(high, low + 1, np.array(shape))
    return low, high


def _random_matrix(
    dims: int, settings: Augmentation, rng: np.random.Generator, zoom: float | None
) -> np.ndarray:
    """Rotation, zoom and flips as a matrix from patch offsets to image offsets."""
    drawn = np.exp(rng.uniform(*np.log(settings.scale)))
    # one zoom for the patch, and up to 10 % more or less per axis
    zooms = (drawn if zoom is None else zoom) * np.exp(rng.uniform(-0.1, 0.1, dims))
    matrix = np.eye(dims)
    turn = np.deg2rad(settings.rotation)
    planes = [(a, b) for a in range(dims) for b in range(a + 1, dims)]
    if dims == 3 and settings.in_plane:
        planes = [plane for plane in planes if settings.coarse_axis not in plane]
    pixel = np.array(settings.spacing or (1.0,) * dims)
    for a, b in planes:
        angle = rng.uniform(-turn, turn)
        rotation = np.eye(dims)
        rotation[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        # turned in space, not in the array, where pixels may be longer along one axis
        matrix = matrix @ (rotation * pixel / pixel[:, None])
    return matrix @ np.diag(_random_flips(dims, settings, rng) / zooms)


def _random_flips(dims: int, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    flips = np.ones(dims)
    for axis in settings.mirror:
        flips[axis] = rng.choice((-1.0, 1.0))
    return flips


def _smooth_field(size: tuple[int, ...], strength: float, rng: np.random.Generator) -> np.ndarray:
    """Displacements whose largest is `strength` pixels and that change over about a quarter patch."""
    fields = []
    for _ in size:
        field = rng.standard_normal([4] * len(size)).astype(np.float32)
        for n in size:  # each product moves its axis to the end, so the order comes round
            field = np.tensordot(field, _spline(n), axes=(0, 1))
        fields.append(field / max(float(np.abs(field).max()), 1e-6) * strength * rng.uniform())
    return np.stack(fields, axis=-1).astype(np.float32)


@cache
def _spline(size: int) -> np.ndarray:
    """Cubic spline from 4 values to `size` along one axis, as a matrix: many times faster than `zoom`."""
    unit = np.eye(4, dtype=np.float32)
    rows = [ndimage.zoom(one, size / 4, order=3, mode="reflect", grid_mode=True) for one in unit]
    return np.stack(rows, axis=1)


def change_intensity(image: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Vary colour, contrast, sharpness and noise of a normalised patch.

    Parameters
    ----------
    image : ndarray of float32, shape (C, [z,] y, x)
        Patch with intensities mostly within ``settings.intensity``.
    settings : Augmentation
        How strongly.
    rng : numpy.random.Generator
        Source of every draw.

    Returns
    -------
    ndarray of float32, same shape
    """
    if image.shape[0] == 3:
        image = _change_colour(image, settings, rng)
    low, high = settings.intensity
    if (low, high) != (0.0, 1.0):
        image = (image - np.float32(low)) / np.float32(high - low)
    image = np.sign(image) * np.abs(image) ** np.float32(np.exp(rng.uniform(*np.log(settings.gamma))))
    mean = image.mean()
    image = (image - mean) * rng.uniform(*settings.contrast) + mean
    image = image + rng.uniform(-settings.brightness, settings.brightness)
    spatial = image.ndim - 1
    if settings.blur > 0 and rng.uniform() < 1 / 5:
        image = ndimage.gaussian_filter(image, (0,) + (rng.uniform(0, settings.blur),) * spatial)
    if settings.low_resolution > 1 and rng.uniform() < 1 / 6:
        kept = settings.coarse_axis if spatial == 3 and settings.in_plane else None
        image = _lower_resolution(image, rng.uniform(1, settings.low_resolution), kept)
    if settings.noise > 0 and rng.uniform() < 1 / 2:
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(0, settings.noise)
    if (low, high) != (0.0, 1.0):
        image = image * (high - low) + low
    return np.asarray(image, np.float32)


def _change_colour(image: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    gain = (1 + rng.uniform(-settings.colour, settings.colour, (3,) + (1,) * (image.ndim - 1))).astype(
        np.float32
    )
    grey = np.array_equal(image[0], image[1]) and np.array_equal(image[0], image[2])
    if grey:
        if rng.uniform() < settings.tint:
            # fluorescence saved as a colour picture: one hue on black
            hue = rng.uniform(0, 1, gain.shape).astype(np.float32)
            return image * hue / hue.max()
        return image
    if rng.uniform() < settings.to_grey:
        return np.broadcast_to(image.mean(0, keepdims=True), image.shape)
    if settings.mix > 0:
        mixing = np.eye(3) + rng.normal(0, settings.mix, (3, 3)) * (1 - np.eye(3))
        mixing /= mixing.sum(1, keepdims=True)  # white stays white
        image = np.tensordot(mixing.astype(np.float32), image, axes=1)
    return image * gain


def _lower_resolution(image: np.ndarray, factor: float, kept: int | None) -> np.ndarray:
    size = image.shape[1:]
    small = [n if axis == kept else max(1, round(n / factor)) for axis, n in enumerate(size)]
    mode = "bilinear" if len(size) == 2 else "trilinear"
    pixels = torch.from_numpy(np.ascontiguousarray(image))[None]
    shrunk = F.interpolate(pixels, size=small, mode="nearest-exact")
    return F.interpolate(shrunk, size=size, mode=mode, align_corners=False)[0].numpy()
