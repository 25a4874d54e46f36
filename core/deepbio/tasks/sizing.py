"""Decides once for an image how much it is enlarged or reduced for its network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from deepbio.engine.geometry import GridSpec, place
from deepbio.errors import InputMismatch
from deepbio.events import Listener, Notice
from deepbio.image import Grid, Image
from deepbio.library import ModelCard
from deepbio.options import RunOptions
from deepbio.tasks.decoder import Decoder
from deepbio.tasks.frames import Frame, frame_grid
from deepbio.tasks.sizes import Estimate, Sizes, Window, diameters_of, is_small, sample_windows

__all__ = ["Look", "Sizing"]

Look = Callable[[Frame, Window], np.ndarray]
"""Gives the labels of a window, on the working grid without a zoom; fewer where that was cropped."""


@dataclass
class Sizing:
    """The zoom of one image, and how it came about.

    Attributes
    ----------
    card, listener
        The model, and who is told.
    image : Image
        With all its frames, which share one zoom: labels of a time-lapse must not flicker.
    frames : sequence of Frame
        What the network takes one at a time.
    spec : GridSpec
        The grid that the card asks for; from :meth:`settle` on with the zoom.
    facts : dict
        What the record says: nothing for models that do not say what they were made for.
    """

    card: ModelCard
    image: Image
    frames: Sequence[Frame]
    spec: GridSpec
    listener: Listener
    facts: dict[str, Any] = field(default_factory=dict)

    def measures(self, decoder: Decoder | None, options: RunOptions) -> bool:
        """Whether sizes are to be measured; a diameter that the user gives is settled here.

        Raises
        ------
        InputMismatch
            If the user gives one to a model that does not say what it was made for.
        """
        sizes = Sizes.from_card(self.card.deepbio.get("sizes"))
        if options.diameter is None:
            if sizes is not None and sizes.usual:
                self._zoom(sizes.usual / self._ratio, sizes, "are taken to be")
            return sizes is not None and sizes.auto and decoder is not None and decoder.instances
        if sizes is None:
            raise InputMismatch(
                f"The model '{self.card.name}' does not say which sizes of objects it was made for.",
                "Leave 'diameter' out, and resize the image where its objects are too small or too large.",
            )
        self._zoom(options.diameter, sizes)
        return False

    @property
    def whole(self) -> bool:
        """Whether the image is so small that it is looked at whole."""
        return is_small(len(self.frames), self._working.shape)

    def settle(self, estimate: Estimate) -> bool:
        """Choose the zoom for what was measured; return whether there is one."""
        sizes = Sizes.from_card(self.card.deepbio.get("sizes"))
        self.facts = {"diameter": estimate.diameter, "zoom": 1.0}
        if estimate.diameter is not None and sizes is not None:
            self._zoom(estimate.diameter, sizes)
        self.facts["measured"] = estimate.facts()
        return self.spec.zoom != 1

    def of_whole(self, labels: Any) -> Estimate:
        """Measure the labels of the only frame, on its own grid."""
        return Estimate(tuple(diameters_of(labels, frame_grid(self.image, self.frames[0]))))

    def sample(self, look: Look) -> Estimate:
        """Measure a few windows of a large image, or of a few frames."""
        working = self._working
        slices = self.image.size("Z") if self.frames[0].z is not None else 1
        estimate = Estimate(())
        for window in sample_windows(len(self.frames) // slices, slices, working.shape):
            frame = self.frames[window.frame]
            sides = zip(window.start, window.stop, working.shape, strict=True)
            cut = [(start > 0, stop < n) for start, stop, n in sides]
            labels = look(frame, window)
            found = diameters_of(labels, Grid(labels.shape, working.spacing, unit=working.unit), cut)
            names = dict.fromkeys((*estimate.frames, *filter(None, [frame.name])))
            diameters = (*estimate.diameters, *(diameter / self._ratio for diameter in found))
            estimate = Estimate(diameters, tuple(names), estimate.windows + 1)
            if estimate.enough:
                break
        return estimate

    @property
    def _working(self) -> Grid:
        """The working grid without a zoom; that of a cropped image is taken whole."""
        grid = frame_grid(self.image, self.frames[0])
        return place(grid, replace(self.spec, zoom=1.0)).grid

    @property
    def _ratio(self) -> float:
        """Pixels of the working grid for one of the image, along the finest axes."""
        return min(frame_grid(self.image, self.frames[0]).spacing) / min(self._working.spacing)

    def _zoom(self, diameter: float, sizes: Sizes, how: str = "are") -> None:
        """Zoom for objects of this diameter in pixels of the image."""
        ratio = self._ratio
        zoom = sizes.zoom_for(diameter * ratio)
        self.facts |= {"diameter": diameter, "zoom": zoom}
        self.spec = replace(self.spec, zoom=zoom)
        if zoom != 1:
            low, high = (round(limit / ratio, 1) for limit in sizes.typical)
            takes = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            times = f"enlarged {zoom:.3g} times" if zoom > 1 else f"reduced {1 / zoom:.3g} times"
            self.listener(
                Notice(
                    f"The objects {how} about {diameter:.3g} pixels across; '{self.card.name}' takes {takes}. The "
                    f"image is {times} for it."
                )
            )
