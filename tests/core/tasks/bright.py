"""A classifier without weights: bright if the mean of what it is shown is above 1000, else dark."""

from pathlib import Path

import numpy as np
import pytest

SIZE = {2: (8, 8), 3: (4, 8, 8)}


def p_bright(mean: float) -> float:
    """The probability that the model gives an image of this mean."""
    return 1 / (1 + np.exp(-2 * (mean * 0.001 - 1)))


def write_bright_model(folder: Path, dims: int, *, softmax: bool = True, **config: object) -> Path:
    """A package whose network gives (m, -m), m the mean of its input less 1."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    from deepbio.library import Step
    from deepbio.library.package import PackageContent, TensorContent, write_package

    shape = ["n", 1, *"zyx"[3 - dims :]]
    axes = helper.make_tensor("axes", TensorProto.INT64, [dims], list(range(2, 2 + dims)))
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
            helper.make_node("Sub", ["mean", "one"], ["m"]),
            helper.make_node("Neg", ["m"], ["less"]),
            helper.make_node("Concat", ["m", "less"], ["scores"], axis=1),
        ],
        "bright",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]), axes],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"bright{dims}d.onnx"
    onnx.save(network, path)
    pixels = np.full((1, 1, *SIZE[dims]), 1500, np.uint16)
    steps = [Step("softmax", {"axis": "channel"})] if softmax else []
    test = [[p_bright(1500), 1 - p_bright(1500)]] if softmax else [[0.5, -0.5]]
    content = PackageContent(
        title="Bright or dark",
        description="Says whether an image is bright.",
        task="classify",
        license="CC0-1.0",
        authors=[{"name": "The DeepBio developers"}],
        inputs=[
            TensorContent(
                pixels, ("intensity",), steps=[Step("scale_linear", {"gain": 0.001, "offset": 0.0})]
            )
        ],
        outputs=[TensorContent(np.array(test, np.float32), ("bright", "rather dark"), steps=steps)],
        onnx=path,
        config={"classes": {1: "bright", 2: "rather dark"}, **config},
    )
    write_package(folder / f"bright{dims}d", content)
    return folder / f"bright{dims}d"
