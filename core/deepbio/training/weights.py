"""Weights as files: safetensors (rounded to float16 unless they are others'), and the same numbers in an ONNX twin."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from deepbio.networks import build
from deepbio.training.export import OPSET, export_onnx

__all__ = ["WeightFiles", "weight_files"]


@dataclass(frozen=True)
class WeightFiles:
    """A network and its weights as files.

    Attributes
    ----------
    network : torch.nn.Module
        With the rounded weights as float32, in evaluation mode: what everybody who reads the files
        computes with.
    safetensors : Path
        Weights in float16, or as they were.
    onnx : Path or None
        The same network with the same weights.
    name, arguments : str, dict
        Of the network, as for `deepbio.networks.build`.
    """

    network: nn.Module
    safetensors: Path
    onnx: Path | None
    name: str
    arguments: dict[str, Any]

    @property
    def entries(self) -> dict[str, Any]:
        """What a `PackageContent` says of weights, by the names of its fields."""
        return {
            "network": self.name,
            "arguments": self.arguments,
            "safetensors": self.safetensors,
            "onnx": self.onnx,
            "opset": OPSET,
        }


@contextmanager
def weight_files(
    name: str,
    arguments: Mapping[str, Any],
    state: Mapping[str, Tensor],
    shape: Sequence[int],
    *,
    onnx: bool = True,
    half: bool = True,
    fixed: Sequence[int] = (),
) -> Iterator[WeightFiles]:
    """Write a network's weights for a package; the files last as long as the context.

    Parameters
    ----------
    name, arguments : str, mapping
        As for `deepbio.networks.build`.
    state : mapping of str to Tensor
        Its state.
    shape : sequence of int
        Of an input that it takes, without batch.
    onnx : bool
        Whether to write the twin too.
    half : bool
        Whether floating-point numbers are rounded to float16.
    fixed : sequence of int
        Axes of `shape` whose size the twin takes as it is, such as time.

    Raises
    ------
    MissingPackage
        If onnx or onnxscript are not installed.
    """
    rounded = {k: v.half() if half and v.is_floating_point() else v for k, v in state.items()}
    final = build(name, arguments).eval()
    final.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in rounded.items()})
    with tempfile.TemporaryDirectory(prefix="deepbio-package-") as temporary:
        weights, twin = Path(temporary) / "weights.safetensors", Path(temporary) / "weights.onnx"
        save_file({key: value.contiguous() for key, value in rounded.items()}, weights)
        if onnx:
            export_onnx(final, shape, twin, fixed, half=half)
        yield WeightFiles(final, weights, twin if onnx else None, name, dict(arguments))
