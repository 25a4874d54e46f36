"""Features of movies: what each layer of a network of sequences gives, frame by frame."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from deepbio.errors import OptionError  # noqa: E402
from deepbio.extraction import features, list_layers  # noqa: E402
from deepbio.extraction.extract import feature_names  # noqa: E402
from deepbio.image import Image, LabelMap  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.predict import load_model, run  # noqa: E402
from tests.core.tasks.sequences import beating, package  # noqa: E402


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    """A U-Net with memory that looks back only, in windows of 4 frames."""
    return load_model(package(tmp_path_factory.mktemp("causal"), "causal"))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same in both directions."""
    return load_model(package(tmp_path_factory.mktemp("both"), "both", bidirectional=True))


def given(model, image, z: int, layer: str) -> np.ndarray:
    """What a layer gives for all frames of a slice at once, (T, F, y, x); sizes padded by the network's step."""
    pixels = image.numpy()[:, z].astype(np.float32) * 0.01
    caught = []
    network = model.module()
    hook = network.get_submodule(layer).register_forward_hook(
        lambda layer, inputs, output: caught.append(output)
    )
    with torch.no_grad():
        network(torch.from_numpy(pixels)[None, None])
    hook.remove()
    found = caught[0][0][0] if isinstance(caught[0], tuple) else caught[0]
    return found.numpy()


def vectors(table) -> np.ndarray:
    return np.stack([table[name] for name in feature_names(table)], axis=1)


@pytest.mark.parametrize("frames", [3, 4, 11])
@pytest.mark.parametrize("layer", ["unet.encoder.1", "memories.0", "unet.decoder.0"])
def test_frames_of_a_network_that_looks_back_remember_all_before(causal, layer, frames) -> None:
    image, _ = beating(frames, 2, (38, 46))
    table = features(image, causal, layer=layer, pool="mean,max").features
    assert table["frame"].tolist() == [*range(1, frames + 1)] * 2
    assert table["slice"].tolist() == [1] * frames + [2] * frames
    for z in range(2):
        expected = given(causal, image, z, layer)
        expected = np.concatenate((expected.mean((2, 3)), expected.max((2, 3))), axis=1)
        np.testing.assert_allclose(vectors(table)[z * frames : (z + 1) * frames], expected, atol=1e-5)


def test_windows_of_both_directions(both) -> None:
    image, _ = beating(4, 1, (38, 46))
    table = features(image, both, layer="memories.0").features
    expected = given(both, image, 0, "memories.0").mean((2, 3))
    np.testing.assert_allclose(vectors(table), expected, atol=1e-5)
    long, _ = beating(11, 1, (38, 46))  # several windows; of what sees single frames they are all the same
    table = features(long, both, layer="unet.encoder.1").features
    np.testing.assert_allclose(vectors(table), given(both, long, 0, "unet.encoder.1").mean((2, 3)), atol=1e-5)


def test_maps_lie_on_the_image(causal) -> None:
    image, _ = beating(5, 3)
    maps = features(image, causal, layer="memories.0", maps=True).maps
    assert (maps.axes, maps.shape) == ("TCZYX", (5, 3, 3, 19, 23))
    np.testing.assert_allclose(maps.grid.to_world((1, 2, 0)), image.grid.to_world((1, 4.5, 0.5)))


def test_a_movie_is_one_row_where_it_is_asked_for(causal) -> None:
    image, labels = beating(5, 2)
    each = features(image, causal, layer="unet.encoder.1", pool="mean,max,std").features
    options = RunOptions(pool_frames=True)
    whole = features(image, causal, layer="unet.encoder.1", pool="mean,max,std", options=options).features
    assert whole["slice"].tolist() == [1, 2]
    assert "frame" not in whole.columns
    first = vectors(each)[:5].astype(float)
    count = first.shape[1] // 3
    np.testing.assert_allclose(vectors(whole)[0, :count], first[:, :count].mean(0), rtol=1e-5)
    np.testing.assert_allclose(
        vectors(whole)[0, count : 2 * count], first[:, count : 2 * count].max(0), rtol=1e-5
    )
    maps = features(image, causal, layer="unet.encoder.1", maps=True).maps.numpy()[:, :, 0]
    # the last row and column of cells lie half outside the image
    weight = np.ones(maps.shape[2:])
    weight[-1] *= 0.5
    weight[:, -1] *= 0.5
    mean = np.average(maps, axis=(0, 2, 3), weights=np.broadcast_to(weight[None, None], maps.shape))
    square = (maps - mean[None, :, None, None]) ** 2
    spread = np.sqrt(
        np.average(square, axis=(0, 2, 3), weights=np.broadcast_to(weight[None, None], maps.shape))
    )
    np.testing.assert_allclose(vectors(whole)[0, 2 * count :], spread, rtol=1e-4)
    objects = features(image, causal, layer="unet.encoder.0", objects=labels, options=options).features
    assert objects["label"].tolist() == [1, 1]
    with pytest.raises(OptionError, match="no frames to pool over"):
        features(Image(image.numpy()[0, 0]), "heart-lv", options=options)


def test_the_default_is_all_stages_and_a_run_gives_them_too(causal) -> None:
    image, _ = beating(5, 1)
    result = run(image, causal, RunOptions(layer="auto", output=("table",)))
    assert result.record["layer"] == "unet.encoder.*"
    assert result.features["frame"].tolist() == [1, 2, 3, 4, 5]
    assert len(feature_names(result.features)) == 4 + 6
    pooled = run(image, causal, RunOptions(layer="memories.0", output=("table",), pool_frames=True))
    assert len(pooled.features) == 1


@pytest.mark.parametrize("kind", ["per-frame", "per-sequence"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_classifiers_of_frames_and_of_movies(tmp_path_factory, kind, bidirectional) -> None:
    folder = tmp_path_factory.mktemp("classes")
    model = load_model(package(folder, "classes", kind, bidirectional=bidirectional))
    image, _ = beating(4, 1, (16, 20))
    hidden = features(image, model, layer="memory").features
    assert len(hidden) == 4
    assert len(feature_names(hidden)) == (6 if bidirectional else 3)
    with torch.no_grad():
        pixels = torch.from_numpy(image.numpy()[:, 0].astype(np.float32) * 0.01)[None, None]
        scores = model.module()(pixels)[0].numpy()
    head = features(image, model, layer="head").features
    assert len(head) == (4 if kind == "per-frame" else 1)
    np.testing.assert_allclose(vectors(head), np.atleast_2d(scores.T), atol=1e-5)
    with pytest.raises(OptionError, match="it has no maps"):
        features(image, model, layer="memory", maps=True)


def test_layers_are_those_of_a_frame(causal) -> None:
    found = {layer.name: layer for layer in list_layers(causal)}
    assert (found["memories.0"].stride, found["memories.0"].frames) == ((2, 2), True)
    assert found["unet.heads.0"].stride == (1, 1)
    assert not any(name.endswith("from_state") for name in found)  # a part of a cell


def test_objects_through_time(causal) -> None:
    image, labels = beating(5, 1, (38, 46))
    one = LabelMap(labels.numpy()[:, 0], "TYX", image.plane(0).grid)
    movie = Image(image.numpy()[:, 0], "TYX", one.grid)
    table = features(movie, causal, layer="unet.encoder.0", objects=one).features
    assert table["frame"].tolist() == [1, 2, 3, 4, 5]
    maps = given(causal, image, 0, "unet.encoder.0")
    for t in range(5):
        expected = maps[t][:, one.numpy()[t] == 1].mean(1)
        np.testing.assert_allclose(vectors(table)[t], expected, atol=1e-5)
