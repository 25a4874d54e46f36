"""Closes windows that nobody would close: dialogs of ImageJ while a macro runs unattended."""

from __future__ import annotations

import threading
from typing import Any

from imagej_bridge.java import java, read_private

__all__ = ["Watchdog"]

_LOOK = 0.2  # seconds between two looks
_LOOKS = 3  # at which a dialog is seen before it counts as waiting: some close by themselves


class Watchdog:
    """While open, closes modal dialogs and keeps what they said.

    Attributes
    ----------
    asked : list of str
        Title and text of each dialog that wanted an answer.
    told : list of str
        Title and text of each that only had something to say.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.told: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="DeepBio watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        from jpype import JVMNotRunning

        seen: dict[int, int] = {}
        while not self._stop.wait(_LOOK):
            try:
                seen = self._look(seen)
            except JVMNotRunning:  # the macro has ended Java, as those for servers do
                return

    def _look(self, seen: dict[int, int]) -> dict[int, int]:
        """Close what waits for long; how often each dialog that is open was seen, after how often it had been."""
        waiting = {int(java("java.lang.System").identityHashCode(one)): one for one in _dialogs()}
        seen = {key: seen.get(key, 0) + 1 for key in waiting}
        for key, dialog in waiting.items():
            if seen[key] == _LOOKS:
                kept = self.told if _only_tells(dialog) else self.asked
                kept.append(" ".join(_texts(dialog)))
                _close(dialog)
            elif seen[key] > _LOOKS:
                dialog.dispose()
        return seen


def _close(dialog: Any) -> None:
    """Close as a user does, which also wakes the macro that waits for it."""
    if isinstance(dialog, java("ij.gui.WaitForUserDialog")):
        dialog.close()
        return
    event = java("java.awt.event.WindowEvent")
    java("java.awt.Toolkit").getDefaultToolkit().getSystemEventQueue().postEvent(
        event(dialog, event.WINDOW_CLOSING)
    )


def _dialogs() -> list[Any]:
    """Dialogs that a macro waits for."""
    kind, waiting = java("java.awt.Dialog"), _waiting()
    return [
        one
        for one in java("java.awt.Window").getWindows()
        if isinstance(one, kind) and one.isVisible() and (one.isModal() or isinstance(one, waiting))
    ]


def _only_tells(dialog: Any) -> bool:
    """Whether a dialog is one of ``showMessage()``, ``exit(text)`` or an error: it has nothing but a text and OK."""
    return isinstance(dialog, java("ij.gui.MessageDialog"))


def _waiting() -> tuple[Any, ...]:
    """Dialogs that macros wait for although they are not modal."""
    return java("ij.gui.WaitForUserDialog"), java("ij.gui.NonBlockingGenericDialog")


def _texts(component: Any) -> list[str]:
    """Title and texts of a dialog, from top to bottom."""
    found = []
    if isinstance(component, java("ij.gui.MultiLineLabel")):
        return [line for line in _lines(component) if line]
    for getter in ("getTitle", "getText", "getLabel"):
        read = getattr(component, getter, None)
        value = read() if read is not None else None
        text = (
            str(value).strip() if isinstance(value, java("java.lang.String")) else ""
        )  # some give a component
        if text and text not in ("OK", "Cancel", "Help"):
            found.append(" ".join(text.split()))
            break
    if isinstance(component, java("java.awt.Container")):
        for child in component.getComponents():
            found += _texts(child)
    return found


def _lines(label: Any) -> list[str]:
    """The lines of a label of ImageJ, which has no method that tells them."""
    lines = read_private("ij.gui.MultiLineLabel", "lines", label)
    return [" ".join(str(line).split()) for line in lines or ()]
