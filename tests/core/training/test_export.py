"""ONNX files of networks that are more than one pass."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from deepbio.networks.flow import FlowGenerator
from deepbio.training.export import export_onnx
from tests.core.networks.test_flow import SMALL, shaken


@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_a_flow_is_one_loop(tmp_path: Path, guidance: float) -> None:
    network = shaken(FlowGenerator(**SMALL, guidance=guidance))
    for weight in network.parameters():
        weight.data = weight.data.half().float()  # the file has float16
    export_onnx(network, (35,), tmp_path / "flow.onnx")
    nodes = [node.op_type for node in onnx.load(tmp_path / "flow.onnx").graph.node]
    assert nodes.count("Loop") == 1
    session = onnxruntime.InferenceSession(tmp_path / "flow.onnx")
    for count in (1, 5):
        x = torch.cat([torch.randn(count, 32), torch.eye(3)[torch.arange(count) % 3]], 1)
        (found,) = session.run(None, {"input": x.numpy()})
        np.testing.assert_allclose(found, network(x).detach().numpy(), atol=1e-3)
