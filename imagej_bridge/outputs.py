"""What a result becomes in ImageJ: windows, selections, rows of the Results table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from deepbio.image import Image, LabelMap, Table
from imagej_bridge.convert import to_imageplus
from imagej_bridge.exchange import WINDOWS, Placed, Taken
from imagej_bridge.files import first_columns, in_unit, provenance, stem_of
from imagej_bridge.java import is_headless, java, to_java
from imagej_bridge.selections import Place, selections

__all__ = ["append_rows", "place", "show_table"]


def place(taken: Taken, placed: Placed) -> tuple[dict[str, str], list[str]]:
    """Lay a result on ImageJ's desk.

    Labels and images become windows, of which the last is the current image then; ROIs are appended to the
    ROI Manager, rows to the Results; an overlay is added to the image itself. Nothing else of the image is touched.

    Returns
    -------
    titles : dict of str to str
        Titles of new windows, by kind.
    notes : list of str
        What could not be done as asked, for the user.
    """
    source, result = taken.handle, placed.result
    notes: list[str] = []
    made: dict[str, Any] = {}
    for kind in WINDOWS:
        part = getattr(result, kind)
        if kind in placed.outputs and part is not None:
            made[kind] = _window(part, kind, taken, placed)
    rois = []
    if {"rois", "overlay"} & set(placed.outputs) and result.labels is not None:
        rois = list(_rois(result.labels, source, taken.first_slice, taken.first_frame))
    if "overlay" in placed.outputs:
        _add_overlay(source, rois)
    if "rois" in placed.outputs:
        notes += _add_to_manager(rois, made.get("labels"), placed)
    if "table" in placed.outputs and result.table is not None:
        rows = taken.placed_rows(result.table)
        append_rows(in_unit(rows, str(source.getCalibration().getUnit())), taken.title)
    if "features" in placed.outputs and result.features is not None:
        show_table(_unique_table(f"Features of {taken.title}"), taken.placed_rows(result.features))
    for image in made.values():
        image.show()
    return {kind: str(image.getTitle()) for kind, image in made.items()}, notes


def _window(part: Image | LabelMap, kind: str, taken: Taken, placed: Placed) -> Any:
    title = placed.title_of(kind, stem_of(taken.title))
    image = to_imageplus(part, _unique(title), like=taken.handle)
    image.setProperty("Info", provenance(placed.result, placed.card, taken.title))
    _fit_calibration(image, part, taken.image)
    if taken.first_slice:
        image.getCalibration().zOrigin -= taken.first_slice
    if kind == "scores":
        low, high = _range(part)
        for channel in range(1, int(image.getNChannels()) + 1):
            if image.getNChannels() > 1:
                image.setPositionWithoutUpdate(channel, 1, 1)
            image.setDisplayRange(low, high)
        if image.getNChannels() > 1:
            image.setPositionWithoutUpdate(1, 1, 1)
    return image


def _fit_calibration(image: Any, part: Image | LabelMap, source: Image) -> None:
    """Pixels of another size than the source's, as of a map that is coarser or an image that is finer.

    ImageJ tells the origin as the pixel, and part of one, whose coordinates are 0; the centre of the first pixel moves
    with the size of the pixels, where both cover the same place.
    """
    calibration = image.getCalibration()
    if part.grid.ndim != source.grid.ndim:
        return
    moved = source.grid.to_index(part.grid.origin)  # the first pixel's centre, in pixels of the source
    for axis, name in enumerate(("pixelDepth", "pixelHeight", "pixelWidth")[3 - part.grid.ndim :]):
        ratio = part.grid.spacing[axis] / source.grid.spacing[axis]
        if abs(ratio - 1) > 1e-9:
            setattr(calibration, name, float(getattr(calibration, name)) * ratio)
            origin = f"{'zyx'[3 - part.grid.ndim :][axis]}Origin"
            before = float(getattr(calibration, origin))
            setattr(calibration, origin, (before - float(moved[axis])) / ratio)


def _unique_table(title: str) -> str:
    """A title that no open table has."""
    number, unique = 1, title
    frames = {str(frame.getTitle()) for frame in java("ij.WindowManager").getNonImageWindows() or ()}
    while unique in frames:
        unique, number = f"{title}-{number}", number + 1
    return unique


def _unique(title: str) -> str:
    """A title that no open image has, so that macros find the new one by its own."""
    manager, number, unique = java("ij.WindowManager"), 1, title
    while manager.getImage(unique) is not None:
        unique, number = f"{title}-{number}", number + 1
    return unique


def _range(scores: Any) -> tuple[float, float]:
    """Probabilities from 0 to 1, everything else over what a sparse look at it finds."""
    step = max(1, max(scores.shape[-2:]) // 512)
    sample = np.asarray(scores.array[(..., slice(None, None, step), slice(None, None, step))])
    low, high = float(sample.min()), float(sample.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, max(high, low + 1e-6))


def _rois(labels: LabelMap, image: Any, first_slice: int = 0, first_frame: int = 0) -> Iterator[Any]:
    """Selections around the objects, at their places in an image that the labels are a part of."""
    decode = java("ij.io.RoiDecoder").openFromByteArray
    sizes = (int(image.getNChannels()), int(image.getNSlices()), int(image.getNFrames()))
    for _, roi in selections(labels, Place(*sizes, first_slice, first_frame)):
        yield decode(to_java(np.frombuffer(roi, np.uint8)))


def _add_overlay(source: Any, rois: list[Any]) -> None:
    """Add selections to the overlay of an image, which keeps what it has."""
    overlay = source.getOverlay()
    if overlay is None:
        overlay = java("ij.gui.Overlay")()
    for roi in rois:
        overlay.add(roi)
    source.setOverlay(overlay)


def _add_to_manager(rois: list[Any], labels: Any, placed: Placed) -> list[str]:
    """Append selections to the ROI Manager; without a screen there is none."""
    if is_headless():
        if labels is not None:
            _add_overlay(labels, list(_rois(placed.result.labels, labels)))  # at the places that these have
        where = [f"in {placed.saved['rois']}"] if "rois" in placed.saved else []
        where += ["in the overlay of the labels"] if labels is not None else []
        return [f"Without a screen there is no ROI Manager: the ROIs are {' and '.join(where)}."]
    interpreter = java("ij.macro.Interpreter")
    manager = None
    if interpreter.isBatchMode():
        manager = interpreter.getBatchModeRoiManager()
    if manager is None:
        manager = java("ij.plugin.frame.RoiManager").getRoiManager()
    for roi in rois:
        manager.add(roi, -1)  # keeps name and position
    return []


def append_rows(table: Table, title: str) -> None:
    """Append measurements to ImageJ's Results, with the image they are of and their unit of length."""
    results = java("ij.measure.ResultsTable").getResultsTable()
    if not results.size():
        results.setDefaultHeadings()  # without them Analyze > Measure takes our rows away and begins anew
    _fill(results, table, first_columns(table, title))
    if not is_headless():
        results.show("Results")


def show_table(title: str, table: Table) -> None:
    """Show a table in a window of its own; without a screen, in the Log."""
    if is_headless():
        log = java("ij.IJ").log
        log("\t".join(table.columns))
        for row in table.rows():
            log("\t".join(_text(value) for value in row))
        return
    results = java("ij.measure.ResultsTable")()
    _fill(results, table, {})
    results.show(title)


def _fill(results: Any, table: Table, first: dict[str, str]) -> None:
    names = list(table.columns)
    for row in table.rows():
        results.incrementCounter()
        for name, text in first.items():
            results.addValue(name, text)
        for name, value in zip(names, row, strict=True):
            # ImageJ has doubles and texts, and shows whole doubles as whole numbers
            results.addValue(name, value if isinstance(value, str) else float(value))


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
