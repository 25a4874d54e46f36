"""``deepbio.features``: the vectors and maps of one image."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepbio.engine.cells import CellPlan, plan_cells, predict_cells
from deepbio.engine.ladder import Ladder, Rung
from deepbio.engine.planning import first_rung, ladder_for
from deepbio.errors import InputMismatch, OptionError
from deepbio.events import Listener, silent
from deepbio.extraction.layers import choose_layer, sizes_of
from deepbio.extraction.maps import MapsOf
from deepbio.extraction.pooling import POOLS, pool_image, pool_objects
from deepbio.image import Image, LabelMap, Table
from deepbio.options import RunOptions
from deepbio.predict import Model, load_model
from deepbio.tasks import Result
from deepbio.tasks.frames import Frame, FrameSource, split_frames
from deepbio.tasks.placed import spec_for
from deepbio.tasks.storage import allocate
from deepbio.tasks.worked import Worked, work_on

if TYPE_CHECKING:
    from deepbio.engine.runtimes.inside import Layer

__all__ = ["feature_names", "features"]

_OVERLAP = 0.25  # of tiles: features near the edge of a tile see mirrored pixels


def features(
    image: Image | str | Path,
    model: Model | str | Path,
    *,
    layer: str = "auto",
    pool: str = "mean",
    objects: LabelMap | Model | str | None = None,
    maps: bool = False,
    options: RunOptions | None = None,
    on_progress: Listener = silent,
) -> Result:
    """Describe an image, or each object in it, by what a layer of a network gives.

    Parameters
    ----------
    image : Image or path
        Any size: it is read in tiles. Frames, and slices for a 2D model, have rows of their own.
    model : Model, str or path
        A classifier, a segmentation U-Net, an autoencoder (its code), ...: any with a network of ours.
    layer : str
        A layer's name (:func:`~deepbio.extraction.list_layers`); ``"auto"`` is the code of an
        autoencoder, the last stage of a classifier, the deepest stage of a U-Net's encoder; for
        objects the deepest stage whose cells are at most half as wide as their median.
    pool : {"mean", "max", "mean,max"}
        How the cells of the maps become one vector.
    objects : LabelMap, Model or str, optional
        A vector for each object instead: labels on the image's grid, or a model that finds them.
    maps : bool
        Return the feature maps as well, on their own coarser grid.
    options : RunOptions, optional
        Device, tile, channel, per_slice.
    on_progress : Listener
        Hears tiles; may raise `Cancelled`.

    Returns
    -------
    Result
        ``features`` (columns ``mean_0``, ... ; before them ``frame``, ``slice`` and ``label`` where
        there are several, with the centre of an object in pixels), ``maps`` (one channel for each
        feature) where asked for, ``labels`` where a model found them.

    Raises
    ------
    OptionError
        If there is no such layer or way of pooling.
    CardError
        If the network cannot be looked into.
    InputMismatch
        If the image is not what the model takes, or the labels are not on its grid.

    Examples
    --------
    >>> image = Image(np.random.default_rng(0).integers(0, 255, (90, 70), np.uint8))
    >>> result = features(image, "heart-lv", layer="encoder.2")
    >>> result.record["layer"], result.features["mean_0"].shape
    ('encoder.2', (1,))
    """
    pools = _pools(pool)
    options = options or RunOptions()
    picture = _read(image)
    loaded = model if isinstance(model, Model) else load_model(model)
    start = time.perf_counter()
    labels = _labels(picture, objects, options, on_progress)
    job = _Job(picture, loaded, layer, pools, labels, options, maps, on_progress)
    for frame in split_frames(picture, loaded.card, options):
        job.run(frame)
    record = {**job.record(), "seconds_total": round(time.perf_counter() - start, 4)}
    found = labels if objects is not None and not isinstance(objects, LabelMap) else None
    return Result(
        labels=found,
        features=Table.concatenate(job.tables) if job.tables else None,
        maps=job.maps.image() if maps else None,
        record=record,
    )


def feature_names(table: Table) -> list[str]:
    """Names of the columns that hold features.

    Examples
    --------
    >>> feature_names(Table({"label": [1], "mean_0": [0.5], "max_11": [2.0]}))
    ['mean_0', 'max_11']
    """
    names = (name.partition("_") for name in table.columns)
    return ["_".join((pool, number)) for pool, _, number in names if pool in POOLS and number.isdigit()]


def _pools(pool: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word.strip() for word in pool.split(",") if word.strip()))
    if not words or set(words) - set(POOLS):
        raise OptionError(f"The way of pooling is {pool!r}; expected {', '.join(POOLS)}, or both.")
    return words


def _read(image: Image | str | Path) -> Image:
    if isinstance(image, Image):
        return image
    from deepbio.io import read

    return read(image)


def _labels(
    image: Image, objects: LabelMap | Model | str | None, options: RunOptions, listener: Listener
) -> LabelMap | None:
    """The objects that are to be described."""
    if objects is None:
        return None
    if isinstance(objects, LabelMap):
        if objects.grid.shape != image.grid.shape or objects.axes != image.axes.replace("C", ""):
            raise InputMismatch(
                f"The labels have axes {objects.axes} and shape {objects.shape}, the image has {image.axes} "
                f"and {image.shape}.",
                "Give labels of this very image.",
            )
        return objects
    finder = objects if isinstance(objects, Model) else load_model(objects)
    found = finder.run(image, options.replace(output=("labels",)), on_progress=listener).labels
    if found is None:
        raise InputMismatch(f"The model '{finder.card.name}' finds no objects.", "Name one that segments.")
    return found


@dataclass
class _Job:
    """One image on its way through a layer."""

    image: Image
    model: Model
    wanted: str
    pools: tuple[str, ...]
    labels: LabelMap | None
    options: RunOptions
    keep: bool
    listener: Listener
    tables: list[Table] = field(default_factory=list)

    def __post_init__(self) -> None:
        card, device = self.model.card, self.model.device_for(self.options)
        largest = None if self.labels is None else _median_width(self.labels) / 2
        self.layer: Layer = choose_layer(self.model.module(self.options), card, self.wanted, largest)
        self.spec = spec_for(card, self.image.grid)
        first = first_rung(card, device, precision="fp32", tile=self.options.tile, batch=1)
        self.ladder = Ladder(ladder_for(card, first), self.listener)
        self.maps = MapsOf(self.image, self.layer.name)
        if not self.layer.stride and (self.labels is not None or self.keep):
            raise OptionError(
                f"The layer {self.layer.name!r} gives one vector for a whole image: it has no maps, and no "
                "vectors of objects.",
                "Choose a layer with a stride: 'deepbio models show NAME --layers' lists them.",
            )

    def run(self, frame: Frame) -> None:
        """Describe one frame."""
        parts = self.labels is not None
        worked = work_on(self.image, frame, self.model.card, self.options, self.spec, parts=parts)
        cells, plan = self.ladder.climb(lambda rung: self._attempt(worked.source, rung, frame.name))
        self.tables.append(self._table(frame, worked, cells, plan))
        if self.keep:
            self.maps.add(frame, worked, cells, plan)

    def _attempt(self, source: FrameSource, rung: Rung, item: str) -> tuple[np.ndarray, CellPlan]:
        from deepbio.engine.runtimes.inside import LayerRuntime

        module = self.model.module(self.options.replace(device=rung.device.name))
        runtime = LayerRuntime(module, self.layer, rung.device)
        plan = self._plan(source.shape[1:], rung.tile)
        cells = predict_cells(
            source,
            runtime,
            plan,
            out=lambda shape: allocate(shape, np.float32),
            listener=self.listener,
            item=item,
        )
        return cells, plan

    def _plan(self, shape: tuple[int, ...], tile: tuple[int, ...]) -> CellPlan:
        sizes = sizes_of(self.model.card)
        if self.layer.stride:
            return plan_cells(shape, tile=tile, stride=self.layer.stride, overlap=_OVERLAP, sizes=sizes)
        # a vector stands for the whole tile
        tile = plan_cells(shape, tile=tile, stride=(1,) * len(shape), sizes=sizes).tile
        return plan_cells(shape, tile=tile, stride=tile, overlap=0.0, sizes=[(t, 0) for t in tile])

    def _table(self, frame: Frame, worked: Worked, cells: np.ndarray, plan: CellPlan) -> Table:
        columns: dict[str, Any] = {}
        if self.labels is not None:
            own = np.asarray(self.labels.array[frame.index] if frame.index else self.labels.array[...])
            labels = worked.labels(own)
            parts = {pool: pool_objects(cells, labels, plan.stride, pool) for pool in self.pools}
            columns |= _centres(own, next(iter(parts.values()))[0])
            vectors = {pool: found for pool, (_, found) in parts.items()}
        else:
            vectors = {pool: pool_image(cells, plan.cover(), pool)[np.newaxis] for pool in self.pools}
        count = len(next(iter(vectors.values())))
        first = {word: at + 1 for word, at in (("frame", frame.t), ("slice", frame.z)) if at is not None}
        placed_at = {word: np.full(count, at) for word, at in first.items()}
        named = {f"{pool}_{k}": found[:, k] for pool, found in vectors.items() for k in range(found.shape[1])}
        return Table({**placed_at, **columns, **named})

    def record(self) -> dict[str, Any]:
        """How the features came about."""
        from deepbio import __version__

        return {
            **self.model.describe(),
            "layer": self.layer.name,
            "features": self.layer.features,
            "stride": list(self.layer.stride),
            "pool": list(self.pools),
            "device": self.ladder.first.device.name,
            "tile": list(self.ladder.first.tile),
            "deepbio": __version__,
        }


def _centres(labels: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Label and centre in pixels of each object, for those who look them up in the image."""
    inside = np.nonzero(labels)
    count = np.bincount(labels[inside], minlength=1)
    names = "zyx"[3 - labels.ndim :]
    columns = {"label": ids}
    for name, index in zip(names, inside, strict=True):
        total = np.bincount(labels[inside], index, minlength=1)
        columns[f"centre_{name}"] = total[ids] / count[ids]
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
