"""Whether a plan that was given is for the data that it is given with."""

from __future__ import annotations

from collections.abc import Sequence

from deepbio.errors import InputMismatch

__all__ = ["apart", "check_fits", "names_apart"]


def apart(what: str, plan: object, data: object) -> str:
    """What differs, in words; empty where nothing does.

    Examples
    --------
    >>> apart("channels", 1, 3), apart("channels", 3, 3)
    ('channels: 1 in the plan, 3 in the data', '')
    """
    return "" if plan == data else f"{what}: {plan} in the plan, {data} in the data"


def names_apart(what: str, plan: Sequence[str], data: Sequence[str]) -> str:
    """The names that only one of the two has; their order does not count.

    Examples
    --------
    >>> names_apart("classes", ("disc", "cross"), ("cross", "square"))
    'classes: only the plan has disc, only the data has square'
    """
    sides = (("plan", plan, data), ("data", data, plan))
    told = [
        f"only the {side} has {', '.join(name for name in mine if name not in others)}"
        for side, mine, others in sides
        if set(mine) - set(others)
    ]
    return f"{what}: {', '.join(told)}" if told else ""


def check_fits(*differences: str) -> None:
    """Refuse a plan that is for other data, naming all that differs.

    Parameters
    ----------
    *differences : str
        From `apart` and `names_apart`; empty where nothing differs.

    Raises
    ------
    InputMismatch
        If anything does.
    """
    told = [one for one in differences if one]
    if told:
        raise InputMismatch(
            f"The plan does not fit the data ({'; '.join(told)}).",
            "Give the data that the plan was made for, or leave the plan out and have one made.",
        )
