"""Classification: what an image, each tile of a large one, or each object in it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.ndimage import find_objects

from deepbio.engine.ladder import Ladder, Rung
from deepbio.engine.planning import ladder_for
from deepbio.engine.runtimes import Runtime
from deepbio.engine.statistics import check_finite
from deepbio.engine.steps import apply_steps
from deepbio.errors import CardError, OptionError
from deepbio.events import Listener, Notice, Stage, silent
from deepbio.image import Image, LabelMap, Table
from deepbio.library import ModelCard
from deepbio.options import RunOptions
from deepbio.tasks.class_scores import as_probabilities, countable, in_order, mirrored_axes
from deepbio.tasks.fitted import cut_box, fit_size, middle
from deepbio.tasks.frames import Frame, frame_grid, input_channels, split_frames
from deepbio.tasks.heat import heat_map, mean_map
from deepbio.tasks.measure import measure_objects
from deepbio.tasks.placed import Placed, class_spec, place_frame
from deepbio.tasks.result import Result
from deepbio.tasks.running import Opener, Seconds
from deepbio.tasks.same_grid import check_objects
from deepbio.tasks.worked import coarser_grid

__all__ = ["check_input", "classify", "input_size", "names_of"]

_AT_ONCE = 16  # inputs of a batch
_MARGIN = 1.4  # edge of what is cut out around an object, over its longest extent
_MOST = 0.8  # of an image that is seen, below which people are told
_SMALLEST = 8  # pixels of that edge
_MUCH_LARGER = 8  # than the network's input, where shrinking an image may lose what matters
_OVERLAP = 0.5  # of tiles, where neither user nor card says

Cut = Callable[[int], np.ndarray]


def names_of(card: ModelCard) -> tuple[str, ...]:
    """Names of the classes in the order of the network's scores."""
    classes = card.classes
    count = len(card.output.channels)
    if classes and (not count or len(classes) == count):
        return tuple(classes[number] for number in sorted(classes))
    return card.output.channels


def input_size(card: ModelCard) -> tuple[int, ...]:
    """Size that every image is resampled to: the card's only one, or else that of its tile.

    Raises
    ------
    CardError
        If the card names neither.
    """
    fixed = tuple(axis.size for axis in card.input.spatial)
    told = card.deepbio.get("tile", {}).get("size") or (None,) * card.ndim
    size = tuple(only or given for only, given in zip(fixed, told, strict=True))
    if None in size:
        raise CardError(f"The card '{card.name}' does not say in what size its images come.")
    return tuple(int(n) for n in size if n is not None)


def check_input(image: Image, card: ModelCard, options: RunOptions) -> None:
    """Raise what a run would raise at once, without a look at the pixels.

    Raises
    ------
    InputMismatch
        If the image is not what the model takes.
    """
    split_frames(image, card, options)


def classify(
    image: Image,
    card: ModelCard,
    open_runtime: Opener,
    first: Rung,
    options: RunOptions,
    *,
    objects: LabelMap | None = None,
    listener: Listener = silent,
) -> Result:
    """Classify an image with a model.

    Parameters
    ----------
    image : Image
        Any size: it is resampled to the network's.
    card : ModelCard
        What the network takes and gives.
    open_runtime : callable
        Gives the network on the device and in the precision of a rung.
    first : Rung
        Device, precision and batch to begin with.
    options : RunOptions
        ``classify`` says whether the whole image, its tiles or its objects are classified; ``tile`` is
        the edge of what is cut out for one answer, in pixels of the image.
    objects : LabelMap, optional
        The objects to classify, on the pixels of the image.
    listener : Listener
        Hears frames, tiles and objects; may raise `Cancelled`.

    Returns
    -------
    Result
        ``table``: a row for each image (frame, slice), tile or object, with its class, the probability
        of that class, and one column ``p_...`` for each. Of tiles also ``image``, a map of the
        probabilities with a channel for each class, one pixel for each step of the tiles. Of objects
        also ``labels``, where every object has the number of its class, and ``objects``, as they were given.

    Raises
    ------
    InputMismatch
        If image or objects are not what the model takes.
    OptionError
        If objects are wanted and none are given.
    """
    mode = _settle_mode(options, objects)
    if objects is not None:
        check_objects(image, objects)
    frames = list(split_frames(image, card, options))
    ladder = Ladder(ladder_for(card, first), listener)
    job = _Job(image, card, open_runtime, options, listener, ladder, objects)
    stage = Stage(listener, "frames", len(frames)) if len(frames) > 1 else None
    for frame in frames:
        {"whole": job.whole, "tiles": job.tiles, "objects": job.objects_of}[mode](frame)
        if stage:
            stage.step()
    return job.result(mode)


def _settle_mode(options: RunOptions, objects: LabelMap | None) -> str:
    mode = options.classify
    if mode == "auto":
        return "whole" if objects is None else "objects"
    if mode == "objects" and objects is None:
        raise OptionError(
            "classify=objects needs the objects.",
            "Name a label image, or a model that finds them, with the option 'objects'.",
        )
    if mode != "objects" and objects is not None:
        raise OptionError(
            f"Objects are given, but classify={mode} does not use them.", "Leave one of them out."
        )
    return mode


@dataclass
class _Job:
    """One image and the answers about it."""

    image: Image
    card: ModelCard
    open_runtime: Opener
    options: RunOptions
    listener: Listener
    ladder: Ladder
    objects: LabelMap | None = None
    tables: list[Table] = field(default_factory=list)
    maps: list[np.ndarray] = field(default_factory=list)
    labels: np.ndarray | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: Seconds = field(default_factory=Seconds)
    inputs: int = 0

    def __post_init__(self) -> None:
        self.size, self.names = input_size(self.card), names_of(self.card)
        self.flips = mirrored_axes(self.card, self.options)
        self.spec = class_spec(self.card, self.image.grid, self.listener)
        if self.spec.spacing and self.options.tile:
            raise OptionError(
                f"The model '{self.card.name}' sees pixels of one size and so parts of one size; 'tile' is "
                f"{self.options.tile}.",
                "Leave 'tile' out.",
            )

    # --- what is asked about --------------------------------------------------------------------

    def whole(self, frame: Frame) -> None:
        """One answer about a frame."""
        if self.spec.spacing:
            view = self._placed(frame).view
            self._tell_of_the_rest(view.shape[1:])
            self._tell(frame, self._ask(lambda _: middle(view, self.size), 1, frame), {})
            return
        shape = frame.view.shape[1:]
        ratio = max(n / s for n, s in zip(shape, self.size, strict=True))
        if ratio > _MUCH_LARGER and not self.facts:
            self.listener(
                Notice(
                    f"The image is {ratio:.0f} times as large as what '{self.card.name}' looks at; it is shrunk. "
                    "For an answer about each part of it set classify=tiles."
                )
            )
        probabilities = self._ask(lambda _: np.asarray(frame.view[...]), 1, frame)
        self._tell(frame, probabilities, {})

    def tiles(self, frame: Frame) -> None:
        """An answer about every tile of a frame, and their mean on each step of the tiles."""
        placed = self._placed(frame)
        view = placed.view
        shape = view.shape[1:]
        edge, step = self._tile_and_step(shape)
        counts = [max(1, -(-(n - e) // s) + 1) for n, e, s in zip(shape, edge, step, strict=True)]
        places = list(np.ndindex(*counts))
        starts = np.array(places).reshape(-1, len(shape)) * step

        def cut(number: int) -> np.ndarray:
            return cut_box(view, starts[number].tolist(), edge)

        probabilities = self._ask(cut, len(places), frame)
        grid = frame_grid(self.image, frame)
        middles = starts + (np.array(edge) - 1) / 2
        if placed.placement is not None:
            middles = placed.placement.to_source(middles)
        centres = middles * grid.spacing
        columns = {f"{axis}": centres[:, k] for k, axis in enumerate("zyx"[3 - len(shape) :])}
        self._tell(frame, probabilities, columns, dict.fromkeys(columns, grid.unit))
        self.maps.append(mean_map(probabilities, counts, shape, edge, step))
        self.map_grid = coarser_grid(self.image, placed, self.maps[-1].shape[1:], step)
        self.facts |= {"tile": list(edge), "step": list(step), "tiles": len(places)}

    def objects_of(self, frame: Frame) -> None:
        """An answer about every object of a frame."""
        assert self.objects is not None, "the mode is settled"  # noqa: S101
        labels = np.asarray(self.objects.array[frame.index] if frame.index else self.objects.array[...])
        if self.labels is None:
            kind = np.uint8 if len(self.names) < 256 else np.uint16
            self.labels = np.zeros(self.objects.shape, kind)
        grid = frame_grid(self.image, frame)
        labels, given = countable(labels)
        table = measure_objects(labels, None, grid)
        size = "area" if grid.ndim == 2 else "volume"
        numbers = np.asarray(table["label"], np.int64)
        pixels = np.rint(table[size] / np.prod(grid.spacing))
        kept = np.flatnonzero(pixels >= (self.options.min_size or 0))
        numbers = numbers[kept]
        order, inverse = in_order(labels, numbers)
        boxes = find_objects(order)
        placed = self._placed(frame)

        def cut(number: int) -> np.ndarray:
            return cut_box(placed.view, *self._around(boxes[number], placed))

        probabilities = self._ask(cut, len(numbers), frame)
        classes = np.concatenate(([0], probabilities.argmax(1) + 1)).astype(self.labels.dtype)
        self.labels[frame.index] = classes[order]
        columns = {"label": inverse if given is None else given[inverse - 1]}
        columns |= {
            name: table[name][kept]
            for name in (size, *(f"centroid_{axis}" for axis in "zyx"[3 - grid.ndim :]))
        }
        units = {name: table.units[name] for name in columns if name in table.units}
        self._tell(frame, probabilities, columns, units)

    def _placed(self, frame: Frame) -> Placed:
        """A frame on the grid that the card names, or as it is."""
        return place_frame(frame.view, frame_grid(self.image, frame), self.spec, self.listener)

    def _tell_of_the_rest(self, shape: Sequence[int]) -> None:
        """Say once that a whole image is more than the network sees of it."""
        share = float(np.prod([min(n, s) / n for n, s in zip(shape, self.size, strict=True)]))
        if share < _MOST and not self.facts:
            self.listener(
                Notice(
                    f"'{self.card.name}' sees {' x '.join(map(str, self.size))} pixels of "
                    f"{' x '.join(f'{s:g}' for s in self.spec.spacing if s)} {self.spec.unit}: the middle of the "
                    f"image, {share:.0%} of it. For an answer about each part of it set classify=tiles."
                )
            )

    def _around(self, box: Sequence[slice], placed: Placed) -> tuple[list[int], list[int]]:
        """Start and size of what is cut out around an object: a square in y and x, or what the network sees."""
        if self.spec.spacing:
            at = np.array([[(part.start + part.stop - 1) / 2 for part in box]])
            centre = at[0] if placed.placement is None else placed.placement.to_grid(at)[0]
            return [round(c - (n - 1) / 2) for c, n in zip(centre.tolist(), self.size, strict=True)], list(
                self.size
            )
        extent = [part.stop - part.start for part in box]
        edge = self.options.tile or max(_SMALLEST, round(_MARGIN * max(extent[-2:])))
        size = [*(max(1, round(_MARGIN * n)) for n in extent[:-2]), edge, edge]
        start = [(part.start + part.stop - n) // 2 for part, n in zip(box, size, strict=True)]
        return start, size

    def _tile_and_step(self, shape: Sequence[int]) -> tuple[list[int], list[int]]:
        """Edges of a tile, and the steps from one to the next: a whole part of them."""
        overlap = self.options.overlap
        if overlap is None:
            overlap = self.card.deepbio.get("tile", {}).get("overlap", _OVERLAP)
        wanted = [self.options.tile or n for n in self.size]
        if len(wanted) == 3 and not self.spec.spacing:
            wanted[0] = min(wanted[0], shape[0])
        parts = max(1, round(1 / (1 - overlap)))
        step = [-(-n // parts) for n in wanted]
        return [s * parts for s in step], step

    # --- the network ----------------------------------------------------------------------------

    def _ask(self, cut: Cut, count: int, frame: Frame) -> np.ndarray:
        """Probabilities, float64 of shape (count, classes), for `count` raw pieces of an image."""

        def attempt(rung: Rung) -> np.ndarray:
            runtime = self.open_runtime(rung, self.listener)
            self.facts["runtime"] = runtime
            stage = Stage(self.listener, "predict", count, item=frame.name)
            rows = []
            at_once = self.options.batch or max(rung.batch, min(_AT_ONCE, count))
            for first in range(0, count, at_once):
                numbers = range(first, min(first + at_once, count))
                batch = np.stack([self._ready(cut(number)) for number in numbers])
                rows.append(self._probabilities(runtime, batch))
                stage.step(len(numbers))
            return np.concatenate(rows) if rows else np.zeros((0, len(self.names)))

        with self.seconds.of("predict"):
            found = self.ladder.climb(attempt)
        self.inputs += count
        return found

    def _ready(self, raw: np.ndarray) -> np.ndarray:
        """A raw piece in the network's size, normalised as the card says."""
        if raw.dtype.kind == "f":
            check_finite(raw)
        pixels = np.asarray(raw, np.float32) if self.spec.spacing else fit_size(raw, self.size)
        pixels = apply_steps(pixels, ("channel", *"zyx"[3 - len(self.size) :]), self.card.input.steps)
        return np.broadcast_to(pixels, (input_channels(self.card), *pixels.shape[1:]))

    def _probabilities(self, runtime: Runtime, batch: np.ndarray) -> np.ndarray:
        """The mean over mirror images of what the network says."""
        total = np.zeros((len(batch), len(self.names)))
        for flip in self.flips:
            given: Any = runtime(np.ascontiguousarray(np.flip(batch, flip) if flip else batch))
            scores = np.array(given if isinstance(given, np.ndarray) else given.cpu().numpy(), np.float32)
            scores = scores.reshape(len(batch), -1)
            if scores.shape[1] != len(self.names):
                raise CardError(
                    f"The network of '{self.card.name}' gives {scores.shape[1]} scores; its card names "
                    f"{len(self.names)} classes."
                )
            total += as_probabilities(scores, self.card)
        return total / len(self.flips)

    # --- the answers ----------------------------------------------------------------------------

    def _tell(
        self,
        frame: Frame,
        probabilities: np.ndarray,
        columns: Mapping[str, np.ndarray],
        units: Mapping[str, str] | None = None,
    ) -> None:
        count = len(probabilities)
        best = probabilities.argmax(1)
        rows: dict[str, Any] = {word: np.full(count, at) for word, at in frame.place.items()}
        rows |= columns
        rows["class"] = np.array([self.names[k] for k in best], dtype=str)
        rows["probability"] = probabilities.max(1, initial=0.0)
        rows |= {f"p_{name.replace(' ', '_')}": probabilities[:, k] for k, name in enumerate(self.names)}
        self.tables.append(Table(rows, units or {}))

    def result(self, mode: str) -> Result:
        image = self.image
        labels = heat = None
        if self.labels is not None and self.objects is not None:
            names = dict(enumerate(self.names, start=1))
            labels = LabelMap(self.labels, self.objects.axes, image.grid, names, image.frame_interval)
        if self.maps:
            heat = heat_map(self.image, self.maps, self.map_grid, self.names)
        facts = {"classify": mode, "inputs": self.inputs, "input_size": list(self.size), **self.facts}
        if self.spec.spacing:
            facts["grid"] = self.spec.to_card()
        if len(self.flips) > 1:
            facts["mirror"] = sorted({axis for flip in self.flips for axis in flip})
        facts["seconds"] = self.seconds.told()
        return Result(
            labels=labels,
            table=Table.concatenate(self.tables),
            image=heat,
            objects=self.objects,
            record=facts,
        )
