"""Diameters, zooms and windows, apart from any image or network."""

import numpy as np
import pytest

from deepbio.engine.slabs import ArraySource
from deepbio.errors import CardError
from deepbio.image import Grid
from deepbio.tasks import sizes as module
from deepbio.tasks.sizes import (
    Estimate,
    Sizes,
    Window,
    WindowSource,
    diameters_of,
    is_small,
    sample_windows,
)

CARD = {"typical": [14, 60], "target": [20, 40], "zoom": [0.25, 2], "auto": True}


@pytest.mark.parametrize(
    ("diameter", "zoom"),
    [
        (3, 2.0),
        (9.9, 2.0),
        (11, 1.75),
        (13.9, 1.5),
        (14, 1.0),
        (60, 1.0),
        (61, 0.75),
        (100, 0.5),
        (999, 0.25),
    ],
)
def test_zoom_of_a_diameter(diameter: float, zoom: float) -> None:
    assert Sizes.from_card(CARD).zoom_for(diameter) == zoom


def test_a_card_that_says_little() -> None:
    sizes = Sizes.from_card({"typical": [10, 30]})
    assert (sizes.target, sizes.zoom, sizes.auto) == ((10.0, 30.0), (0.25, 2.0), False)
    assert [sizes.zoom_for(d) for d in (5, 9.5, 20, 45)] == [2.0, 1.0, 1.0, 0.75]
    assert Sizes.from_card(None) is Sizes.from_card({}) is None
    with pytest.raises(CardError, match="sizes have typical 12"):
        Sizes.from_card({"typical": 12})


def test_diameters_are_in_pixels_of_the_finest_axis() -> None:
    labels = np.zeros((6, 20, 31), np.int32)
    labels[1:5, 3:13, 5:25] = 4  # 800 voxels of 2.0 x 0.4 x 0.3, of label 4 only
    found = diameters_of(labels, Grid(labels.shape, (2.0, 0.4, 0.3), unit="micrometer"))
    assert found == [pytest.approx((6 / np.pi * 800 * 2.0 * 0.4 * 0.3) ** (1 / 3) / 0.3)]


@pytest.mark.parametrize("band", [1, 7 * 40, 10**9])
def test_objects_cut_by_a_window_are_left_out(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BAND", band)
    labels = np.zeros((30, 40), np.int32)
    labels[0:6, 10:16] = 1  # touches the upper side
    labels[10:18, 36:40] = 2  # and the right one
    labels[20:24, 5:9] = 3
    labels[25:30, 20:25] = 4  # and the lower one
    side = 2 / np.sqrt(np.pi)
    grid = Grid(labels.shape)
    assert diameters_of(labels, grid) == pytest.approx([6 * side, np.sqrt(32) * side, 4 * side, 5 * side])
    cut = [(True, False), (False, True)]
    assert diameters_of(labels, grid, cut) == pytest.approx([4 * side, 5 * side])
    assert diameters_of(np.zeros((3, 5), np.int32), Grid((3, 5)), [(True, True)] * 2) == []


def test_the_median_needs_a_few_objects() -> None:
    assert Estimate((8.0, 9.0, 10.0, 11.0)).diameter is None
    assert Estimate((8.0, 9.04, 10.0, 11.0, 500.0)).diameter == 10.0
    assert Estimate((1.0,) * 99, windows=2).enough is False
    assert Estimate((1.0,) * 60, windows=3).enough is True


@pytest.mark.parametrize(
    ("times", "slices", "shape"),
    [
        (1, 1, (5000, 3100)),
        (40, 1, (700, 512)),
        (1, 90, (256, 300)),
        (12, 7, (64, 33)),
        (3, 1, (50, 400, 380)),
    ],
)
def test_windows_are_few_different_and_inside(times: int, slices: int, shape: tuple[int, ...]) -> None:
    windows = list(sample_windows(times, slices, shape))
    assert windows == list(sample_windows(times, slices, shape))
    assert 1 <= len(windows) == len(set(windows)) <= 16
    seen = sum(np.prod(window.shape) for window in windows)
    assert seen <= 0.25 * times * slices * np.prod(shape)
    edge = 512 if len(shape) == 2 else 96
    for window in windows:
        assert 0 <= window.frame < times * slices
        assert window.shape == tuple(min(edge, n) for n in shape)
        assert all(a >= 0 and b <= n for a, b, n in zip(window.start, window.stop, shape, strict=True))


def test_windows_reach_every_part() -> None:
    starts = np.array([window.start for window in sample_windows(1, 1, (8192, 6000))]) / (8192, 6000)
    quadrants = {tuple(corner) for corner in (starts > 0.45).tolist()}
    assert len(starts) == 16
    assert len(quadrants) == 4
    frames = [window.frame for window in sample_windows(10, 9, (100, 120))]
    assert len({frame // 9 for frame in frames}) >= 6  # times
    assert len({frame % 9 for frame in frames}) >= 6  # slices


def test_what_is_small() -> None:
    assert is_small(1, (1448, 1448))
    assert not is_small(1, (1449, 1448))
    assert not is_small(2, (64, 64))


def test_a_window_moves_into_a_smaller_frame() -> None:
    window = Window(3, (40, 10), (104, 74))
    assert window.within((200, 300)) == window
    assert window.within((90, 50)) == Window(3, (26, 0), (90, 50))


def test_a_window_reads_its_own_part() -> None:
    pixels = np.arange(2 * 11 * 13).reshape(2, 11, 13)
    source = WindowSource(ArraySource(pixels), Window(0, (3, 4), (9, 13)))
    assert source.shape == (2, 6, 9)
    np.testing.assert_array_equal(source.read((1, 2), (4, 9)), pixels[:, 4:7, 6:13])


def test_exact_zooms_are_not_rounded() -> None:
    sizes = Sizes.from_card({"typical": [30, 30], "zoom": [0.05, 20], "usual": 21.7, "exact": True})
    assert sizes == Sizes((30.0, 30.0), (30.0, 30.0), (0.05, 20.0), usual=21.7, exact=True)
    assert sizes.zoom_for(21.7) == 30 / 21.7
    assert sizes.zoom_for(30.0) == 1.0


@pytest.mark.parametrize("wrong", [{"usual": 0}, {"usual": 12, "auto": True}, {"exact": 1}])
def test_usual_and_exact_are_checked(wrong: dict) -> None:
    with pytest.raises(CardError, match=r"usual|exact"):
        Sizes.from_card({"typical": [30, 30], **wrong})
