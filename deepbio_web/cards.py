"""Model cards and options, as the worker lists them, in the words of the form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from SlicerDeepBioLib.inputs import is_imageless
from SlicerDeepBioLib.option_rules import COMPUTING, UNSET, is_for, relevant

__all__ = ["as_choice", "as_choices", "as_options", "changed", "outputs_for", "run_options", "show_for"]

# The page chooses what it shows, and always makes surfaces of a volume.
_HIDDEN = ("output", "surface")


def as_choice(card: Mapping[str, Any], reason: str, doubt: str = "", *, flat: bool = False) -> dict[str, Any]:
    """One line of the model picker, and what is shown of a model below it.

    Parameters
    ----------
    card : mapping
        As the worker's ``models`` lists it.
    reason : str
        Why the model does not take the image; "" when it does.
    doubt : str
        Why its result may be worthless although it takes the image; "" when nothing speaks against it.
    flat : bool
        Whether the page shows planes, as the images are that a generator of classes makes.
    """
    title = card.get("title") or card["name"]
    if is_imageless(card):
        reason = (
            ""
            if flat
            else f"Makes images of its own, on the command line: deepbio run {card['name']} -o FOLDER"
        )
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


def as_choices(
    cards: Mapping[str, Mapping[str, Any]],
    reasons: Mapping[str, str],
    doubts: Mapping[str, str],
    *,
    flat: bool,
) -> list[dict[str, Any]]:
    """The lines of the model picker: what fits comes first, and made for volumes (or planes) as the image is.

    Parameters
    ----------
    cards : mapping of str to mapping
        By name.
    reasons, doubts : mapping of str to str
        By name, as of :func:`as_choice`.
    flat : bool
        Whether the image is a plane.
    """

    def rank(choice: Mapping[str, Any]) -> tuple[bool, bool, bool, bool]:
        card = cards[choice["name"]]
        other = (card.get("ndim") == 2) != flat
        return bool(choice["reason"]), is_imageless(card), bool(choice["doubt"]), other

    choices = [
        as_choice(card, reasons.get(name, ""), doubts.get(name, ""), flat=flat)
        for name, card in cards.items()
    ]
    return sorted(choices, key=rank)


def as_options(options: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Options of the worker and the scene as fields of the form, all of them; see :func:`show_for`."""
    fields = []
    ordered = sorted(options, key=lambda one: (one["name"] in COMPUTING) - (one["name"] == "device"))
    for option in ordered:  # the device first, what else is of computing last
        name = option["name"]
        if name in _HIDDEN:
            continue
        default = _text(option.get("default"))
        fields.append(
            {
                "name": name,
                "label": name.replace("_", " ").capitalize(),
                "help": option.get("help", ""),
                "kind": option["kind"],
                "choices": [
                    {"title": str(one) or UNSET.get(name, ""), "value": str(one)}
                    for one in option.get("choices") or ()
                ],
                "default": default,
                "hint": default or UNSET.get(name, ""),
                "tasks": list(option.get("tasks") or ()),
                "shown": False,
                "value": default if option["kind"] in ("bool", "choice") else "",
            }
        )
    return fields


def show_for(
    fields: Iterable[Mapping[str, Any]], card: Mapping[str, Any] | None, image: Mapping[str, int]
) -> list[dict[str, Any]]:
    """The fields, those shown that make sense for a model and an image.

    Parameters
    ----------
    fields : iterable of mapping
        As of :func:`as_options`.
    card : mapping or None
        Of the chosen model.
    image : mapping of str to int
        ``slices``, ``channels`` and ``frames``.
    """
    shown = [
        {
            **one,
            "shown": one["name"] == "device" or (is_for(one, card) and relevant(one["name"], card, image)),
        }
        for one in fields
    ]
    return [_of_made(one, card) if one["name"] in ("classes", "count") else one for one in shown]


def _of_made(field: dict[str, Any], card: Mapping[str, Any] | None) -> dict[str, Any]:
    """A field that only a generator of classes has: of each mask the page makes one image.

    The class is one of those on the card, so it is chosen, not typed.
    """
    if card is None or not is_imageless(card):
        return {**field, "shown": False}
    if field["name"] != "classes":
        return field
    names = [one["name"] for one in (card.get("classes") or {}).values()]
    choices = [{"title": "all, in turn", "value": ""}, *({"title": name, "value": name} for name in names)]
    value = field["value"] if field["value"] in names else ""
    return {**field, "label": "Class", "kind": "choice", "choices": choices, "value": value}


def changed(fields: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Options that can be seen and differ from their defaults, as texts."""
    return {
        one["name"]: one["value"]
        for one in fields
        if one["shown"] and one["value"] not in ("", one["default"])
    }


def run_options(
    fields: Iterable[Mapping[str, Any]], card: Mapping[str, Any], *, flat: bool
) -> dict[str, str]:
    """What a model is run with: what the user changed, and what the page needs to show a plane or a volume."""
    options = changed(fields)
    options |= outputs_for(card, options)
    if not flat:
        options["surface"] = "true"
    elif not card.get("classes"):  # many objects: a label map is drawn in no time, segments are not
        options.setdefault("as", "labels")
    return options


def outputs_for(card: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, str]:
    """What to ask a model for besides what is usual: all that the page can show."""
    if card.get("task") != "classify":
        return {}
    more = [",image"] if options.get("classify") == "tiles" else []
    more += [",labels"] if options.get("objects") else []
    return {"output": "table" + "".join(more)} if more else {}


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
    images = "image" if score.get("n") == 1 else "images"
    cases = f" on {score['n']} held-out {images}" if score.get("n") else ""
    return f"{score['metric']}: {score['value']:.3g}{cases}"
