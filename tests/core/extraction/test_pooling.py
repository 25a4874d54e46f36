"""Vectors of objects against the mean over their pixels, one by one."""

import numpy as np
import pytest

from deepbio.extraction.pooling import pool_image, pool_objects


def objects(shape: tuple[int, ...]) -> np.ndarray:
    labels = np.zeros(shape, np.int32)
    labels[..., 1:4, 2:9] = 5
    labels[..., 5:7, 0:3] = 2
    labels[..., 6, 10] = 99
    return labels


@pytest.mark.parametrize("pool", ["mean", "max", "std"])
@pytest.mark.parametrize(("shape", "stride"), [((7, 11), (2, 4)), ((5, 7, 11), (2, 3, 4)), ((7, 11), (1, 1))])
def test_each_pixel_counts_with_its_cell(shape, stride, pool, monkeypatch) -> None:
    monkeypatch.setattr("deepbio.extraction.pooling._BAND", 30)  # several bands
    labels = objects(shape)
    cells = tuple(-(-n // s) for n, s in zip(shape, stride, strict=True))
    maps = np.random.default_rng(0).normal(size=(3, *cells)).astype(np.float32)
    large = maps
    for axis, s in enumerate(stride):
        large = large.repeat(s, axis=axis + 1)
    large = large[(slice(None), *(slice(n) for n in shape))]
    ids, vectors = pool_objects(maps, labels, stride, pool)
    assert ids.tolist() == [2, 5, 99]
    for label, vector in zip(ids, vectors, strict=True):
        np.testing.assert_allclose(
            vector, getattr(large[:, labels == label], pool)(axis=1), rtol=1e-5, atol=1e-6
        )


def test_no_object_gives_no_vector() -> None:
    ids, vectors = pool_objects(np.zeros((4, 2, 2), np.float32), np.zeros((8, 8), int), (4, 4), "mean")
    assert ids.shape == (0,)
    assert vectors.shape == (0, 4)


def test_an_image_by_the_part_of_each_cell_inside_it() -> None:
    maps = np.float32([[[1.0, 2.0], [3.0, 10.0]]])
    cover = np.float32([[1.0, 0.5], [0.5, 0.25]])
    assert pool_image(maps, cover, "mean")[0] == pytest.approx((1 + 1 + 1.5 + 2.5) / 2.25)
    assert pool_image(maps, cover, "max")[0] == 10
    expected = np.sqrt(np.average((maps[0] - 6 / 2.25) ** 2, weights=cover))
    assert pool_image(maps, cover, "std")[0] == pytest.approx(expected)
