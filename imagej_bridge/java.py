"""Java's classes, once a JVM runs: the same in a bare ImageJ, in pyimagej's Fiji and in a JVM of others."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np

__all__ = ["is_headless", "java", "read_private", "to_java", "to_numpy", "write_private"]

_ARRAYS = {  # size of a pixel in bytes, and whether it is a float -> JPype's type, and the buffer's view
    (1, False): ("JByte", ""),
    (2, False): ("JShort", "asShortBuffer"),
    (4, False): ("JInt", "asIntBuffer"),
    (4, True): ("JFloat", "asFloatBuffer"),
    (8, True): ("JDouble", "asDoubleBuffer"),
}


@cache
def java(name: str) -> Any:
    """The class of a name such as ``"ij.IJ"``."""
    import jpype

    return jpype.JClass(name)


def is_headless() -> bool:
    """Whether Java has no screen: then there are no windows, ROI Manager and dialogs."""
    return bool(java("java.awt.GraphicsEnvironment").isHeadless())


def read_private(kind: str, name: str, item: Any = None) -> Any:
    """The value of a field that a class of ImageJ keeps for its own package; None in versions without it."""
    field = _private(kind, name)
    return None if field is None else field.get(item)


def write_private(kind: str, name: str, value: Any) -> None:
    """Set a static field that a class of ImageJ keeps for its own package, where there is one."""
    field = _private(kind, name)
    if field is not None:
        field.set(None, value)


@cache
def _private(kind: str, name: str) -> Any:
    try:
        field = java("java.lang.Class").forName(kind).getDeclaredField(name)
        field.setAccessible(True)
    except (java("java.lang.ReflectiveOperationException"), java("java.lang.RuntimeException")):
        return None  # there is no such field, or it is locked
    return field


def to_java(pixels: np.ndarray) -> Any:
    """Copy an array into a new Java array of one axis and the same bits.

    Through a direct buffer, which is five times as fast as assigning to the Java array.
    """
    import jpype

    flat = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("=")).reshape(-1)
    if not flat.flags.writeable:  # JPype's buffers are
        flat = flat.copy()
    kind, view = _ARRAYS[flat.dtype.itemsize, flat.dtype.kind == "f"]
    array = jpype.JArray(getattr(jpype, kind))(flat.size)
    if not flat.size:
        return array
    buffer = jpype.nio.convertToDirectBuffer(memoryview(flat.view(np.uint8)))
    order = java("java.nio.ByteOrder")
    buffer = buffer.order(order.LITTLE_ENDIAN if sys.byteorder == "little" else order.BIG_ENDIAN)
    (getattr(buffer, view)() if view else buffer).get(array)
    return array


def to_numpy(array: Any, dtype: np.dtype | type) -> np.ndarray:
    """The values of a Java array, read as `dtype` (of the same size); not to be written to."""
    return np.asarray(memoryview(array)).view(dtype)
