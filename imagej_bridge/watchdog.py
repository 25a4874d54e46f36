"""Closes windows that nobody would close: dialogs of ImageJ while a macro runs unattended."""

from __future__ import annotations

import threading
from typing import Any

from imagej_bridge.java import java

__all__ = ["Watchdog"]

_LOOK = 0.2  # seconds between two looks
_LOOKS = 3  # at which a dialog is seen before it counts as waiting: some close by themselves


class Watchdog:
    """While open, closes modal dialogs and keeps what they said.

    Attributes
    ----------
    closed : list of str
        Title and text of each dialog that was closed.
    """

    def __init__(self) -> None:
        self.closed: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="DeepBio watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        seen: dict[int, int] = {}
        while not self._stop.wait(_LOOK):
            waiting = {int(java("java.lang.System").identityHashCode(one)): one for one in _dialogs()}
            seen = {key: seen.get(key, 0) + 1 for key in waiting}
            for key, dialog in waiting.items():
                if seen[key] >= _LOOKS:
                    self.closed.append(" ".join(_texts(dialog)))
                    dialog.dispose()


def _dialogs() -> list[Any]:
    kind = java("java.awt.Dialog")
    return [
        one
        for one in java("java.awt.Window").getWindows()
        if isinstance(one, kind) and one.isVisible() and one.isModal()
    ]


def _lines(component: Any) -> list[str]:
    """What a label of several lines says, which it does not tell."""
    kind = java("ij.gui.MultiLineLabel")
    if not isinstance(component, kind):
        return []
    field = kind.class_.getDeclaredField("lines")
    field.setAccessible(True)
    return [str(line).strip() for line in field.get(component) or () if line is not None]


def _texts(component: Any) -> list[str]:
    """Title and texts of a dialog, from top to bottom."""
    found = list(_lines(component))
    for getter in ("getTitle", "getText", "getLabel"):
        read = getattr(component, getter, None)
        text = str(read() or "").strip() if read is not None else ""
        if text and text not in ("OK", "Cancel", "Help"):
            found.append(" ".join(text.split()))
            break
    if isinstance(component, java("java.awt.Container")):
        for child in component.getComponents():
            found += _texts(child)
    return found
