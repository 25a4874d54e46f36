"""A torch network that can be looked into: what its layers give.

Only networks of ours (safetensors) can: TorchScript and ONNX are closed programs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepbio.engine.device import Device
from deepbio.engine.runtimes.layers import CODE, Layer, by_frame
from deepbio.engine.runtimes.with_torch import first_output, load_module
from deepbio.errors import CardError
from deepbio.library.card import ModelCard

__all__ = ["LayerRuntime", "MovieLayerRuntime", "hooked", "open_module"]


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


class _Enough(Exception):
    """The layer has been computed: the rest of the network is not needed."""


class LayerRuntime:
    """A runtime that gives what one layer gives.

    Several layers of the same tile are computed at once: ask :meth:`of` for each.

    Parameters
    ----------
    module : torch.nn.Module
        From :func:`open_module`.
    layer : Layer
        Which, or several together.
    device : Device
        Where the module is.
    """

    name, precision, why = "torch", "fp32", "the layer of a network is asked for"

    def __init__(self, module: nn.Module, layer: Layer, device: Device) -> None:
        self.device = device
        self._module = module
        self._layers = layer.parts or (layer,)
        self._seen: np.ndarray | None = None
        self._found: dict[str, np.ndarray] = {}

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Features ``(N, F, *cells)``, or ``(N, F)`` of a layer without a stride, of ``(N, C, *tile)``."""
        return self.of(self._layers[0])(batch)

    def of(self, layer: Layer) -> Callable[[np.ndarray], np.ndarray]:
        """What gives the features of one of the layers."""

        def features(batch: np.ndarray) -> np.ndarray:
            if len(self._layers) == 1:
                return self._computed(batch)[layer.name]
            if self._seen is None or not np.array_equal(self._seen, batch):
                self._seen, self._found = batch.copy(), self._computed(batch)
            return self._found[layer.name]

        return features

    def _computed(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        pixels = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device.name)
        with torch.no_grad():
            outputs = self._forward(pixels)
        return {
            layer.name: self._shaped(layer, outputs[layer.name], batch).float().cpu().numpy()
            for layer in self._layers
        }

    def _shaped(self, layer: Layer, output: Tensor, batch: np.ndarray) -> Tensor:
        return output if layer.stride else output.reshape(len(batch), -1)

    def _forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """What the layers give; the rest of the network is left out."""
        if self._layers[0].name == CODE:
            encode: Any = self._module.encode
            return {CODE: first_output(encode(pixels))}
        caught: dict[str, Tensor] = {}
        with self._catching(caught, enough=True), suppress(_Enough):
            self._module(pixels)
        return caught

    @contextmanager
    def _catching(self, caught: dict[str, Tensor], *, enough: bool) -> Iterator[None]:
        def catcher(name: str) -> Callable[..., None]:
            def catch(layer: nn.Module, inputs: Any, output: Any) -> None:
                caught[name] = first_output(output)
                if enough and len(caught) == len(self._layers):
                    raise _Enough
                caught[name] = caught[name].clone()  # what follows may work in place

            return catch

        with ExitStack() as hooks:
            for layer in self._layers:
                hooks.enter_context(hooked(self._module, layer.name, catcher(layer.name)))
            yield


class MovieLayerRuntime(LayerRuntime):
    """A runtime that gives what one layer of a network of sequences gives for windows of frames.

    It answers ``(N, C, T, y, x)`` with ``(N, F, T, *cells)`` (vectors are one cell), or ``(N, F)`` of a
    layer that sees whole windows.

    Parameters
    ----------
    module, layer, device
        As of `LayerRuntime`.
    carry : bool
        Whether each call goes on where the last one ended; for networks that look back only.
    """

    def __init__(self, module: nn.Module, layer: Layer, device: Device, *, carry: bool = False) -> None:
        super().__init__(module, layer, device)
        self._carry = carry
        self._states: Any = None

    def _shaped(self, layer: Layer, output: Tensor, batch: np.ndarray) -> Tensor:
        if not layer.frames:
            return output.reshape(len(batch), -1)
        output, _ = by_frame(output, batch.shape[2])
        return output if layer.stride else output.reshape(*output.shape[:3], 1, 1)

    def _forward(self, pixels: Tensor) -> dict[str, Tensor]:
        if not self._carry:
            return super()._forward(pixels)
        caught: dict[str, Tensor] = {}
        network: Any = self._module
        with self._catching(caught, enough=False):  # memories behind the layers have to go on as well
            _, self._states = network.run(pixels, self._states)
        return caught


@contextmanager
def hooked(module: nn.Module, name: str, hook: Callable[..., Any]) -> Iterator[None]:
    """Have `hook(layer, inputs, output)` called after a layer, inside the block."""
    handle = module.get_submodule(name).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
