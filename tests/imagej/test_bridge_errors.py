"""What aborts a macro: mistakes in it, errors of a command, dialogs nobody would close, and Esc."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepbio.errors import Cancelled, UnknownModel
from imagej_bridge.session import MacroError
from tests.imagej.calls import aborted, segment
from tests.imagej.images import imageplus, java, log_lines, planes, results, spots, titles


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("modle=nuclei", "no option 'modle'. Did you mean 'model'"),
        ("model=nucleii", "'nucleii'"),
        ("model=nuclei tile=big", "'tile' is 'big'"),
        ("model=nuclei output=labels, table", "output=[labels, table]"),
        ("model=nuclei output=image", "gives no image"),
        ("model=[nuclei", "has no ] at its end"),
        ("model=/not/there", "/not/there"),
        ("model=nuclei frames=2", "the image has 1"),
        ("model=nuclei channel=7", "channel"),
        ("model=nuclei device=cuda:9", "cuda"),
        ("model=hippocampus", "hippocampus"),
        ("", "model"),
    ],
)
def test_errors_abort_the_macro_with_one_line(session: Any, words: str, part: str) -> None:
    image = spots()
    before = planes(image)
    assert part in aborted(session, segment(words))
    np.testing.assert_array_equal(planes(image), before)
    assert int(results().size()) == 0


def test_an_error_in_a_nested_macro_aborts_both(session: Any, tmp_path: Path) -> None:
    spots()
    (tmp_path / "inner.ijm").write_text(segment("model=none") + 'print("inner went on");')
    aborted(session, f'runMacro("{tmp_path}/inner.ijm");')
    assert log_lines() == []


def test_after_an_error_all_is_well(session: Any, model: str) -> None:
    spots()
    aborted(session, "setBatchMode(true);" + segment("model=none"))
    assert session.run_macro(segment(model, "output=labels") + "return getTitle();") == "cells-labels"


def test_errors_from_java_are_kept_and_open_no_window(session: Any, ij: Any, model: str) -> None:
    spots()
    with pytest.raises(java("java.lang.RuntimeException"), match="Macro canceled"):  # ImageJ's own way
        ij.run("DeepBio Segment", "model=none")
    assert [type(error) for error in session.bridge.errors] == [UnknownModel]
    assert "none" in session.bridge.desk.last["error"]
    ij.run("DeepBio Segment", f"{model} output=labels")
    assert titles() == ["cells.tif", "cells-labels"]


def test_an_error_of_python_is_told_too(session: Any, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    def broken(*args: object) -> None:
        raise ValueError("two\nlines")

    spots()
    monkeypatch.setattr(session.bridge.desk, "take", broken)
    with pytest.raises(ValueError, match="two"):
        session.run_macro(segment(model) + 'print("went on");')
    assert "two lines" in session.bridge.desk.last["error"]
    assert log_lines() == []


def test_the_traceback_is_logged_on_request(session: Any) -> None:
    spots()
    with pytest.raises(UnknownModel):
        session.run_macro(segment("model=none log=debug"))
    assert any(line.startswith("Traceback") for line in log_lines())


def test_mistakes_of_the_macro_itself_are_told(session: Any) -> None:
    with pytest.raises(MacroError, match=r"aborted: Undefined variable \(line 2\)"):
        session.run_macro("a = 1;\nb = c;\nprint('went on');")
    with pytest.raises(MacroError, match="aborted: There are no images open"):
        session.run_macro('s = getTitle(); print("went on");')
    with pytest.raises(MacroError, match='aborted: No window with the title "b" found'):
        session.run_macro('selectWindow("b"); print("went on");')
    with pytest.raises(MacroError, match="stop here"):
        session.run_macro('exit("stop here");')
    assert session.run_macro("exit();") == ""
    assert log_lines() == []
    assert session.run_macro("return 'well';") == "well"


def test_dialogs_nobody_would_close_are_closed(session: Any) -> None:
    with pytest.raises(MacroError, match=r"while nobody was there: Question.*Which cells"):
        session.run_macro(
            'Dialog.create("Question"); Dialog.addMessage("Which cells?"); Dialog.show(); print("on");'
        )
    with pytest.raises(MacroError, match=r"while nobody was there.*Look here"):
        session.run_macro('waitForUser("Look here");')


def test_escape_stops_a_run(session: Any, ij: Any, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spots("TZYX")
    listener, told = session.bridge.desk.listener, []

    class Slow(type(listener)):  # type: ignore[misc]
        def __call__(self, event: Any) -> None:
            told.append(event)
            if len(told) == 3:
                ij.setKeyDown(java("java.awt.event.KeyEvent").VK_ESCAPE)
            super().__call__(event)

    monkeypatch.setattr(session.bridge.desk, "listener", Slow())
    with pytest.raises(Cancelled):
        session.run_macro(segment(model) + 'print("went on");')
    assert len(told) == 3
    assert log_lines() == []
    assert titles() == ["cells.tif"]
    monkeypatch.undo()
    session.run_macro(segment(model, "output=labels"))  # Esc is forgotten
    assert len(titles()) == 2


def test_escape_from_another_thread(session: Any, ij: Any, model: str) -> None:
    image = imageplus(np.zeros((60, 257, 259), np.uint16), "ZYX", "big")
    image.show()

    def press() -> None:
        time.sleep(0.3)
        ij.setKeyDown(java("java.awt.event.KeyEvent").VK_ESCAPE)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(Cancelled):
        session.run_macro(segment(model, "tile=16") + 'print("went on");')
    thread.join()
    assert titles() == ["big"]
    assert log_lines() == []
