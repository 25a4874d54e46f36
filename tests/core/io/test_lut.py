"""The colours of labels."""

from __future__ import annotations

import numpy as np

from deepbio.io.lut import label_colours


def test_colours_are_far_apart_and_bright() -> None:
    table = label_colours().T.astype(int)
    assert table.shape == (256, 3)
    assert table[0].tolist() == [0, 0, 0]
    assert len(np.unique(table, axis=0)) == 256
    luminance = table[1:] @ [0.2126, 0.7152, 0.0722]
    assert luminance.min() > 10
    neighbours = np.abs(np.diff(table[1:40], axis=0)).sum(axis=1)
    assert neighbours.min() > 60


def test_the_table_is_the_same_everywhere() -> None:
    label_colours.cache_clear()
    first = label_colours()
    label_colours.cache_clear()
    np.testing.assert_array_equal(first, label_colours())
    assert first[:, 1:4].T.tolist() == [[0, 255, 0], [0, 0, 255], [255, 0, 0]]
    assert not first.flags.writeable
