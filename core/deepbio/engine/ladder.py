"""What happens when memory runs out: smaller tiles, then half precision, then the CPU."""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from deepbio.engine.device import Device, cpu_device
from deepbio.errors import DeepBioError, OutOfMemory
from deepbio.events import Listener, Notice, silent

__all__ = ["Ladder", "Rung", "is_out_of_memory", "make_rungs", "with_ladder"]

T = TypeVar("T")

# What torch, OpenVINO, ONNX Runtime and the C++ library write when an allocation fails.
_SIGNS = (
    "out of memory",
    "not enough memory",
    "failed to allocate",
    "can't allocate",
    "cannot allocate",
    "could not allocate",
    "insufficient memory",
    "bad_alloc",
    "bad allocation",
    "alloc_failed",
    "out_of_host_memory",
    "out_of_device_memory",
    "out_of_resources",
)


@dataclass(frozen=True)
class Rung:
    """One way to run: where, in what precision, with which tiles.

    Attributes
    ----------
    device : Device
        Where.
    precision : str
        ``"auto"``, ``"fp32"``, ``"bf16"`` or ``"fp16"``.
    tile : tuple of int
        Largest tile.
    batch : int
        Most tiles in a batch.
    """

    device: Device
    precision: str
    tile: tuple[int, ...]
    batch: int = 1

    def __str__(self) -> str:
        size = " x ".join(map(str, self.tile))
        return f"tiles of {size}, {self.batch} at once, {self.precision} on {self.device.name}"


def make_rungs(
    first: Rung, *, minimum: Sequence[int] | None = None, fixed: Sequence[int | None] | None = None
) -> tuple[Rung, ...]:
    """The ladder that starts at `first`.

    Parameters
    ----------
    first : Rung
        What the plan says.
    minimum : sequence of int, optional
        Tiles are not made smaller than this; by default 64 pixels in 2D and 32 in 3D.
    fixed : sequence of (int or None), optional
        Axes along which the network takes one size only.

    Returns
    -------
    tuple of Rung
        One tile at a time, then tiles of half the edge down to the minimum; on an accelerator half
        precision with the smallest tile, then the CPU with the tile planned and smaller ones.

    Examples
    --------
    >>> gpu = Device("cuda:0", "a card", 8 << 30)
    >>> for rung in make_rungs(Rung(gpu, "fp32", (256, 256), 4), minimum=(128, 128)):
    ...     print(rung)
    tiles of 256 x 256, 4 at once, fp32 on cuda:0
    tiles of 256 x 256, 1 at once, fp32 on cuda:0
    tiles of 128 x 128, 1 at once, fp32 on cuda:0
    tiles of 128 x 128, 1 at once, fp16 on cuda:0
    tiles of 256 x 256, 1 at once, auto on cpu
    tiles of 128 x 128, 1 at once, auto on cpu
    """
    floor = tuple(minimum or (64 if len(first.tile) == 2 else 32,) * len(first.tile))
    only = tuple(fixed or (None,) * len(first.tile))
    single = replace(first, batch=1)
    rungs = [first] if first.batch == 1 else [first, single]
    rungs += _halved(single, floor, only)
    if first.device.kind != "cpu":
        if first.precision in ("fp32", "auto"):
            rungs.append(replace(rungs[-1], precision="fp16"))
        on_cpu = replace(single, device=cpu_device("the accelerator's memory ran out"), precision="auto")
        rungs += [on_cpu, *_halved(on_cpu, floor, only)]
    return tuple(rungs)


def _halved(rung: Rung, floor: tuple[int, ...], fixed: tuple[int | None, ...]) -> list[Rung]:
    """The same rung with tiles of half the edge, again and again, down to `floor`."""
    rungs: list[Rung] = []
    tile = rung.tile
    while True:
        smaller = tuple(
            t if only else min(t, max(low, t // 2)) for t, low, only in zip(tile, floor, fixed, strict=True)
        )
        if smaller == tile:
            return rungs
        tile = smaller
        rungs.append(replace(rung, tile=tile))


def with_ladder(attempt: Callable[[Rung], T], rungs: Iterable[Rung], listener: Listener = silent) -> T:
    """Call `attempt` with one rung after the other until the memory suffices.

    Parameters
    ----------
    attempt : callable
        Runs with a rung and returns the result; it starts anew each time.
    rungs : iterable of Rung
        The ladder, from :func:`make_rungs`.
    listener : Listener
        Gets a warning (Notice) at each step down.

    Returns
    -------
    object
        What `attempt` returned.

    Raises
    ------
    OutOfMemory
        If memory ran out on the last rung, too.
    """
    ladder = list(rungs)
    for rung, following in itertools.pairwise([*ladder, None]):
        assert rung is not None  # noqa: S101 - for the type checker: only the last one is
        try:
            return attempt(rung)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        # Outside of the handler, so that the traceback no longer holds the failed attempt's arrays.
        _collect()
        if following is None:
            raise OutOfMemory(
                f"Memory ran out even with {rung}: {reason}",
                "Close other programs, use a smaller image or a machine with more memory.",
            )
        listener(Notice(f"Memory ran out with {rung}; trying {following}.", "warning"))
    raise ValueError("the ladder has no rungs")


class Ladder:
    """Rungs for one frame after the other: what did not suffice once is not tried again.

    Parameters
    ----------
    rungs : iterable of Rung
        From :func:`make_rungs`.
    listener : Listener
        As in :func:`with_ladder`.

    Examples
    --------
    >>> ladder = Ladder(make_rungs(Rung(cpu_device(), "fp32", (256, 256))))
    >>> def attempt(rung):
    ...     if rung.tile[0] > 128:
    ...         raise MemoryError
    ...     return rung.tile
    >>> ladder.climb(attempt), ladder.climb(lambda rung: rung.tile)
    ((128, 128), (128, 128))
    """

    def __init__(self, rungs: Iterable[Rung], listener: Listener = silent) -> None:
        self._rungs, self._listener = list(rungs), listener

    @property
    def first(self) -> Rung:
        """Where the next climb begins: after one, the rung that worked."""
        return self._rungs[0]

    def climb(self, attempt: Callable[[Rung], T]) -> T:
        """Call :func:`with_ladder` from the rung that worked last."""
        tried = 0

        def counted(rung: Rung) -> T:
            nonlocal tried
            tried += 1
            return attempt(rung)

        found = with_ladder(counted, self._rungs, self._listener)
        self._rungs = self._rungs[tried - 1 :]
        return found


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory could not be had.

    Examples
    --------
    >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    True
    >>> is_out_of_memory(ValueError("out of range"))
    False
    """
    if isinstance(error, DeepBioError):
        return False  # already explained; OutOfMemory comes from an inner ladder
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in _SIGNS)


def _collect() -> None:
    """Free what the failed attempt left, in main memory and in torch's reserves."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None:
        return
    for kind in ("cuda", "xpu", "mps"):
        module = getattr(torch, kind, None)
        if module is not None and module.is_available():
            module.empty_cache()
