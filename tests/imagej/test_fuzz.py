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
          "[a", "a]b", '\\"q\\"', "'q r'", "'", "細胞", "[µ – ü]", "/tmp/a b", "[/tmp/a b]", "C:\\\\temp", "[C:\\\\a b\\\\c]",
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
    windows = java("java.awt.Window").getWindows()
    shown = {str(one.getName()) for one in windows if one.isVisible()}
    ran = aborted = 0
    for seed in range(first, first + 50):
        random_ = random.Random(seed)
        command, text = random_.choice(COMMANDS), option_string(random_, model)
        macro = f'selectWindow("cells.tif");\nrun("{command}", "{text}");\nprint("went on");\nreturn "done";'
        case = f"{seed}: {command} {text!r}"
        logged, open_before = log_lines().count("went on"), titles()
        session.bridge.errors.clear()
        try:
            assert session.run_macro(macro) == "done", case
        except DeepBioError as error:
            aborted += 1
            assert not isinstance(error, MacroError), f"{case}: {error}"
            told = session.bridge.desk.last["error"]
            assert told, case
            assert "\n" not in told, case
            assert len(told) < 1500, case
            assert log_lines().count("went on") == logged, case
            assert titles() == open_before, case
        else:
            ran += 1
            assert session.bridge.errors == [], case
            assert log_lines().count("went on") == logged + 1, case
        assert stray_dialogs() == [], case
        assert bytes(memoryview(image.getProcessor().getPixels())) == before, case
        assert not image.changes, case
        assert image.getOverlay() is None or "overlay" in text, case
        for title in titles():
            if title != "cells.tif":
                found = java("ij.WindowManager").getImage(title)
                found.changes = False
                found.close()
    new = [
        one
        for one in java("java.awt.Window").getWindows()
        if one.isVisible() and str(one.getName()) not in shown
    ]
    kinds = {str(one.getClass().getSimpleName()) for one in new}
    assert kinds <= {"TextWindow", "RoiManager"}  # the Log, Results and tables
    assert titles() == ["cells.tif"]
    assert ran > 5
    assert aborted > 15
    assert (
        session.run_macro(f'run("DeepBio Segment", "{model} output=labels"); t = getTitle(); return t;')
        == "cells-labels"
    )
