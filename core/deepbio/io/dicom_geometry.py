"""From the frames of a DICOM series to one regular stack and its grid, or a clear error why there is none.

Where a slice lies follows from the position and orientation of its own header alone, never from instance
numbers or file names: slices are sorted along the normal of their planes, and their distance is that of
their positions (slice thickness and "spacing between slices" are often something else).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepbio.errors import ImageError
from deepbio.image import Grid
from deepbio.io.dicom_frames import Frame

__all__ = ["Stack", "arrange"]

_SAME_PLACE = 1e-3  # mm: positions this near along the normal are one position
_SAME_DIRECTION = 1e-4  # difference of direction cosines that files' rounding makes
_UNEVEN = 0.02  # of the slice distance: how far a slice may be from its regular place
_ROUNDED = 0.01  # mm: what rounding of positions may make of it
_DRIFT = 0.1  # pixels: how far the last slice may have moved sideways before we call it tilt


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames in order.

    Attributes
    ----------
    order : ndarray of int, shape (times, slices)
        Numbers of the frames.
    axes : str
        ``"YX"``, ``"TYX"``, ``"ZYX"`` or ``"TZYX"``.
    grid : Grid
        In millimeters; in pixels where the files do not say.
    interval : float or None
        Seconds between times.
    notes : tuple of str
        What had to be assumed.
    """

    order: np.ndarray
    axes: str
    grid: Grid
    interval: float | None = None
    notes: tuple[str, ...] = ()


def arrange(frames: Sequence[Frame]) -> Stack:
    """Sort the frames of a series along its normal and in time.

    Raises
    ------
    ImageError
        If sizes, orientations or spacings are mixed, slices are missing, doubled or uneven, times are
        incomplete, or the stack is sheared (gantry tilt).

    Notes
    -----
    The distance of slices is (last - first) / (count - 1); each slice must be within 2 % of it (or 0.01
    mm) of its regular place, and the last one within a tenth of a pixel of the first one's normal.
    """
    _check_alike(frames)
    if any(frame.position is None or frame.axes is None for frame in frames):
        return _without_place(frames)
    axes = frames[0].axes
    assert axes is not None  # noqa: S101 - for mypy: checked above
    normal = np.cross(axes[:, 1], axes[:, 0])  # x times y: the stack grows to the right-handed side
    positions = np.array([frame.position for frame in frames])
    order, interval = _in_time(frames, _slices(positions @ normal))
    places = positions[order[0]]
    thickness, notes = _distance(frames[0], places, normal)
    spacing = _in_plane(frames[0], notes)
    _check_upright(places, normal, min(spacing))
    rows, columns, _ = frames[0].shape
    grid = Grid(
        (order.shape[1], rows, columns),
        (thickness, *spacing),
        tuple(places[0]),
        np.column_stack([normal, axes]),
        "millimeter",
    )
    return Stack(order, "ZYX" if len(order) == 1 else "TZYX", grid, interval, tuple(notes))


def _check_alike(frames: Sequence[Frame]) -> None:
    """Sizes, kinds of pixels and orientations must be one; what is there instead is counted."""
    sizes = Counter(f"{frame.shape[0]} x {frame.shape[1]}" for frame in frames)
    _check_one(sizes, "sizes", "Leave out the scouts and the like.")
    kinds = Counter(f"{frame.photometric.partition('_')[0]}, {frame.shape[2]} samples" for frame in frames)
    _check_one(kinds, "kinds of pixels", "Leave out what does not belong to the scan.")
    oriented: list[tuple[np.ndarray, str]] = []
    orientations: Counter[str] = Counter()
    for frame in frames:
        if frame.axes is None:
            orientations["no orientation"] += 1
            continue
        for known, name in oriented:
            if np.allclose(known, frame.axes, rtol=0, atol=_SAME_DIRECTION):
                orientations[name] += 1
                break
        else:
            normal = np.cross(frame.axes[:, 1], frame.axes[:, 0])
            name = f"slices with the normal ({', '.join(f'{c:.4g}' for c in normal)})"
            name = name if name not in orientations else f"{name}, turned in their plane"
            oriented.append((frame.axes, name))
            orientations[name] += 1
    _check_one(orientations, "orientations", "Leave out the scouts (localizers), or split the series.")
    spacings = Counter(
        "no pixel spacing" if frame.spacing is None else f"{frame.spacing[0]:.5g} x {frame.spacing[1]:.5g} mm"
        for frame in frames
    )
    _check_one(spacings, "pixel spacings", "Split the series.")


def _check_one(found: Counter[str], what: str, hint: str) -> None:
    if len(found) > 1:
        told = "; ".join(f"{count} of {name}" for name, count in found.most_common(6))
        raise ImageError(f"The series mixes images of {len(found)} {what}: {told}.", hint)


def _without_place(frames: Sequence[Frame]) -> Stack:
    """A picture or a film that does not say where it is: ultrasound, X-ray, captures."""
    if len({frame.file for frame in frames}) > 1:
        raise ImageError(
            f"The series has {len(frames)} images that do not say where they are (no image position): "
            "they are no stack.",
            "Name one of the files.",
        )
    rows, columns, _ = frames[0].shape
    spacing, notes = frames[0].spacing, []
    if spacing is None:
        notes.append("The file does not say how large its pixels are.")
    grid = Grid((rows, columns), spacing or (), unit="millimeter" if spacing else "pixel")
    order = np.arange(len(frames))[:, None]
    if len(frames) == 1:
        return Stack(order, "YX", grid, None, tuple(notes))
    return Stack(order, "TYX", grid, frames[0].interval, tuple(notes))


def _slices(along: np.ndarray) -> list[np.ndarray]:
    """Numbers of the frames at each position along the normal, from the lowest."""
    sorted_ = np.argsort(along, kind="stable")
    breaks = np.flatnonzero(np.diff(along[sorted_]) > _SAME_PLACE) + 1
    return np.split(sorted_, breaks)


def _in_time(frames: Sequence[Frame], slices: list[np.ndarray]) -> tuple[np.ndarray, float | None]:
    """Sort the frames of each position in time; gives their numbers, (times, slices), and the seconds between."""
    counts = Counter(len(members) for members in slices)
    if set(counts) == {1}:
        return np.array(slices).T, None
    times = np.array([frame.times for frame in frames])
    telling = [key for key in range(times.shape[1]) if _tells_apart(times[:, key], slices)]
    if not telling:
        raise _doubled(frames, slices)
    if len(counts) > 1:
        told = ", ".join(f"{n} with {count} times" for count, n in sorted(counts.items()))
        raise ImageError(
            f"The times of the series are incomplete: of {len(slices)} slice positions there are {told}.",
            "Fetch the whole series, or name a folder with one time (or one position) of it.",
        )
    key = telling[0]
    order = np.array([members[np.argsort(times[members, key])] for members in slices]).T
    return order, _seconds(frames, times[order[:, 0]])


def _tells_apart(times: np.ndarray, slices: list[np.ndarray]) -> bool:
    return all(
        not np.isnan(times[members]).any() and len(np.unique(times[members])) == len(members)
        for members in slices
    )


def _seconds(frames: Sequence[Frame], times: np.ndarray) -> float | None:
    """Mean step of the first clock that is in milliseconds; the first two entries only count positions."""
    for clock in times.T[2:]:
        if not np.isnan(clock).any() and clock[-1] > clock[0]:
            return float(clock[-1] - clock[0]) / (len(clock) - 1) / 1000
    return frames[0].interval


def _doubled(frames: Sequence[Frame], slices: list[np.ndarray]) -> ImageError:
    worst = max(slices, key=len)
    several = sum(len(members) > 1 for members in slices)
    place = frames[worst[0]].position
    assert place is not None  # noqa: S101 - for mypy: `arrange` has checked
    names = [name for name, _ in frames[0].traits]
    differ = [name for n, name in enumerate(names) if len({frames[i].traits[n][1] for i in worst}) > 1]
    reason = (
        f"they differ in {' and '.join(differ)}" if differ else "nothing in their headers tells them apart"
    )
    return ImageError(
        f"At {several} of {len(slices)} positions there is more than one image (up to {len(worst)}, as at "
        f"{_point(place)}{_files(frames, worst)}), and no time tells them apart; {reason}.",
        "Name a folder with one image per position.",
    )


def _files(frames: Sequence[Frame], numbers: np.ndarray) -> str:
    """Names of the files that frames are in, where these are several."""
    names = list(dict.fromkeys(frames[number].file.name for number in numbers))
    return f": {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}" if len(names) > 1 else ""


def _point(place: np.ndarray) -> str:
    return f"({', '.join(f'{c:.2f}' for c in place)}) mm"


def _distance(frame: Frame, places: np.ndarray, normal: np.ndarray) -> tuple[float, list[str]]:
    """Distance of the slices in mm, which must be even."""
    if len(places) == 1:
        if frame.depth:
            return frame.depth, []
        return 1.0, ["The file does not say how thick its single slice is: 1 mm is assumed."]
    along = (places - places[0]) @ normal
    steps = np.diff(along)
    usual = float(np.median(steps))
    gaps = np.flatnonzero(steps > 1.5 * usual)
    if len(gaps):
        told = "; ".join(
            f"{max(1, round(steps[g] / usual) - 1)} between {_point(places[g])} and {_point(places[g + 1])}"
            for g in gaps[:5]
        )
        more = f"; and {len(gaps) - 5} more gaps" if len(gaps) > 5 else ""
        raise ImageError(
            f"Slices are missing (the others are {usual:.4g} mm apart): {told}{more}.",
            "Fetch the missing files; a stack with gaps has no true geometry.",
        )
    distance = float(along[-1]) / (len(along) - 1)
    off = np.abs(along - distance * np.arange(len(along)))
    if off.max() > max(_UNEVEN * distance, _ROUNDED):
        raise ImageError(
            f"The slices are not evenly spaced: their distances go from {steps.min():.4g} to {steps.max():.4g} "
            f"mm; the one at {_point(places[int(off.argmax())])} is {off.max():.3g} mm off its regular place.",
            "Resample the series on a regular grid, for example in 3D Slicer (acquisition geometry regularization).",
        )
    return distance, []


def _in_plane(frame: Frame, notes: list[str]) -> tuple[float, float]:
    if frame.spacing is None:
        notes.append("The file does not say how large its pixels are: 1 mm is assumed.")
        return 1.0, 1.0
    return frame.spacing


def _check_upright(places: np.ndarray, normal: np.ndarray, pixel: float) -> None:
    """The slices must lie above each other along their normal, as a grid without shear has them."""
    way = places[-1] - places[0]
    drift = float(np.linalg.norm(way - (way @ normal) * normal))
    if drift > _DRIFT * pixel:
        degrees = float(np.degrees(np.arctan2(drift, way @ normal)))
        raise ImageError(
            f"The stack is sheared by {degrees:.2f} degrees (gantry tilt): its last slice lies {drift:.2f} mm "
            "beside the normal of the first.",
            "Straighten it first: 3D Slicer does when it loads it (acquisition geometry regularization), and "
            "dcm2niix on conversion.",
        )
