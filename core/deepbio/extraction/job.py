"""One image on its way through the layers of a network, frame by frame or as movies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from deepbio.engine.cells import CellPlan, plan_cells, predict_cells
from deepbio.engine.ladder import Ladder, Rung
from deepbio.engine.planning import first_rung, ladder_for
from deepbio.errors import OptionError
from deepbio.events import Listener
from deepbio.extraction.layers import choose_layer, sizes_of
from deepbio.extraction.maps import MapsOf
from deepbio.extraction.pooling import pool_image, pool_objects, unit
from deepbio.image import Image, LabelMap, Table
from deepbio.library import ModelCard
from deepbio.options import RunOptions
from deepbio.predict import Model
from deepbio.tasks.frames import Frame, split_frames
from deepbio.tasks.placed import spec_for
from deepbio.tasks.sequence import Movie, carries, following_of, movies_of
from deepbio.tasks.storage import allocate
from deepbio.tasks.worked import Worked, work_on

if TYPE_CHECKING:
    from deepbio.engine.runtimes.layers import Layer

__all__ = ["Job", "MovieJob", "Wanted", "layer_plan", "named_vectors", "record_of"]

_OVERLAP = 0.25  # of tiles: features near the edge of a tile see mirrored pixels

Cells = list[tuple[np.ndarray, CellPlan]]
"""Maps of each layer, and where they are."""


@dataclass(frozen=True)
class Wanted:
    """What a user wants of a network's inside.

    Attributes
    ----------
    layer : str
        The layer that was asked for.
    pools : tuple of str
        How maps become vectors.
    maps : bool
        Whether the maps are kept.
    options : RunOptions
        How the network is run.
    """

    layer: str
    pools: tuple[str, ...]
    maps: bool
    options: RunOptions


@dataclass
class Job:
    """One image on its way through one or several layers.

    Attributes
    ----------
    image, model
        What is described, and by what.
    wanted : Wanted
        Which layer, and what of it.
    labels : LabelMap or None
        The objects to describe.
    listener : Listener
        Hears tiles and notices; may raise `Cancelled`.
    tables : list of Table
        Rows, in the order of the frames.
    """

    image: Image
    model: Model
    wanted: Wanted
    labels: LabelMap | None
    listener: Listener
    tables: list[Table] = field(default_factory=list)

    def __post_init__(self) -> None:
        card, device = self.model.card, self.model.device_for(self.wanted.options)
        largest = None if self.labels is None else _median_width(self.labels) / 2
        module = self.model.module(self.wanted.options)
        self.layer: Layer = choose_layer(module, card, self.wanted.layer, largest, maps=self.wanted.maps)
        self.spec = spec_for(card, self.image.grid)
        first = first_rung(card, device, precision="fp32", tile=self.wanted.options.tile, batch=1)
        self.ladder = Ladder(ladder_for(card, first), self.listener)
        self.maps = MapsOf(self.image, self.layer.name)
        if self.wanted.maps and self.layer.parts:
            raise OptionError(
                f"The layers {self.layer.name!r} have maps of different sizes.", "Name one of them for maps."
            )
        if not self.layer.stride and not self.layer.parts and (self.labels is not None or self.wanted.maps):
            raise OptionError(
                f"The layer {self.layer.name!r} gives one vector for a whole image: it has no maps, and no "
                "vectors of objects.",
                "Choose a layer with a stride: 'deepbio models show NAME --layers' lists them.",
            )

    def run(self) -> None:
        """Describe all frames."""
        for frame in split_frames(self.image, self.model.card, self.wanted.options):
            worked = self._worked(frame)
            self._add(frame, worked, self.ladder.climb(partial(self._cells, worked, frame.name)))

    def made_maps(self) -> Image:
        """The maps of all frames, on the grid of their cells."""
        return self.maps.image()

    def record(self) -> dict[str, Any]:
        """How the features came about."""
        return record_of(self.model, self.layer, self.wanted.pools, self.ladder.first)

    @property
    def _layers(self) -> tuple[Layer, ...]:
        return self.layer.parts or (self.layer,)

    def _worked(self, frame: Frame) -> Worked:
        parts = self.labels is not None
        return work_on(self.image, frame, self.model.card, self.wanted.options, self.spec, parts=parts)

    def _cells(self, worked: Worked, item: str, rung: Rung) -> Cells:
        from deepbio.engine.runtimes.inside import LayerRuntime

        module = self.model.module(self.wanted.options.replace(device=rung.device.name))
        runtime = LayerRuntime(module, self.layer, rung.device)
        found: Cells = []
        for layer in self._layers:
            plan = layer_plan(self.model.card, layer, worked.source.shape[1:], rung.tile)
            cells = predict_cells(
                worked.source, runtime.of(layer), plan, out=_allocated, listener=self.listener, item=item
            )
            found.append((cells, plan))
        return found

    def _add(self, frame: Frame, worked: Worked, found: Cells) -> None:
        self.tables.append(self._table(frame, worked, found))
        if self.wanted.maps:
            self.maps.add(frame, worked, *found[0])

    def _table(self, frame: Frame, worked: Worked, found: Cells) -> Table:
        columns: dict[str, Any] = {}
        if self.labels is not None:
            own = np.asarray(self.labels.array[frame.index] if frame.index else self.labels.array[...])
            labels = worked.labels(own)
            pooled = [
                {pool: pool_objects(cells, labels, plan.stride, pool) for pool in self.wanted.pools}
                for cells, plan in found
            ]
            columns |= _centres(own, next(iter(pooled[0].values()))[0])
            vectors = [{pool: rows for pool, (_, rows) in one.items()} for one in pooled]
        else:
            vectors = [
                {pool: pool_image(cells, plan.cover(), pool)[np.newaxis] for pool in self.wanted.pools}
                for cells, plan in found
            ]
        named = named_vectors(vectors, self.wanted.pools)
        count = len(next(iter(named.values())))
        first = {word: at + 1 for word, at in (("frame", frame.t), ("slice", frame.z)) if at is not None}
        placed_at = {word: np.full(count, at) for word, at in first.items()}
        return Table({**placed_at, **columns, **named})


class MovieJob(Job):
    """One movie on its way through a layer of a network that follows frames.

    A network that looks back only goes on from window to window, as it does in a run, where its tile is
    the whole frame; else windows overlap in time as tiles do in space, and each gives the frames nearest
    to its middle.
    """

    def run(self) -> None:
        """Describe all frames of all slices."""
        for frames in movies_of(self.image, self.model.card, self.wanted.options):
            worked = [self._worked(frame) for frame in frames]
            movie = Movie([one.source for one in worked])
            found = self.ladder.climb(partial(self._cells_of, movie, frames[0].name))
            if not self.layer.frames:  # one vector of each window, of all frames
                cells, plan = found[0]
                whole = replace(frames[0], t=None)
                self.tables.append(self._table(whole, worked[0], [(cells, plan)]))
                continue
            for t, (frame, one) in enumerate(zip(frames, worked, strict=True)):
                self._add(frame, one, [(cells[:, t], _of_frame(plan)) for cells, plan in found])

    def _cells_of(self, movie: Movie, item: str, rung: Rung) -> Cells:
        """Maps ``(F, T, *cells)`` of each layer."""
        from deepbio.engine.runtimes.inside import MovieLayerRuntime

        card = self.model.card
        following = following_of(card)
        shape = movie.shape[1:]
        tile = rung.tile if following.kind == "segment" else shape[1:]  # classes are of whole frames
        carry = carries(card, shape[1:], tile)
        module = self.model.module(self.wanted.options.replace(device=rung.device.name))
        runtime = MovieLayerRuntime(module, self.layer, rung.device, carry=carry)
        if not carry:
            plans = [self._windows(shape, tile, layer, following.frames) for layer in self._layers]
            return [
                (predict_cells(movie, runtime.of(layer), plan, out=_allocated, listener=self.listener, item=item), plan)
                for layer, plan in zip(self._layers, plans, strict=True)
            ]  # fmt: skip
        parts: list[Cells] = []
        for start in range(0, shape[0], following.frames):
            part = movie.part(start, min(start + following.frames, shape[0]))
            plans = [self._windows(part.shape[1:], tile, layer, part.shape[1]) for layer in self._layers]
            parts.append(
                [
                    (predict_cells(part, runtime.of(layer), plan, listener=self.listener, item=item), plan)
                    for layer, plan in zip(self._layers, plans, strict=True)
                ]
            )
        joined = [np.concatenate([part[n][0] for part in parts], axis=1) for n in range(len(self._layers))]
        return [(cells, parts[0][n][1]) for n, cells in enumerate(joined)]

    def _windows(self, shape: tuple[int, ...], tile: tuple[int, ...], layer: Layer, frames: int) -> CellPlan:
        if not layer.frames:
            size = (frames, *shape[1:])
            return plan_cells(shape, tile=size, stride=size, overlap=0.0, sizes=[(n, 0) for n in size])
        kind = following_of(self.model.card).kind
        space = sizes_of(self.model.card) if kind == "segment" else [(1, 1)] * len(tile)
        if layer.stride:
            sizes = [(frames, 0), *space]
            stride = (1, *layer.stride)
            return plan_cells(shape, tile=(frames, *tile), stride=stride, overlap=_OVERLAP, sizes=sizes)
        plan = plan_cells(shape[1:], tile=tile, stride=(1,) * len(tile), sizes=space)
        sizes = [(frames, 0), *((n, 0) for n in plan.tile)]
        stride = (1, *plan.tile)
        return plan_cells(shape, tile=(frames, *plan.tile), stride=stride, overlap=_OVERLAP, sizes=sizes)


def layer_plan(card: ModelCard, layer: Layer, shape: Sequence[int], tile: Sequence[int]) -> CellPlan:
    """Tiles of an image of a shape for a layer; one that gives a vector has a vector for each tile."""
    sizes = sizes_of(card)
    if layer.stride:
        return plan_cells(shape, tile=tile, stride=layer.stride, overlap=_OVERLAP, sizes=sizes)
    tile = plan_cells(shape, tile=tile, stride=(1,) * len(shape), sizes=sizes).tile
    return plan_cells(shape, tile=tile, stride=tile, overlap=0.0, sizes=[(t, 0) for t in tile])


def named_vectors(vectors: Sequence[dict[str, np.ndarray]], pools: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of the vectors (n, F) of one or several layers, numbered through.

    Examples
    --------
    >>> one, two = {"mean": np.float32([[1, 2]])}, {"mean": np.float32([[5]])}
    >>> list(named_vectors([one], ["mean"])), named_vectors([one, two], ["mean"])["mean_2"].tolist()
    (['mean_0', 'mean_1'], [1.0])
    """
    named: dict[str, np.ndarray] = {}
    for pool in pools:
        parts = [one[pool] for one in vectors]
        if len(parts) > 1:  # or the layer with the largest numbers would decide
            parts = [unit(part) for part in parts]
        rows = np.concatenate(parts, axis=1)
        named |= {f"{pool}_{k}": rows[:, k] for k in range(rows.shape[1])}
    return named


def record_of(model: Model, layer: Layer, pools: Sequence[str], rung: Rung) -> dict[str, Any]:
    """What is told of features: model, layer, and how they were computed."""
    from deepbio import __version__

    return {
        **model.describe(),
        "layer": layer.name,
        "features": layer.features,
        "stride": list(layer.stride),
        "pool": list(pools),
        "device": rung.device.name,
        "tile": list(rung.tile),
        "deepbio": __version__,
    }


def _allocated(shape: tuple[int, ...]) -> Any:
    return allocate(shape, np.float32)


def _of_frame(plan: CellPlan) -> CellPlan:
    """The plan of each frame of a movie."""
    return CellPlan(plan.shape[1:], plan.tile[1:], plan.stride[1:], plan.starts[1:], plan.bounds[1:])


def _centres(labels: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Label and centre in pixels of each object, for those who look them up in the image."""
    inside = np.nonzero(labels)
    numbers, which = np.unique(labels[inside], return_inverse=True)
    rows = np.searchsorted(numbers, ids)  # of the objects that still have a pixel on the working grid
    count = np.bincount(which, minlength=1)
    names = "zyx"[3 - labels.ndim :]
    columns = {"label": ids}
    for name, index in zip(names, inside, strict=True):
        total = np.bincount(which, index, minlength=1)
        columns[f"centre_{name}"] = total[rows] / count[rows]
    return columns


def _median_width(labels: LabelMap) -> float:
    """Median width of the objects (of the first frame) in pixels: of discs or balls of their size."""
    ndim = labels.grid.ndim
    first = np.asarray(labels.array[0] if "T" in labels.axes else labels.array[...])
    ids, sizes = np.unique(first, return_counts=True)
    sizes = sizes[ids > 0]
    if not sizes.size:
        return math.inf
    factor = (4 if ndim == 2 else 6) / math.pi
    return float(np.median(factor * sizes) ** (1 / ndim))
