"""The outputs of a command as files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepbio.errors import OutputError
from deepbio.image import Table
from deepbio.inputs import RECORD, split_suffix
from deepbio.io.units import parse_length
from deepbio.records import Record, check_lengths
from deepbio.saving import save_result

if TYPE_CHECKING:
    from deepbio.image import Image
    from deepbio.library import ModelCard
    from deepbio.tasks import Result

__all__ = ["first_columns", "in_unit", "make_folder", "provenance", "save_outputs", "stem_of"]

_SUFFIXES = {
    "labels": ".tif",
    "scores": ".tif",
    "image": ".tif",
    "explanation": ".tif",
    "uncertainty": ".tif",
    "features": ".csv",
    "rois": ".zip",
    "overlay": ".png",
    "table": ".csv",
}
_SUFFIX = re.compile(r"(\.[a-z]\w{0,4})+")  # of a file; titles have others behind a point
_POWERS = {"": 1, "^2": 2, "^3": 3}
_SYMBOLS = {"pixel": "px", "micrometer": "um", "millimeter": "mm"}
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


def save_outputs(
    folder: str,
    title: str,
    image: Image,
    result: Result,
    outputs: Sequence[str],
    card: ModelCard,
    *,
    names: Mapping[str, str] | None = None,
) -> dict[str, Path]:
    """Write what a command found into a folder: all of it, or none.

    For an image ``cells.tif`` the files are ``cells-labels.tif``, ``cells-rois.zip``, ``cells-table.csv``...,
    beside ``cells.deepbio.json`` with the record, as the command line writes them. `names` has other
    names for some, by kind, without their ending.

    Returns
    -------
    dict of str to Path
        By kind.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    target = make_folder(folder)
    stem = stem_of(title)
    # rois and overlays are made of labels, tables of labels without any object too
    there = {"labels": result.labels, "rois": result.labels, "overlay": result.labels, "table": result.table}
    there |= {
        kind: getattr(result, kind) for kind in ("scores", "image", "explanation", "uncertainty", "features")
    }
    stems = {kind: (names or {}).get(kind, f"{stem}-{kind}") for kind in outputs}
    paths = {
        kind: target / f"{stems[kind]}{_SUFFIXES[kind]}" for kind in outputs if there.get(kind) is not None
    }
    facts = {"source": title, "model": card.name, "run": dict(result.record)}
    record = Record(target / f"{stem}{RECORD}", facts)
    check_lengths((record.path, *paths.values()))
    save_result(result, image, paths, record=record, title=title, card=card)
    return paths


def make_folder(folder: str) -> Path:
    """Make a folder for results, where it is missing.

    Raises
    ------
    OutputError
        If that cannot be.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder '{target}' cannot be made: {error.strerror or error}.", "Choose another one."
        ) from error
    return target


def stem_of(title: str) -> str:
    """A title as the beginning of file names.

    Examples
    --------
    >>> stem_of("plate 1/A01: cells.ome.tif")
    'plate 1_A01_ cells'
    >>> stem_of("z = 1.5 mm")
    'z = 1.5 mm'
    """
    name = _UNSAFE.sub("_", title)
    stem, suffix = split_suffix(Path(name))
    return (stem if _SUFFIX.fullmatch(suffix) else name).strip(". ") or "image"


def provenance(result: Result, card: ModelCard, title: str) -> str:
    """How a result came about, as lines ``DeepBio.key: value`` that ImageJ shows and ``Property.get`` finds."""
    lines: dict[str, Any] = {
        "model": f"{card.name} {card.version}",
        "weights_sha256": card.weights_hash,
        "source": title,
        "license": card.license,
        "citation": "; ".join(card.citations),
    }
    told = ("model", "model_version", "weights_sha256", "seconds")
    lines |= {key: value for key, value in result.record.items() if key not in told}
    return "".join(
        f"DeepBio.{key}: {str(value).replace(chr(10), ' ')}\n" for key, value in lines.items() if value != ""
    )


def first_columns(table: Table, title: str) -> dict[str, str]:
    """What stands before the measurements in ImageJ's Results: the image that they are of, and their unit of length.

    Of volumes in milliliters, as those of hearts, that is the milliliter.
    """
    units = [unit for name, unit in table.units.items() if name not in ("time", "orientation")]
    return {"image": title, **({"unit": units[0].split("^")[0]} if units else {})}


def in_unit(table: Table, unit: str) -> Table:
    """A table of ours in the unit that the user's image has: nanometres, inches, as ImageJ measures."""
    unknown = ("pixel", 1.0)  # as the image was read: in a unit of its own, of which only the name is missing
    parsed = parse_length(unit)
    if parsed is not None and (parsed[0] == "pixel" or parsed[1] == 1):
        return table
    parsed = parsed or unknown
    symbol, factor = _SYMBOLS[parsed[0]], parsed[1]
    columns, units = dict(table.columns), dict(table.units)
    for name, own in table.units.items():
        if own.startswith(symbol) and own[len(symbol) :] in _POWERS:
            power = own[len(symbol) :]
            columns[name] = columns[name] / factor ** _POWERS[power]
            units[name] = unit + power
    return Table(columns, units)
