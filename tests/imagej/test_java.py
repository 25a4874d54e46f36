"""Arrays go to Java and come back with the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imagej_bridge.java import is_headless, java, read_private, to_java, to_numpy, write_private

KINDS = [
    (np.uint8, "byte"),
    (np.int8, "byte"),
    (np.uint16, "short"),
    (np.int16, "short"),
    (np.int32, "int"),
    (np.uint32, "int"),
    (np.float32, "float"),
    (np.float64, "double"),
]


@pytest.mark.parametrize(("dtype", "name"), KINDS)
def test_there_and_back(session: Any, rng: np.random.Generator, dtype: type, name: str) -> None:
    pixels = rng.integers(0, 256, 5 * 7 * 8, dtype=np.uint8).view(dtype).copy()
    array = to_java(pixels)
    assert str(array.getClass().getSimpleName()) == f"{name}[]"
    assert len(array) == pixels.size
    back = to_numpy(array, dtype)
    assert back.dtype == dtype
    assert back.tobytes() == pixels.tobytes()  # not-a-numbers too


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::2, ::3],
        lambda a: a.T,
        lambda a: a[::-1],
        lambda a: a[1:2],
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: a.astype(">u2"),
    ],
    ids=["steps", "transposed", "reversed", "one row", "read-only", "big-endian"],
)
def test_any_layout(session: Any, view: Any) -> None:
    pixels = view(np.arange(35, dtype=np.uint16).reshape(5, 7) * 1000)
    np.testing.assert_array_equal(to_numpy(to_java(pixels), np.uint16), pixels.astype(np.uint16).ravel())


def test_nothing(session: Any) -> None:
    assert len(to_java(np.empty(0, np.float32))) == 0


def test_java_has_its_own_copy(session: Any) -> None:
    pixels = np.zeros(7, np.uint8)
    array = to_java(pixels)
    pixels[:] = 9
    assert list(array) == [0] * 7


def test_what_java_changes_is_seen_again(session: Any) -> None:
    array = to_java(np.zeros(7, np.int16))
    array[3] = -5
    assert to_numpy(array, np.int16).tolist() == [0, 0, 0, -5, 0, 0, 0]


def test_a_class_is_found_once(session: Any) -> None:
    assert java("ij.IJ") is java("ij.IJ")


def test_here_is_a_screen(session: Any) -> None:
    assert not is_headless()


def test_fields_that_imagej_keeps_for_itself(session: Any) -> None:
    write_private("ij.Macro", "abort", value=True)
    assert read_private("ij.Macro", "abort")
    write_private("ij.Macro", "abort", value=False)
    assert not read_private("ij.Macro", "abort")
    label = java("ij.gui.MultiLineLabel")("one\ntwo")
    assert [str(line) for line in read_private("ij.gui.MultiLineLabel", "lines", label)] == ["one", "two"]


def test_fields_that_another_version_may_not_have(session: Any) -> None:
    write_private("ij.Macro", "xyzzy", value=True)
    assert read_private("ij.Macro", "xyzzy") is None
    assert read_private("ij.Xyzzy", "abort") is None
