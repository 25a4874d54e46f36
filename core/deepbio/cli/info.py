"""``deepbio info``: what a file says about its image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from deepbio.cli.common import JsonOption, command, out, print_json
from deepbio.cli.groups import SeriesOption

if TYPE_CHECKING:
    from deepbio.io import Series


@command
def info(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An image file or a DICOM folder.", show_default=False)
    ],
    series: SeriesOption = "",
    json: JsonOption = False,
) -> None:
    """Say what a file holds: axes, size, pixel type, spacing, channels, frames.

    Of a folder with several DICOM series it lists them.
    """
    from deepbio.io import info as read_info
    from deepbio.io import is_dicom_folder, list_series

    listed = list_series(file) if not series and is_dicom_folder(file) else ()
    facts = _listing(file, listed) if len(listed) > 1 else read_info(file, series=series)
    if json:
        print_json(facts)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        for number, line in enumerate(_lines(value)):
            table.add_row(Text("" if number else name, style="bold"), Text(line))
    out.print(table, soft_wrap=False)


def _listing(folder: Path, listed: Sequence[Series]) -> dict[str, Any]:
    """The series of a DICOM folder; nothing in it can name a patient."""
    return {
        "file": str(folder),
        "format": "DICOM",
        "series": [
            {
                "number": one.number,
                "modality": one.modality,
                "kind": one.kind,
                "image": one.is_image,
                "files": len(one.files),
                "rows": one.rows,
                "columns": one.columns,
                "uid": one.uid,
            }
            for one in listed
        ],
    }


def _lines(value: object) -> list[str]:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_one_line(one) for one in value]
    return [_shown(value)]


def _one_line(series: dict[str, Any]) -> str:
    size = f", {series['rows']} x {series['columns']}" if series["image"] else ""
    files = f"{series['files']} file{'s' * (series['files'] != 1)}"
    return f"#{series['number']}  {series['kind']}{size}, {files}, UID {series['uid'] or 'missing'}"


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
