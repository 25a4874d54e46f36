"""Features of images, frames, slices and objects, against the network itself."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from deepbio.errors import CardError, InputMismatch, OptionError  # noqa: E402
from deepbio.extraction import features, list_layers  # noqa: E402
from deepbio.extraction.extract import feature_names  # noqa: E402
from deepbio.image import Grid, Image, LabelMap  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.predict import load_model  # noqa: E402
from tests.core.shapes import shape_images  # noqa: E402


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2000, shape).astype(np.uint16)


def oblique(shape: tuple[int, ...]) -> Grid:
    turn = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
    return Grid(shape, (1.2, 0.8, 0.5), (-13.0, 7.5, 101.0), turn[:, ::-1], "millimeter")


def stage(model, pixels: np.ndarray, number: int) -> np.ndarray:
    """Maps of an encoder's stage of raw pixels."""
    x = torch.from_numpy(pixels[None, None] * np.float32(0.001) - 1)
    with torch.no_grad():
        for one in load_model(model).module().encoder[: number + 1]:
            x = one(x)
    return x[0].numpy()


def test_vector_and_maps_of_an_image_that_is_one_tile(tiny2d) -> None:
    pixels = noise((16, 28))
    result = features(Image(pixels), tiny2d, layer="encoder.2", pool="mean,max", maps=True)
    expected = stage(tiny2d, pixels, 2)
    np.testing.assert_allclose(result.maps.numpy(), expected, atol=1e-5)
    names = feature_names(result.features)
    assert names == [f"mean_{k}" for k in range(8)] + [f"max_{k}" for k in range(8)]
    vector = np.array([result.features[name][0] for name in names])
    np.testing.assert_allclose(vector, [*expected.mean((1, 2)), *expected.max((1, 2))], atol=1e-5)
    assert result.maps.channels[3] == "encoder.2 3"
    assert result.record["stride"] == [4, 4]


def test_maps_of_tiles_equal_those_of_the_whole_away_from_borders(tiny2d) -> None:
    pixels = noise((80, 100))
    model = load_model(tiny2d)
    whole = features(Image(pixels), model, layer="encoder.1", maps=True, options=RunOptions(tile=128))
    tiled = features(Image(pixels), model, layer="encoder.1", maps=True, options=RunOptions(tile=48))
    assert tiled.record["tile"] == [48, 48]
    np.testing.assert_allclose(
        tiled.maps.numpy(), whole.maps.numpy(), atol=1e-5
    )  # 4 cells of overlap are enough


def test_maps_lie_on_the_image(tiny2d, tiny3d) -> None:
    volume = Image(noise((5, 7, 11)), "ZYX", oblique((5, 7, 11)))
    maps = features(volume, tiny3d, layer="encoder.2", maps=True).maps
    assert maps.axes == "CZYX"
    assert maps.grid.shape == (2, 2, 3)
    np.testing.assert_allclose(maps.grid.spacing, (4.8, 3.2, 2.0))
    np.testing.assert_allclose(maps.grid.to_world((0, 1, 0)), volume.grid.to_world((1.5, 5.5, 1.5)))
    sliced = features(volume, tiny2d, layer="encoder.1", maps=True, options=RunOptions(per_slice=True))
    assert sliced.maps.shape == (6, 5, 4, 6)
    np.testing.assert_allclose(sliced.maps.grid.to_world((3, 1, 0)), volume.grid.to_world((3, 2.5, 0.5)))
    assert sliced.features["slice"].tolist() == [1, 2, 3, 4, 5]
    one = features(Image(volume.array[3]), tiny2d, layer="encoder.1")
    assert sliced.features["mean_2"][3] == pytest.approx(one.features["mean_2"][0])


def test_every_frame_has_a_row_and_maps(tiny2d) -> None:
    pixels = noise((3, 2, 9, 13))
    result = features(
        Image(pixels, "TCYX"), tiny2d, layer="encoder.1", maps=True, options=RunOptions(channel="2")
    )
    assert result.features["frame"].tolist() == [1, 2, 3]
    assert result.maps.axes == "TCYX"
    assert result.maps.shape == (3, 6, 5, 7)


def test_objects_by_labels_and_by_a_model(tiny2d) -> None:
    pixels = noise((16, 28))
    labels = np.zeros((16, 28), np.int32)
    labels[1:9, 3:11], labels[10:15, 20:27] = 4, 9
    result = features(Image(pixels), tiny2d, layer="encoder.0", objects=LabelMap(labels))
    expected = stage(tiny2d, pixels, 0)
    assert result.features["label"].tolist() == [4, 9]
    assert result.features["centre_y"].tolist() == [4.5, 12.0]
    assert result.features["centre_x"].tolist() == [6.5, 23.0]
    found = np.array([result.features[f"mean_{k}"] for k in range(4)]).T
    np.testing.assert_allclose(found[1], expected[:, labels == 9].mean(1), atol=1e-5)
    assert result.labels is None
    by_model = features(
        Image(pixels), tiny2d, objects=str(tiny2d), options=RunOptions(runtime="torch", device="cpu")
    )
    assert by_model.labels is not None
    assert by_model.features["label"].tolist() == np.unique(by_model.labels.numpy())[1:].tolist()


def test_objects_with_very_large_labels(tiny2d) -> None:
    pixels, labels = noise((16, 28)), np.zeros((16, 28), np.uint32)
    labels[1:9, 3:11], labels[10:15, 20:27] = 4_000_000_000, 9
    found = features(Image(pixels), tiny2d, layer="encoder.0", objects=LabelMap(labels)).features
    assert found["label"].tolist() == [9, 4_000_000_000]
    assert found["centre_y"].tolist() == [12.0, 4.5]


def test_the_default_layer_of_objects_is_fine_enough(tiny2d) -> None:
    labels = np.zeros((32, 32), np.int32)
    labels[4:8, 4:8] = 1  # 4.5 pixels wide: cells of 2
    image = Image(noise((32, 32)))
    assert features(image, tiny2d, objects=LabelMap(labels)).record["layer"] == "encoder.1"
    assert features(image, tiny2d, maps=True).record["layer"] == "encoder.2"


def test_a_unets_stages_are_taken_together(tiny2d) -> None:
    pixels = noise((16, 28))
    found = features(Image(pixels), tiny2d, pool="mean,std")
    assert (found.record["layer"], found.record["features"]) == ("encoder.*", 18)
    names = feature_names(found.features)
    assert names == [f"{pool}_{k}" for pool in ("mean", "std") for k in range(18)]
    vector = np.array([found.features[name][0] for name in names])
    maps = [stage(tiny2d, pixels, number) for number in range(3)]
    for start, reduce in ((0, np.mean), (18, np.std)):
        parts = [reduce(one, axis=(1, 2)) for one in maps]  # each of length 1: the widest does not decide
        expected = np.concatenate([part / np.linalg.norm(part) for part in parts])
        np.testing.assert_allclose(vector[start : start + 18], expected, atol=1e-4)
    labels = np.zeros((16, 28), np.int32)
    labels[1:9, 3:11] = 4
    assert len(features(Image(pixels), tiny2d, layer="encoder.*", objects=LabelMap(labels)).features) == 1
    with pytest.raises(OptionError, match="maps of different sizes"):
        features(Image(pixels), tiny2d, layer="encoder.*", maps=True)


def test_stages_of_tiles_are_those_of_the_whole(tiny2d) -> None:
    image = Image(noise((80, 100)))
    whole, tiled = (
        features(image, tiny2d, options=RunOptions(tile=tile)).features for tile in (128, 48)
    )  # fmt: skip
    for name in feature_names(whole):
        # the deepest stage sees beyond the overlap of these small tiles
        np.testing.assert_allclose(tiled[name], whole[name], atol=1e-2)


def test_a_classifier_sees_the_image_in_its_size(disc_model) -> None:
    images, _, _ = shape_images(2, seed=3)
    model = load_model(disc_model)
    small = features(Image(images[1]), model)
    large = features(Image(images[1].repeat(2, 0).repeat(2, 1)), model, maps=True)
    assert small.record["layer"] == "stages.1"
    names = feature_names(small.features)
    vectors = [np.array([one.features[name][0] for name in names]) for one in (small, large)]
    np.testing.assert_allclose(vectors[1], vectors[0], atol=0.2)  # noise is smoothed
    with torch.no_grad():
        expected = model.module().embed(torch.from_numpy(images[1][None, None] * np.float32(0.002) - 2))
    np.testing.assert_allclose(vectors[0], expected[0].numpy(), atol=1e-5)
    assert large.maps.grid.spacing == (8.0, 8.0)  # 4 pixels of the network, each two of the image
    np.testing.assert_allclose(large.maps.grid.to_world((0, 0)), (3.5, 3.5))


def test_a_layer_that_is_a_vector(disc_model) -> None:
    images, _, _ = shape_images(2, seed=3)
    assert feature_names(features(Image(images[0]), disc_model, layer="head").features) == [
        "mean_0",
        "mean_1",
    ]
    with pytest.raises(OptionError, match="it has no maps"):
        features(Image(images[0]), disc_model, layer="head", maps=True)


def test_wrong_questions(tiny2d, threshold_model) -> None:
    image = Image(noise((16, 16)))
    with pytest.raises(OptionError, match=r"no layer 'encodr.1'.*'encoder.1'"):
        features(image, tiny2d, layer="encodr.1")
    with pytest.raises(OptionError, match="way of pooling is 'median'"):
        features(image, tiny2d, pool="median")
    with pytest.raises(CardError, match="weights as onnx only, which cannot be looked into"):
        features(image, threshold_model)
    with pytest.raises(InputMismatch, match="Give labels of this very image"):
        features(image, tiny2d, objects=LabelMap(np.ones((8, 16), int)))


def test_layers_are_listed(tiny3d) -> None:
    names = [layer.name for layer in list_layers(str(tiny3d))]
    assert {"encoder.0", "encoder.2", "decoder.1", "heads.0"} <= set(names)
