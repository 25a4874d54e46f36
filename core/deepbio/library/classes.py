"""Checks of what a card says about its classes: names, colours, codes of a terminology."""

from __future__ import annotations

import re
from collections.abc import Mapping

from deepbio.errors import CardError
from deepbio.library.fields import Fields

__all__ = ["CODES", "check_answers", "check_classes"]

CODES = ("category", "type", "modifier")
_KNOWN = ("name", "color", *CODES)
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


def check_classes(ours: Fields) -> None:
    """Check ``classes``: for each label a name, or a mapping with what else is known.

    Parameters
    ----------
    ours : Fields
        What stands under ``config: deepbio:``.

    Raises
    ------
    CardError
        If a label is no whole number, a name is missing, a colour is not as ``"#e6194b"``, or a code
        lacks ``scheme``, ``value`` or ``meaning``.

    Examples
    --------
    >>> check_classes(Fields({"classes": {1: "nucleus", 2: {"name": "gland", "color": "#e6194b"}}}))
    >>> check_classes(Fields({"classes": {1: {"name": "gland", "color": "red"}}}))
    Traceback (most recent call last):
        ...
    deepbio.errors.CardError: The card's classes.1.color is 'red'; expected a colour such as '#e6194b'.
    """
    for label, entry in ours.mapping("classes", {}).items():
        if not str(label).isdigit():
            raise CardError(
                f"The card's {ours.place('classes')} has the label {label!r}; expected whole numbers."
            )
        if isinstance(entry, Mapping):
            _check_class(Fields(entry, f"{ours.place('classes')}.{label}"))
        elif not isinstance(entry, str):
            raise CardError(
                f"The card's {ours.place('classes')}.{label} is {entry!r}; expected a name or a mapping."
            )


def _check_class(entry: Fields) -> None:
    unknown = sorted(map(str, set(entry.values) - set(_KNOWN)))
    if unknown:
        raise CardError(f"The card's {entry.where} has {unknown}; known are {', '.join(_KNOWN)}.")
    entry.text("name")
    if not _COLOR.fullmatch(entry.text("color", "#000000")):
        raise entry.fail("color", "a colour such as '#e6194b'")
    for name in CODES:
        if name in entry:
            code = entry.child(name)
            for part in ("scheme", "value", "meaning"):
                code.text(part)


def check_answers(ours: Fields, channels: int) -> None:
    """Check what the card of a classifier says: a class for each score, and its calibration.

    Parameters
    ----------
    ours : Fields
        What stands under ``config: deepbio:``.
    channels : int
        Scores that the network gives.

    Raises
    ------
    CardError
        If the classes are not numbered from 1 to the number of scores, or the temperature is not
        positive.

    Examples
    --------
    >>> check_answers(Fields({"task": "classify", "classes": {1: "cat", 2: "dog"}}), 2)
    >>> check_answers(Fields({"task": "classify", "classes": {1: "cat"}}), 2)
    Traceback (most recent call last):
        ...
    deepbio.errors.CardError: The card's classes have the numbers [1]; the network gives 2 scores, expected 1 to 2.
    """
    if ours.text("task", "") != "classify":
        return
    numbers = sorted(int(label) for label in ours.mapping("classes", {}))
    if numbers and numbers != list(range(1, channels + 1)):
        raise CardError(
            f"The card's {ours.place('classes')} have the numbers {numbers}; the network gives {channels} scores, "
            f"expected 1 to {channels}."
        )
    calibration = ours.child("calibration")
    if "temperature" in calibration and not calibration.number("temperature") > 0:
        raise calibration.fail("temperature", "a number above 0")
