"""What commands and desks give each other: images that are taken, results that are placed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from deepbio import LoadedModels
from deepbio.events import Listener
from deepbio.image import Image, Table
from deepbio.library import ModelCard
from deepbio.tasks import Result
from imagej_bridge.options import ImageOptions

__all__ = ["WINDOWS", "Desk", "Placed", "Taken"]

WINDOWS = ("scores", "uncertainty", "explanation", "image", "labels")  # the order in which they are shown


@dataclass(frozen=True)
class Taken:
    """An image that a command takes from a desk.

    Attributes
    ----------
    image : Image
        Its pixels may still be where they were.
    title : str
        What the user calls it.
    handle : object
        The desk's own, for placing what was found.
    first_slice, first_frame : int
        Where `image` begins in it, from 0.
    slices, frames : int
        How many it has, of which `image` may be a part.
    """

    image: Image
    title: str
    handle: Any = None
    first_slice: int = 0
    first_frame: int = 0
    slices: int = 1
    frames: int = 1

    def placed_rows(self, table: Table) -> Table:
        """Rows about `image` as rows about the whole that it was taken from: its frames, slices, times and depth.

        Where one frame or slice of several was taken, a column tells which, so that rows of a loop can be told apart.
        """
        columns = dict(table.columns)
        for names, shift in self._shifts():
            columns |= {name: columns[name] + shift for name in names if shift and name in columns}
        one = {
            word: np.full(len(table), first + 1)
            for word, first, count, axis in (
                ("frame", self.first_frame, self.frames, "T"),
                ("slice", self.first_slice, self.slices, "Z"),
            )
            if count > 1 and axis not in self.image.axes and word not in columns
        }
        return Table({**one, **columns}, table.units)

    def _shifts(self) -> tuple[tuple[tuple[str, ...], float], ...]:
        """Columns of tables, and by how much the part lies further in the whole."""
        depth = self.image.grid.spacing[0] if "Z" in self.image.axes else 0.0
        return (
            (("frame", "start", "end"), self.first_frame),
            (("slice",), self.first_slice),
            (("time",), self.first_frame * (self.image.frame_interval or 0.0)),
            (("centroid_z",), self.first_slice * depth),
        )


@dataclass(frozen=True)
class Placed:
    """A result, and what of it is wanted where.

    Attributes
    ----------
    outputs : tuple of str
        Kinds of :data:`imagej_bridge.options.OUTPUTS` to be shown, without ``"auto"``; and
        ``"explanation"``, ``"uncertainty"`` and ``"features"``, which options of their own ask for.
    title : str
        What the user wants the result to be called, or empty.
    saved : mapping of str to Path
        Files that were written, by kind.
    """

    result: Result
    card: ModelCard
    outputs: tuple[str, ...]
    title: str = ""
    saved: Mapping[str, Path] = field(default_factory=dict)

    def title_of(self, kind: str, stem: str) -> str:
        """Title of a window: the one that is wanted goes to the last of :data:`WINDOWS`, the current image then."""
        last = [one for one in WINDOWS if one in self.outputs][-1:]
        if not self.title:
            return f"{stem}-{kind}"
        return self.title if [kind] == last else f"{self.title}-{kind}"


class Desk(Protocol):
    """Where a command works."""

    models: LoadedModels
    listener: Listener

    def check(self, outputs: tuple[str, ...], options: ImageOptions) -> None: ...
    def take(self, options: ImageOptions) -> Taken: ...
    def place(self, taken: Taken, placed: Placed) -> None: ...
    def open(self, path: Path) -> Taken: ...
    def made(self, image: Image, title: str) -> Taken: ...
    def show_table(self, title: str, table: Table) -> None: ...
    def tell(self, text: str) -> None: ...
    def extend(self) -> None: ...
