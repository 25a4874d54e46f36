"""An index over features: exact search with numpy, or a graph by faiss for very many rows.

Vectors are centred and brought to unit length, so that similarity is the cosine between what is
special about two images. The exact search is one product of matrices: of 100,000 rows with 192 numbers it
takes 10 to 30 ms on one core, needs no package, and misses nothing; so it is what is taken up to
there. Above, faiss builds an HNSW graph (Malkov and Yashunin, 2018, arXiv:1603.09320).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.errors import ImageError, InputMismatch, MissingPackage, OptionError
from deepbio.extraction.extract import feature_names
from deepbio.image import Table
from deepbio.io import atomic

__all__ = ["BACKENDS", "EXACT_UP_TO", "Index", "build_index", "load_index"]

BACKENDS = ("auto", "exact", "faiss")
EXACT_UP_TO = 100_000
_LINKS, _EFFORT = 32, 200  # of the graph: neighbours of a node, candidates while it is built and searched
_KIND = "deepbio index 1"
_ORIGIN = ("model", "version", "weights", "layer")


@dataclass(frozen=True)
class Index:
    """Vectors that can be searched, and where each is from.

    Attributes
    ----------
    vectors : ndarray of float32, shape (n, F)
        Centred, of unit length.
    centre : ndarray of float32, shape (F,)
        Mean of the vectors as they were.
    rows : Table
        ``file`` and what else is known of each vector (frame, slice, label, centre).
    about : mapping
        Which model, version, weights, layer and names of features made them.
    graph : ndarray of uint8
        What faiss made; empty for the exact search.
    """

    vectors: np.ndarray
    centre: np.ndarray
    rows: Table
    about: Mapping[str, Any]
    graph: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))

    def __len__(self) -> int:
        return len(self.vectors)

    def query(self, table: Table, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """The rows that are most similar to each row of a table of features.

        Parameters
        ----------
        table : Table
            Made by the same model, layer and way of pooling.
        k : int
            How many; at most all there are.

        Returns
        -------
        rows : ndarray of int, shape (m, k)
            Numbers of the rows, the most similar first.
        similarity : ndarray of float32, shape (m, k)
            From -1 to 1.

        Raises
        ------
        InputMismatch
            If the features are others than those of the index.
        OptionError
            If `k` is not positive.
        """
        if k < 1:
            raise OptionError(f"The number of neighbours is {k}; expected 1 or more.")
        self.check(table)
        vectors = _unit(_vectors(table, self.about["features"]) - self.centre)
        k = min(k, len(self))
        if self.graph.size:
            similarity, rows = _search_graph(self.graph, vectors, k)
            return rows, similarity
        return _search_exact(self.vectors, vectors, k)

    def check(self, table: Table) -> None:
        """Refuse features that other numbers stand for.

        Raises
        ------
        InputMismatch
            If they are from another model, other weights or another layer.
        """
        about = _about(table)
        for name in ("model", "version", "weights", "layer", "features"):
            ours, theirs = self.about.get(name), about.get(name)
            if ours != theirs and None not in (ours, theirs):
                told = [f"{len(x)} ({x[0]}, ...)" if isinstance(x, list) else repr(x) for x in (ours, theirs)]
                raise InputMismatch(
                    f"The index was made with other features: its {name} is {told[0]}, here it is {told[1]}.",
                    "Query with the same model, layer and pooling, or build the index anew.",
                )

    def save(self, path: str | Path) -> None:
        """Write the index: one file, without pickles."""
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise OptionError(f"An index cannot be kept in '{path}'.", "Use a name that ends in .npz.")
        about = json.dumps({"kind": _KIND, **self.about})
        rows = {f"row_{name}": values for name, values in self.rows.columns.items()}
        with atomic(path) as temporary, temporary.open("wb") as file:
            arrays: dict[str, Any] = {
                "about": np.array(about),
                "vectors": self.vectors,
                "centre": self.centre,
                "graph": self.graph,
                **rows,
            }
            np.savez(file, **arrays)


def build_index(table: Table, backend: str = "auto") -> Index:
    """Make an index of a table of features.

    Parameters
    ----------
    table : Table
        From :func:`deepbio.features` with a column ``file``, or from a file of features.
    backend : {"auto", "exact", "faiss"}
        ``"auto"`` searches exactly up to 100,000 rows, with faiss above where it is installed.

    Raises
    ------
    ImageError
        If there is no row, or a number that is not finite.
    InputMismatch
        If the rows are of several models or layers.
    MissingPackage
        If faiss is asked for and not installed.

    Examples
    --------
    >>> x = np.float32([0.0, 0.1, 3.0])
    >>> table = Table({"file": ["a", "b", "c"], "mean_0": x, "mean_1": np.float32([1.0, 1.0, 0.0])})
    >>> rows, similarity = build_index(table).query(table, k=2)
    >>> rows.tolist()
    [[0, 1], [1, 0], [2, 1]]
    """
    if backend not in BACKENDS:
        raise OptionError(f"The way of searching is {backend!r}; expected one of {', '.join(BACKENDS)}.")
    names = feature_names(table)
    if not len(table) or not names:
        raise ImageError("There are no features to make an index of.", "Make some with 'deepbio features'.")
    for name in _ORIGIN:
        values = np.unique(table[name]) if name in table.columns else ()
        if len(values) > 1:
            raise InputMismatch(
                f"The features are from several: the {name} is {', '.join(repr(str(v)) for v in values[:4])}.",
                "Make an index of each.",
            )
    raw = _vectors(table, names)
    if not np.isfinite(raw).all():
        row = int(np.flatnonzero(~np.isfinite(raw).all(axis=1))[0])
        raise ImageError(f"Row {row + 1} of the features has a number that is not finite.")
    centre = raw.mean(axis=0, dtype=np.float64).astype(np.float32)
    vectors = _unit(raw - centre)
    rows = Table({n: v for n, v in table.columns.items() if n not in names and n not in _ORIGIN})
    many = len(table) > EXACT_UP_TO and find_spec("faiss") is not None
    graph = backend == "faiss" or (backend == "auto" and many)
    return Index(vectors, centre, rows, _about(table), *([_build_graph(vectors)] if graph else []))


def load_index(path: str | Path) -> Index:
    """Read an index that :meth:`Index.save` wrote.

    Raises
    ------
    ImageError
        If the file is none.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            if about.pop("kind", None) != _KIND:
                raise ValueError("of another kind")
            rows = {name[4:]: file[name] for name in file.files if name.startswith("row_")}
            return Index(file["vectors"], file["centre"], Table(rows), about, file["graph"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or "it is no index of deepbio"
        raise ImageError(
            f"'{path}' cannot be read as an index: {reason}.", "Make one with 'deepbio index build'."
        ) from error


def _about(table: Table) -> dict[str, Any]:
    """What made the features; only what the table says."""
    told = {name: str(table[name][0]) for name in _ORIGIN if name in table.columns and len(table)}
    return {**told, "features": feature_names(table)}


def _vectors(table: Table, names: list[str]) -> np.ndarray:
    return np.stack([np.asarray(table[name], np.float32) for name in names], axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)


def _search_exact(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.empty((len(queries), k), np.int64)
    similarity = np.empty((len(queries), k), np.float32)
    block = max(1, 2**24 // len(vectors))  # queries at once: the products fit into 64 MB
    for start in range(0, len(queries), block):
        products = queries[start : start + block] @ vectors.T
        best = np.argpartition(-products, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(products, best, axis=1)
        order = np.lexsort((best, -values), axis=1)  # ties in the order of the rows
        rows[start : start + block] = np.take_along_axis(best, order, axis=1)
        similarity[start : start + block] = np.take_along_axis(values, order, axis=1)
    return rows, similarity


def _faiss() -> Any:
    if find_spec("faiss") is None:
        raise MissingPackage("faiss-cpu", "Searching in a graph", extra="retrieval")
    import faiss

    return faiss


def _build_graph(vectors: np.ndarray) -> np.ndarray:
    faiss = _faiss()
    graph = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = _EFFORT
    graph.add(vectors)
    return np.asarray(faiss.serialize_index(graph))


def _search_graph(graph: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    faiss = _faiss()
    index = faiss.deserialize_index(graph)
    index.hnsw.efSearch = max(_EFFORT, 2 * k)
    similarity, rows = index.search(queries, k)
    return similarity, rows
