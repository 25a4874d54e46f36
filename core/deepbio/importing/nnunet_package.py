"""A training of nnU-Net v2 as a model package: the same network, tiles and pre-processing under our names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepbio.engine.steps import apply_steps
from deepbio.errors import CardError, WeightsError
from deepbio.importing.checkpoint import read_checkpoint
from deepbio.importing.choice import ImportChoice
from deepbio.importing.nnunet import Fold, Training, first_stage_folder, read_training
from deepbio.importing.nnunet_facts import Facts, facts_of
from deepbio.importing.nnunet_state import our_state
from deepbio.library import ModelCard
from deepbio.library.cascade import LABELS, cascade_entry
from deepbio.library.content import PackageContent, TensorContent
from deepbio.library.package import write_package
from deepbio.networks import build
from deepbio.training.weights import weight_files

__all__ = ["write_nnunet_package"]

_EDGE = 32  # of the self-test, along each axis where the network takes it
_SPDX = (
    "CC0-1.0",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-SA-4.0",
    "Apache-2.0",
    "MIT",
    "BSD-3-Clause",
)
_MR = re.compile(r"mr|t1|t2|flair|dwi|adc|pd", re.IGNORECASE)
_CITATIONS = (
    {
        "text": "Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical image "
        "segmentation, Nature Methods 18:203 (2021)",
        "doi": "10.1038/s41592-020-01008-z",
    },
)


def write_nnunet_package(folder: Path, target: Path, choice: ImportChoice) -> ModelCard:
    """Write the package of a training.

    Parameters
    ----------
    folder : Path
        That holds ``plans.json``, ``dataset.json`` and the folds.
    target : Path
        An existing folder, in which the package's own is made.
    choice : ImportChoice
        Folds, checkpoint and orientation.

    Returns
    -------
    ModelCard
        Its name is made from the data set's and the configuration's.

    Raises
    ------
    CardError
        If the plans cannot be read, or ask for something that is not known here.
    WeightsError
        If a checkpoint cannot be read or does not fit the plans.
    """
    training = read_training(folder, choice)
    facts, mirror, states = _networks(training)
    first_stage = _first_stage(folder, target, choice) if facts.previous else None
    name, arguments, state = facts.network, dict(facts.arguments), states[0]
    if len(states) > 1:
        name, arguments = "ensemble", {"network": name, "arguments": arguments, "members": len(states)}
        state = {f"members.{n}.{key}": value for n, one in enumerate(states) for key, value in one.items()}
    raw = _made_up(training, facts)
    pixels = apply_steps(raw, ("channel", *"zyx"[3 - facts.dims :]), facts.steps)
    if facts.previous:  # the tensor of a cascade is what its network takes
        pixels = raw = np.concatenate((pixels, _made_up_labels(raw.shape[1:], len(facts.labels))))
    with weight_files(name, arguments, state, raw.shape, onnx=False, half=False) as files:
        with torch.inference_mode():
            scores = files.network(torch.from_numpy(pixels)[None]).numpy()
        content = PackageContent(
            **_words(training, facts),
            task="segment",
            inputs=[_input(raw, facts)],
            outputs=[TensorContent(scores, facts.outputs, description=_what(facts))],
            **files.entries,
            config=_config(training, facts, mirror, choice),
            scores=_scores(training),
            first_stage=first_stage,
        )
        return write_package(target / _slug(training, facts), content)


def _networks(training: Training) -> tuple[Facts, tuple[int, ...], list[dict[str, Tensor]]]:
    """The configuration, the axes along which it may be mirrored, and each fold's weights."""
    facts: Facts | None = None
    mirror: tuple[int, ...] = ()
    states = []
    for fold in training.folds:
        checkpoint = read_checkpoint(fold.checkpoint)
        configuration = _configuration(checkpoint, fold)
        if facts is None:
            facts = facts_of(training, configuration)
            allowed = checkpoint.get("inference_allowed_mirroring_axes") or ()
            mirror = tuple(sorted(facts.order.index(int(axis)) for axis in allowed))
            expected = build(facts.network, facts.arguments).state_dict()
        elif configuration != facts.configuration:
            raise CardError(
                f"The folds are of two configurations, {facts.configuration!r} and {configuration!r}.",
                "Choose one fold.",
            )
        weights = checkpoint["network_weights"]
        stages = len(facts.arguments["features"])
        states.append(our_state(weights, expected, stages=stages, order=facts.order, path=fold.checkpoint))
    assert facts is not None, "a training has at least one fold"  # noqa: S101
    return facts, mirror, states


def _first_stage(folder: Path, target: Path, choice: ImportChoice) -> Path:
    """Package the first stage of a cascade, which nnU-Net keeps beside it."""
    first = first_stage_folder(folder)
    if first is None or not (first / "plans.json").is_file():
        told = "the folder was renamed" if first is None else f"'{first}' is not there"
        raise CardError(
            f"'{folder}' is a cascade, whose first stage belongs beside it; {told}.",
            "Name a folder that holds both, as nnUNet_results or an export of both does.",
        )
    scratch = target / "first"
    scratch.mkdir()
    return write_nnunet_package(first, scratch, choice).root


def _configuration(checkpoint: Mapping[str, Any], fold: Fold) -> str:
    told = checkpoint.get("init_args")
    if not isinstance(told, Mapping) or "configuration" not in told or "network_weights" not in checkpoint:
        raise WeightsError(
            f"The checkpoint '{fold.checkpoint}' does not say which configuration it is of, or has no weights.",
            "It is not one of nnU-Net v2.",
        )
    return str(told["configuration"])


def _made_up(training: Training, facts: Facts) -> np.ndarray:
    """A small image of plausible intensities, for the self-test: the training has none with it."""
    strides = facts.arguments["strides"]
    size = []
    for axis in range(facts.dims):
        divisor = math.prod(stride[axis] for stride in strides)
        # two places at the bottom, which instance normalisation needs
        size.append(-(-max(2 * divisor, min(_EDGE, facts.patch[axis])) // divisor) * divisor)
    plans, drawn = training.plans, np.random.default_rng(0)
    told = plans.get("foreground_intensity_properties_per_channel") or {}
    channels = []
    for k in range(len(facts.channels)):
        row = told.get(str(k), {})
        noise = drawn.standard_normal(size)
        channels.append(float(row.get("mean", 100.0)) + float(row.get("std", 20.0)) * noise)
    return np.stack(channels).astype(np.float32)


def _made_up_labels(size: Sequence[int], count: int) -> np.ndarray:
    """Slabs of all labels, as a first stage might have found them, shape (1, *size)."""
    slabs = np.linspace(0, count + 1, size[0], endpoint=False).astype(np.float32)
    return np.broadcast_to(np.floor(slabs).reshape(1, -1, *[1] * (len(size) - 1)), (1, *size))


def _input(raw: np.ndarray, facts: Facts) -> TensorContent:
    strides = facts.arguments["strides"]
    divisor = tuple(math.prod(stride[axis] for stride in strides) for axis in range(facts.dims))
    guided = bool(facts.previous)
    return TensorContent(
        raw[None],
        (*facts.channels, LABELS) if guided else facts.channels,
        minimum=tuple(2 * n for n in divisor),
        step=divisor,
        steps=() if guided else facts.steps,
        description="normalised intensities, and labels of the first stage" if guided else "raw intensities",
    )


def _what(facts: Facts) -> str:
    return "scores of regions before the sigmoid" if facts.regions else "scores before softmax"


def _config(
    training: Training, facts: Facts, mirror: tuple[int, ...], choice: ImportChoice
) -> dict[str, Any]:
    grid: dict[str, Any] = {"crop": "nonzero", "interpolation": "nnunet"}
    if facts.spacing:
        grid = {"spacing": list(facts.spacing), "unit": "millimeter", **grid}
    if facts.inside:
        grid["inside"] = "nonzero"
    if choice.orientation:
        grid["orientation"] = choice.orientation
    decode = {"method": "regions", "regions": list(facts.regions)} if facts.regions else {"method": "classes"}
    config: dict[str, Any] = {
        "decode": decode,
        "tile": {"size": list(facts.patch), "overlap": 0.5, "fixed": True, "pad": "zero", "blend": "nnunet"},
        "grid": grid,
        "classes": {label: {"name": name} for label, name in facts.labels.items()},
        "origin": {
            "program": "nnU-Net v2",
            "dataset": str(training.plans["dataset_name"]),
            "configuration": facts.configuration,
            "folds": [fold.name for fold in training.folds],
            "checkpoint": choice.checkpoint,
        },
    }
    if facts.previous:
        config["cascade"] = cascade_entry(list(facts.steps))
    if len(facts.channels) > 1 and facts.spacing:
        config["channel_files"] = True
    if mirror:
        config["mirror"] = list(mirror)
    if facts.per_slice:
        config["per_slice"] = True
    return config


def _slug(training: Training, facts: Facts) -> str:
    name = re.sub(r"^Dataset\d+_", "", str(training.plans["dataset_name"]))
    return re.sub(r"[^a-z0-9._]+", "-", f"{name}-{facts.configuration}".lower()).strip("-._")[:64]


def _words(training: Training, facts: Facts) -> dict[str, Any]:
    """What people should know, as far as the files tell."""
    dataset, told = str(training.plans["dataset_name"]), training.dataset
    reference = str(told.get("reference", "") or "")
    licence = str(told.get("licence", told.get("license", "")) or "")
    citations: list[dict[str, str]] = [dict(row) for row in _CITATIONS]
    if reference.startswith(("http://", "https://")):
        citations.append({"text": f"The data set {dataset}", "url": reference})
    found = ", ".join(facts.labels.values())
    described = str(told.get("description", "") or "")
    title = re.sub(
        r"[^A-Za-z0-9_+\- ()]+", " ", f"{dataset} ({facts.configuration}, nnU-Net)".replace(",", "")
    )[:128]
    return {
        "title": title,
        "description": f"Segments {found} with a network that nnU-Net trained on {dataset}."[:1024],
        "license": next(
            (one for one in _SPDX if one.lower() == licence.strip().replace(" ", "-").lower()), ""
        ),
        "authors": [{"name": f"The authors of {dataset}"}],
        "citations": citations,
        "tags": ["nnu-net", "segmentation", f"{facts.dims}d"],
        "modality": _modalities(facts.channels),
        "training_data": dataset,
        "documentation": _documentation(training, facts, title, described, licence, reference),
    }


def _modalities(channels: Sequence[str]) -> list[str]:
    if all(name.upper() == "CT" for name in channels):
        return ["CT"]
    return ["MR"] if all(_MR.search(name) for name in channels) else []


def _documentation(
    training: Training, facts: Facts, title: str, described: str, licence: str, reference: str
) -> str:
    lines = [f"# {title}", ""]
    if described:
        lines += [described, ""]
    folds = ", ".join(fold.name for fold in training.folds)
    dataset = training.plans["dataset_name"]
    lines += [
        f"Imported from nnU-Net v2: {dataset}, configuration {facts.configuration}, folds {folds}.",
        f"Channels in this order: {', '.join(facts.channels)}. Labels: "
        + ", ".join(f"{label} {name}" for label, name in facts.labels.items())
        + ".",
        f"Licence as dataset.json has it: {licence or 'none'}. Reference: {reference or 'none'}.",
    ]
    return "\n".join(lines)


def _scores(training: Training) -> list[dict[str, Any]]:
    """The mean Dice of each fold's own validation, where its summary is there."""
    rows = []
    for fold in training.folds:
        path = fold.checkpoint.parent / "validation" / "summary.json"
        if not path.is_file():
            continue
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            value, count = float(told["foreground_mean"]["Dice"]), len(told["metric_per_case"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CardError(
                f"'{path}' is not what nnU-Net writes: {error}.", "Delete it to import without scores."
            ) from error
        if math.isfinite(value):
            row = {
                "split": f"fold {fold.name}",
                "subset": "validation",
                "metric": "Dice",
                "value": round(value, 4),
            }
            rows.append({**row, "n": count, "command": "nnUNetv2_train (its own validation)"})
    return rows
