"""torch, eager: every device that torch knows."""

from __future__ import annotations

import contextlib
import itertools
import warnings
import weakref
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deepbio import networks
from deepbio.engine import memory
from deepbio.engine.device import Device
from deepbio.engine.runtimes import Opening
from deepbio.engine.runtimes.script import check_script
from deepbio.errors import WeightsError
from deepbio.library.card import Weights

__all__ = ["TorchRuntime", "load_module", "open_network"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_IMAGES = 4  # axes of a batch of 2D images
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


class TorchRuntime:
    """Runs a torch module.

    On the CPU tiles are computed one by one (larger batches do not help there and cost memory) and
    scores come back as numpy arrays; elsewhere they stay on the device.

    Parameters
    ----------
    module : torch.nn.Module
        The network, float32, in evaluation mode.
    device : Device
        Where to compute.
    precision : str
        ``"fp32"``, ``"bf16"`` or ``"fp16"``; the last two by autocast, with float32 scores.
    threads : int
        Most CPU threads to use.
    """

    name = "torch"
    why = ""

    def __init__(self, module: nn.Module, device: Device, precision: str = "fp32", threads: int = 0) -> None:
        self.device, self.precision = device, precision
        self._on_cpu = device.kind == "cpu"
        if self._on_cpu:
            if 0 < threads < torch.get_num_threads():
                torch.set_num_threads(threads)
            if memory.keep_pages():
                weakref.finalize(self, memory.release_pages)
        network: Any = fuse_batch_norm(module.eval()).to(device.name)
        self._format = torch.contiguous_format
        if any(isinstance(layer, nn.Conv2d) for layer in network.modules()):
            # Measured on a CPU: 1.3-1.5 times as fast in 2D, no gain in 3D.
            self._format = torch.channels_last
            network = network.to(memory_format=torch.channels_last)
        self._module = network

    def __call__(self, batch: np.ndarray) -> Any:
        """Scores, float32 ``(N, K, *tile)``, of a float32 batch ``(N, C, *tile)``."""
        with torch.no_grad(), self._autocast():
            if not self._on_cpu:
                return self._forward(torch.from_numpy(batch).to(self.device.name, non_blocking=True)).float()
            if len(batch) == 1:
                return self._forward(torch.from_numpy(batch)).float().numpy()
            return np.concatenate(
                [self._forward(torch.from_numpy(one[None])).float().numpy() for one in batch]
            )

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        # frames of a movie have an axis more than that format is for
        format = self._format if x.ndim == _IMAGES else torch.contiguous_format
        return first_output(self._module(x.contiguous(memory_format=format)))

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.kind, DTYPES[self.precision])


def open_network(opening: Opening) -> TorchRuntime:
    """Load the weights into a torch module and run it eagerly."""
    module = load_module(opening.weights)
    return TorchRuntime(module, opening.device, opening.precision, opening.threads)


def load_module(weights: Weights) -> nn.Module:
    """The torch module of safetensors (through ``networks.build``) or TorchScript weights.

    Parameters
    ----------
    weights : Weights
        Already verified. Half-precision numbers on disk become float32 in memory.

    Returns
    -------
    torch.nn.Module
        On the CPU, in evaluation mode.

    Raises
    ------
    WeightsError
        If the file cannot be read, does not fit the network that the card names, or is TorchScript that calls
        for files.
    """
    if weights.format == "torchscript":
        check_script(weights.path)
        load: Any = torch.jit.load  # untyped
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # to be written no more, but still read
                return load(str(weights.path), map_location="cpu").eval().float()
        except (RuntimeError, ValueError) as error:
            raise WeightsError(f"'{weights.path}' cannot be read as TorchScript: {_line(error)}") from error
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(weights.path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"'{weights.path}' cannot be read as safetensors: {_line(error)}", "Get the model package again."
        ) from error
    module = networks.build(weights.network, weights.arguments)
    try:
        module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except RuntimeError as error:
        raise WeightsError(
            f"The weights '{weights.path}' do not fit the network {weights.network!r} with the arguments "
            f"{dict(weights.arguments)}: {str(error)[:500]}"
        ) from error
    return module.eval()


def fuse_batch_norm(module: nn.Module) -> nn.Module:
    """Fold each batch normalisation that directly follows a convolution into it, in place.

    Only inside ``nn.Sequential``, where the order of execution is certain.
    """
    for parent in list(module.modules()):
        if not isinstance(parent, nn.Sequential):
            continue
        children = list(parent.named_children())
        for (name, layer), (following, norm) in itertools.pairwise(children):
            if (
                isinstance(layer, _CONVOLUTIONS)
                and isinstance(norm, _BATCH_NORMS)
                and norm.track_running_stats
            ):
                setattr(parent, name, fuse_conv_bn_eval(layer, norm))
                setattr(parent, following, nn.Identity())
    return module


def first_output(result: Any) -> torch.Tensor:
    """The scores of a network that may return several outputs, the finest first."""
    return first_output(result[0]) if isinstance(result, list | tuple) else result


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
