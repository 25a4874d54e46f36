"""Events: counting, time left, JSON lines, stopping."""

import json

import pytest

from deepbio import events
from deepbio.events import Cancelled, Notice, Progress, Stage

EVENTS = [
    Progress("predict", 3, 7, 1.5, "å [1].tif"),
    Progress("load", 0, 0),
    Notice("Tile 256 instead of 512.", "warning"),
    Notice("two\nlines"),
]


@pytest.mark.parametrize("event", EVENTS)
def test_json_line_comes_back_equal(event: events.Event) -> None:
    line = events.to_json(event)
    assert "\n" not in line
    assert events.from_json(line) == event


def test_json_has_plain_fields() -> None:
    assert json.loads(events.to_json(EVENTS[0])) == {
        "event": "progress",
        "stage": "predict",
        "current": 3,
        "total": 7,
        "eta": 1.5,
        "item": "å [1].tif",
    }


@pytest.mark.parametrize("line", ["{}", "[]", "3", '{"event": "party"}'])
def test_what_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="expected a JSON object with 'event'"):
        events.from_json(line)


def test_stage_counts_and_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 16.0])
    monkeypatch.setattr(events.time, "perf_counter", lambda: next(clock))
    heard: list[events.Event] = []
    stage = Stage(heard.append, "predict", 4, "a.tif")
    stage.step()
    stage.step(3)
    assert heard == [
        Progress("predict", 0, 4, None, "a.tif"),
        Progress("predict", 1, 4, 6.0, "a.tif"),  # 2 s for one, three left
        Progress("predict", 4, 4, 0.0, "a.tif"),
    ]


def test_stage_of_unknown_length_gives_no_time() -> None:
    heard: list[events.Event] = []
    stage = Stage(heard.append, "read", 0)
    stage.step()
    assert heard[-1] == Progress("read", 1, 0, None, "")


def test_listener_stops_the_job() -> None:
    def stop(event: events.Event) -> None:
        if isinstance(event, Progress) and event.current == 2:
            raise Cancelled

    stage = Stage(stop, "predict", 5)
    stage.step()
    with pytest.raises(Cancelled, match="Cancelled"):
        stage.step()
