"""Cases on the grid that the network works on: brought there once, normalised where they are read.

Images (2D) stay in memory, normalised, while they fit. Volumes lie as ``.npy`` files in a folder
and are mapped into memory: only what a patch needs is read and normalised, so a data set of any
size fits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.cases import Case, load_sample
from deepbio.engine.geometry import labels_to_working, place_image, to_working
from deepbio.engine.steps import prepare
from deepbio.errors import InputMismatch
from deepbio.events import Listener, Stage, silent
from deepbio.image import ArrayLike
from deepbio.io import atomic
from deepbio.library.card import steps_of
from deepbio.training.plan import Plan
from deepbio.training.refine import FirstStage

__all__ = ["Volume", "Volumes", "normaliser"]

_KEPT_BYTES = 4 * 2**30
_POSITIONS = 2**16  # of each class, to centre patches on: more are not told apart in a run


@dataclass(frozen=True, eq=False)
class Volume:
    """A case on the working grid.

    Attributes
    ----------
    case : Case
        Which.
    raw : array-like, shape (C, [z,] y, x)
        Its intensities.
    image : array-like of float32, shape (C, [z,] y, x)
        The same, normalised; read where it is sliced. With `Plan.per_slice` each slice on its own.
    labels : ndarray of integers, shape ([z,] y, x)
        Its labels.
    guide : ndarray of integers, shape (z, y, x), optional
        Of a cascade, what its first stage found.
    """

    case: Case
    raw: ArrayLike
    image: ArrayLike
    labels: np.ndarray
    guide: np.ndarray | None = None

    @property
    def seen(self) -> ArrayLike:
        """What the network sees: the image, and behind it the guide where there is one."""
        return self.image if self.guide is None else _Guided(self.image, self.guide)

    @cached_property
    def present(self) -> np.ndarray:
        """Labels that occur, without background."""
        found = np.unique(self.labels)
        return found[found > 0]

    @cached_property
    def places(self) -> dict[int, np.ndarray]:
        """Flat indices of pixels of each label, evenly chosen where there are very many."""
        flat = self.labels.reshape(-1)
        found = {int(label): np.flatnonzero(flat == label) for label in self.present}
        return {
            label: at[np.linspace(0, len(at) - 1, _POSITIONS).astype(int)] if len(at) > _POSITIONS else at
            for label, at in found.items()
        }


class Volumes:
    """The cases of one part of a data set.

    Parameters
    ----------
    cases : sequence of Case
        Which.
    plan : Plan
        Grid and normalisation.
    cache : Path, optional
        Folder for volumes; without one they are kept in memory like images.
    first : FirstStage, optional
        Of a cascade, what finds the labels that guide the network; it needs a cache.
    """

    def __init__(
        self, cases: Sequence[Case], plan: Plan, cache: Path | None = None, first: FirstStage | None = None
    ) -> None:
        self.cases = list(cases)
        self._plan, self._first = plan, first
        self._spec = plan.grid_spec
        self._cache = cache if plan.dims == 3 or plan.per_slice else None
        self._open: dict[int, Volume] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Volume]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Volume:
        """A case; from the cache, from memory, or read again.

        Raises
        ------
        InputMismatch
            If its labels go beyond the plan's classes.
        """
        if index in self._open:
            return self._open[index]
        case = self.cases[index]
        if self._cache is not None:
            self._open[index] = self._mapped(case, self._cache)
            return self._open[index]
        raw, labels = self._read(case)
        image = normaliser(raw, self._plan)(raw)
        volume = Volume(case, raw, image, labels)
        size = raw.nbytes + image.nbytes + labels.nbytes
        if self._bytes + size <= _KEPT_BYTES:
            self._open[index] = volume
            self._bytes += size
        return volume

    def prepare(self, listener: Listener = silent) -> None:
        """Bring all volumes to the working grid, if that has not been done before."""
        if self._cache is None:
            return
        self._cache.mkdir(parents=True, exist_ok=True)
        missing = [case for case in self.cases if not all(f.exists() for f in self._files(case, self._cache))]
        stage = Stage(listener, "prepare", len(missing)) if missing else None
        for case in missing:
            self._write(case, self._cache)
            if stage:
                stage.step()
        if self._first is not None:
            self._first.close()

    def _read(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        sample = load_sample(case, self._plan.channels)
        self._check(case, int(sample.labels.max(initial=0)))
        placement = place_image(sample.image, sample.grid, self._spec)
        if placement.identity:
            return sample.image, sample.labels
        working = to_working(sample.image, placement)
        return np.asarray(working[...]), labels_to_working(sample.labels, placement)

    def _check(self, case: Case, largest: int) -> None:
        if self._plan.target == "classes" and largest > self._plan.classes:
            raise InputMismatch(
                f"{str(case.labels)!r} holds the label {largest}; the plan has {self._plan.classes} classes.",
                "Correct the labels, or make a new plan.",
            )

    def _files(self, case: Case, folder: Path) -> tuple[Path, ...]:
        """Image, labels and guide, by names that change with the files, the grid and the first stage."""
        told: list[Any] = [asdict(self._spec), self._plan.channels]
        if self._first is not None:
            told.append(self._first.version(case))
        for path in (case.image, *case.others, case.labels):
            stat = path.stat()
            told += [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
        key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
        kinds = ("image", "labels", *(("guide",) if self._first is not None else ()))
        return tuple(folder / f"{key}_{kind}.npy" for kind in kinds)

    def _write(self, case: Case, folder: Path) -> None:
        image_file, labels_file, *guide_file = self._files(case, folder)
        sample = load_sample(case, self._plan.channels)
        largest = int(sample.labels.max(initial=0))
        self._check(case, largest)
        placement = place_image(sample.image, sample.grid, self._spec)
        working = to_working(sample.image, placement)
        with atomic(image_file) as temporary:
            out = np.lib.format.open_memmap(temporary, "w+", working.dtype, working.shape)
            for key, band in working.bands():
                out[key] = band
            out.flush()
            del out
        labels = labels_to_working(sample.labels, placement).astype(np.min_scalar_type(largest))
        written = [(labels_file, labels)]
        if self._first is not None:
            guide = labels_to_working(self._first.labels(case, sample), placement)
            written.append((guide_file[0], guide.astype(np.min_scalar_type(self._plan.classes))))
        for path, values in written:
            with atomic(path) as temporary, temporary.open("wb") as file:
                np.save(file, values, allow_pickle=False)

    def _mapped(self, case: Case, folder: Path) -> Volume:
        files = self._files(case, folder)
        if not all(file.exists() for file in files):
            folder.mkdir(parents=True, exist_ok=True)
            self._write(case, folder)
        raw, labels, *guide = (np.load(file, mmap_mode="r", allow_pickle=False) for file in files)
        lazy = _Slices(raw, self._plan) if self._plan.per_slice else _Normalised(raw, self._plan)
        return Volume(case, raw, lazy, labels, *guide)


def normaliser(raw: ArrayLike, plan: Plan) -> Callable[[np.ndarray], np.ndarray]:
    """The plan's preprocessing steps, ready for blocks of an image.

    Parameters
    ----------
    raw : array-like, shape (C, [z,] y, x)
        The image, whose statistics are found here.
    plan : Plan
        The steps.

    Returns
    -------
    callable
        From a block of raw pixels to float32.
    """
    axes = ("channel", *"zyx"[4 - len(raw.shape) :])
    steps = steps_of(plan.normalisation)
    return prepare(raw, axes, steps)


class _Normalised:
    """A volume, normalised where it is sliced."""

    def __init__(self, raw: np.ndarray, plan: Plan) -> None:
        self._raw, self._plan = raw, plan
        self.shape, self.dtype = raw.shape, np.dtype(np.float32)

    @cached_property
    def _steps(self) -> Callable[[np.ndarray], np.ndarray]:
        return normaliser(self._raw, self._plan)

    def __getitem__(self, key: Any) -> np.ndarray:
        return self._steps(np.asarray(self._raw[key]))


class _Guided:
    """A normalised volume with the labels that guide its network as one channel more."""

    def __init__(self, image: ArrayLike, guide: np.ndarray) -> None:
        self._image, self._guide = image, guide
        self.shape, self.dtype = (image.shape[0] + 1, *image.shape[1:]), np.dtype(np.float32)

    def __getitem__(self, key: Any) -> np.ndarray:
        """All channels: ``[...]``, or slices whose first is that of the channels."""
        within = key[1:] if isinstance(key, tuple) else key
        guide = np.asarray(self._guide[within], np.float32)
        return np.concatenate((np.asarray(self._image[key]), guide[np.newaxis]))


class _Slices:
    """A volume whose slices are images of their own, as they are when the model runs."""

    def __init__(self, raw: np.ndarray, plan: Plan) -> None:
        self._raw, self._plan = raw, plan
        self.shape, self.dtype = raw.shape, np.dtype(np.float32)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Only ``[:, z]``, one slice."""
        plane = np.asarray(self._raw[key])
        return normaliser(plane, self._plan)(plane)
