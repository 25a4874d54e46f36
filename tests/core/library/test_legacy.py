"""Cards in format 0.4 say the same as their 0.5 twins."""

import pytest
import yaml

from deepbio.errors import CardError
from deepbio.library.card import Axis, Step, read_card
from deepbio.library.fields import Fields
from deepbio.library.legacy import from_0_4


def test_the_real_package_in_both_formats(real_folder):
    new, old = read_card(real_folder), read_card(real_folder / "v0_4_9.bioimageio.yaml")
    assert old.title == new.title
    assert old.input.axes[1:] == new.input.axes[1:]
    assert old.output.axes == new.output.axes
    assert old.input.steps == (Step("zero_mean_unit_variance", {"axes": ["y", "x"]}),)
    assert old.output.steps == (Step("sigmoid"),)
    assert old.input.test_tensor == new.input.test_tensor
    assert old.weights == new.weights


def tensor(**fields):
    return {"name": "raw", "axes": "bcyx", "shape": [1, 2, 64, 96], **fields}


def card_of(inputs, outputs):
    return from_0_4(Fields({"inputs": inputs, "outputs": outputs})).values


def write(folder, inputs, outputs):
    card = {
        "format_version": "0.4.10",
        "name": "Old model",
        "inputs": inputs,
        "outputs": outputs,
        "weights": {"onnx": {"source": "w.onnx"}},
    }
    (folder / "rdf.yaml").write_text(yaml.safe_dump(card))
    (folder / "w.onnx").write_bytes(b"")
    return folder


def test_shapes(tmp_path):
    follows = {"reference_tensor": "raw", "scale": [1, 0, 2.0, 0.5], "offset": [0, 1.5, -4, 0]}
    inputs = [tensor(shape={"min": [1, 2, 64, 96], "step": [0, 0, 16, 32]})]
    outputs = [tensor(name="out", shape=follows, halo=[0, 0, 8, 2])]
    card = read_card(write(tmp_path, inputs, outputs))
    assert card.input.axes == (
        Axis("batch"),
        Axis("channel", 2, 2, 0),
        Axis("y", None, 64, 16),
        Axis("x", None, 96, 32),
    )
    assert card.output.axes == (
        Axis("batch"),
        Axis("channel", 3, 3, 0),
        Axis("y", None, 120, 32, 8, "raw.y", 2.0, -8),
        Axis("x", None, 48, 16, 2, "raw.x", 0.5),
    )


STEPS = {
    "per sample": (
        {"name": "scale_range", "kwargs": {"mode": "per_sample", "axes": "yx", "min_percentile": 1.0}},
        {"id": "scale_range", "kwargs": {"axes": ["y", "x"], "min_percentile": 1.0}},
    ),
    "per dataset": (
        {"name": "zero_mean_unit_variance", "kwargs": {"mode": "per_dataset", "axes": "cyx"}},
        {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["batch", "channel", "y", "x"]}},
    ),
    "fixed": (
        {
            "name": "zero_mean_unit_variance",
            "kwargs": {"mode": "fixed", "axes": "cyx", "mean": 3.0, "std": 2.0},
        },
        {"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 3.0, "std": 2.0}},
    ),
    "fixed per channel": (
        {"name": "zero_mean_unit_variance", "kwargs": {"axes": "yx", "mean": [3.0, 4.0], "std": [2.0, 1.0]}},
        {
            "id": "fixed_zero_mean_unit_variance",
            "kwargs": {"mean": [3.0, 4.0], "std": [2.0, 1.0], "axis": "channel"},
        },
    ),
    "linear per channel": (
        {"name": "scale_linear", "kwargs": {"axes": "yx", "gain": [3.0, 4.0], "offset": 0.0}},
        {"id": "scale_linear", "kwargs": {"gain": [3.0, 4.0], "offset": 0.0, "axis": "channel"}},
    ),
    "no arguments": ({"name": "sigmoid"}, {"id": "sigmoid", "kwargs": {}}),
}


@pytest.mark.parametrize(("old", "new"), STEPS.values(), ids=STEPS)
def test_steps(old, new):
    card = card_of([tensor(preprocessing=[old])], [])
    assert card["inputs"][0]["preprocessing"] == [new]


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([tensor(axes="bcyq")], [], "axes is 'bcyq'"),
        ([tensor(shape=[1, 2, 64])], [], "shape is .1, 2, 64."),
        ([tensor(shape="big")], [], "shape is 'big'"),
        ([tensor(shape={"min": [1, 1, 1, 1], "step": [0, 8, 8, 8]})], [], "channel axis has the size"),
        ([tensor()], [tensor(name="out", shape={"reference_tensor": "other", "scale": [], "offset": []})], "'other', which is not"),
        ([tensor(preprocessing=[{"name": "scale_linear", "kwargs": {"axes": "x", "gain": [1, 2]}}])], [], "not for one axis"),
    ],
)  # fmt: skip
def test_contradictions(inputs, outputs, message):
    with pytest.raises(CardError, match=message):
        card_of(inputs, outputs)
