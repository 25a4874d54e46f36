"""From many features to two: principal components, or UMAP."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from deepbio.errors import ImageError, MissingPackage, OptionError

__all__ = ["PROJECTIONS", "project"]

PROJECTIONS = ("pca", "umap")


def project(vectors: np.ndarray, method: str = "pca", *, seed: int = 0) -> tuple[np.ndarray, tuple[str, str]]:
    """Lay vectors out in a plane.

    Parameters
    ----------
    vectors : ndarray, shape (n, F)
        At least 3 of them; 4 for UMAP.
    method : {"pca", "umap"}
        Principal components (numpy), or UMAP (McInnes et al., 2018, arXiv:1802.03426; the extra
        ``umap``) of the vectors brought to unit length.
    seed : int
        For UMAP; the sign of a component is such that its largest weight is positive.

    Returns
    -------
    places : ndarray of float, shape (n, 2)
    names : tuple of str
        What the axes are.

    Raises
    ------
    ImageError
        If there are too few vectors, or UMAP finds no neighbours (all are the same or opposite).
    MissingPackage
        If umap-learn is not installed.

    Examples
    --------
    >>> places, names = project(np.float32([[0, 0, 0], [2, 0, 1], [4, 0, 2], [6, 0, 3]]))
    >>> places[:, 0].round(3).tolist(), names
    ([-3.354, -1.118, 1.118, 3.354], ('PC 1 (100 %)', 'PC 2 (0 %)'))
    """
    if method not in PROJECTIONS:
        raise OptionError(f"The projection is {method!r}; expected one of {', '.join(PROJECTIONS)}.")
    least = 4 if method == "umap" else 3  # UMAP begins with the third eigenvector of the neighbourhoods
    if len(vectors) < least or vectors.shape[1] < 2:
        raise ImageError(
            f"There are {len(vectors)} vectors of {vectors.shape[1]} numbers; a plot by {method} needs {least} of "
            "2 at least."
        )
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    if method == "umap":
        return _umap(centred, seed), ("UMAP 1", "UMAP 2")
    # of the covariance: F is small where n is large
    values, components = np.linalg.eigh(centred.T @ centred)
    components = components[:, ::-1][:, :2]
    components = components * np.sign(components[np.abs(components).argmax(axis=0), range(2)])
    shares = values[::-1][:2].clip(min=0) / max(values.clip(min=0).sum(), 1e-300)
    return centred @ components, (
        f"PC 1 ({shares[0]:.0%})".replace("%", " %"),
        f"PC 2 ({shares[1]:.0%})".replace("%", " %"),
    )


def _umap(centred: np.ndarray, seed: int) -> np.ndarray:
    if find_spec("umap") is None:
        raise MissingPackage("umap-learn", "A UMAP plot", extra="umap")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on import of numba, and that a seed means one thread
        import umap

        neighbours = min(15, len(centred) - 1)
        places = np.asarray(
            umap.UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed).fit_transform(centred)
        )
    if not np.isfinite(places).all():  # it leaves out what has no neighbour
        raise ImageError(
            f"UMAP finds no place for {int((~np.isfinite(places).all(axis=1)).sum())} of {len(places)} vectors, "
            "which are like no other.",
            "Take the projection pca.",
        )
    return places
