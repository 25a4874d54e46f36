"""Features as files, there and back."""

import numpy as np
import pytest

from deepbio.errors import ImageError, MissingPackage, OptionError
from deepbio.extraction.files import read_features, write_features
from deepbio.image import Table


def table() -> Table:
    return Table(
        {
            "file": ["a/1.png", "b/2.png"],
            "weights": ["0123456789", "0123456789"],  # digits, and still a text
            "label": [3, 17],
            "centre_y": [1.5, 2.25],
            "mean_0": np.float32([0.1, -2.5]),
            "mean_1": np.float32([1e-7, 3]),
        }
    )


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".parquet"])
def test_there_and_back(tmp_path, suffix) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"cells{suffix}"
    write_features(path, table())
    back = read_features(path)
    assert set(back.columns) == set(table().columns)
    for name, values in table().columns.items():
        np.testing.assert_array_equal(back[name], values)
    assert back["label"].dtype.kind == "i"
    assert back["weights"].dtype.kind == "U"


def test_vectors_of_npz_are_one_array(tmp_path) -> None:
    write_features(tmp_path / "cells.npz", table())
    with np.load(tmp_path / "cells.npz", allow_pickle=False) as file:
        assert file["vectors"].shape == (2, 2)
        assert file["names"].tolist() == ["mean_0", "mean_1"]


def test_what_is_wrong_with_a_file(tmp_path, monkeypatch) -> None:
    with pytest.raises(OptionError, match=r"'cells.txt'. Use one of .csv, .parquet, .npz"):
        write_features("cells.txt", table())
    monkeypatch.setattr("deepbio.extraction.files.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"deepbio-imaging\[parquet\]"):
        write_features(tmp_path / "cells.parquet", table())
    with pytest.raises(ImageError, match="No such file"):
        read_features(tmp_path / "missing.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK broken")
    with pytest.raises(ImageError, match="cannot be read as features"):
        read_features(tmp_path / "broken.npz")
    (tmp_path / "other.csv").write_text("label,area\n1,2\n")
    with pytest.raises(ImageError, match="has no features: its columns are label, area"):
        read_features(tmp_path / "other.csv")
