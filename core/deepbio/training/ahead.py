"""Batches that are prepared in a thread while the network computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prepared_ahead"]

_AHEAD = 3  # batches that wait at most

Batch = TypeVar("Batch")


def prepared_ahead(make: Callable[[int], Batch], first: int, last: int) -> Iterator[Batch]:
    """Yield the batches of steps `first` to `last` - 1, each made in a thread before it is needed.

    Parameters
    ----------
    make : callable
        ``make(step)`` gives the batch of a step; always the same, whatever came before.
    first, last : int
        The steps.

    Examples
    --------
    >>> list(prepared_ahead(lambda step: step**2, 3, 8))
    [9, 16, 25, 36, 49]
    """
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting: list[Future[Batch]] = []
        try:
            for step in range(first, last):
                while len(waiting) < _AHEAD and step + len(waiting) < last:
                    waiting.append(pool.submit(make, step + len(waiting)))
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()
