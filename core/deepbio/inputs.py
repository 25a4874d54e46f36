"""Which files a batch takes."""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepbio.errors import ImageError, OptionError
from deepbio.io import image_suffixes, is_dicom, list_series
from deepbio.io.dicom_files import choose_series
from deepbio.io.formats import FORMATS
from deepbio.library import ModelCard

__all__ = [
    "BESIDES", "RECORD", "SAVES", "Input", "channel_files", "find_inputs", "is_image", "key_of", "read_record",
    "split_suffix", "with_channels",
]  # fmt: skip

SAVES = (
    "labels", "table", "rois", "overlay", "image", "scores", "seg", "ctc", "objects", "features", "explanation",
    "uncertainty", "heatmap",
)  # fmt: skip
BESIDES = (
    "objects",
    "features",
    "explanation",
    "uncertainty",
    "heatmap",
)  # what a run gives beside its outputs
RECORD = ".deepbio.json"
_MOST_NAMED = 12  # files that are missing

_DICOM = next(form.suffixes for form in FORMATS if form.name == "DICOM")
_STORES = tuple(suffix for form in FORMATS for suffix in form.suffixes if form.is_folder)


@dataclass(frozen=True)
class Input:
    """One image of a batch.

    Attributes
    ----------
    path : Path
        A file, or the folder of a DICOM series.
    series : str
        Which series of a DICOM folder: its UID, or ``"#1"`` where it has none; empty for files.
    number : int
        From 1, among the folder's series of images; 0 for files.
    channels : tuple of Path
        All files, where each channel has one; `path` is the first of them.
    """

    path: Path
    series: str = ""
    number: int = 0
    channels: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return f"{self.path} (series {self.number})" if self.number > 1 else str(self.path)

    @property
    def source(self) -> Path | tuple[Path, ...]:
        """What :func:`deepbio.read` takes."""
        return self.channels or self.path

    @property
    def key(self) -> str:
        """What is the same for the same input, however it was named."""
        return key_of(str(self.path.resolve()), self.series)

    @property
    def is_dicom(self) -> bool:
        """Whether it is a DICOM series or file."""
        if self.series or self.path.name.lower().endswith(_DICOM):
            return True
        return not self.path.name.lower().endswith(image_suffixes()) and is_dicom(self.path)


def find_inputs(
    inputs: Sequence[str | Path | Input], output: Path | None = None, series: str = "", channels: int = 1
) -> tuple[Input, ...]:
    """Expand folders and patterns into images, each once, in order.

    A folder gives the image files in it, and each series of its DICOM files as one image; a pattern gives
    the images that it matches, and those of the folders that it matches. What an
    earlier run wrote is left out of folders and patterns; in the folder `output`, where it would be
    written again, also when it is named (as by a pattern that the shell expanded).

    Parameters
    ----------
    inputs : sequence of str, Path or Input
        Files, folders and patterns.
    output : Path, optional
        Where results will go.
    series : str
        Take this series of each DICOM folder, and nothing else: its UID, the beginning of it, or
        ``"#2"``.
    channels : int
        Above 1 for models whose channels come in files of their own (:func:`channel_files`): then ``knee_0000.nii.gz``
        and ``knee_0001.nii.gz`` are one image.

    Raises
    ------
    ImageError
        If a pattern matches nothing, a folder has no image, or a DICOM folder not that series, or files of channels
        are missing (all of them are named). A file that does not exist is kept: reading it will say so.
    OptionError
        If `series` is given and an input is no DICOM folder.
    """
    found: dict[str, Input] = {}
    for item in inputs:
        for image in [item] if isinstance(item, Input) else _meant_by(item, series):
            found.setdefault(image.key, image)
    if output is not None:
        folder = output.resolve()
        found = {
            key: image
            for key, image in found.items()
            if image.series or image.path.resolve().parent != folder or not _is_result(image.path)
        }
    if not found:
        raise ImageError("There is no input.", "Name images, folders or patterns.")
    joined: dict[str, Input] = {}
    lacking: dict[Path, None] = {}
    for image in found.values():
        missing = _lacking(image, channels)
        if missing:
            lacking.update(dict.fromkeys(missing))
        else:
            case = with_channels(image, channels)
            joined[case.key] = case
    if lacking:
        raise _incomplete(tuple(lacking), channels)
    return tuple(joined.values())


def channel_files(card: ModelCard) -> int:
    """Files that an image of this model comes in: one for each channel where its card says ``channel_files``."""
    return max(len(card.input.channels), 1) if card.deepbio.get("channel_files") is True else 1


def with_channels(image: Input, count: int) -> Input:
    """An input with the files of its other channels: all that are called like it but for the ``_0000`` at the end.

    Parameters
    ----------
    image : Input
        The file of one of the channels; what is not called so (a 4D image) comes back as it is.
    count : int
        Files that there have to be, from :func:`channel_files`.

    Raises
    ------
    ImageError
        If one of them does not exist.
    """
    files = _files_of(image, count)
    if not files:
        return image
    missing = _lacking(image, count)
    if missing:
        raise _incomplete(missing, count)
    return Input(files[0], channels=files)


def _files_of(image: Input, count: int) -> tuple[Path, ...]:
    """The files of all channels, whether they exist or not; none where an image is not called like one of them."""
    stem = split_suffix(image.path)[0]
    base, _, number = stem.rpartition("_")
    if count == 1 or image.series or image.channels or not base or len(number) != 4 or not number.isdigit():
        return ()
    ending = image.path.name[len(stem) :]
    return tuple(image.path.with_name(f"{base}_{k:04d}{ending}") for k in range(count))


def _lacking(image: Input, count: int) -> tuple[Path, ...]:
    """The files of channels that do not exist."""
    return tuple(file for file in _files_of(image, count) if not file.exists())


def _incomplete(missing: tuple[Path, ...], count: int) -> ImageError:
    """What is said of cases that lack files."""
    stem, suffix = split_suffix(missing[0])
    base = stem.rpartition("_")[0]
    folders = {file.parent for file in missing}
    if len(missing) == 1:
        which = f"'{missing[0]}' does not exist"
    else:
        named = [file.name if len(folders) == 1 else str(file) for file in missing[:_MOST_NAMED]]
        rest = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        where = f" in '{missing[0].parent}'" if len(folders) == 1 else ""
        which = f"missing{where}: {', '.join(named)}{rest}"
    return ImageError(
        f"The model takes {count} channels, each in a file of its own: {which}.",
        f"Files are called {base}_0000{suffix} to {base}_{count - 1:04d}{suffix}.",
    )


def _meant_by(item: str | Path, series: str) -> list[Input]:
    """The images that a word of the user stands for."""
    path = Path(item)
    if path.exists() or not glob.has_magic(str(item)):
        return _images_of(path, series)
    return _matching(str(item), series)


def _matching(pattern: str, series: str) -> list[Input]:
    """The images that a pattern matches, and those of the folders that it matches; folders may have none."""
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    paths = [*([Path()] if pattern == "**" else []), *map(Path, matches)]  # glob leaves out the start itself
    folders = {path for path in paths if _holds_images(path)}
    discs = {path for path in folders if any(file.name.upper() == "DICOMDIR" for file in path.iterdir())}
    found: list[Input] = []
    for path in paths:
        if _is_result(path) or any(parent.name.lower().endswith(_STORES) for parent in path.parents):
            continue  # the parts of an OME-Zarr are no images
        on_disc = not discs.isdisjoint(path.parents)  # whose folder gives the DICOM files below it
        if path in folders:
            if not series or (_has_series(path) and not on_disc):
                found += [one for one in _images_in(path, series) if not (one.series and on_disc)]
        elif is_image(path) and not (_is_slice(path) and (path.parent in folders or on_disc)):
            found += _images_of(path, series)
    if not found:
        raise ImageError(f"No image matches '{pattern}'.", f"Known suffixes: {', '.join(image_suffixes())}.")
    return found


def _images_of(path: Path, series: str) -> list[Input]:
    """The image at a path, or those of a folder."""
    if not _holds_images(path):
        if series:
            raise OptionError(
                f"'{path}' is no DICOM folder: there is no series {series!r}.", "Leave --series out."
            )
        return [Input(path)]
    files = _images_in(path, series)
    if not files:
        below = any(part.is_dir() for part in path.iterdir())
        raise ImageError(
            f"The folder '{path}' has no image.",
            f"Images in the folders below are found by the pattern '{path / '**'}'."
            if below
            else f"Known suffixes: {', '.join(image_suffixes())}.",
        )
    return files


def _images_in(path: Path, series: str) -> list[Input]:
    """The image files and DICOM series of a folder, or the one series that is wanted."""
    listed = [one for one in list_series(path) if one.is_image]
    if series:
        chosen = choose_series(path, series)
        number = 1 + [one.uid for one in listed].index(chosen.uid) if chosen in listed else 1
        return [Input(path, chosen.uid or f"#{chosen.number}", number)]
    files = [
        Input(file)
        for file in sorted(path.iterdir())
        if is_image(file) and not (_is_slice(file) or _is_result(file) or _holds_images(file))
    ]
    return files + [Input(path, one.uid or f"#{one.number}", number) for number, one in enumerate(listed, 1)]


def _holds_images(path: Path) -> bool:
    """Whether it is a folder that has images, not one that is an image (OME-Zarr)."""
    return path.is_dir() and not path.name.lower().endswith(_STORES)


def _is_slice(path: Path) -> bool:
    """Whether it is named like a DICOM file, which is an image together with others of its folder."""
    return path.name.lower().endswith(_DICOM)


def _has_series(path: Path) -> bool:
    return path.is_dir() and any(one.is_image for one in list_series(path))


def key_of(path: str, series: str) -> str:
    """What an input is told from others by: its resolved path and, of a DICOM folder, the series."""
    return f"{path}#{series}" if series else path


def split_suffix(file: Path) -> tuple[str, str]:
    """Split a file name into its stem and its whole image suffix.

    Examples
    --------
    >>> split_suffix(Path("scans/knee.nii.gz"))
    ('knee', '.nii.gz')
    """
    known = [suffix for suffix in image_suffixes() if file.name.lower().endswith(suffix)]
    suffix = max(known, key=len, default=file.suffix)
    return file.name[: len(file.name) - len(suffix)] or file.name, suffix.lower()


def _is_result(file: Path) -> bool:
    """Whether a file, or the folder that it is in, is called like a result and has a record beside it."""
    name, _, kind = split_suffix(file)[0].rpartition("-")
    if kind in SAVES and file.with_name(name + RECORD).exists():
        return True
    folder = file.resolve().parent
    return folder.name.endswith("-ctc") and folder.with_name(folder.name[: -len("-ctc")] + RECORD).exists()


def is_image(path: Path) -> bool:
    """Whether a file has the ending of an image, and is not hidden."""
    return not path.name.startswith(".") and path.name.lower().endswith(image_suffixes())


def read_record(path: Path) -> dict[str, Any] | None:
    """Read a record; None where there is none or it is not ours."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if {"input", "seconds", "objects"} <= set(found) and "path" in found["input"] else None
    except (OSError, ValueError, TypeError):
        return None
