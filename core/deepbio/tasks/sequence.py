"""Sequences: frames in their order become labels through time and their curve, or classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepbio.engine.ladder import Ladder, Rung
from deepbio.engine.planning import ladder_for
from deepbio.engine.runtimes import Runtime
from deepbio.engine.slabs import predict_slabs
from deepbio.engine.spread import Varied
from deepbio.engine.tiling import TilePlan, plan_tiles
from deepbio.errors import CardError, InputMismatch
from deepbio.events import Listener, Stage, silent
from deepbio.image import Image, LabelMap, Table
from deepbio.library import ModelCard
from deepbio.library.following import Following, check_sequence
from deepbio.options import RunOptions
from deepbio.tasks.carry import Carrier, can_carry
from deepbio.tasks.curve import volume_curve
from deepbio.tasks.decoder import Decoder
from deepbio.tasks.frames import Frame, FrameSource, frame_grid, split_frames
from deepbio.tasks.kept import KeptScores
from deepbio.tasks.placed import Placed, place_frame, spec_for
from deepbio.tasks.result import Result
from deepbio.tasks.running import Opener, Seconds
from deepbio.tasks.storage import allocate
from deepbio.tasks.temporal import steadied

__all__ = [
    "Movie",
    "carries",
    "check_input",
    "following_of",
    "movies_of",
    "plan_windows",
    "sequence",
]

_OVERLAP = 0.125


def following_of(card: ModelCard) -> Following:
    """How the network of a card goes through frames.

    Raises
    ------
    CardError
        If the card's entries cannot be understood.
    """
    return check_sequence(card.deepbio.get("sequence", {}))


def check_input(image: Image, card: ModelCard, options: RunOptions) -> None:
    """Raise what a run would raise at once, without a look at the pixels.

    Raises
    ------
    InputMismatch
        If the image has no frames, or is otherwise not what the model takes.
    CardError
        If the card's entries cannot be understood.
    """
    following_of(card)
    if image.size("T") < 2:
        raise InputMismatch(
            f"The model '{card.name}' follows frames through time; the image has {image.size('T')} frame "
            f"(axes {image.axes}).",
            "Give it a movie: at least 2 frames. If the file has one, its axes may be told wrongly (Z for T).",
        )
    split_frames(image, card, options)
    spec_for(card, image.grid)


def sequence(
    image: Image,
    card: ModelCard,
    open_runtime: Opener,
    first: Rung,
    options: RunOptions,
    *,
    listener: Listener = silent,
) -> Result:
    """Run a model of sequences.

    Parameters
    ----------
    image : Image
        With an axis T; stacks are done slice by slice.
    card : ModelCard
        What the network takes and gives.
    open_runtime : callable
        Gives the network on the device and in the precision of a rung.
    first : Rung
        Device, precision, tile and batch to begin with.
    options : RunOptions
        What the user asked for.
    listener : Listener
        Hears windows and notices; may raise `Cancelled`.

    Returns
    -------
    Result
        Of a segmentation ``labels`` with axis T and ``table``, the curve of each class; else ``table``, a row
        for each frame or slice.

    Raises
    ------
    InputMismatch
        If the image has no frames, or is otherwise not what the model takes.
    """
    movies = movies_of(image, card, options)
    following = following_of(card)
    ladder = Ladder(ladder_for(card, first), listener)
    job = _Job(image, card, open_runtime, options, following, listener, ladder)
    stage = Stage(listener, "slices", len(movies)) if len(movies) > 1 else None
    for frames in movies:
        job.run(frames)
        if stage:
            stage.step()
    return job.result()


def movies_of(image: Image, card: ModelCard, options: RunOptions) -> list[list[Frame]]:
    """The frames of an image, slice by slice through time.

    Raises
    ------
    InputMismatch
        If the image has no frames, or is otherwise not what the model takes.
    """
    check_input(image, card, options)
    movies: dict[int | None, list[Frame]] = {}
    for frame in split_frames(image, card, options):
        movies.setdefault(frame.z, []).append(frame)
    return list(movies.values())


def carries(card: ModelCard, size: Sequence[int], tile: Sequence[int]) -> bool:
    """Whether the network goes through frames of a size from first to last, remembering all."""
    known = following_of(card)
    whole = all(n <= t for n, t in zip(size, tile, strict=True))
    return known.kind != "per-sequence" and not known.bidirectional and whole and can_carry(card)


def plan_windows(
    card: ModelCard, shape: Sequence[int], tile: Sequence[int], overlap: float | None = None
) -> TilePlan:
    """Windows of a movie of a shape (T, y, x): cut in space into tiles, but for classes of whole frames."""
    following = following_of(card)
    segments = following.kind == "segment"
    axes = card.input.spatial if segments else ()
    return plan_tiles(
        shape,
        tile=(following.frames, *(tile if segments else shape[1:])),
        overlap=overlap if overlap is not None else _OVERLAP,
        batch=1,
        multiple_of=[1, *(axis.step or 1 for axis in axes)] if segments else [1] * len(shape),
        minimum=[1, *(axis.minimum for axis in axes)] if segments else [1] * len(shape),
        fixed=[following.frames, *(axis.size for axis in axes)]
        if segments
        else [following.frames, *shape[1:]],
    )


@dataclass
class _Job:
    """One image on its way through a network."""

    image: Image
    card: ModelCard
    open_runtime: Opener
    options: RunOptions
    following: Following
    listener: Listener
    ladder: Ladder
    seconds: Seconds = field(default_factory=Seconds)
    facts: dict[str, Any] = field(default_factory=dict)
    labels: Any = None
    rows: list[Table] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kept = KeptScores(self.image, self.card.output.channels)

    def run(self, frames: list[Frame]) -> None:
        """One slice through time."""
        spec = spec_for(self.card, self.image.grid, self.listener if not self.facts else silent)
        placed = [place_frame(one.view, frame_grid(self.image, one), spec, self.listener) for one in frames]
        movie = Movie([FrameSource(one.view, self.card) for one in placed])
        with self.seconds.of("predict"):
            scores = self.ladder.climb(lambda rung: self._scores(movie, rung, frames[0]))
        known = self.following
        probability = steadied(scores, smooth=known.smooth, harmonics=known.harmonics, cyclic=known.cyclic)
        if self.following.kind == "segment":
            for t, (frame, place) in enumerate(zip(frames, placed, strict=True)):
                self._write(frame, place, probability[:, t])
        else:
            self._tell(frames[0], probability)

    def _scores(self, movie: Movie, rung: Rung, first: Frame) -> np.ndarray:
        runtime = self.open_runtime(rung, self.listener)
        self.facts["runtime"] = runtime
        if carries(self.card, movie.shape[2:], rung.tile):
            return self._carried(movie, rung, runtime)
        if self.following.kind == "segment":
            return self._windows(movie, runtime, rung, first)
        return _answers(movie, runtime, self.following)

    def _carried(self, movie: Movie, rung: Rung, runtime: Runtime) -> np.ndarray:
        """Scores, shape (K, T, y, x) or (K, T), window after window with the state handed on."""
        length, size = movie.shape[1], self.following.frames
        ask: Callable[[np.ndarray], np.ndarray] = Carrier(self.card, rung.device).scores
        if isinstance(runtime, Varied):
            ask = runtime.around(ask)
        self.facts |= {"window": size, "carried": True}
        stage = Stage(self.listener, "predict", length)
        parts = []
        for start in range(0, length, size):
            stop = min(start + size, length)
            parts.append(ask(movie.read((start, 0, 0), (stop, *movie.shape[2:]))))
            stage.step(stop - start)
        return np.concatenate(parts, axis=1)

    def _windows(self, movie: Movie, runtime: Runtime, rung: Rung, first: Frame) -> np.ndarray:
        """Scores of all frames, shape (K, T, y, x): time is cut into windows as space into tiles."""
        plan = plan_windows(self.card, movie.shape[1:], rung.tile, self.options.overlap)
        self.facts |= {"window": plan.tile[0], "tile": list(plan.tile[1:]), "tiles": plan.count}
        name = "" if first.z is None else f"slice {first.z + 1}"
        whole: np.ndarray | None = None
        for start, stop, part in predict_slabs(movie, runtime, plan, listener=self.listener, item=name):
            if whole is None:
                whole = allocate((part.shape[0], *plan.shape), np.float32)
            whole[:, start:stop] = part
        assert whole is not None, "a plan has at least one tile"  # noqa: S101
        return whole

    def _write(self, frame: Frame, placed: Placed, probability: np.ndarray) -> None:
        decoder = Decoder.from_card(self.card.deepbio.get("decode", {"method": "classes"}))
        if decoder.instances:
            raise CardError(
                f"The card of '{self.card.name}' decodes objects; a model of sequences gives classes."
            )
        if self.labels is None:
            shape = tuple(self.image.size(axis) for axis in self._axes)
            self.labels = allocate(shape, np.uint8)
        placed.label(
            iter([(0, probability.shape[1], probability)]), decoder, placed.inside(self.labels[frame.index])
        )
        if "scores" in self.options.output:
            bands = placed.to_input(iter([(0, probability.shape[1], probability)]))
            for _ in self.kept.keep(frame, placed, bands):
                pass

    @property
    def _axes(self) -> str:
        return self.image.axes.replace("C", "")

    def _tell(self, frame: Frame, probability: np.ndarray) -> None:
        """Rows of one slice, from probabilities of shape (K, T) or (K, 1)."""
        names = [str(name) for name in self.card.output.channels]
        count = probability.shape[1]
        columns: dict[str, np.ndarray] = {}
        if frame.z is not None:
            columns["slice"] = np.full(count, frame.z + 1)
        units = {}
        if self.following.kind == "per-frame":
            columns["frame"] = np.arange(count) + 1
            if self.image.frame_interval:
                columns["time"], units["time"] = np.arange(count) * self.image.frame_interval, "s"
        columns["class"] = np.array(names)[probability.argmax(0)]
        columns |= {f"probability_{name}": row for name, row in zip(names, probability, strict=True)}
        self.rows.append(Table(columns, units))

    def result(self) -> Result:
        record = {**self.facts, "seconds": self.seconds.told()}
        if self.rows:
            return Result(table=Table.concatenate(self.rows), record=record)
        image, names = self.image, self._names()
        labels = LabelMap(self.labels, self._axes, image.grid, names, image.frame_interval)
        table = volume_curve(labels, names, heart=self.following.ejection)
        wanted = self.options.output
        return Result(
            labels=labels if "labels" in wanted else None,
            table=table if "table" in wanted else None,
            scores=self.kept.image(),
            record=record,
        )

    def _names(self) -> Mapping[int, str]:
        told = self.card.output.channels
        return self.card.classes or {i: told[i] for i in range(1, len(told))}


class Movie:
    """Frames as one source of shape (C, T, y, x), normalised frame by frame."""

    def __init__(self, frames: list[FrameSource]) -> None:
        self._frames = frames
        self.shape = (frames[0].shape[0], len(frames), *frames[0].shape[1:])

    def read(self, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
        """Normalised pixels, float32, shape (C, *(stop - start))."""
        parts = [self._frames[t].read(start[1:], stop[1:]) for t in range(start[0], stop[0])]
        return np.stack(parts, axis=1)

    def part(self, start: int, stop: int) -> Movie:
        """The frames from `start` up to `stop`."""
        return Movie(self._frames[start:stop])


def _answers(movie: Movie, runtime: Runtime, following: Following) -> np.ndarray:
    """Scores of a classifier, shape (K, T) or (K, 1): the means over windows."""
    length, size = movie.shape[1], following.frames
    pixels = movie.read((0, 0, 0), movie.shape[1:])
    if length < size:  # the last frame stays; of a net that looks back only, nothing changes
        pixels = np.concatenate((pixels, np.repeat(pixels[:, -1:], size - length, axis=1)), axis=1)
    last = pixels.shape[1] - size
    starts = [*range(0, last, size), last]
    total, counts = np.zeros(0), np.zeros(pixels.shape[1])
    for start in starts:
        scores = np.array(runtime(np.ascontiguousarray(pixels[None, :, start : start + size])))[0]
        if following.kind == "per-sequence":
            total = scores if not total.size else total + scores
            continue
        if not total.size:
            total = np.zeros((len(scores), pixels.shape[1]), np.float32)
        total[:, start : start + size] += scores
        counts[start : start + size] += 1
    if following.kind == "per-sequence":
        return (total / len(starts))[:, None]
    return (total / counts)[:, :length]
