"""Dialogs that nobody would close while a macro runs unattended: what only tells does not fail it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imagej_bridge.session import MacroError


def test_a_message_fails_no_macro(session: Any) -> None:
    assert session.run_macro('showMessage("Ready", "All is done."); return "5";') == "5"
    assert session.run_macro('showMessage("All is done."); exit();') == ""


def test_a_message_at_the_end_of_a_macro_is_why_it_failed(session: Any) -> None:
    with pytest.raises(MacroError, match=r"aborted: No images here\.$"):
        session.run_macro('showMessage("Look at this"); exit("No images here.");')
    with pytest.raises(MacroError, match=r"aborted: Opener File not found: .*not-there\.tif$"):
        session.run_macro('showMessage("Look at this"); open("/not-there.tif");')


def test_a_question_fails_it_with_its_own_words_alone(session: Any) -> None:
    with pytest.raises(MacroError, match=r"while nobody was there: How many\? 5$"):
        session.run_macro('getNumber("How many?", 5);')


def test_the_first_mistake_is_told_not_where_imagej_could_not_go_on(session: Any, tmp_path: Path) -> None:
    with pytest.raises(MacroError, match=r'aborted: Unrecognized command: "No Such" \(line 2\)\.$'):
        session.run_macro('function act() {\n  run("No Such");\n  print("on");\n}\nact();')
    (tmp_path / "inner.ijm").write_text('a = 1;\nrun("No Such");')
    with pytest.raises(MacroError, match=r'aborted: Unrecognized command: "No Such" \(line 2\)\.$'):
        session.run_macro(f'runMacro("{tmp_path}/inner.ijm");')
