"""Plans: cover, sizes that the network takes, no needless tiles; weights that add up to one."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from deepbio.engine.tiling import blending_weights, floored_weights, plan_tiles
from deepbio.errors import OptionError

SIZES = (1, 2, 5, 16, 17, 63, 64, 65, 100, 127, 129, 500, 513, 1000, 4096)


@pytest.mark.parametrize("tile", [1, 16, 50, 64, 512])
@pytest.mark.parametrize("overlap", [0.0, 0.125, 0.3, 0.5, 0.9])
@pytest.mark.parametrize(("step", "minimum"), [(1, 1), (16, 16), (16, 5), (7, 20)])
def test_tiles_cover_an_axis_in_sizes_that_the_network_takes(tile, overlap, step, minimum):
    for n in SIZES:
        plan = plan_tiles((n,), tile=(tile,), overlap=overlap, multiple_of=(step,), minimum=(minimum,))
        (size,), (starts,) = plan.tile, plan.starts
        assert size >= minimum, n
        assert (size - minimum) % step == 0, n
        assert size <= max(tile, minimum), n
        if len(starts) == 1:
            assert starts[0] <= 0 < n <= starts[0] + size
            assert size < n + step or size == minimum, n
            continue
        assert starts[0] == 0
        assert starts[-1] + size == n
        for one, following in pairwise(starts):
            assert one < following <= one + max(1, math.ceil(size * (1 - overlap))), n


@pytest.mark.parametrize(
    ("n", "expected_size", "expected_starts"),
    [
        (512, 512, (0,)),
        (520, 288, (0, 232)),  # not two tiles of 512
        (500, 512, (-6,)),
        (960, 512, (0, 448)),
        (4096, 512, (0, 448, 896, 1344, 1792, 2240, 2688, 3136, 3584)),
    ],
)
def test_known_cuts(n, expected_size, expected_starts):
    plan = plan_tiles((n,), tile=(512,), overlap=0.125, multiple_of=(16,))
    assert plan.tile == (expected_size,)
    assert plan.starts == (expected_starts,)


@pytest.mark.parametrize("n", [1, 300, 512, 513, 900])
def test_a_fixed_size_is_kept(n):
    plan = plan_tiles((n, 700), tile=(64, 64), overlap=0.125, fixed=(512, None), multiple_of=(1, 16))
    assert plan.tile[0] == 512
    assert plan.tile[1] <= 64
    assert plan.starts[0][-1] + 512 >= n


@pytest.mark.parametrize(("batch", "expected"), [(1, [1] * 9), (4, [3, 3, 3]), (8, [4, 5]), (100, [9])])
def test_batches_of_a_row_are_of_nearly_equal_size(batch, expected):
    plan = plan_tiles((4096, 4096), tile=(512, 512), overlap=0.125, batch=batch)
    batches = list(plan.batches(3))
    assert [len(b) for b in batches] == expected
    assert [i for b in batches for i in b] == [(3, x) for x in range(9)]


@pytest.mark.parametrize("overlap", [0.0, 0.125, 0.5, 0.8])
@pytest.mark.parametrize("shape", [(37, 101), (5, 64, 33)])
def test_weights_add_up_to_one_everywhere(shape, overlap):
    plan = plan_tiles(shape, tile=(16,) * len(shape), overlap=overlap)
    for n, size, starts, weights in zip(
        plan.padded, plan.tile, plan.starts, blending_weights(plan), strict=True
    ):
        total = np.zeros(n)
        for start, weight in zip(starts, weights, strict=True):
            assert weight.dtype == np.float32
            assert (weight > 0).all()
            total[start : start + size] += weight
        np.testing.assert_allclose(total, 1, atol=1e-6)


def test_the_window_is_a_gaussian_of_an_eighth_of_the_tile():
    plan = plan_tiles((96,), tile=(64,), overlap=0.5)
    first, second = blending_weights(plan)[0]
    position = np.array([10.0, 20.0])  # pixels from the border of the overlap, in the second tile
    distance = np.stack([position + 32 - 31.5, position - 31.5])
    window = np.exp(-0.5 * (distance / 8) ** 2)
    np.testing.assert_allclose(second[10:21:10], window[1] / window.sum(0), rtol=1e-5)
    assert (first[:32] == 1).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"tile": (64,)},
        {"overlap": 0.95},
        {"overlap": -0.1},
        {"batch": 0},
        {"tile": (0, 64)},
        {"multiple_of": (16, 16, 16)},
    ],
)
def test_impossible_plans_are_refused(wrong):
    with pytest.raises(OptionError):
        plan_tiles((100, 100), **({"tile": (64, 64)} | wrong))


@pytest.mark.parametrize(
    ("n", "starts"), [(512, (0,)), (520, (0, 8)), (961, (0, 448, 449)), (500, (-6,)), (1408, (0, 448, 896))]
)
def test_tiles_with_a_stride_move_on_by_it_and_the_last_one_back_to_the_edge(n, starts):
    plan = plan_tiles((n,), tile=(512,), overlap=0.125, minimum=(512,), spread="stride")
    assert plan.tile == (512,)
    assert plan.starts == (starts,)


@pytest.mark.parametrize(
    ("n", "starts"),
    [(5, (0,)), (64, (0,)), (65, (0, 8)), (200, (0, 24, 48, 80, 104, 136))],
)
def test_aligned_tiles_begin_at_multiples_of_the_step_and_reach_the_end(n, starts):
    plan = plan_tiles((n,), tile=(64,), overlap=0.4, multiple_of=(8,), spread="aligned")
    assert plan.starts == (starts,)
    assert all(64 - (b - a) >= 0.4 * 64 for a, b in pairwise(starts))
    assert n <= plan.padded[0] < n + 8  # padded behind the end only


def test_nearest_weights_are_those_of_the_tile_whose_middle_is_nearest():
    plan = replace(
        plan_tiles((29,), tile=(16,), overlap=0.5, multiple_of=(4,), spread="aligned"), blend="nearest"
    )
    assert plan.starts == ((0, 8, 16),)
    weights = blending_weights(plan)[0]
    owned = np.zeros((3, plan.padded[0]))
    for row, start, weight in zip(owned, plan.starts[0], weights, strict=True):
        row[start : start + 16] = weight
    assert owned.sum(0)[:29].tolist() == [1] * 29
    assert owned[:, :29].argmax(0).tolist() == [0] * 12 + [1] * 8 + [2] * 9


def test_constant_weights_are_the_mean_of_the_tiles():
    plan = replace(plan_tiles((7,), tile=(4,), overlap=0.5, minimum=(4,), spread="stride"), blend="constant")
    first, second, last = blending_weights(plan)[0]
    assert plan.starts == ((0, 2, 3),)
    np.testing.assert_allclose(first, [1, 1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(second, [1 / 2, 1 / 3, 1 / 2, 1 / 2])
    np.testing.assert_allclose(last, [1 / 3, 1 / 2, 1 / 2, 1])


@pytest.mark.parametrize("spread", ["even", "stride"])
def test_floored_weights_are_those_of_monai_and_add_up_to_one(spread):
    plan = plan_tiles((29, 23, 9), tile=(12, 8, 9), overlap=0.6, minimum=(12, 8, 9), spread=spread)
    total = np.zeros(plan.shape)
    counts = np.zeros(plan.shape)
    axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in plan.tile]
    raw = np.maximum(np.einsum("i,j,k->ijk", *axes), 1e-3)
    for index in np.ndindex(*(len(starts) for starts in plan.starts)):
        at = tuple(slice(s[i], s[i] + n) for i, s, n in zip(index, plan.starts, plan.tile, strict=True))
        total[at] += floored_weights(plan, index)
        counts[at] += raw
    np.testing.assert_allclose(total, 1, atol=1e-6)
    first = tuple(slice(n) for n in plan.tile)
    np.testing.assert_allclose(floored_weights(plan, (0, 0, 0)), raw / counts[first], rtol=1e-5)


@pytest.mark.parametrize(
    ("n", "size", "starts"),
    [  # by version 3.1 of Cellpose: padding before, size of its tiles, and where they begin in the padded image
        (1, 32, (-15,)),
        (16, 32, (-8,)),
        (200, 224, (-12,)),
        (201, 224, (-11,)),
        (209, 224, (-15, 1)),  # one pixel more than fits: two tiles of the whole size
        (301, 224, (-9, 87)),
        (512, 224, (-8, 144, 296)),
    ],
)
def test_cuts_of_cellpose(n: int, size: int, starts: tuple[int, ...]) -> None:
    plan = plan_tiles((n, 40), tile=(224, 224), overlap=0.1, multiple_of=(16, 16), spread="cellpose")
    assert (plan.tile[0], plan.starts[0]) == (size, starts)
    assert plan.padded[0] % 16 == 0
    assert plan.padded[0] + starts[0] - n >= 8


def test_weights_of_cellpose_fall_within_forty_pixels_of_the_edge() -> None:
    plan = replace(plan_tiles((301,), tile=(224,), overlap=0.1, spread="cellpose"), blend="cellpose")
    first, second = blending_weights(plan)[0]
    np.testing.assert_allclose(first[96:] + second[:128], 1, atol=1e-6)
    # halfway between the tiles' ends both count alike, and 60 pixels from an end the other counts for nothing
    np.testing.assert_allclose(second[64], 0.5, atol=0.02)
    assert second[0] < 0.08
    logistic = 1 / (1 + np.exp((np.array([111.5, 15.5]) - 92) / 7.5))  # of pixel 0 there, 96 here
    np.testing.assert_allclose(second[0], logistic[0] / logistic.sum(), rtol=1e-5)
