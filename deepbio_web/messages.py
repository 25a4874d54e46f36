"""What the page tells the user, until it is closed."""

from __future__ import annotations

from typing import Any

__all__ = ["Messages"]


class Messages:
    """The list of messages.

    Parameters
    ----------
    state : trame State
        Gets ``messages``.
    """

    def __init__(self, state: Any) -> None:
        self._state = state
        self._count = 0

    def say(self, level: str, text: str, hint: str = "") -> None:
        """Add one: "error", "warning" or "info"."""
        self._count += 1
        message = {"number": self._count, "level": level, "text": text, "hint": hint}
        self._state.messages = [*self._state.messages, message]

    def fail(self, error: Any) -> None:
        """Add what went wrong."""
        if error is None:  # what was asked for was cancelled, because the page ends
            return
        self.say("error", getattr(error, "message", "") or str(error), getattr(error, "hint", ""))

    def dismiss(self, number: int) -> None:
        """Take one away."""
        self._state.messages = [one for one in self._state.messages if one["number"] != number]

    def clear(self) -> None:
        """Take all away."""
        self._state.messages = []
