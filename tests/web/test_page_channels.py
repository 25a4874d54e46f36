"""Several images on the page: one for each channel of a model, and one after the other; in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trame_slicer", reason="the extra 'web' is not installed")

import deepbio
from deepbio.image import Grid, Image
from tests.slicer.nodes import rotation
from tests.slicer.two_channels import expected, write_two_channel_model
from tests.web.conftest import Served, Tab

SHAPE = (17, 29, 23)
DIRECTION = rotation(0.3, -0.7, 0.8)[:, ::-1]
NOT_CHOSEN = "Choose an image for "


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Oblique, anisotropic volumes of odd sizes on one grid, and one with thicker slices."""
    folder = tmp_path_factory.mktemp("scans")
    for seed, name in enumerate(("knee_0000", "knee_0001", "other", "thick")):
        spacing = (4.0 if name == "thick" else 3.0, 0.8, 0.5)
        grid = Grid(SHAPE, spacing, (17.3, -42.9, 101.7), DIRECTION, "millimeter")
        pixels = np.random.default_rng(seed).integers(0, 250, SHAPE, np.int16)
        deepbio.write(folder / f"{name}.nii.gz", Image(pixels, "ZYX", grid))
    return folder


@pytest.fixture(scope="module")
def served(
    scans: Path, serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Served]]:
    """Pages whose library has models of two and of three volumes."""
    home = tmp_path_factory.mktemp("home")
    write_two_channel_model(home / "models", channel_files=True)
    write_two_channel_model(home / "models", name="triple", count=3)

    def start(*words: object) -> Served:
        return serve(*(scans / word if str(word).endswith(".nii.gz") else word for word in words))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPBIO_HOME", str(home))
        yield start


@pytest.fixture
def tab(chromium: Any) -> Iterator[Callable[[Served], Tab]]:
    opened: list[Tab] = []

    def show(page: Served) -> Tab:
        opened.append(Tab(chromium, page.address))
        return opened[-1]

    yield show
    for one in opened:
        assert one.problems == []
        one.close()


def pick(tab: Tab, select: str, entry: str) -> None:
    tab.page.click(select)
    tab.page.click(f".v-overlay--active .v-list-item:has-text('{entry}')")


def channel(name: str) -> str:
    return f".channel:has(label:text-is('{name}'))"


def pixels(path: Path) -> np.ndarray:
    return np.asarray(deepbio.read(path).numpy())


def test_a_volume_for_each_channel_gives_the_labels_of_deepbio_run(
    served: Callable[..., Served], scans: Path, tab: Callable[[Served], Tab], tmp_path: Path
) -> None:
    page = tab(served("knee_0000.nii.gz", "knee_0001.nii.gz", "--model", "pair"))
    page.wait_until_ready()
    assert page.text("#images .section").lower() == "image (t1)"
    assert page.text("#image-name") == "knee_0000.nii.gz"
    assert "knee_0001.nii.gz" in page.text(channel("FLAIR"))  # proposed: there are as many as channels
    page.choose("runtime", "onnx")
    page.segment()
    page.wait_for_result()
    files = (scans / "knee_0000.nii.gz", scans / "knee_0001.nii.gz")
    labels = deepbio.read_labels(page.download("Labels", tmp_path))
    np.testing.assert_array_equal(labels.numpy(), expected(pixels(files[0]), pixels(files[1])))
    same = deepbio.run(deepbio.read(files), "pair", deepbio.RunOptions(runtime="onnx")).labels
    np.testing.assert_array_equal(labels.numpy(), same.numpy())
    assert labels.grid == deepbio.read(files[0]).grid
    # the labels can be seen over each of the channels
    assert page.page.locator("#layers button").all_inner_texts() == ["knee_0000", "knee_0001"]
    page.page.click("#layers button:has-text('knee_0001')")
    page.page.wait_for_selector("#layers button[aria-pressed='true']:has-text('knee_0001')")
    assert page.page.locator(".legend .name").all_inner_texts() == ["first", "second"]
    switch = page.page.get_by_label("Slices in the 3D view")
    assert not switch.is_checked()  # the slices would hide the surfaces
    # the other way round
    pick(page, "#images .v-select", "knee_0001.nii.gz")
    page.page.wait_for_selector(".message:has-text(\"The result of 'knee_0000.nii.gz' was removed.\")")
    page.page.wait_for_selector(f"{channel('FLAIR')}:has-text('knee_0000.nii.gz')")
    assert page.page.locator("#results").count() == 0
    assert switch.is_checked()
    page.segment()
    page.wait_for_result()
    labels = deepbio.read_labels(page.download("Labels", tmp_path))
    np.testing.assert_array_equal(labels.numpy(), expected(pixels(files[1]), pixels(files[0])))


def test_what_is_missing_or_lies_elsewhere_is_told_before_the_run(
    served: Callable[..., Served], tab: Callable[[Served], Tab]
) -> None:
    page = tab(served("knee_0000.nii.gz", "other.nii.gz", "thick.nii.gz"))
    page.page.wait_for_selector("#model:not([disabled])", state="attached")
    page.page.wait_for_selector("#why-not:has-text('Choose a model.')")
    assert page.text("#images .section").lower() == "image"
    assert page.page.locator("#channels").count() == 0
    pick(page, ".v-select:has(#model)", "pair")
    page.page.wait_for_selector(f"#why-not:has-text('{NOT_CHOSEN}FLAIR.')")
    assert page.page.locator("#segment").is_disabled()
    pick(page, channel("FLAIR"), "thick.nii.gz")
    page.page.wait_for_selector("#why-not:has-text('does not lie on the voxels')")
    assert page.text("#why-not") == (
        "'thick' does not lie on the voxels of 'knee_0000': its spacing is 0.5 x 0.8 x 4 mm, not 0.5 x 0.8 x 3 mm. "
        "Bring them to one grid first (registration, resampling)."
    )
    assert page.page.locator("#segment").is_disabled()
    pick(page, channel("FLAIR"), "other.nii.gz")
    page.wait_until_ready()
    pick(page, ".v-select:has(#model)", "triple")
    page.page.wait_for_selector(f"#why-not:has-text('{NOT_CHOSEN}echo 3.')")
    assert "other.nii.gz" in page.text(channel("echo 2"))  # what was picked stays


def test_whichever_file_of_a_case_is_named(
    served: Callable[..., Served], tab: Callable[[Served], Tab]
) -> None:
    page = tab(served("knee_0001.nii.gz", "--model", "pair"))
    page.wait_until_ready()
    assert page.text("#image-name") == "knee_0000.nii.gz"
    assert "knee_0001.nii.gz" in page.text(channel("FLAIR"))


def test_one_image_alone_says_how_to_open_the_others(
    served: Callable[..., Served], tab: Callable[[Served], Tab]
) -> None:
    page = tab(served("other.nii.gz", "--model", "triple"))
    page.page.wait_for_selector(
        "#why-not:has-text('Takes 3 images (echo 1, echo 2, echo 3): open them together')"
    )
    assert page.page.locator("#images").count() == page.page.locator("#channels").count() == 0


def test_planes_are_gone_through(chromium: Any, serve: Callable[..., Served], tmp_path: Path) -> None:
    """Two images of one model: each has its own facts and result."""
    for seed, name in enumerate(("one", "two")):
        pixels = np.zeros((61 + seed, 53), np.uint8)
        pixels[20 : 30 + seed, 20:33] = 200
        deepbio.write(tmp_path / f"{name}.tif", Image(pixels, "YX"))
    page = Tab(chromium, serve(tmp_path / "one.tif", tmp_path / "two.tif", "--model", "nuclei").address)
    page.wait_until_ready()
    page.choose("runtime", "onnx")
    for name in ("two.tif", "one.tif"):
        pick(page, "#images .v-select", name)
        page.page.wait_for_selector(f"#image-name:has-text('{name}')")
        page.wait_until_ready()
        page.segment()
        page.wait_for_result()
        labels = deepbio.read_labels(page.download("Labels", tmp_path))
        same = deepbio.run(tmp_path / name, "nuclei", deepbio.RunOptions(runtime="onnx")).labels
        np.testing.assert_array_equal(labels.numpy(), same.numpy())
    assert page.problems == []
    page.close()
