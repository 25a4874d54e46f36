"""Measurements against scikit-image's, on anisotropic grids and in bands."""

import numpy as np
import pytest
from skimage.measure import regionprops_table

from deepbio.image import Grid
from deepbio.tasks import measure
from deepbio.tasks.measure import measure_objects

from .scenes import touching_discs

CASES = [((97, 131), (0.5, 0.8)), ((21, 43, 37), (1.2, 0.8, 0.5))]


@pytest.mark.parametrize(("shape", "spacing"), CASES, ids=["2D", "3D"])
def test_agrees_with_regionprops(monkeypatch: pytest.MonkeyPatch, shape, spacing) -> None:
    monkeypatch.setattr(measure, "_BAND_PIXELS", 700)  # several bands
    labels = touching_discs(shape)
    labels[labels == 3] = 0  # a gap in the numbers
    image = np.random.default_rng(0).integers(0, 60000, shape).astype(np.uint16)
    table = measure_objects(labels, image[None], Grid(shape, spacing, unit="micrometer"))
    properties = {
        "label": "label",
        "area" if len(shape) == 2 else "volume": "area",
        "equivalent_diameter": "equivalent_diameter_area",
        "major_axis": "axis_major_length",
        "minor_axis": "axis_minor_length",
        "mean_intensity": "intensity_mean",
        "std_intensity": "intensity_std",
        "min_intensity": "intensity_min",
        "max_intensity": "intensity_max",
    }
    if len(shape) == 2:
        properties |= {"eccentricity": "eccentricity"}
    expected = regionprops_table(
        labels, image, properties=[*properties.values(), "centroid"], spacing=spacing
    )
    for ours, theirs in properties.items():
        np.testing.assert_allclose(table[ours], expected[theirs], rtol=1e-9, atol=1e-9, err_msg=ours)
    for axis, name in enumerate("zyx"[3 - len(shape) :]):
        np.testing.assert_allclose(table[f"centroid_{name}"], expected[f"centroid-{axis}"], rtol=1e-12)


def test_orientation_of_a_known_ellipse() -> None:
    y, x = np.mgrid[:60, :80] - np.array([30, 40]).reshape(2, 1, 1)
    angle = np.deg2rad(30)  # from the y axis towards the x axis
    along, across = y * np.cos(angle) + x * np.sin(angle), -y * np.sin(angle) + x * np.cos(angle)
    labels = ((along / 24) ** 2 + (across / 9) ** 2 < 1).astype(np.int32)
    table = measure_objects(labels, None, Grid(labels.shape))
    assert table["orientation"][0] == pytest.approx(30, abs=0.5)
    assert table["major_axis"][0] == pytest.approx(48, rel=0.01)
    assert table["minor_axis"][0] == pytest.approx(18, rel=0.01)


def test_units_and_names_of_channels() -> None:
    labels = touching_discs((40, 50))
    image = np.stack([np.full(labels.shape, v, np.float32) for v in (2.5, 7)])
    table = measure_objects(
        labels, image, Grid(labels.shape, (0.3, 0.3), unit="millimeter"), channels=("DAPI", "GFP")
    )
    assert set(table["mean_DAPI"]) == {2.5}
    assert set(table["mean_GFP"]) == {7}
    assert table.units["area"] == "mm^2"
    assert table.units["centroid_y"] == "mm"
    assert table.units["orientation"] == "deg"


def test_no_objects_give_an_empty_table_with_all_columns() -> None:
    empty = np.zeros((5, 7), np.int32)
    full = measure_objects(np.ones((5, 7), np.int32), empty[None], Grid((5, 7)))
    table = measure_objects(empty, empty[None], Grid((5, 7)))
    assert len(table) == 0
    assert list(table.columns) == list(full.columns)
