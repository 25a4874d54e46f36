"""What goes into a model package of our own, as training and importers give it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from deepbio.errors import CardError
from deepbio.library.card import Step

__all__ = ["PackageContent", "TensorContent", "check_content"]

_TITLE = re.compile(r"[A-Za-z0-9_+\- ()]{5,128}")
_RESERVED = ("bioimageio.yaml", "README.md", "weights.safetensors", "weights.onnx", "weights.ts")


@dataclass(frozen=True)
class TensorContent:
    """An input or output of a model to be packaged, axes ``(batch, channel, [time,] [z,] y, x)``.

    Attributes
    ----------
    test : ndarray, shape (1, C, [z,] y, x) or (1, C)
        Test input as a user would give it (raw pixels), or the output expected for it (after
        post-processing).
    channels : tuple of str
        Names of the C channels.
    id : str
        Name of the tensor; small letters and ``_``.
    time : bool
        Whether the axis after the channels is time; it counts among the spatial ones below, and an
        output has the size of its test.
    minimum, step : tuple of int
        For an input, the sizes allowed along each spatial axis: ``minimum + n * step`` (a step of 0:
        this one only). Empty fixes the sizes to those of `test`. An output follows the first input.
    halo : tuple of int
        For an output, pixels at each side that other programs should cut off when they tile;
        empty for none. The input's `minimum` is raised to leave something (which the format
        wants), as far as the size of `test` allows; beyond that the halo is made smaller.
    scale : tuple of float
        For an output, its pixels for each of the first input, along each spatial axis; empty for one.
    steps : sequence of Step
        Pre-processing of an input, post-processing of an output.
    description : str
        For people; at most 128 characters.
    sample : ndarray, optional
        A picture to show, written as TIFF; axes as in `test`.
    """

    test: np.ndarray
    channels: tuple[str, ...]
    id: str = ""
    time: bool = False
    minimum: tuple[int, ...] = ()
    step: tuple[int, ...] = ()
    halo: tuple[int, ...] = ()
    scale: tuple[float, ...] = ()
    steps: Sequence[Step] = ()
    description: str = ""
    sample: np.ndarray | None = None


@dataclass(frozen=True)
class PackageContent:
    """What goes into a model package; see :func:`write_package` for an example.

    Attributes
    ----------
    title : str
        5 to 128 letters, digits, spaces and ``_+-()``.
    description : str
        One sentence.
    task : str
        What the model does, such as ``"instances"``.
    license : str
        SPDX name, such as ``"CC-BY-4.0"``.
    authors : sequence of mapping
        Each with ``name`` and, where known, ``affiliation``, ``orcid``, ``github_user``.
    inputs, outputs : sequence of TensorContent
        The network's tensors. Names default to ``"input"`` and ``"output"``.
    network, arguments : str, mapping
        Key of ``deepbio.networks.NETWORKS`` and its arguments, for `safetensors`.
    safetensors, onnx : Path, optional
        Files of weights; at least one of them or `torchscript`. `onnx` is the same network with the same weights.
    torchscript : Path, optional
        The network as TorchScript, for those that ONNX cannot say; alone.
    opset : int
        Of the ONNX file.
    documentation : str
        Markdown for ``README.md``; a section with the scores is added.
    citations : sequence of mapping
        Each with ``text`` and ``doi`` or ``url``.
    tags, modality : sequence of str
        Words to find it by, and kinds of images.
    version : str
        Of the model.
    training_data : str
        Name or address of the data.
    scores : sequence of mapping
        Rows with ``split``, ``subset``, ``metric``, ``value``, ``n``, ``command``.
    config : mapping
        The rest of ``config: deepbio:`` (``decode``, ``tile``, ``grey``, ``classes``,
        ``training``...): plain values, numpy numbers are converted.
    tolerance : tuple of float
        Relative and absolute difference at which the self-test passes. The format does not
        allow an absolute one above 1 % of the largest test output; the default holds then.
    files : mapping of str to Path
        Further files by name, such as a training curve; a ``.png`` named ``cover.png`` is the
        cover.
    first_stage : Path, optional
        Of a cascade, the package of the model whose labels the network takes, too; it is copied.
    """

    title: str
    description: str
    task: str
    license: str
    authors: Sequence[Mapping[str, str]]
    inputs: Sequence[TensorContent]
    outputs: Sequence[TensorContent]
    network: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    safetensors: Path | None = None
    onnx: Path | None = None
    torchscript: Path | None = None
    opset: int = 17
    documentation: str = ""
    citations: Sequence[Mapping[str, str]] = ()
    tags: Sequence[str] = ()
    modality: Sequence[str] = ()
    version: str = "0.1.0"
    training_data: str = ""
    scores: Sequence[Mapping[str, Any]] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    tolerance: tuple[float, float] = (1e-3, 1e-3)
    files: Mapping[str, Path] = field(default_factory=dict)
    first_stage: Path | None = None


def check_content(content: PackageContent) -> None:
    """Find what the format would not allow, before anything is written.

    Raises
    ------
    CardError
        If something is missing or contradicts itself.
    """
    if not _TITLE.fullmatch(content.title):
        raise CardError(
            f"The title {content.title!r} is not allowed; expected 5 to 128 letters, digits, spaces and '_+-()'."
        )
    if not content.inputs or not content.outputs or not content.authors:
        raise CardError("A model package needs inputs, outputs and authors.")
    if content.safetensors is None and content.onnx is None and content.torchscript is None:
        raise CardError("A model package needs weights: safetensors, ONNX or both, or TorchScript.")
    if content.safetensors is not None and not content.network:
        raise CardError("Weights as safetensors need the name of their network.")
    for entry in content.citations:
        if not entry.get("doi") and not entry.get("url"):
            raise CardError(f"The citation {entry.get('text', '')!r} needs a DOI or an address (doi, url).")
    for name in content.files:
        if name in _RESERVED or PurePosixPath(name).name != name:
            raise CardError(f"A further file of the package cannot be called {name!r}.")
    if (content.first_stage is not None) != ("cascade" in content.config):
        raise CardError("A cascade needs the package of its first stage, and its entry on the card.")
    spatial = content.inputs[0].test.ndim - 2
    for tensor in (*content.inputs, *content.outputs):
        _check_tensor(tensor, spatial)


def _check_tensor(tensor: TensorContent, spatial: int) -> None:
    shape = tensor.test.shape
    if tensor.test.ndim < 2 or len(tensor.channels) != shape[1] or shape[0] != 1:
        raise CardError(
            f"The test array has shape {shape}; expected (1, {len(tensor.channels)}, ...) for the channels "
            f"{', '.join(tensor.channels)}."
        )
    for sizes in (tensor.minimum, tensor.step, tensor.halo, tensor.scale):
        if sizes and len(sizes) != spatial:
            raise CardError(f"The tensor has {spatial} spatial axes, but {len(sizes)} sizes are given.")
