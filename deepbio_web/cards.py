"""Model cards and options, as the worker lists them, in the words of the form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["as_choice", "as_options", "changed"]

_HIDDEN = ("output", "count", "classes", "seed")  # the page shows what it shows, and makes no images
_NOT_FLAT = ("surface",)  # always on: the 3D view needs it
_OF_STACKS = ("per_slice", "link_slices")


def as_choice(card: Mapping[str, Any], reason: str, doubt: str = "") -> dict[str, Any]:
    """One line of the model picker, and what is shown of a model below it.

    Parameters
    ----------
    card : mapping
        As the worker's ``models`` lists it.
    reason : str
        Why the model does not take the image; "" when it does.
    doubt : str
        Why its result may be worthless although it takes the image; "" when nothing speaks against it.
    """
    title = card.get("title") or card["name"]
    facts = [["Name", f"{card['name']} {card.get('version', '')}".strip()]]
    facts += [
        [label, text]
        for label, text in (("Scores", _scores(card)), ("Licence", card.get("license", "")))
        if text
    ]
    return {
        "name": card["name"],
        "title": title,
        "verb": card.get("verb") or "Segment",
        "reason": reason,
        "doubt": doubt,
        "text": _first_sentence(card.get("description", "")),
        "facts": facts,
        "props": {"subtitle": reason or card["name"], "disabled": bool(reason), "title": title},
    }


def as_options(options: Iterable[Mapping[str, Any]], *, flat: bool) -> list[dict[str, Any]]:
    """Options of the worker and the scene as fields of the form."""
    fields = []
    for option in options:
        name = option["name"]
        if name in _HIDDEN or name in _NOT_FLAT or (flat and name in _OF_STACKS):
            continue
        default = _text(option.get("default"))
        fields.append(
            {
                "name": name,
                "label": name.replace("_", " "),
                "help": option.get("help", ""),
                "kind": option["kind"],
                "choices": list(option.get("choices") or ()),
                "default": default,
                "value": default if option["kind"] in ("bool", "choice") else "",
            }
        )
    return fields


def changed(fields: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Options that differ from their defaults, as texts."""
    return {one["name"]: one["value"] for one in fields if one["value"] not in ("", one["default"])}


def _text(value: Any) -> str:
    if value is None:
        return "auto"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def _first_sentence(text: str) -> str:
    return text.strip().split("\n\n")[0]


def _scores(card: Mapping[str, Any]) -> str:
    """The card's first held-out score, for people."""
    score = card.get("score") or next(iter(card.get("scores") or ()), None)
    if not score:
        return ""
    cases = f" on {score['n']} held-out images" if score.get("n") else ""
    return f"{score['metric']}: {score['value']:.3g}{cases}"
