"""Lines of macros that call our commands, and macros that are aborted."""

from __future__ import annotations

from typing import Any

import pytest

from deepbio.errors import DeepBioError
from tests.imagej.images import log_lines, titles


def segment(words: str, more: str = "") -> str:
    """A line of a macro."""
    return f'run("DeepBio Segment", "{words} {more}");\n'


def aborted(session: Any, macro: str) -> str:
    """The message with which a macro was aborted, and that it went no further."""
    before = titles()
    with pytest.raises(DeepBioError) as caught:
        session.run_macro(macro + 'print("went on");')
    assert "went on" not in log_lines()
    assert titles() == before
    told = session.bridge.desk.last.get("error", str(caught.value))
    assert "\n" not in told
    return told
