"""Which cases are learned from and which are held out, the same for every family."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, TypeVar

from deepbio.errors import ImageError

__all__ = ["Splittable", "fold_cases", "split_cases"]

_VAL_FRACTION = 0.15


class Splittable(Protocol):
    """A case that can be put into a part.

    Attributes
    ----------
    name : str
        What it is called; without a patient, its part follows from a hash of this.
    key : str
        What cases are sorted by.
    split : str
        ``"train"``, ``"val"``, ``"test"`` or empty where the data set does not say.
    patient : str
        Cases of one patient are never in two parts; empty where nobody knows.
    """

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def split(self) -> str: ...

    @property
    def patient(self) -> str: ...


One = TypeVar("One", bound=Splittable)


def split_cases(cases: Sequence[One]) -> tuple[list[One], list[One]]:
    """Divide cases into train and val; a test part is left out.

    Where the data set does not say, 15 % go to val, chosen by a hash of the patient or else of
    the file name, so the split stays the same when cases are added.

    Raises
    ------
    ImageError
        If either part is empty, or a patient is in both.
    """
    if any(case.split for case in cases):
        train = [case for case in cases if case.split == "train"]
        val = [case for case in cases if case.split in ("val", "valid", "validation")]
    else:
        held = max(1, round(_VAL_FRACTION * len(cases)))
        train, val = [], []
        for together in _by_hash(cases):
            (val if len(val) < held else train).extend(together)
    if not train or not val:
        raise ImageError(
            f"Training needs cases in both parts; found {len(train)} for train and {len(val)} for val.",
            "Add cases, or a column 'split' with train and val.",
        )
    both = {case.patient for case in train if case.patient} & {case.patient for case in val}
    if both:
        raise ImageError(
            f"{len(both)} patients are in train and in val, the first is {min(both)!r}.",
            "Put all images of a patient into one part: else the held-out scores mean nothing.",
        )
    return _sorted(train), _sorted(val)


def fold_cases(cases: Sequence[One], folds: int) -> list[tuple[list[One], list[One]]]:
    """Divide cases for cross-validation: each is held out in exactly one fold.

    Patients, or cases without one, are dealt out in the order of a hash of their name, each to
    the smallest fold; so the folds depend on names alone. A test part is left out.

    Parameters
    ----------
    cases : sequence of cases
        Of train and val alike.
    folds : int
        At least 2.

    Returns
    -------
    list of (train, val)
        One pair per fold.

    Raises
    ------
    ImageError
        If there are fewer patients (or cases) than folds.
    """
    groups = _by_hash([case for case in cases if case.split != "test"])
    if not 2 <= folds <= len(groups):
        raise ImageError(
            f"{len(groups)} patients or cases cannot be divided into {folds} folds.",
            f"Choose 2 to {len(groups)} folds." if len(groups) > 1 else "Add cases.",
        )
    held: list[list[One]] = [[] for _ in range(folds)]
    for together in groups:
        min(held, key=len).extend(together)
    return [
        (_sorted([case for other in held if other is not val for case in other]), _sorted(val))
        for val in held
    ]


def _by_hash(cases: Sequence[One]) -> list[list[One]]:
    """Cases that belong together, in the order of a hash of their patient or name."""
    together: dict[str, list[One]] = {}
    for case in cases:
        together.setdefault(case.patient or case.name, []).append(case)
    return [together[name] for name in sorted(together, key=lambda n: hashlib.sha256(n.encode()).hexdigest())]


def _sorted(cases: Sequence[One]) -> list[One]:
    return sorted(cases, key=lambda case: case.key)
