"""Arrays in files slice as numpy does."""

from __future__ import annotations

import numpy as np
import pytest

from deepbio.errors import ImageError
from deepbio.io.arrays import Deferred, FileArray, OpaqueColour, iter_blocks


class Recorder(FileArray):
    """An array that remembers which blocks it was asked for."""

    def __init__(self, pixels: np.ndarray) -> None:
        super().__init__(pixels.shape, pixels.dtype)
        self.pixels = pixels
        self.asked: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def _read(self, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
        self.asked.append((start, stop))
        return self.pixels[tuple(map(slice, start, stop))].astype(self.dtype)


PIXELS = np.arange(5 * 7 * 11, dtype=">i2").reshape(5, 7, 11)
KEYS = [
    ...,
    2,
    -1,
    (slice(None), 3),
    (slice(1, 4), slice(-5, None), slice(2, 9, 3)),
    (slice(None, None, -1), ..., 4),
    (..., slice(8, 2, -2)),
    (1, 2, 3),
    np.int64(3),
    (slice(3, 3), ...),
    (slice(4, 2), 0),
    slice(2, 999),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_slices_are_those_of_numpy(key: object) -> None:
    found = Recorder(PIXELS)[key]
    np.testing.assert_array_equal(found, PIXELS[key])
    assert np.shape(found) == PIXELS[key].shape
    assert np.asarray(found).dtype == np.dtype(np.int16)


def test_only_the_block_is_read() -> None:
    array = Recorder(PIXELS)
    _ = array[1, 2:6:2, -3]
    assert array.asked == [((1, 2, 8), (2, 5, 9))]


@pytest.mark.parametrize("key", [5, -6, (0, 7), (0, 0, 0, 0), (..., ...)])
def test_outside_is_an_index_error(key: object) -> None:
    with pytest.raises(IndexError):
        Recorder(PIXELS)[key]


def test_a_float_is_no_index() -> None:
    with pytest.raises(TypeError):
        Recorder(PIXELS)[1.5]


def test_numpy_takes_it() -> None:
    array = Recorder(PIXELS)
    np.testing.assert_array_equal(np.asarray(array), PIXELS)
    assert (len(array), array.ndim, repr(array)) == (5, 3, "<Recorder (5, 7, 11) int16>")
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(array, copy=False)


def test_deferred_loads_once() -> None:
    calls = []

    def load() -> np.ndarray:
        calls.append(1)
        return PIXELS

    array = Deferred(PIXELS.shape, PIXELS.dtype, load)
    assert not calls
    assert array[1, 2, 3] == PIXELS[1, 2, 3]
    assert array[4, 0, 0] == PIXELS[4, 0, 0]
    assert len(calls) == 1


def test_deferred_checks_the_promise() -> None:
    with pytest.raises(ImageError, match="header says shape"):
        Deferred((5, 7, 12), np.int16, lambda: PIXELS)[0]


def test_alpha_must_be_opaque_where_it_is_read() -> None:
    pixels = np.full((4, 7, 11), 255, np.uint8)
    pixels[:3] = np.arange(3 * 7 * 11).reshape(3, 7, 11) % 251
    pixels[3, 6, 10] = 254
    colour = OpaqueColour(pixels, 0, "a.png")
    assert colour.shape == (3, 7, 11)
    np.testing.assert_array_equal(colour[1:, :6], pixels[1:3, :6])
    with pytest.raises(ImageError, match=r"a\.png.*transparent"):
        colour[0]


@pytest.mark.parametrize("rows", [1, 3])
def test_blocks_cover_every_plane_in_order(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr("deepbio.io.arrays.BLOCK", 11 * 2 * 4)
    pixels = np.arange(2 * 3 * 7 * 11, dtype=np.int16).reshape(2, 3, 7, 11)
    blocks = list(iter_blocks(pixels, (1, 0), rows))
    heights = {1: [4, 3], 3: [3, 3, 1]}[rows]
    assert [len(block) for block in blocks] == heights * 6
    np.testing.assert_array_equal(np.concatenate(blocks), pixels.transpose(1, 0, 2, 3).reshape(-1, 11))
