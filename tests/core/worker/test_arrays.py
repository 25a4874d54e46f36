"""Pixels in shared memory: values, what is not there, what is left behind."""

import errno
import os
from collections.abc import Iterator

import numpy as np
import pytest
from appose import SharedMemory

from deepbio.errors import Cancelled, ImageError, OutOfMemory
from deepbio.worker.arrays import DTYPES, Arrays
from deepbio.worker.progress import Updates
from tests.core.worker.conftest import Heard


@pytest.fixture
def updates(task: Heard) -> Updates:
    return Updates(task)


@pytest.fixture
def block() -> Iterator[SharedMemory]:
    """A block of 24 bytes, of a client."""
    made = SharedMemory(create=True, rsize=24)
    yield made
    made.close()
    made.unlink()


def message(block: SharedMemory, dtype: str = "int16", shape: tuple[int, ...] = (3, 4)) -> dict[str, object]:
    shm = {"appose_type": "shm", "name": block.name, "rsize": 24}
    return {"appose_type": "ndarray", "dtype": dtype, "shape": list(shape), "shm": shm}


def exists(name: str) -> bool:
    try:
        SharedMemory(name=name).close()
    except FileNotFoundError:
        return False
    return True


@pytest.mark.parametrize("dtype", DTYPES)
def test_given_and_received(arrays: Arrays, updates: Updates, rng: np.random.Generator, dtype: str) -> None:
    pixels = (rng.random((5, 7, 11)) * 100).astype(dtype)
    told = arrays.give(pixels, updates)
    assert (told["dtype"], told["shape"]) == (dtype, [5, 7, 11])
    back = arrays.receive(told)
    assert back.dtype == pixels.dtype
    np.testing.assert_array_equal(back, pixels)


@pytest.mark.parametrize(
    "view", [np.s_[::2, ::-1], np.s_[1:, :, None], np.s_[:0]], ids=["strides", "new axis", "empty"]
)
def test_any_strides_byte_order_and_booleans(
    arrays: Arrays, updates: Updates, rng: np.random.Generator, view: object
) -> None:
    pixels = rng.integers(0, 999, (5, 7, 11)).astype(">i4")[view]
    np.testing.assert_array_equal(arrays.receive(arrays.give(pixels, updates)), pixels)
    mask = pixels > 500
    told = arrays.give(mask, updates)
    assert told["dtype"] == "uint8"
    np.testing.assert_array_equal(arrays.receive(told), mask)


def test_what_a_client_lends_is_read_where_it_is_and_cannot_be_changed(
    arrays: Arrays, block: SharedMemory
) -> None:
    np.ndarray((3, 4), np.int16, block.buf)[:] = np.arange(12).reshape(3, 4)
    with arrays.lent(message(block)) as pixels:
        np.ndarray((3, 4), np.int16, block.buf)[2, 3] = -7
        assert pixels[2, 3] == -7
        with pytest.raises(ValueError, match="read-only"):
            pixels[0, 0] = 1
        del pixels
    assert exists(block.name)


def test_a_view_that_somebody_still_holds_is_let_go_later(
    arrays: Arrays, block: SharedMemory, updates: Updates
) -> None:
    with arrays.lent(message(block)) as pixels:
        held = pixels[1:]
        del pixels
    assert held.shape == (2, 4)
    del held
    arrays.give(np.zeros(3, np.uint8), updates)
    assert arrays._stuck == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"shm": {"name": "deepbio-not-there"}}, "'deepbio-not-there' with the pixels is not there"),
        ({"shape": [300, 4000]}, r"2400000 are needed"),
        ({"dtype": "float128"}, "expected one of uint8"),
        ({"dtype": "object"}, "expected one of uint8"),
    ],
)
def test_what_cannot_be_pixels_is_refused(
    arrays: Arrays, block: SharedMemory, change: dict[str, object], text: str
) -> None:
    with pytest.raises(ImageError, match=text):
        arrays.receive({**message(block), **change})
    with pytest.raises(ImageError, match="Expected the message of an array"):
        arrays.receive([1, 2, 3])


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="only where memory is asked for beforehand")
def test_too_little_memory_is_an_error_and_leaves_nothing(
    arrays: Arrays, updates: Updates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing to memory that is not there would end the process with SIGBUS."""

    def full(file: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutOfMemory, match="No space left") as caught:
        arrays.give(np.zeros((1024, 1024), np.float32), updates)
    assert "4.0 MiB" in caught.value.message
    assert "/dev/shm" in caught.value.hint
    assert not exists(f"deepbio-{os.getpid()}-0")


def test_cancel_while_a_result_is_copied_leaves_nothing(arrays: Arrays) -> None:
    with pytest.raises(Cancelled):
        arrays.give(np.zeros((5, 7), np.uint8), Updates(Heard(cancel=True)))
    assert not exists(f"deepbio-{os.getpid()}-0")


def test_what_nobody_fetched_is_freed_at_the_end(updates: Updates, block: SharedMemory) -> None:
    arrays = Arrays()
    told = arrays.give(np.ones((5, 7), np.uint8), updates)
    fetched = arrays.give(np.ones((5, 7), np.uint8), updates)
    gone = SharedMemory(name=fetched["shm"]["name"])
    gone.close()
    gone.unlink()
    arrays.free()
    assert not exists(told["shm"]["name"])


def test_a_name_that_a_killed_worker_left_is_passed_over(arrays: Arrays, updates: Updates) -> None:
    left = SharedMemory(name=f"deepbio-{os.getpid()}-0", create=True, rsize=3)
    told = arrays.give(np.arange(5, dtype=np.uint8), updates)
    assert told["shm"]["name"] == f"deepbio-{os.getpid()}-1"
    left.close()
    left.unlink()
