"""An ImageJ that a user starts, without Python in it: the installed menu, a macro, the resident process."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import deepbio
from deepbio.io import read_labels, write
from imagej_bridge.menu import install
from imagej_bridge.resident import stop
from tests.imagej.hosts import JAR, missing
from tests.imagej.test_handover import spots

TIMEOUT = 120


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    stop()


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A screen that stays from one ImageJ to the next."""
    if missing():
        pytest.skip(missing())
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        with os.fdopen(reading) as pipe:
            number = pipe.readline().strip()
        assert number, f"Xvfb did not start: {server.poll()}"
        yield f":{number}"
        server.terminate()


@pytest.fixture
def run(tmp_path: Path, display: str, home: Path) -> Callable[[str], list[str]]:
    """Run a macro in an ImageJ of its own; returns what it printed with ``say(...)``."""
    (tmp_path / "ij" / "plugins").mkdir(parents=True)
    install(tmp_path / "ij")
    said = tmp_path / "said.txt"
    java = shutil.which("java")

    def start(macro: str) -> list[str]:
        path = tmp_path / "macro.ijm"
        head = f'function say(text) {{ File.append(text, "{said}"); }}\n'
        path.write_text(f'{head}{macro}\nsay("end");\nrun("Quit");\n', encoding="utf-8")
        # port 0: an ImageJ that is open already would else be asked to run the macro
        command = [
            java,
            f"-Dplugins.dir={tmp_path / 'ij'}",
            "-cp",
            str(JAR),
            "ij.ImageJ",
            "-port0",
            "-macro",
            str(path),
        ]
        process = subprocess.Popen(command, env={**os.environ, "DISPLAY": display}, stderr=subprocess.DEVNULL)
        try:
            process.wait(TIMEOUT)
        finally:
            process.kill()
            process.wait(10)
        return said.read_text(encoding="utf-8").splitlines()

    return start


@pytest.mark.parametrize(
    ("batch", "rois"), [("false", "2|0"), ("true", "0|2")]
)  # in the manager, in the overlay
def test_an_image(
    run: Callable[..., list[str]], tmp_path: Path, threshold_model: Path, batch: str, rois: str
) -> None:
    write(tmp_path / "cells.tif", spots())
    told = run(f"""
        setBatchMode({batch});
        open("{tmp_path}/cells.tif");
        image = getImageID();
        makeRectangle(3, 4, 5, 6);
        run("DeepBio Segment", "model=[{threshold_model}] output=labels,rois,table,overlay");
        getPixelSize(unit, width, height);
        say(getTitle() + "|" + unit + "|" + width + "|" + height);
        say("" + roiManager("count") + "|" + Overlay.size + "|" + nResults + "|" + getResultString("image", 1) + "|" + getResult("area", 1));
        say("" + Property.get("DeepBio.task"));
        saveAs("Tiff", "{tmp_path}/labels.tif");
        selectImage(image);
        getSelectionBounds(x, y, w, h);
        say(getTitle() + "|" + is("changes") + "|" + Overlay.size + "|" + x + " " + y + " " + w + " " + h);
        run("DeepBio Segment", "model=[{threshold_model}]");
        say(getTitle() + "|" + nResults + "|" + nImages);
        run("DeepBio Release");
        say("" + getInfo("log"));
    """)
    assert told[0] in ("cells-labels|µm|0.5|0.8", "cells-labels|microns|0.5|0.8")
    assert told[1:4] == [f"{rois}|2|cells.tif|1.6", "segment", "cells.tif|0|2|3 4 5 6"]
    assert told[4] == "cells-labels|4|3"  # the first was saved under another name
    assert told[-3] == "DeepBio let go: spots."  # both runs had the one that was loaded first
    expected = deepbio.run(spots(), str(threshold_model)).labels
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.tif").numpy(), expected.numpy())


def test_a_hyperstack(run: Callable[..., list[str]], tmp_path: Path, threshold_model: Path) -> None:
    write(tmp_path / "movie.tif", spots("TZYX"))
    told = run(f"""
        open("{tmp_path}/movie.tif");
        Stack.setPosition(1, 2, 3);
        run("DeepBio Segment", "model=[{threshold_model}] frames=current output=labels,rois,table");
        getDimensions(w, h, c, z, t);
        say("" + w + " " + h + " " + c + " " + z + " " + t + "|" + nResults + "|" + getResult("slice", 7));
        roiManager("select", 7);
        Roi.getPosition(c, z, t);
        say("" + c + " " + z + " " + t + "|" + roiManager("count"));
    """)
    assert told == ["31 23 1 4 1|8|4", "0 4 3|8", "end"]
