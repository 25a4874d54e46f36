"""Commands that run nothing and only tell: the models, this machine."""

from __future__ import annotations

from typing import Any

from deepbio.image import Table
from deepbio.library import list_models
from imagej_bridge.exchange import Desk
from imagej_bridge.options import TableOptions

__all__ = ["tell_doctor", "tell_models"]


def tell_models(desk: Desk, command: Any, options: TableOptions, given: frozenset[str]) -> None:
    """List the models."""
    rows = [card.summary() for card in list_models()]
    table = Table(
        {
            "name": [row["name"] for row in rows],
            "task": [row["task"] for row in rows],
            "input": [row["input"] for row in rows],
            "modality": [", ".join(row["modality"]) for row in rows],
            "version": [row["version"] for row in rows],
            "license": [row["license"] for row in rows],
            "title": [row["title"] for row in rows],
        }
    )
    _told(desk, "DeepBio Models", table, options)


def tell_doctor(desk: Desk, command: Any, options: TableOptions, given: frozenset[str]) -> None:
    """Say what this machine offers and what is missing."""
    from deepbio.doctor import examine

    found = examine()
    table = Table(
        {
            "topic": [one.topic for one in found],
            "name": [one.name for one in found],
            "status": [one.status for one in found],
            "value": [one.value for one in found],
            "hint": [one.hint for one in found],
        }
    )
    _told(desk, "DeepBio Doctor", table, options)


def _told(desk: Desk, title: str, table: Table, options: TableOptions) -> None:
    if options.output == "table":
        desk.show_table(title, table)
    else:
        for row in table.rows():
            desk.tell("  ".join(str(value) for value in row if str(value)))
