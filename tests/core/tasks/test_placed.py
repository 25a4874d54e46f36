"""The whole way: an image on any grid, a network on its own, labels exactly on the image's grid."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from deepbio.engine.geometry import GridSpec, place
from deepbio.errors import Cancelled, InputMismatch
from deepbio.events import Event, Notice, Progress
from deepbio.image import Grid, Image
from deepbio.io import read, read_labels, write
from deepbio.options import RunOptions
from deepbio.predict import load_model, run
from deepbio.tasks import placed as module
from deepbio.tasks.decode import decode
from deepbio.tasks.decoder import Decoder
from deepbio.tasks.placed import Placed, place_frame
from tests.core.engine.grids import GRIDS, sphere

from .conftest import write_threshold_model
from .scenes import perfect_scores, touching_discs

MILLIMETRE = {"spacing": [1.0, 1.0, 1.0], "orientation": "SAR"}
FLAT = {"spacing": [0.65, 0.65], "unit": "micrometer"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory):
    """``models(name)`` loads one of the threshold models of this module."""
    folder = tmp_path_factory.mktemp("placed")
    cards = {
        "1mm": (3, {"grid": MILLIMETRE, "mirror": [0, 2]}),
        "turned": (3, {"grid": {"orientation": "ILA"}}),
        "cropped": (3, {"grid": {"crop": "nonzero"}}),
        "cropped 1mm": (3, {"grid": {**MILLIMETRE, "crop": "nonzero"}}),
        "unchanged": (3, {"grid": {"spacing": [None, None, None]}}),
        "flat": (2, {"grid": FLAT, "per_slice": True}),
    }
    made = {}

    def load(name: str):
        if name not in made:
            dims, config = cards[name]
            made[name] = load_model(write_threshold_model(folder, name.replace(" ", "-"), dims, **config))
        return made[name]

    return load


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def _noise(grid: Grid) -> np.ndarray:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(grid.shape), 2)
    return (1000 + 8000 * smooth).clip(0).astype(np.int16)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("output", [("labels",), ("labels", "scores")])
def test_a_sphere_comes_back(models, name: str, output) -> None:
    grid = GRIDS[name]
    truth = sphere(grid, 16 * (1000 if grid.unit == "micrometer" else 1))
    result = models("1mm").run(Image(truth * np.int16(2000), "ZYX", grid), RunOptions(output=output))
    assert _dice(result.labels.numpy() > 0, truth) > 0.99
    assert result.labels.grid == grid
    working = result.record["working"]
    scale = 1000 if grid.unit == "micrometer" else 1
    assert working["spacing"] == pytest.approx([scale] * 3, rel=0.03)
    assert working["unit"] == grid.unit
    assert working["shape"] == list(place(grid, GridSpec.from_card(MILLIMETRE)).grid.shape)
    if "scores" in output:
        assert result.scores.grid == grid
        np.testing.assert_array_equal(result.scores.numpy()[0] > 0, result.labels.numpy() > 0)


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
@pytest.mark.parametrize("name", ["oblique", "left-handed", "sagittal"])
def test_a_sphere_goes_from_file_to_file(models, name: str, suffix: str, tmp_path: Path) -> None:
    grid = GRIDS[name]
    truth = sphere(grid, 16)
    write(tmp_path / f"image.{suffix}", Image(truth * np.int16(2000), "ZYX", grid))
    result = models("1mm").run(read(tmp_path / f"image.{suffix}"))
    write(tmp_path / f"labels.{suffix}", result.labels)
    labels = read_labels(tmp_path / f"labels.{suffix}")
    assert labels.grid == read(tmp_path / f"image.{suffix}").grid
    # files keep what they can: NIfTI has float32, and its own order of axes and signs
    np.testing.assert_allclose(labels.grid.to_world((3, 5, 7)), grid.to_world((3, 5, 7)), atol=1e-4)
    assert _dice(labels.numpy() > 0, truth) > 0.99


@pytest.mark.parametrize("name", GRIDS)
def test_turning_is_exact(models, name: str) -> None:
    grid = GRIDS[name]
    pixels = _noise(grid)
    result = models("turned").run(
        Image(pixels, "ZYX", grid), RunOptions(output=("labels", "scores", "table"))
    )
    assert result.labels.grid == grid
    np.testing.assert_array_equal(result.labels.numpy() > 0, pixels > 1000)
    np.testing.assert_allclose(result.scores.numpy()[0], pixels * 0.001 - 1, atol=1e-5)
    assert len(result.table) == ndimage.label(pixels > 1000)[1]


def test_what_is_cropped_away_is_background(models) -> None:
    grid = GRIDS["oblique"]
    pixels = np.zeros(grid.shape, np.int16)
    pixels[3:17, 20:60, 11:70] = _noise(grid)[3:17, 20:60, 11:70] + 1
    image = Image(pixels, "ZYX", grid)
    cropped = models("cropped").run(image, RunOptions(output=("labels", "scores")))
    np.testing.assert_array_equal(cropped.labels.numpy() > 0, pixels > 1000)
    assert cropped.record["working"]["shape"] == [14, 40, 59]
    assert not cropped.scores.numpy()[0, :3].any()
    resampled = models("cropped 1mm").run(image)
    assert _dice(resampled.labels.numpy() > 0, pixels > 1000) > 0.8  # small, rough blobs
    assert resampled.record["working"]["shape"] == [35, 32, 30]


def test_a_card_that_changes_nothing_costs_nothing(models, spots3d) -> None:
    grid = GRIDS["left-handed"]
    image = Image(_noise(grid), "ZYX", grid)
    result = models("unchanged").run(image)
    np.testing.assert_array_equal(result.labels.numpy(), run(image, load_model(spots3d)).labels.numpy())
    assert "working" not in result.record


def test_frames_and_slices_have_grids_of_their_own(models) -> None:
    grid = Grid((3, 90, 70), (2.0, 0.4, 0.3), unit="micrometer")
    discs = [
        [np.roll(sphere(Grid((90, 70), (0.4, 0.3)), 6 + t + z), (t, -z)) for z in range(3)] for t in range(2)
    ]
    truth = np.array(discs)
    image = Image(truth * np.int16(2000), "TZYX", grid, frame_interval=2.0)
    result = models("flat").run(image)  # slice by slice without being asked
    assert (result.labels.axes, result.labels.grid == grid) == ("TZYX", True)
    assert _dice(result.labels.numpy() > 0, truth) > 0.99
    assert [np.unique(result.labels.numpy()[t, z]).tolist() for t in range(2) for z in range(3)] == [
        [0, 1 + z] for _ in range(2) for z in range(3)
    ]
    assert result.record["working"]["shape"] == [55, 32]
    volumes = Image(np.stack([_noise(GRIDS["axial"])] * 2), "TZYX", GRIDS["axial"])
    found = models("1mm").run(volumes).labels
    assert found.grid == volumes.grid
    np.testing.assert_array_equal(found.numpy()[0], found.numpy()[1])


def test_without_a_unit_the_image_lies_on_the_models_grid(models, spots3d) -> None:
    image = Image(_noise(GRIDS["left-handed"]), "ZYX")
    heard = []
    result = models("1mm").run(image, on_progress=heard.append)
    notices = [event for event in heard if isinstance(event, Notice)]
    assert [n.level for n in notices] == ["warning"]
    assert "taken as 1 x 1 x 1 millimeter" in notices[0].message
    expected = run(image, load_model(spots3d)).labels.numpy() > 0
    np.testing.assert_array_equal(result.labels.numpy() > 0, expected)


def test_mirroring_is_an_option_of_models_that_allow_it(models, spots3d) -> None:
    grid = GRIDS["coronal in micrometers"]
    image = Image(_noise(grid), "ZYX", grid)
    plain, mirrored = (models("1mm").run(image, RunOptions(mirror=m)) for m in (False, True))
    np.testing.assert_array_equal(plain.labels.numpy(), mirrored.labels.numpy())  # a threshold sees no side
    assert mirrored.record["mirror"] == [0, 2]
    assert mirrored.record["options"] == {"mirror": True}
    assert "mirror" not in plain.record
    with pytest.raises(InputMismatch, match=r"does not say along which axes.*Leave 'mirror' off"):
        load_model(spots3d).run(image, RunOptions(mirror=True))


def test_a_large_image_is_interpolated_tile_by_tile(models, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image(_noise(GRIDS["oblique"]), "ZYX", GRIDS["oblique"])
    once = models("1mm").run(image).labels.numpy()
    monkeypatch.setattr(module, "_IN_MEMORY", 1000)
    assert (models("1mm").run(image).labels.numpy() > 0).sum() == pytest.approx((once > 0).sum(), abs=2)


@pytest.mark.parametrize("method", ["watershed", "votes"])
@pytest.mark.parametrize("kept", [False, True])
def test_objects_are_found_on_the_working_grid(method: str, kept: bool) -> None:
    labels = touching_discs((97, 131))
    fine = Grid((194, 131), (0.5, 1.0), unit="micrometer")
    placement = place(fine, GridSpec((1.0, 1.0), "micrometer"))
    assert placement.grid.shape == labels.shape
    scores = perfect_scores(labels)
    decoder = Decoder(method, smoothing=1.5 if method == "votes" else 0.7)
    out = np.zeros(fine.shape, np.int32)
    rows = []

    def keep(bands):
        for start, stop, part in bands:
            rows.append((start, stop, part.shape))
            yield start, stop, part

    placed = Placed(np.zeros((1, *labels.shape)), placement)
    bands = [(0, 50, scores[:, :50]), (50, 97, scores[:, 50:])]
    if kept:
        count = placed.label_and_keep(bands, decoder, placed.inside(out), keep)
        assert (rows[0][0], rows[-1][1]) == (0, 194)
    else:
        count = placed.label(bands, decoder, placed.inside(out))
    expected = decode(scores, decoder)
    assert count == expected.max() > 8
    np.testing.assert_array_equal(out, np.repeat(expected, 2, axis=0))


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 2.0)])
def test_classes_and_their_largest_components(spacing) -> None:
    grid = Grid((41, 63), (1.0, 1.0), unit="millimeter")
    truth = np.zeros(grid.shape, np.uint8)
    truth[5:25, 7:33] = 1
    truth[30:38, 50:58] = 1
    truth[28:36, 10:20] = 2
    placement = place(grid, GridSpec(spacing, crop="nonzero"), ((0, 40), (0, 62)))
    step = round(spacing[0])
    coarse = truth[:40:step, :62:step]
    scores = np.stack([(coarse == k).astype(np.float32) for k in range(3)])
    placed = Placed(np.zeros((1, *coarse.shape)), placement)
    out = np.zeros(grid.shape, np.uint8)
    assert placed.label([(0, scores.shape[1], scores)], Decoder("classes"), placed.inside(out)) == 2
    assert _dice(out == 1, truth == 1) > 0.9
    placed.label([(0, scores.shape[1], scores)], Decoder("classes", largest=(1, 2)), placed.inside(out))
    assert not out[29:39, 45:].any()
    assert (out[:26] == 1).sum() > 400
    assert (out == 2).sum() > 60


def test_resampling_is_told_and_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume takes seconds; a small one says nothing."""
    grid = Grid((9, 14, 11), (2.0, 0.7, 0.9), unit="millimeter")
    view = np.random.default_rng(0).normal(size=(1, 9, 14, 11)).astype(np.float32)
    spec = GridSpec((1.0, 1.0, 1.0), "millimeter")
    quiet: list[Event] = []
    whole = place_frame(view, grid, spec, quiet.append)
    assert quiet == []
    monkeypatch.setattr("deepbio.engine.geometry._CHUNK", 200)
    heard: list[Event] = []
    found = place_frame(view, grid, spec, heard.append)
    np.testing.assert_allclose(found.view[...], whole.view[...], atol=1e-5)
    steps = [event for event in heard if isinstance(event, Progress)]
    assert {event.stage for event in steps} == {"resample"}
    assert [event.current for event in steps] == sorted(event.current for event in steps)
    assert len(steps) > 2
    assert steps[-1].current == steps[-1].total == np.prod(whole.view.shape)

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.current:
            raise Cancelled

    with pytest.raises(Cancelled):
        place_frame(view, grid, spec, stop)
