"""Targets of known objects, and that decoding them gives the objects back."""

import numpy as np
import pytest

pytest.importorskip("torch")

from deepbio.metrics import average_precision
from deepbio.tasks.decode import OFFSET_UNIT, decode
from deepbio.tasks.decoder import Decoder
from deepbio.training.targets import channel_names, instance_targets, object_weights
from tests.core.tasks.scenes import touching_discs


def test_one_rectangle() -> None:
    labels = np.zeros((9, 12), np.int32)
    labels[2:7, 3:8] = 4
    targets = instance_targets(labels)
    np.testing.assert_array_equal(targets[0], labels > 0)
    assert targets[1, 4, 5] == 1
    assert targets[1, 2, 3] == pytest.approx(1 / 3)
    assert targets[2, 2, 3] * OFFSET_UNIT == 2  # from the corner to the centre (4, 5)
    assert targets[3, 2, 3] * OFFSET_UNIT == 2
    assert not targets[:, labels == 0].any()


def test_depth_falls_between_touching_objects() -> None:
    labels = np.zeros((11, 20), np.int32)
    labels[1:10, 1:10], labels[1:10, 10:19] = 1, 2
    depth = instance_targets(labels)[1]
    assert depth[5, 9] == depth[5, 10] == depth[5, 1]
    assert depth[5, 5] == depth[5, 14] == 1


@pytest.mark.parametrize(
    "decoder", [Decoder("watershed"), Decoder("votes", smoothing=1.5)], ids=lambda d: d.method
)
@pytest.mark.parametrize("shape", [(97, 131), (25, 41, 37)])
def test_targets_decode_to_their_objects(shape: tuple[int, ...], decoder: Decoder) -> None:
    labels = touching_discs(shape)
    scores = instance_targets(labels)
    scores[0] = scores[0] * 12 - 6
    found = decode(scores, decoder)
    assert found.max() == labels.max()
    assert (found[labels == 0] == 0).all()
    assert average_precision(labels, found, (0.6,))[0] == 1  # rims of touching objects are ambiguous


def test_names_match_the_channels() -> None:
    for shape in ((5, 7), (5, 7, 11)):
        assert len(channel_names(len(shape))) == len(instance_targets(np.ones(shape, np.int32)))


def test_small_objects_weigh_more() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[0:20, 0:20], labels[30:32, 30:32], labels[36, 36] = 1, 2, 3
    weight = object_weights(labels, typical=100)
    assert weight[5, 5] == pytest.approx(0.5)
    assert weight[30, 30] == 4
    assert weight[36, 36] == 4
    assert weight[25, 25] == 1


def test_rims_of_touching_objects_weigh_more() -> None:
    labels = np.zeros((12, 30), np.int32)
    labels[1:11, 1:11], labels[1:11, 11:21] = 1, 2
    weight = object_weights(labels, typical=100)
    assert weight[5, [10, 11]].tolist() == [3, 3]
    assert weight[5, [9, 12]].tolist() == [3, 3]  # two pixels away
    assert weight[5, [8, 13, 1, 20]].tolist() == [1, 1, 1, 1]
