"""The page with models of each task: what it says, shows and lets download, in a real browser on real images."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

import deepbio
from tests.web.conftest import EXAMPLES, Tab

OPTIONS = deepbio.RunOptions(runtime="onnx")
COMPUTING = ["Precision", "Runtime", "Tile", "Overlap", "Batch"]
CELL = EXAMPLES / "blood_cells" / "neutrophil.jpg"


@pytest.fixture
def open_tab(chromium: Any, serve: Callable[..., Any]) -> Iterator[Callable[..., Tab]]:
    """``open_tab(image, model)``: a page that is ready, computing with ONNX Runtime; ended with the test."""
    opened = []

    def start(image: Path, model: str) -> Tab:
        served = serve(image, "--model", model)
        tab = Tab(chromium, served.address)
        opened.append((served, tab))
        tab.wait_until_ready()
        tab.choose("runtime", "onnx")
        return tab

    yield start
    for served, tab in opened:
        assert tab.problems == []
        tab.close()
        served.stop()


def press(tab: Tab, verb: str) -> None:
    assert tab.text("#segment") == verb
    tab.page.click("#segment")
    tab.wait_for_result(verb)
    tab.page.wait_for_timeout(700)  # until the views are drawn


def seen(tab: Tab) -> np.ndarray:
    """What the view shows in its middle, apart from what is written over it."""
    shot = Picture.open(io.BytesIO(tab.page.locator("#view-axial img").screenshot())).convert("RGB")
    pixels = np.asarray(shot).astype(float)
    height, width = pixels.shape[:2]
    return pixels[height // 8 : -height // 8, width // 4 : -width // 4]


def look_at(tab: Tab, title: str) -> np.ndarray:
    tab.page.click(f"#layers button:has-text('{title}')")
    tab.page.wait_for_selector(f"#layers button[aria-pressed=true]:has-text('{title}')")
    tab.page.wait_for_timeout(700)
    return seen(tab)


def layers(tab: Tab) -> list[str]:
    return list(tab.page.locator("#layers button").all_inner_texts())


def downloads(tab: Tab) -> list[str]:
    return [one.strip() for one in tab.page.locator("a.download").all_inner_texts()]


def test_a_class_with_its_reasons(open_tab: Callable[..., Tab], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    tab = open_tab(CELL, "blood-cells")
    own = ["Channel", "Mirror", "Classify", "Objects", "Explain", "Target", "Layer", "Uncertainty"]
    assert tab.options() == ["Device", *own, *COMPUTING]
    before = seen(tab)
    tab.choose("explain", "gradcam")
    tab.type("layer", "auto")
    press(tab, "Classify")
    expected = deepbio.run(CELL, "blood-cells", OPTIONS.replace(explain="gradcam", layer="auto"))
    assert expected.table is not None
    assert expected.explanation is not None
    first = tab.page.locator("#answers li").first.inner_text().split("\n")
    assert first == ["neutrophil", f"{100 * float(expected.table['p_neutrophil'][0]):.1f} %"]
    assert tab.page.locator("#answers li").count() == 5
    assert layers(tab) == ["Image", "Explanation"]
    under = seen(tab)
    assert np.abs(under - before).mean() > 5  # the map is over the image from the start
    assert np.abs(look_at(tab, "Image") - before).mean() < 2
    assert not tab.page.locator("#overlay").count()

    assert downloads(tab) == ["Explanation", "Table", "Features"]
    image = deepbio.read(tab.download("Explanation", tmp_path))
    np.testing.assert_allclose(image.numpy(), expected.explanation.numpy(), atol=1e-6)
    with tab.download("Features", tmp_path).open(newline="", encoding="utf-8") as lines:
        (row,) = csv.DictReader(lines)
    assert len(row) > 50
    tab.page.click("#show-table")
    tab.page.click("#table button:has-text('Features')")
    assert "more columns in the download" in tab.text("#table .table-head")
    tab.page.click("#show-table")

    tab.page.click("#remove")
    tab.page.wait_for_selector("#results", state="detached")
    tab.page.wait_for_timeout(1500)
    assert np.abs(seen(tab) - before).mean() < 2


def test_a_map_of_each_class(open_tab: Callable[..., Tab], tmp_path: Path) -> None:
    tab = open_tab(EXAMPLES / "histology.png", "blood-cells")
    tab.choose("classify", "tiles")
    tab.type("tile", "96")
    press(tab, "Classify")
    options = OPTIONS.replace(classify="tiles", tile=96, output=("table", "image"))
    expected = deepbio.run(EXAMPLES / "histology.png", "blood-cells", options)
    assert expected.table is not None
    assert expected.image is not None
    counts = [int(text) for text in tab.page.locator("#answers .size").all_inner_texts()]
    assert sum(counts) == len(expected.table["class"])
    names = tab.page.locator("#answers .name").all_inner_texts()
    assert counts == [np.count_nonzero(expected.table["class"] == name) for name in names]
    assert layers(tab) == ["Image", *expected.image.channels]
    assert tab.page.locator("#layers button[aria-pressed=true]").inner_text() == names[0]
    image = deepbio.read(tab.download("Heat map", tmp_path))
    assert image.channels == expected.image.channels
    np.testing.assert_allclose(image.numpy(), expected.image.numpy(), atol=1e-6)


def test_a_restored_image(open_tab: Callable[..., Tab], tmp_path: Path) -> None:
    path = EXAMPLES / "noisy_mitochondria.png"
    tab = open_tab(path, "denoise")
    assert tab.options() == ["Device", "Mirror", "Layer", "Uncertainty", *COMPUTING]
    noisy = seen(tab)
    press(tab, "Restore")
    expected = deepbio.run(path, "denoise", OPTIONS).image
    assert expected is not None
    assert layers(tab) == ["Image", "Restored"]
    restored = seen(tab)
    assert _roughness(restored) < 0.5 * _roughness(noisy)
    assert tab.text("#view-axial .view-title") == "Restored"
    assert np.abs(look_at(tab, "Image") - noisy).mean() < 2
    assert downloads(tab) == ["Restored"]
    title = tab.page.locator("a.download").get_attribute("title")
    assert title == "Numbers as they are, on the grid of the image (.tif)"
    saved = tab.download("Restored", tmp_path)
    assert saved.name == "noisy_mitochondria-image.tif"
    image = deepbio.read(saved)
    np.testing.assert_allclose(image.numpy(), expected.numpy(), atol=1e-4)
    assert image.grid == expected.grid


def test_a_finer_image(open_tab: Callable[..., Tab], tmp_path: Path) -> None:
    path = tmp_path / "coarse.tif"
    image = deepbio.read(EXAMPLES / "noisy_mitochondria.png")
    pixels = image.numpy()[:120, :90]
    deepbio.write(path, deepbio.Image(pixels, "YX", deepbio.Grid((120, 90), (0.3, 0.4), unit="micrometer")))
    tab = open_tab(path, "upscale-x2")
    press(tab, "Restore")
    expected = deepbio.run(path, "upscale-x2", OPTIONS).image
    assert expected is not None
    assert layers(tab) == ["Image", "Restored"]
    title = tab.page.locator("a.download").get_attribute("title")
    assert title == "Numbers as they are, on their own grid (.tif)"
    found = deepbio.read(tab.download("Restored", tmp_path))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4)
    assert found.grid.shape == expected.grid.shape == (240, 180)
    np.testing.assert_allclose(found.grid.spacing, expected.grid.spacing, rtol=1e-5)
    np.testing.assert_allclose(found.grid.origin, expected.grid.origin, atol=1e-5)


def _roughness(pixels: np.ndarray) -> float:
    return float(np.abs(np.diff(pixels[..., 0], axis=1)).mean())


def test_an_image_from_a_mask(open_tab: Callable[..., Tab], tmp_path: Path) -> None:
    path = EXAMPLES / "fluorescence_labels.tif"
    tab = open_tab(path, "nuclei-synth")
    assert tab.options() == ["Device", "Seed", *COMPUTING]
    tab.type("seed", "4")
    press(tab, "Generate")
    expected = deepbio.run(path, "nuclei-synth", OPTIONS.replace(seed=4)).image
    assert expected is not None
    assert layers(tab) == ["Mask", "Made image"]
    assert downloads(tab) == ["Made image"]
    np.testing.assert_array_equal(
        deepbio.read(tab.download("Made image", tmp_path)).numpy(), expected.numpy()
    )


def _small(pixels: np.ndarray) -> np.ndarray:
    """The same in a size of its own: a slider below the view takes some of it."""
    return np.asarray(Picture.fromarray(pixels.astype(np.uint8)).resize((64, 64)), float)


def _wait_for(tab: Tab, before: np.ndarray, *, same: bool) -> np.ndarray:
    """What the view shows once it is (or is not) what it was; the page says so before it is drawn."""
    for _ in range(60):
        now = _small(seen(tab))
        apart = float(np.abs(now - before).mean())
        if apart < 2 if same else apart > 5:
            return now
        tab.page.wait_for_timeout(500)
    raise AssertionError(f"the view is {apart:.1f} away from what it was")


def test_images_of_classes(open_tab: Callable[..., Tab], tmp_path: Path) -> None:
    tab = open_tab(CELL, "cells-synth")
    assert tab.options() == ["Device", "Count", "Class", "Seed", "Precision", "Runtime"]
    given = _small(seen(tab))
    tab.type("count", "3")
    tab.type("seed", "4")
    press(tab, "Generate")
    expected = deepbio.generate("cells-synth", OPTIONS.replace(count=3, seed=4, output=("image", "table")))
    assert expected.image is not None
    assert expected.table is not None
    assert layers(tab) == ["Image", "Made image"]
    assert tab.text("#frames").split("\n")[:2] == ["Image", "1 of 3"]
    first = _wait_for(tab, given, same=False)
    name = tab.text("#frame-name")
    assert name == expected.table["class"][0]
    tab.page.locator("#frames .v-slider-thumb").focus()
    tab.page.keyboard.press("ArrowRight")
    _wait_for(tab, first, same=False)
    assert tab.text("#frame-name") == expected.table["class"][1]
    assert downloads(tab) == ["Made image", "Table"]
    saved = tab.download("Made image", tmp_path)
    assert saved.name == "cells-synth-image.tif"
    image = deepbio.read(saved)
    assert (image.axes, image.channels) == (expected.image.axes, expected.image.channels)
    np.testing.assert_array_equal(image.numpy(), expected.image.numpy())
    assert tab.download("Table", tmp_path).name == "cells-synth-table.csv"
    look_at(tab, "Image")
    _wait_for(tab, given, same=True)
    assert not tab.page.locator("#frames").count()

    tab.choose("class", "platelet")
    tab.type("count", "")
    press(tab, "Generate")
    tab.page.wait_for_function("!document.querySelector('#frames')")  # a single image
    tab.page.click("#remove")
    tab.page.wait_for_selector("#results", state="detached")
    _wait_for(tab, given, same=True)


def test_a_map_takes_the_place_of_the_labels(open_tab: Callable[..., Tab], tmp_path: Path) -> None:
    path = EXAMPLES / "hippocampus" / "hippocampus_311.nii.gz"
    tab = open_tab(path, "hippocampus")
    assert not {"Diameter", "Track", "Classify", "Seed", "As", "Per slice"} & set(tab.options())
    tab.choose("uncertainty", "tta")
    press(tab, "Segment")
    expected = deepbio.run(path, "hippocampus", OPTIONS.replace(uncertainty="tta")).uncertainty
    assert expected is not None
    assert layers(tab) == ["Labels", "Uncertainty: entropy", "Uncertainty: variance"]
    labels = seen(tab)
    entropy = look_at(tab, "entropy")
    assert _blue(labels) > 500  # the posterior part
    assert _blue(entropy) < 50
    look_at(tab, "Labels")
    saved = tab.download("Uncertainty", tmp_path)
    assert saved.name == "hippocampus_311-uncertainty.nii.gz"
    image = deepbio.read(saved)
    np.testing.assert_allclose(image.numpy(), expected.numpy(), atol=1e-5)
    assert image.grid == expected.grid


def _blue(pixels: np.ndarray) -> int:
    """Pixels of the hue of the blue segment."""
    red, green, blue = (pixels[..., k] for k in range(3))
    return int(np.count_nonzero((blue > green + 25) & (green > red + 10)))


def test_frames_of_a_restored_movie(open_tab: Callable[..., Tab], tmp_path: Path) -> None:
    path = EXAMPLES / "timelapse.tif"
    tab = open_tab(path, "denoise")
    press(tab, "Restore")
    expected = deepbio.run(path, "denoise", OPTIONS).image
    assert expected is not None
    tab.page.locator("#frames .v-slider-thumb").focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.wait_for_timeout(1000)
    image = deepbio.read(tab.download("Restored", tmp_path))
    assert image.axes == expected.axes
    np.testing.assert_allclose(image.numpy(), expected.numpy(), rtol=1e-5, atol=1e-2)


def test_a_narrow_window(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(CELL, "blood-cells")
    tab.page.set_viewport_size({"width": 480, "height": 800})
    tab.page.wait_for_timeout(500)
    view, panel = (tab.page.locator(one).bounding_box() for one in ("#view-axial", ".panel"))
    assert view["width"] == panel["width"] == 480
    assert view["y"] + view["height"] <= panel["y"] + 1  # one above the other
    assert view["height"] > 300
    press(tab, "Classify")
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 480


def test_an_error_says_what_to_do(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(CELL, "blood-cells")
    tab.choose("explain", "gradcam")
    tab.type("target", "unicorn")
    tab.page.click("#segment")
    tab.page.wait_for_selector(".message:has-text('unicorn')", timeout=60_000)
    assert "neutrophil" in tab.text(".message .hint")
    assert tab.page.locator("#results").count() == 0
    tab.type("target", "")
    press(tab, "Classify")
