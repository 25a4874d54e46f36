"""Generation: images of a class from latents, and images that fit masks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from deepbio.engine.ladder import Ladder, Rung
from deepbio.engine.planning import ladder_for, plan_for
from deepbio.engine.slabs import ArraySource, predict_scores
from deepbio.engine.steps import apply_output_steps
from deepbio.errors import CardError, InputMismatch, OptionError
from deepbio.events import Listener, Stage, silent
from deepbio.image import RGB, Grid, Image, LabelMap, Table
from deepbio.library import ModelCard
from deepbio.options import RunOptions
from deepbio.tasks.conditions import Appearance, make_conditions
from deepbio.tasks.frames import FrameSource, split_frames
from deepbio.tasks.random_masks import MaskStyle, make_mask
from deepbio.tasks.result import Result
from deepbio.tasks.running import Opener

__all__ = ["class_names", "generate", "latents_for", "make_latents", "masks_for", "conditions_for"]

_AT_ONCE = 16
_WHITE = 255
_REGIONS = 3  # regions of one value each, per label: a mask has about one, an image thousands


def make_latents(
    labels: Sequence[int] | np.ndarray, seeds: Sequence[int] | np.ndarray, latent: int, classes: int
) -> np.ndarray:
    """Inputs of a class-conditional generator.

    Returns
    -------
    ndarray of float32, shape (N, latent + classes)
        For each image a latent from its seed, then its class as a 1 among zeros.

    Examples
    --------
    >>> make_latents([2], [7], 3, 4).round(2).tolist()[0][3:]
    [0.0, 0.0, 1.0, 0.0]
    """
    inputs = np.zeros((len(seeds), latent + classes), np.float32)
    for row, label, seed in zip(inputs, labels, seeds, strict=True):
        row[:latent] = np.random.default_rng(int(seed)).standard_normal(latent)
        row[latent + int(label)] = 1
    return inputs


def class_names(card: ModelCard) -> tuple[str, ...]:
    """The classes that a generator makes, in the order of its input."""
    return tuple(name for _, name in sorted(card.classes.items()))


def check_input(image: Image | None, card: ModelCard, options: RunOptions) -> None:
    """Raise what a run would raise at once, without a look at the pixels.

    Raises
    ------
    CardError
        If the card does not say what kind of generator it is.
    InputMismatch
        If an image is given where none is taken, none where one is, or it is no mask by its type.
    OptionError
        If a class is unknown or named for a model without classes.
    """
    said = card.deepbio.get("generator")
    if said is None:
        raise CardError(f"The card of '{card.name}' does not say what kind of generator it is.")
    if said["kind"] == "class":
        if image is not None:
            raise InputMismatch(
                f"The model '{card.name}' makes images from a latent and a class; found an image.",
                "Leave the image out; count, classes and seed say what to make.",
            )
        _chosen_classes(card, class_names(card), options)
        return
    if options.classes:
        raise OptionError(f"The model '{card.name}' has no classes; found {', '.join(options.classes)}.")
    if said["kind"] == "cycle":
        if image is None:
            raise InputMismatch(
                f"The model '{card.name}' translates images; found none.", "Name one or more."
            )
        split_frames(image, card, options)
    elif image is not None:
        _check_type(image, card)


def generate(
    image: Image | None,
    card: ModelCard,
    open_runtime: Opener,
    first: Rung,
    options: RunOptions,
    *,
    listener: Listener = silent,
) -> Result:
    """Make images.

    Parameters
    ----------
    image : Image or None
        For a generator of classes None; for a translator the image to translate. For one of masks the
        mask: whole numbers, 0 = background, each plane of a stack or time-lapse for itself; None
        makes masks too.
    card : ModelCard
        What the network takes and gives.
    open_runtime : callable
        Gives the network on the device and in the precision of a rung.
    first : Rung
        Device, precision, tile and batch to begin with.
    options : RunOptions
        ``count``, ``classes`` and ``seed`` say what to make.
    listener : Listener
        Hears batches; may raise `Cancelled`.

    Returns
    -------
    Result
        ``image`` of bytes. Without an image to begin with the images lie along T, also a single one;
        ``table`` has a row for each (``image`` from 1, ``class``, ``seed``: with its seed and ``count``
        1 an image of a class is made again). Of masks also ``labels``.

    Raises
    ------
    InputMismatch
        If an image is given where none is taken, or is no mask.
    OptionError
        If a class is unknown or named for a model without classes.
    """
    check_input(image, card, options)
    kind = card.deepbio["generator"]["kind"]
    if kind == "class":
        return _of_classes(card, open_runtime, first, options, listener)
    if kind == "cycle" and image is not None:
        return _translated(image, card, open_runtime, first, options, listener)
    return _of_masks(image, card, open_runtime, first, options, listener)


# --- of classes ---------------------------------------------------------------------------------


def _of_classes(
    card: ModelCard, open_runtime: Opener, first: Rung, options: RunOptions, listener: Listener
) -> Result:
    latents, table = latents_for(card, options)
    start = time.perf_counter()
    runtime = open_runtime(first, listener)
    stage = Stage(listener, "images", len(latents))
    made: list[np.ndarray] = []
    for at in range(0, len(latents), _AT_ONCE):
        raw = np.array(runtime(latents[at : at + _AT_ONCE]))
        made.extend(_bytes(_output(one, card)) for one in raw)
        for _ in raw:
            stage.step()
    pixels = np.stack(made)
    facts = {"runtime": runtime, "seconds": {"generate": round(time.perf_counter() - start, 4)}}
    channels = card.output.channels if pixels.shape[1] > 1 else ()
    if pixels.shape[1] == 1:
        image = Image(pixels[:, 0], "TYX")
    else:
        image = Image(pixels, "TCYX", channels=RGB if len(channels) == len(RGB) else channels)
    return _told(options, record=facts, image=image, table=table)


def latents_for(card: ModelCard, options: RunOptions) -> tuple[np.ndarray, Table]:
    """Inputs (N, latent + classes) of the images that are asked for, and what each is.

    Raises
    ------
    CardError
        If the card's numbers do not fit together.
    OptionError
        If a class is unknown.
    """
    names = class_names(card)
    latent = int(card.deepbio["generator"]["latent"])
    if not names or latent + len(names) != len(card.input.channels):
        raise CardError(
            f"The model '{card.name}' takes {len(card.input.channels)} numbers; its card says a latent of "
            f"{latent} and {len(names)} classes."
        )
    chosen = _chosen_classes(card, names, options)
    count = options.count if options.count is not None else len(chosen)
    labels = [names.index(chosen[i % len(chosen)]) for i in range(count)]
    seeds = np.arange(options.seed, options.seed + count)
    table = Table(
        {
            "image": np.arange(1, count + 1),
            "class": np.array([names[label] for label in labels]),
            "seed": seeds,
        }
    )
    return make_latents(labels, seeds, latent, len(names)), table


def _chosen_classes(card: ModelCard, names: tuple[str, ...], options: RunOptions) -> list[str]:
    lowered = {name.lower(): name for name in names}
    unknown = [name for name in options.classes if name.lower() not in lowered]
    if unknown:
        raise OptionError(
            f"The model '{card.name}' has no class {unknown[0]!r}.", f"It makes: {', '.join(names)}."
        )
    return [lowered[name.lower()] for name in options.classes] or list(names)


def _output(scores: np.ndarray, card: ModelCard) -> np.ndarray:
    """What a network gave for one image, (C, y, x), after the card's post-processing."""
    return np.asarray(apply_output_steps(scores, card.output.steps))


def _bytes(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.round(pixels), 0, _WHITE).astype(np.uint8)


def _told(options: RunOptions, **parts: Any) -> Result:
    """Only what was asked for; a table or labels are there for the asking."""
    kept = {name: part for name, part in parts.items() if name == "record" or name in options.output}
    return Result(**kept)


# --- of another kind of image -------------------------------------------------------------------


def _translated(
    image: Image,
    card: ModelCard,
    open_runtime: Opener,
    first: Rung,
    options: RunOptions,
    listener: Listener,
) -> Result:
    ladder = Ladder(ladder_for(card, first), listener)
    facts: dict[str, Any] = {}
    made = []
    frames = list(split_frames(image, card, options))
    for frame in frames:
        source = FrameSource(frame.view, card)

        def attempt(rung: Rung, source: FrameSource = source) -> np.ndarray:
            runtime = open_runtime(rung, listener)
            plan = plan_for(card, source.shape[1:], rung, overlap=options.overlap)
            facts.update(runtime=runtime, tile=list(plan.tile), tiles=plan.count)
            return predict_scores(source, runtime, plan, listener=listener)

        made.append(_bytes(_output(ladder.climb(attempt), card)))
    colour = made[0].shape[0] > 1
    leading = image.axes.replace("C", "")[:-2]
    outer = [image.size(axis) for axis in leading]
    pixels = np.stack(made).reshape(*outer, *made[0].shape)
    if not colour:
        return _told(options, record=facts, image=Image(pixels[..., 0, :, :], leading + "YX", image.grid))
    if leading.endswith("Z"):  # channels stand before slices
        pixels = np.moveaxis(pixels, -3, len(leading) - 1)
    axes = leading.replace("Z", "") + "C" + "Z" * ("Z" in leading) + "YX"
    return _told(options, record=facts, image=Image(pixels, axes, image.grid, channels=RGB))


# --- of masks -----------------------------------------------------------------------------------


def _of_masks(
    image: Image | None,
    card: ModelCard,
    open_runtime: Opener,
    first: Rung,
    options: RunOptions,
    listener: Listener,
) -> Result:
    planes, axes, shape, grid = masks_for(image, card, options)
    ladder = Ladder(ladder_for(card, first), listener)
    stage = Stage(listener, "images", len(planes))
    start = time.perf_counter()
    facts: dict[str, Any] = {}
    made, rows = [], []
    for number, labels in enumerate(planes):
        conditions, look = conditions_for(labels, card, options, number)

        def attempt(rung: Rung, conditions: np.ndarray = conditions) -> np.ndarray:
            runtime = open_runtime(rung, listener)
            plan = plan_for(card, conditions.shape[1:], rung, overlap=options.overlap)
            facts.update(runtime=runtime, tile=list(plan.tile), tiles=plan.count)
            return predict_scores(ArraySource(conditions), runtime, plan, listener=listener)

        relative = _output(ladder.climb(attempt), card)[0]
        made.append(_bytes((look.background + look.contrast * relative) * _WHITE))
        rows.append((number + 1, options.seed, look.background, look.foreground))
        stage.step()
    columns = zip(*rows, strict=True)
    table = Table(
        dict(zip(("image", "seed", "background", "foreground"), map(np.array, columns), strict=True))
    )
    facts["seconds"] = {"generate": round(time.perf_counter() - start, 4)}
    return _told(
        options,
        record=facts,
        image=Image(np.stack(made).reshape(shape), axes, grid),
        labels=LabelMap(np.stack(planes).astype(np.int32).reshape(shape), axes, grid),
        table=table,
    )


def masks_for(
    image: Image | None, card: ModelCard, options: RunOptions
) -> tuple[list[np.ndarray], str, tuple[int, ...], Grid]:
    """The masks that images are made of, drawn where none are given; their axes, shape and grid together.

    Raises
    ------
    InputMismatch
        If the image is no mask.
    """
    count = options.count or 1
    if image is not None:
        return _planes(image, card, count)
    style = MaskStyle.from_card(card.deepbio["generator"]["masks"])
    planes = [make_mask(style, np.random.default_rng([options.seed, i, 0])) for i in range(count)]
    return planes, "TYX", (count, style.edge, style.edge), Grid((style.edge, style.edge))


def conditions_for(
    labels: np.ndarray, card: ModelCard, options: RunOptions, number: int
) -> tuple[np.ndarray, Appearance]:
    """Input (C, y, x) of the network for the mask of a number, and the brightness that was drawn for it."""
    rows = card.deepbio["generator"]["appearances"]
    random = np.random.default_rng([options.seed, number, 1])
    look = Appearance(*rows[int(random.integers(len(rows)))])
    return _conditions_of(labels, look, random), look


def _conditions_of(labels: np.ndarray, look: Appearance, random: np.random.Generator) -> np.ndarray:
    """Conditions of a mask whose objects differ in brightness as those of a real image do."""
    values, dense = np.unique(labels, return_inverse=True)
    dense = dense.reshape(labels.shape) + (values[0] > 0)
    levels = np.clip(random.normal(0, look.spread, int(dense.max()) + 1), -0.9, None)
    levels[0] = 0
    return make_conditions(dense, levels, look.contrast, random)


def _planes(image: Image, card: ModelCard, count: int) -> tuple[list[np.ndarray], str, tuple[int, ...], Grid]:
    """The masks of an image, and how what is made of them is put together."""
    _check_type(image, card)
    pixels = image.numpy()
    axes = image.axes
    if "C" in axes:
        pixels, axes = np.squeeze(pixels, axes.index("C")), axes.replace("C", "")
    planes = list(pixels.reshape(-1, *pixels.shape[-2:]))
    for plane in planes:
        _check_mask(plane, card)
    if count == 1:
        return planes, axes, pixels.shape, image.grid
    if axes != "YX":
        raise OptionError(
            f"The mask has the axes {axes}; several images are made of single planes.", "Leave count out."
        )
    return planes * count, "TYX", (count, *pixels.shape), image.grid


def _check_type(image: Image, card: ModelCard) -> None:
    """Refuse what cannot be a mask, by its type and channels."""
    if image.dtype.kind not in "iu" or image.size("C") > 1:
        what = f"{image.size('C')} channels" if image.size("C") > 1 else f"pixels of type {image.dtype}"
        raise InputMismatch(
            f"The model '{card.name}' makes an image from a mask; the image has {what}.",
            "Give a label image: one channel of whole numbers, 0 = background.",
        )


def _check_mask(plane: np.ndarray, card: ModelCard) -> None:
    """Refuse an image where a mask is expected."""
    from skimage.measure import label

    if plane.min() < 0:
        raise InputMismatch(f"The mask has the label {plane.min()}; expected 0 or more.")
    values = len(np.unique(plane))
    regions = int(label(plane, connectivity=2, background=-1).max())  # type: ignore[no-untyped-call]
    if values > 2 and regions > 50 + _REGIONS * values:
        raise InputMismatch(
            f"The model '{card.name}' makes an image from a mask; found {values} values in {regions} regions, "
            "which looks like an image.",
            "Give a label image: each object with a number of its own, 0 = background.",
        )
