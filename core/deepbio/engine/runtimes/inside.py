"""A torch network that can be looked into: its layers by name, and what they give.

Only networks of ours (safetensors) can: TorchScript and ONNX are closed programs.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepbio.engine.device import Device
from deepbio.engine.runtimes.with_torch import first_output, load_module
from deepbio.errors import CardError, OptionError
from deepbio.library.card import ModelCard

__all__ = ["CODE", "Layer", "LayerRuntime", "default_layer", "find_layer", "layers_of", "open_module"]

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
    """

    name: str
    kind: str
    features: int
    stride: tuple[int, ...] = ()


def open_module(card: ModelCard, device: Device) -> nn.Module:
    """The network of a card as a torch module that can be looked into and differentiated.

    Raises
    ------
    CardError
        If the package has no weights of a network of ours.
    MissingPackage
        If torch is not installed.
    WeightsError
        If the weights are damaged or do not fit.
    """
    weights = card.weights_of("safetensors")
    if weights is None:
        found = ", ".join(one.format for one in card.weights)
        raise CardError(
            f"The model '{card.name}' has weights as {found} only, which cannot be looked into.",
            "Features, Grad-CAM, integrated gradients and dropout need a network of deepbio (safetensors); "
            "occlusion and test-time augmentation run with any.",
        )
    weights.verify()
    module = load_module(weights).to(device.name)
    for layer in module.modules():
        if hasattr(layer, "inplace"):
            setattr(layer, "inplace", False)  # noqa: B010 - no field of Module; what a layer gave is looked at later
    return module.requires_grad_(False)


def layers_of(module: nn.Module, shape: Sequence[int]) -> tuple[Layer, ...]:
    """All layers that give feature maps or vectors, in the order in which they are computed.

    Parameters
    ----------
    module : torch.nn.Module
        The network, in evaluation mode.
    shape : sequence of int
        ``(C, [z,] y, x)`` of an input that it takes.
    """
    spatial = tuple(shape[1:])
    names = {layer: name for name, layer in module.named_modules() if name}
    found: dict[str, Layer] = {}

    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        described = _described(names[layer], layer, output, spatial)
        if described is not None:
            found.setdefault(described.name, described)

    hooks = [layer.register_forward_hook(note) for layer in names]
    pixels = torch.zeros(1, *shape, device=_device_of(module))
    try:
        with torch.no_grad():
            encode: Any = getattr(module, "encode", None)
            code = first_output(encode(pixels)) if callable(encode) else None
            module(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    layers = list(found.values())
    if code is not None:
        described = _described(CODE, module, code, spatial)
        layers[:0] = [described] if described is not None else []
    return tuple(layers)


def _described(name: str, layer: nn.Module, output: Any, spatial: tuple[int, ...]) -> Layer | None:
    """A layer by what it gave; None for what is neither maps nor a vector of one image."""
    if isinstance(output, list | tuple):
        output = output[0] if output else None
    if not isinstance(output, Tensor) or output.shape[:1] != (1,):
        return None
    cells = tuple(output.shape[2:])
    kind = type(layer).__name__
    if output.ndim == 2 or (len(cells) == len(spatial) and set(cells) == {1}):
        return Layer(name, kind, int(output.shape[1]))
    if len(cells) != len(spatial) or any(n % c for n, c in zip(spatial, cells, strict=True)):
        return None  # valid convolutions, attention: no whole stride
    return Layer(name, kind, int(output.shape[1]), tuple(n // c for n, c in zip(spatial, cells, strict=True)))


def default_layer(module: nn.Module, layers: Sequence[Layer], largest: float | None = None) -> Layer:
    """The layer whose features say most where nobody chose one.

    The code of an autoencoder; the last stage of a classifier; the deepest stage of a U-Net's encoder;
    else the last one of those with the largest stride.

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
        maps = [layer for layer in layers if layer.stride]
        if not maps:
            raise CardError("No layer of this network gives feature maps.")
        most = max(max(layer.stride) for layer in maps)
        stages = maps if largest is not None else [layer for layer in maps if max(layer.stride) == most]
    fine = [layer for layer in stages if largest is None or max(layer.stride) <= largest]
    return fine[-1] if fine else min(stages, key=lambda layer: max(layer.stride))


def _stages(module: nn.Module) -> list[str]:
    """Names of the stages of a classifier or of a U-Net's encoder, from fine to coarse."""
    members = getattr(module, "members", None)
    parts = [("", module)] if members is None else [("members.0.", members[0])]
    for prefix, part in parts:
        for attribute in ("stages", "encoder"):
            stages = getattr(part, attribute, None)
            if isinstance(stages, nn.ModuleList | nn.Sequential):
                return [f"{prefix}{attribute}.{n}" for n in range(len(stages))]
    return []


def find_layer(layers: Sequence[Layer], name: str) -> Layer:
    """The layer of a name.

    Raises
    ------
    OptionError
        If there is none; the nearest names are given.
    """
    by_name = {layer.name: layer for layer in layers}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name, by_name, n=3, cutoff=0.5)
    told = near or [layer.name for layer in layers if layer.name.count(".") <= 1][:12]
    raise OptionError(
        f"The network has no layer {name!r} that gives features.",
        f"{'Did you mean' if near else 'It has, for example,'} {', '.join(map(repr, told))}? "
        "'deepbio models show NAME --layers' lists all.",
    )


class _Enough(Exception):
    """The layer has been computed: the rest of the network is not needed."""


class LayerRuntime:
    """A runtime that gives what one layer gives.

    Parameters
    ----------
    module : torch.nn.Module
        From :func:`open_module`.
    layer : Layer
        Which.
    device : Device
        Where the module is.
    """

    name, precision, why = "torch", "fp32", "the layer of a network is asked for"

    def __init__(self, module: nn.Module, layer: Layer, device: Device) -> None:
        self.device = device
        self._module, self._layer = module, layer

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Features ``(N, F, *cells)``, or ``(N, F)`` of a layer without a stride, of ``(N, C, *tile)``."""
        with torch.no_grad():
            output = self._forward(torch.from_numpy(np.ascontiguousarray(batch)).to(self.device.name))
        if not self._layer.stride:
            output = output.reshape(len(batch), -1)
        features: np.ndarray = output.float().cpu().numpy()
        return features

    def _forward(self, pixels: Tensor) -> Tensor:
        if self._layer.name == CODE:
            encode: Any = self._module.encode
            return first_output(encode(pixels))
        caught: list[Tensor] = []

        def catch(layer: nn.Module, inputs: Any, output: Any) -> None:
            caught.append(first_output(output))
            raise _Enough

        with hooked(self._module, self._layer.name, catch), suppress(_Enough):
            self._module(pixels)
        return caught[0]


@contextmanager
def hooked(module: nn.Module, name: str, hook: Callable[..., Any]) -> Iterator[None]:
    """Have `hook(layer, inputs, output)` called after a layer, inside the block."""
    handle = module.get_submodule(name).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _device_of(module: nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))
