"""Explanations of a network trained while the tests run: they find what it looks at."""

import numpy as np
import pytest
from scipy.stats import spearmanr

torch = pytest.importorskip("torch")

from deepbio.errors import CardError, InputMismatch, OptionError  # noqa: E402
from deepbio.explanation import explain  # noqa: E402
from deepbio.explanation.targets import find_target  # noqa: E402
from deepbio.image import Grid, Image  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.predict import load_model  # noqa: E402
from tests.core.shapes import shape_images  # noqa: E402
from tests.core.tasks.bright import write_bright_model  # noqa: E402

METHODS = ["gradcam", "integrated-gradients", "occlusion"]


def discs() -> tuple[list[np.ndarray], list[np.ndarray]]:
    images, classes, masks = shape_images(16, seed=9)
    return list(images[classes == 1]), list(masks[classes == 1])


@pytest.mark.parametrize("method", METHODS)
def test_the_disc_speaks_for_a_disc(disc_model, method) -> None:
    if method == "integrated-gradients":
        pytest.importorskip("captum")
    model = load_model(disc_model)
    inside, share = [], []
    for pixels, mask in zip(*discs(), strict=True):
        result = explain(Image(pixels), model, method=method)
        assert result.record["target"] == ["disc"]
        found = np.abs(result.explanation.numpy())
        inside.append(found[mask].mean() / found[~mask].mean())
        share.append(mask.mean())
    assert np.mean(share) < 0.1
    assert np.median(inside) > 2


def test_random_weights_explain_something_else(disc_model) -> None:
    model, other = load_model(disc_model), load_model(disc_model)
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(7)
        for parameter in other.module().parameters():
            if parameter.ndim > 1:
                torch.nn.init.kaiming_normal_(parameter)
    alike = []
    for pixels in discs()[0]:
        maps = [
            explain(Image(pixels), one, target="disc").explanation.numpy().ravel() for one in (model, other)
        ]
        alike.append(np.nan_to_num(spearmanr(*maps).statistic) if np.ptp(maps[1]) else 0.0)
    assert abs(np.mean(alike)) < 0.5


def test_a_larger_image_is_explained_on_its_own_pixels(disc_model) -> None:
    pixels, mask = discs()[0][0], discs()[1][0]
    large = pixels.repeat(3, 0).repeat(3, 1)[:, 6:90]
    grid = Grid(large.shape, (0.3, 0.3), (4.0, -2.0), unit="micrometer")
    result = explain(Image(large, grid=grid), disc_model)
    assert result.explanation.grid == grid
    found, where = result.explanation.numpy(), mask.repeat(3, 0).repeat(3, 1)[:, 6:90]
    assert found[where].mean() > 2 * found[~where].mean()


def test_frames_slices_and_volumes(tiny2d, tiny3d) -> None:
    pixels = np.random.default_rng(0).integers(0, 2000, (2, 3, 9, 13)).astype(np.uint16)
    grid = Grid((3, 9, 13), (1.2, 0.8, 0.5), unit="millimeter")
    image = Image(pixels, "TZYX", grid)
    flat = explain(image, tiny2d, target="part 2", options=RunOptions(per_slice=True))
    assert (flat.explanation.axes, flat.explanation.shape) == ("TZYX", (2, 3, 9, 13))
    one = explain(Image(pixels[1, 2]), tiny2d, target="part 2").explanation.numpy()
    np.testing.assert_allclose(flat.explanation.numpy()[1, 2], one, atol=1e-6)
    volume = explain(image, tiny3d, target="1", layer="encoder.1")
    assert volume.explanation.grid == grid
    assert volume.record["target"] == ["part 1"]
    assert volume.record["layer"] == "encoder.1"


def test_a_large_image_is_explained_tile_by_tile(tiny2d) -> None:
    pixels = np.random.default_rng(0).integers(0, 2000, (70, 90)).astype(np.uint16)
    heard = []
    result = explain(Image(pixels), tiny2d, on_progress=heard.append, options=RunOptions(tile=32))
    assert result.explanation.shape == (70, 90)
    assert max(event.total for event in heard) > 4


def test_occlusion_needs_no_torch_weights(tmp_path) -> None:
    model = load_model(write_bright_model(tmp_path, 2))
    image = Image(np.full((8, 8), 1500, np.uint16))
    image.array[2:4, 2:4] = 4000
    found = explain(image, model, method="occlusion").explanation.numpy()
    assert found[2:4, 2:4].min() > found[6:, 6:].max()
    with pytest.raises(CardError, match="occlusion and test-time augmentation run with any"):
        explain(image, model, method="gradcam")


def test_classes_by_name_and_number(disc_model, tiny2d) -> None:
    card = load_model(disc_model).card
    assert find_target(card, "") is None
    assert find_target(card, "Disc").channel == 1
    assert find_target(load_model(tiny2d).card, "").name == "part 1"
    assert find_target(load_model(tiny2d).card, "2").channel == 2
    with pytest.raises(OptionError, match=r"no class 'disk'. Did you mean 'disc'"):
        find_target(card, "disk")
    with pytest.raises(OptionError, match=r"no class 'zebra'. It has nothing, disc"):
        find_target(card, "zebra")


def test_what_cannot_be_explained(disc_model) -> None:
    image = Image(discs()[0][0])
    with pytest.raises(OptionError, match="The method is 'lime'"):
        explain(image, disc_model, method="lime")
    with pytest.raises(OptionError, match=r"does not depend|one vector"):
        explain(image, disc_model, layer="head")
    with pytest.raises(InputMismatch, match=r"it is 3D|takes one channel|has 3"):
        explain(Image(np.zeros((3, 9, 9), np.uint8), "CYX"), disc_model)
