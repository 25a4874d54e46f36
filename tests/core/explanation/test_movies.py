"""Explanations and uncertainty of movies, frame by frame."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from deepbio.batch import run_many  # noqa: E402
from deepbio.engine.spread import Variant, entropy_of  # noqa: E402
from deepbio.errors import InputMismatch, OptionError  # noqa: E402
from deepbio.explanation import explain, uncertainty  # noqa: E402
from deepbio.image import Image  # noqa: E402
from deepbio.io import read, write  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.predict import load_model, run  # noqa: E402
from tests.core.command import left_in  # noqa: E402
from tests.core.tasks.sequences import beating, package  # noqa: E402

TORCH = RunOptions(runtime="torch", device="cpu")


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    """Random weights, looks back only, windows of 4."""
    return load_model(package(tmp_path_factory.mktemp("causal"), "causal"))


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    """Finds what is brighter than 100; two directions."""
    return load_model(
        package(tmp_path_factory.mktemp("bright"), "bright", threshold=True, bidirectional=True)
    )


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Classes of frames and of movies, random weights, both directions."""
    folder = tmp_path_factory.mktemp("classes")
    kinds = ("per-frame", "per-sequence")
    return {kind: load_model(package(folder, kind, kind, bidirectional=True)) for kind in kinds}


def test_gradcam_by_hand(causal) -> None:
    """A movie that is one window and one tile: weights are means over each frame of the gradient."""
    image, _ = beating(4, 1, (32, 40))
    found = explain(image, causal, layer="unet.encoder.1", target="ventricle", options=TORCH).explanation
    assert (found.axes, found.shape, found.grid == image.grid) == ("TZYX", (4, 1, 32, 40), True)
    pixels = torch.from_numpy(image.numpy()[:, 0].astype(np.float32) * 0.01)[None, None].requires_grad_()
    caught = []
    network = causal.module()
    hook = network.unet.encoder[1].register_forward_hook(lambda layer, inputs, output: caught.append(output))
    scores = network(pixels)
    hook.remove()
    mask = (scores.argmax(1) == 1).float()
    (gradient,) = torch.autograd.grad((scores[:, 1] * mask).sum(), caught[0])
    cam = (gradient.mean((2, 3), keepdim=True) * caught[0]).sum(1, keepdim=True).clamp(min=0)
    expected = torch.nn.functional.interpolate(cam, (32, 40), mode="bilinear").detach().numpy()[:, 0]
    assert expected.max() > 0
    np.testing.assert_allclose(found.numpy()[:, 0], expected, rtol=1e-4, atol=1e-6)


def test_every_frame_and_slice_has_a_map_on_its_object(bright) -> None:
    image, truth = beating(6, 2)
    result = explain(image, bright, method="gradcam", layer="unet.encoder.0", options=TORCH)
    assert result.explanation.shape == truth.shape
    assert result.record["target"] == ["ventricle"]
    assert result.explanation.frame_interval == image.frame_interval
    pytest.importorskip("captum")
    found = explain(image, bright, method="integrated-gradients", options=TORCH).explanation.numpy()
    for t in range(6):
        inside = truth.numpy()[t] > 0
        assert found[t][inside].mean() > 5 * abs(found[t][~inside].mean())


def test_occlusion_needs_no_gradients_and_finds_the_frame(bright) -> None:
    image, _ = beating(4, 1, (16, 24))
    pixels = np.full_like(image.numpy(), 20)
    pixels[2, 0, 4:12, 8:16] = 170  # there in one frame only
    only = Image(pixels, "TZYX", image.grid)
    found = explain(
        only, bright, method="occlusion", options=TORCH.replace(runtime="onnx")
    ).explanation.numpy()
    assert found[2, 0, 6:10, 10:14].min() > 0
    assert found[2, 0].sum() > 10 * np.abs(found[[0, 1, 3]]).sum()


@pytest.mark.parametrize("kind", ["per-frame", "per-sequence"])
@pytest.mark.parametrize("method", ["gradcam", "occlusion", "integrated-gradients"])
def test_classes_of_frames_and_of_movies(classes, kind, method) -> None:
    if method == "integrated-gradients":
        pytest.importorskip("captum")
    image, _ = beating(6, 2, (16, 16))
    result = explain(image, classes[kind], method=method, options=TORCH)
    assert result.explanation.shape == (6, 2, 16, 16)
    said = run(image, classes[kind], TORCH).table["class"]
    assert set(", ".join(result.record["target"]).split(", ")) == set(map(str, said))
    named = explain(image, classes[kind], method=method, target="wild", options=TORCH)
    assert named.record["target"] == ["wild"]
    with pytest.raises(OptionError, match="It has calm, wild"):
        explain(image, classes[kind], target="tired of it all", options=TORCH)


VARIANTS = [
    Variant(gain=1.1), Variant(gain=1 / 1.1), Variant(shift=0.1), Variant(shift=-0.1), Variant(noise=0.05)
]  # fmt: skip


def by_hand(model, image: Image, variants: list[Variant]) -> np.ndarray:
    """Entropy of the mean over changed movies of one window, (T, y, x)."""
    pixels = (image.numpy()[:, 0].astype(np.float32) * 0.01)[None, None]
    with torch.no_grad():
        told = [
            one.back(model.module()(torch.from_numpy(one.change(pixels))).softmax(1).numpy())[0]
            for one in variants
        ]
    return entropy_of(np.mean(told, axis=0), 0)


@pytest.mark.parametrize("which", ["causal", "bright"])
def test_uncertainty_by_hand(request, which) -> None:
    """Noise, contrast and brightness: with windows, and with the state that goes on from window to window."""
    model = request.getfixturevalue(which)
    image, _ = beating(4, 1, (32, 40))
    result = uncertainty(image, model, options=TORCH)
    assert (result.uncertainty.axes, result.uncertainty.shape) == ("TCZYX", (4, 2, 1, 32, 40))
    assert result.uncertainty.channels == ("entropy", "variance")
    assert (result.record["passes"], result.record.get("carried", False)) == (6, which == "causal")
    entropy = by_hand(model, image, [Variant(), *VARIANTS])
    np.testing.assert_allclose(result.uncertainty.numpy()[:, 0, 0], entropy, atol=1e-4)
    labels, table = result.labels.numpy()[:, 0], result.table
    for t, value in zip(table["frame"] - 1, table["uncertainty"], strict=True):
        inside = labels[t] == 1
        expected = result.uncertainty.numpy()[t, 0, 0][inside].mean() if inside.any() else np.nan
        assert value == pytest.approx(expected, rel=1e-4, nan_ok=True)


def test_a_card_that_allows_mirroring_mirrors_frames_and_not_time(tmp_path) -> None:
    folder = package(tmp_path, "mirrored")
    text = (folder / "bioimageio.yaml").read_text()
    (folder / "bioimageio.yaml").write_text(text.replace("  deepbio:\n", "  deepbio:\n    mirror: [1]\n", 1))
    model = load_model(folder)
    image, _ = beating(4, 1, (32, 40))
    result = uncertainty(image, model, options=TORCH)
    assert result.record["passes"] == 7
    variants = [Variant(), Variant(flip=(2,)), *VARIANTS]  # axes of a tile are t, y, x
    np.testing.assert_allclose(
        result.uncertainty.numpy()[:, 0, 0], by_hand(model, image, variants), atol=1e-4
    )


@pytest.mark.parametrize("kind", ["per-frame", "per-sequence"])
def test_classes_are_unsure_in_the_table(classes, kind) -> None:
    image, _ = beating(6, 2, (16, 16))
    result = uncertainty(image, classes[kind], options=TORCH)
    assert result.uncertainty is None
    rows = 2 * (6 if kind == "per-frame" else 1)
    assert len(result.table["entropy"]) == len(result.table["spread"]) == rows
    probability = result.table["probability_wild"]
    near = entropy_of(np.stack((probability, 1 - probability)), 0)
    np.testing.assert_allclose(result.table["entropy"], near, atol=0.05)
    assert (result.table["spread"] > 0).any()


def test_no_dropout_is_told(causal) -> None:
    with pytest.raises(InputMismatch, match="no dropout layer"):
        uncertainty(beating(4, 1)[0], causal, method="dropout", options=TORCH)


def test_a_batch_saves_them(causal, classes, tmp_path) -> None:
    write(tmp_path / "movie.tif", beating(4, 1, (16, 20))[0])
    options = TORCH.replace(explain="gradcam", uncertainty="tta", layer="memories.0")
    (row,) = run_many(causal, [tmp_path / "movie.tif"], tmp_path / "one", options)
    assert row.status == "done", row.message
    assert left_in(tmp_path / "one") == [
        "movie-explanation.tif", "movie-features.csv", "movie-heatmap.png", "movie-labels.tif", "movie-table.csv",
        "movie-uncertainty.tif", "movie.deepbio.json", "summary.csv",
    ]  # fmt: skip
    assert read(tmp_path / "one" / "movie-explanation.tif").shape[-2:] == (16, 20)
    (row,) = run_many(
        classes["per-frame"], [tmp_path / "movie.tif"], tmp_path / "two", options.replace(layer="memory"),
        save=["table", "explanation", "features"],
    )  # fmt: skip
    assert row.status == "done", row.message
    assert "entropy" in (tmp_path / "two" / "movie-table.csv").read_text()
