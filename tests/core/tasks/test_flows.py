"""Objects from flows that are known: of discs, of rings, of shapes that contradict them."""

import numpy as np
import pytest
from scipy import ndimage

from deepbio.errors import CardError
from deepbio.tasks.decode import decode, split_objects
from deepbio.tasks.decoder import Decoder
from deepbio.tasks.flow_errors import FLOW_UNIT, flow_errors
from deepbio.tasks.flows import fill_holes, follow_flows, gather_ends
from deepbio.tasks.stitch import label_bands

from .scenes import touching_discs

DECODER = Decoder("flows", reach=30)


def flow_scores(labels: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """Unit flows to the mean of each object, and scores of the foreground."""
    axes = labels.ndim
    scores = np.zeros((axes + 1, *labels.shape), np.float32)
    scores[axes] = np.where(labels > 0, 5, -5)
    for label in np.unique(labels[labels > 0]):
        places = np.nonzero(labels == label)
        away = np.stack([p.mean() - p for p in places])
        scores[(slice(axes), *places)] = away / np.maximum(np.linalg.norm(away, axis=0), 1) * FLOW_UNIT
    scores[:axes] += np.random.default_rng(0).normal(0, noise, scores[:axes].shape)
    return scores


def test_touching_objects_are_separated_to_the_pixel() -> None:
    labels = touching_discs((97, 131))
    assert ndimage.label(labels > 0)[1] < labels.max() >= 8
    found = decode(flow_scores(labels), DECODER)
    assert found.dtype == np.int32
    assert found.max() == labels.max()
    for label in np.unique(labels[labels > 0]):
        values, counts = np.unique(found[labels == label], return_counts=True)
        assert counts.max() / counts.sum() > 0.97, (label, values, counts)


@pytest.mark.parametrize(("height", "window"), [(7, 1), (64, 101 * 120), (1000, 2**23)])
def test_windows_equal_the_whole(height: int, window: int) -> None:
    scores = flow_scores(touching_discs((341, 101)), noise=0.5)
    out = np.full(scores.shape[1:], -1, np.int32)
    bands = (
        (start, min(start + height, 341), scores[:, start : start + height].copy())
        for start in range(0, 341, height)
    )
    count = label_bands(bands, DECODER, out, window_pixels=window)
    expected = decode(scores, DECODER)
    np.testing.assert_array_equal(out, expected)
    assert count == expected.max() > 20


def test_nothing_gives_nothing() -> None:
    labels, anchors = split_objects(flow_scores(np.zeros((33, 17), int)), DECODER)
    assert labels.max() == 0
    assert not len(anchors)


def test_pixels_that_swing_end_where_the_last_step_leaves_them() -> None:
    flows = np.zeros((2, 1, 9), np.float32)
    flows[1, 0] = np.where(np.arange(9) < 5, 1, -1) * FLOW_UNIT  # 4 and 5 send pixels to each other
    all_in = np.ones((1, 9), bool)
    ends = {
        steps: follow_flows(flows, all_in, np.nonzero(all_in), steps)[1].tolist() for steps in (59, 60, 81)
    }
    assert ends[59] == ends[81] == [5, 4, 5, 4, 5, 4, 5, 4, 5]
    assert ends[60] == [4, 5, 4, 5, 4, 5, 4, 5, 4]


def test_flows_between_pixels_are_linear_and_pixels_stay_inside() -> None:
    flows = np.zeros((2, 6, 7), np.float32)
    flows[0] = 0.5 * FLOW_UNIT  # half a pixel down
    flows[1] = np.arange(7) / 4 * FLOW_UNIT  # x grows by a quarter of itself
    all_in = np.ones((6, 7), bool)
    ends = follow_flows(flows, all_in, (np.array([0, 0]), np.array([2, 1])), 3)
    assert ends.tolist() == [[1, 1], [3, 1]]  # 2 * 1.25 ** 3 = 3.9, 1.95
    assert follow_flows(flows, all_in, (np.array([0]), np.array([3])), 40).ravel().tolist() == [5, 6]


def test_a_peak_has_more_than_ten_ends_and_takes_its_neighbours() -> None:
    ends = np.repeat([[5, 5], [5, 6], [5, 9], [20, 20]], [12, 3, 3, 10], axis=0).T
    landing = gather_ends(ends, (30, 31))
    assert landing.peaks.tolist() == [[5, 5]]
    assert landing.labels.tolist() == [1] * 15 + [0] * 13  # 9 is not connected, 10 ends are no peak


def test_the_higher_of_two_peaks_has_what_both_claim() -> None:
    places = [[5, 5], [5, 6], [5, 7], [5, 8]]
    landing = gather_ends(np.repeat(places, [12, 3, 3, 20], axis=0).T, (12, 13))
    assert landing.peaks.tolist() == [[5, 5], [5, 8]]
    assert landing.labels[[0, 12, 15, 18]].tolist() == [2, 2, 2, 2]  # all of it, as they are connected


def test_errors_of_a_disc_are_small_and_of_turned_flows_large() -> None:
    labels = np.zeros((40, 70), np.int32)
    y, x = np.indices(labels.shape)
    labels[(y - 19) ** 2 + (x - 18) ** 2 < 150] = 1
    labels[(y - 19) ** 2 + (x - 50) ** 2 < 150] = 3
    scores = flow_scores(labels)
    turned = labels == 3
    scores[0][turned], scores[1][turned] = -scores[0][turned], -scores[1][turned]
    errors = flow_errors(labels, scores[:2], 3)
    assert errors[0] < 0.02
    assert errors[1] == 0
    assert errors[2] > 3.5  # opposite unit vectors: 4


def test_an_object_whose_shape_contradicts_its_flows_is_dropped() -> None:
    labels = np.zeros((64, 70), np.int32)
    labels[8:20, 8:20], labels[30:54, 32:56] = 1, 2
    scores = flow_scores(labels)
    y, x = np.nonzero(labels == 2)
    away = np.stack([32 - y, 34 - x])  # all to a corner, where an object is found, but no middle
    scores[:2, y, x] = away / np.maximum(np.linalg.norm(away, axis=0), 1) * FLOW_UNIT
    found = {error: decode(scores, DECODER.replace(error=error)) for error in (0.0, 0.4)}
    assert [len(np.unique(one[labels == 2])) for one in found.values()] == [1, 1]
    assert found[0.0][labels == 2].min() > 0
    assert found[0.4][labels == 2].max() == 0
    assert all(one[labels == 1].min() > 0 for one in found.values())


def test_small_large_and_many_are_told_apart() -> None:
    labels = np.zeros((60, 60), np.int32)
    labels[2:50, 2:50] = 1
    labels[53:58, 53:58] = 2
    scores = flow_scores(labels)
    areas = {
        share: np.bincount(decode(scores, DECODER.replace(share=share)).ravel())[1:] for share in (0, 0.4)
    }
    assert [len(found) for found in areas.values()] == [2, 1]
    assert areas[0.4].tolist() == [25]
    assert decode(scores, DECODER.replace(min_size=26)).max() == 1


def test_holes_are_filled_but_open_bays_are_not() -> None:
    labels = np.zeros((12, 30), np.int32)
    labels[1:10, 1:10], labels[4:6, 4:6], labels[6, 6] = 1, 0, 2
    labels[1:10, 12:21], labels[4:6, 15:21] = 3, 0
    labels[2, 25] = 4
    fill_holes(labels, 2)
    assert (labels[1:10, 1:10] == 1).all()
    assert (labels[4:6, 15:21] == 0).all()
    assert labels[2, 25] == 0


def test_mirrored_flows_change_sign() -> None:
    assert DECODER.offsets(2) == {0: 0, 1: 1}


def test_the_card_says_how() -> None:
    decoder = Decoder.from_card({"method": "flows", "steps": 100, "error": 0.3, "share": 0.5})
    assert (decoder.steps, decoder.error, decoder.share, decoder.instances) == (100, 0.3, 0.5, True)
    with pytest.raises(CardError, match="flow_error"):
        Decoder.from_card({"method": "flows", "flow_error": 0.3})
