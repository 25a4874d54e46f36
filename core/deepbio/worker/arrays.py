"""Pixels in shared memory: those that a client lent us, and those that we give it.

The side that gives an array makes the block. A client frees its own blocks, and those of our results
once it has copied them; what it leaves behind, because it has gone, is freed when the worker ends.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.errors import ImageError, MissingPackage, OutOfMemory
from deepbio.worker.progress import Updates

__all__ = ["DTYPES", "Arrays", "blocks_of"]

DTYPES = (
    *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
)
_REMEMBERED = 64  # blocks of results; a client fetches those of one run before the next
_LINUX = Path("/dev/shm")  # noqa: S108 - where Linux shows shared memory as files
_PIECE = 32 * 2**20  # bytes copied between two looks at Cancel


class Arrays:
    """The shared memory that this process has to do with.

    Examples
    --------
    >>> Arrays().receive({"appose_type": "ndarray", "dtype": "complex64", "shape": [2], "shm": {}})
    Traceback (most recent call last):
        ...
    deepbio.errors.ImageError: The pixels are 'complex64'; expected one of uint8, uint16, ...
    """

    def __init__(self) -> None:
        self._numbers = count()
        self._lent: dict[str, Any] = {}  # of clients, by name, while a run needs them
        self._given: deque[Any] = deque()
        self._stuck: list[Any] = []  # somebody still holds a view

    @contextmanager
    def lent(self, message: Any) -> Iterator[np.ndarray]:
        """Give the array of a client's message, read-only, for the time of a block of code."""
        array, block = self._attach(message)
        self._lent[block.name] = block
        try:
            yield array
        finally:
            del array
            del self._lent[block.name]
            self._close([block])

    def receive(self, message: Any) -> np.ndarray:
        """Copy the array of a client's message.

        Raises
        ------
        ImageError
            If the message is not that of an array, or its block is not there or too small.
        """
        with self.lent(message) as array:
            return array.copy()

    def give(self, array: Any, updates: Updates) -> dict[str, Any]:
        """Copy an array into a new block and return the message that names it.

        Raises
        ------
        OutOfMemory
            If there is no shared memory for it.
        Cancelled
            If the client asked for it.
        """
        dtype = np.dtype(np.uint8) if array.dtype == bool else np.dtype(array.dtype).newbyteorder("=")
        block = self._make(math.prod(array.shape) * dtype.itemsize)
        try:
            target = np.ndarray(array.shape, dtype, buffer=block.buf)
            rows = max(1, _PIECE // max(1, target[:1].nbytes))
            for start in range(0, len(target), rows):
                updates.check()
                target[start : start + rows] = array[start : start + rows]
        except BaseException:
            del target
            self._close([block])
            _unlink(block)
            raise
        del target
        if os.name == "posix":  # the name keeps it; Windows frees a block with its last handle
            self._close([block])
        self._given.append(block)
        while len(self._given) > _REMEMBERED:
            self._close([self._given.popleft()])
        shm = {"appose_type": "shm", "name": block.name, "rsize": block.rsize}
        return {"appose_type": "ndarray", "dtype": dtype.name, "shape": list(array.shape), "shm": shm}

    def free(self) -> None:
        """Free what nobody fetched, and what a client that has gone had lent: the worker ends."""
        blocks = [*self._given, *list(self._lent.values())]
        self._given.clear()
        self._lent.clear()
        for block in blocks:
            _unlink(block)

    def _attach(self, message: Any) -> tuple[np.ndarray, Any]:
        if not isinstance(message, Mapping) or not {"dtype", "shape", "shm"} <= set(message):
            raise ImageError(f"Expected the message of an array in shared memory, found {message!r:.80}.")
        if message["dtype"] not in DTYPES:
            raise ImageError(f"The pixels are {message['dtype']!r}; expected one of {', '.join(DTYPES)}.")
        name, shape = str(message["shm"]["name"]), tuple(int(n) for n in message["shape"])
        needed = math.prod(shape) * np.dtype(message["dtype"]).itemsize
        try:
            block = _shared_memory()(name=name, rsize=needed)
        except FileNotFoundError as error:
            raise ImageError(f"The shared memory {name!r} with the pixels is not there.") from error
        if block.size < needed:
            block.close()
            raise ImageError(f"The shared memory {name!r} has {block.size} bytes; {needed} are needed.")
        array = np.ndarray(shape, message["dtype"], buffer=block.buf)
        array.setflags(write=False)
        return array, block

    def _make(self, size: int) -> Any:
        """A new block whose memory is really there: writing to one that is not would kill the process."""
        for number in self._numbers:
            try:
                block = _shared_memory()(
                    name=f"deepbio-{os.getpid()}-{number}", create=True, rsize=max(1, size)
                )
            except FileExistsError:  # of a worker of this number that was killed
                continue
            except OSError as error:
                raise _no_memory(size, error) from error
            if hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(block._fd, 0, max(1, size))
                except OSError as error:
                    block.close()
                    _unlink(block)
                    raise _no_memory(size, error) from error
            return block
        raise AssertionError("unreachable: numbers do not end")

    def _close(self, blocks: list[Any]) -> None:
        """Unmap blocks; one of which somebody still holds a view is tried again the next time."""
        waiting, self._stuck = [*self._stuck, *blocks], []
        for block in waiting:
            try:
                block.close()
            except BufferError:
                self._stuck.append(block)


def blocks_of(client: int) -> list[Path]:
    """Blocks that a client of this process number has made; only Linux can list them.

    The client of 3D Slicer and of the page names its blocks so; what others name is not found.
    """
    return list(_LINUX.glob(f"deepbio-c{client}-*")) if _LINUX.is_dir() else []


def _no_memory(size: int, error: OSError) -> OutOfMemory:
    return OutOfMemory(
        f"There is no shared memory for a result of {size / 2**20:.1f} MiB: {error.strerror or error}.",
        "Free some memory; in a container, make /dev/shm larger (docker run --shm-size=8g).",
    )


def _unlink(block: Any) -> None:
    """Free a block, unless the client has done so."""
    from appose.util import message

    if message._worker_mode and os.name == "posix":
        # Appose has told Python's resource tracker to forget the block, and unlink() tells it again.
        from multiprocessing import resource_tracker

        resource_tracker.register(block._name, "shared_memory")
    with suppress(FileNotFoundError):
        block.unlink()


def _shared_memory() -> Any:
    try:
        from appose import SharedMemory
    except ImportError as error:
        raise MissingPackage("appose", "The worker", "slicer") from error
    return SharedMemory
