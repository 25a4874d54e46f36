"""Arrays in shared memory, in the messages of Appose: what the worker reads and what it answers.

Needs only the standard library and numpy. A block of memory outlives the process that made it, so each
must be freed: by :meth:`SharedArray.close` what is sent, by :func:`fetch`, :meth:`Incoming.close` or
:func:`discard` what comes. What is forgotten is freed when Python lets it go or ends; what a process leaves
that is killed, by the worker (on Linux), to which our number in the names tells whose it is.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any, Callable

import numpy as np

__all__ = ["Incoming", "SharedArray", "discard", "fetch", "share", "sweep"]

PIECE = 32 * 2**20  # most bytes that one step copies
_PART = 2**20  # bytes between two looks at the clock
_SHORT = 0.03  # seconds after which a step ends, so that an event loop can breathe
_DTYPES = (
    *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
)
_LINUX = Path("/dev/shm")  # noqa: S108 - where Linux shows shared memory as files
_PATCHING = threading.Lock()
_numbers = itertools.count()


@contextmanager
def _untracked() -> Iterator[None]:
    """Keep multiprocessing's resource tracker out of what this thread does inside.

    The tracker is a process that Python starts, as ``sys.executable``, when the first block is made or
    opened. In 3D Slicer ``sys.executable`` is Slicer, so a second Slicer would start; and the tracker
    would free blocks that the worker still reads. Python 3.13 can leave it out (``track=False``), older
    ones register each block in any case: so, for a moment and for this thread only, registering does
    nothing. We free our blocks ourselves.
    """
    if os.name != "posix":  # there is no tracker on Windows
        yield
        return
    from multiprocessing import resource_tracker

    thread = threading.get_ident()

    def not_here(original: Callable[[str, str], None]) -> Callable[[str, str], None]:
        def tell(name: str, kind: str) -> None:
            if threading.get_ident() != thread:
                original(name, kind)

        return tell

    with _PATCHING:
        register, unregister = resource_tracker.register, resource_tracker.unregister
        resource_tracker.register, resource_tracker.unregister = not_here(register), not_here(unregister)
        try:
            yield
        finally:
            resource_tracker.register, resource_tracker.unregister = register, unregister


def _make(size: int) -> shared_memory.SharedMemory:
    for number in _numbers:
        name = f"deepbio-c{os.getpid()}-{number}"  # short: macOS takes 30 letters
        try:
            with _untracked():
                return shared_memory.SharedMemory(name=name, create=True, size=max(1, size))
        except FileExistsError:  # of a process of our number that was killed
            continue
        except OSError as error:
            raise _no_memory(size, error) from error
    raise AssertionError("unreachable: numbers do not end")


def _open(name: str) -> shared_memory.SharedMemory:
    with _untracked():
        return shared_memory.SharedMemory(name=name)


def _free(block: shared_memory.SharedMemory) -> None:
    """Unmap and free a block; one that is gone already is no trouble."""
    block.close()
    _unlink(block)


def _unlink(block: shared_memory.SharedMemory) -> None:
    """Give up the name of a block; its memory goes with the last map of it."""
    with _untracked(), suppress(FileNotFoundError):
        block.unlink()


def _reserve(block: shared_memory.SharedMemory, start: int, size: int) -> None:
    """Make sure that a part of a block is really there.

    On Linux a block can be made that is larger than what is left, and a process that then writes to it
    is killed; so the system is asked first.
    """
    if hasattr(os, "posix_fallocate") and size:
        try:
            os.posix_fallocate(block._fd, start, size)
        except OSError as error:
            raise _no_memory(block.size, error) from error


def _no_memory(size: int, error: OSError) -> MemoryError:
    return MemoryError(
        f"There is no shared memory for {size / 2**20:.1f} MiB of pixels ({error.strerror or error}). "
        "Close other programs, or crop the image; in a container, make /dev/shm larger."
    )


def _pieces(shape: tuple[int, ...], itemsize: int, piece: int) -> Iterator[tuple[Any, ...]]:
    """Keys of the parts of an array in order, each of at most `piece` bytes (or one pixel)."""
    if 0 in shape:
        return
    axis = 0
    while axis < len(shape) - 1 and math.prod(shape[axis + 1 :]) * itemsize > piece:
        axis += 1
    rows = max(1, piece // (math.prod(shape[axis + 1 :]) * itemsize))
    for outer in itertools.product(*(range(n) for n in shape[:axis])):
        for start in range(0, shape[axis], rows):
            yield (*outer, slice(start, start + rows))


class _Copy:
    """One array on its way into another, step by step."""

    def __init__(self, target: np.ndarray, source: np.ndarray, chunk: int) -> None:
        self._target: np.ndarray | None = target
        self._source: np.ndarray | None = source
        self._chunk = chunk
        self._part = min(chunk, _PART)
        self._keys = _pieces(target.shape, target.itemsize, self._part)
        self._total = max(1, target.nbytes)
        self.done = 0

    def step(self, reserve: Callable[[int, int], None] | None = None) -> bool:
        """Copy up to a chunk, for a short time; returns whether more is to be copied."""
        end = time.monotonic() + _SHORT
        copied = 0
        while self._target is not None and self._source is not None:
            key = next(self._keys, None)
            if key is None:
                self.stop()
                break
            part = self._target[key]
            if reserve is not None:
                reserve(self.done, part.nbytes)
            part[...] = self._source[key]
            copied += part.nbytes
            self.done += part.nbytes
            if copied + self._part > self._chunk or time.monotonic() >= end:
                return True
        return False

    def stop(self) -> None:
        """Let both arrays go: no view may keep a block mapped."""
        self._target = self._source = None

    @property
    def fraction(self) -> float:
        return self.done / self._total


class SharedArray:
    """A copy of an array that the worker can read.

    Made by :func:`share`.

    Attributes
    ----------
    message : dict
        What stands for the array in a request.
    ready : bool
        Whether all of it has been copied; before, `message` must not be sent.
    """

    def __init__(self, array: np.ndarray, chunk: int = PIECE) -> None:
        array = np.atleast_1d(np.asarray(array))
        dtype = np.dtype(np.uint8) if array.dtype == bool else array.dtype.newbyteorder("=")
        if dtype.name not in _DTYPES:
            raise TypeError(
                f"Pixels of type {array.dtype} cannot be sent; expected one of {', '.join(_DTYPES)}."
            )
        size = math.prod(array.shape) * dtype.itemsize
        self._block: shared_memory.SharedMemory | None = _make(size)
        self._forgotten = weakref.finalize(self, _unlink, self._block)
        target = np.ndarray(array.shape, dtype, buffer=self._block.buf)
        self._copy = _Copy(target, array, chunk)
        self.message: dict[str, Any] = {
            "appose_type": "ndarray",
            "dtype": dtype.name,
            "shape": list(array.shape),
            "shm": {"appose_type": "shm", "name": self._block.name, "rsize": size},
        }
        self.ready = False

    def step(self) -> bool:
        """Copy the next piece; returns whether more is to be copied.

        Raises
        ------
        MemoryError
            If there is no memory for it; the block is freed.
        """
        if self.ready or self._block is None:
            return False
        block = self._block
        try:
            self.ready = not self._copy.step(lambda start, size: _reserve(block, start, size))
        except MemoryError:
            self.close()
            raise
        return not self.ready

    @property
    def fraction(self) -> float:
        """How much has been copied, 0 to 1."""
        return 1.0 if self.ready else self._copy.fraction

    def close(self) -> None:
        """Free the memory; the worker must be through with it. Closing twice is allowed."""
        self._copy.stop()
        if self._block is not None:
            block, self._block = self._block, None
            self._forgotten.detach()
            _free(block)

    def __enter__(self) -> SharedArray:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def share(array: np.ndarray, chunk: int | None = None) -> SharedArray:
    """Copy an array into shared memory.

    Parameters
    ----------
    array : ndarray
        Integers, floats or booleans (these become uint8), of any strides and byte order.
    chunk : int, optional
        With a number of bytes nothing is copied yet: call :meth:`SharedArray.step` until it returns
        False, and let the event loop run in between.

    Returns
    -------
    SharedArray
        Close it when the task has finished.

    Raises
    ------
    MemoryError
        If there is no memory for it.
    TypeError
        If the pixels are neither integers nor floats.
    """
    shared = SharedArray(array, chunk or PIECE)
    if chunk is None:
        while shared.step():
            pass
    return shared


class Incoming:
    """An array that the worker has answered, copied out of shared memory in pieces.

    Parameters
    ----------
    message : dict
        From the outputs of a task.
    chunk : int
        Most bytes that one step copies.

    Attributes
    ----------
    array : ndarray
        The copy; complete when :meth:`step` has returned False.

    Raises
    ------
    FileNotFoundError
        If it was fetched before, or the worker has ended.
    """

    def __init__(self, message: dict[str, Any], chunk: int = PIECE) -> None:
        shape, dtype = tuple(message["shape"]), np.dtype(message["dtype"])
        self.array = np.empty(shape, dtype)
        self._block: shared_memory.SharedMemory | None = _open(message["shm"]["name"])
        self._forgotten = weakref.finalize(self, _unlink, self._block)
        source = np.ndarray(shape, dtype, buffer=self._block.buf)
        self._copy = _Copy(self.array, source, chunk)

    def step(self) -> bool:
        """Copy the next piece; returns whether more is to be copied. At the end the block is freed."""
        if self._block is None or self._copy.step():
            return self._block is not None
        self.close()
        return False

    @property
    def fraction(self) -> float:
        """How much has been copied, 0 to 1."""
        return self._copy.fraction

    def close(self) -> None:
        """Free the block, also when not all of it has been copied. Closing twice is allowed."""
        self._copy.stop()
        if self._block is not None:
            block, self._block = self._block, None
            self._forgotten.detach()
            _free(block)


def fetch(message: dict[str, Any]) -> np.ndarray:
    """Copy an array that the worker has answered, and free its memory.

    Parameters
    ----------
    message : dict
        From the outputs of a task.

    Returns
    -------
    ndarray

    Raises
    ------
    FileNotFoundError
        If it was fetched before, or the worker has ended.
    """
    incoming = Incoming(message)
    while incoming.step():
        pass
    return incoming.array


def discard(outputs: Any) -> None:
    """Free all arrays in the outputs of a task; those that were fetched are no trouble."""
    if isinstance(outputs, dict) and outputs.get("appose_type") == "ndarray":
        with suppress(FileNotFoundError):
            _free(_open(outputs["shm"]["name"]))
    elif isinstance(outputs, dict):
        discard(list(outputs.values()))
    elif isinstance(outputs, (list, tuple)):
        for value in outputs:
            if isinstance(value, (dict, list, tuple)):
                discard(value)


def sweep(pid: int) -> None:
    """Free what a worker that was killed has left; its blocks carry its number. Only Linux can tell."""
    if _LINUX.is_dir():
        for path in _LINUX.glob(f"deepbio-{int(pid)}-*"):
            with suppress(OSError):  # freed meanwhile, or not ours to free
                path.unlink()
