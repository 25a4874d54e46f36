"""OpenVINO: the fastest on most CPUs."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np

from deepbio.engine.device import Device
from deepbio.engine.runtimes import Opening
from deepbio.engine.runtimes.converted import keep_converted, recall_converted
from deepbio.errors import CardError, WeightsError

__all__ = ["OpenVinoRuntime", "open_network", "split_concatenations"]

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_NARROW = 8  # channels below which a convolution is not worth its call
_KEPT_SHAPES = 4  # compiled networks that are kept, one for each size of tile


class OpenVinoRuntime:
    """Runs an OpenVINO model on the CPU, one tile at a time, in the caller's own buffers.

    The model is compiled for each size of tile that comes (0.1-0.3 s for a U-Net; running a model
    for any size is 3 % slower).

    Parameters
    ----------
    model : openvino.Model
        A network with one input.
    device : Device
        The CPU.
    precision : str
        ``"fp32"``, ``"bf16"`` or ``"fp16"``.
    threads : int
        CPU threads to use.
    """

    name = "openvino"
    why = ""

    def __init__(self, model: Any, device: Device, precision: str, threads: int) -> None:
        self.device, self.precision = device, precision
        self._openvino = _import_openvino()
        self._model = model
        self._core = self._openvino.Core()
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            # Threads bound to processors would all bind to the same ones in several processes at once.
            "ENABLE_CPU_PINNING": False,
            # Left to itself, it computes in bf16 where the CPU can, which changes labels.
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._scores: np.ndarray | None = None

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Scores, float32 ``(N, K, *tile)``; valid until the next call."""
        request = self._request((1, *batch.shape[1:]))
        tensor = self._openvino.Tensor
        if len(batch) == 1:
            request.set_input_tensor(tensor(batch, shared_memory=True))
            request.infer()
            return request.get_output_tensor(0).data
        scores: list[np.ndarray] = []
        for one in batch:
            request.set_input_tensor(tensor(one[None], shared_memory=True))
            request.infer()
            scores.append(request.get_output_tensor(0).data.copy())
        return np.concatenate(scores)

    def _request(self, shape: tuple[int, ...]) -> Any:
        """The inference request compiled for this shape."""
        if shape in self._requests:
            self._requests.move_to_end(shape)
            return self._requests[shape]
        model = self._model.clone()
        model.reshape(list(shape))
        request = self._core.compile_model(model, "CPU", self._settings).create_infer_request()
        self._requests[shape] = request
        if len(self._requests) > _KEPT_SHAPES:
            self._requests.popitem(last=False)
        return request


def open_network(opening: Opening) -> OpenVinoRuntime:
    """Load an ONNX file, or convert a torch module, which is done once and kept.

    Raises
    ------
    WeightsError
        If the network cannot be converted.
    """
    openvino = _import_openvino()
    path = opening.weights.path
    try:
        if opening.weights.format == "onnx":
            model = openvino.Core().read_model(str(path))
        else:
            model = recall_converted(opening.weights, openvino, opening.listener)
            if model is None:
                model = _converted(openvino, opening)
                keep_converted(model, opening.weights, openvino, opening.listener)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"'{path}' cannot be converted by OpenVINO: {reason}", "Choose another runtime."
        ) from error
    split_concatenations(model)
    return OpenVinoRuntime(_float32(openvino, model), opening.device, opening.precision, opening.threads)


def _converted(openvino: Any, opening: Opening) -> Any:
    """The network, loaded by torch and traced."""
    import torch

    from deepbio.engine.runtimes.with_torch import load_module

    module = load_module(opening.weights)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is what torch has deprecated, and it tells of sizes
        return openvino.convert_model(module, example_input=torch.zeros(opening.shape))


def split_concatenations(model: Any) -> int:
    """Convolve the two inputs of a concatenation each for itself, and add: the joined one is never made.

    A U-Net convolves its skip connection joined with what comes from below, at full resolution the largest
    array of all. A convolution is linear, so it is the sum of one for each; OpenVINO lets the second
    add to the first in place. Scores change by rounding.

    Parameters
    ----------
    model : openvino.Model
        Changed in place.

    Returns
    -------
    int
        How many there were.
    """
    openvino = _import_openvino()
    found = 0
    for node in list(model.get_ordered_ops()):
        parts = _joined(node) if node.get_type_name() == "Convolution" else []
        if not parts:
            continue
        ops, said = openvino.opset13, node.get_attributes()
        weights, first, terms = node.input(1).get_source_output(), 0, []
        for part in parts:
            last = first + part.get_partial_shape()[1].get_length()
            own = ops.slice(weights, *(np.array([n]) for n in (first, last, 1, 1)))
            where = (said[name] for name in ("strides", "pads_begin", "pads_end", "dilations", "auto_pad"))
            terms.append(ops.convolution(part, own, *where))
            first = last
        total = ops.add(*terms)
        for target in node.output(0).get_target_inputs():
            target.replace_source_output(total.output(0))
        found += 1
    model.validate_nodes_and_infer_types()
    return found


def _joined(convolution: Any) -> list[Any]:
    """The two inputs of a concatenation of channels that goes into this convolution alone; else none."""
    source = convolution.input(0).get_source_output()
    node = source.get_node()
    if node.get_type_name() != "Concat" or len(source.get_target_inputs()) != 1:
        return []
    parts = [one.get_source_output() for one in node.inputs()]
    shapes = [part.get_partial_shape() for part in parts]
    # of more or of narrow parts (DenseNet) the many small convolutions cost more than the joining
    known = len(parts) == 2 and all(s.rank.is_static and s[1].is_static for s in shapes)
    if not known or node.get_axis() != 1 or min(s[1].get_length() for s in shapes) < _NARROW:
        return []
    return parts


def _float32(openvino: Any, model: Any) -> Any:
    """The model with its one input and its first output as float32."""
    if len(model.inputs) != 1:
        names = ", ".join(one.get_any_name() for one in model.inputs)
        raise CardError(f"The network has {len(model.inputs)} inputs ({names}); expected one.")
    steps = openvino.preprocess.PrePostProcessor(model)
    steps.input().tensor().set_element_type(openvino.Type.f32)
    steps.output(0).tensor().set_element_type(openvino.Type.f32)
    return steps.build()


def _import_openvino() -> Any:
    """Import openvino without its usage statistics, which it would send at the import."""
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    missing = object()
    before = sys.modules.get("openvino_telemetry", missing)
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # "not installed"
    try:
        return importlib.import_module("openvino")
    finally:
        if before is missing:
            del sys.modules["openvino_telemetry"]
        else:
            sys.modules["openvino_telemetry"] = before  # type: ignore[assignment]
