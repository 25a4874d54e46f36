"""Weights as files: rounded to float16 in safetensors, and the same numbers in an ONNX twin."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from deepbio.errors import MissingPackage
from deepbio.networks import build

__all__ = ["OPSET", "WeightFiles", "export_onnx", "weight_files"]

OPSET = 18
"""Of the ONNX files."""


@dataclass(frozen=True)
class WeightFiles:
    """A network and its weights as files.

    Attributes
    ----------
    network : torch.nn.Module
        With the rounded weights as float32, in evaluation mode: what everybody who reads the files
        computes with.
    safetensors : Path
        Weights in float16.
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
    fixed: Sequence[int] = (),
) -> Iterator[WeightFiles]:
    """Write a network's weights for a package; the files last as long as the context.

    Parameters
    ----------
    name, arguments : str, mapping
        As for `deepbio.networks.build`.
    state : mapping of str to Tensor
        Its state; floating-point numbers are rounded to float16.
    shape : sequence of int
        Of an input that it takes, without batch.
    onnx : bool
        Whether to write the twin too.
    fixed : sequence of int
        Axes of `shape` whose size the twin takes as it is, such as time.

    Raises
    ------
    MissingPackage
        If onnx or onnxscript are not installed.
    """
    rounded = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    final = build(name, arguments).eval()
    final.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in rounded.items()})
    with tempfile.TemporaryDirectory(prefix="deepbio-package-") as temporary:
        weights, twin = Path(temporary) / "weights.safetensors", Path(temporary) / "weights.onnx"
        save_file({key: value.contiguous() for key, value in rounded.items()}, weights)
        if onnx:
            export_onnx(final, shape, twin, fixed)
        yield WeightFiles(final, weights, twin if onnx else None, name, dict(arguments))


def export_onnx(network: nn.Module, shape: Sequence[int], path: Path, fixed: Sequence[int] = ()) -> None:
    """Write a network as ONNX for any image size, its weights in float16.

    The weights are stored as float16 and cast to float32 at their use, so a network whose
    weights are float16 numbers computes with the same ones.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    shape : sequence of int, (C, [z,] y, x)
        An input that it takes.
    path : Path
        File to write.
    fixed : sequence of int
        Axes of `shape` whose size stays.

    Raises
    ------
    MissingPackage
        If onnx or onnxscript are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - the exporter needs it and says so late
    except ImportError as error:
        raise MissingPackage(error.name or "onnx", "Writing a model package", extra="train") from error
    dynamic = torch.export.Dim.DYNAMIC
    # two images, since an axis of size 1 would be taken as constant
    example = torch.zeros(2, *shape)
    free = [axis for axis in range(1, len(shape)) if axis not in fixed]
    axes = {0: dynamic} | {axis + 1: dynamic for axis in free}
    with warnings.catch_warnings(), _Quiet("torch.onnx"):
        # torch's own exporter uses what torch has deprecated
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            optimize=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=(axes,),
        )
    assert program is not None  # noqa: S101 - for the type checker: dynamo always returns it
    model = program.model_proto
    _store_as_half(model.graph, onnx)
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]  # source lines of this machine
        node.doc_string = ""
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _store_as_half(graph: Any, onnx: Any) -> None:
    """Replace float32 initialisers by float16 ones, each followed by a cast to float32."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]


class _Quiet:
    """Keep a logger at errors for a while."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def __enter__(self) -> None:
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        self._logger.setLevel(self._level)
