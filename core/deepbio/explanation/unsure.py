"""``deepbio.uncertainty``: how far a model's answers lie apart when it is asked in several ways."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from deepbio.engine.ladder import Ladder, Rung
from deepbio.engine.planning import first_rung, ladder_for, plan_for
from deepbio.engine.runtimes import Runtime
from deepbio.engine.slabs import predict_slabs
from deepbio.engine.spread import Spread, Variant, entropy_of, variants_for
from deepbio.engine.steps import apply_steps
from deepbio.errors import InputMismatch, OptionError
from deepbio.events import Listener, Notice, Stage, silent
from deepbio.explanation.targets import check_asked, speaks_of_frames
from deepbio.families import family_of
from deepbio.image import Image, LabelMap, Table
from deepbio.library import ModelCard
from deepbio.options import UNCERTAINTY, RunOptions
from deepbio.predict import Model, load_model
from deepbio.tasks import Result
from deepbio.tasks.decoder import decoder_of
from deepbio.tasks.frames import Frame, split_frames
from deepbio.tasks.kept import KeptScores
from deepbio.tasks.placed import spec_for
from deepbio.tasks.running import Opener
from deepbio.tasks.worked import work_on

__all__ = ["METHODS", "uncertainty", "unsure_parts"]

METHODS = tuple(word for word in UNCERTAINTY if word)
_PASSES = 20  # of Monte Carlo dropout
_CHANNELS = ("entropy", "variance")


def uncertainty(
    image: Image | str | Path,
    model: Model | str | Path,
    *,
    method: str = "tta",
    options: RunOptions | None = None,
    on_progress: Listener = silent,
) -> Result:
    """Say how unsure a model is, by pixel, by object or by image.

    Parameters
    ----------
    image : Image or path
        What to analyse.
    model : Model, str or path
        A model that segments, classifies or restores, images or movies.
    method : {"tta", "dropout"}
        Test-time augmentation: the image mirrored (along the axes that the model allows), a little
        brighter, darker, of other contrast and noisier. Monte Carlo dropout: 20 times with other parts
        of the network left out, for networks with dropout layers.
    options : RunOptions, optional
        As for a run.
    on_progress : Listener
        Hears tiles and passes; may raise `Cancelled`.

    Returns
    -------
    Result
        What a run gives, and ``uncertainty`` on the grid of the input: of a segmentation the channels
        ``entropy`` (0 certain, 1 undecided) and ``variance``; of a restored image its standard
        deviation. The table has the column ``uncertainty``, the mean entropy over an object; of a
        classifier, which says one thing of a whole image or of each frame, it has ``entropy`` and ``spread`` (standard
        deviation of the probability), and there is no map but of its tiles.

    Raises
    ------
    OptionError
        If there is no such method.
    InputMismatch
        If the network has no dropout layer, or the task has no uncertainty.

    Examples
    --------
    >>> image = Image(np.random.default_rng(0).integers(0, 255, (48, 40), np.uint8))
    >>> found = uncertainty(image, "heart-lv").uncertainty
    >>> found.channels, found.grid == image.grid
    (('entropy', 'variance'), True)
    """
    if method not in METHODS:
        raise OptionError(f"The method is {method!r}; expected one of {', '.join(METHODS)}.")
    if not isinstance(image, Image):
        from deepbio.io import read

        image = read(image)
    loaded = model if isinstance(model, Model) else load_model(model)
    chosen = (options or RunOptions()).replace(uncertainty=method)
    return loaded.run(image, chosen, on_progress=on_progress)


def unsure_parts(
    image: Image,
    model: Model,
    options: RunOptions,
    result: Result,
    *,
    objects: LabelMap | None = None,
    listener: Listener = silent,
) -> Result:
    """A result with its uncertainty: the map, and columns of the table.

    `result` has the labels that the table's rows are of.
    """
    check_asked(model.card, "", options.uncertainty)
    task = family_of(model.card.task).name
    start = time.perf_counter()
    found: Image | None
    if task == "segment":
        openers = _openers(model, options)
        found = _segmented(image, model, options, openers, listener)
        table = _with_objects(result.table, result.labels, found)
        passes = len(openers)
    else:
        found, table, passes = _repeated(image, model, options, result, objects, listener)
    seconds = round(time.perf_counter() - start, 4)
    facts = {"uncertainty": options.uncertainty, "passes": passes, "seconds_uncertainty": seconds}
    return replace(result, uncertainty=found, table=table, record={**result.record, **facts})


def _openers(model: Model, options: RunOptions) -> list[Opener]:
    """One way to open the network for each time it is asked."""
    if options.uncertainty == "dropout":
        return [_dropping(model, options, seed) for seed in range(_PASSES)]
    open_runtime = model.opener(options)
    return [_varied(open_runtime, variant) for variant in variants_for(_mirror_axes(model.card))]


def _mirror_axes(card: ModelCard) -> tuple[int, ...]:
    """Axes of a tile along which it may be mirrored: as the card says, or as it was trained."""
    if "mirror" in card.deepbio:
        time = int(card.task == "sequence")  # the first axis of a tile
        return tuple(axis + time for axis in card.deepbio["mirror"])
    told = dict(card.deepbio.get("training", {})).get("mirror") or ()
    return tuple(axis for axis in told if isinstance(axis, int)) if isinstance(told, (list, tuple)) else ()


def _varied(open_runtime: Opener, variant: Variant) -> Opener:
    def opened(rung: Rung, listener: Listener) -> Runtime:
        return variant.of(open_runtime(rung, listener))

    return opened


def _dropping(model: Model, options: RunOptions, seed: int) -> Opener:
    from deepbio.engine.runtimes.attribution import ScoreRuntime, dropouts

    module = model.module(options)
    if not dropouts(module):
        raise InputMismatch(
            f"The network of '{model.card.name}' has no dropout layer: nothing of it can be left out.",
            "Use uncertainty=tta, or train a network with dropout.",
        )

    def opened(rung: Rung, listener: Listener) -> Runtime:
        return ScoreRuntime(model.module(options.replace(device=rung.device.name)), rung.device, seed)

    return opened


# --- segmentation: one pass over the tiles, with all answers about each ----------------------------------


def _segmented(
    image: Image, model: Model, options: RunOptions, openers: Sequence[Opener], listener: Listener
) -> Image:
    card = model.card
    probabilities = _probabilities(card, options)
    device = model.device_for(options)
    first = first_rung(card, device, precision="fp32", tile=options.tile, batch=options.batch)
    ladder = Ladder(ladder_for(card, first), listener)
    kept = KeptScores(image, _CHANNELS)
    spec = spec_for(card, image.grid)

    def run(frame: Frame, rung: Rung) -> None:
        worked = work_on(image, frame, card, options, spec)
        runtime = Spread([one(rung, listener) for one in openers], probabilities)
        plan = plan_for(card, worked.source.shape[1:], rung, overlap=options.overlap)
        bands = predict_slabs(worked.source, runtime, plan, listener=listener, item=frame.name)
        for _ in kept.keep(frame, worked.placed, worked.placed.to_input(bands)):
            pass

    for frame in split_frames(image, card, options):
        ladder.climb(partial(run, frame))
    found = kept.image()
    assert found is not None, "an image has at least one frame"  # noqa: S101
    return found


def _probabilities(card: ModelCard, options: RunOptions) -> Callable[[np.ndarray], np.ndarray]:
    """From the network's scores to probabilities of classes."""
    decoder = decoder_of(card, options)
    names = ("batch", "channel", *"zyx"[3 - card.ndim :])
    by_class = decoder is None or decoder.method == "classes"
    squashed = any(step.id in ("sigmoid", "softmax") for step in card.output.steps)

    def classes(scores: np.ndarray) -> np.ndarray:
        ready = apply_steps(scores, names, card.output.steps)
        return ready if squashed else np.asarray(softmax(ready, axis=1))

    def foreground(scores: np.ndarray) -> np.ndarray:
        ready = apply_steps(scores, names, card.output.steps)[:, :1]
        logits = decoder is not None and decoder.logits
        found = np.clip(expit(ready) if logits else ready, 0, 1)
        return np.concatenate((1 - found, found), axis=1)

    return classes if by_class else foreground


def _with_objects(table: Table | None, labels: LabelMap | None, found: Image) -> Table | None:
    """The table with the mean entropy over each row's pixels; NaN where there are none."""
    if table is None or labels is None or "label" not in table.columns:
        return table
    at = found.axes.index("C")
    entropy = np.take(np.asarray(found.array), 0, axis=at)
    rows = len(table)
    frames = table.columns.get("frame", np.ones(rows, int)) if "T" in labels.axes else None
    slices = table.columns.get("slice") if "Z" in labels.axes else None
    values = np.full(rows, np.nan)
    keys = [
        tuple(int(column[n]) - 1 for column in (frames, slices) if column is not None) for n in range(rows)
    ]
    for key in sorted(set(keys)):
        part = np.asarray(labels.array[key] if key else labels.array[...]).ravel()
        chosen = np.array([n for n, one in enumerate(keys) if one == key])
        count = np.bincount(part)
        total = np.bincount(part, np.asarray(entropy[key] if key else entropy, np.float64).ravel())
        ids = np.asarray(table["label"])[chosen].astype(int)
        known = (ids < len(count)) & (count[np.minimum(ids, len(count) - 1)] > 0)
        values[chosen[known]] = total[ids[known]] / count[ids[known]]
    return Table({**table.columns, "uncertainty": values}, dict(table.units))


# --- classifiers, restorers and movies: the whole task, several times --------------------------------------------


def _repeated(
    image: Image,
    model: Model,
    options: RunOptions,
    result: Result,
    objects: LabelMap | None,
    listener: Listener,
) -> tuple[Image | None, Table | None, int]:
    family = family_of(model.card.task)
    openers = _openers(model, options)
    movie = family.name == "sequence" and not speaks_of_frames(model.card)
    wanted = ("scores",) if movie else family.outputs
    plain = options.replace(explain="", uncertainty="", layer="", objects="", output=wanted)
    stage = Stage(listener, "passes", len(openers))
    tables: list[Table] = []
    images = _Moments()
    for opener in openers:
        once = model.run(image, plain, objects=objects, opener=opener)
        if once.table is not None:
            tables.append(once.table)
        pixels = once.scores if movie else once.image
        if pixels is not None:
            images.add(pixels)
        stage.step()
    if movie:  # probabilities of each pixel, smoothed in time as in the answer
        doubt = images.undecided()
        return doubt, _with_objects(result.table, result.labels, doubt), len(openers)
    if family.name == "restore":
        return images.deviation(), result.table, len(openers)
    table = result.table and _with_classes(result.table, tables)
    found = images.entropy()
    if found is None and family.name == "classify":
        listener(Notice("A classifier says one thing of a whole image: its uncertainty is in the table."))
    return found, table, len(openers)


def _with_classes(table: Table, tables: Sequence[Table]) -> Table:
    """Entropy of the mean probabilities, and deviation of the likeliest one, for each row."""
    names = [name for name in table.columns if name.startswith(("p_", "probability_"))]
    if not names or any(len(one) != len(table) for one in tables):
        return table
    told = np.stack([[np.asarray(one[name], float) for name in names] for one in tables])  # pass, class, row
    mean = told.mean(axis=0)
    best = mean.argmax(axis=0)
    spread = told.std(axis=0)[best, np.arange(len(table))]
    return Table({**table.columns, "entropy": entropy_of(mean, 0), "spread": spread}, dict(table.units))


class _Moments:
    """Mean and deviation of images, one at a time (Welford)."""

    def __init__(self) -> None:
        self._first: Image | None = None
        self._count = 0
        self._mean: Any = None
        self._squares: Any = None

    def add(self, image: Image) -> None:
        pixels = image.numpy().astype(np.float32)
        self._count += 1
        if self._first is None:
            self._first, self._mean, self._squares = image, pixels, np.zeros_like(pixels)
            return
        gap = pixels - self._mean
        self._mean += gap / self._count
        self._squares += gap * (pixels - self._mean)

    def deviation(self) -> Image | None:
        if self._first is None:
            return None
        return replace(self._first, array=np.sqrt(self._squares / self._count))

    def undecided(self) -> Image:
        """Entropy of the mean and variance of the likeliest class, of probabilities with axes T, C, ..."""
        assert self._first is not None, "there is at least one pass"  # noqa: S101
        first, variance = self._first, self._squares / self._count
        best = self._mean.argmax(axis=1)[:, np.newaxis]
        likeliest = np.take_along_axis(variance, best, axis=1)[:, 0]
        found = np.stack((entropy_of(self._mean, 1), likeliest), axis=1).astype(np.float32)
        return Image(found, first.axes, first.grid, _CHANNELS, first.frame_interval)

    def entropy(self) -> Image | None:
        """Of probabilities with a channel for each class."""
        if self._first is None or "C" not in self._first.axes:
            return None
        first = self._first
        found = entropy_of(self._mean, first.axes.index("C")).astype(np.float32)
        return Image(found, first.axes.replace("C", ""), first.grid, (), first.frame_interval)
