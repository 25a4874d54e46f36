"""Distances of surfaces: worked by hand, against MONAI, and fast where organs are small."""

import time

import numpy as np
import pytest

from deepbio.errors import InputMismatch, OptionError
from deepbio.metrics import hausdorff, surface_dice, surface_distances

NAN = pytest.approx(np.nan, nan_ok=True)
INF = float("inf")


def blobs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Three classes of odd forms, some of which touch the border of the image; uint8."""
    random = np.random.default_rng(seed)
    waves = np.zeros(shape)
    places = np.indices(shape) / np.array(shape).reshape(-1, *(1,) * len(shape))
    for _ in range(6):
        turn = random.normal(size=len(shape)) * 7
        waves += np.sin(np.tensordot(turn, places, 1) + random.uniform(0, 6))
    return np.digitize(waves, [1.2, 2.2, 3.0]).astype(np.uint8)


# --- by hand


def test_two_lines_in_2d() -> None:
    truth, found = np.zeros((2, 7, 11), np.uint8)
    truth[2, 3:9] = 1
    found[4, 3:9] = 1
    found[4, 9] = 1  # one beyond the end of the truth
    distances = surface_distances(truth, found, [1], (0.5, 2.0))[1]
    assert distances.to_found.tolist() == [1.0] * 6
    assert distances.to_truth.tolist() == [1.0] * 6 + [np.hypot(1.0, 2.0)]
    assert distances.hausdorff(100) == np.hypot(1.0, 2.0)
    assert distances.hausdorff(50) == 1.0
    assert distances.within(1.0) == 12 / 13
    assert distances.within(0.99) == 0.0


def test_only_the_surface_counts() -> None:
    solid = np.zeros((9, 9, 9), np.uint8)
    solid[1:8, 1:8, 1:8] = 1
    hollow = solid.copy()
    hollow[3:6, 3:6, 3:6] = 0
    distances = surface_distances(solid, hollow, [1], (1, 1, 1))[1]
    assert len(distances.to_found) == 7**3 - 5**3
    # the hole has a surface of its own: of the pixels around it those that share a face with it
    assert len(distances.to_truth) == 7**3 - 5**3 + 6 * 9
    assert distances.hausdorff(100) == 1.0


def test_the_border_of_the_image_is_a_surface() -> None:
    full = np.ones((3, 5), np.uint8)
    distances = surface_distances(full, full, None, (1, 1))[1]
    assert len(distances.to_found) == 15 - 3
    assert distances.hausdorff() == 0


@pytest.mark.parametrize(
    ("truth", "found", "distance", "agreement"),
    [(False, False, NAN, NAN), (True, False, INF, 0.0), (False, True, INF, 0.0), (True, True, 0.0, 1.0)],
    ids=["both empty", "found empty", "truth empty", "equal"],
)
def test_empty_segmentations(truth: bool, found: bool, distance: float, agreement: float) -> None:
    blob = np.zeros((5, 7, 11), np.uint8)
    blob[1:3, 2:5, 4:9] = 1
    arrays = blob * truth, blob * found
    assert hausdorff(*arrays, [1], (1.2, 0.8, 0.5)) == {1: distance}
    assert surface_dice(*arrays, [1], (1.2, 0.8, 0.5), 1.0) == {1: agreement}


def test_by_default_all_classes_of_both() -> None:
    truth, found = np.array([[0, 2, 2, 0]]), np.array([[0, 2, 5, 0]])
    assert list(hausdorff(truth, found, None, (1, 1))) == [2, 5]


def test_a_tolerance_that_only_rounding_misses() -> None:
    truth, found = np.zeros((2, 1, 9), np.uint8)
    truth[0, 1], found[0, 4] = 1, 1
    assert 3 * 0.1 > 0.3  # which is why
    assert surface_dice(truth, found, [1], (1.0, 0.1), 0.3) == {1: 1.0}
    assert surface_dice(truth, found, [1], (1.0, 0.1), 0.2999) == {1: 0.0}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64, ">i2"])
@pytest.mark.parametrize("label", [3, 117])
def test_labels_of_any_type(dtype: type, label: int) -> None:
    truth, found = np.zeros((2, 5, 7, 11), dtype)
    truth[2, 3, 4], found[2, 3, 7] = label, label
    assert hausdorff(truth, found, None, (1.2, 0.8, 0.5)) == {label: 1.5}


@pytest.mark.parametrize("label", [-2, 10**6])
def test_labels_beyond_the_table(label: int) -> None:
    truth, found = np.zeros((2, 5, 7), np.int32)
    truth[2, 1], found[2, 4] = label, label
    assert hausdorff(truth, found, None, (1, 0.5)) == {label: 1.5}
    assert hausdorff(truth, found, [label, 3], (1, 0.5)) == {label: 1.5, 3: NAN}


def test_arrays_that_lie_otherwise_in_memory() -> None:
    truth, found = blobs((11, 13, 17), 1), blobs((11, 13, 17), 2)
    expected = hausdorff(truth, found, None, (3.0, 0.7, 0.9))
    turned = hausdorff(np.asfortranarray(truth)[::-1], found[::-1], None, (3.0, 0.7, 0.9))
    assert turned == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: hausdorff(a, a, [1], (1, 1)), "expected 3 positive numbers"),
        (lambda a: hausdorff(a, a, [1], (1, 0, 1)), "expected 3 positive numbers"),
        (lambda a: hausdorff(a, a, [1], (1, 1, 1), 101), "The percentile is 101; expected 0 to 100"),
        (lambda a: surface_dice(a, a, [1], (1, 1, 1), -0.5), "The tolerance is -0.5"),
        (lambda a: surface_dice(a, a, [1], (1, 1, 1), float("nan")), "The tolerance is nan"),
    ],
)
def test_values_outside_their_range(call, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        call(np.ones((3, 4, 5), int))


def test_shapes_must_agree() -> None:
    with pytest.raises(InputMismatch, match=r"\(3, 4\) and \(4, 3\)"):
        hausdorff(np.ones((3, 4), int), np.ones((4, 3), int), [1], (1, 1))


# --- against MONAI

of_monai = pytest.mark.filterwarnings("ignore:monai:FutureWarning", "ignore:the (ground|pred)")


@of_monai
@pytest.mark.parametrize("percentile", [95, 50, 100])
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((17, 23, 31), (3.3, 0.7, 0.9)), ((12, 9, 20), (1.0, 1.0, 1.0)), ((41, 57), (0.31, 1.7))],
    ids=["3D anisotropic", "3D", "2D anisotropic"],
)
def test_agrees_with_monai(shape: tuple[int, ...], spacing: tuple[float, ...], percentile: float) -> None:
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    truth, found = blobs(shape, 3), blobs(shape, 4)

    def one_hot(labels: np.ndarray) -> object:
        return torch.from_numpy(np.stack([labels == label for label in range(4)])[None])

    expected = metrics.compute_hausdorff_distance(
        one_hot(found), one_hot(truth), percentile=percentile, spacing=spacing
    )
    ours = hausdorff(truth, found, [1, 2, 3], spacing, percentile)
    assert list(ours.values()) == pytest.approx(expected[0].tolist(), abs=1e-4)
    assert min(ours.values()) > 0
    for tolerance in (0.0, 1.0, 2.5):
        expected = metrics.compute_surface_dice(
            one_hot(found), one_hot(truth), class_thresholds=[tolerance] * 3, spacing=spacing
        )
        ours = surface_dice(truth, found, [1, 2, 3], spacing, tolerance)
        assert list(ours.values()) == pytest.approx(expected[0].tolist(), abs=1e-4)


@of_monai
@pytest.mark.parametrize("empty", ["truth", "found", "both"])
def test_agrees_with_monai_where_a_class_is_missing(empty: str) -> None:
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    blob = np.zeros((7, 9, 11), np.uint8)
    blob[2:4, 3:7, 1:6] = 1
    truth, found = (blob * (empty not in (name, "both")) for name in ("truth", "found"))
    tensors = [torch.from_numpy(mask.astype(bool))[None, None] for mask in (found, truth)]
    spacing = (2.0, 0.5, 0.8)
    # without a percentile: MONAI interpolates between two infinities, which gives NaN
    distance = metrics.compute_hausdorff_distance(*tensors, include_background=True, spacing=spacing).item()
    agreement = metrics.compute_surface_dice(
        *tensors, class_thresholds=[1.0], include_background=True, spacing=spacing
    ).item()
    assert hausdorff(truth, found, [1], spacing, 100)[1] == pytest.approx(distance, nan_ok=True)
    assert surface_dice(truth, found, [1], spacing, 1.0)[1] == pytest.approx(agreement, nan_ok=True)


# --- cost


def test_small_organs_in_a_large_volume_take_less_than_a_second() -> None:
    truth, found = np.zeros((2, 512, 512, 512), np.uint8)
    z, y, x = np.ogrid[-20:21, -20:21, -20:21]
    ball = z * z + y * y + x * x <= 400
    truth[300:341, 100:141, 60:101][ball], found[302:343, 100:141, 60:101][ball] = 1, 1
    truth[30:71, 400:441, 460:501][ball], found[30:71, 401:442, 460:501][ball] = 2, 2
    start = time.process_time()
    distances = surface_distances(truth, found, [1, 2], (1.5, 0.8, 0.8))
    assert time.process_time() - start < 1  # 0.1 s where it was written
    assert distances[1].hausdorff(100) == pytest.approx(3.0)
    assert distances[2].hausdorff(100) == pytest.approx(0.8)
