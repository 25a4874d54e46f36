"""Choosing the volumes of a model that takes several, with clicks in the form."""

from __future__ import annotations

import itertools
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
    write_two_channel_model(home / "models", name="some", count=5, grey="first")
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
    labels, selectors = user.form.channels.labels, user.form.channels.selectors
    assert [one.visible for one in labels] == [one.visible for one in selectors]
    return [one.text for one in labels if one.visible]


def selectors(user: User) -> list[Any]:
    return list(user.form.channels.selectors)


def test_a_second_volume_is_asked_for_and_the_click_uses_it(user: User) -> None:
    (first, a), (second, b) = volume("T1w", 1), volume("flair", 2)
    choose(user, first, "pair")
    assert user.ui.inputLabel.text == "Input (T1):"
    assert shown(user) == ["FLAIR:"]
    assert user.ui.whyLabel.text == "Choose a volume for FLAIR."
    assert not user.ui.segmentButton.enabled
    user.choose(selectors(user)[0], second.GetID())
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
    user.choose(selectors(user)[0], second.GetID())
    assert not user.ui.segmentButton.enabled
    assert (
        "'thin' does not lie on the voxels of 'T1w': 8 x 7 x 6 voxels, not 9 x 7 x 6" in user.ui.whyLabel.text
    )
    assert "Resample" in user.ui.whyLabel.text


def test_as_many_volumes_as_a_model_has(user: User) -> None:
    nodes = [volume(f"e{k}", k) for k in range(1, 6)]
    choose(user, nodes[0][0], "many")
    assert user.ui.inputLabel.text == "Input (echo 1):"
    assert shown(user) == ["echo 2:", "echo 3:", "echo 4:", "echo 5:"]
    for at in (1, 3, 4):
        user.choose(selectors(user)[at - 1], nodes[at][0].GetID())
    assert user.ui.whyLabel.text == "Choose a volume for echo 3."
    user.choose(selectors(user)[1], nodes[2][0].GetID())
    user.click(user.ui.segmentButton)
    user.wait(lambda: user.form.runs.run is None, what="run finished")
    run = user.form.runs.results[-1]
    assert [node.GetName() for node in run.further] == ["e2", "e3", "e4", "e5"]
    np.testing.assert_array_equal(
        labels_of(run.segmentation, nodes[0][0]), expected(nodes[0][1], nodes[1][1])
    )


def test_the_selectors_stand_one_below_the_other_above_the_output(user: User) -> None:
    first, _ = volume("e1", 1)
    for name in ("pair", "many", "pair"):  # made for two, then for five, then used for two again
        choose(user, first, name)
        user.wait(lambda: user.ui.outputSelector.visible)
        visible = [one for one in selectors(user) if one.visible]
        rows = [one.mapTo(user.panel, one.rect.topLeft()).y() for one in [*visible, user.ui.outputSelector]]
        assert rows == sorted(set(rows)), name
        edges = {one.mapTo(user.panel, one.rect.topLeft()).x() for one in [*visible, user.ui.outputSelector]}
        assert len(edges) == 1, name
    order = [user.ui.modelDetails, *selectors(user), user.ui.outputSelector]
    for one, following in itertools.pairwise(order):
        after = one.nextInFocusChain()
        while after not in order:
            after = after.nextInFocusChain()
        assert after is following


def test_a_channel_that_is_left_out_is_not_left_out_in_silence(user: User) -> None:
    """A model that can do without the later volumes is not given the third in the place of the second."""
    (first, _), (other, _) = volume("e1", 1), volume("e2", 2)
    choose(user, first, "some")
    assert user.ui.segmentButton.enabled
    user.choose(selectors(user)[1], other.GetID())
    assert user.ui.whyLabel.text == "Choose a volume for echo 2."
    user.choose(selectors(user)[1], "")
    assert user.ui.segmentButton.enabled


def test_the_choice_belongs_to_the_scene(user: User) -> None:
    nodes = [volume(f"e{k}", k)[0] for k in range(1, 6)]
    choose(user, nodes[0], "many")
    for selector, node in zip(selectors(user), nodes[1:], strict=False):
        user.choose(selector, node.GetID())
    for selector in selectors(user):
        selector.blockSignals(True)
        selector.setCurrentNode(None)  # as where the form is made anew
        selector.blockSignals(False)
    user.panel.exit()
    user.panel.enter()
    user.form.parameters_changed()
    assert [one.currentNode().GetName() for one in selectors(user)] == ["e2", "e3", "e4", "e5"]
    slicer.mrmlScene.RemoveNode(nodes[3])
    assert [one and one.GetName() for one in (s.currentNode() for s in selectors(user))] == [
        "e2",
        "e3",
        None,
        "e5",
    ]
    user.wait(lambda: not user.form._checking, what="models checked")
    assert user.ui.whyLabel.text == "Choose a volume for echo 4."
    slicer.mrmlScene.Clear(0)
    assert [one.currentNode() for one in selectors(user)] == [None] * 4
    assert shown(user) == []
