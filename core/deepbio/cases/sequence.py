"""Cases of sequences: files of several frames, of which some are labelled, or that have a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deepbio import io
from deepbio.cases.segment import check_highest
from deepbio.cases.table import columns_of, name_of, read_rows
from deepbio.errors import ImageError, InputMismatch
from deepbio.image import Grid, Image, LabelMap

__all__ = ["KINDS", "Clip", "SequenceCase", "load_clips", "looks_like_sequences", "read_sequences"]

KINDS = ("segment", "per-frame", "per-sequence")


@dataclass(frozen=True)
class SequenceCase:
    """One file of frames and what is known of them.

    Attributes
    ----------
    image : Path
        The frames: axes T[Z]YX, or a single frame.
    labels : Path or None
        Label image with as many frames (or a single one for a single frame).
    frames : tuple of int
        Labelled frames, counted from 1; empty: those that have any label.
    classes : tuple of str
        One name for the sequence, or one for each frame, empty where nobody knows.
    split, patient, group : str
        As in `deepbio.cases.Case`.
    """

    image: Path
    labels: Path | None = None
    frames: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    split: str = ""
    patient: str = ""
    group: str = ""

    @property
    def name(self) -> str:
        """File name of the image without its suffix."""
        return name_of(self.image)

    @property
    def key(self) -> str:
        """What cases are sorted by."""
        return str(self.image)


@dataclass(frozen=True)
class Clip:
    """The frames of one slice.

    Attributes
    ----------
    pixels : ndarray, shape (T, C, y, x)
        As they are in the file.
    labels : ndarray of int16, shape (T, y, x), or None
        -1 in frames that are not labelled.
    classes : tuple of str
        As in the case.
    case : SequenceCase
        Where it came from.
    grid : Grid
        Of a frame.
    slice : int or None
        Which slice of a stack, from 0.
    """

    pixels: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    case: SequenceCase
    grid: Grid
    slice: int | None = None
    meta: Mapping[str, object] = field(default_factory=dict)

    @property
    def labelled(self) -> list[int]:
        """Frames with labels, from 0."""
        return [] if self.labels is None else [t for t, one in enumerate(self.labels) if one.flat[0] >= 0]


def looks_like_sequences(source: Path) -> bool:
    """Whether a data set is a CSV with a column ``frames``, by which sequences are known."""
    return "frames" in columns_of(source)


def read_sequences(source: Path | str) -> list[SequenceCase]:
    """List the sequences of a data set.

    Parameters
    ----------
    source : path
        A CSV file, or a folder with an ``index.csv``; its columns are ``image``, then ``label`` (a label image)
        or ``class`` (a name, or one for each frame with ``;`` between them, empty where nobody knows), and
        where wanted ``frames`` (the labelled ones, counted from 1, with ``;`` between them), ``split``,
        ``patient`` and ``group``. Paths are relative to the CSV.

    Raises
    ------
    ImageError
        If the CSV or a file that it names is not there, or a column is missing.
    """
    path = Path(source)
    path = path / "index.csv" if path.is_dir() else path
    if not path.is_file():
        raise ImageError(
            f"The data set {str(path)!r} does not exist.", "Give a CSV with the columns image,label,frames."
        )
    rows = read_rows(path)
    if "image" not in rows[0] or not {"label", "class"} & set(rows[0]):
        raise ImageError(
            f"The data set {str(path)!r} has {', '.join(rows[0])}; expected the columns image and label, or image "
            "and class."
        )
    cases = [_case(path, number, row) for number, row in enumerate(rows, start=2)]
    return sorted(cases, key=lambda case: case.key)


def _case(path: Path, line: int, row: Mapping[str, str]) -> SequenceCase:
    files = [path.parent / row[name] for name in ("image", "label") if row.get(name)]
    for file in files:
        if not file.exists():
            raise ImageError(f"{str(path)!r} names the file {str(file)!r}, which does not exist.")
    told = row.get("frames", "")
    frames = [word.strip() for word in told.split(";") if word.strip()]
    if not all(word.isdigit() and int(word) > 0 for word in frames):
        raise ImageError(
            f"Line {line} of {str(path)!r} has the frames {told!r}; expected numbers from 1 with ';' between them."
        )
    named = row.get("class", "")
    return SequenceCase(
        files[0],
        files[1] if len(files) > 1 else None,
        tuple(int(word) for word in frames),
        tuple(word.strip() for word in named.split(";")) if named else (),
        row.get("split", "").lower(),
        row.get("patient", ""),
        row.get("group", ""),
    )


def load_clips(case: SequenceCase, kind: str) -> list[Clip]:
    """Read a case: one clip for each of its slices that tells something.

    Parameters
    ----------
    case : SequenceCase
        Which.
    kind : {"segment", "per-frame", "per-sequence"}
        What is to be learned from it.

    Raises
    ------
    InputMismatch
        If frames and labels do not fit each other.
    ImageError
        If no frame is labelled.
    """
    image = io.read(case.image)
    pixels = _frames_first(image)
    if kind != "segment":
        return _classed(case, image, pixels)
    if case.labels is None:
        raise ImageError(f"{str(case.image)!r} has no label image.", "Name one in the column 'label'.")
    labels = io.read_labels(case.labels)
    check_highest(case.labels, labels, int(np.iinfo(np.int16).max))
    marks = _marks(case, image, labels)
    used = _labelled(case, marks)
    marks[[t for t in range(len(marks)) if t not in used]] = -1
    grid = Grid(image.grid.shape[-2:], image.grid.spacing[-2:], unit=image.grid.unit)
    return [
        Clip(pixels[:, z], marks[:, z], (), case, grid, z if "Z" in image.axes else None)
        for z in range(pixels.shape[1])
    ]


def _frames_first(image: Image) -> np.ndarray:
    """Pixels as (T, Z, C, y, x)."""
    array = image.numpy()
    for at, axis in enumerate("TCZ"):
        if axis not in image.axes:
            array = np.expand_dims(array, at)
    return np.swapaxes(array, 1, 2)


def _marks(case: SequenceCase, image: Image, labels: LabelMap) -> np.ndarray:
    """Labels as (T, Z, y, x), if they fit the image."""
    sizes = {axis: labels.shape[labels.axes.index(axis)] for axis in labels.axes}
    for axis, word in (("T", "frames"), ("Z", "slices"), ("Y", "rows"), ("X", "columns")):
        if image.size(axis) != sizes.get(axis, 1):
            raise InputMismatch(
                f"{str(case.image)!r} has {image.size(axis)} {word}, its labels have {sizes.get(axis, 1)}; "
                "they must be equal.",
                "Frames without labels are empty in the label image; the column 'frames' names those that have some.",
            )
    array = labels.numpy().astype(np.int16)
    for at, axis in enumerate("TZ"):
        if axis not in labels.axes:
            array = np.expand_dims(array, at)
    return array


def _labelled(case: SequenceCase, marks: np.ndarray) -> list[int]:
    if case.frames:
        beyond = [t for t in case.frames if t > len(marks)]
        if beyond:
            raise ImageError(
                f"{str(case.image)!r} has {len(marks)} frames; frame {beyond[0]} is said to be labelled."
            )
        return [t - 1 for t in case.frames]
    used = [t for t, one in enumerate(marks) if one.any()]
    if not used:
        raise ImageError(
            f"No frame of {str(case.image)!r} is labelled.",
            "Label at least one; where a labelled frame is empty on purpose, name it in the column 'frames'.",
        )
    return used


def _classed(case: SequenceCase, image: Image, pixels: np.ndarray) -> list[Clip]:
    if not any(case.classes):
        raise ImageError(
            f"No frame of {str(case.image)!r} is labelled.", "Name its class in the column 'class'."
        )
    if len(case.classes) not in (1, len(pixels)):
        raise InputMismatch(
            f"{str(case.image)!r} has {len(pixels)} frames and {len(case.classes)} classes; expected one, or one each."
        )
    grid = Grid(image.grid.shape[-2:], image.grid.spacing[-2:], unit=image.grid.unit)
    return [
        Clip(pixels[:, z], None, case.classes, case, grid, z if "Z" in image.axes else None)
        for z in range(pixels.shape[1])
    ]
