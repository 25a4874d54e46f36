"""``deepbio doctor``: what this machine offers, what is missing, and how to get it."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby

import typer
from rich.table import Table
from rich.text import Text

from deepbio.cli.common import JsonOption, command, out, print_json

_MARKS = {
    "ok": ("ok", "green"),
    "missing": ("-", "dim"),
    "warning": ("!", "bold yellow"),
    "error": ("x", "bold red"),
}


@command
def doctor(json: JsonOption = False) -> None:
    """Say what this machine offers, what is missing and how to get it.

    Exits with 1 when something has to be mended.
    """
    from deepbio.doctor import examine

    findings = examine()
    broken = any(finding.status == "error" for finding in findings)
    if json:
        print_json({"ok": not broken, "findings": [asdict(finding) for finding in findings]})
        raise typer.Exit(int(broken))
    for topic, members in groupby(findings, key=lambda finding: finding.topic):
        table = Table(box=None, show_header=False, pad_edge=False)
        for finding in members:
            mark, style = _MARKS[finding.status]
            value = Text(finding.value)
            if finding.hint:
                value.append(f"\n{finding.hint}", style="cyan")
            table.add_row(Text(f"  {mark:>2}", style=style), Text(finding.name), value)
        out.print(Text(topic, style="bold"))
        out.print(table, soft_wrap=False)
    raise typer.Exit(int(broken))


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("doctor")(doctor)
