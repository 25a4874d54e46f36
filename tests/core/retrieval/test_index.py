"""Neighbours by brute force, and an index that refuses what it was not made with."""

import numpy as np
import pytest

from deepbio.errors import ImageError, InputMismatch, MissingPackage, OptionError
from deepbio.image import Table
from deepbio.retrieval import build_index, load_index


def table(count: int, seed: int = 0, **origin: str) -> Table:
    vectors = np.random.default_rng(seed).normal(size=(count, 5)).astype(np.float32) + 3
    told = {name: np.full(count, value) for name, value in origin.items()}
    files = np.array([f"{n}.png" for n in range(count)])
    return Table({"file": files, **told, **{f"mean_{k}": vectors[:, k] for k in range(5)}})


def by_hand(index: Table, queries: Table, k: int) -> np.ndarray:
    a, b = (np.stack([one[f"mean_{n}"] for n in range(5)], 1).astype(float) for one in (index, queries))
    a, b = a - a.mean(0), b - a.mean(0)
    cosine = (b / np.linalg.norm(b, axis=1)[:, None]) @ (a / np.linalg.norm(a, axis=1)[:, None]).T
    return np.argsort(-cosine, axis=1)[:, :k]


def test_neighbours_are_those_of_brute_force() -> None:
    ours, queries = table(60), table(9, seed=1)
    rows, similarity = build_index(ours).query(queries, k=7)
    np.testing.assert_array_equal(rows, by_hand(ours, queries, 7))
    assert (np.diff(similarity, axis=1) <= 0).all()
    rows, similarity = build_index(ours).query(ours, k=99)
    assert rows.shape == (60, 60)
    assert rows[:, 0].tolist() == list(range(60))
    np.testing.assert_allclose(similarity[:, 0], 1, atol=1e-5)


def test_there_and_back(tmp_path) -> None:
    index = build_index(table(20, model="discs", version="0.1", weights="ab12", layer="stages.1"))
    index.save(tmp_path / "cells.npz")
    back = load_index(tmp_path / "cells.npz")
    assert back.about == index.about
    assert back.rows["file"].tolist() == index.rows["file"].tolist()
    np.testing.assert_array_equal(back.vectors, index.vectors)
    with pytest.raises(OptionError, match=r"ends in .npz"):
        index.save(tmp_path / "cells.bin")


def test_other_features_are_refused() -> None:
    made = {"model": "discs", "version": "0.1", "weights": "ab12", "layer": "stages.1"}
    index = build_index(table(5, **made))
    with pytest.raises(
        InputMismatch, match=r"made with other features: its layer is 'stages.1', here it is 'stem'"
    ):
        index.query(table(1, **{**made, "layer": "stem"}))
    with pytest.raises(InputMismatch, match="its weights is 'ab12'"):
        index.query(table(1, **{**made, "weights": "cd34"}))
    fewer = Table({name: values for name, values in table(1, **made).columns.items() if name != "mean_4"})
    with pytest.raises(InputMismatch, match=r"its features is 5 \(mean_0, ...\), here it is 4"):
        index.query(fewer)
    with pytest.raises(OptionError, match="neighbours is 0"):
        index.query(table(1, **made), k=0)


def test_what_no_index_can_be_made_of(tmp_path) -> None:
    mixed = Table.concatenate([table(2, layer="a"), table(2, layer="b")])
    with pytest.raises(InputMismatch, match="the layer is 'a', 'b'"):
        build_index(mixed)
    with pytest.raises(ImageError, match="no features"):
        build_index(Table({"file": ["a.png"]}))
    broken = table(3)
    broken["mean_2"][1] = np.nan
    with pytest.raises(ImageError, match="Row 2 of the features"):
        build_index(broken)
    with pytest.raises(OptionError, match="'annoy'; expected one of auto, exact, faiss"):
        build_index(table(3), "annoy")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ImageError, match="it is no index of deepbio"):
        load_index(tmp_path / "other.npz")


def test_faiss_finds_nearly_the_same(tmp_path) -> None:
    pytest.importorskip("faiss")
    ours, queries = table(500), table(20, seed=1)
    build_index(ours, "faiss").save(tmp_path / "graph.npz")
    rows, _ = load_index(tmp_path / "graph.npz").query(queries, k=5)
    exact = by_hand(ours, queries, 5)
    assert np.mean([len(set(a) & set(b)) for a, b in zip(rows, exact, strict=True)]) > 4.5


def test_without_faiss_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setattr("deepbio.retrieval.index.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"deepbio-imaging\[retrieval\]"):
        build_index(table(5), "faiss")
    monkeypatch.setattr("deepbio.retrieval.index.EXACT_UP_TO", 3)
    assert not build_index(table(5)).graph.size  # exact where there is nothing else
