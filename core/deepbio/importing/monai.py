"""A bundle of MONAI: where it lies, and what its files say.

Format: https://docs.monai.io/en/stable/mb_specification.html
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from deepbio.errors import CardError
from deepbio.importing.monai_config import Config
from deepbio.library.card import CARD_NAMES
from deepbio.library.reader import parsed_yaml

__all__ = ["Bundle", "find_bundle", "is_bundle", "is_part_of_bundle", "read_bundle"]

_CONFIGS = ("inference.json", "inference.yaml", "inference.yml")
_WEIGHTS = ("model.ts", "model.pt")
_MAX_BYTES = 4 * 1024**2
_HOW = (
    "A bundle is a folder with configs/metadata.json, configs/inference.json and models/model.pt or model.ts."
)


@dataclass(frozen=True)
class Bundle:
    """What was found of a bundle.

    Attributes
    ----------
    folder : Path
        That holds ``configs`` and ``models``.
    name : str
        Of that folder, as the user knows it.
    metadata : mapping
        Contents of ``metadata.json``.
    config : Config
        Contents of ``inference.json`` or ``inference.yaml``.
    weights : Path
        ``models/model.ts`` where there is one, else ``models/model.pt``.
    licence : str
        Text of the file ``LICENSE``; empty without one.
    """

    folder: Path
    name: str
    metadata: Mapping[str, Any]
    config: Config
    weights: Path
    licence: str = ""

    @property
    def scripted(self) -> bool:
        """Whether the weights bring their network, as TorchScript."""
        return self.weights.suffix == ".ts"


def is_bundle(path: Path) -> bool:
    """Whether the metadata of a bundle lie there, and no card of a package."""
    if path.is_dir():
        names = {
            file.relative_to(path).as_posix() for depth in ("", "*/") for file in path.glob(f"{depth}*/*")
        }
        top = {file.name for file in path.iterdir()}
    elif path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            names = set(file.namelist())
        top = {PurePosixPath(name).name for name in names}
    else:
        return False
    return any(_is_metadata(name) for name in names) and not top & set(CARD_NAMES)


def _is_metadata(name: str) -> bool:
    return bool(re.fullmatch(r"([^/]+/)?configs/metadata\.json", name))


def find_bundle(folder: Path, told: Path) -> Path:
    """The one folder of a bundle: another, or right below it.

    Parameters
    ----------
    folder : Path
        Where to look.
    told : Path
        What the user named, for messages.

    Raises
    ------
    CardError
        If there are several.
    """
    found = sorted(
        file.parent.parent for depth in ("", "*/") for file in folder.glob(f"{depth}configs/metadata.json")
    )
    if len(found) != 1:
        names = ", ".join(one.name for one in found[:10]) or "none"
        raise CardError(f"'{told}' holds {len(found)} bundles of MONAI ({names}); expected one.", _HOW)
    return found[0]


def is_part_of_bundle(name: str) -> bool:
    """Whether the member of a zip is one that is read of a bundle.

    Examples
    --------
    >>> [is_part_of_bundle(name) for name in ("spleen/models/model.ts", "LICENSE", "scripts/net.py")]
    [True, True, False]
    """
    path = PurePosixPath(name)
    config = path.parent.name == "configs" and path.name in ("metadata.json", *_CONFIGS)
    weights = path.parent.name == "models" and path.name in _WEIGHTS
    return len(path.parts) <= 3 and (config or weights or path.name.upper() in ("LICENSE", "LICENSE.TXT"))


def read_bundle(folder: Path, name: str = "") -> Bundle:
    """Read a bundle's files, but for the weights.

    Parameters
    ----------
    folder : Path
        From :func:`find_bundle`.
    name : str
        What it is called; by default as the folder.

    Raises
    ------
    CardError
        If a file is missing or is not what MONAI writes.
    """
    metadata = _mapping(folder / "configs" / "metadata.json")
    config = next((one for one in _CONFIGS if (folder / "configs" / one).is_file()), None)
    if config is None:
        raise CardError(f"The bundle '{folder}' has no configs/{_CONFIGS[0]}.", _HOW)
    weights = next((one for one in _WEIGHTS if (folder / "models" / one).is_file()), None)
    if weights is None:
        raise CardError(
            f"The bundle '{folder}' has no models/{_WEIGHTS[1]} and no models/{_WEIGHTS[0]}.",
            "Download its weights, too: some bundles name them in large_files.yml.",
        )
    licence = next(
        (one for one in sorted(folder.glob("*")) if one.name.upper() in ("LICENSE", "LICENSE.TXT")), None
    )
    return Bundle(
        folder,
        name or folder.resolve().name,
        metadata,
        Config(_mapping(folder / "configs" / config)),
        folder / "models" / weights,
        licence.read_text(encoding="utf-8", errors="replace")[:20_000] if licence else "",
    )


def _mapping(path: Path) -> Mapping[str, Any]:
    """A file of JSON or YAML that holds a mapping."""
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise CardError(f"'{path}' has {size} bytes; expected at most {_MAX_BYTES}.")
        text = path.read_bytes()
        content = json.loads(text) if path.suffix == ".json" else parsed_yaml(text)
    except OSError as error:
        raise CardError(f"'{path}' cannot be read: {error.strerror or error}.", _HOW) from error
    except CardError as error:
        raise CardError(f"'{path}': {error.message}", error.hint) from error
    except (ValueError, RecursionError) as error:
        raise CardError(f"'{path}' is not JSON: {error}", "Get the bundle again.") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise CardError(
            f"'{path}' holds {type(content).__name__}; expected names and values.", "Get the bundle again."
        )
    return content
