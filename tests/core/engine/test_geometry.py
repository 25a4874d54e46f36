"""Pixels and labels on working grids."""

import numpy as np
import pytest

from deepbio.engine import geometry as module
from deepbio.engine.geometry import (
    CanonicalView,
    GridSpec,
    labels_to_working,
    nonzero_box,
    place,
    place_image,
    to_working,
)
from deepbio.errors import ImageError
from deepbio.image import Grid

from .grids import GRIDS, sphere, world_of

SPEC = GridSpec((1.0, 1.0, 1.0), orientation="SAR")


class Lazy:
    """An array-like that only slices, and remembers the largest part that was read."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape, self.dtype, self.most = array, array.shape, array.dtype, 0

    def __getitem__(self, key):
        part = self._array[key]
        self.most = max(self.most, part.size)
        return part


@pytest.mark.parametrize("name", GRIDS)
def test_a_plane_in_the_world_stays_one(name: str) -> None:
    """A linear function of the world has its value at every place, whatever the axes do."""
    grid = GRIDS[name]
    slope = np.array([0.3, -0.5, 0.2]) / (1000 if grid.unit == "micrometer" else 1)
    values = world_of(grid) @ slope
    placed = place(grid, GridSpec((1.2, 0.9, 1.1), orientation="SAR"))
    found = to_working(values[None], placed)[...][0]
    inner = (slice(7, -7),) * 3
    assert found[inner].size > 1000
    np.testing.assert_allclose(found[inner], (world_of(placed.grid) @ slope)[inner], atol=3e-5)


@pytest.mark.parametrize("name", GRIDS)
def test_a_constant_stays_one(name: str) -> None:
    grid = GRIDS[name]
    found = to_working(np.full((2, *grid.shape), 3.25), place(grid, SPEC))
    np.testing.assert_allclose(found[...], np.full(found.shape, 3.25), rtol=1e-6)


@pytest.mark.parametrize("spec", [GridSpec(orientation="ILA"), SPEC], ids=["exact", "interpolated"])
def test_any_slice_equals_the_whole(spec: GridSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 5000)
    grid = GRIDS["sagittal"]
    pixels = np.random.default_rng(0).integers(-900, 2000, (2, *grid.shape)).astype(np.int16)
    placed = place(grid, spec, ((3, 19), (1, 17), (2, 19)))
    source = Lazy(pixels)
    working = to_working(source, placed)
    whole = working[...]
    assert whole.dtype == working.dtype == (np.int16 if placed.exact else np.float32)
    assert whole.shape == working.shape == (2, *placed.grid.shape)
    if placed.exact:
        np.testing.assert_array_equal(whole, placed.canonical(pixels)[(slice(None), *placed.in_box)])
    else:
        assert source.most < 5000
    for key in [
        np.s_[1],
        np.s_[0, 3:9, ::2, 4],
        np.s_[:, -3:, 5:5],
        np.s_[..., 2:30:3],
        np.s_[:, 4],
        np.s_[:1, :, 2:-2],
    ]:
        np.testing.assert_allclose(working[key], whole[key], atol=1e-2 if not placed.exact else 0)
        assert working[key].dtype == whole.dtype
    rebuilt = np.zeros_like(whole)
    for key, band in working.bands():
        rebuilt[key] = band
    np.testing.assert_allclose(rebuilt, whole, atol=1e-2 if not placed.exact else 0)
    with pytest.raises(IndexError):
        working[:, 1000]
    with pytest.raises(IndexError, match="go forward"):
        working[:, ::-1]


def test_permuted_pixels_keep_their_values_and_can_be_written() -> None:
    grid = GRIDS["oblique"]
    pixels = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    placed = place(grid, GridSpec(orientation="ILA"))
    np.testing.assert_array_equal(CanonicalView(pixels[None], placed)[0], placed.canonical(pixels))
    for index in ((0, 0, 0), (3, 5, 7)):
        world = placed.grid.to_world(index)
        own = tuple(np.rint(grid.to_index(world)).astype(int))
        assert placed.canonical(pixels)[index] == pixels[own]
    placed.canonical(pixels)[3, 5, 7] = -1
    assert (pixels == -1).sum() == 1


def test_thick_slices_are_interpolated_linearly_across_only() -> None:
    grid = Grid((9, 20, 20), (5.0, 1.0, 1.0), unit="millimeter")
    maps = place(grid, GridSpec((2.5, 0.8, 0.8))).maps
    overshoots = [mapping.matrix(4, 5).min() < 0 for mapping in maps]  # the cubic kernel has negative parts
    assert overshoots == [False, True, True]


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_the_box_of_what_is_not_zero(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", rows * 2 * 7 * 11)
    pixels = np.zeros((2, 5, 7, 11), np.int16)
    assert nonzero_box(pixels) == ((0, 5), (0, 7), (0, 11))
    pixels[0, 1, 2, 3] = -5
    pixels[1, 3, 2, 9] = 1
    assert nonzero_box(pixels) == ((1, 4), (2, 3), (3, 10))


def test_crop_follows_the_canonical_axes() -> None:
    grid = GRIDS["left-handed"]
    pixels = np.zeros((1, *grid.shape), np.int16)
    pixels[0, 10:20, 5:9, 30:44] = 7
    placed = place_image(pixels, grid, GridSpec(orientation="LSP", crop="nonzero"))
    working = to_working(pixels, placed)[...]
    assert working.size == 10 * 4 * 14
    assert (working == 7).all()
    whole = place_image(pixels, grid, GridSpec(orientation="LSP"))
    assert whole.grid.shape == whole.canonical_shape


@pytest.mark.parametrize("name", GRIDS)
def test_labels_get_no_new_values(name: str) -> None:
    grid = GRIDS[name]
    unit = 1000 if grid.unit == "micrometer" else 1
    labels = np.zeros(grid.shape, np.uint16)
    labels[sphere(grid, 18 * unit)] = 700
    labels[sphere(grid, 9 * unit)] = 4
    placed = place(grid, SPEC)
    found = labels_to_working(labels, placed)
    assert found.dtype == np.uint16
    assert np.unique(found).tolist() == [0, 4, 700]
    for value, radius in ((4, 9), (700, 18)):
        expected = sphere(placed.grid, radius * unit)
        mask = (found == 4) if value == 4 else found > 0
        assert 2 * (mask & expected).sum() / (mask.sum() + expected.sum()) > 0.93


def test_labels_equal_the_argmax_of_all_weights() -> None:
    """Label by label in boxes is the same as interpolating every mask whole."""
    rng = np.random.default_rng(0)
    grid = Grid((7, 23, 31), (3.0, 1.0, 0.7), unit="millimeter")
    labels = np.kron(rng.integers(0, 5, (4, 8, 8)), np.ones((2, 3, 4), int))[:7, :23, :31]
    for start in (0, 1):  # with and without background
        given = labels + start
        placed = place(grid, GridSpec((1.3, 1.7, 0.9)))
        linear = place(grid, GridSpec((1.3, 1.7, 0.9)))
        object.__setattr__(linear, "maps", linear.linear_maps)
        values = np.unique(given)
        weights = np.stack([to_working((given == v)[None].astype(np.float32), linear)[0] for v in values])
        ranked = np.sort(weights, axis=0)
        clear = ranked[-1] - ranked[-2] > 1e-4  # ties may go either way
        expected = values[weights.argmax(0)]
        np.testing.assert_array_equal(labels_to_working(given, placed)[clear], expected[clear])
        assert clear.mean() > 0.8


def test_bad_arrays_are_refused() -> None:
    grid = Grid((5, 7), (1.0, 1.0), unit="millimeter")
    with pytest.raises(ImageError, match="negative"):
        labels_to_working(np.full((5, 7), -1), place(grid, GridSpec((0.5, 0.5))))
    with pytest.raises(ImageError, match="shape"):
        to_working(np.zeros((1, 5, 8)), place(grid, GridSpec((0.5, 0.5))))


def test_of_equal_weights_nnunet_takes_the_nearest_pixel() -> None:
    # from 8 to 3 pixels the middle one lies between the fourth and the fifth: half of each label
    grid = Grid((2, 8), (1.0, 1.0), unit="millimeter")
    labels = np.array([[0, 0, 1, 1, 2, 2, 0, 0], [0, 0, 2, 2, 0, 0, 0, 0]], np.uint8)
    placed = place(grid, GridSpec((1.0, 8 / 3), interpolation="nnunet"))
    assert labels_to_working(labels, placed).tolist() == [[0, 2, 0], [0, 0, 0]]
    mirrored = labels_to_working(np.ascontiguousarray(labels[:, ::-1]), placed)
    assert mirrored.tolist() == [[0, 1, 0], [0, 2, 0]]
