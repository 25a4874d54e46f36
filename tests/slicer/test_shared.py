"""Arrays in shared memory on the client's side: values, pieces, no second process, nothing left."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import numpy as np
import pytest

shared = pytest.importorskip("SlicerDeepBioLib.shared")

LIBRARY = Path(__file__).parents[2] / "SlicerDeepBio"


def exists(message: dict[str, Any]) -> bool:
    try:
        shared._open(message["shm"]["name"]).close()
    except FileNotFoundError:
        return False
    return True


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "float32", "float64", "float16"]
)
def test_what_is_shared_is_fetched(rng: np.random.Generator, dtype: str) -> None:
    pixels = (rng.random((5, 7, 11)) * 100).astype(dtype)
    sent = shared.share(pixels)
    assert sent.ready
    assert sent.message["dtype"] == dtype
    assert sent.message["shape"] == [5, 7, 11]
    back = shared.fetch(sent.message)
    assert back.dtype == pixels.dtype
    np.testing.assert_array_equal(back, pixels)
    assert not exists(sent.message)
    sent.close()  # after it was fetched: no trouble


@pytest.mark.parametrize(
    "view",
    [np.s_[:, ::-1, ::2], np.s_[2:, None], np.s_[:, :, 3], np.s_[:0]],
    ids=["strides", "new axis", "plane", "empty"],
)
@pytest.mark.parametrize("piece", [1, 8, 60, 300, 2**20])
def test_any_strides_and_byte_order_in_pieces_of_any_size(
    rng: np.random.Generator, view: Any, piece: int
) -> None:
    pixels = rng.integers(-999, 999, (5, 7, 11)).astype(">i4")[view]
    with shared.share(pixels, chunk=piece) as sent:
        seen = [sent.fraction]
        while sent.step():
            seen.append(sent.fraction)
        assert sent.ready
        assert seen == sorted(seen)
        assert sent.fraction == 1.0
        incoming = shared.Incoming(sent.message, chunk=piece)
        while incoming.step():
            pass
        np.testing.assert_array_equal(incoming.array, pixels)
        assert incoming.array.dtype == np.int32
        assert incoming.fraction == 1.0 or pixels.size == 0


def test_no_piece_is_larger_than_was_asked_for() -> None:
    shape = (3, 5, 7, 11)
    for piece in (8, 100, 1000, 5000):
        parts = [np.empty(shape, np.int16)[key] for key in shared._pieces(shape, 2, piece)]
        assert max(part.nbytes for part in parts) <= max(piece, 2)
        assert sum(part.size for part in parts) == 3 * 5 * 7 * 11
    assert len(list(shared._pieces(shape, 2, 10**6))) == 1


def test_nothing_is_copied_before_the_first_step() -> None:
    with shared.share(np.ones((3, 4), np.uint8), chunk=4) as sent:
        assert not sent.ready
        assert sent.fraction == 0.0


def test_masks_become_bytes() -> None:
    mask = np.arange(12).reshape(3, 4) % 3 == 0
    with shared.share(mask) as sent:
        assert sent.message["dtype"] == "uint8"
        np.testing.assert_array_equal(shared.fetch(sent.message), mask)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros(3, np.complex64), np.array(["a"]), np.array([object()])],
    ids=["complex", "text", "objects"],
)
def test_what_is_no_pixel_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(TypeError, match="cannot be sent; expected one of uint8"):
        shared.share(pixels)


def test_closing_frees_and_may_be_done_twice() -> None:
    sent = shared.share(np.zeros((5, 7)))
    assert exists(sent.message)
    sent.close()
    sent.close()
    assert not exists(sent.message)
    assert not sent.step()


def test_a_copy_that_is_given_up_frees_its_memory() -> None:
    sent = shared.share(np.zeros((5, 7)), chunk=8)
    sent.step()
    incoming = shared.Incoming(sent.message, chunk=8)
    incoming.step()
    incoming.close()
    assert not incoming.step()
    assert not exists(sent.message)
    sent.close()


def test_fetching_twice_is_told() -> None:
    sent = shared.share(np.zeros(3))
    shared.fetch(sent.message)
    with pytest.raises(FileNotFoundError):
        shared.fetch(sent.message)
    sent.close()


def test_discard_finds_arrays_wherever_they_are() -> None:
    sent = [shared.share(np.full(3, n)) for n in range(3)]
    fetched = sent[2].message
    shared.fetch(fetched)
    outputs = {"labels": {"array": sent[0].message, "axes": "X"}, "more": [1, None, {"b": sent[1].message}]}
    shared.discard({**outputs, "fetched": fetched, "text": "name"})
    assert not any(exists(one.message) for one in sent)
    for one in sent:
        one.close()


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "1 // 0", "del sent, incoming"])
def test_what_is_forgotten_is_freed_at_the_end_of_the_process(end: str) -> None:
    code = f"""
        import sys
        import numpy as np
        from SlicerDeepBioLib import shared
        sent = shared.share(np.ones((5, 7, 11)), chunk=8)
        sent.step()
        answer = shared.share(np.ones((5, 7)))
        incoming = shared.Incoming(answer.message, chunk=8)
        incoming.step()
        print(sent.message["shm"]["name"], incoming._block.name, flush=True)
        {end}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=LIBRARY,
        capture_output=True,
        text=True,
        check=False,
    )
    names = done.stdout.split()
    assert len(names) == 2
    assert not any(exists({"shm": {"name": name}}) for name in names)
    assert "BufferError" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="only where memory is asked for beforehand")
def test_too_little_memory_is_an_error_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing to memory that is not there would end Slicer with SIGBUS."""
    left = 3

    def nearly_full(file: int, start: int, size: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", nearly_full)
    sent = shared.share(np.zeros((8, 2**17)), chunk=2**20)
    assert sent.step()
    assert sent.step()
    with pytest.raises(MemoryError, match=r"8\.0 MiB .*make /dev/shm larger"):
        sent.step()
    assert not exists(sent.message)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="only Linux shows shared memory as files")
def test_sweep_frees_what_one_worker_left_and_nothing_else() -> None:
    ours = [shared_memory.SharedMemory(name=f"deepbio-999999-{n}", create=True, size=3) for n in range(2)]
    other = shared_memory.SharedMemory(name="deepbio-99999-0", create=True, size=3)
    shared.sweep(999999)
    for block in (*ours, other):
        assert (Path("/dev/shm") / block.name).exists() is (block is other)
    other.unlink()
    from multiprocessing import resource_tracker

    for block in (*ours, other):
        block.close()
    for block in ours:
        resource_tracker.unregister(block._name, "shared_memory")


@pytest.mark.skipif(os.name != "posix", reason="there is no resource tracker")
def test_no_resource_tracker_is_ever_started() -> None:
    """In Slicer it would be a second Slicer. Another thread's registering goes on working meanwhile."""
    code = """
        import sys
        sys.executable = "/bin/false"   # as good as Slicer for a tracker
        from multiprocessing import resource_tracker
        import numpy as np
        from SlicerDeepBioLib import shared
        pixels = np.arange(385).reshape(5, 7, 11)
        sent = shared.share(pixels)
        assert (shared.fetch(sent.message) == pixels).all()
        sent.close()
        with shared.share(pixels) as sent:
            shared.discard({"a": sent.message})
        assert resource_tracker._resource_tracker._pid is None, "a tracker was started"
        assert resource_tracker.register.__name__ == "register", "it was not put back"
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        cwd=LIBRARY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="there is no resource tracker")
def test_other_threads_are_still_tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading
    from multiprocessing import resource_tracker

    told: list[str] = []
    monkeypatch.setattr(resource_tracker, "register", lambda name, kind: told.append(name))
    with shared._untracked():
        resource_tracker.register("here", "shared_memory")
        there = threading.Thread(target=lambda: resource_tracker.register("there", "shared_memory"))
        there.start()
        there.join()
    assert told == ["there"]
