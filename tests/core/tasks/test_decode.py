"""Objects from scores that are made from known objects."""

import numpy as np
import pytest
from scipy import ndimage

from deepbio.errors import CardError
from deepbio.metrics import average_precision
from deepbio.tasks.decode import decode, keep_largest, split_objects
from deepbio.tasks.decoder import Decoder
from deepbio.tasks.stitch import label_bands

from .scenes import perfect_scores, touching_discs

BOTH = [Decoder("watershed"), Decoder("votes", smoothing=1.5)]


@pytest.mark.parametrize("decoder", BOTH, ids=lambda d: d.method)
@pytest.mark.parametrize("shape", [(97, 131), (31, 47, 53)])
def test_touching_objects_are_separated(decoder: Decoder, shape: tuple[int, ...]) -> None:
    labels = touching_discs(shape)
    assert labels.max() >= 8
    # some touch: fewer components than objects
    assert ndimage.label(labels > 0)[1] < labels.max()
    found = decode(perfect_scores(labels, noise=0.02), decoder)
    assert average_precision(labels, found, (0.5,))[0] == 1.0
    assert found.dtype == np.int32


@pytest.mark.parametrize("decoder", BOTH, ids=lambda d: d.method)
def test_labels_are_numbered_without_gaps_and_small_ones_dropped(decoder: Decoder) -> None:
    labels = np.pad(touching_discs((97, 131)), ((9, 0), (0, 0)))
    labels[2, 4:7] = labels.max() + 1
    found = decode(perfect_scores(labels), decoder.replace(min_size=4))
    assert np.unique(found).tolist() == list(range(labels.max()))
    kept = decode(perfect_scores(labels), decoder.replace(min_size=0, peak=0.1))
    assert kept.max() == labels.max()


@pytest.mark.parametrize("decoder", [*BOTH, Decoder("threshold")], ids=lambda d: d.method)
def test_nothing_gives_nothing(decoder: Decoder) -> None:
    scores = perfect_scores(np.zeros((33, 17), int))
    labels, anchors = split_objects(scores, decoder)
    assert labels.max() == 0
    assert len(anchors) == 0


@pytest.mark.parametrize("decoder", BOTH, ids=lambda d: d.method)
def test_anchors_lie_in_their_objects(decoder: Decoder) -> None:
    labels, anchors = split_objects(perfect_scores(touching_discs((97, 131))), decoder)
    assert labels.ravel()[anchors].tolist() == list(range(1, len(anchors) + 1))
    assert sorted(anchors) == anchors.tolist()


def test_a_low_component_is_one_object() -> None:
    scores = perfect_scores(np.pad(np.ones((6, 9), int), 5))
    scores[1] *= 0.3  # the depth never reaches the seed's
    assert decode(scores, Decoder("watershed")).max() == 1


def test_the_threshold_is_a_probability() -> None:
    scores = np.log(np.array([[[0.2, 0.4, 0.8]]]) / (1 - np.array([[[0.2, 0.4, 0.8]]])))
    found = [decode(scores, Decoder("threshold", threshold=t, min_size=0)).tolist() for t in (0.3, 0.5, 0.9)]
    assert found == [[[0, 1, 1]], [[0, 0, 1]], [[0, 0, 0]]]
    probability = np.array([[[0.2, 0.4, 0.8]]])
    assert decode(probability, Decoder("threshold", threshold=0.3, min_size=0, logits=False)).tolist() == [
        [0, 1, 1]
    ]


def test_classes_take_the_highest_score() -> None:
    scores = np.array([[[3.0, 1, 0]], [[1, 2, 0]], [[0, 1, 5]]])
    assert decode(scores, Decoder("classes")).tolist() == [[0, 1, 2]]


def test_only_the_largest_component_of_some_classes_is_kept() -> None:
    scores = np.zeros((4, 9, 11, 13), np.float32)
    scores[0] = 0.5
    scores[1, 1:4, 1:4, 1:4] = 1
    scores[1, 4, 4, 4] = 1  # touches at a corner
    scores[1, 6:8, 6:8, 6:8] = 1
    scores[2, 0, 0, 5:7] = scores[2, 8, 8, 5:7] = 1  # of the same size
    found = decode(scores, Decoder("classes", largest=(1, 3)))
    assert (found == 1).sum() == 28
    assert found[6, 6, 6] == 0
    assert (found == 2).sum() == 4  # not asked for
    keep_largest(found, [2])
    assert (found == 2).sum() == 2
    assert (found[0, 0, 5:7] == 2).all()


@pytest.mark.parametrize(
    "entries",
    [
        {"method": "classes", "largest": [0]},
        {"method": "classes", "largest": 1},
        {"method": "classes", "largest": ["a"]},
        {"method": "votes", "largest": [1]},
        {"largest": [1]},
    ],
)
def test_largest_is_a_list_of_classes(entries) -> None:
    with pytest.raises(CardError, match=r"largest.*a list of classes"):
        Decoder.from_card(entries)
    assert Decoder.from_card({"method": "classes", "largest": [2]}).largest == (2,)


@pytest.mark.parametrize("entries", [{"method": "magic"}, {"method": "votes", "sead": 0.5}])
def test_a_card_with_unknown_entries_is_told(entries) -> None:
    with pytest.raises(CardError, match="known are the entries"):
        Decoder.from_card(entries)


@pytest.mark.parametrize("logits", [True, False])
def test_later_regions_lie_over_earlier_ones(logits: bool) -> None:
    scores = np.random.default_rng(0).standard_normal((3, 9, 11, 7)).astype(np.float32)
    decoder = Decoder("regions", regions=(1, 300, 2), threshold=0.7, logits=logits)
    given = scores if logits else 1 / (1 + np.exp(-scores))
    found = decode(given, decoder)
    level = np.log(0.7 / 0.3)
    expected = np.select([scores[2] > level, scores[1] > level, scores[0] > level], [2, 300, 1], 0)
    np.testing.assert_array_equal(found, expected)
    out = np.zeros(scores.shape[1:], np.uint16)
    bands = [(0, 4, given[:, :4]), (4, 9, given[:, 4:])]
    assert label_bands(bands, decoder, out) == 3
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"method": "regions"}, "without regions"),
        ({"method": "regions", "regions": [0, 1]}, "regions \\[0, 1\\]"),
        ({"method": "classes", "regions": [1]}, "the method 'regions'"),
        ({"method": "regions", "regions": [1], "largest": [1]}, "the method 'classes'"),
    ],
)
def test_regions_that_cannot_be_understood_are_told(entries: dict[str, object], message: str) -> None:
    with pytest.raises(CardError, match=message):
        Decoder.from_card(entries)
