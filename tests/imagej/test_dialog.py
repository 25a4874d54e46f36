"""Commands from the menu: their dialogs, filled in and closed from another thread, and what is recorded of them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest

from imagej_bridge.commands import COMMANDS
from imagej_bridge.dialog import HIDDEN, LATER, kind_of, order
from imagej_bridge.options import ImageOptions, parse_words
from tests.imagej.images import java, spots, titles

TIMEOUT = 20


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_dialog_once(name: str) -> None:
    command = COMMANDS[name]
    shown = [one.name for one in order(command)]
    hidden = list(HIDDEN.get(command.options.__name__, ()))
    assert sorted(shown + hidden) == sorted(one.name for one in fields(command.options))
    if command.options is ImageOptions:
        assert shown[:2] == ["model", "input"]
        assert shown.index("min_size") < shown.index("precision")


@pytest.fixture
def attended(session: Any) -> Iterator[Any]:
    """A session with a person in front."""
    session.bridge.quiet = False
    yield session
    session.bridge.quiet = True


@pytest.fixture
def user(attended: Any) -> Iterator[Callable[..., None]]:
    """``user(act)``: a person who waits for the next dialog and does something with it."""
    threads: list[threading.Thread] = []
    failures: list[BaseException] = []

    def wait(act: Callable[[Any], None], title: str = "") -> None:
        def work() -> None:
            try:
                act(next_dialog(title))
            except BaseException as error:  # noqa: BLE001 - told at the end; the test waits for its dialog until then
                failures.append(error)
                for dialog in dialogs():
                    dialog.dispose()

        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()

    yield wait
    for thread in threads:
        thread.join(TIMEOUT)
    assert failures == []


def dialogs() -> list[Any]:
    kind = java("java.awt.Dialog")
    return [one for one in java("java.awt.Window").getWindows() if isinstance(one, kind) and one.isVisible()]


def next_dialog(title: str) -> Any:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        for dialog in dialogs():
            if str(dialog.getTitle()) == title or not title:
                time.sleep(0.2)
                return dialog
        time.sleep(0.05)
    raise AssertionError("no dialog was opened")


def press(dialog: Any, label: str) -> None:
    """Press a button as a person does: through the queue of events."""
    button = next(one for one in parts(dialog) if isinstance(one, java("java.awt.Button")) and str(one.getLabel()).strip() == label)  # fmt: skip
    event = java("java.awt.event.ActionEvent")
    queue = java("java.awt.Toolkit").getDefaultToolkit().getSystemEventQueue()
    queue.postEvent(event(button, event.ACTION_PERFORMED, label))


def parts(component: Any) -> Iterator[Any]:
    yield component
    if isinstance(component, java("java.awt.Container")):
        for child in component.getComponents():
            yield from parts(child)


def fill(dialog: Any, **values: str | bool) -> None:
    """Fill fields in by the names of their options: texts are kept in order, boxes have labels."""
    command = COMMANDS["DeepBio Segment"]
    later = "more options" in str(dialog.getTitle())
    shown = [one for one in order(command, task=command.task) if (one.name in LATER) == later]
    names = [one.name for one in shown if kind_of(one) == "text" and one.name not in ("model", "output")]
    widgets = dict(zip(names, dialog.getStringFields() or (), strict=True))
    widgets |= {str(box.getLabel()).replace(" ", "_"): box for box in dialog.getCheckboxes() or ()}
    for name, value in values.items():
        (widgets[name].setState if isinstance(value, bool) else widgets[name].setText)(value)


def choose_model(dialog: Any, model: str) -> None:
    choice = next(iter(dialog.getChoices()))
    choice.add(model)
    choice.select(model)


def test_a_dialog_runs_the_command(user: Any, ij: Any, threshold_model: Any) -> None:
    image = spots()

    def act(dialog: Any) -> None:
        assert str(dialog.getTitle()) == "DeepBio Segment"
        choose_model(dialog, str(threshold_model))
        fill(dialog, table=False, min_size="30")
        press(dialog, "OK")

    user(act)
    ij.run("DeepBio Segment")
    assert titles() == ["cells.tif", "cells-labels"]
    assert (
        java("ij.WindowManager").getImage("cells-labels").getStatistics().max == 1
    )  # the smaller one is dropped
    assert not image.changes


def test_cancel_does_nothing(user: Any, ij: Any) -> None:
    spots()
    user(lambda dialog: press(dialog, "Cancel"))
    with pytest.raises(java("java.lang.RuntimeException"), match="Macro canceled"):  # ImageJ's own way
        ij.run("DeepBio Segment")
    assert titles() == ["cells.tif"]


def test_what_is_recorded_runs_again(user: Any, attended: Any, ij: Any, threshold_model: Any) -> None:
    spots()
    recorder = java("ij.plugin.frame.Recorder")()

    def act(dialog: Any) -> None:
        choose_model(dialog, str(threshold_model))
        fill(dialog, scores=True, title="my \\ result", per_slice=True)
        press(dialog, "OK")

    user(act)
    ij.run("DeepBio Segment")
    (line,) = (line for line in str(recorder.getText()).splitlines() if "DeepBio" in line)
    recorder.close()
    words = line.removeprefix('run("DeepBio Segment", "').removesuffix('");').replace("\\\\", "\\")
    assert parse_words(words) == {
        "model": str(threshold_model),
        "output": "labels,table,scores",
        "title": "my \\ result",
        "per_slice": None,
    }
    assert titles() == ["cells.tif", "my \\ result-scores", "my \\ result"]
    attended.bridge.quiet = True
    attended.run_macro('selectWindow("cells.tif");\n' + line)
    assert titles()[3:] == ["my \\ result-scores-1", "my \\ result-1"]


def test_rarely_needed_options_are_in_a_second_dialog(
    user: Any, attended: Any, ij: Any, threshold_model: Any
) -> None:
    spots()

    def first(dialog: Any) -> None:
        choose_model(dialog, str(threshold_model))
        fill(dialog, more_options=True, table=False)
        press(dialog, "OK")
        user(second, "DeepBio Segment: more options")

    def second(dialog: Any) -> None:
        fill(dialog, tile="16", overlap="0.25")
        press(dialog, "OK")

    user(first)
    ij.run("DeepBio Segment")
    record = json.loads(attended.bridge.desk.last["record"])
    assert max(record["tile"]) <= 16  # of an image of 37 x 53


def test_an_error_is_shown_to_the_person(user: Any, ij: Any) -> None:
    spots()
    told: list[str] = []

    def act(dialog: Any) -> None:
        from imagej_bridge.watchdog import _texts

        told.extend(_texts(dialog))
        press(dialog, "OK")

    user(act)
    with pytest.raises(java("java.lang.RuntimeException"), match="Macro canceled"):
        ij.run("DeepBio Segment", "model=none")
    assert told[0] == "DeepBio"
    assert "There is no model 'none'" in " ".join(told)


def test_commands_without_options_open_no_dialog(attended: Any, ij: Any) -> None:
    ij.run("DeepBio Release")
    ij.run("DeepBio Models")
    assert java("ij.measure.ResultsTable").getResultsTable("DeepBio Models") is not None


def test_the_menu(attended: Any, ij: Any) -> None:
    attended.show_window()
    menu = java("ij.Menus").getImageJMenu("Plugins")
    last = menu.getItem(menu.getItemCount() - 1)
    assert str(last.getLabel()) == "DeepBio"
    assert [str(last.getItem(i).getLabel()) for i in range(last.getItemCount())] == list(COMMANDS)
    ij.getInstance().setVisible(False)
