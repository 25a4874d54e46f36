"""Two hundred option strings that nobody would write: each runs, or aborts the macro with one line."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from deepbio.errors import DeepBioError
from imagej_bridge.session import MacroError
from tests.imagej.conftest import stray_dialogs
from tests.imagej.images import java, log_lines, spots, titles

COUNT = 200
COMMANDS = ("DeepBio Segment", "DeepBio Segment", "DeepBio Segment", "DeepBio Run", "DeepBio Batch", "DeepBio Restore",
            "DeepBio Models", "DeepBio Release", "DeepBio DeepImageJ Run", "DeepBio Xyzzy")  # fmt: skip
KEYS = ("output", "tile", "overlap", "min_size", "threshold", "channel", "frames", "slices", "title", "input", "per_slice",
        "mirror", "device", "runtime", "batch", "link_slices", "log", "save", "pattern", "model", "modle", "größe", "x1",
        "display_output", "")  # fmt: skip
VALUES = ("labels", "labels,table", "rois", "scores", "overlay", "[labels, rois]", "auto", "all", "current", "1", "2-1", "0",
          "-1", "1e9", "0.5", "NaN", "inf", "true", "maybe", "cpu", "cuda:7", "onnx", "[]", "[", "]", "[a b]", "[a [b] c]",
          "[a", "a]b", '\\"q\\"', "'q r'", "'", "細胞", "[µ, ü]", "/tmp/a b", "[/tmp/a b]", "C:\\\\temp", "[C:\\\\a b\\\\c]",
          "%s%n", "${HOME}", "cells.tif", "none.tif", ",", "=", "==", "a=b", ";", "1000000000000000000000", "", "\\t")  # fmt: skip


SANE = ("output=labels", "output=labels,table", "output=[scores , rois]", "tile=32", "overlap=0", "min_size=2", "mirror",
        "threshold=0.5", "frames=all", "slices=current", "title=[a b] ", "title=細胞", "log=debug", "per_slice", "batch=2")  # fmt: skip


def option_string(random_: random.Random, model: str) -> str:
    if random_.random() < 0.3:
        return " ".join([model, *random_.sample(SANE, random_.randint(0, 3))])
    parts = []
    if random_.random() < 0.6:
        parts.append(model)
    for _ in range(random_.choice((0, 1, 1, 2, 3, 5))):
        key, value = random_.choice(KEYS), random_.choice(VALUES)
        wild = key if random_.random() < 0.15 else f"{key}={value}"
        parts.append(random_.choice((wild, random_.choice(SANE))))
    random_.shuffle(parts)
    text = random_.choice((" ", " ", "  ", ",")).join(parts)
    return text[: random_.randint(0, len(text))].rstrip("\\") if random_.random() < 0.15 else text


@pytest.mark.parametrize("first", range(0, COUNT, 50))
def test_it_runs_or_aborts_with_one_line(session: Any, threshold_model: Path, first: int) -> None:
    model = f"model=[{threshold_model}] runtime=onnx device=cpu"
    image = spots()
    before = bytes(memoryview(image.getProcessor().getPixels()))
    shown = windows()
    outcomes = []
    for seed in range(first, first + 50):
        random_ = random.Random(seed)
        command, text = random_.choice(COMMANDS), option_string(random_, model)
        case = f"{seed}: {command} {text!r}"
        outcomes.append(outcome(session, f'run("{command}", "{text}");', case))
        assert stray_dialogs() == [], case
        assert bytes(memoryview(image.getProcessor().getPixels())) == before, case
        assert not image.changes, case
        assert image.getOverlay() is None or "overlay" in text, case
        image.deleteRoi()
        image.setOverlay(None)
        close_all_but(image)
    kinds = {kind for number, kind in windows().items() if number not in shown}
    assert kinds <= {"TextWindow", "RoiManager"}  # the Log, Results and tables
    assert titles() == ["cells.tif"]
    assert outcomes.count("ran") > 5
    assert outcomes.count("aborted") > 15
    told = session.run_macro(f'run("DeepBio Segment", "{model} output=labels"); t = getTitle(); return t;')
    assert told == "cells-labels"


def outcome(session: Any, line: str, case: str) -> str:
    """Run a line of a macro and the one after it: whether it ran, or aborted as it should."""
    macro = f'selectWindow("cells.tif");\n{line}\nprint("went on");\nreturn "done";'
    logged, before = log_lines().count("went on"), titles()
    session.bridge.errors.clear()
    error: DeepBioError | None = None
    try:
        assert session.run_macro(macro) == "done", case
    except DeepBioError as one:
        error = one
    if error is None:
        assert session.bridge.errors == [], case
        assert log_lines().count("went on") == logged + 1, case
        return "ran"
    assert not isinstance(error, MacroError), f"{case}: {error}"
    told = session.bridge.desk.last["error"]
    assert 0 < len(told) < 1500, case
    assert "\n" not in told, case
    assert log_lines().count("went on") == logged, case
    assert titles() == before, case
    return "aborted"


def windows() -> dict[str, str]:
    """Kinds of the windows that are shown, by name."""
    shown = [one for one in java("java.awt.Window").getWindows() if one.isVisible()]
    return {str(one.getName()): str(one.getClass().getSimpleName()) for one in shown}


def close_all_but(image: Any) -> None:
    manager = java("ij.WindowManager")
    for number in list(manager.getIDList()):
        if int(number) != int(image.getID()):
            other = manager.getImage(int(number))
            other.changes = False
            other.close()
