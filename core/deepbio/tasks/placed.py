"""A frame on the grid that its network works on, and its labels and scores back on the image's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepbio.engine.geometry import GridSpec, Placement, Working, place_image, to_working
from deepbio.engine.return_trip import Bands, classes_to_input, labels_to_input, scores_to_input
from deepbio.errors import CardError
from deepbio.events import Listener, Notice, Stage, silent
from deepbio.image import ArrayLike, Grid
from deepbio.library import ModelCard
from deepbio.tasks.decode import keep_largest
from deepbio.tasks.decoder import Decoder
from deepbio.tasks.stitch import label_bands
from deepbio.tasks.storage import allocate

__all__ = ["Placed", "class_spec", "place_frame", "settled", "spec_for"]

_IN_MEMORY = 2**30  # bytes of a working image that is interpolated once; a larger one tile by tile


def spec_for(card: ModelCard, grid: Grid, listener: Listener = silent) -> GridSpec:
    """The grid that the card asks for; a warning if the image has no physical spacing.

    Raises
    ------
    CardError
        If the card's entries cannot be understood.
    """
    spec = GridSpec.from_card(card.deepbio.get("grid"))
    if spec.interpolation and card.task != "segment":
        raise CardError(
            f"The card of '{card.name}' has a grid with interpolation {spec.interpolation!r}, which only models that "
            f"segment can have; its task is {card.task!r}."
        )
    if grid.unit == "pixel" and any(s is not None for s in spec.spacing):
        told = " x ".join("any" if s is None else f"{s:g}" for s in spec.spacing)
        listener(
            Notice(
                f"The image does not say how large its pixels are; they are taken as {told} {spec.unit}, "
                f"as the model '{card.name}' needs them.",
                "warning",
            )
        )
    return spec


def class_spec(card: ModelCard, grid: Grid, listener: Listener = silent) -> GridSpec:
    """As :func:`spec_for`, of a classifier: a spacing along every axis, or nothing.

    Raises
    ------
    CardError
        If the card's grid is not so.
    """
    spec = spec_for(card, grid, listener)
    if spec != GridSpec() and (None in spec.spacing or len(spec.spacing) != card.ndim or spec.crop):
        raise CardError(
            f"The card of '{card.name}' has the grid {spec.to_card()}; a classifier's names a spacing for each of "
            f"its {card.ndim} axes, and no crop."
        )
    return spec


@dataclass(frozen=True)
class Placed:
    """One frame where its network sees it.

    Attributes
    ----------
    view : array-like, shape (C, [z,] y, x)
        Its pixels on the working grid.
    placement : Placement or None
        Where that grid lies; None where it is the image's own.
    zoom : float
        How much finer that grid is for the sake of the objects' size.
    min_size : int or None
        Objects with fewer pixels of the image are dropped; None: those that the decoder drops, which
        counts pixels of the working grid.
    """

    view: ArrayLike
    placement: Placement | None = None
    zoom: float = 1.0
    min_size: int | None = None

    def inside(self, array: np.ndarray) -> np.ndarray:
        """The part of an array on the image's grid that is worked on, in canonical axes; a view."""
        if self.placement is None:
            return array
        key: tuple[Any, ...] = (..., *self.placement.in_box)
        return np.asarray(self.placement.canonical(array)[key])

    def to_input(self, bands: Bands) -> Bands:
        """Bands of scores, on the image's pixels of :meth:`inside`."""
        return bands if self.placement is None else scores_to_input(bands, self.placement)

    def label(
        self, bands: Bands, decoder: Decoder, out: Any, *, listener: Listener = silent, item: str = ""
    ) -> int:
        """Write the labels of scores on the working grid.

        Classes, thresholds and flows are decided on the image's pixels, from interpolated scores. Other objects
        are found on the working grid, which their decoder knows, and brought back whole; on a zoomed
        grid those of a threshold, too, since there they are apart.

        Parameters
        ----------
        bands : iterable of (start, stop, scores)
            On the working grid.
        decoder : Decoder
            How scores become labels.
        out : array of integers
            From :meth:`inside`.
        listener, item : Listener, str
            As for :func:`~deepbio.tasks.stitch.label_bands`.

        Returns
        -------
        int
            Number of objects, or of classes present.
        """
        placement = self.placement
        if placement is None or placement.exact:
            return label_bands(bands, decoder, out, listener=listener, item=item)
        if decoder.method == "classes":
            count = classes_to_input(bands, placement, out)
            keep_largest(out, decoder.largest)
            return count
        if not self._finds_objects(decoder):
            return self._label_at_input(self.to_input(bands), decoder, out)
        labels = allocate(placement.grid.shape, np.int32)
        if self.min_size is not None:
            decoder = decoder.replace(min_size=1)
        label_bands(bands, decoder, labels, listener=listener, item=item)
        return labels_to_input(labels, placement, out, min_size=self.min_size or 1)

    def label_and_keep(
        self,
        bands: Bands,
        decoder: Decoder,
        out: Any,
        keep: Callable[[Bands], Bands],
        *,
        listener: Listener = silent,
        item: str = "",
    ) -> int:
        """As :meth:`label`, while `keep` passes on the bands of scores that it stores.

        Parameters
        ----------
        bands, decoder, out, listener, item
            As for :meth:`label`.
        keep : callable
            Stores bands on the image's pixels of :meth:`inside` and passes them on.
        """
        placement = self.placement
        if placement is None or placement.exact:
            return self.label(keep(bands), decoder, out, listener=listener, item=item)
        if not self._finds_objects(decoder):
            return self._label_at_input(keep(self.to_input(bands)), decoder, out)
        stored = _Stored(placement.grid.shape)
        count = self.label(stored.keep(bands), decoder, out, listener=listener, item=item)
        for _ in keep(self.to_input(stored.bands())):
            pass
        return count

    def _finds_objects(self, decoder: Decoder) -> bool:
        """Whether objects are found on the working grid, rather than decided on the image's pixels."""
        return decoder.by_seeds or (self.zoom != 1 and decoder.instances and decoder.method != "flows")

    def _label_at_input(self, bands: Bands, decoder: Decoder, out: Any) -> int:
        """Labels of scores on the image's pixels; not for objects that grow from seeds."""
        if decoder.method == "flows":  # a step is a pixel, of which there are fewer or more on the way
            decoder = decoder.replace(steps=max(1, int(decoder.steps / self.zoom)))
        elif self.placement is not None and self.min_size is None:
            ratio = math.prod(self.placement.box_shape) / math.prod(self.placement.grid.shape)
            decoder = decoder.replace(min_size=round(decoder.min_size * ratio))
        return label_bands(bands, decoder, out)

    def facts(self) -> dict[str, Any]:
        """What the record says of the working grid; nothing where it is the image's own."""
        if self.placement is None:
            return {}
        grid = self.placement.grid
        spacing = [round(s, 6) for s in grid.spacing]
        return {"working": {"shape": list(grid.shape), "spacing": spacing, "unit": grid.unit}}


class _Stored:
    """Scores on the working grid, kept until objects are found in them."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._scores: np.ndarray | None = None

    def keep(self, bands: Bands) -> Bands:
        """Pass bands on and store them."""
        for start, stop, part in bands:
            if self._scores is None:
                self._scores = allocate((part.shape[0], *self._shape), np.float32)
            self._scores[:, start:stop] = part
            yield start, stop, part

    def bands(self) -> Bands:
        """What was stored, again."""
        if self._scores is not None:
            yield 0, self._shape[0], self._scores


def place_frame(view: ArrayLike, grid: Grid, spec: GridSpec, listener: Listener = silent) -> Placed:
    """Bring a frame to the grid that its network works on.

    Parameters
    ----------
    view : View
        The frame's pixels, shape (C, [z,] y, x).
    grid : Grid
        Its grid, with as many axes.
    spec : GridSpec
        What the card asks for.
    listener : Listener
        Hears the stage ``"resample"`` where it takes more than a moment; may raise `Cancelled`.

    Returns
    -------
    Placed
        Interpolated once where that fits into memory, else whenever a tile is read.

    Raises
    ------
    InputMismatch
        If the spacing of the image cannot be meant.
    """
    if spec == GridSpec():
        return Placed(view)
    placement = place_image(view, grid, spec)
    if placement.identity:
        return Placed(view, zoom=spec.zoom)
    return Placed(settled(to_working(view, placement), placement, listener), placement, spec.zoom)


def settled(working: Working, placement: Placement, listener: Listener = silent) -> ArrayLike:
    """The working image in memory, where it is interpolated and fits there; else as it is.

    Parameters
    ----------
    working : Working
        Interpolates whenever it is sliced.
    placement : Placement
        Where it lies.
    listener : Listener
        Hears the stage ``"resample"`` where it takes more than a moment; may raise `Cancelled`.
    """
    size = math.prod(working.shape) * working.dtype.itemsize
    if placement.exact or size > _IN_MEMORY:
        return working
    pixels = np.empty(working.shape, working.dtype)
    stage: Stage | None = None
    for key, band in working.bands():
        pixels[key] = band
        if stage is None and band.size < pixels.size:
            stage = Stage(listener, "resample", pixels.size)
        if stage is not None:
            stage.step(band.size)
    return pixels
