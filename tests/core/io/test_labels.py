"""The type that labels are stored in."""

from __future__ import annotations

import numpy as np
import pytest

from deepbio.errors import ImageError
from deepbio.image import LabelMap
from deepbio.io.labels import label_type


@pytest.mark.parametrize(
    ("highest", "kind"), [(0, "uint16"), (65535, "uint16"), (65536, "uint32"), (2**32 - 1, "uint32")]
)
@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_sixteen_bits_if_they_suffice(highest: int, kind: str, dtype: type) -> None:
    labels = np.zeros((2, 7, 11), dtype)
    labels[1, 6, 10] = highest
    assert label_type(LabelMap(labels, "ZYX")) == (np.dtype(kind), highest)


@pytest.mark.parametrize("label", [-1, 2**32])
def test_labels_out_of_range(label: int) -> None:
    with pytest.raises(ImageError, match=f"holds the label {label}"):
        label_type(LabelMap(np.array([[0, label]])))
