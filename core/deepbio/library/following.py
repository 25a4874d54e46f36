"""What a card says of a model of sequences: ``config: deepbio: sequence:``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from deepbio.errors import CardError

__all__ = ["Following", "check_sequence"]

_KINDS = ("segment", "per-frame", "per-sequence")


@dataclass(frozen=True)
class Following:
    """How a network goes through frames.

    Attributes
    ----------
    kind : {"segment", "per-frame", "per-sequence"}
        What it tells: labels of each frame, a class of each, or one of all.
    frames : int
        Frames of a window.
    bidirectional : bool
        Whether it looks at later frames, too.
    cyclic : bool
        Whether the last frame is followed by the first.
    smooth : float
        Standard deviation in frames of a Gaussian over the probabilities in time; 0 is none.
    harmonics : int
        Of a cycle, how many waves in time are kept, see `deepbio.tasks.temporal.steadied`; 0 keeps all.
    ejection : bool
        Whether the table tells end-diastole, end-systole and the ejection fraction.
    """

    kind: str = "segment"
    frames: int = 20
    bidirectional: bool = False
    cyclic: bool = False
    smooth: float = 0.0
    harmonics: int = 0
    ejection: bool = False


def check_sequence(entries: Any) -> Following:
    """Read and check the entries of ``sequence``.

    Raises
    ------
    CardError
        If an entry is unknown or not what it must be.

    Examples
    --------
    >>> check_sequence({"kind": "segment", "frames": 20, "smooth": 0.8}).smooth
    0.8
    >>> check_sequence({"kind": "movie"})
    Traceback (most recent call last):
        ...
    deepbio.errors.CardError: The card's sequence has kind 'movie'; expected one of segment, per-frame, per-sequence.
    """
    known = {one.name: one.type for one in fields(Following)}
    if not isinstance(entries, Mapping) or set(entries) - set(known):
        found = sorted(map(str, entries)) if isinstance(entries, Mapping) else type(entries).__name__
        raise CardError(f"The card's sequence has {found}; known are {', '.join(known)}.")
    for name, value in entries.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        good = {
            "kind": value in _KINDS if isinstance(value, str) else False,
            "frames": type(value) is int and value > 0,
            "smooth": number and value >= 0,
            "harmonics": type(value) is int and value >= 0 and (value == 0 or entries.get("cyclic") is True),
        }.get(name, isinstance(value, bool))
        if not good:
            told = {
                "kind": f"one of {', '.join(_KINDS)}",
                "frames": "a whole number above 0",
                "smooth": "a number from 0",
                "harmonics": "a whole number from 0, and cyclic: true above it",
            }
            raise CardError(
                f"The card's sequence has {name} {value!r}; expected {told.get(name, 'true or false')}."
            )
    return Following(**entries)
