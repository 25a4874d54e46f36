"""Checks of what a card says about its classes: names, colours, codes of a terminology."""

from __future__ import annotations

import re
from collections.abc import Mapping

from deepbio.errors import CardError
from deepbio.library.fields import Fields

__all__ = ["CODES", "check_classes"]

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
