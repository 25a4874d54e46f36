"""Networks with other axes than (batch, channel, z, y, x)."""

from types import SimpleNamespace

import numpy as np
import pytest

from deepbio.engine.layout import arranged, network_shape
from deepbio.errors import CardError
from deepbio.library.card import Axis, TensorSpec


def tensor(name, axes, channels=2):
    names = {"b": "batch", "c": "channel", "t": "time"}
    made = [Axis(names.get(a, a), size=channels if a == "c" else None) for a in axes]
    return TensorSpec(name, tuple(made), tuple("pqrs"[:channels]) if "c" in axes else ())


def card(inputs, outputs):
    first, last = tensor("in", inputs), tensor("out", outputs)
    return SimpleNamespace(name="other", inputs=(first,), input=first, output=last, first_stage=None)


def test_the_usual_order_costs_nothing(fake):
    runtime = fake("identity")
    assert arranged(runtime, card("bcyx", "bcyx")) is runtime
    assert network_shape(card("bczyx", "bczyx"), (4, 5, 6)) == (1, 2, 4, 5, 6)


@pytest.mark.parametrize(
    ("inputs", "outputs", "shape"),
    [
        ("byxc", "byxc", (3, 5, 7, 2)),
        ("byxc", "bcyx", (3, 5, 7, 2)),
        ("bcxy", "bcxy", (3, 2, 7, 5)),
        ("bzyxc", "bczyx", (3, 4, 5, 7, 2)),
    ],
)
def test_axes_are_put_in_the_networks_order_and_back(fake, inputs, outputs, shape):
    size = (4, 5, 7) if "z" in inputs else (5, 7)
    batch = np.random.default_rng(0).random((3, 2, *size)).astype(np.float32)
    turn = [inputs.index(axis) for axis in outputs]
    runtime = fake(lambda x: x.transpose(turn))
    scores = arranged(runtime, card(inputs, outputs))(batch)
    np.testing.assert_array_equal(scores, batch)
    assert runtime.shapes == [shape]
    assert network_shape(card(inputs, outputs), size) == (1, *shape[1:])


def test_a_network_without_channels(fake):
    batch = np.random.default_rng(0).random((2, 1, 5, 7)).astype(np.float32)
    runtime = fake("identity")
    scores = arranged(runtime, card("byx", "byx"))(batch)
    np.testing.assert_array_equal(scores, batch)
    assert runtime.shapes == [(2, 5, 7)]
    assert network_shape(card("byx", "byx"), (5, 7)) == (1, 5, 7)


def test_torch_tensors_are_reordered_where_they_are(fake):
    torch = pytest.importorskip("torch")
    batch = np.random.default_rng(0).random((2, 2, 5, 7)).astype(np.float32)
    runtime = arranged(fake(torch.from_numpy), card("byxc", "byxc"))
    scores = runtime(batch)
    assert isinstance(scores, torch.Tensor)
    np.testing.assert_array_equal(scores.numpy(), batch)


@pytest.mark.parametrize("axes", ["cyx", "cbyx", "bcyxi"])
def test_other_axes_are_refused(axes):
    with pytest.raises(CardError, match="expected batch first"):
        network_shape(card(axes, "bcyx"), (5, 7))


def test_several_inputs_are_refused():
    two = card("bcyx", "bcyx")
    two.inputs = (two.input, tensor("mask", "bcyx"))
    with pytest.raises(CardError, match="in, mask"):
        network_shape(two, (5, 7))
