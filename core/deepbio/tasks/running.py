"""What every task needs to run a network: who opens it, along which axes it is mirrored, how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deepbio.engine.ladder import Rung
from deepbio.engine.runtimes import Runtime
from deepbio.errors import InputMismatch
from deepbio.events import Listener
from deepbio.library import ModelCard
from deepbio.options import RunOptions

__all__ = ["Opener", "Seconds", "mirror_axes"]

Opener = Callable[[Rung, Listener], Runtime]
"""Gives the network on the device and in the precision of a rung."""


def mirror_axes(card: ModelCard, options: RunOptions) -> tuple[int, ...]:
    """Spatial axes along which a run averages over mirror images; none where it is not asked to.

    Raises
    ------
    InputMismatch
        If it is asked to, and the card does not say along which.
    """
    if not options.mirror:
        return ()
    axes = tuple(card.deepbio.get("mirror", ()))
    if not axes:
        raise InputMismatch(
            f"The model '{card.name}' does not say along which axes its images may be mirrored.",
            "Leave 'mirror' off.",
        )
    return axes


class Seconds:
    """Wall time, by the name of what it went into; an attempt that failed counts too.

    Examples
    --------
    >>> seconds = Seconds()
    >>> with seconds.of("open"):
    ...     pass
    >>> seconds.add("predict", 1.5)
    >>> seconds.add("predict", 0.25)
    >>> list(seconds.told()), seconds["predict"], seconds["measure"]
    (['open', 'predict'], 1.75, 0.0)
    """

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}

    def __getitem__(self, name: str) -> float:
        return self._spent.get(name, 0.0)

    def add(self, name: str, seconds: float) -> None:
        """Add to a name, or with a negative number take away."""
        self._spent[name] = self[name] + seconds

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Add the time of a block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def told(self) -> dict[str, float]:
        """For records, to a tenth of a millisecond."""
        return {name: round(value, 4) for name, value in self._spent.items()}
