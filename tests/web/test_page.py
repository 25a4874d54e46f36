"""The page in a real browser, on the real worker and models: click, result, cancel, errors."""

from __future__ import annotations

import csv
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deepbio
from tests.web.conftest import EXAMPLES, Served, Tab

HIPPOCAMPUS = EXAMPLES / "hippocampus" / "hippocampus_311.nii.gz"


@pytest.fixture(scope="module")
def served(serve: Callable[..., Served]) -> Served:
    return serve(HIPPOCAMPUS, "--model", "hippocampus")


@pytest.fixture
def tab(chromium: Any, served: Served) -> Iterator[Tab]:
    opened = Tab(chromium, served.address)
    yield opened
    opened.close()


def test_without_the_token_there_is_no_page(served: Served) -> None:
    bare = served.address.split("?")[0]
    for path in ("", "index.html", "ws", "results/labels", "vue.global.js"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(bare + path)
        refused.value.close()
        assert refused.value.code == 401, path


def test_it_listens_on_this_machine_only(served: Served) -> None:
    assert served.address.startswith("http://127.0.0.1:")
    port = int(served.address.split(":")[2].split("/")[0])
    listening = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    ]
    assert f"0100007F:{port:04X}" in listening
    assert f"00000000:{port:04X}" not in listening


def test_from_a_click_to_the_labels_of_deepbio_run(tab: Tab, served: Served, tmp_path: Path) -> None:
    tab.page.wait_for_selector("#image-facts:has-text('voxels')")
    assert "hippocampus_311.nii.gz" in tab.page.title()
    facts = tab.text("#image-facts").replace("\N{MULTIPLICATION SIGN}", "x")
    assert facts == "37 x 49 x 37 voxels of 1 x 1 x 1 mm"
    tab.choose("runtime", "onnx")  # the fastest may be another one in another process
    tab.segment()
    tab.wait_for_result()
    expected = deepbio.run(HIPPOCAMPUS, "hippocampus", deepbio.RunOptions(runtime="onnx"))
    assert tab.page.locator(".legend .name").all_inner_texts() == [
        "anterior hippocampus",
        "posterior hippocampus",
    ]
    sizes = tab.page.locator(".legend .size").all_inner_texts()
    assert sizes == [f"{np.count_nonzero(expected.labels.numpy() == label):,d} mm³" for label in (1, 2)]
    colors = [
        one.evaluate("one => getComputedStyle(one).backgroundColor")
        for one in tab.page.locator(".swatch").all()
    ]
    assert len(set(colors)) == 2

    labels = deepbio.read_labels(tab.download("Labels", tmp_path))
    assert np.array_equal(labels.numpy(), expected.labels.numpy())
    assert labels.grid == expected.labels.grid
    path = tab.download("Segmentation", tmp_path)
    assert path.name == "hippocampus_311.seg.nrrd"
    assert "posterior hippocampus" in path.read_bytes()[:8000].decode("latin-1")
    with tab.download("Table", tmp_path).open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["name"] for row in rows] == ["anterior hippocampus", "posterior hippocampus"]
    assert [float(row["volume [mm^3]"]) for row in rows] == pytest.approx(expected.table["volume"].tolist())

    tab.page.click("#show-table")
    assert tab.page.locator("#table tbody tr").count() == 2
    assert "volume mm³" in tab.text("#table thead")

    assert tab.problems == []
    assert all(
        url.startswith((served.address.split("?")[0], "blob:", "data:", "ws://127.0.0.1"))
        for url in tab.requests
    )


def test_the_result_can_be_hidden_removed_and_made_again(tab: Tab) -> None:
    tab.wait_until_ready()
    if not tab.page.locator("#results").count():
        tab.segment()
    tab.wait_for_result()
    tab.page.locator(".legend button").first.click()
    tab.page.wait_for_selector(".legend .name.hidden")
    tab.page.click("#remove")
    tab.page.wait_for_selector("#results", state="detached")
    tab.segment()
    tab.wait_for_result()
    assert tab.page.locator(".legend .name.hidden").count() == 0


def test_views_show_the_image_and_the_segments(tab: Tab, tmp_path: Path) -> None:
    tab.wait_until_ready()
    if not tab.page.locator("#results").count():
        tab.segment()
    tab.wait_for_result()
    for name in ("axial", "coronal", "sagittal", "space"):
        tab.page.wait_for_function(
            f"(() => {{ const one = document.querySelector('#view-{name} img'); return one && one.naturalWidth > 300 }})()"
        )
    wanted = (230, 162, 60)
    for name in ("axial", "sagittal", "space"):
        _wait_for_colour(tab, f"#view-{name}", wanted)
    assert {tab.text(f"#view-axial .letter.{side}") for side in ("left", "right", "top", "bottom")} == set(
        "RLAP"
    )
    assert [tab.text(f"#view-sagittal .letter.{side}") for side in ("top", "bottom")] == ["S", "I"]


def test_the_mouse_moves_through_slices_and_zooms(tab: Tab) -> None:
    tab.wait_until_ready()
    tab.page.wait_for_function("document.querySelector('#view-axial img')?.naturalWidth > 300")
    before = tab.text("#view-axial .offset")
    tab.page.locator("#view-axial").hover(position={"x": 200, "y": 200})
    tab.page.mouse.wheel(0, 120)
    tab.page.wait_for_function(f"document.querySelector('#view-axial .offset').innerText !== '{before}'")
    moved = float(tab.text("#view-axial .offset").split()[0])
    assert abs(moved - float(before.split()[0])) == pytest.approx(1.0)  # one slice
    tab.page.locator("#view-axial button[title='Show this view alone']").click()
    tab.page.wait_for_selector("#view-space", state="hidden")
    tab.page.locator("#view-axial button[title='Show all views']").click()
    tab.page.wait_for_selector("#view-space", state="visible")


def _wait_for_colour(tab: Tab, selector: str, color: tuple[int, int, int]) -> None:
    """Until a view has pixels of about the hue of a segment's colour."""
    import io

    from PIL import Image

    for _ in range(30):
        shot = np.asarray(
            Image.open(io.BytesIO(tab.page.locator(selector).screenshot())).convert("RGB")
        ).astype(float)
        red, green, blue = (shot[..., k] for k in range(3))
        if np.count_nonzero((red > green + 20) & (green > blue + 20) & (red > 90)) > 200:
            return
        tab.page.wait_for_timeout(500)
    raise AssertionError(f"nothing of the colour {color} in {selector}")
