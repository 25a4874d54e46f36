"""Networks without weights, so that everything around them can be tested exactly."""

from pathlib import Path

import numpy as np
import pytest

from tests.core.tasks.bright import write_bright_model
from tests.core.tasks.makers import write_class_maker, write_mask_maker


def write_threshold_model(folder: Path, name: str, dims: int, **config: object) -> Path:
    """A package whose network gives its input less 1: pixels above 1000 are foreground."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    from deepbio.library import Step
    from deepbio.library.package import PackageContent, TensorContent, write_package

    shape = ["n", 1, *"zyx"[3 - dims :]]
    graph = helper.make_graph(
        [helper.make_node("Sub", ["pixels", "one"], ["score"])],
        "threshold",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, shape)],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = folder / f"{name}.onnx"
    onnx.save(network, path)
    pixels = np.arange(16**dims, dtype=np.uint16).reshape(1, 1, *(16,) * dims) * 4
    steps = [Step("scale_linear", {"gain": 0.001, "offset": 0.0})]
    content = PackageContent(
        title="Bright spots",
        description="Pixels above 1000 are foreground.",
        task="segment",
        license="CC0-1.0",
        authors=[{"name": "The DeepBio developers"}],
        inputs=[TensorContent(pixels, ("intensity",), minimum=(4,) * dims, step=(4,) * dims, steps=steps)],
        outputs=[TensorContent((pixels * 0.001 - 1).astype(np.float32), ("foreground",))],
        onnx=path,
        config={
            "decode": {"method": "threshold", "min_size": 1},
            "tile": {"size": [32] * dims, "overlap": 0.25},
            **config,
        },
    )
    write_package(folder / name, content)
    return folder / name


@pytest.fixture(scope="session")
def spots2d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 2D threshold model."""
    return write_threshold_model(tmp_path_factory.mktemp("spots"), "spots2d", 2)


@pytest.fixture(scope="session")
def spots3d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 3D threshold model."""
    return write_threshold_model(tmp_path_factory.mktemp("spots"), "spots3d", 3)


@pytest.fixture(scope="session")
def bright2d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 2D classifier by brightness."""
    return write_bright_model(tmp_path_factory.mktemp("bright"), 2, mirror=[1])


@pytest.fixture(scope="session")
def bright3d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 3D classifier by brightness."""
    return write_bright_model(tmp_path_factory.mktemp("bright"), 3)


@pytest.fixture(scope="session")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generator of classes."""
    return write_class_maker(tmp_path_factory.mktemp("shades"))


@pytest.fixture(scope="session")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generator of images from masks."""
    return write_mask_maker(tmp_path_factory.mktemp("painter"))
