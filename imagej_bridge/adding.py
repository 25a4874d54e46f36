"""The command that adds a model to the user's library, so that nobody has to leave Fiji for it."""

from __future__ import annotations

from typing import Any

from deepbio import add_model
from deepbio.errors import OptionError
from imagej_bridge.exchange import Desk
from imagej_bridge.options import AddOptions

__all__ = ["add"]


def add(desk: Desk, command: Any, options: AddOptions, given: frozenset[str]) -> None:
    """Add a model of any kind that is known, and say under which name."""
    if not options.path:
        raise OptionError("The option 'path' is not given.", "Write path=[file or folder of the model].")
    card = add_model(options.path, name=options.name or None, replace=options.replace)
    desk.models.release()  # one of this name may have been replaced
    desk.tell(f"DeepBio added '{card.name}' ({card.title}): model={card.name}")
