"""The way of an image through a restorer that adds a constant: intensities and places must be exact."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from scipy import ndimage

from deepbio.cases.restore import coarser
from deepbio.engine.steps import prepare
from deepbio.engine.tensors import run_tensors
from deepbio.errors import Cancelled, CardError, InputMismatch
from deepbio.events import Event, Progress
from deepbio.image import RGB, Grid, Image
from deepbio.io import read
from deepbio.library import Step
from deepbio.metrics.restoration import fit_intensity, psnr
from deepbio.options import RunOptions
from deepbio.predict import load_model, run
from deepbio.tasks.finer import Folded, finer_grid, fold_pixels, unfold_pixels
from deepbio.tasks.restore import Denormaliser
from tests.conftest import make_grid
from tests.core.tasks.restorers import MEAN_STD, write_restorer

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def adder(tmp_path_factory: pytest.TempPathFactory):
    """Restorers by their arguments, each written once."""
    folder, made = tmp_path_factory.mktemp("restorers"), {}

    def make(**arguments):
        key = str(sorted(arguments.items()))
        if key not in made:
            made[key] = load_model(write_restorer(folder, f"model{len(made)}", **arguments))
        return made[key]

    return make


def _pixels(shape: tuple[int, ...], dtype: str = "int16") -> np.ndarray:
    return np.random.default_rng(5).integers(100, 3000, shape).astype(dtype)


@pytest.mark.parametrize("shape", [(1, 2), (3, 5), (41, 53)])
@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize(
    "step", [MEAN_STD, Step("scale_range", {"axes": ["y", "x"], "max_percentile": 99.0})]
)
def test_the_result_is_in_the_units_of_the_image(adder, shape, tile, step) -> None:
    image = Image(_pixels(shape), "YX", make_grid(2).replace(shape=shape))
    found = run(image, adder(step=step), RunOptions(tile=tile)).image
    assert (found.axes, found.array.dtype, found.grid == image.grid) == ("YX", np.dtype(np.float32), True)
    np.testing.assert_allclose(found.numpy(), image.numpy(), rtol=1e-5, atol=0.02)


def test_what_the_network_adds_is_scaled_to_the_image(adder) -> None:
    pixels = _pixels((23, 37)) + 20000
    found = run(Image(pixels), adder(add=0.5)).image.numpy()
    np.testing.assert_allclose(found, pixels + 0.5 * pixels.std(), atol=0.05)


def test_every_axis_stays_in_its_place(adder) -> None:
    pixels = _pixels((2, 3, 4, 13, 17), "uint16")  # TCZYX
    # each channel has a range of its own, which a common normalisation would not bring back
    pixels[:, 1] *= 20
    grid = Grid((4, 13, 17), (1.2, 0.8, 0.5), unit="micrometer")
    image = Image(pixels, "TCZYX", grid, ("dapi", "2", "gfp"), 2.5)
    found = run(image, adder(add=1.0)).image
    wanted = pixels + pixels.std((3, 4), keepdims=True)
    assert (found.axes, found.channels, found.frame_interval) == ("TCZYX", image.channels, 2.5)
    assert found.grid == grid
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=0.1)


@pytest.mark.parametrize("name", ["gfp", "3"])
def test_one_channel_alone(adder, name) -> None:
    image = Image(_pixels((3, 13, 17)), "CYX", channels=("dapi", "tritc", "gfp"))
    found = run(image, adder(), RunOptions(channel=name)).image
    assert (found.axes, found.channels) == ("YX", ())
    np.testing.assert_allclose(found.numpy(), image.array[2], atol=0.02)


def test_a_network_of_three_channels_takes_them_together(adder) -> None:
    model = adder(channels=3, add=1.0)
    pixels = _pixels((3, 13, 17), "uint8")
    found = run(Image(pixels, "CYX", channels=RGB), model).image
    np.testing.assert_allclose(found.numpy(), pixels + pixels.std((1, 2), keepdims=True), atol=0.02)
    with pytest.raises(InputMismatch, match="takes 3 channels; the image has 1 channel"):
        run(Image(pixels[0]), model)


@pytest.mark.parametrize("tile", [None, 16])
def test_a_volume(adder, tile) -> None:
    image = Image(_pixels((5, 19, 23)), "ZYX", make_grid(3).replace(shape=(5, 19, 23)))
    found = run(image, adder(dims=3, add=0.25), RunOptions(tile=tile)).image
    assert found.grid == image.grid
    np.testing.assert_allclose(
        found.numpy(), image.numpy() + 0.25 * image.numpy().std(), rtol=1e-5, atol=0.02
    )
    with pytest.raises(InputMismatch, match="2D"):
        run(Image(_pixels((19, 23))), adder(dims=3, add=0.25))


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize(
    ("tile", "off"), [(32, 0.05), (16, 15.0)]
)  # at the border of a tile none sees beyond
def test_a_finer_grid_covers_the_same_place(adder, factor, tile, off) -> None:
    shape = (5, 21, 19)
    image = Image(_pixels(shape), "ZYX", make_grid(3, left_handed=True).replace(shape=shape))
    result = run(image, adder(dims=3, factor=factor), RunOptions(tile=tile))
    found = result.image
    assert found.shape == tuple(factor * n for n in shape)
    assert result.record["factor"] == [factor] * 3
    # the corners of the image, half a pixel beyond the outer centres, are where they were
    for corner in itertools.product((0, 1), repeat=3):
        old = image.grid.to_world([side * n - 0.5 for side, n in zip(corner, shape, strict=True)])
        new = found.grid.to_world([side * n - 0.5 for side, n in zip(corner, found.shape, strict=True)])
        np.testing.assert_allclose(new, old, atol=1e-9)
    # what lies at a place is what the image has there: linear interpolation of its pixels in the world
    index = np.moveaxis(np.indices(found.shape), 0, -1).reshape(-1, 3)
    places = image.grid.to_index(found.grid.to_world(index)).T
    wanted = ndimage.map_coordinates(image.numpy().astype(float), places, order=1, mode="nearest")
    inner = (slice(factor, -factor),) * 3
    np.testing.assert_allclose(found.numpy()[inner], wanted.reshape(found.shape)[inner], rtol=1e-4, atol=off)


def test_slices_keep_their_distance_while_their_pixels_become_finer(adder) -> None:
    image = Image(_pixels((2, 3, 4, 13, 17)), "TCZYX", make_grid(3).replace(shape=(4, 13, 17)))
    found = run(image, adder(factor=2)).image
    assert found.shape == (2, 3, 4, 26, 34)
    assert found.grid.spacing == (1.2, 0.4, 0.25)
    np.testing.assert_allclose(found.grid.to_world((0, 0.5, 0.5)), image.grid.to_world((0, 0, 0)), atol=1e-9)


def test_a_factor_for_each_axis(adder) -> None:
    image = Image(_pixels((5, 13, 17)), "ZYX", make_grid(3).replace(shape=(5, 13, 17)))
    found = run(image, adder(dims=3, factor=(4, 1, 2))).image
    assert found.shape == (20, 13, 34)
    assert found.grid == finer_grid(image.grid, (4, 1, 2))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_constant_image_stays_as_it_is(adder, dtype) -> None:
    found = run(Image(np.full((11, 13), 7, dtype)), adder(add=1.0)).image
    np.testing.assert_allclose(found.numpy(), 7, atol=1e-4)


def test_mirrored_images_are_averaged(adder) -> None:
    pixels = _pixels((15, 22))
    model = adder(add=0.5, mirror=[0, 1])
    result = run(Image(pixels), model, RunOptions(mirror=True))
    assert result.record["mirror"] == [0, 1]
    np.testing.assert_allclose(result.image.numpy(), pixels + 0.5 * pixels.std(), atol=0.02)
    with pytest.raises(InputMismatch, match="along which axes"):
        run(Image(pixels), adder(), RunOptions(mirror=True))


def test_pixels_that_are_no_numbers_are_refused(adder) -> None:
    pixels = np.ones((9, 9), np.float32)
    pixels[2, 3] = np.nan
    with pytest.raises(InputMismatch, match="NaN"):
        run(Image(pixels), adder())


def test_progress_and_cancelling(adder) -> None:
    events: list[Event] = []
    run(Image(_pixels((2, 40, 40)), "TYX"), adder(), RunOptions(tile=16), on_progress=events.append)
    stages = {event.stage for event in events if isinstance(event, Progress)}
    assert {"frames", "predict"} <= stages

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "predict":
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        run(Image(_pixels((40, 40))), adder(), on_progress=stop)


def test_the_self_test_knows_the_finer_size(adder) -> None:
    model = adder(factor=2, add=0.5)
    pixels = np.load(model.card.input.test_tensor)
    found = run_tensors(model.card, {"input": pixels})["output"]
    assert found.shape == (1, 1, 16, 16)
    np.testing.assert_allclose(found, np.load(model.card.output.test_tensor), atol=1e-5)


def test_a_network_of_another_factor_than_its_card_says() -> None:
    class Same:
        name = precision = why = ""
        device = None

        def __call__(self, batch):
            return batch

    with pytest.raises(InputMismatch, match=r"answers tiles of \(4, 6\)"):
        Folded(Same(), (2, 2))(np.zeros((1, 1, 4, 6), np.float32))


@pytest.mark.parametrize("factor", [(2, 3), (4, 1, 2)])
def test_pixels_folded_into_channels_come_back(factor) -> None:
    size = tuple(f * n for f, n in zip(factor, (5, 3, 2), strict=False))
    fine = np.arange(2 * np.prod(size)).reshape(1, 2, *size)
    folded = fold_pixels(fine, factor)
    assert folded.shape == (1, 2 * np.prod(factor), *(5, 3, 2)[: len(factor)])
    np.testing.assert_array_equal(unfold_pixels(folded[0], factor), fine[0])


def test_folding_is_the_inverse_of_the_networks_shuffle() -> None:
    torch = pytest.importorskip("torch")
    from deepbio.networks.restorer import shuffle_pixels

    channels = torch.arange(2.0 * 12 * 5 * 3).reshape(1, 24, 5, 3)
    fine = shuffle_pixels(channels, (3, 4))
    assert torch.equal(fold_pixels(fine, (3, 4)), channels)
    square = torch.arange(2.0 * 4 * 5 * 3).reshape(1, 8, 5, 3)
    assert torch.equal(shuffle_pixels(square, (2, 2)), torch.pixel_shuffle(square, 2))


@pytest.mark.parametrize("low", [0.0, -3e4, 1e6])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 5e3])
def test_normalisation_is_undone_for_any_range(low, spread) -> None:
    pixels = (low + spread * np.random.default_rng(0).normal(size=(2, 9, 7))).astype(np.float32)
    pixels[1] *= 3
    normalise = prepare(
        pixels, ("channel", "y", "x"), [Step("zero_mean_unit_variance", {"axes": ["y", "x"]})]
    )
    back = Denormaliser(normalise, 2, 2)(normalise(pixels))
    np.testing.assert_allclose(back, pixels, rtol=1e-5, atol=1e-4 * spread)


def test_a_card_whose_steps_cannot_be_undone(adder, tmp_path) -> None:
    path = write_restorer(tmp_path, "clipped", step=Step("clip", {"min": 0.0, "max": 9.0}))
    with pytest.raises(CardError, match="'clip' cannot be undone"):
        run(Image(_pixels((9, 9))), path)
    path = write_restorer(tmp_path, "own", step=Step("clip", {"min": 0.0, "max": 9.0}), add=0.5,
                          restore={"units": "network"})  # fmt: skip
    found = run(Image(_pixels((9, 9))), path).image.numpy()
    np.testing.assert_allclose(found, 9.5)


def test_a_card_that_would_blur_the_image_first(tmp_path) -> None:
    path = write_restorer(tmp_path, "coarse", grid={"spacing": [1.0, 1.0], "unit": "micrometer"})
    with pytest.raises(CardError, match="would blur"):
        run(Image(_pixels((9, 9))), path)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"factor": 3.5}, "restore.factor is 3.5"),
        ({"factor": [2, 2, 2]}, "or 2 such numbers"),
        ({"method": "magic"}, "'magic'"),
        ({"units": "volts"}, "'volts'"),
        ({"module": "os"}, "restore has"),
    ],
)
def test_cards_that_make_no_sense(tmp_path, entry, said) -> None:
    with pytest.raises(CardError, match=said.replace("[", r"\[")):
        write_restorer(tmp_path, "bad", restore=entry)


def test_the_model_that_ships_is_better_than_filters() -> None:
    rng = np.random.default_rng(7)
    clean = np.asarray(read(ROOT / "examples" / "fluorescence.tif").plane(0).array, np.float64)[:192, :192]
    light = (clean - clean.min()) / (clean.max() - clean.min()) * 30  # photons
    noisy = rng.poisson(light) * 4 + 100 + rng.normal(0, 6, light.shape)
    found = run(Image(noisy.astype(np.float32)), "denoise").image.numpy()
    truth = light * 4 + 100
    filters = [ndimage.gaussian_filter(noisy, sigma) for sigma in (0.7, 1.0, 1.4, 2.0)]
    best = max(psnr(fit_intensity(one, truth), truth) for one in filters)
    assert psnr(fit_intensity(found, truth), truth) > best + 0.4
    assert psnr(found, truth) > best + 0.3  # in the units of the image, without any fit


@pytest.fixture(scope="module")
def sharp() -> np.ndarray:
    """Nuclei that `upscale-x2` did not learn from, of even size."""
    return np.asarray(read(ROOT / "examples" / "fluorescence.tif").plane(0).array, np.float32)[:400, :600]


@pytest.mark.parametrize(("blur", "noise", "gain"), [(0.0, 0.0, 0.8), (0.7, 0.0, 2.2), (0.0, 0.2, 6.5)])
def test_finer_pixels_are_better_than_interpolated_ones(sharp, blur, noise, gain) -> None:
    coarse, _ = coarser(ndimage.gaussian_filter(sharp, blur), (2, 2))
    coarse = coarse + noise * coarse.std() * np.random.default_rng(0).normal(size=coarse.shape)
    image = Image(coarse.astype(np.float32), "YX", Grid(coarse.shape, (0.4, 0.3), unit="micrometer"))
    found = run(image, "upscale-x2").image
    cubic = Picture.fromarray(image.array).resize(sharp.shape[::-1], Picture.Resampling.BICUBIC)
    best = psnr(fit_intensity(np.asarray(cubic), sharp), sharp)
    assert psnr(fit_intensity(found.numpy(), sharp), sharp) > best + gain
    assert psnr(found.numpy(), sharp) > best + gain - 0.2  # in the units of the image, without any fit
    assert found.grid == finer_grid(image.grid, (2, 2))
    assert found.grid.spacing == (0.2, 0.15)
    np.testing.assert_allclose(found.grid.origin, (-0.075, -0.1))  # a quarter of an old pixel, x first
