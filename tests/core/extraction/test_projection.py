"""Principal components by hand, UMAP by what it keeps together."""

import numpy as np
import pytest

from deepbio.errors import ImageError, MissingPackage, OptionError
from deepbio.extraction.projection import project


def test_components_are_those_of_the_singular_values() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 7)) * [9, 5, 1, 1, 1, 1, 1] + 3
    places, names = project(vectors)
    centred = vectors - vectors.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(places), np.abs(u[:, :2] * s[:2]), atol=1e-9)
    assert names[0] == f"PC 1 ({100 * s[0] ** 2 / (s**2).sum():.0f} %)"


def test_umap_keeps_groups_apart() -> None:
    pytest.importorskip("umap")
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(size=(30, 5)) + 20 * np.eye(5)[k] for k in range(2)])
    places, names = project(vectors, "umap")
    first, second = places[:30], places[30:]
    apart = np.linalg.norm(first.mean(0) - second.mean(0))
    assert apart > max(first.std(), second.std())
    assert names == ("UMAP 1", "UMAP 2")
    np.testing.assert_array_equal(project(vectors, "umap")[0], places)  # by its seed


def test_umap_of_few_vectors_and_of_copies() -> None:
    pytest.importorskip("umap")
    vectors = np.random.default_rng(1).normal(size=(24, 5))
    assert np.isfinite(project(vectors[:4], "umap")[0]).all()
    assert np.isfinite(project(np.concatenate((vectors, vectors[:9])), "umap")[0]).all()
    with pytest.raises(ImageError, match="There are 3 vectors of 5 numbers; a plot by umap needs 4 of 2"):
        project(vectors[:3], "umap")
    with pytest.raises(ImageError, match=r"no place for 1 of 6 vectors.*Take the projection pca"):
        project(np.concatenate((np.full((1, 3), 2.0), np.ones((5, 3)))), "umap")


def test_what_cannot_be_drawn(monkeypatch) -> None:
    with pytest.raises(ImageError, match="There are 2 vectors of 5 numbers"):
        project(np.zeros((2, 5)))
    with pytest.raises(OptionError, match="'tsne'; expected one of pca, umap"):
        project(np.zeros((9, 5)), "tsne")
    monkeypatch.setattr("deepbio.extraction.projection.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"deepbio-imaging\[umap\]"):
        project(np.zeros((9, 5)), "umap")
