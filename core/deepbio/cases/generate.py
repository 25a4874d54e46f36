"""What generators learn from: images of classes in one size, and images with masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepbio.cases.classify import ClassCase, class_names, load_pixels, read_class_cases
from deepbio.cases.segment import Case, load_sample, read_cases
from deepbio.cases.split import split_cases
from deepbio.errors import ImageError, InputMismatch

__all__ = ["class_pixels", "load_pair", "read_class_parts", "read_pair_parts"]

_FEWEST = 8  # images of a class; fewer are only learned by heart


def read_class_parts(
    data: Path, classes: Sequence[str] = ()
) -> tuple[list[ClassCase], list[ClassCase], tuple[str, ...]]:
    """The cases to learn from, the held-out ones, and their classes.

    Raises
    ------
    ImageError
        If there is a single class, or a class has no cases, or hardly any, to learn from.
    """
    train, val = split_cases(read_class_cases(data))
    names = class_names([*train, *val]) if not classes else tuple(classes)
    if len(names) < 2:
        raise ImageError(
            f"The data set {str(data)!r} has the single class {names[0]!r}; a generator of classes needs two.",
            "Put the images of each class into a folder of its name.",
        )
    counts = Counter(case.class_name for case in train)
    for name in names:
        if counts[name] < _FEWEST:
            found = f"{counts[name]} cases" if counts[name] else "no case"
            raise ImageError(
                f"The class {name!r} has {found} to learn from; expected at least {_FEWEST}.",
                "Add images of it, or leave the class out.",
            )
    return train, val, names


def class_pixels(cases: Sequence[ClassCase], size: int, channels: int) -> np.ndarray:
    """The images of cases, in one size.

    Parameters
    ----------
    cases : sequence of ClassCase
        2D images of bytes.
    size : int
        Edge of the result.
    channels : int
        That each must have.

    Returns
    -------
    ndarray of uint8, shape (N, channels, size, size)

    Raises
    ------
    InputMismatch
        If an image is a stack, has other channels or pixels that are no bytes.
    """
    return np.stack([_resized(case, size, channels) for case in cases])


def _resized(case: ClassCase, size: int, channels: int) -> np.ndarray:
    from PIL import Image as Picture

    pixels = load_pixels(case)
    if pixels.ndim != 3 or pixels.shape[0] != channels or pixels.dtype != np.uint8:
        raise InputMismatch(
            f"{str(case.image)!r} has shape {pixels.shape} (channels first) and type {pixels.dtype}; expected "
            f"{channels} channel{'s' * (channels > 1)} of bytes in 2D, as the first image has.",
            "A generator learns from images of one kind.",
        )
    planes = [
        Picture.fromarray(np.ascontiguousarray(plane)).resize((size, size), Picture.Resampling.LANCZOS)
        for plane in pixels
    ]
    return np.stack([np.asarray(plane) for plane in planes])


def read_pair_parts(data: Path, group: str = "") -> tuple[list[Case], list[Case]]:
    """The cases to learn from and the held-out ones, of one group if it is named.

    Raises
    ------
    ImageError
        If no case is of that group, or a part is empty.
    """
    cases = read_cases(data)
    groups = sorted({case.group for case in cases if case.group})
    if group:
        cases = [case for case in cases if case.group == group]
    if not cases:
        raise ImageError(
            f"No case of {str(data)!r} is of the group {group!r}.",
            f"There are: {', '.join(groups) or 'none'}.",
        )
    return split_cases(cases)


def load_pair(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of 0 to 1, (y, x), and labels.

    Raises
    ------
    InputMismatch
        If the image is a stack, in colour, or its pixels are no whole numbers.
    """
    sample = load_sample(case)
    image, labels = sample.image, sample.labels
    if labels.ndim == 3 and labels.shape[0] == 1:
        image, labels = image[:, 0], labels[0]
    colour = image.shape[0] == 3 and bool((image[0] != image[1]).any() or (image[0] != image[2]).any())
    if labels.ndim != 2 or image.shape[0] not in (1, 3) or colour or image.dtype.kind not in "u":
        raise InputMismatch(
            f"{str(case.image)!r} has shape {image.shape} (channels first) and type {image.dtype}"
            f"{', in colour' if colour else ''}; expected a grey 2D image of whole numbers.",
            "Choose the images of one kind with --set group=NAME.",
        )
    return image[0].astype(np.float32) / np.iinfo(image.dtype).max, labels
