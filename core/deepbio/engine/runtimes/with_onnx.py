"""ONNX Runtime on the CPU: part of the base install."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepbio.engine.device import Device
from deepbio.engine.runtimes import Opening
from deepbio.errors import CardError, WeightsError

__all__ = ["OnnxRuntime", "open_network"]

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
_WARNINGS_OFF = 3  # log errors only


class OnnxRuntime:
    """Runs an ONNX session, one tile at a time, reading and writing our own buffers.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        A network with one input.
    device : Device
        The CPU.
    """

    name = "onnx"
    precision = "fp32"
    why = ""

    def __init__(self, session: Any, device: Device) -> None:
        self.device = device
        self._session = session
        inputs = session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(one.name for one in inputs)
            raise CardError(f"The network has {len(inputs)} inputs ({names}); expected one.")
        if inputs[0].type not in _TYPES:
            raise CardError(f"The network takes {inputs[0].type}; known are {', '.join(_TYPES)}.")
        self._input, self._dtype = inputs[0].name, _TYPES[inputs[0].type]
        self._output = session.get_outputs()[0].name
        self._scores: np.ndarray | None = None
        self._size: tuple[int, ...] = ()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Scores, float32 ``(N, K, *tile)``; valid until the next call."""
        for n, one in enumerate(batch):
            # by the input's size: that of the scores may differ, or a classifier's have none
            if self._scores is None or self._size != batch.shape[2:] or len(self._scores) < len(batch):
                first = self._run(one[None])
                self._scores = np.empty((len(batch), *first.shape[1:]), np.float32)
                self._scores[n] = first[0]
                self._size = batch.shape[2:]
            else:
                self._run_into(one[None], self._scores[n : n + 1])
        assert self._scores is not None  # noqa: S101
        return self._scores[: len(batch)]

    def _run(self, one: np.ndarray) -> np.ndarray:
        return self._session.run([self._output], {self._input: one.astype(self._dtype, copy=False)})[0]

    def _run_into(self, one: np.ndarray, scores: np.ndarray) -> None:
        if self._dtype != np.float32 or self._session.get_outputs()[0].type != "tensor(float)":
            scores[...] = self._run(one)
            return
        binding = self._session.io_binding()
        binding.bind_input(self._input, "cpu", 0, np.float32, one.shape, one.ctypes.data)
        binding.bind_output(self._output, "cpu", 0, np.float32, scores.shape, scores.ctypes.data)
        self._session.run_with_iobinding(binding)


def open_network(opening: Opening) -> OnnxRuntime:
    """Load an ONNX file.

    Raises
    ------
    WeightsError
        If it cannot be read or uses operators that this version does not know.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = opening.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _WARNINGS_OFF
    # Threads that wait should sleep: the machine belongs to the host program, too.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = opening.weights.path
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (
        state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile,
        state.NotImplemented,
    ) as error:  # fmt: skip
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"'{path}' cannot be run by ONNX Runtime: {reason}", "Update onnxruntime."
        ) from error
    return OnnxRuntime(session, opening.device)
