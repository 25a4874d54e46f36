"""Commands from the menu: their dialogs, filled in and closed from another thread, and what is recorded of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest

from imagej_bridge.commands import COMMANDS
from imagej_bridge.dialog import HIDDEN, order
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

    def wait(act: Callable[[Any], None]) -> None:
        def work() -> None:
            try:
                act(next_dialog())
            except BaseException as error:
                failures.append(error)
                raise

        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()

    yield wait
    for thread in threads:
        thread.join(TIMEOUT)
    assert failures == []


def next_dialog() -> Any:
    kind = java("java.awt.Dialog")
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        for window in java("java.awt.Window").getWindows():
            if isinstance(window, kind) and window.isVisible():
                time.sleep(0.2)
                return window
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
    """Fill fields in by the name of the option: GenericDialog keeps texts, checkboxes and choices in order."""
    shown = order(COMMANDS["DeepBio Segment"])
    lists = {"text": list(dialog.getStringFields() or ()), "bool": list(dialog.getCheckboxes() or ())}
    from imagej_bridge.dialog import kind_of

    for kind, widgets in lists.items():
        names = [one.name for one in shown if kind_of(one) == kind and one.name != "model"]
        for name, widget in zip(names, widgets, strict=True):
            if name in values:
                (widget.setText if kind == "text" else widget.setState)(values[name])


def choose_model(dialog: Any, model: str) -> None:
    choice = next(iter(dialog.getChoices()))
    choice.add(model)
    choice.select(model)


def test_a_dialog_runs_the_command(user: Any, ij: Any, threshold_model: Any) -> None:
    image = spots()

    def act(dialog: Any) -> None:
        assert str(dialog.getTitle()) == "DeepBio Segment"
        choose_model(dialog, str(threshold_model))
        fill(dialog, output="labels", min_size="30", runtime="onnx")
        press(dialog, "OK")

    user(act)
    ij.run("DeepBio Segment")
    assert titles() == ["cells.tif", "cells-labels"]
    assert java("ij.WindowManager").getImage("cells-labels").getStatistics().max == 1  # the smaller one is dropped
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
        fill(dialog, output="labels,table", title="my \\ result", per_slice=True)
        press(dialog, "OK")

    user(act)
    ij.run("DeepBio Segment")
    (line,) = (line for line in str(recorder.getText()).splitlines() if "DeepBio" in line)
    recorder.close()
    words = line.removeprefix('run("DeepBio Segment", "').removesuffix('");').replace("\\\\", "\\")
    assert parse_words(words) == {
        "model": str(threshold_model),
        "output": "labels,table",
        "title": "my \\ result",
        "per_slice": None,
    }
    assert titles() == ["cells.tif", "my \\ result"]
    attended.bridge.quiet = True
    attended.run_macro('selectWindow("cells.tif");\n' + line)
    assert titles() == ["cells.tif", "my \\ result", "my \\ result-1"]


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
