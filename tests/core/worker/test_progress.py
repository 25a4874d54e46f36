"""Events as updates: what is told, what may be left out, where a run stops."""

import pytest

from deepbio.errors import Cancelled
from deepbio.events import Notice, Progress, Stage
from deepbio.worker import progress
from deepbio.worker.progress import Updates, as_text
from tests.core.worker.conftest import Heard


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still unless a test moves it."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_at_most_twenty_steps_a_second_and_always_the_last(task: Heard, clock: list[float]) -> None:
    updates = Updates(task)
    stage = Stage(updates, "predict", 1000)
    for _ in range(1000):
        clock[0] += 0.01
        stage.step()
    told = [current for _, current, _, _ in task.updates]
    assert told[0] == 0
    assert told[-1] == 1000
    assert len(told) <= 10 * 20 + 2
    assert all(maximum == 1000 for _, _, maximum, _ in task.updates)


def test_notices_are_never_left_out(task: Heard, clock: list[float]) -> None:
    updates = Updates(task)
    updates(Progress("predict", 1, 9))
    updates(Notice("Memory ran out.", "warning"))
    updates(Notice("Smaller tiles."))
    updates(Progress("predict", 2, 9))  # too soon
    assert [message for message, *_ in task.updates] == [
        "Predict, tile 1 of 9",
        "Memory ran out.",
        "Smaller tiles.",
    ]
    assert task.updates[1][3] == {
        "event": {"event": "notice", "message": "Memory ran out.", "level": "warning"}
    }


def test_many_short_frames_do_not_flood_the_client(task: Heard, clock: list[float]) -> None:
    updates = Updates(task)
    frames = Stage(updates, "frames", 500)
    for number in range(500):
        clock[0] += 0.002
        Stage(updates, "predict", 1, f"frame {number + 1}").step()
        frames.step()
    assert len(task.updates) < 30  # one second
    assert task.updates[-1][:3] == ("500 of 500 frames", 500, 500)


def test_the_event_itself_comes_with_the_update(task: Heard) -> None:
    Updates(task)(Progress("predict", 3, 12, 4.5, "frame 2"))
    ((message, current, maximum, info),) = task.updates
    assert (message, current, maximum) == ("Frame 2: predict, tile 3 of 12", 3, 12)
    assert info["event"] == {
        "event": "progress",
        "stage": "predict",
        "current": 3,
        "total": 12,
        "eta": 4.5,
        "item": "frame 2",
    }


def test_cancel_is_seen_at_the_next_event_even_one_that_is_not_told(task: Heard, clock: list[float]) -> None:
    updates = Updates(task)
    updates(Progress("predict", 1, 9))
    task.cancel_requested = True
    with pytest.raises(Cancelled):
        updates(Progress("predict", 2, 9))
    with pytest.raises(Cancelled):
        updates.check()
    assert len(task.updates) == 1


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Progress("predict", 0, 1), "Predict"),
        (Progress("instances", 5, 37), "Find objects, 5 of 37"),
        (Progress("files", 1, 3, item="Cell A.tif"), "1 of 3 files: Cell A.tif"),
        (Progress("read", 0, 1, item="frames.tif"), "Read: frames.tif"),
        (Progress("polish", 2, 7), "Polish, 2 of 7"),
        (Progress("predict", 1, 2, item="slice 4"), "Slice 4: predict, tile 1 of 2"),
    ],
)
def test_words_for_people(event: Progress, text: str) -> None:
    assert as_text(event) == text
