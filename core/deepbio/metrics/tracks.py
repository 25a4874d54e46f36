"""How well objects were followed: links from frame to frame, and divisions.

Objects are compared as in the Cell Tracking Challenge (Maska et al., Nature Methods 20:1010, 2023,
doi:10.1038/s41592-023-01879-y): a true object is found where one object covers more than half of it, so that truths may
be mere markers. One found object that covers several stands for the one that it shares most pixels with.

The F1 score of divisions is the challenge's branching correctness BC(i) (Ulman et al., Nature Methods 14:1141, 2017,
doi:10.1038/nmeth.4473); precision and recall say which kind of error there is, as those of Ulicna et al., Frontiers in
Computer Science 3:734559, 2021, doi:10.3389/fcomp.2021.734559.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from deepbio.metrics.overlap import check_shapes

__all__ = ["Counts", "TrackScore", "score_tracks"]

_Node = tuple[int, int]  # frame, label


@dataclass(frozen=True)
class Counts:
    """Things that there are, that were found, and that are both.

    Examples
    --------
    >>> counts = Counts(true=4, found=2, right=1)
    >>> counts.precision, counts.recall, round(counts.f1, 3)
    (0.5, 0.25, 0.333)
    """

    true: int
    found: int
    right: int

    @property
    def precision(self) -> float:
        """Part of what was found that is right; NaN where nothing was found."""
        return self.right / self.found if self.found else float("nan")

    @property
    def recall(self) -> float:
        """Part of what there is that was found; NaN where there is nothing."""
        return self.right / self.true if self.true else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of both; NaN where there is nothing and nothing was found."""
        total = self.true + self.found
        return 2 * self.right / total if total else float("nan")

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.true + other.true, self.found + other.found, self.right + other.right)


@dataclass(frozen=True)
class TrackScore:
    """How the objects of a movie were followed.

    Attributes
    ----------
    objects : Counts
        Objects of all frames.
    links : Counts
        Steps of an object to the next frame that shows it, or to a daughter's first.
    divisions : Counts or None
        None where truth or result do not say which objects divide.
    tolerance : int
        Frames by which a division may be early or late.
    """

    objects: Counts
    links: Counts
    divisions: Counts | None
    tolerance: int

    def __add__(self, other: TrackScore) -> TrackScore:
        known = [one for one in (self.divisions, other.divisions) if one is not None]
        divisions = sum(known[1:], known[0]) if known else None
        return TrackScore(self.objects + other.objects, self.links + other.links, divisions, self.tolerance)

    def row(self) -> dict[str, Any]:
        """Plain values for a table or JSON."""
        divisions = self.divisions or Counts(0, 0, 0)
        return {
            "links": self.links.true,
            "link_precision": self.links.precision,
            "link_recall": self.links.recall,
            "divisions": divisions.true,
            "divisions_found": divisions.found,
            "division_precision": divisions.precision,
            "division_recall": divisions.recall,
            "division_f1": divisions.f1,
            "division_tolerance": self.tolerance,
        }


def score_tracks(
    truth: np.ndarray,
    found: np.ndarray,
    true_parents: Mapping[int, int] | None = None,
    found_parents: Mapping[int, int] | None = None,
    tolerance: int = 1,
) -> TrackScore:
    """Compare the tracks of a movie with the true ones.

    Parameters
    ----------
    truth, found : ndarray of int, shape (T, [z,] y, x)
        One number is one object through time; 0 is background.
    true_parents, found_parents : mapping of int to int, optional
        Mother of each daughter. An object with a single daughter goes on under another number (as after a gap, in
        the format of the Cell Tracking Challenge) and does not divide. Without both of them, divisions are not
        scored.
    tolerance : int
        Frames by which a division may be early or late.

    Returns
    -------
    TrackScore

    Raises
    ------
    InputMismatch
        If the shapes differ.

    Notes
    -----
    Two divisions are one if the last frames of the mothers are at most `tolerance` apart, the mothers are the same
    object in the last frame that shows both, and each daughter of the one is the same object as a daughter of the
    other in the first frame that shows both.

    Examples
    --------
    >>> truth = np.array([[[1, 1, 1, 1]], [[2, 2, 3, 3]], [[2, 0, 0, 3]]])
    >>> score = score_tracks(truth, truth, {2: 1, 3: 1}, {2: 1, 3: 1})
    >>> score.links, score.divisions
    (Counts(true=4, found=4, right=4), Counts(true=1, found=1, right=1))
    """
    check_shapes(truth, found)
    same = {(t, a): (t, b) for t in range(len(truth)) for a, b in _pairs(truth[t], found[t])}
    one, other = (
        _Tracks(labels, parents or {}) for labels, parents in ((truth, true_parents), (found, found_parents))
    )
    true_links, found_links = one.links(), other.links()
    right = sum((same.get(a), same.get(b)) in found_links for a, b in true_links)
    divisions = None
    if true_parents is not None and found_parents is not None:
        divisions = _compare_divisions(one, other, same, tolerance)
    return TrackScore(
        Counts(one.count, other.count, len(same)),
        Counts(len(true_links), len(found_links), right),
        divisions,
        tolerance,
    )


class _Tracks:
    """Which frames show each object, and what comes from what."""

    def __init__(self, labels: np.ndarray, parents: Mapping[int, int]) -> None:
        self.frames: dict[int, list[int]] = {}
        for t, frame in enumerate(labels):
            for label in np.unique(frame[frame > 0]).tolist():
                self.frames.setdefault(label, []).append(t)
        self.daughters: dict[int, list[int]] = {}
        for daughter, mother in parents.items():
            if daughter in self.frames and mother in self.frames:
                self.daughters.setdefault(mother, []).append(daughter)

    @property
    def count(self) -> int:
        """Objects of all frames."""
        return sum(map(len, self.frames.values()))

    def links(self) -> set[tuple[_Node, _Node]]:
        """Steps within tracks, and from mothers to daughters."""
        steps = {
            ((a, label), (b, label)) for label, frames in self.frames.items() for a, b in pairwise(frames)
        }
        return steps | {
            ((self.frames[mother][-1], mother), (self.frames[daughter][0], daughter))
            for mother, daughters in self.daughters.items()
            for daughter in daughters
        }

    def divisions(self) -> list[int]:
        """The mothers of two or more."""
        return sorted(mother for mother, daughters in self.daughters.items() if len(daughters) > 1)


def _pairs(truth: np.ndarray, found: np.ndarray) -> Iterable[tuple[int, int]]:
    """True and found objects of a frame that are the same, one to one."""
    both = (truth > 0) & (found > 0)
    pairs, shared = np.unique(np.stack((truth[both], found[both])), axis=1, return_counts=True)
    labels, areas = np.unique(truth[truth > 0], return_counts=True)
    area = dict(zip(labels.tolist(), areas.tolist(), strict=True))
    best: dict[int, tuple[int, int]] = {}
    for (true, other), count in zip(pairs.T.tolist(), shared.tolist(), strict=True):
        if 2 * count > area[true] and count > best.get(other, (0, 0))[0]:
            best[other] = count, true
    return [(true, other) for other, (_, true) in best.items()]


def _compare_divisions(one: _Tracks, other: _Tracks, same: Mapping[_Node, _Node], tolerance: int) -> Counts:
    """Pair divisions so that as many as possible have a partner."""
    true, found = one.divisions(), other.divisions()
    alike = np.array([[_alike(one, a, other, b, same, tolerance) for b in found] for a in true], bool)
    right = 0
    if alike.size:
        rows, columns = linear_sum_assignment(~alike)
        right = int(alike[rows, columns].sum())
    return Counts(len(true), len(found), right)


def _alike(
    one: _Tracks, mother: int, other: _Tracks, candidate: int, same: Mapping[_Node, _Node], tolerance: int
) -> bool:
    """Whether two divisions are one."""
    if abs(one.frames[mother][-1] - other.frames[candidate][-1]) > tolerance:
        return False
    if not _meet(one, mother, other, candidate, same, -1):
        return False
    ours, theirs = one.daughters[mother], other.daughters[candidate]
    if len(ours) != len(theirs):
        return False
    meeting = np.array([[_meet(one, a, other, b, same, 0) for b in theirs] for a in ours])
    rows, columns = linear_sum_assignment(~meeting)
    return bool(meeting[rows, columns].all())


def _meet(
    one: _Tracks, label: int, other: _Tracks, candidate: int, same: Mapping[_Node, _Node], at: int
) -> bool:
    """Whether two tracks are the same object in the first (0) or last (-1) frame that shows both."""
    common = sorted(set(one.frames[label]) & set(other.frames[candidate]))
    return bool(common) and same.get((common[at], label)) == (common[at], candidate)
