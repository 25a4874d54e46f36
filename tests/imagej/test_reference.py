"""docs/fiji.md has all commands and options, as the code has them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from imagej_bridge.commands import COMMANDS
from imagej_bridge.dialog import HIDDEN
from imagej_bridge.reference import tables

PAGE = Path(__file__).parents[2] / "docs" / "fiji.md"
BEGIN, END = "<!-- options: begin -->\n", "\n<!-- options: end -->"


def test_the_page_has_the_tables_that_are_generated() -> None:
    """Write them anew with: python -m tests.imagej.test_reference"""
    text = PAGE.read_text(encoding="utf-8")
    assert text.split(BEGIN)[1].split(END)[0] == tables()


def test_the_tables_have_every_command_and_option() -> None:
    text = tables()
    for command in COMMANDS.values():
        assert f"| `{command.name}` |" in text
        for one in fields(command.options):
            if one.name not in HIDDEN.get(command.options.__name__, ()):
                assert f"| `{one.name}` |" in text


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    PAGE.write_text(head + BEGIN + tables() + END + rest.partition(END.lstrip("\n"))[2], encoding="utf-8")
