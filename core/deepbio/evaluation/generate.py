"""How good generated images are: alike in distribution, of their class, new, and true to their masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepbio.cases.generate import class_pixels, load_pair, read_class_parts, read_pair_parts
from deepbio.errors import CardError, UnknownModel
from deepbio.evaluation.report import Report, score_row
from deepbio.events import Listener, Notice, Stage, silent
from deepbio.image import RGB, Image, LabelMap, Table
from deepbio.library import ModelCard, find_model
from deepbio.metrics import IOU_THRESHOLDS, average_precision
from deepbio.metrics.distributions import frechet_distance, kernel_distance, nearest_distances
from deepbio.options import RunOptions
from deepbio.tasks.generate import class_names

if TYPE_CHECKING:
    from deepbio.predict import Model

__all__ = ["Judge", "evaluate_cases", "find_judge"]

_JUDGES = {
    "class": ("blood-cells", "chest-xray"),
    "cycle": ("blood-cells", "chest-xray"),
    "paired": ("nuclei",),
}
"""Models of ours that look at what is made: the first that fits; a card may name another (`judge`)."""

_MOST_REAL = 2000  # images that learning began with, for the search of copies
_COPY = 0.01  # quantile of the distances of held-out images below which an image is a copy


class Judge:
    """A classifier's features and answers for images of bytes.

    Parameters
    ----------
    card : ModelCard
        Of the network ``classifier``, with weights as safetensors.
    """

    def __init__(self, card: ModelCard) -> None:
        import torch
        from safetensors.torch import load_file

        from deepbio.networks import build

        weights = card.weights_of("safetensors")
        if weights is None or weights.network != "classifier":
            raise CardError(f"The model '{card.name}' is no classifier of ours: it cannot judge images.")
        weights.verify()
        self._network: Any = build(weights.network, weights.arguments).eval()
        self._network.load_state_dict({k: v.float() for k, v in load_file(weights.path).items()})
        self.card, self._torch = card, torch
        self._size = tuple(int(axis.size or axis.minimum) for axis in card.input.spatial)

    def look(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features (N, D) and the number of the likeliest class (N,) of images (N, C, y, x)."""
        from deepbio.engine.steps import apply_steps

        torch = self._torch
        features, scores = [], []
        for at in range(0, len(images), 32):
            batch = torch.from_numpy(images[at : at + 32].astype(np.float32))
            batch = torch.nn.functional.interpolate(
                batch, self._size, mode="bicubic", align_corners=False, antialias=True
            )
            axes = ("channel", "y", "x")
            steps = self.card.input.steps
            ready = np.stack([apply_steps(one, axes, steps) for one in batch.clamp(0, 255).numpy()])
            with torch.inference_mode():
                found = self._network.embed(torch.from_numpy(ready))
                features.append(found.flatten(1).numpy())
                scores.append(self._network.head(found).numpy())
        return np.concatenate(features), np.concatenate(scores).argmax(1)


def find_judge(card: ModelCard) -> ModelCard | None:
    """The model that looks at what a generator makes: as its card says, else the first of ours that fits."""
    said = card.deepbio["generator"]
    kind = said["kind"]
    classes = {"class": class_names(card), "cycle": (said.get("from"), said.get("to"))}.get(kind, ())
    for name in (said["judge"],) if "judge" in said else _JUDGES[kind]:
        try:
            found = find_model(name)
        except UnknownModel:
            continue
        alike = len(found.input.channels) == len(card.output.channels)
        if kind == "paired" or (alike and set(classes) <= set(found.classes.values())):
            return found
    return None


def evaluate_cases(
    model: Model, data: Path, split: str, options: RunOptions, *, on_progress: Listener = silent
) -> Report:
    """Compare what a generator makes with the real images of a part of a data set.

    Of classes: FID and KID in the features of a classifier (`find_judge`; without one, of images of
    8 x 8 pixels), as many images as the part has, of the same classes; the same between the held-out
    images and as many that were learned from; how many are taken for their class; and copies: images
    nearer to one that was learned from than all but 1 % of the held-out ones are.

    Of masks: an image from each held-out mask; how well a segmenter finds the objects in it, beside
    the real image; the mean absolute difference and FID in features of patches.

    Parameters
    ----------
    model : Model
        A generator.
    data : Path
        As `deepbio train` takes it.
    split : str
        Which part; ``"all"`` is not one.
    options : RunOptions
        Its seed is used.
    on_progress : Listener
        Hears stages.
    """
    kind = model.card.deepbio["generator"]["kind"]
    if kind == "cycle":
        return _of_translations(model, data, split, options, on_progress)
    if kind == "class":
        return _of_classes(model, data, split, options, on_progress)
    return _of_masks(model, data, split, options, on_progress)


# --- of classes ---------------------------------------------------------------------------------


def _of_classes(model: Model, data: Path, split: str, options: RunOptions, listener: Listener) -> Report:
    names = class_names(model.card)
    labels = tuple(model.card.deepbio.get("training", {}).get("labels") or names)
    train, val, _ = read_class_parts(data, labels)
    part = train if split == "train" else val
    edge, channels = int(model.card.output.spatial[0].size or 0), len(model.card.output.channels)
    random = np.random.default_rng(0)
    learned = [train[i] for i in sorted(random.permutation(len(train))[:_MOST_REAL].tolist())]
    real, known = (class_pixels(cases, edge, channels) for cases in (part, learned))
    wanted = np.array([labels.index(case.class_name) for case in part])
    made, seeds = _made(model, names, wanted, options, listener)
    card = find_judge(model.card)
    look = _small if card is None else Judge(card).look
    told = "8 x 8 pixels" if card is None else f"features of '{card.name}'"
    listener(Notice(f"Compared in {told}."))
    (f_real, truth), (f_known, _), (f_made, answers) = (look(images) for images in (real, known, made))
    again = f_known[random.permutation(len(f_known))[: len(f_real)]]
    to_learned = nearest_distances(f_made, f_known)
    limit = float(np.quantile(nearest_distances(f_real, f_known), _COPY))
    command = f"deepbio evaluate {model.card.name} {data.name} --split {split}"
    rows: list[tuple[str, float, str]] = [
        ("KID", kernel_distance(f_made, f_real), "all"),
        ("FID", frechet_distance(f_made, f_real), "all"),
        ("KID of real images", kernel_distance(again, f_real), "all"),
        ("FID of real images", frechet_distance(again, f_real), "all"),
        ("copies", float((to_learned < limit).mean()), "all"),
    ]
    columns: dict[str, Any] = {
        "seed": seeds,
        "class": np.array([names[i] for i in wanted]),
        "nearest": to_learned.round(4),
    }
    if card is not None:
        order = [name for _, name in sorted(card.classes.items())]
        taken = np.array([order[i] for i in answers])
        right = taken == columns["class"]
        columns["taken_for"] = taken
        rows.insert(0, ("recognised", float(right.mean()), "all"))
        known_right = np.array([order[i] for i in truth]) == columns["class"]
        rows.insert(1, ("recognised, of real images", float(known_right.mean()), "all"))
        rows += [("recognised", float(right[wanted == i].mean()), name) for i, name in enumerate(names)]
    counts = {name: int((wanted == i).sum()) for i, name in enumerate(names)} | {"all": len(wanted)}
    summary = [
        score_row(split, metric, value, counts[subset], subset=subset, command=command)
        for metric, value, subset in rows
    ]
    return Report(summary, Table(columns), _grid_writer(made, real, wanted))


def _made(
    model: Model, names: Sequence[str], wanted: np.ndarray, options: RunOptions, listener: Listener
) -> tuple[np.ndarray, np.ndarray]:
    """An image of the class of each case, with its seed."""
    channels = len(model.card.output.channels)
    edges = [int(axis.size or 0) for axis in model.card.output.spatial]
    made = np.zeros((len(wanted), channels, *edges), np.uint8)
    seeds = np.zeros(len(wanted), int)
    for label, name in enumerate(names):
        places = np.flatnonzero(wanted == label)
        if not len(places):
            continue
        first = options.seed + int(places[0])
        asked = options.replace(count=len(places), classes=(name,), seed=first, output=("image", "table"))
        result = model.run(None, asked, on_progress=listener)
        assert result.image is not None  # noqa: S101 - both were asked for
        assert result.table is not None  # noqa: S101
        made[places] = result.image.numpy().reshape(len(places), channels, *edges)
        seeds[places] = result.table["seed"]
    return made, seeds


def _small(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images of 8 x 8 pixels as features, of about 0 to 1; no answers."""
    edge = images.shape[-1] // 8
    parts = images[..., : edge * 8, : edge * 8].reshape(*images.shape[:2], 8, edge, 8, edge)
    return parts.mean((3, 5)).reshape(len(images), -1) / 255, np.zeros(len(images), int)


def _grid_writer(made: np.ndarray, real: np.ndarray, wanted: np.ndarray) -> Callable[[Path], None]:
    """Writes a picture: of each class eight made images beside eight real ones."""

    def write(path: Path) -> None:
        from PIL import Image as Picture

        rows = []
        for label in np.unique(wanted):
            places = np.flatnonzero(wanted == label)
            places = np.resize(places, 8)
            gap = np.full((real.shape[1], real.shape[2], 8), 255, np.uint8)
            rows.append(np.concatenate([*made[places], gap, *real[places]], axis=2))
        sheet = np.concatenate(rows, axis=1).transpose(1, 2, 0)
        Picture.fromarray(sheet if sheet.shape[2] == 3 else sheet[:, :, 0]).save(path, format="png")

    return write


# --- of translations ----------------------------------------------------------------------------


def _of_translations(model: Model, data: Path, split: str, options: RunOptions, listener: Listener) -> Report:
    """Translated images, and those that they were, beside real ones of the kind that they are to be."""
    said = model.card.deepbio["training"]
    train, val, _ = read_class_parts(data, tuple(said["labels"]))
    part = train if split == "train" else val
    first, second = ([c for c in part if c.class_name == label] for label in said["labels"])
    one, two = (class_pixels(cases, int(said["size"]), int(said["channels"])) for cases in (first, second))
    made = np.stack([_translated(model, pixels, options, listener) for pixels in one])
    card = find_judge(model.card)
    look = _small if card is None else Judge(card).look
    listener(Notice(f"Compared in {'8 x 8 pixels' if card is None else f'features of {card.name!r}'}."))
    (before, was), (after, became), (true, real) = (look(images) for images in (one, made, two))
    rows = [("FID", frechet_distance(after, true)), ("FID before", frechet_distance(before, true))]
    columns: dict[str, Any] = {
        "image": np.array([case.name for case in first]),
        "change": np.abs(made.astype(float) - one).mean((1, 2, 3)).round(2),
    }
    if card is not None:
        order = [name for _, name in sorted(card.classes.items())]
        wanted = model.card.deepbio["generator"]["to"]
        named = [np.array([order[i] for i in answers]) for answers in (became, was, real)]
        columns |= {"taken_for_before": named[1], "taken_for": named[0]}
        metrics = ("recognised", "recognised before", "recognised, of real images")
        rows += [
            (metric, float((names == wanted).mean())) for metric, names in zip(metrics, named, strict=True)
        ]
    command = f"deepbio evaluate {model.card.name} {data.name} --split {split}"
    summary = [score_row(split, metric, value, len(one), command=command) for metric, value in rows]
    return Report(summary, Table(columns), _pairs_writer(one, made))


def _translated(model: Model, pixels: np.ndarray, options: RunOptions, listener: Listener) -> np.ndarray:
    """What a translator makes of bytes (C, y, x): the same shape."""
    image = Image(pixels, "CYX", channels=RGB) if len(pixels) == len(RGB) else Image(pixels[0])
    result = model.run(image, options.replace(output=("image",)), on_progress=listener).image
    assert result is not None  # noqa: S101 - it was asked for
    return result.numpy().reshape(pixels.shape)


def _pairs_writer(given: np.ndarray, made: np.ndarray) -> Callable[[Path], None]:
    """Writes a picture: images, and under each what it became."""

    def write(path: Path) -> None:
        from PIL import Image as Picture

        chosen = np.unique(np.linspace(0, len(given) - 1, 12).round().astype(int))
        rows = [np.concatenate(list(part[chosen]), axis=2) for part in (given, made)]
        sheet = np.concatenate(rows, axis=1).transpose(1, 2, 0)
        Picture.fromarray(sheet if sheet.shape[2] == 3 else sheet[:, :, 0]).save(path, format="png")

    return write


# --- of masks -----------------------------------------------------------------------------------


def _of_masks(model: Model, data: Path, split: str, options: RunOptions, listener: Listener) -> Report:
    from deepbio.predict import load_model

    train, val = read_pair_parts(data, str(model.card.deepbio.get("training", {}).get("group", "")))
    part = train if split == "train" else val
    card = find_judge(model.card)
    segmenter = None if card is None else load_model(card)
    stage = Stage(listener, "cases", len(part))
    rows: list[dict[str, Any]] = []
    real_patches, made_patches = [], []
    for number, case in enumerate(part):
        pixels, labels = load_pair(case)
        asked = options.replace(seed=options.seed + number, output=("image",))
        result = model.run(Image(labels.astype(np.int32)), asked)
        assert result.image is not None  # noqa: S101 - it was asked for
        made = result.image.numpy()
        row: dict[str, Any] = {"image": case.image.name, "objects": int(len(np.unique(labels)) - 1)}
        if segmenter is not None:
            for name, one in (("real", np.round(pixels * 255).astype(np.uint8)), ("made", made)):
                row[f"ap50_{name}"] = _precision(segmenter, one, labels)
        rows.append(row)
        real_patches.append(_patches(pixels, labels))
        made_patches.append(_patches(made.astype(np.float32) / 255, labels))
        stage.step()
    real, fake = np.concatenate(real_patches), np.concatenate(made_patches)
    command = f"deepbio evaluate {model.card.name} {data.name} --split {split}"
    summary = []
    if segmenter is not None:
        for name in ("made", "real"):
            value = float(np.mean([row[f"ap50_{name}"] for row in rows]))
            metric = f"AP50 of '{segmenter.card.name}' on {name} images"
            summary.append(score_row(split, metric, value, len(rows), command=command))
    summary.append(
        score_row(split, "FID of patches", frechet_distance(fake, real), len(real), command=command)
    )
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return Report(summary, Table(columns))


def _precision(segmenter: Model, image: np.ndarray, labels: np.ndarray) -> float:
    found = segmenter.run(Image(image), RunOptions(output=("labels",))).labels
    assert isinstance(found, LabelMap)  # noqa: S101 - a segmenter of objects gives them
    return float(average_precision(labels, found.numpy(), IOU_THRESHOLDS)[0])


def _patches(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Patches of 8 x 8 pixels of an image around its objects, with brightness and contrast taken out."""
    scaled = (pixels - np.median(pixels)) / max(float(pixels.std()), 1e-6)
    height, width = (n // 8 * 8 for n in pixels.shape)
    parts = scaled[:height, :width].reshape(height // 8, 8, width // 8, 8).transpose(0, 2, 1, 3)
    inside = (labels > 0)[:height, :width].reshape(height // 8, 8, width // 8, 8).any((1, 3))
    return np.asarray(parts[inside].reshape(-1, 64))
