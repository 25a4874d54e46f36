"""``deepbio.features``: the vectors and maps of one image."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from deepbio.errors import InputMismatch, OptionError
from deepbio.events import Listener, silent
from deepbio.extraction.job import Job, MovieJob, Wanted
from deepbio.extraction.layers import is_movie
from deepbio.extraction.made import MadeJob
from deepbio.extraction.pooling import POOLS
from deepbio.image import Image, LabelMap, Table
from deepbio.options import RunOptions
from deepbio.predict import Model, load_model
from deepbio.tasks import Result

__all__ = ["feature_names", "features"]


def features(
    image: Image | str | Path | None,
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
    image : Image, path or None
        Any size: it is read in tiles. Frames, and slices for a 2D model, have rows of their own. For a
        generator of masks the mask; None where a generator needs none.
    model : Model, str or path
        A classifier, a segmentation U-Net, an autoencoder (its code), a model of movies, a generator, ...:
        any with a network of ours.
    layer : str
        A layer's name (:func:`~deepbio.extraction.list_layers`); ``"auto"`` is the code of an
        autoencoder, the last stage of a classifier, all stages of a U-Net's encoder together
        (``"encoder.*"``, each brought to length 1); for objects the deepest stage whose cells are at
        most half as wide as their median, for maps the deepest.
    pool : str
        How the cells of the maps become one vector: ``"mean"``, ``"max"`` or ``"std"``, or several with
        commas.
    objects : LabelMap, Model or str, optional
        A vector for each object instead: labels on the image's grid, or a model that finds them.
    maps : bool
        Return the feature maps as well, on their own coarser grid.
    options : RunOptions, optional
        Device, tile, channel, per_slice; ``pool_frames`` for one row of all frames; what a generator
        makes.
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
    wanted = Wanted(layer, _pools(pool), maps, options or RunOptions())
    picture = _read(image)
    loaded = model if isinstance(model, Model) else load_model(model)
    start = time.perf_counter()
    job = _job_for(picture, loaded, wanted, objects, on_progress)
    job.run()
    record = {**job.record(), "seconds_total": round(time.perf_counter() - start, 4)}
    table = Table.concatenate(job.tables) if job.tables else None
    return Result(
        labels=job.labels if isinstance(job, Job) and not isinstance(objects, LabelMap) else None,
        features=over_frames(table) if table is not None and wanted.options.pool_frames else table,
        maps=job.made_maps() if maps else None,
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
        raise OptionError(
            f"The way of pooling is {pool!r}; expected {', '.join(POOLS)}, or several with commas."
        )
    return words


def over_frames(table: Table) -> Table:
    """Rows of the same slice and object through all frames as one: means of means, maxima of maxima.

    Standard deviations are those of all frames together.

    Raises
    ------
    OptionError
        If there is no such row: the image has no frames, or the layer tells of whole movies.
    """
    if "frame" not in table.columns:
        raise OptionError("There are no frames to pool over.", "Leave 'pool_frames' out.")
    keys = [name for name in ("slice", "label") if name in table.columns]
    rows = np.stack([table[name] for name in keys], axis=1) if keys else np.zeros((len(table), 1))
    groups, which = np.unique(rows, axis=0, return_inverse=True)
    count = np.bincount(which.ravel())
    columns = {name: groups[:, k].astype(table[name].dtype) for k, name in enumerate(keys)}

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(which.ravel(), values.astype(np.float64)) / count

    for name, values in table.columns.items():
        if name in ("frame", *keys):
            continue
        pool, _, number = name.partition("_")
        if pool == "max":
            pooled = np.full(len(groups), -np.inf)
            np.maximum.at(pooled, which.ravel(), values)
        elif pool == "std" and f"mean_{number}" in table.columns:
            middle = table[f"mean_{number}"].astype(np.float64)
            spread = middle - mean(middle)[which.ravel()]
            pooled = np.sqrt(mean(values.astype(np.float64) ** 2) + mean(spread**2))
        else:
            pooled = mean(values)
        columns[name] = pooled.astype(values.dtype if values.dtype.kind == "f" else np.float64)
    return Table(columns)


def _read(image: Image | str | Path | None) -> Image | None:
    if image is None or isinstance(image, Image):
        return image
    from deepbio.io import read

    return read(image)


def _job_for(
    image: Image | None,
    model: Model,
    wanted: Wanted,
    objects: LabelMap | Model | str | None,
    listener: Listener,
) -> Job | MadeJob:
    """The work that a kind of model asks for: on an image, a movie, or on what a generator makes."""
    if model.card.task == "generate" and model.card.deepbio["generator"]["kind"] != "cycle":
        if objects is not None:
            raise OptionError("Objects are described in images; a generator has none.", "Leave them out.")
        return MadeJob(image, model, wanted, listener)
    if image is None:
        raise InputMismatch(f"The model '{model.card.name}' needs an image; found none.", "Name one.")
    labels = _labels(image, objects, wanted.options, listener)
    kind = MovieJob if is_movie(model.card) else Job
    return kind(image, model, wanted, labels, listener)


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
