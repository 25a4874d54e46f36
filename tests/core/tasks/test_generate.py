"""Images of classes and from masks: every byte is known."""

from pathlib import Path

import numpy as np
import pytest

import deepbio
from deepbio.engine.tensors import run_tensors
from deepbio.errors import CardError, ImageError, InputMismatch, OptionError
from deepbio.image import RGB, Grid, Image
from deepbio.library import find_model
from deepbio.library.check import check_package, validate_package
from deepbio.options import RunOptions
from deepbio.predict import Model, load_model
from deepbio.tasks.conditions import measure_appearance, object_levels
from tests.core.tasks.makers import APPEARANCES, LATENT, write_class_maker, write_mask_maker

ALL = RunOptions(device="cpu", runtime="onnx", output=("image", "table", "labels"))


@pytest.fixture(scope="module")
def maker(shades: Path) -> Model:
    return load_model(shades)


@pytest.fixture(scope="module")
def paint(painter: Path) -> Model:
    return load_model(painter)


def test_classes_in_turn(maker: Model) -> None:
    options = ALL.replace(count=5, classes=("LIGHT", "grey"), seed=7)
    result = deepbio.generate(maker, options)
    image, table = result.image, result.table
    assert image is not None
    assert table is not None
    assert (image.axes, image.shape, image.channels) == ("TCYX", (5, 3, 4, 6), RGB)
    assert table["class"].tolist() == ["light", "grey", "light", "grey", "light"]
    assert table["seed"].tolist() == [7, 8, 9, 10, 11]
    assert image.numpy()[:, :, 1, 1].tolist() == [[v] * 3 for v in (200, 100, 200, 100, 200)]
    for number, seed in enumerate(table["seed"].tolist()):
        first, last = np.random.default_rng(seed).standard_normal(LATENT).astype(np.float32)
        base = [200, 100][number % 2]
        assert image.numpy()[number, 0, 0, 0] == round(base + float(first))
        assert image.numpy()[number, 2, 3, 5] == round(base + float(last))
    assert result.record["model"] == "shades"
    assert result.labels is None


def test_one_of_each_class_and_one_again(maker: Model) -> None:
    whole = deepbio.generate(maker, ALL.replace(seed=3))
    assert whole.image is not None
    assert whole.image.numpy()[:, 0, 1, 1].tolist() == [0, 100, 200]
    again = deepbio.generate(maker, ALL.replace(seed=4, count=1, classes=("grey",))).image
    assert again is not None
    np.testing.assert_array_equal(again.numpy()[0], whole.image.numpy()[1])


def test_more_than_are_made_at_once(maker: Model) -> None:
    image = deepbio.generate(maker, ALL.replace(count=35, classes=("grey",))).image
    assert image is not None
    alone = deepbio.generate(maker, ALL.replace(count=1, classes=("grey",), seed=33)).image
    assert alone is not None
    np.testing.assert_array_equal(image.numpy()[33], alone.numpy()[0])


def test_grey_images_have_no_channels(tmp_path: Path) -> None:
    image = deepbio.generate(write_class_maker(tmp_path, channels=1), ALL).image
    assert image is not None
    assert (image.axes, image.shape) == ("TYX", (3, 4, 6))


def test_default_output_is_the_image(maker: Model) -> None:
    result = deepbio.generate(maker, RunOptions(device="cpu", runtime="onnx"))
    assert result.image is not None
    assert result.table is None


def test_self_test_of_a_latent(shades: Path, painter: Path) -> None:
    for package in (shades, painter):
        assert check_package(find_model(package), run_tensors).passed


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the validator leaves files open
def test_packages_are_valid(shades: Path, painter: Path) -> None:
    pytest.importorskip("bioimageio.spec")
    for package in (shades, painter):
        assert validate_package(package) == ()


def test_latent_of_the_wrong_size(shades: Path, tmp_path: Path) -> None:
    with pytest.raises(InputMismatch, match=r"takes 5 numbers .* found \(1, 4\)"):
        run_tensors(find_model(shades), {"input": np.zeros((1, 4), np.float32)})
    wrong = write_class_maker(tmp_path, generator={"kind": "class", "latent": 3})
    with pytest.raises(CardError, match="takes 5 numbers; its card says a latent of 3 and 3 classes"):
        deepbio.generate(wrong, ALL)


def test_what_a_generator_of_classes_refuses(maker: Model) -> None:
    with pytest.raises(OptionError, match="no class 'red'") as error:
        deepbio.generate(maker, ALL.replace(classes=("grey", "red")))
    assert "dark, grey, light" in str(error.value.hint)
    with pytest.raises(InputMismatch, match="from a latent and a class; found an image"):
        maker.run(Image(np.zeros((5, 7), np.uint8)), ALL)


def test_other_models_need_an_image(spots2d: Path) -> None:
    with pytest.raises(InputMismatch, match="needs an image; found none"):
        deepbio.generate(spots2d)
    with pytest.raises(ImageError, match="Expected an Image, found str"):
        load_model(spots2d).run("cell.tif")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"kind": "cube"}, "of kind 'cube'"),
        ({"kind": "class", "latent": 0}, "a latent of 0"),
        ({"kind": "class", "latent": True}, "a latent of True"),
    ],
)
def test_cards_that_contradict_themselves(tmp_path: Path, said: dict[str, object], told: str) -> None:
    with pytest.raises(CardError, match=told):
        write_class_maker(tmp_path, generator=said)


def test_cards_of_masks(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="rows of background"):
        write_mask_maker(tmp_path, appearances=[[0.5, 0.1, 0.0]])
    wrong = write_mask_maker(tmp_path, masks={"edge": 3})
    with pytest.raises(CardError, match="expected the numbers edge, areas"):
        deepbio.generate(wrong, ALL)


# --- from masks ---------------------------------------------------------------------------------


def mask(height: int = 37, width: int = 53) -> np.ndarray:
    """An odd mask with the labels 3 and 70000, which touch."""
    labels = np.zeros((height, width), np.int32)
    labels[2:9, 4:20] = 3
    labels[9:30, 11:33] = 70000
    return labels


def test_an_image_from_a_mask(paint: Model) -> None:
    grid = Grid((37, 53), (0.8, 0.5), (3.0, -1.0), unit="micrometer")
    result = paint.run(Image(mask(), "YX", grid), ALL)
    assert result.image is not None
    assert result.table is not None
    assert result.labels is not None
    assert result.image.grid == grid
    np.testing.assert_array_equal(result.labels.numpy(), mask())
    pixels = result.image.numpy()
    background, foreground = (float(result.table[name][0]) for name in ("background", "foreground"))
    assert [background, foreground] in [row[:2] for row in APPEARANCES]
    assert set(pixels[mask() == 0]) == {round(255 * background)}
    assert len(np.unique(pixels[mask() == 3])) == 1
    again = paint.run(Image(mask(), "YX", grid), ALL).image
    assert again is not None
    np.testing.assert_array_equal(pixels, again.numpy())


def test_tiles_do_not_show(paint: Model) -> None:
    whole, parts = (paint.run(Image(mask()), ALL.replace(tile=edge)).image for edge in (128, 16))
    assert whole is not None
    assert parts is not None
    assert np.abs(whole.numpy().astype(int) - parts.numpy()).max() <= 1


def test_planes_of_a_stack_and_variants_of_one(paint: Model) -> None:
    stack = np.stack([mask(), np.roll(mask(), 5, 1)])
    result = paint.run(Image(stack, "ZYX", Grid(stack.shape, (2.0, 0.8, 0.5))), ALL)
    assert result.image is not None
    assert (result.image.axes, result.image.shape) == ("ZYX", (2, 37, 53))
    assert result.image.grid.spacing == (2.0, 0.8, 0.5)
    many = paint.run(Image(mask()), ALL.replace(count=3)).image
    assert many is not None
    assert (many.axes, many.shape) == ("TYX", (3, 37, 53))
    with pytest.raises(OptionError, match="axes ZYX; several images are made of single planes"):
        paint.run(Image(stack, "ZYX"), ALL.replace(count=2))


def test_masks_are_made_too(paint: Model) -> None:
    result = deepbio.generate(paint, ALL.replace(count=3, seed=5))
    assert result.image is not None
    assert result.labels is not None
    assert result.labels.shape == result.image.shape == (3, 48, 48)
    covered = (result.labels.numpy() > 0).mean((1, 2))
    assert ((covered > 0.1) & (covered < 0.4)).all()
    other = deepbio.generate(paint, ALL.replace(count=3, seed=6)).labels
    assert other is not None
    assert (other.numpy() != result.labels.numpy()).any()


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (Image(np.zeros((20, 21), np.float32)), "pixels of type float32"),
        (Image(np.zeros((3, 20, 21), np.uint8), "CYX"), "3 channels"),
        (Image(np.random.default_rng(0).integers(0, 200, (60, 61), np.uint8)), "looks like an image"),
        (Image(-mask()), "label -70000"),
    ],
)
def test_images_where_masks_are_expected(paint: Model, image: Image, told: str) -> None:
    with pytest.raises(InputMismatch, match=told):
        paint.run(image, ALL)


def test_classes_for_a_model_without(paint: Model) -> None:
    with pytest.raises(OptionError, match="has no classes; found grey"):
        deepbio.generate(paint, ALL.replace(classes=("grey",)))


def test_levels_and_appearance() -> None:
    labels = np.array([[0, 0, 2, 2, 5]])
    np.testing.assert_allclose(
        object_levels(np.array([[0.0, 0.0, 1.5, 0.5, 0.7]]), labels), [0, 0, 0, 0, 0, -0.3], atol=1e-6
    )
    assert measure_appearance(np.ones((1, 5)), labels) is None
    assert measure_appearance(np.ones((1, 5)), labels * 0) is None
