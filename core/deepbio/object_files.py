"""Which label images belong to which images, where objects are given."""

from __future__ import annotations

import csv
import glob
from pathlib import Path

from deepbio.errors import ImageError, OptionError
from deepbio.inputs import is_image, split_suffix
from deepbio.io import image_suffixes

__all__ = ["labels_of", "names_labels"]

_NAME = "{name}"
_IMAGE_COLUMNS = ("image", "images", "file", "path")
_LABEL_COLUMNS = ("objects", "labels", "label", "mask", "masks")


def names_labels(words: str) -> bool:
    """Whether an option that names objects means label images; else it is the name or folder of a model."""
    path = Path(words)
    if _NAME in words or path.is_file() or glob.has_magic(words):
        return True
    if path.is_dir():
        return not any(path.glob("*.yaml"))
    return path.name.lower().endswith((*image_suffixes(), ".csv"))


def labels_of(words: str, image: str | Path) -> Path:
    """The label image that belongs to an image.

    Parameters
    ----------
    words : str
        A label image; a pattern with ``{name}`` where the image's name without suffix goes, such as
        ``"masks/{name}_seg.tif"``; a folder with ``cell-labels.tif``, ``cell_labels.tif`` or ``cell.tif`` for
        the image ``cell.png``; or a CSV file with the columns ``image`` and ``objects``, whose paths are
        relative to it.
    image : str or Path
        The image's file, or its title; empty where it has none.

    Raises
    ------
    ImageError
        If there is no label image of that name, or more than one that could be meant.
    OptionError
        If a pattern has no ``{name}``, or the image has no name to go by.

    Examples
    --------
    >>> labels_of("masks/{name}_seg.tif", "scans/knee.nii.gz")
    Traceback (most recent call last):
        ...
    deepbio.errors.ImageError: 'knee.nii.gz' has no label image: 'masks/knee_seg.tif' does not exist.
    """
    image, path = Path(image), Path(words)
    if _NAME not in words and not path.exists():
        if glob.has_magic(words):
            raise OptionError(
                f"The pattern '{words}' of the objects does not say where the image's name goes.",
                "Write {name} there, as in masks/{name}_seg.tif.",
            )
        raise ImageError(f"The label image '{words}' does not exist.", "Check the spelling, or name a model.")
    if path.is_file() and path.suffix.lower() != ".csv":
        return path
    if not image.name:
        raise OptionError(
            f"The image has no name by which its label image is found in '{words}'.",
            "Name the label image itself, or give the labels as they are.",
        )
    if _NAME in words:
        return _by_pattern(words, image)
    return _in_folder(path, image) if path.is_dir() else _by_table(path, image)


def _by_pattern(words: str, image: Path) -> Path:
    tried = [Path(words.replace(_NAME, name)) for name in _names(image)]
    found = next((one for one in tried if one.exists()), None)
    if found is None:
        raise ImageError(f"'{image.name}' has no label image: '{tried[-1]}' does not exist.")
    return found


def _names(image: Path) -> list[str]:
    """What an image may be called: a title with its points, a file without its suffix."""
    return list(dict.fromkeys((image.name, split_suffix(image)[0])))


def _in_folder(folder: Path, image: Path) -> Path:
    files = [one for one in sorted(folder.iterdir()) if is_image(one) and one.resolve() != image.resolve()]
    for ending in ("-labels", "_labels", ""):
        wanted = [f"{name}{ending}" for name in _names(image)]
        found = [one for one in files if split_suffix(one)[0] in wanted]
        if len(found) > 1:
            raise ImageError(
                f"The folder '{folder}' has {len(found)} files that could be the labels of '{image.name}': "
                f"{', '.join(one.name for one in found)}.",
                "Take one away, or say which with a pattern such as masks/{name}.tif.",
            )
        if found:
            return found[0]
    stem = split_suffix(image)[0]
    raise ImageError(
        f"The folder '{folder}' has no labels for '{image.name}'.",
        f"They are called {stem}.tif, {stem}-labels.tif or {stem}_labels.tif.",
    )


def _by_table(table: Path, image: Path) -> Path:
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = {name.strip().lower(): name for name in reader.fieldnames or ()}
        of_image = next((columns[name] for name in _IMAGE_COLUMNS if name in columns), None)
        of_labels = next((columns[name] for name in _LABEL_COLUMNS if name in columns), None)
        if of_image is None or of_labels is None:
            raise ImageError(
                f"'{table}' has the columns {', '.join(columns) or 'none'}; expected image and objects."
            )
        pairs = [((row[of_image] or "").strip(), (row[of_labels] or "").strip()) for row in reader]
    same = [labels for one, labels in pairs if (table.parent / one).resolve() == image.resolve()]
    found = same or [labels for one, labels in pairs if Path(one).name in _names(image) + [image.name]]
    if len(set(found)) != 1 or not found[0]:
        told = f"names {len(set(found))} label images" if len(set(found)) > 1 else "names no label image"
        raise ImageError(
            f"'{table}' {told} for '{image.name}'.", "Expected one row with that image, and its labels in it."
        )
    path = table.parent / found[0]
    if not path.exists():
        raise ImageError(f"'{image.name}' has no label image: '{path}', of '{table}', does not exist.")
    return path
