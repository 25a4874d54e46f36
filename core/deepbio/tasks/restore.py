"""Restoration: an image becomes a better image, in its own units, on its own or a finer grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from deepbio.engine.ladder import Ladder, Rung
from deepbio.engine.mirroring import Mirrored
from deepbio.engine.planning import ladder_for, plan_for
from deepbio.engine.slabs import predict_slabs
from deepbio.engine.steps import Normaliser, apply_output_steps
from deepbio.events import Listener, Stage, silent
from deepbio.image import Grid, Image
from deepbio.library import ModelCard
from deepbio.library.restoration import Restoration
from deepbio.options import RunOptions
from deepbio.tasks.finer import Folded, finer_grid, unfold_pixels
from deepbio.tasks.frames import Frame, FrameSource, input_channels, split_frames
from deepbio.tasks.result import Result
from deepbio.tasks.running import Opener, Seconds, mirror_axes
from deepbio.tasks.storage import allocate

__all__ = ["Denormaliser", "check_input", "restore"]

_STEP = 2.0**20  # between the two values that tell what a normalisation does


class Denormaliser:
    """Brings normalised values back to the intensities of the image.

    The steps of a restorer's card are linear for each channel (`Restoration` sees to it), so two values
    tell what they do.

    Parameters
    ----------
    normalise : Normaliser
        What was done to the image.
    channels, ndim : int
        Channels and spatial axes of the blocks.

    Examples
    --------
    >>> from deepbio.engine.steps import prepare
    >>> from deepbio.library.card import Step
    >>> image = np.array([[[30000, 30010, 30020]]], np.uint16)
    >>> normalise = prepare(image, ("channel", "y", "x"), [Step("zero_mean_unit_variance")])
    >>> Denormaliser(normalise, 1, 2)(normalise(image)).round(2).tolist()
    [[[30000.0, 30010.0, 30020.0]]]
    """

    def __init__(self, normalise: Normaliser, channels: int, ndim: int) -> None:
        shape = (channels, *(1,) * ndim)

        def at(value: np.ndarray | float) -> np.ndarray:
            block = np.broadcast_to(np.asarray(value, np.float32), shape)
            return normalise(np.ascontiguousarray(block)).astype(np.float64)

        zero = at(0.0)
        step = np.full(shape, _STEP)
        for _ in range(2):  # again with a step that fits the image's own contrast
            scale = (at(step) - zero) / step.astype(np.float32)
            scale = np.where(scale == 0, 1.0, scale)
            step = np.maximum(np.abs(zero), 1.0) / np.abs(scale)
        # normalised = scale * raw + zero
        self._scale = (1 / scale).astype(np.float32)
        self._offset = (-zero / scale).astype(np.float32)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Intensities; `values` (C, [z,] y, x) are overwritten."""
        values *= self._scale
        values += self._offset
        return values


def check_input(image: Image, card: ModelCard, options: RunOptions) -> None:
    """Raise what a run would raise at once, without a look at the pixels.

    Raises
    ------
    InputMismatch
        If the image is not what the model takes.
    """
    for _ in _parts(image, card, options):
        pass
    mirror_axes(card, options)


def restore(
    image: Image,
    card: ModelCard,
    open_runtime: Opener,
    first: Rung,
    options: RunOptions,
    *,
    listener: Listener = silent,
) -> Result:
    """Restore an image with a model.

    A model of one channel restores every channel of an image (or the one that ``channel`` names), a 2D
    model every slice of a stack, and every model each frame of a movie, each for itself.

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
    listener : Listener
        Hears tiles and frames; may raise `Cancelled`.

    Returns
    -------
    Result
        ``image``: float32, in the intensity units of the input, neither rounded nor cut off; on its
        grid, or on one that is finer by the model's factor and covers the same place.
    """
    rule = Restoration.from_card(card)
    parts = list(_parts(image, card, options))
    ladder = Ladder(ladder_for(card, first), listener)
    job = _Job(image, card, open_runtime, options, listener, rule, ladder, mirror_axes(card, options))
    job.allocate(selected=options.channel not in ("auto", "all"))
    whole = Stage(listener, "frames", len(parts)) if len(parts) > 1 else None
    for part in parts:
        job.run(part)
        if whole:
            whole.step()
    return job.result()


@dataclass(frozen=True)
class _Part:
    """One frame of one channel (or of all, where the network takes all): what is restored at once."""

    frame: Frame
    channel: int | None


def _parts(image: Image, card: ModelCard, options: RunOptions) -> Iterator[_Part]:
    chosen = options.channel not in ("auto", "all")
    if chosen or input_channels(card) > 1 or "C" not in image.axes:
        for frame in split_frames(image, card, options):
            yield _Part(frame, None)
        return
    plain = replace(image, channels=())  # so that numbers are numbers, whatever the channels are called
    for channel in range(image.size("C")):
        for frame in split_frames(plain, card, options.replace(channel=str(channel + 1))):
            named = ", ".join(filter(None, (frame.name, f"channel {channel + 1}")))
            yield _Part(replace(frame, name=named), channel)


@dataclass
class _Job:
    """One image on its way through a network."""

    image: Image
    card: ModelCard
    open_runtime: Opener
    options: RunOptions
    listener: Listener
    rule: Restoration
    ladder: Ladder
    mirror: tuple[int, ...] = ()
    seconds: Seconds = field(default_factory=Seconds)
    facts: dict[str, Any] = field(default_factory=dict)
    axes: str = ""
    grid: Grid = None  # type: ignore[assignment]
    channels: tuple[str, ...] = ()
    out: Any = None

    def allocate(self, *, selected: bool) -> None:
        """Make room for the result, in the axes of the image (without C where one channel was chosen)."""
        image = self.image
        apart = image.grid.ndim - self.card.ndim  # slices keep their place
        self.grid = finer_grid(image.grid, (1,) * apart + self.rule.factor)
        keep = not (selected and "C" in image.axes)
        self.axes = image.axes if keep else image.axes.replace("C", "")
        self.channels = image.channels if keep else ()
        sizes = dict(zip("ZYX"[3 - image.grid.ndim :], self.grid.shape, strict=True))
        self.out = allocate(tuple(sizes.get(a, image.size(a)) for a in self.axes), np.float32)

    def run(self, part: _Part) -> None:
        """Restore one part."""
        with self.seconds.of("prepare"):
            source = FrameSource(part.frame.view, self.card)
            back = Denormaliser(source.normalise, part.frame.view.shape[0], self.card.ndim)
        self.ladder.climb(lambda rung: self._attempt(part, source, back, rung))

    def _attempt(self, part: _Part, source: FrameSource, back: Denormaliser, rung: Rung) -> None:
        with self.seconds.of("open"):
            runtime: Any = self.open_runtime(rung, self.listener)
        plan = plan_for(self.card, source.shape[1:], rung, overlap=self.options.overlap)
        self.facts = {
            "tile": list(plan.tile),
            "tiles": plan.count,
            "batch": rung.batch,
            "overlap": plan.overlap,
            "factor": list(self.rule.factor),
        }
        if self.mirror:
            runtime = Mirrored(runtime, self.mirror)
            self.facts["mirror"] = list(self.mirror)
        self.facts["runtime"] = runtime
        if self.rule.finer:
            runtime = Folded(runtime, self.rule.factor)
        item = part.frame.name
        with self.seconds.of("predict"):
            for low, high, values in predict_slabs(source, runtime, plan, listener=self.listener, item=item):
                self._keep(part, back, low, high, values)

    def _keep(self, part: _Part, back: Denormaliser, low: int, high: int, values: np.ndarray) -> None:
        """Write a band of what the network gave into the result."""
        if self.rule.finer:
            values = unfold_pixels(values, self.rule.factor)
        if self.card.output.steps:
            values = apply_output_steps(values, self.card.output.steps)
        if self.rule.normalised:
            values = back(np.require(values, np.float32, "W"))
        target = self._place(part)
        first = self.rule.factor[0]
        target[:, low * first : high * first] = values

    def _place(self, part: _Part) -> np.ndarray:
        """The part's place in the result, shape (C, [z,] y, x); a view."""
        key: list[Any] = []
        for axis in self.axes:
            at = {"T": part.frame.t, "Z": part.frame.z, "C": part.channel}.get(axis)
            key.append(slice(None) if at is None else at)
        view: np.ndarray = self.out[tuple(key)]
        return view if "C" in self.axes and part.channel is None else view[None]

    def result(self) -> Result:
        image = self.image
        record = {**self.facts, "seconds": self.seconds.told()}
        restored = None
        if "image" in self.options.output or not self.options.output:
            restored = Image(self.out, self.axes, self.grid, self.channels, image.frame_interval)
        return Result(image=restored, record=record)
