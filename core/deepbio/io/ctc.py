"""Tracks in the format of the Cell Tracking Challenge: a folder with ``res_track.txt`` and a mask image for each frame.

See "Naming and file content conventions" on https://celltrackingchallenge.net and Maska et al., Nature Methods
20:1010 (2023, doi:10.1038/s41592-023-01879-y). Each line of the text is ``L B E P``: a track's label, the first and the
last frame that show it (from 0), and the label of its parent, 0 where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile

from deepbio.errors import ImageError
from deepbio.image import LabelMap

__all__ = ["is_ctc", "read_ctc", "write_ctc"]

_TABLES = ("man_track.txt", "res_track.txt")
_MASK = re.compile(r"(?:man_track|mask)(\d+)\.tiff?")
_LARGEST = np.iinfo(np.uint16).max


def write_ctc(folder: Path, labels: LabelMap, parents: Mapping[int, int]) -> None:
    """Write a movie's tracks as a result of the Cell Tracking Challenge.

    The format knows no gaps: where an object was missed for some frames, its track ends and another begins
    that has it as its parent. These get new labels, above all others.

    Parameters
    ----------
    folder : Path
        Is made.
    labels : LabelMap
        With T; one number is one object through time.
    parents : mapping of int to int
        Mother of each daughter.

    Raises
    ------
    ImageError
        If the labels have no frames, or there are more than 65,535 tracks, which the format cannot hold.
    """
    if "T" not in labels.axes:
        raise ImageError(
            f"Tracks are of movies; the labels have the axes {labels.axes}.",
            "Run the model with track on a movie.",
        )
    masks, lines = _without_gaps(labels.numpy(), parents)
    if len(lines) and lines[:, 0].max() > _LARGEST:
        raise ImageError(
            f"There are tracks up to the number {lines[:, 0].max()}; the format of the Cell Tracking Challenge has "
            f"16 bits and ends at {_LARGEST}.",
            "Save labels and table instead.",
        )
    folder.mkdir()
    digits = max(3, len(str(len(masks) - 1)))
    for t, mask in enumerate(masks):
        tifffile.imwrite(folder / f"mask{t:0{digits}d}.tif", mask.astype(np.uint16), compression="zlib")
    text = "".join(" ".join(map(str, line)) + "\n" for line in lines.tolist())
    (folder / "res_track.txt").write_text(text, encoding="ascii")


def _without_gaps(tracks: np.ndarray, parents: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The masks with a new label after each gap, and the lines ``L B E P`` in order of the labels."""
    seen = [np.unique(frame[frame > 0]) for frame in tracks]
    numbers = np.unique(np.concatenate(seen)).astype(np.int64)
    count = int(numbers.max(initial=0))
    masks = tracks.copy()
    last = {}  # label of each track's last part: what its daughters come from
    lines, loose = [], []
    for number in numbers.tolist():
        frames = np.array([t for t, inside in enumerate(seen) if number in inside])
        parts = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
        label, parent = number, 0
        for k, part in enumerate(parts):
            if k:
                count, parent, label = count + 1, label, count + 1
                masks[part] = np.where(tracks[part] == number, label, masks[part])
            lines.append([label, int(part[0]), int(part[-1]), parent])
        if number in parents:
            loose.append((len(lines) - len(parts), parents[number]))
        last[number] = label
    for at, mother in loose:
        lines[at][3] = last[mother]
    return masks, np.array(sorted(lines), np.int64).reshape(-1, 4)


def is_ctc(path: Path) -> bool:
    """Whether a folder holds tracks in this format: truth (``man_track.txt``) or a result (``res_track.txt``)."""
    return any((path / name).is_file() for name in _TABLES)


def read_ctc(folder: Path) -> tuple[LabelMap, dict[int, int]]:
    """Read the tracks of a folder.

    Returns
    -------
    (LabelMap, dict of int to int)
        Labels with T, in pixels, and the parent of each track that has one. A track that goes on after a gap has
        the part before it as its parent.

    Raises
    ------
    ImageError
        If there are no masks, one is missing or of another size, or the text has other lines than ``L B E P``.
    """
    table = next(folder / name for name in _TABLES if (folder / name).is_file())
    found = {
        int(match[1]): path for path in folder.iterdir() if (match := _MASK.fullmatch(path.name.lower()))
    }
    frames = sorted(found)
    if not frames or frames != list(range(len(frames))):
        missing = sorted(set(range(max(frames, default=0))) - set(frames))
        what = f"no mask of frame {missing[0]}" if missing else "no masks"
        raise ImageError(
            f"The folder '{folder}' has {what}.",
            f"Expected mask000.tif, mask001.tif, ... beside {table.name}.",
        )
    masks = [tifffile.imread(found[t]) for t in frames]
    odd = next((t for t in frames if masks[t].shape != masks[0].shape), None)
    if odd is not None or masks[0].ndim not in (2, 3):
        raise ImageError(
            f"The mask '{found[odd or 0]}' has the shape {masks[odd or 0].shape}; "
            f"{f'that of frame 0 is {masks[0].shape}' if odd else 'expected 2 or 3 axes'}."
        )
    return LabelMap(np.stack(masks), "TYX" if masks[0].ndim == 2 else "TZYX"), _parents(table)


def _parents(table: Path) -> dict[int, int]:
    parents = {}
    for number, line in enumerate(table.read_text(encoding="ascii", errors="replace").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 4 or not all(word.isdigit() for word in words):
            raise ImageError(
                f"Line {number} of '{table}' is {line!r}; expected four whole numbers: label, first frame, last "
                "frame, parent."
            )
        if int(words[3]):
            parents[int(words[0])] = int(words[3])
    return parents
