"""The grid that a card asks for, before there is an image for it to lie on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepbio.library.spatial import check_grid

__all__ = ["GridSpec"]


@dataclass(frozen=True)
class GridSpec:
    """The grid that a network works on; stands on the card under ``grid``.

    Attributes
    ----------
    spacing : tuple of (float or None)
        Along ``([z,] y, x)``; None for an axis that keeps the image's own, empty for all of them.
    unit : {"millimeter", "micrometer"}
        Unit of `spacing`.
    orientation : str
        3D only: where z, y and x of the array point as their index grows, such as ``"SAR"`` (Left,
        Right, Posterior, Anterior, Superior, Inferior); empty for the image's own.
    crop : {"", "nonzero", "positive"}
        ``"nonzero"``: only the bounding box of the pixels that are not 0 is computed; ``"positive"``: that of
        those above 0.
    interpolation : {"", "nnunet", "monai", "linear"}
        ``"nnunet"``: as nnU-Net's preprocessing, for networks that learned from it. Pixels are normalised before
        they are interpolated, with the statistics of the box; kernels are cubic splines, and along slices more
        than 3 times as thick the nearest pixel; none is widened. ``"monai"``: as MONAI's Spacingd
        (:mod:`deepbio.engine.spacing`). The spacing is exactly the card's, kernels are linear and never widened.
        ``"linear"``: as OpenCV's ``resize``, which Cellpose uses. Kernels are linear and never widened, and the size
        of a zoomed grid is rounded down.
    inside : {"", "nonzero"}
        Only with one of the first two. ``"nonzero"`` with nnU-Net's: statistics are those of pixels that are not 0 in
        all channels, and the others stay 0. With MONAI's: so for the first step that needs statistics, in each channel
        by itself.
    back : {"", "nearest"}
        Only with MONAI's: ``"nearest"`` brings scores back by the nearest pixel, for networks whose labels are
        decided on the working grid.
    zoom : float
        How much finer than all this the grid is along every axis, so that objects have the size that the
        network knows. Never on a card: it belongs to one image.

    Examples
    --------
    >>> GridSpec.from_card({"spacing": [1.5, 1.0, 1.0], "orientation": "SPL"}).unit
    'millimeter'
    """

    spacing: tuple[float | None, ...] = ()
    unit: str = "millimeter"
    orientation: str = ""
    crop: str = ""
    interpolation: str = ""
    inside: str = ""
    back: str = ""
    zoom: float = 1.0

    @classmethod
    def from_card(cls, entries: Mapping[str, Any] | None) -> GridSpec:
        """Read the card's entries; None or an empty mapping asks for nothing.

        Raises
        ------
        CardError
            If an entry is unknown, of the wrong type or impossible.
        """
        if not entries:
            return cls()
        check_grid(entries)
        spacing = tuple(None if s is None else float(s) for s in entries.get("spacing") or ())
        return cls(
            spacing,
            entries.get("unit", "millimeter"),
            entries.get("orientation") or "",
            entries.get("crop") or "",
            entries.get("interpolation") or "",
            entries.get("inside") or "",
            entries.get("back") or "",
        )

    def to_card(self) -> dict[str, Any]:
        """Entries for a card or a plan; what is empty is left out."""
        entries: dict[str, Any] = {}
        if self.spacing:
            entries = {"spacing": list(self.spacing), "unit": self.unit}
        for name in ("orientation", "crop", "interpolation", "inside", "back"):
            if getattr(self, name):
                entries[name] = getattr(self, name)
        return entries
