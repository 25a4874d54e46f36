"""Data sets as the Medical Segmentation Decathlon and nnU-Net have them.

A folder with ``imagesTr``, ``labelsTr`` and ``dataset.json``. The Decathlon has one file for each image; nnU-Net
has one for each of its channels, called ``NAME_0000``, ``NAME_0001``... Both name channels and labels in
``dataset.json``, in different words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepbio.cases.table import image_files, name_of
from deepbio.errors import ImageError

__all__ = ["Told", "files_of", "is_decathlon", "told_of"]

_IMAGES, _LABELS, _ABOUT = "imagesTr", "labelsTr", "dataset.json"


@dataclass(frozen=True)
class Told:
    """What ``dataset.json`` says.

    Attributes
    ----------
    name : str
        Of the data set; empty where it has none.
    channels : tuple of str
        Names of the channels.
    classes : mapping of int to str
        Names by label; empty where labels are only named together, as regions.
    """

    name: str = ""
    channels: tuple[str, ...] = ()
    classes: Mapping[int, str] = field(default_factory=dict)


def is_decathlon(folder: Path) -> bool:
    """Whether a folder is such a data set."""
    return (folder / _IMAGES).is_dir() and (folder / _LABELS).is_dir()


def files_of(folder: Path) -> list[tuple[tuple[Path, ...], Path]]:
    """The files of each image, one or one for each channel, and its label file.

    Raises
    ------
    ImageError
        If an image has no labels or labels have no image, or images have different numbers of files.
    """
    labels = {name_of(path): path for path in image_files(folder / _LABELS)}
    images: dict[str, list[Path]] = {}
    for path in image_files(folder / _IMAGES):
        name = name_of(path)
        base, _, number = name.rpartition("_")
        split = len(number) == 4 and number.isdigit() and name not in labels
        images.setdefault(base if split else name, []).append(path)
    for here, there, what in ((images, labels, "labels"), (labels, images, "image")):
        missing = sorted(set(here) - set(there))
        if missing:
            raise ImageError(
                f"{missing[0]!r} of the data set '{folder}' has no {what} of this name ({len(missing)} have none).",
                f"'{_IMAGES}' and '{_LABELS}' hold files of the same names; those of channels end in _0000, _0001...",
            )
    counts = {name: len(files) for name, files in images.items()}
    if len(set(counts.values())) > 1:
        few, many = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        raise ImageError(
            f"In '{folder}' the image {few!r} has {counts[few]} files, {many!r} has {counts[many]}; "
            "expected one for each channel."
        )
    return [(tuple(files), labels[name]) for name, files in images.items()]


def told_of(folder: Path) -> Told:
    """Read ``dataset.json``; nothing is known where there is none.

    Raises
    ------
    ImageError
        If it cannot be read, or has a label that is to be ignored, which training here cannot.
    """
    path = folder / _ABOUT
    if not path.is_file():
        return Told()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        labels = content.get("labels") or {}
        channels = content.get("channel_names") or content.get("modality") or {}
        named = tuple(str(channels[key]) for key in sorted(channels, key=int))
        return Told(str(content.get("name") or ""), named, _classes(labels, path))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ImageError(
            f"'{path}' is not what the Decathlon or nnU-Net write: {error}.", "Correct it, or take it away."
        ) from error


def _classes(labels: Mapping[str, Any], path: Path) -> dict[int, str]:
    """Names by label: nnU-Net has labels by name, the Decathlon names by label."""
    if "ignore" in labels:
        raise ImageError(
            f"'{path}' has a label that is to be ignored (ignore), which training cannot do.",
            "Make it background, or leave these images out.",
        )
    pairs = [(key, value) if str(key).isdigit() else (value, key) for key, value in labels.items()]
    if any(isinstance(label, list) for label, _ in pairs):
        return {}
    return dict(sorted((int(label), str(name)) for label, name in pairs if int(label) > 0))
