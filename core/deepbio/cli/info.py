"""``deepbio info``: what a file says about its image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from deepbio.cli.common import JsonOption, command, out, print_json


@command
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An image file.", show_default=False)],
    json: JsonOption = False,
) -> None:
    """Say what a file holds: axes, size, pixel type, spacing, channels, frames."""
    from deepbio.io import info as read_info

    facts = read_info(file)
    if json:
        print_json(facts)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        table.add_row(Text(name, style="bold"), Text(_shown(value)))
    out.print(table, soft_wrap=False)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return (
            " x ".join(map(_shown, value))
            if value and isinstance(value[0], int)
            else ", ".join(map(_shown, value))
        )
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(item)}" for key, item in value.items())
    return "-" if value is None else str(value)


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("info")(info)
