"""``deepbio view``: registered with the core's command line through the entry point ``deepbio.commands``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
