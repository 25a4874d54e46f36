"""From the nodes of a run to what the page says of them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import vtk
from vtk.util import numpy_support

import deepbio
from SlicerDeepBioLib.answers import PART, class_answers, of_part

__all__ = [
    "answers",
    "curve",
    "has_labels",
    "middle",
    "read_table",
    "segments",
    "set_opacity",
    "show_segments",
    "summary",
    "tables",
    "toggle",
]

_UNITS = {"millimeter": ("mm", 1.0), "micrometer": ("um", 1000.0), "pixel": ("px", 1.0)}
_LENGTH = re.compile(r"\[mm(?:\^(\d))?\]$")
MOST_ROWS = 500  # of a table in the page; the download has all
MOST_COLUMNS = 60
MOST_ANSWERS = 5  # classes that a classifier's answer names; the table has all
MOST_SEGMENTS = 24  # in the legend; more are objects, not names


def segments(run: Any, unit: str) -> list[dict[str, Any]]:
    """The legend: id, name, colour, size and visibility of each segment; [] where there are too many."""
    if run.segmentation is None:
        return []
    segmentation = run.segmentation.GetSegmentation()
    if segmentation.GetNumberOfSegments() > MOST_SEGMENTS:
        return []
    sizes = _sizes(run, unit)
    display = run.segmentation.GetDisplayNode()
    found = []
    for number in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(number)
        identity = segmentation.GetNthSegmentID(number)
        red, green, blue = (round(255 * part) for part in segment.GetColor())
        found.append(
            {
                "id": identity,
                "name": segment.GetName(),
                "color": f"rgb({red}, {green}, {blue})",
                "size": sizes.get(segment.GetName(), ""),
                "visible": bool(display.GetSegmentVisibility(identity)),
            }
        )
    return found


def toggle(run: Any, legend: list[dict[str, Any]], identity: str) -> list[dict[str, Any]]:
    """Hide or show a segment; return the legend after it."""
    display = run.segmentation.GetDisplayNode()
    visible = not display.GetSegmentVisibility(identity)
    display.SetSegmentVisibility(identity, visible)
    return [{**one, "visible": visible} if one["id"] == identity else one for one in legend]


def set_opacity(run: Any, opacity: float) -> None:
    """How much the segments cover the image in slices, 0 to 1; outlines stay."""
    display = run.segmentation.GetDisplayNode() if run.segmentation is not None else None
    if display is not None:
        display.SetOpacity2DFill(opacity)
        display.SetOpacity2DOutline(1.0)


def show_segments(run: Any, visible: bool) -> None:
    """Show all segments, or none: each keeps whether it is hidden."""
    display = run.segmentation.GetDisplayNode() if run.segmentation is not None else None
    if display is not None:
        display.SetVisibility(visible)


def summary(run: Any, unit: str) -> str:
    """One line: what was found, with which device, in what time."""
    record = run.record or {}
    seconds = record.get("seconds_total")
    parts = []
    columns = read_table(run.tables[0], unit) if run.tables else {}
    rows = len(next(iter(columns.values()), ()))
    if (
        run.segmentation is not None
        and run.segmentation.GetSegmentation().GetNumberOfSegments() > MOST_SEGMENTS
    ):
        parts.append(f"{run.segmentation.GetSegmentation().GetNumberOfSegments()} objects")
    elif run.label_map is not None and rows:
        parts.append(f"{rows} objects")
    if record.get("model"):
        parts.append(f"{record['model']} {record.get('model_version', '')}".strip())
    if seconds is not None:
        parts.append(f"{seconds:.1f} s on {record.get('device', 'cpu')}")
    return ", ".join(parts) or "Done"


def answers(run: Any) -> list[dict[str, Any]]:
    """What a classifier says: name, text and share (percent, for a bar) of the first classes."""
    return [
        {"name": name, "text": text, "share": round(100 * share, 1)}
        for name, share, text in class_answers(run)[:MOST_ANSWERS]
    ]


def tables(run: Any, unit: str) -> list[dict[str, Any]]:
    """The tables as name, head and rows of texts, cut to what a browser shows at once."""
    found = []
    for node in of_part(run.tables, "table", "features"):
        columns = dict(list(read_table(node, unit).items())[:MOST_COLUMNS])
        rows = [[_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]
        found.append(
            {
                "name": "Features" if node.GetAttribute(PART) == "features" else "Table",
                "head": [_heading(title) for title in columns],
                "rows": rows[:MOST_ROWS],
                "more": _more(len(rows) - MOST_ROWS, node.GetNumberOfColumns() - MOST_COLUMNS),
            }
        )
    return found


def _more(rows: int, columns: int) -> str:
    """What is in the download only."""
    parts = [f"{count:,d} more {word}" for count, word in ((rows, "rows"), (columns, "columns")) if count > 0]
    return f"{' and '.join(parts)} in the download" if parts else ""


def curve(run: Any) -> dict[str, Any]:
    """Lines of a sequence's sizes over its frames, as the page draws them in a box of 100 x 40.

    Returns
    -------
    dict
        ``lines`` (name, points, color), ``low``, ``high`` and ``unit``; empty ``lines`` without a curve.
    """
    if run.plot is None or len(run.tables) < 2:
        return {"lines": [], "low": "", "high": "", "unit": ""}
    _, *columns = read_table(run.tables[-1]).items()
    colors = {one["name"]: one["color"] for one in segments(run, "millimeter")}
    low, high = min(min(values) for _, values in columns), max(max(values) for _, values in columns)
    lines = []
    for title, values in columns:
        across, up = 100 / max(1, len(values) - 1), 36 / ((high - low) or 1)
        points = " ".join(
            f"{at * across:.2f},{38 - (value - low) * up:.2f}" for at, value in enumerate(values)
        )
        name = title.partition(" [")[0]
        lines.append({"name": name, "points": points, "color": colors.get(name, "#3fb6a8")})
    return {
        "lines": lines,
        "low": f"{low:.4g}",
        "high": f"{high:.4g}",
        "unit": _heading(columns[0][0]).split(" ")[-1],
    }


def read_table(node: Any, unit: str = "millimeter") -> dict[str, list[Any]]:
    """Columns of a table node, in order, with lengths in the unit of the image.

    Parameters
    ----------
    node : vtkMRMLTableNode
        Its columns say ``[mm]``, ``[mm^2]`` or ``[mm^3]`` where they are lengths, areas or volumes.
    unit : {"millimeter", "micrometer", "pixel"}
        What to say instead; a pixel is a millimeter to the scene.
    """
    word, scale = _UNITS[unit]
    data = node.GetTable()
    found = {}
    for number in range(data.GetNumberOfColumns()):
        column = data.GetColumn(number)
        title = column.GetName()
        if column.IsA("vtkStringArray"):
            values: list[Any] = [column.GetValue(row) for row in range(column.GetNumberOfValues())]
        else:
            values = numpy_support.vtk_to_numpy(column).tolist()
        length = _LENGTH.search(title)
        if length and unit != "millimeter":
            factor = scale ** int(length[1] or 1)
            title = title[: length.start()] + length[0].replace("mm", word)
            values = [value * factor for value in values]
        found[title] = values
    return found


def has_labels(run: Any) -> bool:
    """Whether the result is a segmentation or a label map."""
    return run.segmentation is not None or run.label_map is not None


def middle(labels: deepbio.LabelMap, volume: Any) -> tuple[float, float, float] | None:
    """A point in RAS through which slices should go to show what was found; None when nothing was."""
    array = labels.numpy().reshape(-1, *volume.GetImageData().GetDimensions()[::-1]).any(axis=0)
    if not array.any():
        return None
    center = [float(np.mean(index)) for index in np.nonzero(array)]
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix.MultiplyPoint((*center[::-1], 1.0))[:3]


def _sizes(run: Any, unit: str) -> dict[str, str]:
    """Volume (or area) of each class by its name, where the table has them."""
    if not run.tables:
        return {}
    columns = read_table(run.tables[0], unit)
    names = columns.get("name") or columns.get("class")
    title = next((title for title in columns if title.split(" ")[0] in ("volume", "area")), None)
    if not names or title is None or len(set(names)) < len(names):  # a row for each frame has no one size
        return {}
    word = _heading(title).partition(" ")[2]
    return {
        name: f"{value:,.0f} {word}".strip() if value >= 100 else f"{value:.3g} {word}".strip()
        for name, value in zip(names, columns[title], strict=True)
        if value == value
    }


def _heading(title: str) -> str:
    """Name of a column for people: ``"equivalent_diameter [um]"`` is "equivalent diameter \N{MICRO SIGN}m"."""
    name, _, unit = title.partition(" [")
    unit = unit.rstrip("]").replace("^2", "\N{SUPERSCRIPT TWO}").replace("^3", "\N{SUPERSCRIPT THREE}")
    return f"{name.replace('_', ' ')} {unit.replace('um', chr(0xB5) + 'm')}".strip()


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return str(value)
