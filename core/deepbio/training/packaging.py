"""What every family does when a trained network becomes a package."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.image import RGB
from deepbio.library.content import PackageContent
from deepbio.library.package import write_package

__all__ = ["folded_arguments", "input_names", "middle_of", "training_picture", "write_scored"]


def folded_arguments(network: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a plan's network once its batch norms are folded into its convolutions.

    Examples
    --------
    >>> folded_arguments({"name": "unet", "arguments": {"dims": 2, "norm": "batch"}})
    {'dims': 2, 'norm': 'none'}
    """
    arguments = dict(network["arguments"])
    if arguments.get("norm") == "batch":
        arguments["norm"] = "none"
    return arguments


def input_names(count: int) -> tuple[str, ...]:
    """Names of channels of which nothing else is known; three are a colour picture.

    Examples
    --------
    >>> input_names(1), input_names(2)
    (('intensity',), ('channel_1', 'channel_2'))
    """
    if count == len(RGB):
        return RGB
    return ("intensity",) if count == 1 else tuple(f"channel_{i + 1}" for i in range(count))


def middle_of(sample: np.ndarray, divisor: Sequence[int], edge: int) -> np.ndarray:
    """The middle of a sample, small and in a size that the network takes, for the self-test.

    Parameters
    ----------
    sample : ndarray, shape (C, [z,] y, x)
        Raw pixels; mirrored where they are fewer than the network needs.
    divisor : sequence of int
        Of which the sizes must be multiples.
    edge : int
        Largest size along an axis; one divisor where it is smaller.

    Examples
    --------
    >>> middle_of(np.arange(14).reshape(1, 2, 7), (4, 2), 4).tolist()
    [[[1, 2, 3, 4], [8, 9, 10, 11], [8, 9, 10, 11], [1, 2, 3, 4]]]
    """
    key: list[slice] = [slice(None)]
    for n, d in zip(sample.shape[1:], divisor, strict=True):
        size = max(min(n, edge) // d, 1) * d
        start = max(0, (n - size) // 2)
        key.append(slice(start, start + size))
    piece = sample[tuple(key)]
    short = [(0, -n % d) for n, d in zip(piece.shape[1:], divisor, strict=True)]
    return np.ascontiguousarray(np.pad(piece, [(0, 0), *short], mode="symmetric"))


def training_picture(work: Path) -> Mapping[str, Path]:
    """The curve of a training, for the files of its package."""
    return {"training.png": work / "history.png"} if (work / "history.png").exists() else {}


def write_scored(
    output: Path, content: PackageContent, score: Callable[[], Sequence[Mapping[str, Any]]]
) -> None:
    """Write a package, score it as users would run it, and write it again with the scores.

    Parameters
    ----------
    output : Path
        Folder of the package; replaced.
    content : PackageContent
        Without scores.
    score : callable
        Gives the rows for the card; the package is there when it is called.
    """
    write_package(output, content, replace=True)
    write_package(output, replace(content, scores=score()), replace=True)
