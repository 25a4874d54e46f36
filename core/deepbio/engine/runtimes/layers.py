"""The layers of a torch network by name: what there are, and which say most."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deepbio.engine.runtimes.with_torch import first_output
from deepbio.errors import CardError, OptionError

__all__ = ["CODE", "Layer", "by_frame", "default_layer", "find_layer", "layers_of", "together"]

_ANSWERS = ("prob", "dist")  # what star networks give: of the one no score depends on the other
_PROBE = 3  # frames that a network of sequences is shown: neither one, nor a size

CODE = "code"
"""Name of what a network's ``encode`` gives (autoencoders)."""


@dataclass(frozen=True)
class Layer:
    """A part of a network that gives features.

    Attributes
    ----------
    name : str
        Dotted name of the module, such as ``"stages.2"``; `CODE` for the code of an autoencoder.
    kind : str
        Class of the module.
    features : int
        Feature maps, or length of the vector.
    stride : tuple of int
        Pixels of the network's input per cell of its maps, per axis; empty where it gives one vector
        for the whole input.
    frames : bool
        Whether it gives them for each frame of a window, as most layers of networks of sequences do.
    parts : tuple of Layer
        Of several layers together, such as ``"encoder.*"``: which; each has a stride of its own.
    """

    name: str
    kind: str
    features: int
    stride: tuple[int, ...] = ()
    frames: bool = False
    parts: tuple[Layer, ...] = ()


def layers_of(module: nn.Module, shape: Sequence[int], *, movie: bool = False) -> tuple[Layer, ...]:
    """All layers that give feature maps or vectors, in the order in which they are computed.

    Parameters
    ----------
    module : torch.nn.Module
        The network, in evaluation mode.
    shape : sequence of int
        ``(C, [z,] y, x)`` of an input that it takes; ``(C,)`` if it makes images from vectors, whose
        layers have strides in pixels of the image made.
    movie : bool
        Whether it takes frames in their order, each of this shape.
    """
    spatial = tuple(shape[1:]) or _made(module, shape[0])
    names = {layer: name for name, layer in module.named_modules() if name}
    found: dict[str, Layer] = {}
    calls: dict[str, int] = {}

    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        name = names[layer]
        calls[name] = calls.get(name, 0) + 1
        described = _described(name, layer, output, spatial, _PROBE if movie else 0)
        if described is not None:
            found.setdefault(described.name, described)

    hooks = [layer.register_forward_hook(note) for layer in names]
    pixels = torch.zeros(1, shape[0], *((_PROBE,) if movie else ()), *shape[1:], device=_device_of(module))
    try:
        with torch.no_grad():
            encode: Any = getattr(module, "encode", None)
            code = first_output(encode(pixels)) if callable(encode) else None
            module(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    # what is asked once for each frame is a part of a cell and means nothing by itself
    layers = [layer for layer in found.values() if not movie or calls[layer.name] == 1]
    if code is not None:
        described = _described(CODE, module, code, spatial, 0)
        layers[:0] = [described] if described is not None else []
    return tuple(layers)


def _made(module: nn.Module, channels: int) -> tuple[int, ...]:
    """Size of the image that a network makes from a vector; nothing where it makes none."""
    with torch.no_grad():
        image = first_output(module(torch.zeros(1, channels, device=_device_of(module))))
    return tuple(image.shape[2:])


def _described(
    name: str, layer: nn.Module, output: Any, spatial: tuple[int, ...], frames: int
) -> Layer | None:
    """A layer by what it gave for one input; None for what is neither maps nor a vector.

    `frames` are those of the input, 0 of networks of single images.
    """
    if isinstance(output, list | tuple):
        output = output[0] if output else None
    if not isinstance(output, Tensor):
        return None
    if frames:
        output, each = by_frame(output, frames)
        output = output[:, :, 0] if each else output  # all frames are alike
    else:
        each = False
    if output.shape[:1] != (1,) or output.ndim < 2:
        return None
    cells = tuple(output.shape[2:])
    kind, count = type(layer).__name__, int(output.shape[1])
    if not cells or (len(cells) == len(spatial) and set(cells) == {1}):
        return Layer(name, kind, count, frames=each)
    if len(cells) != len(spatial) or any(n % c for n, c in zip(spatial, cells, strict=True)):
        return None  # valid convolutions, attention: no whole stride
    stride = tuple(n // c for n, c in zip(spatial, cells, strict=True))
    return Layer(name, kind, count, stride, each)


def by_frame(output: Tensor, frames: int) -> tuple[Tensor, bool]:
    """What a layer gave for windows of frames, with the frames behind the features.

    Parameters
    ----------
    output : Tensor, shape (N * T, F, ...), (N, T, F, ...) or (N, F)
        Layers that see single frames have them in the batch; memories have an axis of their own.
    frames : int
        T.

    Returns
    -------
    features : Tensor, shape (N, F, T, ...) or (N, F)
    each : bool
        Whether there are features for each frame; else they are of the whole window.

    Examples
    --------
    >>> by_frame(torch.zeros(3, 8, 5, 6), 3)[0].shape, by_frame(torch.zeros(1, 3, 8), 3)[0].shape
    (torch.Size([1, 8, 3, 5, 6]), torch.Size([1, 8, 3]))
    """
    if output.ndim % 2:  # (N, T, F) or (N, T, F, y, x)
        return output.transpose(1, 2), True
    if output.shape[0] % frames:  # of the whole window
        return output, False
    return output.reshape(-1, frames, *output.shape[1:]).transpose(1, 2), True


def default_layer(module: nn.Module, layers: Sequence[Layer], largest: float | None = None) -> Layer:
    """The layer whose features say most where nobody chose one.

    The code of an autoencoder; the last stage of a classifier; the deepest stage of a U-Net's encoder;
    else the last one of those with the largest stride. For a vector of a whole image a U-Net's stages
    are better taken together (:func:`together`).

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    layers : sequence of Layer
        What :func:`layers_of` found in it.
    largest : float, optional
        Largest stride that is of use: objects of fewer pixels would share their cells. Then the
        deepest of the stages with maps that has no larger one, or the shallowest.

    Raises
    ------
    CardError
        If no layer gives features.
    """
    by_name = {layer.name: layer for layer in layers}
    if largest is None and CODE in by_name:
        return by_name[CODE]
    stages = [by_name[name] for name in _stages(module) if name in by_name and by_name[name].stride]
    if not stages:
        maps = [layer for layer in layers if layer.stride and layer.name not in _ANSWERS]
        if not maps:
            raise CardError("No layer of this network gives feature maps.")
        most = max(max(layer.stride) for layer in maps)
        stages = maps if largest is not None else [layer for layer in maps if max(layer.stride) == most]
    fine = [layer for layer in stages if largest is None or max(layer.stride) <= largest]
    return fine[-1] if fine else min(stages, key=lambda layer: max(layer.stride))


def _stages(module: nn.Module) -> list[str]:
    """Names of the stages of a classifier or of a U-Net's encoder, from fine to coarse."""
    members = getattr(module, "members", None)
    parts: list[tuple[str, Any]] = [("", module)] if members is None else [("members.0.", members[0])]
    inner = getattr(module, "unet", None)
    parts += [("unet.", inner)] if inner is not None else []
    for prefix, part in parts:
        for attribute in ("stages", "encoder"):
            stages = getattr(part, attribute, None)
            if isinstance(stages, nn.ModuleList | nn.Sequential):
                return [f"{prefix}{attribute}.{n}" for n in range(len(stages))]
    return []


def together(module: nn.Module, layers: Sequence[Layer]) -> Layer | None:
    """All stages of a U-Net's encoder as one layer, or None for other networks.

    What a network has learned to ignore for its own task goes with depth, and is what another task may
    need (Yosinski et al., NIPS 2014, arXiv:1411.1792): where the task is another one, no single depth
    is right for all images.
    """
    names = _stages(module)
    prefix = names[0].rpartition(".")[0] if names else ""
    # the encoder of a U-Net is a list of stages; that of an autoencoder is one chain
    if not prefix.endswith("encoder") or not isinstance(module.get_submodule(prefix), nn.ModuleList):
        return None
    parts = _under(layers, prefix)
    return _group(prefix, parts) if 1 < len(parts) == len(names) else None


def _under(layers: Sequence[Layer], prefix: str) -> tuple[Layer, ...]:
    """The layers ``prefix.0``, ``prefix.1``, ... that have maps."""
    return tuple(layer for layer in layers if layer.name.rpartition(".")[0] == prefix and layer.stride)


def _group(prefix: str, parts: tuple[Layer, ...]) -> Layer:
    frames = all(part.frames for part in parts)
    total = sum(part.features for part in parts)
    return Layer(f"{prefix}.*", f"{len(parts)} layers", total, frames=frames, parts=parts)


def find_layer(layers: Sequence[Layer], name: str) -> Layer:
    """The layer of a name; ``"encoder.*"`` is all layers ``encoder.0``, ``encoder.1``, ... together.

    Raises
    ------
    OptionError
        If there is none; the nearest names are given.
    """
    by_name = {layer.name: layer for layer in layers}
    if name in by_name:
        return by_name[name]
    if name.endswith(".*") and _under(layers, name[:-2]):
        return _group(name[:-2], _under(layers, name[:-2]))
    near = difflib.get_close_matches(name, by_name, n=3, cutoff=0.5)
    told = near or [layer.name for layer in layers if layer.name.count(".") <= 1][:12]
    raise OptionError(
        f"The network has no layer {name!r} that gives features.",
        f"{'Did you mean' if near else 'It has, for example,'} {', '.join(map(repr, told))}? "
        "'deepbio models show NAME --layers' lists all.",
    )


def _device_of(module: nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))
