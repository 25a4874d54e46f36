"""Remembers, in one small JSON file, which runtime was the fastest for a network on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from deepbio.events import Listener, Notice, silent

__all__ = ["cache_folder", "choice_key", "recall", "remember"]

_FILE = "runtimes.json"
_MOST = 200  # entries; the oldest go first


def cache_folder() -> Path:
    """Folder for what can be found again: ``$DEEPBIO_HOME/cache`` or the user's cache folder."""
    home = os.environ.get("DEEPBIO_HOME")
    return Path(home) / "cache" if home else Path(platformdirs.user_cache_dir("deepbio", appauthor=False))


def choice_key(facts: Mapping[str, Any]) -> str:
    """One name for all that a choice depends on.

    Examples
    --------
    >>> choice_key({"weights": "ab", "tile": [64, 64]}) == choice_key({"tile": [64, 64], "weights": "ab"})
    True
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def recall(key: str, listener: Listener = silent) -> dict[str, Any] | None:
    """What was remembered under this key, or None; a damaged file is reported and ignored."""
    entry = _read(listener).get(key)
    return dict(entry) if isinstance(entry, dict) else None


def remember(key: str, entry: Mapping[str, Any], listener: Listener = silent) -> None:
    """Remember an entry; a folder that cannot be written to is reported and costs only time."""
    entries = _read(silent)
    entries.pop(key, None)
    entries[key] = dict(entry)
    kept = dict(list(entries.items())[-_MOST:])
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=_FILE, suffix=".part")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(kept, file, indent=1)
            temporary.replace(folder / _FILE)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or error
        listener(
            Notice(f"The choice of the runtime cannot be remembered in '{folder}': {reason}.", "warning")
        )


def _read(listener: Listener) -> dict[str, Any]:
    path = cache_folder() / _FILE
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        listener(Notice(f"'{path}' cannot be read and is made anew: {error}.", "warning"))
        return {}
    if not isinstance(entries, dict):
        listener(Notice(f"'{path}' is not what it should be and is made anew.", "warning"))
        return {}
    return entries
