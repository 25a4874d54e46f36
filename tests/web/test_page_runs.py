"""Runs that do not end well, and images of other kinds: Cancel, a killed worker, planes, sequences."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import deepbio
from deepbio.image import Grid, Image
from tests.web.conftest import EXAMPLES, Served, Tab

OPTIONS = deepbio.RunOptions(runtime="onnx")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume that keeps the model busy for a while; oblique, anisotropic, of odd sizes."""
    pixels = np.random.default_rng(7).normal(500, 100, (131, 147, 163)).astype(np.int16)
    direction = np.array([[0.0, -0.6, 0.8], [0.0, 0.8, 0.6], [1.0, 0.0, 0.0]])
    path = tmp_path_factory.mktemp("large") / "large.nii.gz"
    deepbio.write(
        path,
        Image(
            pixels, "ZYX", Grid(pixels.shape, (1.2, 0.9, 1.0), (10.0, -20.0, 5.0), direction, "millimeter")
        ),
    )
    return path


def _worker(served: Served) -> psutil.Process:
    children = psutil.Process(served.process.pid).children(recursive=True)
    return next(one for one in children if "worker" in one.cmdline())


def test_cancel_stops_the_run_and_leaves_nothing(
    chromium: Any, serve: Callable[..., Served], large: Path
) -> None:
    served = serve(large, "--model", "hippocampus")
    tab = Tab(chromium, served.address)
    tab.wait_until_ready()
    tab.choose("runtime", "onnx")  # without a trial of all runtimes first
    tab.segment()
    tab.page.wait_for_selector("#progress-text:has-text('tile')")
    assert tab.text("#segment") == "Cancel"
    start = time.monotonic()
    tab.page.click("#segment")
    tab.page.wait_for_selector(".message:has-text('Cancelled')")
    assert time.monotonic() - start < 10  # 5 s, and what a busy machine adds in the browser
    assert tab.text("#segment") == "Segment"
    assert tab.page.locator("#results").count() == 0
    assert tab.problems == []

    tab.segment()  # the same worker goes on; this time it is killed
    tab.page.wait_for_selector("#progress-text:has-text('tile')")
    worker = next(
        one
        for one in psutil.Process(served.process.pid).children(recursive=True)
        if "worker" in one.cmdline()
    )
    worker.kill()
    tab.page.wait_for_selector(".message:has-text('memory')")
    assert tab.text("#segment") == "Segment"
    assert tab.page.locator("#results").count() == 0

    tab.segment()  # a new worker is started
    tab.page.wait_for_selector("#progress-text:has-text('tile')")
    worker = _worker(served)
    assert served.stop() == 130
    assert psutil.wait_procs([worker], timeout=10)[1] == []  # it has ended with the page
    tab.page.wait_for_selector("body.lost", state="attached")
    tab.close()


def test_objects_of_a_plane(chromium: Any, serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve(EXAMPLES / "fluorescence.tif", "--model", "nuclei")
    tab = Tab(chromium, served.address)
    tab.wait_until_ready()
    assert tab.page.locator(".cell").count() == 1
    tab.choose("runtime", "onnx")
    tab.segment()
    tab.wait_for_result()
    expected = deepbio.run(EXAMPLES / "fluorescence.tif", "nuclei", OPTIONS)
    assert f"{expected.labels.count} objects" in tab.text("#summary")
    labels = deepbio.read_labels(tab.download("Labels", tmp_path))
    assert np.array_equal(labels.numpy(), expected.labels.numpy())
    header = tab.download("Table", tmp_path).read_text(encoding="utf-8").splitlines()[0]
    assert "area [px^2]" in header  # the file says no spacing
    served.stop()
    tab.close()


def test_a_sequence(chromium: Any, serve: Callable[..., Served], tmp_path: Path) -> None:
    path = EXAMPLES / "heart_cine.nii.gz"
    served = serve(path, "--model", "heart-lv")
    tab = Tab(chromium, served.address)
    tab.wait_until_ready()
    assert "1 of 5" in tab.text("#frames")
    tab.choose("runtime", "onnx")
    tab.segment()
    tab.wait_for_result()
    expected = deepbio.run(path, "heart-lv", OPTIONS)
    labels = deepbio.read_labels(tab.download("Labels", tmp_path))
    assert np.array_equal(labels.numpy(), expected.labels.numpy())
    assert tab.page.locator(".legend .name").all_inner_texts() == ["left ventricle blood pool"]
    assert tab.page.locator("#curve polyline").count() == 1
    box = tab.page.locator("#frames .v-slider").bounding_box()
    tab.page.mouse.click(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
    tab.page.wait_for_selector("#frames:has-text('5 of 5')")
    assert tab.problems == []
    served.stop()
    tab.close()


def test_a_model_that_does_not_fit_says_why(chromium: Any, serve: Callable[..., Served]) -> None:
    served = serve(EXAMPLES / "fluorescence.tif", "--model", "hippocampus")
    tab = Tab(chromium, served.address)
    tab.page.wait_for_selector("#why-not:has-text('hippocampus')")
    assert tab.page.locator("#segment").is_disabled()
    tab.page.click(".v-select:has(#model)")
    entries = tab.page.locator(".v-overlay--active .v-list-item")
    closed = ["v-list-item--disabled" in (one.get_attribute("class") or "") for one in entries.all()]
    assert closed == sorted(closed)  # what fits comes first
    assert any("Hippocampus in T1 MR (3D)" in one.inner_text() for one in entries.all()[closed.index(True) :])
    served.stop()
    tab.close()
