"""What the segments of a result are called, which colours they have and which codes they stand for."""

from __future__ import annotations

import colorsys
import re
from collections import namedtuple

__all__ = ["CONTEXT", "REGIONS", "Label", "class_labels", "object_labels", "object_name", "terminology_entry"]

CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
REGIONS = "Anatomic codes - DICOM master list"
_GOLDEN = 0.61803398875  # each hue far from those before it

Label = namedtuple("Label", "value id name color terminology")
Label.__doc__ = (
    """A label of a result: its number, the segment's id and name, RGB in 0 to 1, terminology or ""."""
)


def class_labels(classes):
    """Labels of a model's classes, in the order of their numbers.

    Parameters
    ----------
    classes : dict
        As on a card: ``{"1": {"name", "color", "category", "type", "modifier"}}``; a name alone will do.

    Returns
    -------
    list of Label
    """
    labels = []
    for value, entry in sorted(classes.items(), key=lambda item: int(item[0])):
        entry = entry if isinstance(entry, dict) else {"name": entry}
        name = str(entry.get("name") or f"class {value}")
        color = _rgb(entry.get("color")) or _distinct(int(value))
        labels.append(Label(int(value), _id(name, value), name, color, terminology_entry(entry)))
    return labels


def object_labels(values, name, entry=None):
    """Labels of objects, ``"nucleus 1"`` and so on; neighbours in number differ in colour.

    Parameters
    ----------
    values : iterable of int
        Numbers of the objects.
    name : str
        What one of them is.
    entry : dict, optional
        Codes of all of them, as on a card.
    """
    codes = terminology_entry(entry or {})
    return [Label(int(v), _id(name, v), f"{name} {v}", _distinct(int(v)), codes) for v in values]


def object_name(card):
    """What one object of a model is called: its only class, else the model's name in the singular.

    Examples
    --------
    >>> object_name({"name": "nuclei", "classes": {}}), object_name({"name": "cells"})
    ('nucleus', 'cell')
    >>> object_name({"name": "stardist-heavy", "classes": {"1": {"name": "gland"}}})
    'gland'
    >>> object_name({"name": "stardist-heavy"})
    'object'
    """
    classes = list((card.get("classes") or {}).values())
    if len(classes) == 1:
        return str(classes[0]["name"] if isinstance(classes[0], dict) else classes[0])
    word = str(card.get("name", ""))
    if word.isalpha() and word.endswith("i"):
        return word[:-1] + "us"
    if word.isalpha() and word.endswith("s") and not word.endswith("us"):
        return word[:-1]
    return "object"


def terminology_entry(entry):
    """The text by which Slicer stores a segment's codes; empty where the card names no type.

    Parameters
    ----------
    entry : dict
        With ``category``, ``type`` and perhaps ``modifier``, each ``{"scheme", "value", "meaning"}``.

    Examples
    --------
    >>> codes = {"category": {"scheme": "SCT", "value": "123037004", "meaning": "Anatomical Structure"},
    ...          "type": {"scheme": "SCT", "value": "87878005", "meaning": "Left ventricle"}}
    >>> terminology_entry(codes).split("~")[2]
    'SCT^87878005^Left ventricle'
    """
    if not entry.get("type"):
        return ""
    parts = [_code(entry.get(name)) for name in ("category", "type", "modifier")]
    return "~".join([CONTEXT, *parts, REGIONS, _code(entry.get("region")), _code(None)])


def _code(code):
    """Scheme, value and meaning of a code; the signs that part them cannot stand in a meaning."""
    if not code:
        return "^^"
    return "^".join(re.sub(r"[\^~]", " ", str(code.get(part, ""))) for part in ("scheme", "value", "meaning"))


def _id(name, value):
    return re.sub(r"\W+", "_", f"{name}_{value}")


def _rgb(text):
    """Red, green and blue in 0 to 1 of ``"#e6a23c"``, or None."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", str(text or "")):
        return None
    return tuple(int(text[at : at + 2], 16) / 255 for at in (1, 3, 5))


def _distinct(value):
    return colorsys.hsv_to_rgb(value * _GOLDEN % 1, 0.55 + 0.15 * (value % 4), 0.95 - 0.12 * (value % 3))
