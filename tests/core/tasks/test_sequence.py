"""Models of sequences: labels and curves through time, windows and parts, classes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from deepbio import RunOptions, load_model
from deepbio.engine.tensors import run_tensors
from deepbio.errors import CardError, InputMismatch
from deepbio.image import Image
from deepbio.library.check import check_package, validate_package
from deepbio.library.following import check_sequence
from deepbio.tasks.stream import SequenceStream
from tests.core.tasks.sequences import SPACING, beating, package


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    """Finds what is brighter than 100; two directions, windows of 4."""
    folder = tmp_path_factory.mktemp("bright")
    return load_model(package(folder, "bright", threshold=True, bidirectional=True, ejection=True))


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    """Random weights, looks back only, windows of 4."""
    return load_model(package(tmp_path_factory.mktemp("causal"), "causal"))


def test_labels_are_those_of_each_frame_on_the_grid_of_the_image(bright):
    image, truth = beating()
    result = bright.run(image, RunOptions(runtime="onnx"))
    assert result.labels.axes == "TZYX"
    assert result.labels.grid == image.grid
    assert result.labels.frame_interval == 0.04
    np.testing.assert_array_equal(result.labels.numpy(), truth.numpy())
    assert (result.record["window"], result.record["runtime"]) == (4, "onnx")


def test_the_table_tells_the_curve_in_ml_and_the_ejection_fraction(bright):
    image, truth = beating()
    table = bright.run(image).table
    curve = truth.numpy().sum((1, 2, 3)) * np.prod(SPACING) / 1000
    np.testing.assert_allclose(table["volume"], curve)
    assert table.units == {"time": "s", "volume": "ml"}
    np.testing.assert_allclose(table["time"], np.arange(9) * 0.04)
    assert table["name"].tolist() == ["ventricle"] * 9
    full, empty = int(curve.argmax()), int(curve.argmin())
    assert (table["phase"][full], table["phase"][empty], table["phase"][1]) == ("ED", "ES", "")
    np.testing.assert_allclose(table["ejection_fraction"], 1 - curve[empty] / curve[full])


def test_one_slice_through_time_has_an_area(bright):
    image, truth = beating()
    one = Image(image.numpy()[:, 1], "TYX", image.plane(1).grid)
    result = bright.run(one)
    np.testing.assert_array_equal(result.labels.numpy(), truth.numpy()[:, 1])
    assert result.table.units["area"] == "mm^2"
    assert "time" not in result.table.columns


@pytest.mark.parametrize("frames", [3, 4, 11])
def test_parts_that_carry_the_state_give_what_the_whole_gives(causal, frames):
    """Shorter than a window, a window, and several: with one direction it is all the same."""
    import torch

    from deepbio.engine.runtimes.with_torch import load_module

    image, _ = beating(frames, 1, (38, 46))
    result = causal.run(image, RunOptions(output=("scores",)))
    network = load_module(causal.card.weights_of("safetensors"))
    with torch.no_grad():
        whole = network(torch.from_numpy(image.numpy()[:, 0].astype(np.float32) * 0.01)[None, None]).softmax(
            1
        )
    np.testing.assert_allclose(result.scores.numpy()[:, :, 0], whole[0].numpy().swapaxes(0, 1), atol=1e-5)
    assert result.record["carried"] is True


def test_a_stream_gives_frame_by_frame_what_the_whole_gives(causal):
    image, _ = beating(9, 1)
    whole = causal.run(image, RunOptions(output=("scores", "labels")))
    stream = SequenceStream(causal.card, "cpu")
    for t in range(9):
        pushed = stream.push(image.numpy()[t, 0])
        np.testing.assert_allclose(pushed.scores.numpy(), whole.scores.numpy()[t, :, 0], atol=1e-5)
        assert pushed.labels.axes == "YX"
        assert pushed.record["frame"] == t + 1
    stream.reset()
    again = stream.push(Image(image.numpy()[0, 0]))
    np.testing.assert_allclose(again.scores.numpy(), whole.scores.numpy()[0, :, 0], atol=1e-5)


def test_a_stream_refuses_what_it_cannot_take(causal, bright):
    with pytest.raises(InputMismatch, match="later frames"):
        SequenceStream(bright.card)
    stream = SequenceStream(causal.card, "cpu")
    stream.push(np.zeros((10, 12), np.uint8))
    with pytest.raises(InputMismatch, match=r"Frame 2 has the size \(1, 10, 14\).*\(1, 10, 12\)"):
        stream.push(np.zeros((10, 14), np.uint8))
    with pytest.raises(InputMismatch, match="axes TYX"):
        stream.push(Image(np.zeros((2, 10, 12)), "TYX"))
    with pytest.raises(InputMismatch, match="takes 1 channels; the frame has 2"):
        SequenceStream(causal.card, "cpu").push(np.zeros((2, 10, 12)))


@pytest.mark.parametrize(("axes", "shape"), [("YX", (16, 16)), ("TYX", (1, 16, 16)), ("ZYX", (5, 16, 16))])
def test_too_few_frames_are_refused(bright, axes, shape):
    with pytest.raises(InputMismatch, match="at least 2 frames"):
        bright.run(Image(np.zeros(shape, np.uint8), axes))


@pytest.mark.parametrize("kind", ["per-frame", "per-sequence"])
@pytest.mark.parametrize("frames", [3, 4, 10])
def test_classes_of_frames_and_of_sequences(tmp_path_factory, kind, frames):
    model = load_model(package(tmp_path_factory.mktemp("classes"), "classes", kind, bidirectional=True))
    image, _ = beating(frames, 2)
    table = model.run(image).table
    rows = 2 * (frames if kind == "per-frame" else 1)
    assert len(table) == rows
    assert table["slice"].tolist() == sorted([1, 2] * (rows // 2))
    total = table["probability_calm"] + table["probability_wild"]
    np.testing.assert_allclose(total, 1, atol=1e-5)
    wild = table["probability_wild"] > 0.5
    assert (table["class"] == np.where(wild, "wild", "calm")).all()
    if kind == "per-frame":
        assert table["frame"].tolist() == 2 * list(range(1, frames + 1))


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the validator leaves files open
def test_the_package_passes_its_own_test_and_keeps_the_format(bright, causal):
    for model in (bright, causal):
        report = check_package(model.card, run_tensors)
        assert report.passed, report.outputs
        assert {one.format for one in model.card.weights} == {"safetensors", "onnx"}
        assert model.card.input.axis_ids == ("batch", "channel", "time", "y", "x")
    assert validate_package(bright.card.root) == ()


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ({"kind": "movie"}, "kind 'movie'"),
        ({"frames": 0}, "frames 0"),
        ({"smooth": -1}, "smooth -1"),
        ({"cyclic": 1}, "cyclic 1"),
        ({"harmonics": 2}, "harmonics 2; expected a whole number from 0, and cyclic: true"),
        ({"speed": 2}, "speed"),
        ([], "list"),
    ],
)
def test_a_card_that_cannot_be_meant_is_refused(entries, found):
    with pytest.raises(CardError, match=found):
        check_sequence(entries)
