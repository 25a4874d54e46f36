"""Model cards: what a model package says about itself.

A package is a folder in the BioImage.IO model format 0.5 (0.4 is converted while it is read):
``bioimageio.yaml``, weights, test input and expected output. What that format cannot say stands in
the card under ``config: deepbio:``. Reading is a small reader of ours, fast and without torch;
``deepbio.library.check.validate_package`` asks the official validator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepbio.errors import CardError, WeightsError

__all__ = ["CARD_NAMES", "SPATIAL", "Axis", "ModelCard", "Step", "TensorSpec", "Weights", "read_card"]

CARD_NAMES = ("bioimageio.yaml", "rdf.yaml", "model.yaml")
SPATIAL = ("z", "y", "x")
_SPACE = ("grid", "mirror", "per_slice", "sizes", "cascade")  # what a card says of space, for people


@dataclass(frozen=True)
class Step:
    """A pre- or post-processing step of BioImage.IO, for :mod:`deepbio.engine.steps`.

    Examples
    --------
    >>> Step("clip", {"min": 0.0, "max": 1.0}).id
    'clip'
    """

    id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def steps_of(entries: Iterable[Mapping[str, Any]]) -> list[Step]:
    """Steps as they stand in a plan: ``id``, and ``kwargs`` where there are any.

    Examples
    --------
    >>> [step.kwargs for step in steps_of([{"id": "sigmoid"}, {"id": "clip", "kwargs": {"min": 0.0}}])]
    [{}, {'min': 0.0}]
    """
    return [Step(one["id"], one.get("kwargs", {})) for one in entries]


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor and the sizes that it can have.

    Attributes
    ----------
    id : str
        ``"batch"``, ``"channel"``, ``"z"``, ``"y"``, ``"x"``, ``"time"`` or ``"index"``.
    size : int or None
        The size, where it is fixed (a batch that may have any size has None).
    minimum, step : int
        Otherwise ``minimum + n * step`` are the sizes allowed; `step` is 0 where it is fixed.
    halo : int
        Pixels on each side of an output that are not to be trusted.
    reference : str
        For an axis that follows another, ``"tensor.axis"`` of that other.
    scale : float
        Size of this axis over that of `reference`: 2 doubles the pixels.
    offset : int
        Added after the scale.
    """

    id: str
    size: int | None = None
    minimum: int = 1
    step: int = 1
    halo: int = 0
    reference: str = ""
    scale: float = 1.0
    offset: int = 0


@dataclass(frozen=True)
class TensorSpec:
    """An input or an output of a model.

    Attributes
    ----------
    id : str
        Name of the tensor, unique in the card.
    axes : tuple of Axis
        In the order of the array that the network takes.
    channels : tuple of str
        Names of the channels; empty without a channel axis.
    steps : tuple of Step
        Pre-processing of an input, post-processing of an output, in order.
    test_tensor : Path or None
        Test input or expected output (``.npy``); None where the package has none.
    description : str
        For people.
    dtype : str
        Type of the numbers, such as ``"float32"``.
    """

    id: str
    axes: tuple[Axis, ...]
    channels: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    test_tensor: Path | None = None
    description: str = ""
    dtype: str = "float32"

    @property
    def axis_ids(self) -> tuple[str, ...]:
        """Names of the axes, in order."""
        return tuple(axis.id for axis in self.axes)

    @property
    def spatial(self) -> tuple[Axis, ...]:
        """The axes z, y and x that the tensor has, in the tensor's order."""
        return tuple(axis for axis in self.axes if axis.id in SPATIAL)

    def axis(self, name: str) -> Axis:
        """The axis of this name.

        Raises
        ------
        CardError
            If the tensor has no such axis.
        """
        for axis in self.axes:
            if axis.id == name:
                return axis
        raise CardError(
            f"The tensor {self.id!r} has the axes {', '.join(self.axis_ids)}; there is no {name!r}."
        )


@dataclass(frozen=True)
class Weights:
    """One file of weights, and how to read it.

    Attributes
    ----------
    format : {"safetensors", "onnx", "torchscript"}
        What kind of file it is.
    path : Path
        The file, inside the package.
    sha256 : str
        Expected hash; empty where a foreign card gives none.
    network : str
        For safetensors, the name of the network in ``deepbio.networks.NETWORKS``.
    arguments : mapping
        For safetensors, the arguments of the network.
    companions : tuple of (Path, str)
        Further files that belong to it (external data of ONNX), each with its hash.
    """

    format: str
    path: Path
    sha256: str = ""
    network: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    companions: tuple[tuple[Path, str], ...] = ()

    def verify(self) -> None:
        """Compare the files with their hashes; call this before they are loaded.

        Raises
        ------
        WeightsError
            If a file is missing, cannot be read, or is not the one that the card describes.
        """
        for path, expected in ((self.path, self.sha256), *self.companions):
            found = _sha256(path)
            if expected and found != expected.lower():
                raise WeightsError(
                    f"The weights file '{path}' is damaged or was exchanged: its SHA-256 is {found}, "
                    f"the card expects {expected.lower()}.",
                    "Get the model package again.",
                )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"The weights file '{path}' cannot be read: {error.strerror or error}.",
            "Get the model package again.",
        ) from error


@dataclass(frozen=True)
class ModelCard:
    """What a model package says about itself.

    Attributes
    ----------
    name : str
        Name to use on the command line: the name of the package's folder.
    title, description, version, license : str
        For people; the licence as an SPDX name.
    authors, citations, tags : tuple of str
        One text each.
    task : str
        What the model does, such as ``"instances"``; empty where the card does not say.
    modality : tuple of str
        Kinds of images it was made for.
    inputs, outputs : tuple of TensorSpec
        Tensors of the network.
    weights : tuple of Weights
        Files to choose from, all of the same network.
    deepbio : mapping
        What stands under ``config: deepbio:``.
    config : mapping
        Everything under ``config:``.
    training_data : str
        Name or address of the data set that the model was trained on.
    documentation : Path or None
        The package's text for people.
    notes : tuple of str
        Parts of the package that cannot be used here, and why.
    root : Path
        The package's folder.
    first_stage : Path or None
        Of a cascade, the package in this one whose labels the network takes, too: in a channel behind
        those of `input`, which is the image's.
    """

    name: str
    title: str
    description: str
    version: str
    license: str
    authors: tuple[str, ...]
    citations: tuple[str, ...]
    tags: tuple[str, ...]
    task: str
    modality: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: tuple[Weights, ...]
    deepbio: Mapping[str, Any]
    config: Mapping[str, Any]
    training_data: str
    documentation: Path | None
    notes: tuple[str, ...]
    root: Path
    first_stage: Path | None = None

    @property
    def input(self) -> TensorSpec:
        """The first input."""
        return self.inputs[0]

    @property
    def output(self) -> TensorSpec:
        """The first output."""
        return self.outputs[0]

    @property
    def ndim(self) -> int:
        """Number of spatial axes of the first input."""
        return len(self.input.spatial)

    @property
    def scores(self) -> tuple[Mapping[str, Any], ...]:
        """Held-out scores: rows with ``split``, ``metric``, ``value`` and what else is known."""
        return tuple(self.deepbio.get("scores", ()))

    @property
    def classes(self) -> Mapping[int, str]:
        """Names of the classes by label; empty for instances."""
        entries = self.deepbio.get("classes", {})
        return {int(k): str(v["name"] if isinstance(v, Mapping) else v) for k, v in entries.items()}

    @property
    def weights_hash(self) -> str:
        """Hash of the first weights file, which identifies the model in records."""
        return self.weights[0].sha256

    def weights_of(self, format: str) -> Weights | None:
        """The weights of one format, or None."""
        return next((weights for weights in self.weights if weights.format == format), None)

    def summary(self) -> dict[str, Any]:
        """One row for a list of models; plain values only."""
        return {
            "name": self.name,
            "title": self.title,
            "version": self.version,
            "task": self.task,
            "modality": list(self.modality),
            "input": f"{self.ndim}D, {_count(len(self.input.channels) or 1, 'channel')}"
            if self.ndim
            else _count(len(self.input.channels), "number"),
            "formats": [weights.format for weights in self.weights],
            "license": self.license,
            "score": dict(self.scores[0]) if self.scores else {},
        }

    def describe(self) -> dict[str, Any]:
        """Everything a person may want to know of the model; plain values only."""
        return {
            **self.summary(),
            "description": self.description,
            "authors": list(self.authors),
            "citations": list(self.citations),
            "tags": list(self.tags),
            "training_data": self.training_data,
            "scores": [dict(row) for row in self.scores],
            "classes": dict(self.classes),
            "inputs": [_tensor_row(tensor) for tensor in self.inputs],
            "outputs": [_tensor_row(tensor) for tensor in self.outputs],
            "weights": [_weights_row(weights) for weights in self.weights],
            "decode": dict(self.deepbio.get("decode", {})),
            **{name: self.deepbio[name] for name in _SPACE if name in self.deepbio},
            "training": dict(self.deepbio.get("training", {})),
            "notes": list(self.notes),
            "folder": str(self.root),
        }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _tensor_row(tensor: TensorSpec) -> dict[str, Any]:
    sizes = {a.id: a.size if a.size is not None else f"{a.minimum} + n * {a.step}" for a in tensor.axes}
    return {
        "id": tensor.id,
        "description": tensor.description,
        "sizes": sizes,
        "channels": list(tensor.channels),
        "steps": [{"id": step.id, **step.kwargs} for step in tensor.steps],
    }


def _weights_row(weights: Weights) -> dict[str, Any]:
    size = weights.path.stat().st_size if weights.path.exists() else 0
    return {"format": weights.format, "file": weights.path.name, "bytes": size, "sha256": weights.sha256}


def read_card(root: Path | str) -> ModelCard:
    """Read the card of a model package.

    Parameters
    ----------
    root : Path or str
        The package's folder, or the YAML file in it.

    Returns
    -------
    ModelCard
        Weights are not loaded and not hashed here; see :meth:`Weights.verify`.

    Raises
    ------
    CardError
        If there is no card, it cannot be read or contradicts itself, names a file outside the
        package, or has no weights that can be used.
    """
    from deepbio.library.reader import card_of_folder  # which imports the types above

    return card_of_folder(Path(root))
