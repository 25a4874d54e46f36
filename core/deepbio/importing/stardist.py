"""What StarDist leaves behind: its folder or its BioImage.IO export, found and read as data.

Format: https://github.com/stardist/stardist (``stardist/models``, ``bioimageio_utils.py``), and the files that versions
up to 0.9.2 write.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from deepbio.errors import CardError
from deepbio.library.card import CARD_NAMES
from deepbio.library.reader import parsed_yaml

__all__ = ["StarModel", "find_stardist", "is_part_of_stardist", "is_stardist", "read_stardist"]

_CONFIG, _THRESHOLDS = "config.json", "thresholds.json"
_WEIGHTS = (".h5", ".hdf5")
_SAVED = "saved_model.pb"
_MAX_BYTES = 4 * 1024**2  # of a text file
_HOW = "Name the folder that StarDist trained into (config.json, thresholds.json, weights_best.h5)."


@dataclass(frozen=True)
class StarModel:
    """A model of StarDist as its files say it.

    Attributes
    ----------
    folder : Path
        That holds the files.
    config : mapping
        Contents of ``config.json``, or of the same entries in an export's card.
    thresholds : mapping
        ``prob`` and ``nms``; empty where nobody says.
    weights : Path
        The HDF5 file: the best ones where there are several, as StarDist chooses.
    steps : sequence
        Pre-processing in an export's card; empty for a folder.
    card : mapping
        An export's card; empty for a folder.
    """

    folder: Path
    config: Mapping[str, Any]
    thresholds: Mapping[str, Any]
    weights: Path
    steps: Sequence[Any] = ()
    card: Mapping[str, Any] = field(default_factory=dict)


def is_stardist(path: Path) -> bool:
    """Whether a model of StarDist lies there: its configuration, alone or on a card, or a bare SavedModel."""
    if path.is_dir():
        return _kind(path) != ""
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return False
    with zipfile.ZipFile(path) as file:
        members = [
            one for one in file.infolist() if one.filename.count("/") < 2 and not one.filename.endswith("/")
        ]
        names = {PurePosixPath(one.filename).name for one in members}
        if _SAVED in names and not names & set(CARD_NAMES):
            return True
        try:
            return any(
                _is_config(one.filename, file.read(one))
                for one in members
                if PurePosixPath(one.filename).name in (_CONFIG, *CARD_NAMES) and one.file_size <= _MAX_BYTES
            )
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError):
            return False  # whoever unpacks it tells what is wrong


def _kind(folder: Path) -> str:
    """``"config"``, ``"saved"`` or nothing."""
    names = {file.name for depth in ("*", "*/*") for file in folder.glob(depth) if file.is_file()}
    if any(_is_config(file.name, _bytes(file)) for file in _candidates(folder)):
        return "config"
    return "saved" if _SAVED in names and not names & set(CARD_NAMES) else ""


def _candidates(folder: Path) -> list[Path]:
    """Files that may hold a configuration, those of StarDist before cards, in the folder and in those in it."""
    named = [folder.glob(depth + name) for name in (_CONFIG, *CARD_NAMES) for depth in ("", "*/")]
    return [file for files in named for file in sorted(files) if file.is_file()]


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError:
        return b""


def _is_config(name: str, content: bytes) -> bool:
    return bool(_config_of(PurePosixPath(name).name, content))


def _config_of(name: str, content: bytes) -> Mapping[str, Any]:
    """The configuration in ``config.json`` or a card; nothing if it is another program's."""
    if b"n_rays" not in content:  # before a long file is parsed
        return {}
    try:
        found = json.loads(content) if name == _CONFIG else _told(parsed_yaml(content)).get("config")
    except (ValueError, RecursionError, CardError):
        return {}
    return found if isinstance(found, Mapping) and "n_rays" in found else {}


def _told(card: Any) -> Mapping[str, Any]:
    """What a card says under ``config: stardist:``."""
    for key in ("config", "stardist"):
        card = card.get(key) if isinstance(card, Mapping) else None
    return card if isinstance(card, Mapping) else {}


def is_part_of_stardist(name: str) -> bool:
    """Whether the member of a zipped folder or export is one that is read, or told of.

    Examples
    --------
    >>> [is_part_of_stardist(name) for name in ("fluo/config.json", "fluo/weights_best.h5", "fluo/logs/events")]
    [True, True, False]
    """
    path = PurePosixPath(name)
    return path.name in (_CONFIG, _THRESHOLDS, _SAVED, *CARD_NAMES) or path.suffix in _WEIGHTS


def find_stardist(folder: Path, told: Path) -> Path:
    """The file with the configuration, in a folder or one in it.

    Parameters
    ----------
    folder : Path
        Where to look.
    told : Path
        What the user named, for messages.

    Raises
    ------
    CardError
        If there is none, or several.
    """
    found = {
        file.parent: file for file in reversed(_candidates(folder)) if _is_config(file.name, _bytes(file))
    }
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise CardError(
            f"'{told}' holds a TensorFlow SavedModel ({_SAVED}), which is a program and is not run; expected "
            "StarDist's config.json and its weights as HDF5 (weights_best.h5).",
            f"{_HOW} A zip of StarDist's export_bioimageio has them, too.",
        )
    names = ", ".join(str(one.relative_to(folder)) for one in sorted(found))
    raise CardError(f"'{told}' holds {len(found)} models of StarDist: {names}.", "Name the folder of one.")


def read_stardist(file: Path) -> StarModel:
    """Read a model whose configuration was found.

    Parameters
    ----------
    file : Path
        From :func:`find_stardist`.

    Raises
    ------
    CardError
        If the thresholds cannot be read or there are no weights as HDF5.
    """
    folder, content = file.parent, _bytes(file)
    config = _config_of(file.name, content)
    if file.name == _CONFIG:
        path = folder / _THRESHOLDS
        thresholds = _thresholds(path) if path.is_file() else {}
        return StarModel(folder, config, thresholds, _weights(folder, ""))
    card = parsed_yaml(content)
    told = _told(card)
    thresholds = told.get("thresholds") or {}
    if not isinstance(thresholds, Mapping):
        raise CardError(f"The card '{file}' has the thresholds {thresholds!r}; expected prob and nms.")
    weights = _weights(folder, PurePosixPath(str(told.get("weights") or "")).name)
    return StarModel(folder, config, thresholds, weights, _steps(card), card)


def _thresholds(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise CardError(f"'{path}' is not JSON: {error}", "Get the model again.") from error
    if not isinstance(found, Mapping):
        raise CardError(
            f"'{path}' holds {type(found).__name__}; expected prob and nms.", "Get the model again."
        )
    return found


def _weights(folder: Path, named: str) -> Path:
    files = sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS and path.is_file())
    chosen = [path for path in files if path.name == named] or [path for path in files if "best" in path.name]
    chosen = chosen or [path for path in files if "last" in path.name] or files
    if not chosen:
        others = ", ".join(sorted(path.name for path in folder.iterdir())[:8])
        raise CardError(
            f"'{folder.name}' holds the configuration of a StarDist model and no weights as HDF5 (weights_best.h5, "
            f"weights_last.h5 or stardist_weights.h5); it holds {others}.",
            f"{_HOW} A TensorFlow SavedModel alone cannot be taken.",
        )
    return chosen[0]


def _steps(card: Any) -> Sequence[Any]:
    """Pre-processing on the card of an export, as it stands there."""
    inputs = card.get("inputs")
    first = inputs[0] if isinstance(inputs, list) and inputs else None
    steps = first.get("preprocessing") if isinstance(first, Mapping) else None
    return steps if isinstance(steps, list) else ()
