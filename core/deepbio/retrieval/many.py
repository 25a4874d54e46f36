"""Features of many images as one table that says where each row is from."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepbio.errors import DeepBioError, ImageError, InputMismatch
from deepbio.events import Listener, Stage, silent
from deepbio.extraction import features
from deepbio.image import Image, LabelMap, Table
from deepbio.inputs import Input
from deepbio.io import read, read_labels
from deepbio.object_files import labels_of
from deepbio.options import RunOptions
from deepbio.predict import Model
from deepbio.tasks import Result

__all__ = ["Asked", "Described", "ObjectsOf", "describe_images"]


class ObjectsOf:
    """The objects of each image: found by a model, or in label images.

    Parameters
    ----------
    source : Model, str or Path
        A model; or label images, in the words of :func:`deepbio.object_files.labels_of`.
    """

    def __init__(self, source: Model | str | Path) -> None:
        self._source = source

    def of(self, image: Path) -> LabelMap | Model:
        """What :func:`deepbio.features` takes as its objects.

        Raises
        ------
        ImageError
            If there are no labels for the image.
        """
        if isinstance(self._source, Model):
            return self._source
        return read_labels(labels_of(str(self._source), image))


@dataclass(frozen=True)
class Asked:
    """What is asked of each image; as for :func:`deepbio.features`.

    Attributes
    ----------
    layer, pool : str
        Which layer, and how its maps become a vector.
    objects : ObjectsOf or None
        Describe objects instead of images.
    options : RunOptions or None
        Device, tile, channel, per_slice.
    """

    layer: str = "auto"
    pool: str = "mean"
    objects: ObjectsOf | None = None
    options: RunOptions | None = None


@dataclass(frozen=True)
class Described:
    """What became of one image.

    Attributes
    ----------
    image : Input
        Which.
    seconds : float
        Wall time of reading and computing.
    rows : int
        How many vectors it gave.
    error : DeepBioError or None
        Why it could not be described.
    """

    image: Input
    seconds: float
    rows: int = 0
    error: DeepBioError | None = None


def describe_images(
    model: Model,
    inputs: Sequence[Input],
    asked: Asked | None = None,
    *,
    keep: Callable[[Input, Result], None] | None = None,
    on_file: Callable[[Described], None] | None = None,
    on_progress: Listener = silent,
) -> Table:
    """Features of many images.

    Parameters
    ----------
    model : Model
        Whose features they are.
    inputs : sequence of Input
        From :func:`deepbio.inputs.find_inputs`.
    asked : Asked, optional
        Layer, pooling, objects, options.
    keep : callable, optional
        Is given each result, to keep its maps; they are computed then.
    on_file : callable, optional
        Is told what became of each image; one that cannot be described is then left out. Without it
        the error is raised.
    on_progress : Listener
        Hears the stage ``"files"``; may raise `Cancelled`.

    Returns
    -------
    Table
        The columns ``file``, ``model``, ``version``, ``weights`` and ``layer``, then those of
        :func:`deepbio.features`. Rows of images with frames and of images without go together.

    Raises
    ------
    ImageError
        If no image could be described, or there is no object.
    """
    asked = asked or Asked()
    tables: list[tuple[Table, Table]] = []
    stage = Stage(on_progress, "files", len(inputs))
    for one in inputs:
        start, error = time.perf_counter(), None
        try:
            image = read(one.source, lazy=True, series=one.series)
            tables.append(_described(image, one, model, asked, keep))
            if len(tables[-1][0]):
                asked = replace(asked, layer=str(tables[-1][0]["layer"][0]))  # one for all
        except (ImageError, InputMismatch) as caught:
            if on_file is None:
                raise
            error = caught
        if on_file is not None:
            count = 0 if error is not None else len(tables[-1][0])
            on_file(Described(one, round(time.perf_counter() - start, 3), count, error))
        stage.step()
    return _stacked(tables)


def _described(
    image: Image, one: Input, model: Model, asked: Asked, keep: Callable[[Input, Result], None] | None
) -> tuple[Table, Table]:
    result = features(
        image,
        model,
        layer=asked.layer,
        pool=asked.pool,
        objects=None if asked.objects is None else asked.objects.of(one.path),
        maps=keep is not None,
        options=asked.options,
    )
    if keep is not None:
        keep(one, result)
    assert result.features is not None, "features() gives a table"  # noqa: S101
    facts = result.record
    told = {
        "file": str(one),
        "model": facts["model"],
        "version": facts["model_version"],
        "weights": facts["weights_sha256"][:12],
        "layer": facts["layer"],
    }
    count = len(result.features)
    return Table({name: np.full(count, value) for name, value in told.items()}), result.features


def _stacked(tables: Sequence[tuple[Table, Table]]) -> Table:
    """All rows under the columns that any of them has; what an image has not is 0 (no frame, no slice)."""
    rows = [(origin, found) for origin, found in tables if len(found)]
    if not rows:
        raise ImageError(
            "There is nothing to describe: no image could be read, or none has an object.",
            "The warnings above say why.",
        )
    names = list(
        dict.fromkeys(name for _, found in rows for name in ("frame", "slice") if name in found.columns)
    )
    parts = []
    for origin, found in rows:
        placed = {name: found.columns.get(name, np.zeros(len(found), int)) for name in names}
        rest = {name: values for name, values in found.columns.items() if name not in names}
        parts.append(Table({**origin.columns, **placed, **rest}))
    return Table.concatenate(parts)
