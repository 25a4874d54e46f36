"""ImageJ in this process as a desk: its current image, windows, Results, Log, progress bar and Esc."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from deepbio import LoadedModels
from deepbio.errors import Cancelled, ImageError, OptionError
from deepbio.events import Event, Notice
from deepbio.image import Image, Table
from deepbio.io import read
from deepbio.render import count_per_frame
from deepbio.worker.progress import as_text
from imagej_bridge import outputs
from imagej_bridge.convert import to_image, to_imageplus
from imagej_bridge.exchange import Placed, Taken
from imagej_bridge.java import is_headless, java
from imagej_bridge.options import ImageOptions, parse_span

__all__ = ["ImageJDesk", "ImageJListener"]

_INTERVAL = 0.05  # seconds: 20 updates a second are more than an eye can follow


class ImageJListener:
    """Shows events in ImageJ's status bar; Esc stops what is told."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        ij = java("ij.IJ")
        if ij.escapePressed():
            raise Cancelled("Stopped with Esc; nothing was changed.")
        if isinstance(event, Notice):
            if event.level == "warning":
                ij.log(f"DeepBio: {event.message}")
            else:
                ij.showStatus(event.message)
            return
        now = time.monotonic()
        if now - self._last < _INTERVAL and event.current < event.total:
            return
        self._last = now
        left = "" if event.eta is None else f", {event.eta:.0f} s left"
        ij.showStatus(f"DeepBio: {as_text(event)}{left}")
        if event.total > 0 and event.stage in ("predict", "frames", "files"):
            ij.showProgress(event.current / event.total)


class ImageJDesk:
    """Takes images from ImageJ and lays results on it.

    Attributes
    ----------
    models : LoadedModels
        Stay loaded between commands.
    last : dict of str to str
        What the last command made, for ``Ext.last``.
    """

    def __init__(self) -> None:
        self.models = LoadedModels()
        self.listener = ImageJListener()
        self.last: dict[str, str] = {}
        self.register_extensions: Any = None

    def check(self, wanted: tuple[str, ...], options: ImageOptions) -> None:
        """Refuse before the work what could not be shown after it."""
        if "rois" in wanted and "labels" not in wanted and not options.output_dir and is_headless():
            raise OptionError(
                "Without a screen there is no ROI Manager.",
                "Add output_dir=[folder]: the ROIs are saved as a zip; or labels to output, which get them as overlay.",
            )

    def take(self, options: ImageOptions) -> Taken:
        """The image that the options name, by default the current one."""
        source = _find(options.input)
        image = to_image(source, frames=options.frames, slices=options.slices)
        first_slice = parse_span("slices", options.slices, source.getZ(), source.getNSlices()).start
        first_frame = parse_span("frames", options.frames, source.getT(), source.getNFrames()).start
        sizes = (int(source.getNSlices()), int(source.getNFrames()))
        return Taken(image, str(source.getTitle()), source, first_slice, first_frame, *sizes)

    def open(self, path: Path) -> Taken:
        """An image file, which is not shown."""
        image = read(path)
        return Taken(image, path.name, to_imageplus(image, path.name))

    def made(self, image: Image, title: str) -> Taken:
        """What a model made of nothing, as if it had been taken."""
        return Taken(image, title, to_imageplus(image, title))

    def place(self, taken: Taken, placed: Placed) -> None:
        """Show a result."""
        titles, notes = outputs.place(taken, placed)
        for note in notes:
            java("ij.IJ").log(f"DeepBio: {note}")
        self.last = _facts(placed, titles)
        java("ij.IJ").showStatus(self.last["summary"])

    def show_table(self, title: str, table: Table) -> None:
        """Show a table in a window of its own."""
        outputs.show_table(title, table)

    def tell(self, text: str) -> None:
        """Write a line to the Log."""
        java("ij.IJ").log(text)

    def extend(self) -> None:
        """Give the running macro the functions ``Ext.segment`` and others."""
        self.register_extensions()


def _find(name: str) -> Any:
    manager = java("ij.WindowManager")
    if not name:
        image = manager.getCurrentImage()
        if image is None:
            raise ImageError("No image is open.", "Open one first, or name one with input=title.")
        return image
    image = manager.getImage(name)
    if image is None and name.lstrip("-").isdigit():
        image = manager.getImage(int(name))
    if image is None:
        titles = [str(title) for title in manager.getImageTitles()]
        known = f"Open are: {', '.join(titles)}." if titles else "No image is open."
        raise ImageError(f"There is no image '{name}'.", known)
    return image


def _facts(placed: Placed, titles: dict[str, str]) -> dict[str, str]:
    """What ``Ext.last`` can be asked for."""
    import json

    result, record = placed.result, placed.result.record
    if result.table is not None:
        objects = len(result.table)
    else:
        objects = sum(count_per_frame(result.labels)) if result.labels is not None else 0
    counted = placed.card.task in ("", "segment") and (result.table is not None or result.labels is not None)
    did = f"found {objects} object{'' if objects == 1 else 's'} in" if counted else "took"
    seconds = f"{record.get('seconds_total', 0):.2f}"
    return {
        "title": next(reversed(titles.values()), ""),
        **{f"{kind}_title": title for kind, title in titles.items()},
        **{f"{kind}_file": str(path) for kind, path in placed.saved.items()},
        "count": str(objects),
        "model": placed.card.name,
        "version": placed.card.version,
        "seconds": seconds,
        "device": str(record.get("device", "")),
        "runtime": str(record.get("runtime", "")),
        "record": json.dumps(dict(record), default=str),
        "summary": f"DeepBio: {placed.card.name} {did} {seconds} s",
    }
