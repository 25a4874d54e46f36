"""A Fiji without Python as a desk: images come and results go as files in a folder.

The macro that ``deepbio fiji install`` writes saves the current image there and a few words about it; what a
command finds is written beside it, with ``result.ijm``, the macro that shows it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from deepbio import LoadedModels
from deepbio.errors import ImageError, OptionError
from deepbio.events import Event, Notice
from deepbio.image import Image, Table
from deepbio.io import read, write
from imagej_bridge.commands import execute
from imagej_bridge.exchange import WINDOWS, Placed, Taken
from imagej_bridge.files import first_columns, in_unit, provenance, stem_of
from imagej_bridge.options import ImageOptions, parse_span
from imagej_bridge.selections import Place, selections
from imagej_bridge.spelling import INPUT, RESULT, WORDS, decoded, quoted

__all__ = ["FilesDesk", "Words", "carry_out", "read_words"]

_KEYS = ("command", "options", "title", "id", "slice", "frame", "unit")
_UNIQUE = """function unique(title) {
    name = title;
    for (i = 1; isOpen(name); i++) name = title + "-" + i;
    return name;
}
"""
# The unit and times of an image as its user wrote them: files have few units, and no "min".
_CALIBRATION = (
    "getVoxelSize(vw, vh, vd, vu); Stack.getUnits(xu, yu, zu, tu, gu); interval = Stack.getFrameInterval();"
)
_CALIBRATE = "setVoxelSize(vw, vh, vd, vu); Stack.setTUnit(tu); Stack.setFrameInterval(interval);"
# Tabs part the values. Texts stand in the macro and in the file by number, as ImageJ reads the file in whatever
# character set the system has. The rows are put into the Results, or into a table of their own.
_ROWS = """texts = newArray({texts});
names = newArray({names});
kinds = newArray({kinds});
lines = split(File.openAsString({path}), "\\n");
for (i = 0; i < lines.length; i++) {{
    values = split(lines[i], "\\t");
    row = {row};
    for (k = 0; k < {count}; k++) {{
        if (kinds[k] == "text") {{
            text = texts[parseInt(values[k])];
            {set_}(names[k], row, text);
        }} else {set_}(names[k], row, parseFloat(values[k]));
    }}
}}
"""


@dataclass(frozen=True)
class Words:
    """What the macro says: a command, its options, and the image that was current.

    Attributes
    ----------
    title, id : str
        Of the image; empty where the command takes none.
    slice, frame : int
        The current ones, from 1.
    unit : str
        Of its calibration.
    """

    command: str
    options: str
    title: str = ""
    id: str = ""
    slice: int = 1
    frame: int = 1
    unit: str = ""


def read_words(folder: Path) -> Words:
    """Read what a macro has written.

    Raises
    ------
    OptionError
        If it is not there or not whole.
    """
    try:
        lines = (folder / WORDS).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise OptionError(f"'{folder}' has no '{WORDS}'.", "Run deepbio fiji install again.") from error
    found = dict(zip(_KEYS, [*lines, *[""] * len(_KEYS)], strict=False))
    texts = {key: decoded(found[key]) for key in ("command", "options", "title", "id", "unit")}
    return Words(**texts, **{key: int(float(found[key] or 1)) for key in ("slice", "frame")})


def carry_out(folder: Path, models: LoadedModels) -> str:
    """Carry out what stands in a folder.

    Returns
    -------
    str
        Path of the macro that shows the result.

    Raises
    ------
    DeepBioError
        As the command does.
    """
    words = read_words(folder)
    desk = FilesDesk(folder, words, models)
    execute(desk, words.command, words.options)
    return desk.finish()


class FilesDesk:
    """Takes the image that a macro has saved, and writes the macro that shows the result."""

    def __init__(self, folder: Path, words: Words, models: LoadedModels) -> None:
        self.models = models
        self._folder, self._words = folder, words
        self._lines: list[str] = []
        self._taken: Taken | None = None  # the image that was current

    def listener(self, event: Event) -> None:
        """Keep warnings for the Log; nobody sees the progress."""
        if isinstance(event, Notice) and event.level == "warning":
            self.tell(f"DeepBio: {event.message}")

    def check(self, wanted: tuple[str, ...], options: ImageOptions) -> None:
        """Everything can be shown."""

    def take(self, options: ImageOptions) -> Taken:
        """The image that was current."""
        if options.input:
            raise OptionError(
                "The option 'input' is not known where ImageJ runs without Python.", "Select the image first."
            )
        path = self._folder / INPUT
        if not path.exists():
            raise ImageError("No image is open.", "Open one first.")
        image = read(path, lazy=True)
        spans = {}
        for axis, name, current in (("T", "frames", self._words.frame), ("Z", "slices", self._words.slice)):
            spans[axis] = parse_span(name, getattr(options, name), current, image.size(axis))
        place = Place(image.size("C"), image.size("Z"), image.size("T"), spans["Z"].start, spans["T"].start)
        part = _part(image, spans)
        sizes = (place.slices, place.frames)
        self._taken = Taken(part, self._words.title, place, spans["Z"].start, spans["T"].start, *sizes)
        return self._taken

    def open(self, path: Path) -> Taken:
        """An image file."""
        image = read(path)
        return Taken(image, path.name, Place(image.size("C"), image.size("Z"), image.size("T")))

    def made(self, image: Image, title: str) -> Taken:
        """What a model made of nothing, as if it had been taken."""
        return Taken(image, title, Place(image.size("C"), image.size("Z"), image.size("T")))

    def place(self, taken: Taken, placed: Placed) -> None:
        """Write a result, and how it is shown."""
        result = placed.result
        encoded: list[tuple[str, bytes]] = []
        if {"rois", "overlay"} & set(placed.outputs) and result.labels is not None:
            encoded = list(selections(result.labels, taken.handle))
        if encoded and "overlay" in placed.outputs and self._words.id:
            self._lines += self._overlay([*self._own_overlay(), *(roi for _, roi in encoded)], on_input=True)
        if "table" in placed.outputs and result.table is not None:
            self._append_rows(taken.placed_rows(result.table), taken)
        if "features" in placed.outputs and result.features is not None:
            self.show_table(f"Features of {taken.title}", taken.placed_rows(result.features))
        for kind in WINDOWS:
            part = getattr(result, kind)
            if kind in placed.outputs and part is not None:
                self._show_image(kind, part, taken, placed)
        if encoded and "rois" in placed.outputs:
            self._show_rois(encoded, on_input="labels" not in placed.outputs)

    def show_table(self, title: str, table: Table) -> None:
        """A table in a window of its own."""
        self._lines += [
            f"Table.create({quoted(title)});",
            self._rows(table, {}, "Table.set", "i"),
            "Table.update;",
        ]

    def tell(self, text: str) -> None:
        """A line for the Log."""
        self._lines += [f"print({quoted(line)});" for line in text.splitlines()]

    def extend(self) -> None:
        """There are no Ext functions without Python."""
        raise OptionError(
            "Ext functions need Python in the process of ImageJ.",
            "Run the macro with: deepbio fiji run MACRO.",
        )

    def finish(self) -> str:
        """Write the macro; return its path."""
        path = self._folder / RESULT
        path.write_text(_UNIQUE + "\n".join(self._lines) + "\n", encoding="ascii")
        return str(path)

    def _new(self, name: str) -> Path:
        """A path that no earlier image of the same command has."""
        number = sum(1 for _ in self._folder.iterdir())
        folder = self._folder / f"{number}"
        folder.mkdir()
        return folder / name

    def _show_image(self, kind: str, part: Any, taken: Taken, placed: Placed) -> None:
        path = self._new(f"{kind}.tif")
        write(path, part)
        title = placed.title_of(kind, stem_of(taken.title))
        info = provenance(placed.result, placed.card, taken.title)
        own = taken is self._taken and part.grid.shape == taken.image.grid.shape  # else its own pixel size
        self._lines += [
            f"name = unique({quoted(title)});",
            *([f"selectImage({int(float(self._words.id))});", _CALIBRATION] if own else []),
            f"open({quoted(path)});",
            "rename(name);",
            *([_CALIBRATE] if own else []),
            f'setMetadata("Info", {quoted(info)});',
        ]

    def _append_rows(self, table: Table, taken: Taken) -> None:
        if taken is self._taken:
            table = in_unit(table, self._words.unit)
        rows = self._rows(table, first_columns(table, taken.title), "setResult", "nResults")
        self._lines += [rows, "updateResults();"]

    def _rows(self, table: Table, first: Mapping[str, str], set_: str, row: str) -> str:
        """Lines that set the values of a table, row by row."""
        texts: dict[str, int] = {text: number for number, text in enumerate(dict.fromkeys(first.values()))}
        told = [str(texts[text]) for text in first.values()]
        kinds = ["text" if values.dtype.kind in "US" else "number" for values in table.columns.values()]
        path = self._new("rows.txt")
        with path.open("w", encoding="ascii", newline="\n") as file:
            for values in table.rows():
                cells = [
                    str(texts.setdefault(str(value), len(texts)) if kind == "text" else value)
                    for kind, value in zip(kinds, values, strict=True)
                ]
                file.write("\t".join([*told, *cells]) + "\n")
        return _ROWS.format(
            texts=_listed(texts),
            names=_listed([*first, *table.columns]),
            kinds=_listed([*["text"] * len(first), *kinds]),
            path=quoted(path),
            count=len(first) + len(table.columns),
            row=row,
            set_=set_,
        )

    def _show_rois(self, encoded: list[tuple[str, bytes]], *, on_input: bool) -> None:
        path = self._new("rois.zip")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, roi in encoded:
                archive.writestr(f"{name.replace('/', '_')}.roi", roi)
        before = self._own_overlay() if on_input else []
        # In batch mode each macro has a hidden manager of its own, which the calling one does not see.
        self._lines += [
            'if (!is("Batch Mode")) {',
            f'roiManager("open", {quoted(path)});',
            "} else {",
            *self._overlay([*before, *(roi for _, roi in encoded)], on_input=on_input),
            'print("DeepBio: in batch mode the ROIs are in the overlay; run(\\"To ROI Manager\\") moves them.");',
            "}",
        ]

    def _own_overlay(self) -> list[bytes]:
        """What the overlay of the image has already."""
        if not (self._folder / INPUT).exists():
            return []
        with tifffile.TiffFile(self._folder / INPUT) as file:
            found = (file.imagej_metadata or {}).get("Overlays", [])
        return list(found) if isinstance(found, list) else [found]

    def _overlay(self, rois: list[bytes], *, on_input: bool) -> list[str]:
        """Lines that give the current image, or the one the command was called on, an overlay.

        A tiny image carries it to ImageJ's clipboard for overlays.
        """
        path = self._new("overlay.tif")
        tifffile.imwrite(path, np.zeros((1, 1), np.uint8), imagej=True, metadata={"Overlays": rois})
        select = f"selectImage({int(float(self._words.id or 0))});" if on_input else "selectImage(target);"
        return [
            "target = getImageID();",
            f"open({quoted(path)});",
            "Overlay.copy;",
            "close();",
            select,
            "Overlay.paste;",
        ]


def _part(image: Any, spans: Mapping[str, range]) -> Any:
    """The frames and slices that are meant, with axes of one element left out."""
    from dataclasses import replace

    key, axes = [], ""
    grid = image.grid
    for axis in image.axes:
        span = spans.get(axis)
        if span is None or len(span) == image.size(axis):
            key.append(slice(None))
            axes += axis
        elif len(span) == 1:
            key.append(span.start)
        else:
            key.append(slice(span.start, span.stop))
            axes += axis
    if axes == image.axes and all(one == slice(None) for one in key):
        return image
    pixels = image.array[tuple(key)]
    if "Z" in image.axes:
        grid = grid.replace(
            shape=tuple(n for axis, n in zip(axes, pixels.shape, strict=True) if axis in "ZYX"),
            **({} if "Z" in axes else _in_plane(grid)),
        )
    return replace(image, array=pixels, axes=axes, grid=grid)


def _in_plane(grid: Any) -> dict[str, Any]:
    """A slice's spacing and place, without depth."""
    return {"spacing": grid.spacing[1:], "origin": grid.origin[:2], "direction": None}


def _listed(texts: Iterable[str]) -> str:
    """Texts as the arguments of a macro's newArray; one more, as it takes one alone for a size."""
    return ", ".join(quoted(text) for text in (*texts, ""))
