"""An image is zoomed to the sizes that its network knows; labels come back on its own grid."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from deepbio.engine.geometry import GridSpec, place, to_working
from deepbio.engine.resample import nearest
from deepbio.errors import InputMismatch
from deepbio.events import Notice
from deepbio.image import RGB, Grid, Image
from deepbio.options import RunOptions
from deepbio.predict import Model, load_model, run
from deepbio.tasks import sizes as module
from tests.core.engine.grids import GRIDS

from .conftest import write_threshold_model

SIZES = {"typical": [14, 60], "target": [20, 40], "zoom": [0.25, 2]}
EVERYTHING = ("labels", "table", "scores")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """``models(name)`` loads one of the threshold models of this module."""
    folder = tmp_path_factory.mktemp("sizing")
    cards = {
        "asked": (2, {"sizes": SIZES}),
        "auto": (2, {"sizes": {**SIZES, "auto": True}}),
        "auto3d": (3, {"sizes": {**SIZES, "auto": True}}),
        "cropped": (2, {"sizes": {**SIZES, "auto": True}, "grid": {"crop": "nonzero"}}),
        "grid": (2, {"sizes": SIZES, "grid": {"spacing": [0.5, 0.5], "unit": "micrometer"}}),
    }
    made: dict[str, Model] = {}

    def load(name: str) -> Model:
        if name not in made:
            dims, config = cards[name]
            made[name] = load_model(write_threshold_model(folder, name, dims, **config))
        return made[name]

    return load


def _spots(shape: tuple[int, ...], radius: float, step: int, seed: int = 0) -> np.ndarray:
    """Bright discs or balls on a lattice, each moved a little."""
    random = np.random.default_rng(seed)
    pixels = np.zeros(shape, np.int16)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    for corner in np.ndindex(*(n // step for n in shape)):
        centre = (np.array(corner) + 0.5) * step + random.uniform(-0.5, 0.5, len(shape))
        pixels[np.linalg.norm(index - centre, axis=-1) < radius] = 2000
    return pixels


def _zoomed(pixels: np.ndarray, grid: Grid, zoom: float) -> np.ndarray:
    """What the threshold model must find: components on the zoomed grid, by the nearest pixel."""
    placement = place(grid, GridSpec(zoom=zoom))
    found = ndimage.label(to_working(pixels[None], placement)[0] > 1000)[0]
    return found[np.ix_(*(nearest(n, m) for n, m in zip(found.shape, pixels.shape, strict=True)))]


def _notices(heard: list[object]) -> list[str]:
    return [event.message for event in heard if isinstance(event, Notice)]


@pytest.mark.parametrize(("diameter", "zoom"), [(8.0, 2.0), (13.0, 1.5), (100.0, 0.5), (70.0, 0.5)])
def test_a_given_diameter_zooms_exactly(models, diameter: float, zoom: float) -> None:
    pixels, heard = _spots((83, 117), 6, 20), []
    grid = Grid((83, 117), (0.5, 0.8), (-3.0, 8.0), unit="micrometer")
    result = models("asked").run(
        Image(pixels, "YX", grid), RunOptions(diameter=diameter, output=EVERYTHING), on_progress=heard.append
    )
    np.testing.assert_array_equal(result.labels.numpy(), _zoomed(pixels, grid, zoom))
    assert result.labels.grid == result.scores.grid == grid
    assert len(result.table) == result.labels.numpy().max() == 20
    assert (result.record["diameter"], result.record["zoom"]) == (diameter, zoom)
    assert result.record["working"]["shape"] == list(place(grid, GridSpec(zoom=zoom)).grid.shape)
    assert result.record["options"]["diameter"] == diameter
    word = "enlarged" if zoom > 1 else "reduced"
    assert [f"about {diameter:g} pixels across" in told and word in told for told in _notices(heard)] == [
        True
    ]


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("diameter", [8.0, 90.0])
def test_volumes_on_any_grid(models, name: str, diameter: float) -> None:
    grid = GRIDS[name]
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(grid.shape), 3)
    pixels = (1000 + 20000 * smooth).clip(0).astype(np.int16)
    result = models("auto3d").run(Image(pixels, "ZYX", grid), RunOptions(diameter=diameter))
    assert result.labels.grid == grid
    np.testing.assert_array_equal(result.labels.numpy(), _zoomed(pixels, grid, 2.0 if diameter == 8 else 0.5))


@pytest.mark.parametrize("options", [{}, {"diameter": 30.0}, {"tile": 16}])
def test_zoom_1_changes_nothing(models, spots2d, options) -> None:
    pixels, heard = _spots((101, 123), 10, 25), []
    plain = run(Image(pixels), load_model(spots2d), RunOptions(output=EVERYTHING))
    result = models("auto").run(
        Image(pixels), RunOptions(**options, output=EVERYTHING), on_progress=heard.append
    )
    np.testing.assert_array_equal(result.labels.numpy(), plain.labels.numpy())
    np.testing.assert_allclose(
        result.scores.numpy(), plain.scores.numpy(), atol=0 if not options.get("tile") else 1e-6
    )
    assert result.table.columns.keys() == plain.table.columns.keys()
    assert (len(result.table), result.record["zoom"]) == (16, 1.0)
    assert "working" not in result.record
    assert _notices(heard) == []
    assert "zoom" not in plain.record


@pytest.mark.parametrize("radius", [4, 40])
def test_what_is_measured_decides(models, radius: int) -> None:
    shape = (60, 70) if radius == 4 else (300, 410)
    pixels, heard = _spots(shape, radius, 14 if radius == 4 else 95), []
    result = models("auto").run(Image(pixels), on_progress=heard.append)
    count = 20 if radius == 4 else 12
    measured = result.record["diameter"]
    assert measured == pytest.approx(2 * radius, rel=0.03)
    assert (result.record["zoom"], result.record["measured"]) == (
        2.0 if radius == 4 else 0.5,
        {"objects": count},
    )
    np.testing.assert_array_equal(result.labels.numpy(), _zoomed(pixels, Grid(shape), result.record["zoom"]))
    assert len(result.table) == count  # the first look leaves no rows
    assert len(_notices(heard)) == 1
    again = models("auto").run(Image(pixels), RunOptions(diameter=measured))
    np.testing.assert_array_equal(again.labels.numpy(), result.labels.numpy())
    tiled = models("auto").run(Image(pixels), RunOptions(tile=16, overlap=0.5))
    np.testing.assert_array_equal(tiled.labels.numpy(), result.labels.numpy())


def test_too_few_objects_decide_nothing(models) -> None:
    result = models("auto").run(Image(_spots((20, 40), 3, 12)))
    assert (result.record["diameter"], result.record["zoom"]) == (None, 1.0)
    assert result.labels.numpy().max() == result.record["measured"]["objects"] == 3
    empty = models("auto").run(Image(np.zeros((9, 7), np.uint8)))
    assert (empty.labels.numpy().max(), empty.record["measured"]) == (0, {"objects": 0})


def test_a_large_image_is_sampled(models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WHOLE", 1000)
    monkeypatch.setitem(module._EDGE, 2, 48)
    pixels = _spots((180, 230), 4, 14)
    result = models("auto").run(Image(pixels))
    assert result.record["measured"]["windows"] <= 4
    assert result.record["measured"]["objects"] < 60
    assert result.record["diameter"] == pytest.approx(8, abs=0.2)
    np.testing.assert_array_equal(result.labels.numpy(), _zoomed(pixels, Grid(pixels.shape), 2.0))
    tiled = models("auto").run(Image(pixels), RunOptions(tile=32))
    assert tiled.record["diameter"] == result.record["diameter"]
    np.testing.assert_array_equal(tiled.labels.numpy(), result.labels.numpy())


def test_windows_lie_in_what_is_cropped(models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WHOLE", 1000)
    monkeypatch.setitem(module._EDGE, 2, 64)
    pixels = np.zeros((300, 280), np.int16)
    pixels[40:110, 90:140] = _spots((70, 50), 4, 14)
    pixels[40, 90] = pixels[109, 139] = 1  # corners of the box
    result = models("cropped").run(Image(pixels))
    assert result.record["diameter"] == pytest.approx(8, abs=0.5)
    assert (result.record["zoom"], result.record["working"]["shape"]) == (2.0, [140, 100])
    assert result.labels.numpy().max() == 15


def test_a_series_has_one_zoom(models) -> None:
    small, large = _spots((60, 70), 4, 14, 1), _spots((60, 70), 9, 20, 1)
    frames = np.stack([small] * 7 + [large])
    image = Image(frames, "TYX", frame_interval=3.0)
    result = models("auto").run(image, RunOptions(output=EVERYTHING))
    measured = result.record["measured"]
    assert (result.record["zoom"], measured["frames"]) == (2.0, ["frame 5", "frame 1"])
    for t, frame in enumerate(frames):
        np.testing.assert_array_equal(result.labels.numpy()[t], _zoomed(frame, Grid(frame.shape), 2.0))
    assert result.labels.frame_interval == 3.0
    assert result.scores.shape == (8, 1, 60, 70)
    assert np.bincount(result.table["frame"])[1:].tolist() == [20] * 7 + [9]


def test_slices_of_a_stack(models) -> None:
    planes = np.stack([_spots((60, 70), 4, 14, seed) for seed in range(5)])
    grid = Grid(planes.shape, (2.0, 0.5, 0.5), unit="micrometer")
    result = models("auto").run(Image(planes, "ZYX", grid), RunOptions(per_slice=True))
    assert (result.record["zoom"], result.record["measured"]["frames"]) == (2.0, ["slice 3"])
    assert result.labels.grid == grid
    assert result.labels.numpy().max() == 100
    flat = Grid((60, 70), (0.5, 0.5))
    np.testing.assert_array_equal(result.labels.numpy()[0], _zoomed(planes[0], flat, 2.0))


def test_on_the_grid_of_the_card(models) -> None:
    """A diameter in pixels of 0.25 um is half as many of the network's 0.5 um."""
    pixels = _spots((160, 200), 10, 26)
    image = Image(pixels, "YX", Grid(pixels.shape, (0.25, 0.25), unit="micrometer"))
    result = models("grid").run(image, RunOptions(diameter=20.0))
    assert (result.record["zoom"], "working" in result.record) == (2.0, False)  # the image's own, again
    np.testing.assert_array_equal(result.labels.numpy() > 0, pixels > 1000)
    plain = models("grid").run(image, RunOptions(diameter=60.0))
    assert (plain.record["zoom"], plain.record["working"]["spacing"]) == (1.0, [0.5, 0.5])


def test_least_size_counts_pixels_of_the_image(models) -> None:
    pixels = np.zeros((40, 60), np.int16)
    pixels[5:8, 5:8] = pixels[20:24, 30:34] = pixels[30:35, 50:55] = 2000
    for min_size, count in ((0, 3), (9, 3), (10, 2), (16, 2), (17, 1), (26, 0)):
        result = models("asked").run(Image(pixels), RunOptions(diameter=10.0, min_size=min_size))
        labels = result.labels.numpy()
        assert np.unique(labels).tolist() == list(range(count + 1))
        assert result.table is None or len(result.table) == count
    np.testing.assert_array_equal(labels, 0)


def test_a_model_that_does_not_say_takes_no_diameter(spots2d) -> None:
    with pytest.raises(InputMismatch, match=r"does not say which sizes.*Leave 'diameter' out"):
        run(Image(np.ones((9, 8), np.uint8)), load_model(spots2d), RunOptions(diameter=9.0))


def _nuclei(channels: int) -> Image:
    """A dense field of small blurred discs, the sizes of which differ a little."""
    random, shape = np.random.default_rng(4), (112, 128)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    pixels = np.zeros(shape, np.float32)
    for corner in np.ndindex(12, 14):
        centre = (np.array(corner) + 0.9) * 8.5 + random.uniform(-0.8, 0.8, 2)
        inside = np.linalg.norm(index - centre, axis=-1) < random.uniform(3.4, 4.3)
        pixels[inside] = np.maximum(pixels[inside], random.uniform(120, 200))
    pixels = ndimage.gaussian_filter(pixels, 0.8) + random.normal(12, 3, shape)
    grey = pixels.clip(0, 255).astype(np.uint8)
    return Image(grey) if channels == 1 else Image(np.stack([grey] * 3), "CYX", channels=RGB)


@pytest.mark.parametrize("channels", [1, 3])
def test_small_nuclei_that_merge_are_found_apart(channels: int) -> None:
    image, model = _nuclei(channels), load_model("nuclei")
    merged = model.run(image, RunOptions(diameter=30.0)).labels.numpy().max()
    result = model.run(image)
    assert result.record["zoom"] > 1
    assert result.record["diameter"] < 14
    assert result.labels.numpy().max() > 1.2 * merged
    assert 130 < result.labels.numpy().max() < 190  # of 168


def test_the_example_is_not_touched(tmp_path: Path) -> None:
    """The sample of the package has nuclei of a size that needs no zoom."""
    from deepbio.io import read
    from deepbio.library import find_model

    card = find_model("nuclei")
    sizes = module.Sizes.from_card(card.deepbio["sizes"])
    result = load_model("nuclei").run(read(card.root / "sample_input.tif"))
    assert sizes.zoom_for(result.record["diameter"]) == result.record["zoom"]


def test_a_card_may_know_the_usual_diameter_and_zoom_exactly(tmp_path: Path) -> None:
    sizes = {"typical": [30, 30], "usual": 20.0, "zoom": [0.05, 20], "exact": True}
    model = load_model(
        write_threshold_model(tmp_path, "usual", 2, sizes=sizes, grid={"interpolation": "linear"})
    )
    pixels = _spots((97, 131), 7, 32)
    heard: list[object] = []
    result = model.run(Image(pixels), on_progress=heard.append)
    assert (result.record["diameter"], result.record["zoom"]) == (20.0, 1.5)
    assert result.record["working"]["shape"] == [145, 196]
    assert _notices(heard) == [
        "The objects are taken to be about 20 pixels across; 'usual' takes 30. The image is enlarged 1.5 times for it."
    ]
    asked = model.run(Image(pixels), RunOptions(diameter=30 / 0.61))
    assert asked.record["zoom"] == pytest.approx(0.61)
    assert asked.record["working"]["shape"] == [59, 79]
    assert model.run(Image(pixels), RunOptions(diameter=30)).record["zoom"] == 1.0
