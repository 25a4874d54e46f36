"""Arrays in shared memory, in the messages of Appose: what the worker reads and what it answers.

Needs only the standard library and numpy. Whoever made a block of memory and nobody else knows about it
must free it: :meth:`SharedArray.close` for what is sent, :func:`fetch` or :func:`discard` for what comes.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from contextlib import contextmanager
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np

__all__ = ["Incoming", "SharedArray", "discard", "fetch", "share", "sweep"]

PIECE = 32 * 2**20  # bytes: a copy of this size takes about 10 ms, so an event loop can breathe
_DTYPES = (
    *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
)
_SYSTEM = Path("/dev/shm")  # where Linux shows shared memory as files
_PATCHING = threading.Lock()


@contextmanager
def _untracked():
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

    def passing(original):
        def tell(name, kind):
            if threading.get_ident() != thread:
                original(name, kind)

        return tell

    with _PATCHING:
        register, unregister = resource_tracker.register, resource_tracker.unregister
        resource_tracker.register, resource_tracker.unregister = passing(register), passing(unregister)
        try:
            yield
        finally:
            resource_tracker.register, resource_tracker.unregister = register, unregister


def _open(name=None, size=0):
    """A new block of `size` bytes, or the block of this name."""
    with _untracked():
        if name is None:
            return shared_memory.SharedMemory(create=True, size=max(1, size))
        return shared_memory.SharedMemory(name=name)


def _free(block):
    """Unmap and free a block; one that is gone already is no trouble."""
    block.close()
    with _untracked():
        try:
            block.unlink()
        except FileNotFoundError:
            pass


class _Copying:
    """Copies one array into another in pieces."""

    def __init__(self, target, source, piece):
        self._target, self._source = target, source
        self._pieces = _pieces(target.shape, target.itemsize, piece)
        self._total = max(1, math.prod(target.shape))
        self._done = 0

    def step(self):
        """Copy one piece; False when there is none left."""
        key = next(self._pieces, None)
        if key is None:
            self._target = self._source = None  # no view keeps the block mapped
            return False
        part = self._target[key]
        part[...] = self._source[key]
        self._done += part.size
        return True

    @property
    def fraction(self):
        return 1.0 if self._target is None else self._done / self._total


def _pieces(shape, itemsize, piece):
    """Keys of the parts of an array, each of at most `piece` bytes (or one pixel)."""
    if 0 in shape:
        return
    axis = 0
    while axis < len(shape) - 1 and math.prod(shape[axis + 1 :]) * itemsize > piece:
        axis += 1
    rows = max(1, piece // max(1, math.prod(shape[axis + 1 :]) * itemsize))
    for outer in itertools.product(*(range(n) for n in shape[:axis])):
        for start in range(0, shape[axis], rows):
            yield (*outer, slice(start, start + rows))


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

    def __init__(self, array, chunk=None):
        array = np.asarray(array)
        dtype = np.dtype(np.uint8) if array.dtype == bool else array.dtype.newbyteorder("=")
        if dtype.name not in _DTYPES:
            raise TypeError(
                "Pixels of type {} cannot be sent; expected one of {}.".format(
                    array.dtype, ", ".join(_DTYPES)
                )
            )
        size = math.prod(array.shape) * dtype.itemsize
        self._block = _reserve(size)
        target = np.ndarray(array.shape, dtype, buffer=self._block.buf)
        self._copying = _Copying(target, array, chunk or PIECE)
        self.message = {
            "appose_type": "ndarray",
            "dtype": dtype.name,
            "shape": list(array.shape),
            "shm": {"appose_type": "shm", "name": self._block.name, "rsize": size},
        }
        self.ready = False

    def step(self):
        """Copy the next piece; returns whether more is to be copied."""
        self.ready = not self._copying.step()
        return not self.ready

    @property
    def fraction(self):
        """How much has been copied, 0 to 1."""
        return self._copying.fraction

    def close(self):
        """Free the memory; the worker must be through with it. Closing twice is allowed."""
        if self._block is not None:
            block, self._block = self._block, None
            self._copying = None
            _free(block)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def _reserve(size):
    """A new block whose memory is really there.

    On Linux a block can be made that is larger than what is left, and the process that then writes to
    it is killed; so the system is asked first.
    """
    block = None
    try:
        block = _open(size=size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(block._fd, 0, max(1, size))
    except OSError as error:
        if block is not None:
            _free(block)
        raise MemoryError(
            "There is no shared memory for {:.1f} MiB of pixels ({}). Close other programs, or crop the "
            "image; in a container, make /dev/shm larger.".format(size / 2**20, error.strerror or error)
        ) from error
    return block


def share(array, chunk=None):
    """Copy an array into shared memory.

    Parameters
    ----------
    array : ndarray
        Integers, floats or booleans (these become uint8), of any strides.
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
    shared = SharedArray(array, chunk)
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
    """

    def __init__(self, message, chunk=PIECE):
        self._block = _open(message["shm"]["name"])
        shape = tuple(message["shape"])
        source = np.ndarray(shape, message["dtype"], buffer=self._block.buf)
        self.array = np.empty(shape, message["dtype"])
        self._copying = _Copying(self.array, source, chunk)

    def step(self):
        """Copy the next piece; returns whether more is to be copied. The block is freed at the end."""
        if self._block is not None and not self._copying.step():
            self.close()
        return self._block is not None

    @property
    def fraction(self):
        """How much has been copied, 0 to 1."""
        return 1.0 if self._copying is None else self._copying.fraction

    def close(self):
        """Free the block, also when not all of it has been copied. Closing twice is allowed."""
        if self._block is not None:
            block, self._block = self._block, None
            self._copying = None
            _free(block)


def fetch(message):
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
        If it was fetched before.
    """
    incoming = Incoming(message)
    while incoming.step():
        pass
    return incoming.array


def discard(outputs):
    """Free the arrays in the outputs of a task that nobody will fetch; those fetched are no trouble."""
    if isinstance(outputs, dict):
        if outputs.get("appose_type") == "ndarray":
            try:
                block = _open(outputs["shm"]["name"])
            except FileNotFoundError:
                return
            _free(block)
            return
        outputs = list(outputs.values())
    if isinstance(outputs, (list, tuple)):
        for value in outputs:
            discard(value)


def sweep(pid):
    """Free what a worker that was killed has left; its blocks carry its number. Only Linux can tell."""
    for path in _SYSTEM.glob("deepbio-{}-*".format(int(pid))) if _SYSTEM.is_dir() else ():
        try:
            path.unlink()
        except OSError:  # another has freed it, or it is not ours to free
            continue
