"""The programs that can run a network, in one table; each is imported when it is chosen."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from deepbio.engine.device import Device
from deepbio.events import Listener, silent
from deepbio.library.card import Weights

__all__ = ["BACKENDS", "Backend", "Opening", "Runtime"]


class Runtime(Protocol):
    """A network that is ready to run.

    Attributes
    ----------
    name : str
        As in ``RunOptions.runtime``.
    precision : str
        ``"fp32"``, ``"bf16"`` or ``"fp16"``: the arithmetic inside; scores are float32.
    device : Device
        Where it computes.
    why : str
        Why it was chosen, for the record.
    """

    name: str
    precision: str
    device: Device
    why: str

    def __call__(self, batch: np.ndarray) -> Any:
        """Scores of a batch of tiles.

        Parameters
        ----------
        batch : ndarray, float32, shape (N, C, *tile)
            Normalised pixels, contiguous.

        Returns
        -------
        float32, shape (N, K, *tile)
            A numpy array on the CPU, else a torch tensor that stays on the device. The caller may
            overwrite it, and it is valid until the next call.
        """


@dataclass(frozen=True)
class Opening:
    """What a backend needs to open a network.

    Attributes
    ----------
    weights : Weights
        The file, already verified.
    device : Device
        Where to compute.
    precision : str
        ``"fp32"``, ``"bf16"`` or ``"fp16"``.
    shape : tuple of int
        Shape of a batch of one tile, ``(1, C, *tile)``; others may follow.
    threads : int
        CPU threads to use.
    listener : Listener
        Hears what went otherwise than it should, and cost only time.
    """

    weights: Weights
    device: Device
    precision: str
    shape: tuple[int, ...]
    threads: int
    listener: Listener = silent


@dataclass(frozen=True)
class Backend:
    """A way to run a network.

    Attributes
    ----------
    name : str
        As in ``RunOptions.runtime``.
    package : str
        What must be installed.
    extra : str
        The extra of this distribution that installs it; empty if the base does.
    module : str
        Module of ours with ``open_network(opening) -> Runtime``.
    formats : tuple of str
        Formats of weights that it runs, the best first.
    devices : tuple of str
        Kinds of devices that it computes on.
    precisions : tuple of str
        Arithmetic that it can be told to use.
    automatic : bool
        Whether ``auto`` may take it (torch.compile takes up to a minute to start).
    """

    name: str
    package: str
    extra: str
    module: str
    formats: tuple[str, ...]
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[str, ...] = ("fp32", "bf16", "fp16")
    automatic: bool = True

    @property
    def installed(self) -> bool:
        """Whether its package can be imported."""
        return importlib.util.find_spec(self.package) is not None

    def weights(self, available: Sequence[Weights]) -> Weights | None:
        """The best weights for it, or None.

        Formats other than the runtime's own need torch to be read.
        """
        for format in self.formats:
            if format in _NEEDS_TORCH and importlib.util.find_spec("torch") is None:
                continue
            for weights in available:
                if weights.format == format:
                    return weights
        return None

    def open(self, opening: Opening) -> Runtime:
        """Load the network."""
        runtime: Runtime = importlib.import_module(self.module).open_network(opening)
        return runtime


_NEEDS_TORCH = ("safetensors", "torchscript")
_ANY = ("cpu", "cuda", "xpu", "mps")
_HERE = "deepbio.engine.runtimes"

BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        # OpenVINO reads ONNX at once; a torch module must be traced first (seconds).
        Backend(
            "openvino",
            "openvino",
            "openvino",
            f"{_HERE}.with_openvino",
            ("onnx", "safetensors", "torchscript"),
        ),
        Backend("onnx", "onnxruntime", "", f"{_HERE}.with_onnx", ("onnx",), precisions=("fp32",)),
        Backend("torch", "torch", "torch", f"{_HERE}.with_torch", ("safetensors", "torchscript"), _ANY),
        Backend(
            "compile",
            "torch",
            "torch",
            f"{_HERE}.with_torch_compile",
            ("safetensors",),
            _ANY,
            automatic=False,
        ),
    )
}
