"""A model of two classes that is exact: pixels from 1000 are class 1, from 2000 class 2; 2D and 3D."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from deepbio.predict import Model, load_model


@pytest.fixture(scope="session")
def make_classes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """``make_classes(3)``: folder of the package for 3D."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    from deepbio.library.package import PackageContent, TensorContent, write_package

    def make(ndim: int) -> Path:
        folder = tmp_path_factory.mktemp("models")
        names = ["z", "y", "x"][-ndim:]
        constants = [
            helper.make_tensor(name, TensorProto.FLOAT, [1, 3, *(1,) * ndim], values)
            for name, values in (("gain", [0.0, 1.0, 2.0]), ("offset", [0.0, -999.5, -2999.0]))
        ]
        graph = helper.make_graph(
            [
                helper.make_node("Mul", ["pixels", "gain"], ["scaled"]),
                helper.make_node("Add", ["scaled", "offset"], ["scores"]),
            ],
            "classes",
            [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 1, *names])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3, *names])],
            constants,
        )
        network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(network, folder / "classes.onnx")
        pixels = np.arange(4**ndim, dtype=np.float32).reshape(1, 1, *(4,) * ndim) * 50
        gain, offset = (np.array(v).reshape(1, 3, *(1,) * ndim) for v in ((0, 1, 2), (0, -999.5, -2999.0)))
        content = PackageContent(
            title="Two classes",
            description="By thresholds.",
            task="segment",
            license="CC0-1.0",
            authors=[{"name": "The DeepBio developers"}],
            inputs=[TensorContent(pixels, ("intensity",), minimum=(4,) * ndim, step=(1,) * ndim)],
            outputs=[
                TensorContent((pixels * gain + offset).astype(np.float32), ("background", "cavity", "muscle"))
            ],
            onnx=folder / "classes.onnx",
            config={
                "decode": {"method": "classes"},
                "classes": {1: {"name": "cavity"}, 2: {"name": "muscle"}},
                "tile": {"size": [32] * ndim, "overlap": 0.25},
            },
        )
        write_package(folder / "classes", content)
        return folder / "classes"

    return cache(make)


@pytest.fixture
def volumes(make_classes: Callable[[int], Path]) -> Model:
    return load_model(make_classes(3))


@pytest.fixture
def planes(make_classes: Callable[[int], Path]) -> Model:
    return load_model(make_classes(2))
