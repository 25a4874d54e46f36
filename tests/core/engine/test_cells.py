"""Feature maps tile by tile: the cells of a strided mean must be those of the whole image."""

import itertools

import numpy as np
import pytest

from deepbio.engine.cells import plan_cells, predict_cells
from deepbio.engine.slabs import ArraySource
from deepbio.errors import InputMismatch


def block_means(stride: tuple[int, ...]):
    """A 'layer' of two features: the mean of each block of `stride` pixels, and its first pixel."""

    def features(batch: np.ndarray) -> np.ndarray:
        spatial = batch.shape[2:]
        split = [part for n, s in zip(spatial, stride, strict=True) for part in (n // s, s)]
        blocks = batch[:, 0].reshape(len(batch), *split)
        inner = tuple(range(2, 2 * len(stride) + 1, 2))
        first = batch[(slice(None), 0, *(slice(None, None, s) for s in stride))]
        return np.stack((blocks.mean(inner), first), axis=1)

    return features


@pytest.mark.parametrize(
    ("shape", "tile", "stride", "sizes"),
    [
        ((37, 53), (16, 16), (4, 4), [(8, 4), (8, 4)]),
        ((37, 53), (24, 64), (8, 2), [(8, 8), (2, 2)]),
        ((5, 7), (32, 32), (4, 4), [(16, 4), (16, 4)]),
        ((11, 23, 37), (8, 12, 16), (2, 4, 4), [(2, 2), (4, 4), (4, 4)]),
        ((40, 41), (20, 20), (4, 4), [(20, 0), (20, 0)]),
        ((64, 100), (64, 96), (16, 16), [(80, 16), (80, 16)]),
    ],
)
def test_cells_are_those_of_the_whole_image(shape, tile, stride, sizes) -> None:
    image = np.random.default_rng(0).random((1, *shape), np.float32)
    plan = plan_cells(shape, tile=tile, stride=stride, overlap=0.25, sizes=sizes)
    found = predict_cells(ArraySource(image), block_means(stride), plan)
    beyond = [(0, -n % s) for n, s in zip(shape, stride, strict=True)]
    padded = np.pad(image, [(0, 0), *beyond], mode="reflect")
    assert found.shape == (2, *plan.cells)
    np.testing.assert_allclose(found, block_means(stride)(padded[None])[0], rtol=1e-6)
    for t, s, (low, step) in zip(plan.tile, stride, sizes, strict=True):
        assert t % s == 0
        assert t == low if step == 0 else (t - low) % step == 0
    assert plan.count == np.prod([len(starts) for starts in plan.starts])


def test_every_cell_comes_from_the_middle_of_a_tile() -> None:
    plan = plan_cells((200,), tile=(40,), stride=(4,), overlap=0.25)
    for start, (first, last) in zip(plan.starts[0], itertools.pairwise(plan.bounds[0]), strict=True):
        assert start <= 4 * first
        assert 4 * last <= start + plan.tile[0]
        if first:
            assert 4 * first - start >= 4  # away from the edge


def test_cover_is_the_part_inside() -> None:
    plan = plan_cells((10, 8), tile=(16, 16), stride=(4, 8))
    np.testing.assert_allclose(plan.cover(), [[1.0], [1.0], [0.5]])


def test_a_vector_is_one_cell() -> None:
    plan = plan_cells((9, 12), tile=(12, 12), stride=(12, 12), overlap=0.0, sizes=[(12, 0), (12, 0)])
    image = np.ones((1, 9, 12), np.float32)
    found = predict_cells(ArraySource(image), lambda batch: batch.sum((2, 3)), plan)
    assert found.tolist() == [[[144.0]]]


def test_sizes_that_no_stride_divides_are_refused() -> None:
    with pytest.raises(InputMismatch, match="none of them a multiple of the layer's stride 4"):
        plan_cells((9,), tile=(30,), stride=(4,), sizes=[(30, 0)])


def test_maps_of_another_size_are_refused() -> None:
    plan = plan_cells((16,), tile=(16,), stride=(4,))
    with pytest.raises(InputMismatch, match=r"maps of \(5,\) cells; expected \(4,\)"):
        predict_cells(ArraySource(np.zeros((1, 16), np.float32)), lambda batch: np.zeros((1, 3, 5)), plan)
