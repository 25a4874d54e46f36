"""The tables of commands and options in docs/fiji.md, made from the commands themselves.

Examples
--------
>>> print(tables().splitlines()[0])
| command | what it does | its options |
"""

from __future__ import annotations

from dataclasses import Field
from typing import Any

from imagej_bridge.commands import COMMANDS
from imagej_bridge.dialog import default_text, kind_of, order

__all__ = ["tables"]

_TITLES = {
    "ImageOptions": "Options of the commands that run a model on an image",
    "FeaturesOptions": "Options of DeepBio Features",
    "BatchOptions": "Options of DeepBio Batch",
    "DeepImageJOptions": "Options of DeepBio DeepImageJ Run",
    "AddOptions": "Options of DeepBio Add Model",
    "TableOptions": "Options of DeepBio Models and DeepBio Doctor",
}


def tables() -> str:
    """All commands, and after them the options of each kind, as Markdown.

    Returns
    -------
    str
        Without a newline at its end.
    """
    lines = ["| command | what it does | its options |", "|---|---|---|"]
    for command in COMMANDS.values():
        title = _TITLES.get(command.options.__name__)
        link = f"[table](#{title.lower().replace(' ', '-')})" if title else "none"
        lines.append(f"| `{command.name}` | {_cell(command.help)} | {link} |")
    for kind, title in _TITLES.items():
        command = next(one for one in COMMANDS.values() if one.options.__name__ == kind)
        lines += ["", f"### {title}", "", "| option | values | default | meaning |", "|---|---|---|---|"]
        lines += [_row(one) for one in order(command)]
    return "\n".join(lines)


def _row(one: Field[Any]) -> str:
    default = default_text(one)
    default = "none" if not default else {"False": "off", "True": "on"}.get(default, f"`{default}`")
    return f"| `{one.name}` | {_values(one)} | {default} | {_cell(one.metadata['help'])} |"


def _values(one: Field[Any]) -> str:
    """What may stand behind the equals sign."""
    rules, kind = one.metadata, str(one.type)
    if "choices" in rules:
        choices = ", ".join(f"`{choice}`" for choice in rules["choices"])
        return f"some of {choices}" if kind.startswith("tuple") else choices
    if kind_of(one) == "bool":
        return "the bare word, `true`, `false`"
    if "low" in rules:
        number = "whole number" if kind.startswith("int") else "number"
        return f"{number} from {_number(rules['low'])} to {_number(rules['high'])}"
    return "text"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
