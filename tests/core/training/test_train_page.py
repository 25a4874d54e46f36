"""docs/train.md has the settings of every task, as the code has them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

pytest.importorskip("torch")

from deepbio.families import FAMILIES
from deepbio.training.families import trainer_of

PAGE = Path(__file__).parents[3] / "docs" / "train.md"
BEGIN, END = "<!-- settings: begin -->\n", "\n<!-- settings: end -->"


def tables() -> str:
    """A table of settings for each task that has some."""
    parts = []
    for name in FAMILIES:
        if name == "segment":
            continue
        rows = ["", f"**`--task {name}`**", "", "| setting | values | default | |", "|---|---|---|---|"]
        for one in fields(trainer_of(name).Wishes):
            rules = one.metadata
            values = ", ".join(f"`{value}`" for value in rules.get("choices", ())) or _kind(
                str(one.type), rules
            )
            default = "by the data" if one.default is None else f"`{_text(one.default)}`"
            rows.append(f"| `{one.name}` | {values} | {default} | {rules['help'].replace('|', '/')} |")
        parts.append("\n".join(rows))
    return "\n".join(parts).strip("\n")


def _kind(annotation: str, rules: dict) -> str:
    word = {"int": "a whole number", "float": "a number", "bool": "`true` or `false`"}.get(
        annotation.partition(" ")[0], "a text"
    )
    return f"{word}, {rules['low']} to {rules['high']}" if "low" in rules else word


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_the_page_has_the_settings_of_every_task() -> None:
    """Write them anew with: python -m tests.core.training.test_train_page"""
    text = PAGE.read_text(encoding="utf-8")
    assert text.split(BEGIN)[1].split(END)[0] == tables()


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    PAGE.write_text(head + BEGIN + tables() + END + rest.partition(END)[2], encoding="utf-8")
