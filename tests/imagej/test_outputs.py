"""What a run leaves in ImageJ: labels, selections, rows, overlays, scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deepbio.io.lut import label_colours
from tests.imagej.images import column, imageplus, java, log_lines, planes, results, spots, titles


def run(session: Any, words: str) -> Any:
    session.run_macro(f'run("DeepBio Segment", "{words}");')
    return java("ij.WindowManager").getCurrentImage()


def manager() -> Any:
    return java("ij.plugin.frame.RoiManager").getInstance()


def calibrate(image: Any, unit: str, x: float, y: float, z: float = 1.0) -> None:
    own = image.getCalibration()
    own.setUnit(unit)
    own.pixelWidth, own.pixelHeight, own.pixelDepth = x, y, z
    image.setCalibration(own)  # the thread that draws the window may have made another meanwhile


def lut_of(lut: Any) -> np.ndarray:
    return np.frombuffer(bytes(memoryview(lut.getBytes())), np.uint8).reshape(3, 256)


# -- labels


def test_labels(session: Any, model: str) -> None:
    image = spots()
    calibrate(image, "micron", 0.5, 0.75)
    image.getCalibration().xOrigin = 4.0
    found = run(session, f"{model} output=labels")
    assert int(found.getBitDepth()) == 16
    assert (found.getDisplayRangeMin(), found.getDisplayRangeMax()) == (0, 2)
    np.testing.assert_array_equal(lut_of(found.getProcessor().getLut()), label_colours())
    own = found.getCalibration()
    assert (str(own.getUnit()), own.pixelWidth, own.pixelHeight, own.xOrigin) == ("micron", 0.5, 0.75, 4)
    assert not own.calibrated()
    assert found.getOverlay() is None
    assert found.isVisible()


def test_labels_above_65535_are_of_32_bits(session: Any, model: str) -> None:
    pixels = np.zeros((520, 520), np.uint16)
    pixels[::2, ::2] = 3000  # 67,600 single pixels
    imageplus(pixels, title="many").show()
    found = run(session, f"{model} output=labels device=cpu".replace(" device=cpu", "", 1))
    assert int(found.getBitDepth()) == 32
    assert (found.getDisplayRangeMin(), found.getDisplayRangeMax()) == (0, 67600)
    np.testing.assert_array_equal(np.sort(planes(found)[planes(found) > 0]), np.arange(1, 67601))


def test_labels_of_a_signed_image_are_not_signed(session: Any, model: str) -> None:
    pixels = np.full((37, 53), -2000, np.int16)
    pixels[5:9, 7:12] = 3000
    imageplus(pixels, title="ct").show()
    found = run(session, f"{model} output=labels")
    assert not found.getCalibration().calibrated()
    assert session.run_macro("v = getValue(8, 6); return d2s(v, 0);") == "1"
    assert planes(found).sum() == 20


@pytest.mark.parametrize("axes", ["TYX", "ZYX", "TZYX"])
def test_labels_of_stacks(session: Any, model: str, axes: str) -> None:
    image = spots(axes)
    calibrate(image, "nm", 65, 65, 200)
    image.getCalibration().frameInterval = 2.5
    found = run(session, f"{model} output=labels")
    own = found.getCalibration()
    assert (str(own.getUnit()), own.pixelWidth, own.pixelDepth, own.frameInterval) == ("nm", 65, 200, 2.5)
    assert found.isHyperStack() == (axes == "TZYX")
    assert (found.getDisplayRangeMin(), found.getDisplayRangeMax()) == (0, planes(found).max())


def test_the_origin_of_part_of_a_stack(session: Any, model: str) -> None:
    image = spots("ZYX")
    image.getCalibration().zOrigin = 1.0
    found = run(session, f"{model} output=labels slices=3-4")
    assert found.getCalibration().zOrigin == -1
    assert image.getCalibration().zOrigin == 1


def test_where_labels_come_from_stands_in_their_info(session: Any, model: str) -> None:
    spots()
    run(session, f"{model} output=labels")
    for key, told in {"model": "spots", "source": "cells.tif", "runtime": "onnx", "device": "cpu"}.items():
        assert session.run_macro(f's = Property.get("DeepBio.{key}"); return s;').startswith(told)
    info = session.run_macro('s = getMetadata("Info"); return s;')
    assert all(line.startswith("DeepBio.") and ": " in line for line in info.splitlines())


@pytest.mark.parametrize(
    ("title", "result"),
    [
        ("cells.tif", "cells-labels"),
        ("my cells.ome.tif", "my cells-labels"),
        ("plate 1/A01: x", "plate 1_A01_ x-labels"),
        ("1.5 mm", "1.5 mm-labels"),
        ("細胞.png", "細胞-labels"),
        ("", "image-labels"),
    ],
)
def test_titles(session: Any, model: str, title: str, result: str) -> None:
    spots(title=title)
    assert str(run(session, f"{model} output=labels").getTitle()) == result


# -- selections


def test_rois_of_a_plane(session: Any, model: str) -> None:
    image = spots()
    found = run(session, f"{model} output=labels,rois")
    rois = manager().getRoisAsArray()
    assert [str(roi.getName()) for roi in rois] == ["1", "2"]
    assert [int(manager().getName(i) == roi.getName()) for i, roi in enumerate(rois)] == [1, 1]
    for roi in rois:
        assert (roi.getPosition(), roi.getZPosition(), roi.getTPosition()) == (0, 0, 0)
        image.setRoi(roi)
        label = int(str(roi.getName()))
        assert image.getStatistics().pixelCount == (planes(found) == label).sum()
        assert image.getStatistics().min > 1000
    assert image.getOverlay() is None


def test_rois_are_appended(session: Any, model: str) -> None:
    spots()
    session.run_macro('makeRectangle(1, 2, 3, 4); roiManager("add"); run("Select None");')
    (mine,) = (str(roi.getName()) for roi in manager().getRoisAsArray())
    for _ in range(2):
        run(session, f"{model} output=rois")
    names = [str(roi.getName()) for roi in manager().getRoisAsArray()]
    assert names == [mine, "1", "2", "1", "2"]
    assert titles() == ["cells.tif"]


@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
def test_rois_of_a_stack(session: Any, model: str, axes: str) -> None:
    image = spots(axes)
    run(session, f"{model} output=rois")
    rois = manager().getRoisAsArray()
    count = 5 if axes == "ZYX" else 3
    assert [roi.getPosition() for roi in rois] == [n for n in range(1, count + 1) for _ in range(2)]
    # objects are numbered through a volume, and in each frame anew
    names = ["1-z1", "2-z1", "3-z2", "4-z2"] if axes == "ZYX" else ["1-t1", "2-t1", "1-t2", "2-t2"]
    assert [str(roi.getName()) for roi in rois[:4]] == names
    check_places(image, rois)


@pytest.mark.parametrize(("axes", "more"), [("TZYX", ""), ("CZYX", "channel=1"), ("TCYX", "channel=1"), ("TCZYX", "channel=2")])  # fmt: skip
def test_rois_of_a_hyperstack(session: Any, model: str, axes: str, more: str) -> None:
    image = spots(axes)
    run(session, f"{model} output=rois {more}")
    rois = manager().getRoisAsArray()
    frames, slices = 3 if "T" in axes else 1, 5 if "Z" in axes else 1
    places = [(roi.getCPosition(), roi.getZPosition(), roi.getTPosition()) for roi in rois]
    assert places == [
        (0, z * ("Z" in axes), t * ("T" in axes)) for t in range(1, frames + 1) for z in range(1, slices + 1) for _ in range(2)
    ]  # fmt: skip
    image.setC(int(more[-1]) if more else 1)
    check_places(image, rois)


def check_places(image: Any, rois: Any) -> None:
    """Chosen in the manager, each is shown where it is: all pixels of it are bright there."""
    for number, roi in enumerate(rois):
        manager().select(image, number)
        assert image.getStatistics().min > 1000, str(roi.getName())


def test_rois_of_part_of_a_hyperstack(session: Any, model: str) -> None:
    image = spots("TZYX")
    run(session, f"{model} output=rois frames=2 slices=3-4")
    rois = manager().getRoisAsArray()
    assert [(roi.getZPosition(), roi.getTPosition()) for roi in rois] == [(3, 2), (3, 2), (4, 2), (4, 2)]
    assert [str(roi.getName()) for roi in rois] == ["1-t2-z3", "2-t2-z3", "3-t2-z4", "4-t2-z4"]
    check_places(image, rois)


def test_rois_in_batch_mode(session: Any, model: str) -> None:
    spots()
    macro = f'setBatchMode(true); run("DeepBio Segment", "{model} output=labels,rois"); n = roiManager("count"); return d2s(n, 0);'
    assert session.run_macro(macro) == "2"


def test_rois_with_holes_have_the_pixels_of_their_labels(
    session: Any, model: str, rng: np.random.Generator
) -> None:
    pixels = (rng.random((61, 67)) < 0.6).astype(np.uint16) * 3000
    image = imageplus(pixels, title="sponge")
    image.show()
    found = planes(run(session, f"{model} output=labels,rois"))[0]
    rois = manager().getRoisAsArray()
    assert len(rois) == found.max()
    for roi in rois:
        mask = np.zeros_like(found)
        at = roi.getBounds()
        inside = roi.getMask()
        box = np.s_[at.y : at.y + at.height, at.x : at.x + at.width]
        mask[box] = 1 if inside is None else np.array(inside.getPixels()[:]).reshape(at.height, at.width) != 0
        np.testing.assert_array_equal(mask > 0, found == int(str(roi.getName())))


def test_no_objects(session: Any, model: str) -> None:
    imageplus(np.zeros((37, 53), np.uint16), title="dark").show()
    found = run(session, f"{model} output=labels,rois,overlay,table")
    assert planes(found).max() == 0
    assert int(results().size()) == 0
    assert (found.getDisplayRangeMin(), found.getDisplayRangeMax()) == (0, 1)
    assert session.bridge.desk.last["count"] == "0"


# -- results


@pytest.mark.parametrize(
    ("unit", "told"),
    [
        ("pixel", "px"),
        ("micron", "um"),
        ("nm", "nm"),
        ("mm", "mm"),
        ("cm", "cm"),
        ("inch", "inch"),
        ("furlong", "furlong"),
    ],
)
def test_results_are_in_the_unit_of_the_image(session: Any, model: str, unit: str, told: str) -> None:
    image = spots()
    calibrate(image, unit, 0.5, 0.75)
    run(session, f"{model} output=table,rois")
    area = 20 * 0.5 * 0.75
    assert column("area")[0] == pytest.approx(area)
    assert column("centroid_x")[0] == pytest.approx(9 * 0.5)
    assert column("centroid_y")[0] == pytest.approx(6.5 * 0.75)
    assert column("equivalent_diameter")[0] == pytest.approx(np.sqrt(4 / np.pi * area))
    assert set(column("unit")) == {told}
    image.setRoi(manager().getRoi(0))
    assert image.getStatistics().area == pytest.approx(area)  # as ImageJ measures


def test_volumes_are_in_the_unit_of_the_image(session: Any, model: str) -> None:
    image = spots("ZYX")
    calibrate(image, "nm", 50, 75, 200)
    run(session, f"{model} output=table link_slices=0.3")
    assert column("volume") == pytest.approx([5 * 20 * 50 * 75 * 200, 5 * 80 * 50 * 75 * 200])
    assert column("centroid_z") == pytest.approx([400, 400])


def test_results_are_appended(session: Any, model: str) -> None:
    image = spots()
    image.setRoi(1, 1, 4, 4)
    session.run_macro(
        'run("Set Measurements...", "area mean redirect=None decimal=3"); run("Measure"); run("Select None");'
    )
    run(session, f"{model} output=table")
    assert int(results().size()) == 3
    assert column("Area")[0] == 16
    assert column("area")[1:] == [20, 80]
    assert column("label")[1:] == [1, 2]
    window = java("ij.WindowManager").getFrame("Results")
    assert window is not None
    assert "area" in [str(name) for name in results().getHeadings()]


def test_imagej_measures_below_our_rows(session: Any, model: str) -> None:
    image = spots()
    run(session, f"{model} output=table")
    assert "Area" not in [str(one) for one in results().getHeadings()]
    image.setRoi(1, 1, 4, 4)
    session.run_macro('run("Set Measurements...", "area mean redirect=None decimal=3"); run("Measure");')
    assert int(results().size()) == 3
    assert (column("area")[:2], column("Area")[2]) == ([20, 80], 16)


def test_results_of_a_time_lapse_have_frames(session: Any, model: str) -> None:
    spots("TYX")
    run(session, f"{model} output=table")
    assert column("label") == [1, 2] * 3
    frames = next(name for name in map(str, results().getHeadings()) if name in ("frame", "t"))
    assert sorted(set(column(frames))) in ([0, 1, 2], [1, 2, 3])


def test_results_of_part_of_a_hyperstack_are_of_its_frames_and_slices(session: Any, model: str) -> None:
    spots("TZYX")
    run(session, f"{model} output=table frames=2-3 slices=4-5")
    assert column("frame") == [2.0] * 4 + [3.0] * 4
    assert column("slice") == [4.0, 4.0, 5.0, 5.0] * 2


def test_results_of_a_loop_over_frames_tell_them_apart(session: Any, model: str) -> None:
    spots("TZYX")
    for frame in (1, 3):
        run(session, f"{model} output=table frames={frame} slices=2")
    assert column("frame") == [1.0, 1.0, 3.0, 3.0]
    assert column("slice") == [2.0] * 4


def test_results_in_batch_mode(session: Any, model: str) -> None:
    spots()
    macro = f'setBatchMode(true); run("DeepBio Segment", "{model} output=table"); a = getResult("area", 1); return d2s(a, 1);'
    assert session.run_macro(macro) == "80.0"


# -- overlay and scores


def test_an_overlay_is_added_to_what_is_there(session: Any, model: str) -> None:
    image = spots("ZYX")
    session.run_macro('makeOval(1, 2, 5, 5); Overlay.addSelection("yellow"); run("Select None");')
    run(session, f"{model} output=overlay")
    overlay = image.getOverlay()
    assert overlay.size() == 1 + 2 * 5
    assert str(overlay.get(0).getTypeAsString()) == "Oval"
    assert [overlay.get(i).getPosition() for i in (1, 2, 3)] == [1, 1, 2]
    colours = label_colours()
    stroke = overlay.get(1).getStrokeColor()
    assert [stroke.getRed(), stroke.getGreen(), stroke.getBlue()] == colours[:, 1].tolist()
    assert titles() == ["cells.tif"]


def test_scores(session: Any, model: str) -> None:
    image = spots("TZYX")
    found = run(session, f"{model} output=scores")
    assert str(found.getTitle()) == "cells-scores"
    assert int(found.getBitDepth()) == 32
    assert list(found.getDimensions()) == list(image.getDimensions())
    np.testing.assert_allclose(planes(found), planes(image) * 0.001 - 1, atol=1e-5)
    assert (found.getDisplayRangeMin(), found.getDisplayRangeMax()) == pytest.approx((-0.9, 2), abs=1e-5)


def test_scores_of_classes_are_channels(session: Any) -> None:
    pixels = np.zeros((128, 131), np.uint8)
    pixels[40:70, 50:80] = 200
    imageplus(pixels, title="cells.tif").show()
    found = run(session, "model=nuclei output=scores,labels runtime=onnx device=cpu")
    assert titles() == ["cells.tif", "cells-scores", "cells-labels"]
    scores = java("ij.WindowManager").getImage("cells-scores")
    assert (int(scores.getWidth()), int(scores.getHeight())) == (131, 128)
    assert int(scores.getNSlices()) == 1
    assert str(found.getTitle()) == "cells-labels"


def test_rgb(session: Any) -> None:
    pixels = np.full((128, 131), 0xF0E8F0, np.int32)
    pixels[40:70, 50:80] = 0x503080
    imageplus(pixels, title="stained", rgb=True).show()
    found = run(session, "model=nuclei output=labels,table runtime=onnx device=cpu")
    assert (int(found.getBitDepth()), int(found.getNChannels())) == (16, 1)
    assert any("mean" in str(name) for name in results().getHeadings()) or int(results().size()) == 0


def test_what_had_to_be_assumed_is_in_the_log(session: Any, model: str) -> None:
    image = spots()
    calibrate(image, "furlong", 2, 2)
    run(session, f"{model} output=labels")
    assert any("furlong" in line for line in log_lines())


def test_a_title_for_several_windows(session: Any, model: str) -> None:
    spots()
    found = run(session, f"{model} output=labels,scores title=mine")
    assert titles() == ["cells.tif", "mine-scores", "mine"]
    assert str(found.getTitle()) == "mine"
    assert session.bridge.desk.last["labels_title"] == "mine"
    assert session.bridge.desk.last["scores_title"] == "mine-scores"
