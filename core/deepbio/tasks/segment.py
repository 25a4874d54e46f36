"""Segmentation: scores become labels, frame by frame, on the grid of the input."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from deepbio.engine.ladder import Ladder, Rung
from deepbio.engine.mirroring import Mirrored
from deepbio.engine.planning import ladder_for, plan_for
from deepbio.engine.runtimes import Runtime
from deepbio.engine.slabs import Source, predict_pieces, predict_slabs
from deepbio.engine.steps import Normaliser, apply_output_steps, needs_whole
from deepbio.engine.tiling import TilePlan
from deepbio.events import Listener, Notice, Stage, silent
from deepbio.image import Image, LabelMap, Table
from deepbio.library import ModelCard
from deepbio.library.card import Step
from deepbio.options import RunOptions
from deepbio.tasks.decoder import Decoder, decoder_of
from deepbio.tasks.frames import Frame, FrameSource, View, frame_grid, split_frames, stack_of
from deepbio.tasks.guided import GuidedSource, guided
from deepbio.tasks.kept import KeptScores
from deepbio.tasks.link import link_objects
from deepbio.tasks.measure import measure_objects
from deepbio.tasks.opened import Stacks, open_frame
from deepbio.tasks.placed import Placed, spec_for
from deepbio.tasks.result import Result
from deepbio.tasks.running import Opener, Seconds, mirror_axes
from deepbio.tasks.sizes import Window, WindowSource
from deepbio.tasks.sizing import Sizing
from deepbio.tasks.stars3d import candidate_bands
from deepbio.tasks.stitch import label_bands
from deepbio.tasks.storage import allocate
from deepbio.tasks.three_planes import predict_planes, stack_card
from deepbio.tasks.track import check_followed, followed

__all__ = ["check_input", "segment"]

Bands = Iterator[tuple[int, int, Any]]


def check_input(image: Image, card: ModelCard, options: RunOptions) -> None:
    """Raise what a run would raise at once, without a look at the pixels.

    Raises
    ------
    InputMismatch
        If the image is not what the model takes.
    """
    if options.track:
        check_followed(image, card)
    if options.do_3d:
        card = stack_card(card, image, options)
    split_frames(image, card, options)
    spec_for(card, image.grid)
    mirror_axes(card, options)


def segment(
    image: Image,
    card: ModelCard,
    open_runtime: Opener,
    first: Rung,
    options: RunOptions,
    *,
    guide: LabelMap | None = None,
    listener: Listener = silent,
) -> Result:
    """Segment an image with a model.

    Parameters
    ----------
    image : Image
        Any size; its pixels are read part by part.
    card : ModelCard
        What the network takes and gives.
    open_runtime : callable
        Gives the network on the device and in the precision of a rung.
    first : Rung
        Device, precision, tile and batch to begin with.
    options : RunOptions
        What the user asked for.
    guide : LabelMap, optional
        Of a cascade, what its first stage found in the same image.
    listener : Listener
        Hears tiles, frames and notices; may raise `Cancelled`.

    Returns
    -------
    Result
        ``labels`` (objects are numbered from 1 in each frame; slices of one stack go on counting, or
        with `link_slices` share the labels of objects that go through them), ``table`` (a row for each
        object, or each class, of a frame or slice; of linked slices, for each object of the stack),
        ``scores``.
    """
    if options.track:
        return followed(
            image,
            card,
            options,
            lambda how: segment(image, card, open_runtime, first, how, listener=listener),
        )
    flat = card
    if options.do_3d:
        card = stack_card(card, image, options)
    frames = list(split_frames(image, card, options))
    decoder = decoder_of(card, options)
    sizing = Sizing(card, image, frames, spec_for(card, image.grid, listener), listener)
    ladder = Ladder(ladder_for(flat, first), listener)
    mirror = mirror_axes(card, options)
    found = None if guide is None else guide.array
    job = _Job(image, card, flat, open_runtime, options, decoder, listener, sizing, ladder, mirror, found)
    if decoder is None and "labels" in options.output:
        listener(
            Notice(
                f"The card of '{card.name}' does not say how its scores become labels; scores are returned.",
                "warning",
            )
        )
    if sizing.measures(decoder, options):
        job.measure_sizes()
    whole = Stage(listener, "frames", len(frames)) if len(frames) > 1 else None
    for frame in frames:
        job.run(frame)
        if whole:
            whole.step()
    return job.result()


@dataclass
class _Job:
    """One image on its way through a network."""

    image: Image
    card: ModelCard
    flat: ModelCard  # of the network itself, where `card` is that of stacks
    open_runtime: Opener
    options: RunOptions
    decoder: Decoder | None
    listener: Listener
    sizing: Sizing
    ladder: Ladder
    mirror: tuple[int, ...] = ()
    guide: Any = None  # labels of a cascade's first stage, with the axes of the image but C
    seconds: Seconds = field(default_factory=Seconds)
    facts: dict[str, Any] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    labels: Any = None
    counted: tuple[int | None, int] = (None, 0)
    found: int | None = None  # objects of the only frame, where they were found while they were measured
    normalisers: dict[tuple[int, ...], Normaliser] = field(default_factory=dict)
    stacks: Stacks = field(default_factory=dict)
    looked: tuple[tuple[int, ...], FrameSource | GuidedSource] | None = None  # the last frame looked at

    def __post_init__(self) -> None:
        self.kept = KeptScores(self.image, self.card.output.channels)
        is_float = Step("ensure_dtype", {"dtype": "float32"})  # which scores are anyhow
        self.steps = tuple(step for step in self.card.output.steps if step != is_float)

    def measure_sizes(self) -> None:
        """Find objects without a zoom, and zoom for all frames where they are not what the card says."""
        if self.sizing.whole:
            frame = self.sizing.frames[0]
            self.found = self._find(frame)
            estimate = self.sizing.of_whole(self._labels_of(frame))
        else:
            before = self.seconds["open"]
            with self.seconds.of("sizes"):
                estimate = self.sizing.sample(self._look)
            self.seconds.add("sizes", before - self.seconds["open"])
        self.looked = None
        if self.sizing.settle(estimate):
            self.found = None

    def _look(self, frame: Frame, window: Window) -> np.ndarray:
        """Labels of a window on the working grid."""
        if self.looked is None or self.looked[0] != frame.index:
            self.looked = frame.index, self._source(frame)[1]
        source = self.looked[1]
        self.normalisers[frame.index] = source.normalise
        window = window.within(source.shape[1:])
        piece, labels = WindowSource(source, window), np.zeros(window.shape, np.int32)
        decoder = self.decoder
        assert decoder is not None  # noqa: S101 - for the type checker

        def attempt(rung: Rung) -> int:
            bands = self._predict(piece, self._opened(rung), rung, "sizes")[1]
            return label_bands(self._processed(bands), decoder, labels)

        self.ladder.climb(attempt)
        return labels

    def _source(self, frame: Frame) -> tuple[Placed, FrameSource | GuidedSource]:
        """A frame on the working grid, normalised by its own pixels whatever the zoom."""
        spec = self.sizing.spec
        normalise = self.normalisers.get(frame.index)
        # of such grids the statistics are those of the image's own pixels
        raw = spec.interpolation == "linear" and spec.spacing != ()
        if normalise is None and (spec.zoom != 1 or raw):
            plain = replace(spec, zoom=1.0, spacing=() if raw else spec.spacing)
            normalise = open_frame(self.image, frame, self.card, plain, listener=self.listener)[1].normalise
        placed, source = open_frame(
            self.image,
            frame,
            self.card,
            spec,
            normalise=normalise,
            stacks=self.stacks,
            listener=self.listener,
        )
        placed = replace(placed, min_size=self.options.min_size)
        if self.guide is None:
            return placed, source
        return placed, guided(source, placed, np.asarray(self.guide[frame.index]))

    def run(self, frame: Frame) -> None:
        """Segment one frame."""
        count = self._find(frame) if self.found is None else self.found
        if self.decoder is not None:
            with self.seconds.of("instances"):
                self._number(frame, count)
            measured = self._measured(frame)
            if measured is not None and "table" in self.options.output:
                with self.seconds.of("measure"):
                    self.tables.append(self._measure(measured))

    def _find(self, frame: Frame) -> int:
        """Write the labels of a frame, by numbers of its own; return how many there are."""
        with self.seconds.of("prepare"):
            placed, source = self._source(frame)
        return self.ladder.climb(lambda rung: self._attempt(frame, placed, source, rung))

    def _opened(self, rung: Rung) -> Runtime:
        """The network on a rung, averaged over mirror images where that was asked for."""
        with self.seconds.of("open"):
            runtime = self.open_runtime(rung, self.listener)
        offsets = self.decoder.offsets(self.flat.ndim) if self.decoder is not None else {}
        return Mirrored(runtime, self.mirror, offsets) if self.mirror else runtime

    def _attempt(self, frame: Frame, placed: Placed, source: Source, rung: Rung) -> int:
        runtime = self._opened(rung)
        plan, predicted = self._predict(source, runtime, rung, frame.name)
        self.facts = {
            "tile": list(plan.tile),
            "tiles": plan.count,
            "batch": rung.batch,
            "overlap": plan.overlap,
            **placed.facts(),
        }
        if self.mirror:
            self.facts["mirror"] = list(self.mirror)
        self.facts["runtime"] = runtime
        if self.options.do_3d:
            self.facts["do_3d"] = True
        bands = self._watched(predicted)
        with self.seconds.of("instances"):
            count = self._decide(frame, placed, self._processed(bands))
        self.seconds.add("instances", -self.facts.pop("inside", 0.0))
        return count

    def _predict(self, source: Source, runtime: Runtime, rung: Rung, item: str) -> tuple[TilePlan, Bands]:
        """Tiles, and bands of scores; of a stack in slices along three axes the tiles of the first."""
        shape, flat = tuple(source.shape[1:]), self.flat
        plan = plan_for(flat, shape[len(shape) - flat.ndim :], rung, overlap=self.options.overlap)
        if self._needs_candidates_only(plan):
            assert self.decoder is not None  # noqa: S101 - for the type checker
            pieces = predict_pieces(source, runtime, plan, listener=self.listener, item=item)
            return plan, candidate_bands(pieces, self.decoder, shape)
        if not self.options.do_3d:
            return plan, predict_slabs(source, runtime, plan, listener=self.listener, item=item)
        overlap = self.options.overlap
        planes = predict_planes(
            source, flat, runtime, rung, overlap=overlap, listener=self.listener, item=item
        )
        return plan, planes

    def _needs_candidates_only(self, plan: TilePlan) -> bool:
        """Whether no more is needed of scores than where objects may be: of stars in 3D all would be too many."""
        stars = self.decoder is not None and bool(self.decoder.rays)
        return stars and plan.blend == "nearest" and "scores" not in self.options.output and not self.steps

    def _decide(self, frame: Frame, placed: Placed, bands: Bands) -> int:
        """Write labels and keep scores, as far as they are wanted; return how many there are."""

        def keep(bands: Iterable[tuple[int, int, np.ndarray]]) -> Bands:
            return self.kept.keep(frame, placed, bands)

        if self.decoder is None:
            for _ in keep(placed.to_input(bands)):
                pass
            return 0
        out = placed.inside(self._labels_of(frame))
        if "scores" in self.options.output:
            return placed.label_and_keep(
                bands, self.decoder, out, keep, listener=self.listener, item=frame.name
            )
        return placed.label(bands, self.decoder, out, listener=self.listener, item=frame.name)

    def _watched(self, bands: Bands) -> Bands:
        """Add up the time that the network takes: it runs while labels wait for the next band."""
        inside = 0.0
        while True:
            start = time.perf_counter()
            band = next(bands, None)
            spent = time.perf_counter() - start
            inside += spent
            self.seconds.add("predict", spent)
            self.facts["inside"] = inside
            if band is None:
                return
            yield band

    def _processed(self, bands: Bands) -> Bands:
        """Apply the card's post-processing, on the whole where it needs statistics."""
        steps = self.steps
        if not steps:
            yield from bands
        elif needs_whole(steps):
            parts = list(bands)
            scores = apply_output_steps(np.concatenate([part for _, _, part in parts], axis=1), steps)
            yield 0, scores.shape[1], scores
        else:
            for start, stop, part in bands:
                yield start, stop, apply_output_steps(part, steps)

    def _axes(self) -> str:
        return self.image.axes.replace("C", "")

    def _labels_of(self, frame: Frame) -> Any:
        if self.labels is None:
            shape = tuple(self.image.size(axis) for axis in self._axes())
            self.labels = allocate(shape, self._label_type())
        return self.labels[frame.index] if frame.index else self.labels

    def _label_type(self) -> type:
        if self.decoder is None or self.decoder.instances:
            return np.int32
        spec = self.card.output
        classes = spec.axis("channel").size if "channel" in spec.axis_ids else 1
        last = max(self.decoder.regions, default=(classes or 2**16) - 1)
        return np.uint8 if last < 256 else np.uint16

    @property
    def _link(self) -> float | None:
        """From which overlap on objects are followed through slices; classes have one label there anyhow."""
        return self.options.link_slices if self.decoder is not None and self.decoder.instances else None

    def _number(self, frame: Frame, count: int) -> None:
        """Go on counting through the slices of a stack, so that one number is one object; or link them."""
        before = self.counted[1] if frame.z is not None and self.counted[0] == (frame.t or 0) else 0
        if frame.z and self._link is not None:
            out, above = self._labels_of(frame), self.labels[(*frame.index[:-1], frame.z - 1)]
            out[...], total = link_objects(above, out, self._link, before)
            self.counted = (frame.t or 0, total)
            return
        if before and self.decoder is not None and self.decoder.instances:
            out = self._labels_of(frame)
            out[out > 0] += before
        self.counted = (frame.t or 0, before + count)

    def _measured(self, frame: Frame) -> Frame | None:
        """What is measured after a frame: itself, or with linked slices the stack that it completes."""
        if self._link is None:
            return frame
        return stack_of(self.image, frame) if frame.z == self.image.size("Z") - 1 else None

    def _measure(self, frame: Frame) -> Table:
        named: list[int | None] = list(range(self.image.size("C"))) if "C" in self.image.axes else [None]
        fixed = {axis: at for axis, at in (("T", frame.t), ("Z", frame.z)) if at is not None}
        grid = frame_grid(self.image, frame)
        names = self.image.channels or tuple(f"channel_{i + 1}" for i in range(len(named)))
        table = measure_objects(self._labels_of(frame), View(self.image, named, fixed), grid, channels=names)
        placed = {word: np.full(len(table), at) for word, at in frame.place.items()}
        if self.decoder is not None and not self.decoder.instances and self.card.classes:
            told = [self.card.classes.get(int(label), "") for label in table["label"]]
            placed["name"] = np.array(told, dtype=str)
        return Table({**placed, **table.columns}, table.units)

    def result(self) -> Result:
        image, decoder = self.image, self.decoder
        labels = None
        if decoder is not None and "labels" in self.options.output:
            names = {} if decoder.instances else self.card.classes
            labels = LabelMap(self.labels, self._axes(), image.grid, names, image.frame_interval)
        table = Table.concatenate(self.tables) if self.tables else None
        record = {
            **self.facts,
            **self.sizing.facts,
            "seconds": self.seconds.told(),
        }
        if self._link is not None:
            record["link_slices"] = self._link
        return Result(labels=labels, table=table, scores=self.kept.image(), record=record)
