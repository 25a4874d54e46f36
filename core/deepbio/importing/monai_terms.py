"""Arguments of MONAI's components, taken one by one so that none is overlooked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from deepbio.errors import CardError
from deepbio.importing.monai_config import Component

__all__ = ["Terms", "flat"]

_TECHNICAL = ("allow_missing_keys", "device", "track_meta", "lazy", "meta_keys", "meta_key_postfix")


class Terms:
    """Arguments of a component; what nobody asked for in the end is refused.

    Parameters
    ----------
    component : Component
        Whose arguments they are; they must be literals unless they are `ignored`.
    ignored : sequence of str
        Names of arguments that change nothing here.
    """

    def __init__(self, component: Component, ignored: Sequence[str] = ()) -> None:
        self.component = component
        skipped = {*ignored, *_TECHNICAL} - {"lazy"}
        self._left = {name: component.argument(name) for name in component.names if name not in skipped}
        if self._left.pop("lazy", None) not in (None, False):
            raise self.refused("lazy", True, "false")

    def take(self, name: str, default: Any = None) -> Any:
        """An argument's value."""
        return self._left.pop(name, default)

    def number(self, name: str, default: float | None = None) -> float:
        """An argument that is a finite number."""
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.refused(name, value, "a number")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """An argument that is true or false; for one key it may be a list of one."""
        value = self.take(name, default)
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.refused(name, value, "true or false")
        return value

    def only(self, name: str, *allowed: Any) -> None:
        """An argument that may only have these values, the first of which is its default."""
        value = self.take(name, allowed[0])
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if value not in allowed:
            raise self.refused(name, value, " or ".join(map(repr, allowed)))

    def keys(self) -> list[str]:
        """The names of the images that are meant."""
        value = self.take("keys")
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise self.refused("keys", value, "the name of an image")
        return names

    def done(self) -> None:
        """Refuse what is left.

        Raises
        ------
        CardError
            If an argument is not known.
        """
        for name, value in self._left.items():
            raise CardError(
                f"{self.component.place} has the argument {name} {value!r}, which is not understood here."
            )

    def refused(self, name: str, value: Any, expected: str) -> CardError:
        """The error for an argument with a wrong value."""
        return CardError(f"{self.component.place} has {name} {value!r}; here it can be {expected}.")


def flat(component: Component) -> list[Component]:
    """The transforms of a Compose, and of those in it, without those that are disabled.

    Raises
    ------
    CardError
        If it is no Compose.
    """
    if component.name != "Compose":
        raise CardError(f"The bundle's {component.where} is {component.name!r}; expected Compose.")
    found: list[Component] = []
    for child in component.children("transforms"):
        if not child.disabled:
            found += flat(child) if child.name == "Compose" else [child]
    return found
