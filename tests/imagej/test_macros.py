"""The macros that users copy: each runs in a real ImageJ, on real images, and is held to what it found."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deepbio
from deepbio.image import Table

ROOT = Path(__file__).parents[2]
MACROS = ROOT / "imagej_bridge" / "macros"
DATA = ROOT / "tests" / "data"
EXAMPLES = ROOT / "examples"
CHILD = Path(__file__).with_name("macro_child.py")
JAR = Path(os.environ.get("DEEPBIO_IJ_JAR", "/usr/share/java/ij.jar"))
LIMIT = 240  # seconds
MARK = "@@told@@ "

LACKS = [
    what
    for what, there in {
        "java": shutil.which("java"),
        "ij.jar (Debian's libij-java)": JAR.is_file(),
        "jpype1 (pip install .[fiji])": importlib.util.find_spec("jpype"),
        "roifile (pip install .[fiji])": importlib.util.find_spec("roifile"),
    }.items()
    if not there
]
pytestmark = pytest.mark.skipif(bool(LACKS), reason=f"not installed: {', '.join(LACKS)}")

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A screen of our own."""
    if shutil.which("Xvfb") is None:
        pytest.skip("not installed: Xvfb")
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
    server = subprocess.Popen(
        command, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(writing)
    with os.fdopen(reading) as told:
        number = told.readline().strip()
    if not number:
        pytest.skip("Xvfb does not start")
    yield f":{number}"
    server.terminate()
    server.wait(timeout=30)


def run(macro: str, arguments: str, images: list[Path], screen: str | None) -> dict[str, Any]:
    job = {
        "macro": str(MACROS / macro),
        "arguments": arguments,
        "images": [str(path) for path in images],
        "headless": screen is None,
        "ij_jar": str(JAR),
    }
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "core"), str(ROOT)])}
    if screen is not None:
        environment["DISPLAY"] = screen
    done = subprocess.run(
        [sys.executable, str(CHILD), json.dumps(job)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    return json.loads(lines[-1].removeprefix(MARK)) | {"printed": done.stdout}


@pytest.fixture
def with_screen(display: str) -> Run:
    """Run a macro in an ImageJ with windows."""
    return lambda macro, arguments="", *images: run(macro, arguments, list(images), display)


@pytest.fixture
def headless() -> Run:
    """Run a macro in an ImageJ without a screen."""
    return lambda macro, arguments="", *images: run(macro, arguments, list(images), None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, a folder and a text, in a folder with a blank in its name."""
    made = tmp_path / "my images"
    (made / "older").mkdir(parents=True)
    (made / "notes.txt").write_text("none", encoding="utf-8")
    for name in ("fluorescence.tif", "timelapse.tif"):
        shutil.copy(EXAMPLES / name, made)
    return made


@cache
def table_of(name: str) -> Table:
    """What `deepbio.run` finds in an example, which every macro is to find, too."""
    table = deepbio.run(EXAMPLES / f"{name}.tif", "nuclei").table
    assert table is not None
    return table


def masks_of(model: str | Path) -> np.ndarray:
    labels = deepbio.run(EXAMPLES / "fluorescence.tif", model).labels
    assert labels is not None
    return labels.numpy() > 0


def count_in(name: str) -> int:
    return len(table_of(name))


def rows(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]


def test_segment_open_image(with_screen: Run) -> None:
    found, objects = (
        with_screen("segment_open_image.ijm", "", EXAMPLES / "fluorescence.tif"),
        count_in("fluorescence"),
    )
    assert (found["error"], found["returned"], found["current"]) == (
        None,
        str(objects),
        "fluorescence-labels",
    )
    assert found["images"]["fluorescence-labels"]["objects"] == objects > 40
    assert found["images"]["fluorescence-labels"]["bits"] == 16
    assert found["images"]["fluorescence.tif"]["range"] == [12, 228]
    assert found["results"]["label"] == list(range(1, objects + 1))
    assert found["results"]["area"] == table_of("fluorescence").columns["area"].tolist()
    assert set(found["results"]["image"]) == {"fluorescence.tif"}
    assert [roi["name"] for roi in found["rois"]] == [str(number) for number in range(1, objects + 1)]
    assert found["log"].startswith(f"fluorescence-labels: {objects} objects in ")


def test_segment_a_stack_without_a_screen(headless: Run) -> None:
    found = headless("segment_open_image.ijm", "nuclei", DATA / "imagej" / "nuclei_stack.tif")
    labels = found["images"]["nuclei_stack-labels"]
    assert labels["dimensions"] == [57, 61, 1, 9, 1]
    assert int(found["returned"]) == labels["objects"] == labels["overlay"] == len(found["results"]["label"])
    assert set(found["results"]["slice"]) == set(range(1, 10))
    assert "no ROI Manager" in found["printed"]


def test_nothing_is_found_in_a_movie_of_another_kind(with_screen: Run) -> None:
    """Phase contrast is not what the model knows: whatever it finds, the movie stays and the counts agree."""
    found = with_screen("segment_open_image.ijm", "", DATA / "imagej" / "phase_movie.tif")
    labels = found["images"]["phase_movie-labels"]
    assert labels["dimensions"] == [160, 128, 1, 1, 4]
    assert int(found["returned"]) == len(found["results"].get("label", [])) == len(found["rois"])


def test_an_unknown_model_ends_the_macro(headless: Run) -> None:
    found = headless("segment_open_image.ijm", "nuclej", EXAMPLES / "fluorescence.tif")
    assert "nuclej" in found["error"]
    assert list(found["images"]) == ["fluorescence.tif"]
    assert found["results"] == {}


def test_folder_to_csv_and_rois(headless: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = headless("folder_to_csv_and_rois.ijm", f"{folder};{out}")
    assert (found["error"], found["images"]) == (None, {})
    assert len(rows(out / "fluorescence-table.csv")) == 1 + count_in("fluorescence")
    assert len(rows(out / "timelapse-table.csv")) == 1 + count_in("timelapse")
    for name in ("fluorescence", "timelapse"):
        with zipfile.ZipFile(out / f"{name}-rois.zip") as outlines:
            assert len(outlines.namelist()) == count_in(name)
    status, objects = (rows(out / "summary.csv")[0].index(name) for name in ("status", "objects"))
    assert [(row[status], row[objects]) for row in rows(out / "summary.csv")[1:]] == [
        ("done", str(count_in("fluorescence"))),
        ("done", str(count_in("timelapse"))),
    ]


def test_folder_loop(with_screen: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = with_screen("folder_loop.ijm", f"{folder};{out}")
    assert (found["error"], found["returned"], found["images"]) == (None, "2", {})
    table = rows(out / "all_objects.csv")
    images = [row[table[0].index("image")] for row in table[1:]]
    for name in ("fluorescence", "timelapse"):
        assert images.count(f"{name}.tif") == count_in(name)
    assert len(rows(out / "timelapse-table.csv")) == 1 + count_in("timelapse")
    assert (out / "fluorescence-labels.tif").is_file()


def test_timelapse_table_per_frame(with_screen: Run, tmp_path: Path) -> None:
    found = with_screen("timelapse_table_per_frame.ijm", str(tmp_path), EXAMPLES / "timelapse.tif")
    assert found["error"] is None
    table = found["results"]
    assert table["frame"] == list(range(1, 25))
    assert sum(table["count"]) == count_in("timelapse")
    objects = rows(tmp_path / "objects.csv")
    frame, area = objects[0].index("frame"), objects[0].index("area")
    first = [float(row[area]) for row in objects[1:] if float(row[frame]) == 1]
    assert (table["count"][0], table["mean_area"][0]) == (len(first), pytest.approx(sum(first) / len(first)))
    assert len(rows(tmp_path / "frames.csv")) == 1 + 24


def test_timelapse_needs_frames(with_screen: Run) -> None:
    found = with_screen("timelapse_table_per_frame.ijm", "", EXAMPLES / "fluorescence.tif")
    assert "has one frame" in found["error"]


@pytest.mark.parametrize("channel", ["nuclei", "2"])
def test_channel_of_hyperstack(headless: Run, channel: str) -> None:
    found = headless("channel_of_hyperstack.ijm", channel, DATA / "imagej" / "phase_and_nuclei.tif")
    labels, image = (found["images"][f"phase_and_nuclei{end}"] for end in ("-labels", ".tif"))
    assert labels["dimensions"] == [120, 96, 1, 1, 3]
    assert (labels["range"], image["overlay"]) == ([0, 6], 18)
    table = found["results"]
    assert [table["frame"].count(frame) for frame in (1, 2, 3)] == [6, 6, 6]
    image = deepbio.read(DATA / "imagej" / "phase_and_nuclei.tif")
    expected = deepbio.run(image, "nuclei", deepbio.RunOptions(channel="2"))
    assert expected.table is not None
    assert expected.labels is not None
    assert table["area"] == expected.table.columns["area"].tolist()
    first = expected.labels.numpy()[0] == 1
    phase, nuclei = image.numpy()[0]
    assert table["mean_nuclei"][0] == pytest.approx(nuclei[first].mean(), abs=0.01)
    assert table["mean_phase"][0] == pytest.approx(phase[first].mean(), abs=0.01)


def test_classify_cells(headless: Run) -> None:
    found = headless("classify_cells.ijm", "", EXAMPLES / "blood_cells" / "monocyte.jpg")
    assert (found["error"], found["returned"]) == (None, "monocyte")
    assert found["results"]["probability"][0] > 0.9


def test_denoise_and_segment(headless: Run) -> None:
    found = headless("denoise_and_segment.ijm", "", EXAMPLES / "fluorescence.tif")
    assert found["error"] is None
    assert {"fluorescence-image", "fluorescence-image-labels"} <= set(found["images"])
    assert found["images"]["fluorescence.tif"]["range"] == [12, 228]
    assert 40 <= found["images"]["fluorescence-image-labels"]["objects"] <= 50


def test_upscale_and_segment(headless: Run) -> None:
    found = headless("upscale_and_segment.ijm", "", EXAMPLES / "fluorescence.tif")
    assert found["error"] is None
    assert 40 <= found["images"]["fluorescence-image-labels"]["objects"] <= 52
    table = deepbio.run(EXAMPLES / "fluorescence.tif", "nuclei").table
    assert table is not None
    # areas are told in the pixels of the original, of which each has four now
    assert np.median(found["results"]["area"]) == pytest.approx(np.median(table["area"]), rel=0.05)


def test_compare_two_models(headless: Run, tmp_path: Path) -> None:
    with zipfile.ZipFile(DATA / "bioimageio_unet2d_nuclei_broad.zip") as package:
        package.extractall(tmp_path)
    other = tmp_path / "bioimageio_unet2d_nuclei_broad"
    found = headless("compare_two_models.ijm", f"nuclei;{other}", EXAMPLES / "fluorescence.tif")
    table = found["results"]
    assert table["model"] == ["nuclei", str(other)]
    one, two = (masks_of(model) for model in ("nuclei", other))
    assert table["objects"] == [str(count_in("fluorescence")), "37"]
    assert table["foreground"] == [one.sum(), two.sum()]
    dice = 2 * (one & two).sum() / (one.sum() + two.sum())
    assert dice > 0.95
    assert table["dice"] == pytest.approx([dice, dice], abs=1e-4)
    assert float(found["returned"]) == pytest.approx(dice, abs=1e-4)


def test_compare_a_model_with_itself_on_a_stack(headless: Run) -> None:
    found = headless("compare_two_models.ijm", "", DATA / "imagej" / "nuclei_stack.tif")
    assert found["results"]["dice"] == [1, 1]
    assert found["results"]["objects"][0] == found["results"]["objects"][1]


def test_from_deepimagej(with_screen: Run) -> None:
    found = with_screen("from_deepimagej.ijm", "", EXAMPLES / "fluorescence.tif")
    assert found["error"] is None
    (title,) = set(found["images"]) - {"fluorescence.tif"}
    assert found["current"] == title
    assert title.startswith("fluorescence_")
    assert (found["images"][title]["dimensions"][:2], found["images"][title]["bits"]) == ([696, 520], 32)
    assert found["results"] == {}


def test_from_deepimagej_with_files(headless: Run, folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(DATA / "bioimageio_unet2d_nuclei_broad.zip") as package:
        package.extractall(tmp_path)
    model, out = tmp_path / "bioimageio_unet2d_nuclei_broad", tmp_path / "out"
    found = headless("from_deepimagej.ijm", f"{model};{folder / 'fluorescence.tif'};{out}")
    assert found["error"] is None
    assert (out / "fluorescence_probability.tif").is_file()
    assert found["images"]["fluorescence_probability"]["range"][1] <= 1


def test_every_macro_is_tested_and_says_what_it_does() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    for path in sorted(MACROS.glob("*.ijm")):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("// "), path.name
        assert "// To change:" in text, path.name
        assert f'"{path.name}"' in here, path.name
