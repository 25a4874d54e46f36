"""Divisions: a track ends, and the tracks of its two daughters begin.

The objects are linked first and divisions are looked for among the tracks, as in the second stage of Jaqaman et
al., Nature Methods 5:695 (2008, doi:10.1038/nmeth.1237), where a track that begins may split off one that goes
on. What makes a split a division is what is known of cells: both daughters are smaller than their mother, about
as large as each other, and lie on either side of where she was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deepbio.tasks.objects import sightings

__all__ = ["Dividing", "divided"]

_REMEMBERED = 5  # sightings that tell how large a mother was before her chromosomes condensed


@dataclass(frozen=True)
class Dividing:
    """What a division must look like.

    The mother's area is that of her last sighting or the median of her last five: any from the smaller to the
    larger of them, since a nucleus shrinks to a plate of chromosomes before it divides. Lengths are in radii of
    a disk of the larger one.

    Attributes
    ----------
    reach : float
        How far each daughter's centre may lie from the mother's last one.
    middle : float
        How far the middle between the daughters, weighted by area, may lie from there.
    part : float
        Largest area of a daughter, as a part of the mother's.
    together : (float, float)
        Smallest and largest area of both daughters together, in the same way.
    unlike : float
        Largest ratio of the daughters' areas.
    gap : int
        Frames in which neither mother nor daughters are seen.
    lasting : int
        Frames in which the mother before and each daughter after must be seen.
    merged : int
        Frames back to which an object that fell together with the mother makes a split no division.
    """

    reach: float = 2.0
    middle: float = 0.75
    part: float = 0.85
    together: tuple[float, float] = (0.5, 1.5)
    unlike: float = 2.0
    gap: int = 1
    lasting: int = 2
    merged: int = 10


@dataclass
class _Path:
    """The sightings of one track, in order."""

    frames: np.ndarray
    centres: np.ndarray
    areas: np.ndarray

    def part(self, chosen: np.ndarray) -> _Path:
        return _Path(self.frames[chosen], self.centres[chosen], self.areas[chosen])


def divided(tracks: np.ndarray, rules: Dividing = Dividing()) -> tuple[np.ndarray, dict[int, int]]:
    """Tell which tracks are daughters of which.

    Parameters
    ----------
    tracks : ndarray of int, shape (T, y, x)
        From `track_labels`.
    rules : Dividing
        What counts as a division.

    Returns
    -------
    tracks : ndarray of int, shape (T, y, x)
        A copy. Where a daughter had gone on with the number of her mother she has a new one, above all
        that were there; every other number is as it was.
    parents : dict of int to int
        Mother of each daughter. A mother has two daughters; she is seen in no frame of theirs.

    Examples
    --------
    >>> tracks = np.zeros((4, 4, 12), int)
    >>> tracks[:2, :, 4:8] = 1
    >>> tracks[2:, :, 3:5], tracks[2:, :, 7:9] = 1, 2
    >>> found, parents = divided(tracks)
    >>> parents, np.unique(found[1]).tolist(), np.unique(found[2]).tolist()
    ({3: 1, 2: 1}, [0, 1], [0, 2, 3])
    """
    found = tracks.copy()
    paths = _paths(tracks)
    parents: dict[int, int] = {}
    count = max(paths, default=0)
    for t in sorted({int(path.frames[0]) for path in paths.values()} - {0}):
        for mother, pair in _at(paths, t, rules):
            path = paths[mother]
            daughters = [one for one in pair if one != mother]
            if mother in pair:
                count += 1
                paths[count], paths[mother] = path.part(path.frames >= t), path.part(path.frames < t)
                later = found[t:]
                later[later == mother] = count
                daughters.insert(0, count)
            parents |= dict.fromkeys(daughters, mother)
    return found, parents


def _paths(tracks: np.ndarray) -> dict[int, _Path]:
    table = sightings(tracks)
    numbers, first = np.unique(table[:, 0], return_index=True)
    parts = np.split(table, first[1:])
    return {
        int(number): _Path(part[:, 1].astype(int), part[:, 2:4], part[:, 4])
        for number, part in zip(numbers, parts, strict=False)
    }


def _at(paths: dict[int, _Path], t: int, rules: Dividing) -> list[tuple[int, tuple[int, int]]]:
    """Mothers and their daughters that begin at a frame, the likeliest first, each track once."""
    begun = [n for n, path in paths.items() if path.frames[0] == t and len(path.frames) >= rules.lasting]
    candidates = []
    for mother, path in paths.items():
        before = path.part(path.frames < t)
        if len(before.frames) < rules.lasting or t - before.frames[-1] > rules.gap + 1:
            continue
        after = path.part(path.frames >= t)
        if not len(after.frames):
            pairs = [(one, other) for k, one in enumerate(begun) for other in begun[k + 1 :]]
        elif len(after.frames) >= rules.lasting and after.frames[0] == t:
            pairs = [(mother, one) for one in begun]
        else:
            pairs = []
        for pair in pairs:
            first = [after if one == mother else paths[one] for one in pair]
            cost = _cost(before, first[0], first[1], rules)
            if cost < math.inf and not _fell_together(paths, mother, t, rules):
                candidates.append((cost, mother, pair))
    chosen = []
    taken: set[int] = set()
    for _, mother, pair in sorted(candidates):
        if not taken & {mother, *pair}:
            taken |= {mother, *pair}
            chosen.append((mother, pair))
    return chosen


def _cost(mother: _Path, one: _Path, other: _Path, rules: Dividing) -> float:
    """How unlike a division it is; infinite where a rule is broken."""
    told = float(mother.areas[-1]), float(np.median(mother.areas[-_REMEMBERED:]))
    small, large = min(told), max(told)
    radius = math.sqrt(large / math.pi)
    areas = np.array([one.areas[0], other.areas[0]])
    total, unlike = float(areas.sum()), float(areas.max() / areas.min())
    away = np.stack([one.centres[0], other.centres[0]]) - mother.centres[-1]
    middle = float(np.hypot(*(areas @ away / total))) / radius
    likely = (
        float(np.hypot(*away.T).max()) <= rules.reach * radius
        and middle <= rules.middle
        and areas.max() <= rules.part * large
        and rules.together[0] * small <= total <= rules.together[1] * large
        and unlike <= rules.unlike
    )
    if not likely:
        return math.inf
    changed = total / float(np.clip(total, small, large))  # 1 within the areas that the mother had
    return middle + abs(math.log2(changed)) + math.log2(unlike)


def _fell_together(paths: dict[int, _Path], mother: int, t: int, rules: Dividing) -> bool:
    """Whether the mother is two objects that were seen as one for a while: one ended where she grew."""
    path = paths[mother]
    for number, other in paths.items():
        last = int(other.frames[-1])
        if number == mother or not t - 1 - rules.merged <= last < t - 1:
            continue
        before, after = np.flatnonzero(path.frames <= last), np.flatnonzero(path.frames > last)
        if not len(before) or not len(after) or path.frames[after[0]] >= t:
            continue
        old, new = path.areas[before[-1]], path.areas[after[0]]
        near = np.hypot(*(other.centres[-1] - path.centres[after[0]])) <= rules.reach * math.sqrt(
            new / math.pi
        )
        if near and new - old >= 0.5 * other.areas[-1]:
            return True
    return False
