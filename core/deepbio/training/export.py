"""Networks as ONNX files: for any image size, with weights stored as float16."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepbio.errors import MissingPackage
from deepbio.networks.flow import FlowGenerator

__all__ = ["OPSET", "export_onnx"]

OPSET = 18
"""Of the ONNX files."""


def export_onnx(
    network: nn.Module, shape: Sequence[int], path: Path, fixed: Sequence[int] = (), *, half: bool = True
) -> None:
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
    half : bool
        Whether weights are stored as float16; else as they are.

    Raises
    ------
    MissingPackage
        If onnx or onnxscript are not installed.
    """
    _require_onnx()
    import onnx

    if isinstance(network, FlowGenerator):
        model = _flow_model(network)
    else:
        # two images, since an axis of size 1 would be taken as constant
        example = torch.zeros(2, *shape)
        free = [axis for axis in range(1, len(shape)) if axis not in fixed]
        model = _exported(network, {"input": example}, "output", [0, *(axis + 1 for axis in free)])
    if half:
        _store_as_half(model.graph, onnx)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401 - the exporter needs it and says so late
    except ImportError as error:
        raise MissingPackage(error.name or "onnx", "Writing a model package", extra="train") from error


def _exported(network: nn.Module, inputs: dict[str, Tensor], output: str, free: Sequence[int]) -> Any:
    """A network as an ONNX model; the axes `free` of all inputs may have any size."""
    axes = dict.fromkeys(free, torch.export.Dim.DYNAMIC)
    with warnings.catch_warnings(), _Quiet("torch.onnx"):
        # torch's own exporter uses what torch has deprecated
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            tuple(inputs.values()),
            dynamo=True,
            optimize=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=tuple(axes for _ in inputs),
        )
    assert program is not None  # noqa: S101 - for the type checker: dynamo always returns it
    model = program.model_proto
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]  # source lines of this machine
        node.doc_string = ""
    return model


class _Step(nn.Module):
    """One step of a flow, as a module."""

    def __init__(self, network: FlowGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, time: Tensor, asked: Tensor) -> Tensor:
        return self.network.step(x, time, asked)


def _flow_model(network: FlowGenerator) -> Any:
    """A flow as a loop of one step, and the decoder after it.

    The exporter would write every step anew, which takes minutes and makes a hundred times as many nodes.
    """
    from onnx import TensorProto, compose, helper

    code, edge = network.code, network.edge
    x, asked = torch.zeros(2, code, edge, edge), torch.zeros(2, network.classes)
    inputs = {"x": x, "time": torch.zeros(2), "asked": asked}
    step = compose.add_prefix(_exported(_Step(network), inputs, "next", [0]), "step/")
    decoder = compose.add_prefix(_exported(network.decoder, {"codes": x}, "image", [0]), "decoder/")
    body = helper.make_graph(
        [
            helper.make_node("Cast", ["number"], ["count"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["count", "steps"], ["now"]),
            helper.make_node("Expand", ["now", "batch"], ["step/time"]),
            *step.graph.node,
            helper.make_node("Identity", ["going"], ["still_going"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            *(one for one in step.graph.input if one.name == "step/x"),
        ],
        [helper.make_tensor_value_info("still_going", TensorProto.BOOL, []), *step.graph.output],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Split", ["input", "parts"], ["noise", "step/asked"], axis=1),
            helper.make_node("Reshape", ["noise", "shape"], ["start"]),
            helper.make_node("Shape", ["input"], ["batch"], start=0, end=1),
            helper.make_node("Loop", ["times", "", "start"], ["decoder/codes"], body=body),
            *decoder.graph.node,
            helper.make_node("Identity", ["decoder/image"], ["output"]),
        ],
        "flow",
        [
            helper.make_tensor_value_info(
                "input", TensorProto.FLOAT, ["batch", network.latent + network.classes]
            )
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", None, None, None])],
        [
            _integers("parts", [network.latent, network.classes]),
            _integers("shape", [-1, code, edge, edge]),
            _integers("times", network.steps),
            helper.make_tensor("steps", TensorProto.FLOAT, [], [float(network.steps)]),
            *step.graph.initializer,
            *decoder.graph.initializer,
        ],
    )
    return helper.make_model(graph, opset_imports=step.opset_import, ir_version=step.ir_version)


def _integers(name: str, values: Sequence[int] | int) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array(values, np.int64), name)


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
