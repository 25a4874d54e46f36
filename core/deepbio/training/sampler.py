"""Batches of random patches: each is a function of the plan's seed and the step's number.

So a run that was killed goes on with the very patches it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from skimage.measure import label as connected

from deepbio.cases import Case, Sample, load_sample
from deepbio.engine.steps import prepare
from deepbio.library.card import Step
from deepbio.training.augment import change_intensity, draw_patch
from deepbio.training.plan import Plan
from deepbio.training.targets import instance_targets, object_weights

__all__ = ["PatchSampler", "normalise"]

_MARGIN = 24  # labels are resampled so much wider, so that objects cut by the patch keep their centre
_OBJECT_ZOOM = (0.5, 3.0)  # beyond it, pixels show or detail is lost
_CACHE_BYTES = 4 * 2**30
_AHEAD = 3  # batches prepared while the network computes


def normalise(sample: Sample, plan: Plan) -> np.ndarray:
    """Apply the plan's preprocessing steps to a whole image.

    Returns
    -------
    ndarray of float32, shape (C, [z,] y, x)
    """
    axes = ("channel", *"zyx"[3 - plan.dims :])
    steps = tuple(Step(step["id"], step.get("kwargs", {})) for step in plan.normalisation)
    result: np.ndarray = prepare(sample.image, axes, steps)(sample.image.astype(np.float32))
    return result


class PatchSampler:
    """Draws batches of augmented patches with their targets.

    Parameters
    ----------
    cases : sequence of Case
        Training cases.
    plan : Plan
        How to draw.
    """

    def __init__(self, cases: Sequence[Case], plan: Plan) -> None:
        self._cases = list(cases)
        self._plan = plan
        self._cache: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._cached = 0
        groups = [case.group for case in self._cases]
        size = {group: groups.count(group) for group in set(groups)}
        weight = np.array([size[group] ** (plan.group_power - 1) for group in groups])
        self._chance = weight / weight.sum()

    def batches(self, first: int, last: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the batches of steps `first` to `last` - 1, prepared ahead in a thread."""
        with ThreadPoolExecutor(1, thread_name_prefix="patches") as pool:
            waiting: list[Future[tuple[np.ndarray, np.ndarray]]] = []
            try:
                for step in range(first, last):
                    while len(waiting) < _AHEAD and step + len(waiting) < last:
                        waiting.append(pool.submit(self.batch, step + len(waiting)))
                    yield waiting.pop(0).result()
            finally:
                for future in waiting:
                    future.cancel()

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
        image, labels, objects = self._load(int(rng.choice(len(self._cases), p=self._chance)))
        centre = rng.uniform(0, np.array(labels.shape) - 1)
        zoom = None
        if len(objects) and rng.uniform() < plan.object_patches:
            where = np.argwhere(labels == rng.choice(objects))
            zoom = self._object_zoom(len(where), rng)
            aside = rng.uniform(-0.25, 0.25, plan.dims) * plan.patch / (zoom or 1.0)
            centre = where[rng.integers(len(where))] + aside
        margin = _MARGIN if plan.target == "instances" else 0
        wide = tuple(n + 2 * margin for n in plan.patch)
        pixels, marks = draw_patch(image, labels, centre, wide, plan.augmentation, rng, zoom)
        inner = tuple(slice(margin, n - margin) for n in wide)
        pixels = change_intensity(np.ascontiguousarray(pixels[(slice(None), *inner)]), plan.augmentation, rng)
        if plan.target == "classes":
            return pixels, marks.astype(np.int64)
        # an object that the image's border reflects is two objects, each with its own centre
        marks = connected(marks, connectivity=plan.dims)  # type: ignore[no-untyped-call]
        targets = instance_targets(marks)[(slice(None), *inner)]
        weight = object_weights(marks, plan.object_size)[inner]
        return pixels, np.concatenate([targets, weight[None]])

    def _object_zoom(self, pixels: int, rng: np.random.Generator) -> float | None:
        """Zoom that brings an object of so many pixels to a drawn diameter; None: as usual."""
        wanted = self._plan.augmentation.object_size
        if wanted is None or rng.uniform() < 1 / 2:
            return None
        flat = self._plan.dims == 2
        diameter = np.sqrt(4 * pixels / np.pi) if flat else np.cbrt(6 * pixels / np.pi)
        return float(np.clip(np.exp(rng.uniform(*np.log(wanted))) / diameter, *_OBJECT_ZOOM))

    def _load(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a case's normalised image, labels and label values, from memory if they fit there."""
        if index in self._cache:
            return self._cache[index]
        sample = load_sample(self._cases[index], self._plan.channels)
        present = np.unique(sample.labels)
        loaded = (normalise(sample, self._plan).astype(np.float32), sample.labels, present[present > 0])
        size = sum(array.nbytes for array in loaded)
        if self._cached + size <= _CACHE_BYTES:
            self._cache[index] = loaded
            self._cached += size
        return loaded
