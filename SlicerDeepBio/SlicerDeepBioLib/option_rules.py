"""Which options a form shows for a model and an input; no Qt here: the page in the browser asks the same."""

from __future__ import annotations

__all__ = ["COMPUTING", "UNSET", "is_for", "relevant"]

COMPUTING = ("precision", "runtime", "tile", "overlap", "batch")  # how, not what: last in a form

# What stands in the field of an option that is not set, where the default is an empty text.
UNSET = {"explain": "none", "uncertainty": "none", "layer": "none", "objects": "none", "target": "auto"}


def is_for(option, card):
    """Whether an option is for the task of a model.

    Parameters
    ----------
    option : dict
        As the worker's ``hello`` lists it.
    card : dict or None
        The model's card.
    """
    tasks = option.get("tasks")
    return not tasks or card is None or _task(card) in tasks


def relevant(name, card, image):
    """Whether an option can change anything for this model and input.

    Parameters
    ----------
    name : str
        The option.
    card : dict or None
        The model's card.
    image : dict or None
        What is known of the input: ``slices``, ``channels`` and ``frames``, numbers.
    """
    if card is None:
        return name in COMPUTING
    known = image or {}
    slices, channels, frames = (known.get(key, 1) for key in ("slices", "channels", "frames"))
    task = _task(card)
    objects = not card.get("classes") and task == "segment"
    method = (card.get("decode") or {}).get("method")
    if name in ("per_slice", "link_slices"):
        flat = card.get("ndim") == 2 and slices > 1 and task != "generate"
        return flat and (objects if name == "link_slices" else not card.get("per_slice"))
    if name in ("mirror", "diameter"):
        return bool(card.get("mirror" if name == "mirror" else "sizes"))
    if name in ("tile", "overlap", "batch"):
        return card.get("takes") != ["nothing"]
    rules = {
        "channel": channels > 1,
        "track": objects and frames > 1,
        "min_size": objects,
        "as": objects,
        "threshold": objects or (card.get("decode") or {}).get("method") == "threshold",
        "flow_threshold": method == "flows",
        "do_3d": method in ("flows", "votes", "watershed") and card.get("ndim") == 2 and slices > 1,
        "surface": slices > 1 and task in ("segment", "sequence"),
        "layer": task != "generate",
        "classes": bool(card.get("classes")),
        "count": slices == 1,  # variants are made of one plane, or of none
    }
    return bool(rules.get(name, True))


def _task(card):
    return card.get("task") or "segment"
