"""Choose how scores become labels, measured on the validation part.

Objects: both methods with a few numbers each. Classes: of which ones only the largest component is kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepbio.metrics import IOU_THRESHOLDS, average_precision, dice
from deepbio.tasks.decode import decode, keep_largest
from deepbio.tasks.decoder import Decoder

__all__ = ["Calibration", "choose_decoder", "choose_largest", "largest_of"]

_THRESHOLDS = (0.4, 0.5, 0.6)
_SEEDS = (0.4, 0.5, 0.6, 0.7)
_SMOOTHINGS = (0.7, 1.5)
_VOTE_SMOOTHINGS = (1.5, 2.5)
_PEAKS = (1.0, 2.0)
_SEPARATIONS = (2, 4)


@dataclass
class Calibration:
    """What each method reached with its best numbers.

    Attributes
    ----------
    decoder : Decoder
        The best of all.
    rows : list of dict
        Per method: AP at 0.5, mean AP from 0.5 to 0.9, and nanoseconds per pixel. Or per class:
        the mean Dice of all components and of the largest, and the cases.
    """

    decoder: Decoder
    rows: list[dict[str, object]] = field(default_factory=list)


def choose_decoder(scored: Sequence[tuple[np.ndarray, np.ndarray, str]]) -> Calibration:
    """Try both methods with a few numbers each and take the best.

    Parameters
    ----------
    scored : sequence of (scores, labels, group)
        The network's scores of each validation image, float32 (K, [z,] y, x), its true labels, and
        its group.

    Returns
    -------
    Calibration
        The best by the mean over groups of (AP at 0.5 + mean AP from 0.5 to 0.9) / 2.
    """
    largest = max(_largest_extent(labels) for _, labels, _ in scored)
    reach = int(np.ceil(1.25 * largest / 32) * 32)
    smallest = np.percentile(np.concatenate([_sizes(labels) for _, labels, _ in scored]), 1)
    base = Decoder(reach=reach, min_size=max(1, int(smallest // 2)))
    watershed = [
        base.replace(threshold=t, seed=s, smoothing=g)
        for t in _THRESHOLDS
        for s in _SEEDS
        for g in _SMOOTHINGS
    ]
    votes = [
        base.replace(method="votes", threshold=t, smoothing=g, peak=p, separation=r)
        for t in _THRESHOLDS
        for g in _VOTE_SMOOTHINGS
        for p in _PEAKS
        for r in _SEPARATIONS
    ]
    result = Calibration(base)
    best = -1.0
    for candidates in (watershed, votes):
        tried = [(_measure(scored, decoder), decoder) for decoder in candidates]
        (score, row), decoder = max(tried, key=lambda one: one[0][0])
        result.rows.append({"method": decoder.method, **row})
        if score > best:
            best, result.decoder = score, decoder
    return result


def _measure(
    scored: Sequence[tuple[np.ndarray, np.ndarray, str]], decoder: Decoder
) -> tuple[float, dict[str, float]]:
    groups: dict[str, list[np.ndarray]] = {}
    pixels, spent = 0, 0.0
    for scores, truth, group in scored:
        start = time.process_time()
        found = decode(scores, decoder)
        spent += time.process_time() - start
        pixels += truth.size
        groups.setdefault(group, []).append(average_precision(truth, found, IOU_THRESHOLDS))
    means = np.mean([np.mean(values, axis=0) for values in groups.values()], axis=0)
    ap50, ap = float(means[0]), float(means.mean())
    row = {"ap_50": round(ap50, 4), "ap_50_90": round(ap, 4), "ns_per_pixel": round(spent / pixels * 1e9, 1)}
    return (ap50 + ap) / 2, row


def _sizes(labels: np.ndarray) -> np.ndarray:
    area = np.bincount(labels.ravel())[1:]
    return area[area > 0]


def _largest_extent(labels: np.ndarray) -> int:
    """Longest side of an object's bounding box, in pixels."""
    from scipy.ndimage import find_objects

    boxes = [box for box in find_objects(labels) if box is not None]
    return max((side.stop - side.start for box in boxes for side in box), default=1)


def choose_largest(found: Iterable[tuple[np.ndarray, np.ndarray]], classes: int) -> Calibration:
    """Find the classes whose mean Dice rises when only their largest component is kept.

    Parameters
    ----------
    found : iterable of (labels, truth)
        Classes that the network gives and the true ones for each validation case, integers
        ([z,] y, x).
    classes : int
        How many there are.

    Returns
    -------
    Calibration
        Its decoder keeps the largest component of those classes.
    """
    every = list(range(1, classes + 1))
    before: dict[int, list[float]] = {label: [] for label in every}
    after: dict[int, list[float]] = {label: [] for label in every}
    for labels, truth in found:
        cleaned = labels.copy()
        keep_largest(cleaned, every)
        for sums, result in ((before, labels), (after, cleaned)):
            for label, value in dice(truth, result, every).items():
                if value == value:  # NaN where the class is in neither image
                    sums[label].append(value)
    rows: list[dict[str, object]] = [
        {
            "class": label,
            "dice": round(float(np.mean(before[label])), 5),
            "dice_largest": round(float(np.mean(after[label])), 5),
            "cases": len(before[label]),
        }
        for label in every
        if before[label]
    ]
    return Calibration(Decoder("classes", largest=largest_of(rows)), rows)


def largest_of(rows: Iterable[Mapping[str, Any]]) -> tuple[int, ...]:
    """Classes that gain by keeping the largest component, over the rows of one or more folds.

    Examples
    --------
    >>> row = {"class": 2, "dice": 0.8, "dice_largest": 0.9, "cases": 1}
    >>> largest_of([row]), largest_of([row, {**row, "dice": 0.9, "dice_largest": 0.88, "cases": 9}])
    ((2,), ())
    """
    gains: dict[int, float] = {}
    for row in rows:
        label = int(row["class"])
        gains[label] = gains.get(label, 0.0) + (row["dice_largest"] - row["dice"]) * row["cases"]
    return tuple(sorted(label for label, gain in gains.items() if gain > 0))
