"""Networks of torch that were converted for OpenVINO, kept in the cache: converting takes seconds in every process.

What is kept depends on the weights (by their hash), on the network's name, arguments and source, and on the versions of
the programs. Files are written under other names first; the one that is looked for comes last.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import deepbio.networks
from deepbio.engine.choices import cache_folder, choice_key
from deepbio.events import Listener, Notice, silent
from deepbio.library.card import Weights

__all__ = ["keep_converted", "recall_converted"]

_MOST_BYTES = 4 * 2**30  # of all that are kept; the oldest go first
_PROGRAMS = ("openvino", "torch")


def recall_converted(weights: Weights, openvino: Any, listener: Listener = silent) -> Any:
    """The converted network, or None if none was kept; one that cannot be read is reported and removed.

    Parameters
    ----------
    weights : Weights
        What it was made of.
    openvino : module
    listener : Listener
        Hears the report.

    Returns
    -------
    openvino.Model or None
    """
    path = _path(weights)
    if path is None or not path.is_file():
        return None
    try:
        model = openvino.Core().read_model(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        listener(Notice(f"The kept network '{path}' cannot be read and is made anew: {reason}", "warning"))
        _remove(path)
        return None
    os.utime(path)  # used again: the last to go
    return model


def keep_converted(model: Any, weights: Weights, openvino: Any, listener: Listener = silent) -> None:
    """Keep a converted network; a folder that cannot be written to is reported and costs only time.

    Parameters
    ----------
    model : openvino.Model
        Written as it is, in the precision of its weights.
    weights, openvino, listener
        As for :func:`recall_converted`.
    """
    path = _path(weights)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=".writing-"))
        try:
            openvino.save_model(model, str(folder / path.name), compress_to_fp16=False)
            for suffix in (".bin", ".xml"):
                (folder / path.name).with_suffix(suffix).replace(path.with_suffix(suffix))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        _forget_oldest(path.parent)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        listener(Notice(f"The converted network cannot be kept in '{path.parent}': {reason}", "warning"))


def _path(weights: Weights) -> Path | None:
    """Where a network is kept; None for weights whose hash nobody knows."""
    if not weights.sha256:
        return None
    facts = {
        "weights": weights.sha256.lower(),
        "format": weights.format,
        "network": weights.network,
        "arguments": dict(weights.arguments),
        "source": _source(),
        "versions": {name: metadata.version(name) for name in _PROGRAMS},
    }
    return cache_folder() / "openvino" / f"{choice_key(facts)}.xml"


@functools.cache
def _source() -> str:
    """Hash of the source of all networks: a change of theirs may change what is computed."""
    found = hashlib.sha256()
    for file in sorted(Path(deepbio.networks.__file__).parent.glob("*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()


def _forget_oldest(folder: Path) -> None:
    """Remove networks, those not used for longest first, until what is left is not too much."""
    kept = sorted(folder.glob("*.xml"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in kept:
        total += sum(one.stat().st_size for one in (path, path.with_suffix(".bin")) if one.is_file())
        if total > _MOST_BYTES and path != kept[0]:
            _remove(path)


def _remove(path: Path) -> None:
    for suffix in (".xml", ".bin"):
        path.with_suffix(suffix).unlink(missing_ok=True)
