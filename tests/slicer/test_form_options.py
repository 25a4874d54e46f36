"""The options of the form: made from what the worker lists, shown where they matter, sent where they differ."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("PySide6.QtWidgets", reason="PySide6 is not usable", exc_type=ImportError)
slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from deepbio.options import RunOptions  # noqa: E402
from tests.slicer.nodes import add_volume  # noqa: E402
from tests.slicer.shim.user import User, opened  # noqa: E402


@pytest.fixture(scope="module")
def form_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    with opened(tmp_path_factory.mktemp("slicer")) as user:
        user.wait(lambda: user.form.models.cards, what="models listed")
        user.open_section(user.ui.optionsSection)
        yield user


@pytest.fixture
def user(form_user: User) -> User:
    """Has a stack, for which hippocampus is chosen, and all options at their defaults."""
    slicer.mrmlScene.Clear(0)
    form_user.form.messages.clear()
    form_user.form.options.reset()
    pixels = np.zeros((7, 11, 13), np.int16)
    form_user.choose(form_user.ui.inputSelector, add_volume(slicer.mrmlScene, pixels).GetID())
    form_user.wait(lambda: not form_user.form._checking)
    form_user.choose(form_user.ui.modelComboBox, "hippocampus")
    return form_user


def row(user: User, name: str) -> object:
    return user.form.options._rows[name].widget


def shown(user: User) -> set[str]:
    return {name for name, one in user.form.options._rows.items() if one.widget.visible}


def test_every_option_of_the_core_has_a_row(user: User) -> None:
    import dataclasses

    core = {field.name for field in dataclasses.fields(RunOptions)} - {"device"}
    assert core <= set(user.form.options._rows)


def test_only_what_differs_is_sent(user: User) -> None:
    assert user.form.options.values == {}
    user.type(row(user, "tile"), "64")
    user.click(row(user, "surface"))
    user.choose(row(user, "runtime"), "onnx")
    assert user.form.options.values == {"tile": "64", "surface": "true", "runtime": "onnx"}
    assert user.form.parameters.options == user.form.options.values
    assert user.form.options._rows["tile"].label.font.bold()
    user.click(row(user, "surface"))
    user.type(row(user, "tile"), "")
    assert user.form.options.values == {"runtime": "onnx"}
    user.click(user.ui.resetOptionsButton)
    assert user.form.options.values == {}
    assert row(user, "runtime").currentText == "auto"
    assert not user.ui.resetOptionsButton.enabled


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("tile", "8", "tile: expected 16 to 16384, found 8"),
        ("tile", "1.5", "tile: expected a whole number, found '1.5'"),
        ("overlap", "much", "overlap: expected a number, found 'much'"),
        ("overlap", "nan", "overlap: expected 0.0 to 0.9, found nan"),
    ],
)
def test_what_cannot_be_read_is_told_before_the_click(user: User, name: str, text: str, problem: str) -> None:
    user.type(row(user, name), text)
    assert not user.ui.segmentButton.enabled
    assert user.ui.whyLabel.text == problem
    assert row(user, name).toolTip == problem
    user.type(row(user, name), "auto")
    assert user.ui.segmentButton.enabled
    assert user.form.options.values == {}


def test_at_least_one_output(user: User) -> None:
    boxes = user.form.options._rows["output"]._boxes
    user.click(boxes["table"])
    assert user.form.options.values == {"output": "labels"}
    user.click(boxes["labels"])
    assert user.ui.whyLabel.text == "output: choose at least one"


def test_rows_follow_the_model_and_the_input(user: User) -> None:
    assert {"mirror", "surface", "tile"} <= shown(user)
    assert not {"channel", "per_slice", "link_slices", "min_size", "as", "threshold"} & shown(user)
    rgb = add_volume(slicer.mrmlScene, np.zeros((1, 40, 50, 3), np.uint8), np.eye(4), "colours")
    user.choose(user.ui.inputSelector, rgb.GetID())
    user.wait(lambda: not user.form._checking)
    user.choose(user.ui.modelComboBox, "nuclei")
    assert {"channel", "min_size", "as", "threshold"} <= shown(user)
    assert not {"surface", "per_slice", "link_slices"} & shown(user)


def test_an_option_that_is_hidden_is_not_sent(user: User) -> None:
    user.choose(user.ui.modelComboBox, "nuclei")
    user.type(row(user, "min_size"), "9")
    assert user.form.options.values == {"min_size": "9"}
    user.choose(user.ui.modelComboBox, "hippocampus")
    assert user.form.options.values == {}


def test_per_slice_lets_a_plane_model_take_a_stack(user: User) -> None:
    user.choose(user.ui.modelComboBox, "nuclei")
    assert "per_slice" in shown(user)
    assert not user.ui.segmentButton.enabled
    user.click(row(user, "per_slice"))
    user.wait(lambda: not user.form._checking)
    assert user.form.models.fits["nuclei"] == ""
    assert user.form.models.card["name"] == "nuclei"
    assert user.ui.segmentButton.enabled


def test_linked_slices_need_no_other_option(user: User) -> None:
    user.choose(user.ui.modelComboBox, "nuclei")
    user.type(row(user, "link_slices"), "0.5")
    user.wait(lambda: not user.form._checking)
    assert user.form.options.values == {"link_slices": "0.5"}
    assert user.ui.segmentButton.enabled


def test_the_device_says_what_auto_means_and_why(user: User) -> None:
    combo = user.ui.deviceComboBox
    assert combo.itemData(0) == "auto"
    assert combo.itemText(0).startswith("Auto: ")
    assert user.ui.deviceText.text.startswith("Auto: because ")
    assert combo.findData("cpu") > 0
    user.choose(combo, "cpu")
    assert user.form.options.values == {"device": "cpu"}
