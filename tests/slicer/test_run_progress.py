"""One fraction and one line of text from the events of a worker."""

from __future__ import annotations

from typing import Any

import pytest

from SlicerDeepBioLib import run_progress
from SlicerDeepBioLib.client import Update
from SlicerDeepBioLib.run_progress import Progress


def update(stage: str, current: int, total: int, item: str = "") -> Update:
    event = {
        "event": "progress",
        "stage": stage,
        "current": current,
        "total": total,
        "eta": None,
        "item": item,
    }
    return Update({"message": stage, "current": current, "maximum": total, "info": {"event": event}})


def hear(progress: Progress, *events: Any) -> list[tuple[float, str]]:
    told = []
    for event in events:
        progress.hear(update(*event))
        told.append((progress.fraction, progress.text))
    return told


def test_a_volume_in_tiles() -> None:
    told = hear(
        Progress(),
        ("load", 0, 1),
        ("predict", 0, 12),
        ("predict", 5, 12),
        ("predict", 12, 12),
        ("instances", 50, 100),
    )
    assert [text for _, text in told] == [
        "Loading the model",
        "Tile 0 of 12",
        "Tile 5 of 12",
        "Tile 12 of 12",
        "Finding objects",
    ]
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < fractions[1] < 0.1
    assert 0.9 < fractions[3] < fractions[4] < 0.98


def test_objects_are_found_while_tiles_are_computed() -> None:
    told = hear(
        Progress(), ("predict", 3, 9), ("instances", 0, 1000), ("predict", 4, 9), ("instances", 400, 1000)
    )
    assert [text for _, text in told] == ["Tile 3 of 9", "Tile 3 of 9", "Tile 4 of 9", "Tile 4 of 9"]
    assert told[1][0] == told[0][0]
    assert told[3][0] == pytest.approx(0.06 + 0.92 * (0.95 * 4 / 9 + 0.05 * 0.4))


def test_frames_and_slices_are_named() -> None:
    progress = Progress(20, 4)
    told = hear(
        progress,
        ("frames", 0, 80),
        ("predict", 1, 2, "frame 1, slice 1"),
        ("predict", 1, 2, "frame 3, slice 2"),
        ("frames", 10, 80),
        ("predict", 2, 2, "frame 20, slice 4"),
        ("frames", 80, 80),
    )
    assert told[2][1] == "Frame 3 of 20, slice 2 of 4, tile 1 of 2"
    assert told[3][1] == "Frame 3 of 20, slice 3 of 4"
    assert told[5][1].startswith("Frame 20 of 20")
    assert told[2][0] == pytest.approx(0.06 + 0.92 * (9 + 0.95 / 2) / 80)
    assert told[4][0] == pytest.approx(0.06 + 0.92 * (79 + 0.95) / 80)


def test_it_never_goes_back() -> None:
    progress = Progress()
    hear(progress, ("predict", 8, 10))
    high = progress.fraction
    hear(progress, ("predict", 0, 40), ("load", 0, 1))  # memory ran out: smaller tiles, another device
    assert progress.fraction == high
    assert progress.text == "Loading the model"


def test_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(run_progress.time, "monotonic", lambda: now[0])
    progress = Progress(4)
    hear(progress, ("predict", 0, 10, "frame 1"))
    assert progress.eta is None
    now[0] += 30
    hear(progress, ("frames", 2, 4))
    # half of 0.06 to 0.98 took 30 s; what is left to 1 goes at that speed
    assert progress.eta == pytest.approx(30 * (0.48 / 0.46))
    assert progress.text == "Frame 3 of 4, 0:31 left"
    progress.placing(0.5)
    assert (progress.eta, progress.text) == (None, "Placing the result")


def test_other_stages_are_told_as_they_come() -> None:
    progress = Progress()
    hear(progress, ("predict", 1, 2), ("write", 0, 1))
    assert progress.text == "Write"
    progress.hear(Update({"message": "a notice", "info": {"event": {"event": "notice", "level": "info"}}}))
    assert progress.text == "Write"
