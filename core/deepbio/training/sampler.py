"""Batches of random patches: each is a function of the plan's seed and the step's number.

So a run that was killed goes on with the very patches it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from skimage.measure import label as connected

from deepbio.training.ahead import prepared_ahead
from deepbio.training.augment import change_intensity, draw_patch
from deepbio.training.plan import Plan
from deepbio.training.spoil import spoil_labels
from deepbio.training.targets import instance_targets, object_weights
from deepbio.training.volumes import Volume, Volumes

__all__ = ["PatchSampler"]

_MARGIN = 24  # labels are resampled so much wider, so that objects cut by the patch keep their centre
_OBJECT_ZOOM = (0.5, 3.0)  # beyond it, pixels show or detail is lost


class PatchSampler:
    """Draws batches of augmented patches with their targets.

    Parameters
    ----------
    volumes : Volumes
        Training cases.
    plan : Plan
        How to draw.
    """

    def __init__(self, volumes: Volumes, plan: Plan) -> None:
        self._volumes = volumes
        self._plan = plan
        groups = [case.group for case in volumes.cases]
        size = {group: groups.count(group) for group in set(groups)}
        weight = np.array([size[group] ** (plan.group_power - 1) for group in groups])
        self._chance = weight / weight.sum()

    def batches(self, first: int, last: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches of steps `first` to `last` - 1, prepared ahead in a thread."""
        return prepared_ahead(self.batch, first, last)

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the images and targets of one step.

        Returns
        -------
        images : ndarray of float32, shape (N, C, *patch)
        targets : ndarray
            For instances float32, shape (N, 3 + dims, *patch): see `losses.instance_loss`;
            for classes int64, shape (N, *patch).
        """
        drawn = [
            self._patch(np.random.default_rng((self._plan.seed, step, i))) for i in range(self._plan.batch)
        ]
        images, targets = zip(*drawn, strict=True)
        return np.stack(images), np.stack(targets)

    def _patch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        plan = self._plan
        volume = self._volumes[int(rng.choice(len(self._volumes), p=self._chance))]
        image, labels, centre, zoom = self._place(volume, rng)
        margin = _MARGIN if plan.target == "instances" else 0
        wide = tuple(n + 2 * margin for n in plan.patch)
        pixels, marks = draw_patch(image, labels, centre, wide, plan.augmentation, rng, zoom)
        inner = tuple(slice(margin, n - margin) for n in wide)
        pixels = change_intensity(np.ascontiguousarray(pixels[(slice(None), *inner)]), plan.augmentation, rng)
        if volume.guide is not None:
            marks, guide = marks % (plan.classes + 1), marks // (plan.classes + 1)
            guide = spoil_labels(guide, rng).astype(np.float32)
            return np.concatenate((pixels, guide[np.newaxis])), marks.astype(np.int64)
        if plan.target == "classes":
            return pixels, marks.astype(np.int64)
        # an object that the image's border reflects is two objects, each with its own centre
        marks = connected(marks, connectivity=plan.dims)  # type: ignore[no-untyped-call]
        targets = instance_targets(marks)[(slice(None), *inner)]
        weight = object_weights(marks, plan.object_size)[inner]
        return pixels, np.concatenate([targets, weight[None]])

    def _place(
        self, volume: Volume, rng: np.random.Generator
    ) -> tuple[Any, np.ndarray, np.ndarray, float | None]:
        """Draw where a patch lies: image and labels (a slice of them), centre and zoom."""
        plan, shape = self._plan, volume.labels.shape
        centre = rng.uniform(0, np.array(shape) - 1)
        zoom = None
        if len(volume.present) and rng.uniform() < plan.object_patches:
            label = int(rng.choice(volume.present))
            classes = plan.target == "classes"
            where = volume.places[label] if classes else np.flatnonzero(volume.labels == label)
            zoom = self._object_zoom(len(where), rng)
            aside = rng.uniform(-0.25, 0.25, plan.dims) * plan.patch / (zoom or 1.0)
            centre = np.array(np.unravel_index(where[rng.integers(len(where))], shape), float)
            centre[-plan.dims :] += aside
        if plan.configuration:  # plans of older versions train as they did
            centre[-plan.dims :] = _inside(centre[-plan.dims :], shape[-plan.dims :], plan.patch)
        if volume.guide is not None:
            both: Any = _Both(volume.labels, volume.guide, plan.classes + 1)
            return volume.image, both, centre, zoom
        if not plan.per_slice:
            return volume.image, volume.labels, centre, zoom
        at = round(float(centre[0]))
        return volume.image[:, at], volume.labels[at], centre[1:], zoom

    def _object_zoom(self, pixels: int, rng: np.random.Generator) -> float | None:
        """Zoom that brings an object of so many pixels to a drawn diameter; None: as usual."""
        wanted = self._plan.augmentation.object_size
        if wanted is None or rng.uniform() < 1 / 2:
            return None
        flat = self._plan.dims == 2
        diameter = np.sqrt(4 * pixels / np.pi) if flat else np.cbrt(6 * pixels / np.pi)
        return float(np.clip(np.exp(rng.uniform(*np.log(wanted))) / diameter, *_OBJECT_ZOOM))


class _Both:
    """Labels and those of a first stage as one number, so that they are turned and zoomed together."""

    def __init__(self, labels: np.ndarray, guide: np.ndarray, base: int) -> None:
        self._labels, self._guide, self._base = labels, guide, base
        self.shape, self.ndim = labels.shape, labels.ndim

    def __getitem__(self, key: Any) -> np.ndarray:
        labels, guide = (one[key].astype(np.int32) for one in (self._labels, self._guide))
        return np.asarray(labels + self._base * guide)


def _inside(centre: np.ndarray, shape: tuple[int, ...], patch: tuple[int, ...]) -> np.ndarray:
    """The centre, moved so that the patch shows the image rather than its reflection.

    It may reach beyond the image by an eighth; where the image is smaller than the patch, it lies in the
    patch's middle, give or take as much.
    """
    size, half = np.array(shape), np.array(patch) / 2
    low = np.minimum(half, size / 2) - half / 4 - 0.5
    high = np.maximum(size - half, size / 2) + half / 4 - 0.5
    return np.asarray(np.clip(centre, low, high))
