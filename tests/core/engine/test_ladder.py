"""Memory runs out: what is tried next, and that the user is told."""

import weakref

import numpy as np
import pytest

from deepbio.engine.device import Device, cpu_device
from deepbio.engine.ladder import Ladder, Rung, is_out_of_memory, make_rungs, with_ladder
from deepbio.engine.slabs import ArraySource, predict_scores
from deepbio.engine.tiling import plan_tiles
from deepbio.errors import Cancelled, OptionError, OutOfMemory
from deepbio.events import Notice

GPU = Device("cuda:0", "a card", 8 << 30)


def told(rungs):
    return [(rung.device.kind, rung.precision, rung.tile, rung.batch) for rung in rungs]


@pytest.mark.parametrize(
    ("first", "options", "expected"),
    [
        (
            Rung(cpu_device(), "auto", (512, 512)),
            {"minimum": (128, 200)},
            [
                ("cpu", "auto", (512, 512), 1),
                ("cpu", "auto", (256, 256), 1),
                ("cpu", "auto", (128, 200), 1),
            ],
        ),
        (
            Rung(GPU, "auto", (96, 192, 192), 2),
            {"fixed": (None, 192, None)},
            [
                ("cuda", "auto", (96, 192, 192), 2),
                ("cuda", "auto", (96, 192, 192), 1),
                ("cuda", "auto", (48, 192, 96), 1),
                ("cuda", "auto", (32, 192, 48), 1),
                ("cuda", "auto", (32, 192, 32), 1),
                ("cuda", "fp16", (32, 192, 32), 1),
                ("cpu", "auto", (96, 192, 192), 1),
                ("cpu", "auto", (48, 192, 96), 1),
                ("cpu", "auto", (32, 192, 48), 1),
                ("cpu", "auto", (32, 192, 32), 1),
            ],
        ),
        (Rung(cpu_device(), "fp32", (40, 40)), {}, [("cpu", "fp32", (40, 40), 1)]),  # smaller than the floor
        (
            Rung(GPU, "bf16", (64, 64)),
            {},
            [("cuda", "bf16", (64, 64), 1), ("cpu", "auto", (64, 64), 1)],
        ),
    ],
)
def test_the_ladder(first, options, expected):
    assert told(make_rungs(first, **options)) == expected


class Greedy:
    """Runs out of memory above a number of pixels, as each library says it."""

    name, precision, why = "greedy", "fp32", ""

    def __init__(self, most, error):
        self.device, self.most, self.error = cpu_device(), most, error
        self.calls = 0

    def __call__(self, batch):
        self.calls += 1
        if batch.size > self.most:
            raise self.error
        return batch


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
        RuntimeError("Exception from src/inference: std::bad_alloc"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("Native API failed: UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"),
        type("RuntimeException", (Exception,), {})(
            "[ONNXRuntimeError] : 6 : bfc_arena.cc Failed to allocate memory"
        ),
    ],
)
def test_smaller_tiles_until_the_memory_suffices(error):
    image = np.random.default_rng(1).random((1, 300, 260)).astype(np.float32)
    runtime = Greedy(64 * 64, error)
    heard = []

    def attempt(rung):
        plan = plan_tiles((300, 260), tile=rung.tile, overlap=0.125, batch=rung.batch)
        return rung.tile, predict_scores(ArraySource(image), runtime, plan)

    rungs = make_rungs(Rung(cpu_device(), "fp32", (256, 256), 4))
    tile, scores = with_ladder(attempt, rungs, heard.append)
    assert tile == (64, 64)
    np.testing.assert_allclose(scores, image, atol=1e-6)
    notices = [event for event in heard if isinstance(event, Notice)]
    assert [notice.level for notice in notices] == ["warning"] * 3
    assert "256 x 256, 4 at once" in notices[0].message
    assert "trying tiles of 64 x 64" in notices[-1].message


def test_after_the_last_rung_the_user_is_told():
    runtime = Greedy(0, MemoryError("no room"))
    rungs = make_rungs(Rung(GPU, "fp32", (64, 64)))
    with pytest.raises(OutOfMemory, match="cpu: no room") as caught:
        with_ladder(lambda rung: runtime(np.ones(rung.tile)), rungs)
    assert caught.value.hint
    assert isinstance(caught.value, MemoryError)
    assert runtime.calls == len(rungs) == 3


@pytest.mark.parametrize(
    "error",
    [
        ValueError("out of range"),
        Cancelled(),
        OptionError("x"),
        OutOfMemory("inner", "h"),
        KeyboardInterrupt(),
    ],
)
def test_other_failures_pass_through_at_once(error):
    calls = []

    def attempt(rung):
        calls.append(rung)
        raise error

    with pytest.raises(type(error)):
        with_ladder(attempt, make_rungs(Rung(GPU, "fp32", (128, 128))))
    assert len(calls) == 1
    assert not is_out_of_memory(error)


def test_the_failed_attempt_is_forgotten_before_the_next():
    """Its arrays would otherwise fill the memory that the next attempt needs."""

    class Big(np.ndarray):
        pass

    kept = []

    def attempt(rung):
        if kept:
            assert kept[0]() is None
            return "done"
        big = np.zeros(10).view(Big)
        kept.append(weakref.ref(big))
        raise MemoryError

    assert with_ladder(attempt, make_rungs(Rung(cpu_device(), "fp32", (128, 128)))) == "done"


def test_a_ladder_needs_a_rung():
    with pytest.raises(ValueError, match="no rungs"):
        with_ladder(lambda rung: None, [])


def test_what_did_not_suffice_for_one_frame_is_not_tried_for_the_next():
    heard, tried = [], []

    def attempt(rung, most):
        tried.append(rung.tile[0])
        if rung.tile[0] > most:
            raise MemoryError
        return rung.tile[0] * 10

    ladder = Ladder(make_rungs(Rung(cpu_device(), "fp32", (256, 192))), heard.append)
    assert ladder.first.tile == (256, 192)
    assert [ladder.climb(lambda rung: attempt(rung, 128)) for _ in range(2)] == [1280, 1280]
    assert ladder.climb(lambda rung: attempt(rung, 64)) == 640
    assert ladder.climb(lambda rung: attempt(rung, 256)) == 640  # memory that was short once is not trusted
    assert tried == [256, 128, 128, 128, 64, 64]
    assert ladder.first.tile[0] == 64
    assert len(heard) == 2
