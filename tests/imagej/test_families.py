"""Commands of the other families in a real ImageJ: what they lay on the desk is what deepbio.run gives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deepbio
from deepbio.errors import DeepBioError
from deepbio.options import RunOptions
from tests.imagej.images import column, java, log_lines, planes, results, titles

EXAMPLES = Path(__file__).parents[2] / "examples"


def opened(name: str) -> Any:
    image = java("ij.IJ").openImage(str(EXAMPLES / name))
    image.show()
    return image


def test_classify_appends_a_row_with_every_probability(session: Any) -> None:
    opened("blood_cells/neutrophil.jpg")
    session.run_macro('run("DeepBio Classify", "model=blood-cells runtime=onnx");')
    expected = deepbio.run(
        EXAMPLES / "blood_cells" / "neutrophil.jpg", "blood-cells", RunOptions(runtime="onnx")
    ).table
    assert expected is not None
    assert list(column("class")) == ["neutrophil"]
    assert float(results().getValue("p_neutrophil", 0)) == pytest.approx(
        float(expected["p_neutrophil"][0]), abs=1e-6
    )
    assert [title for title in titles() if "labels" in title] == []


def test_restore_shows_the_image_in_its_own_units(session: Any) -> None:
    opened("fluorescence.tif")
    session.run_macro('run("DeepBio Restore", "model=denoise runtime=onnx tile=256");')
    shown = java("ij.WindowManager").getCurrentImage()
    assert str(shown.getTitle()) == "fluorescence-image"
    expected = deepbio.run(
        EXAMPLES / "fluorescence.tif", "denoise", RunOptions(runtime="onnx", tile=256)
    ).image
    assert expected is not None
    np.testing.assert_allclose(planes(shown)[0], expected.numpy(), atol=1e-3)


def test_finer_pixels_cover_the_same_place(session: Any) -> None:
    image = opened("noisy_mitochondria.png")
    own = image.getCalibration()
    own.setUnit("micron")
    own.pixelWidth, own.pixelHeight, own.xOrigin, own.yOrigin = 0.4, 0.3, 10.0, -2.0
    session.run_macro('run("DeepBio Restore", "model=upscale-x2 runtime=onnx");')
    shown = java("ij.WindowManager").getCurrentImage()
    assert (int(shown.getWidth()), int(shown.getHeight())) == (640, 480)
    found = shown.getCalibration()
    assert (str(found.getUnit()), found.pixelWidth, found.pixelHeight) == ("micron", 0.2, 0.15)
    # the first pixel's centre lies a quarter of an old pixel before the old first centre
    assert [(0 - found.xOrigin) * 0.2, (0 - found.yOrigin) * 0.15] == pytest.approx(
        [(-0.25 - 10) * 0.4, (-0.25 + 2) * 0.3]
    )
    expected = deepbio.run(
        EXAMPLES / "noisy_mitochondria.png", "upscale-x2", RunOptions(runtime="onnx")
    ).image
    assert expected is not None
    np.testing.assert_allclose(planes(shown)[0], expected.numpy(), atol=1e-3)


def test_the_status_bar_tells_of_objects_only_where_some_are_looked_for(session: Any) -> None:
    opened("noisy_mitochondria.png")
    session.run_macro('run("DeepBio Restore", "model=denoise runtime=onnx");')
    assert re.fullmatch(r"DeepBio: denoise took [\d.]+ s", session.bridge.desk.last["summary"])
    session.run_macro(
        'run("DeepBio Segment", "model=nuclei runtime=onnx output=labels input=noisy_mitochondria.png");'
    )
    assert re.fullmatch(
        r"DeepBio: nuclei found \d+ objects? in [\d.]+ s", session.bridge.desk.last["summary"]
    )


def test_an_output_that_is_not_there_is_told_of(session: Any) -> None:
    opened("blood_cells/neutrophil.jpg")
    with pytest.raises(DeepBioError, match="'blood-cells' gives no labels of this image"):
        session.run_macro('run("DeepBio Classify", "model=blood-cells output=labels");')
    assert int(results().size()) == 0
    session.run_macro('run("DeepBio Classify", "model=blood-cells output=labels,table");')
    assert list(column("class")) == ["neutrophil"]
    assert any("'blood-cells' gives no labels of this image" in line for line in log_lines())


def test_features_are_a_table_of_their_own(session: Any) -> None:
    pytest.importorskip("torch")
    opened("blood_cells/platelet.jpg")
    session.run_macro('run("DeepBio Features", "model=blood-cells");')
    window = java("ij.WindowManager").getWindow("Features of platelet.jpg")
    table = window.getResultsTable()
    expected = deepbio.features(EXAMPLES / "blood_cells" / "platelet.jpg", "blood-cells").features
    assert expected is not None
    assert int(table.size()) == 1
    assert float(table.getValue("mean_3", 0)) == pytest.approx(float(expected["mean_3"][0]), abs=1e-5)
    window.close(False)


def test_an_explanation_lies_on_the_image(session: Any) -> None:
    pytest.importorskip("torch")
    image = opened("blood_cells/eosinophil.jpg")
    session.run_macro('run("DeepBio Classify", "model=blood-cells explain=gradcam");')
    shown = java("ij.WindowManager").getCurrentImage()
    assert str(shown.getTitle()) == "eosinophil-explanation"
    assert (int(shown.getWidth()), int(shown.getHeight())) == (int(image.getWidth()), int(image.getHeight()))
    assert float(planes(shown).max()) > float(planes(shown).min())


def test_an_image_is_made_from_a_mask(session: Any) -> None:
    opened("fluorescence_labels.tif")
    session.run_macro('run("DeepBio Generate", "model=nuclei-synth runtime=onnx seed=3");')
    shown = java("ij.WindowManager").getCurrentImage()
    assert str(shown.getTitle()) == "fluorescence_labels-image"
    expected = deepbio.run(
        EXAMPLES / "fluorescence_labels.tif", "nuclei-synth", RunOptions(runtime="onnx", seed=3)
    ).image
    assert expected is not None
    np.testing.assert_array_equal(planes(shown)[0], expected.numpy())


def test_a_task_has_its_own_models(session: Any) -> None:
    opened("fluorescence.tif")
    with pytest.raises(DeepBioError):
        session.run_macro('run("DeepBio Restore", "model=nuclei");')
    assert 'run("DeepBio Segment", "model=nuclei")' in session.bridge.desk.last["error"]
