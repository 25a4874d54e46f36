"""Choosing the volumes of a model that takes several, with clicks in the form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PySide6.QtWidgets", reason="PySide6 is not usable", exc_type=ImportError)
slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from tests.slicer.nodes import add_volume, affine, labels_of  # noqa: E402
from tests.slicer.shim.user import User, opened  # noqa: E402
from tests.slicer.two_channels import expected, write_two_channel_model  # noqa: E402

ONNX = {"runtime": "onnx", "device": "cpu"}
SHAPE = (6, 7, 9)


@pytest.fixture(scope="module")
def form_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    home = tmp_path_factory.mktemp("slicer")
    write_two_channel_model(home / "models")
    write_two_channel_model(home / "models", name="many", count=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPBIO_HOME", str(home))
        with opened(home) as user:
            user.wait(lambda: user.form.models.cards, what="models listed")
            yield user


@pytest.fixture
def user(form_user: User) -> User:
    slicer.mrmlScene.Clear(0)
    form_user.form.messages.clear()
    form_user.form.options.reset()
    form_user.form.options.set_values(ONNX)
    return form_user


def volume(name: str, seed: int, shape: tuple[int, ...] = SHAPE) -> tuple[Any, np.ndarray]:
    pixels = np.random.default_rng(seed).integers(0, 250, shape, np.int16)
    return add_volume(slicer.mrmlScene, pixels, affine(), name), pixels


def choose(user: User, node: Any, model: str) -> None:
    user.choose(user.ui.inputSelector, node.GetID())
    user.wait(lambda: not user.form._checking, what="models checked")
    user.choose(user.ui.modelComboBox, model)


def shown(user: User) -> list[str]:
    labels = [getattr(user.ui, f"channelLabel{k}") for k in (2, 3, 4)]
    selectors = [getattr(user.ui, f"channelSelector{k}") for k in (2, 3, 4)]
    assert [one.visible for one in labels] == [one.visible for one in selectors]
    return [one.text for one in labels if one.visible]


def test_a_second_volume_is_asked_for_and_the_click_uses_it(user: User) -> None:
    (first, a), (second, b) = volume("T1w", 1), volume("flair", 2)
    choose(user, first, "pair")
    assert user.ui.inputLabel.text == "Input (T1):"
    assert shown(user) == ["FLAIR:"]
    assert user.ui.whyLabel.text == "Choose a volume for FLAIR."
    assert not user.ui.segmentButton.enabled
    user.choose(user.ui.channelSelector2, second.GetID())
    assert user.ui.segmentButton.enabled
    user.click(user.ui.segmentButton)
    user.wait(lambda: user.form.runs.run is None, what="run finished")
    assert user.message == ""
    np.testing.assert_array_equal(labels_of(user.form.runs.results[-1].segmentation, first), expected(a, b))
    user.choose(user.ui.modelComboBox, "hippocampus")
    assert shown(user) == []
    assert user.ui.inputLabel.text == "Input:"


def test_a_volume_elsewhere_is_told_before_the_click(user: User) -> None:
    (first, _), (second, _) = volume("T1w", 1), volume("thin", 2, (6, 7, 8))
    choose(user, first, "pair")
    user.choose(user.ui.channelSelector2, second.GetID())
    assert not user.ui.segmentButton.enabled
    assert (
        "'thin' does not lie on the voxels of 'T1w': 8 x 7 x 6 voxels, not 9 x 7 x 6" in user.ui.whyLabel.text
    )
    assert "Resample" in user.ui.whyLabel.text


def test_more_volumes_than_the_form_has_room_for(user: User) -> None:
    first, _ = volume("echo", 1)
    choose(user, first, "many")
    assert shown(user) == ["echo 2:", "echo 3:", "echo 4:"]
    assert "takes 5 volumes, more than the form has room for" in user.ui.whyLabel.text
    assert not user.ui.segmentButton.enabled
