"""Features of what generators make: the layers of the images that a run gives."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from deepbio.errors import InputMismatch, OptionError  # noqa: E402
from deepbio.explanation import explain, uncertainty  # noqa: E402
from deepbio.extraction import features, list_layers  # noqa: E402
from deepbio.extraction.extract import feature_names  # noqa: E402
from deepbio.image import Grid, Image, LabelMap  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.predict import generate, load_model, run  # noqa: E402
from deepbio.tasks.generate import conditions_for, make_latents  # noqa: E402
from tests.core.extraction.makers import write_maker  # noqa: E402

TORCH = RunOptions(runtime="torch", device="cpu")


@pytest.fixture(scope="module")
def makers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("makers")
    return {kind: load_model(write_maker(folder, kind)) for kind in ("class", "paired", "cycle")}


def given(model, inputs: np.ndarray, layer: str) -> np.ndarray:
    caught = []
    hook = (
        model.module()
        .get_submodule(layer)
        .register_forward_hook(lambda one, inputs, output: caught.append(output.clone()))
    )
    with torch.no_grad():
        model.module()(torch.from_numpy(inputs))
    hook.remove()
    return caught[0].numpy()


def vectors(table) -> np.ndarray:
    return np.stack([table[name] for name in feature_names(table)], axis=1)


def mask() -> Image:
    labels = np.zeros((20, 34), np.int32)
    labels[3:9, 4:11], labels[10:18, 20:31] = 3, 8
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    return Image(labels, "YX", Grid((20, 34), (0.5, 0.25), (3.0, -2.0), turn, "micrometer"))


def test_layers_of_a_generator_have_strides_in_pixels_of_its_image(makers) -> None:
    found = {layer.name: layer for layer in list_layers(makers["class"])}
    assert found["first"].stride == (8, 8)  # 4 x 4 cells of an image of 32 x 32
    assert found["same.1"].stride == (2, 2)
    assert found["mapping.1"].stride == ()


def test_images_of_classes(makers) -> None:
    model = makers["class"]
    options = TORCH.replace(count=3, classes=("light", "dark"), seed=5)
    found = features(None, model, layer="same.1", pool="mean,max", maps=True, options=options)
    expected = given(model, make_latents([1, 0, 1], [5, 6, 7], 3, 2), "same.1")
    np.testing.assert_allclose(
        vectors(found.features),
        np.concatenate((expected.mean((2, 3)), expected.max((2, 3))), axis=1),
        atol=1e-5,
    )
    assert found.features["class"].tolist() == ["light", "dark", "light"]
    assert found.features["seed"].tolist() == [5, 6, 7]
    np.testing.assert_allclose(found.maps.numpy(), expected, atol=1e-5)
    assert found.maps.axes == "TCYX"
    np.testing.assert_allclose(found.maps.grid.to_world((1, 3)), Grid((32, 32)).to_world((2.5, 6.5)))
    style = features(None, model, layer="mapping.1", options=options).features
    np.testing.assert_allclose(
        vectors(style), given(model, make_latents([1, 0, 1], [5, 6, 7], 3, 2), "mapping.1"), atol=1e-5
    )


def test_a_run_gives_them_beside_its_images(makers) -> None:
    result = generate(makers["class"], TORCH.replace(count=2, layer="first"))
    assert result.image.shape == (2, 32, 32)
    assert result.features["image"].tolist() == [1, 2]
    paired = run(mask(), makers["paired"], TORCH.replace(layer="encoder.1"))
    assert len(paired.features) == 1
    assert len(feature_names(paired.features)) == 6


def test_the_network_from_masks_to_images(makers) -> None:
    model, options = makers["paired"], TORCH.replace(count=2, seed=3)
    found = features(mask(), model, layer="encoder.1", maps=True, options=options)
    for number in range(2):
        conditions, _ = conditions_for(mask().numpy(), model.card, options, number)
        expected = given(model, conditions[np.newaxis], "encoder.1")[0]
        np.testing.assert_allclose(found.maps.numpy()[number], expected, atol=1e-5)
        np.testing.assert_allclose(vectors(found.features)[number], expected.mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(found.maps.grid.to_world((2, 5)), mask().grid.to_world((4.5, 10.5)))
    assert found.features["image"].tolist() == [1, 2]
    stages = features(None, model, options=options)  # masks are made as well
    assert (stages.record["layer"], len(stages.features)) == ("encoder.*", 2)


def test_translators_are_looked_into_as_other_networks(makers) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (18, 26), np.uint8)
    found = features(Image(pixels), makers["cycle"], layer="encoder.1").features
    expected = given(makers["cycle"], pixels[None, None] * np.float32(0.01) - 1, "encoder.1")
    # 18 x 26 is a multiple of the network's step: one tile
    np.testing.assert_allclose(vectors(found)[0], expected.mean((0, 2, 3)), atol=1e-5)


@pytest.mark.parametrize("kind", ["class", "paired", "cycle"])
def test_there_is_nothing_to_explain(makers, kind) -> None:
    image = None if kind == "class" else mask()
    for options in (TORCH.replace(explain="gradcam"), TORCH.replace(uncertainty="tta")):
        with pytest.raises(
            InputMismatch, match=r"makes images and says nothing of one.*'layer' gives features"
        ):
            makers[kind].run(image, options)
    for ask in (explain, uncertainty):
        with pytest.raises(InputMismatch, match="no reason to explain"):
            ask(mask(), makers[kind])


def test_wrong_questions(makers) -> None:
    with pytest.raises(InputMismatch, match="Leave the image out"):
        features(mask(), makers["class"])
    with pytest.raises(OptionError, match="a generator has none"):
        features(mask(), makers["paired"], objects=LabelMap(mask().numpy()))
    with pytest.raises(OptionError, match="has no maps"):
        features(None, makers["class"], layer="mapping.1", maps=True)
    with pytest.raises(InputMismatch, match="needs an image; found none"):
        features(None, makers["cycle"])
