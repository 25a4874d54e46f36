"""Generators without weights: what they make is known to the byte."""

from pathlib import Path

import numpy as np
import pytest

LATENT, CLASSES = 2, ("dark", "grey", "light")
APPEARANCES = [[0.1, 0.5, 0.0], [0.2, 0.6, 0.1]]
MASKS = {
    "edge": 48,
    "areas": [60.0, 90.0],
    "spread": 0.2,
    "cover": [0.15, 0.25],
    "elongation": 1.3,
    "overlap": 0.2,
}


def _save(graph: object, path: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    from onnx import helper

    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def write_class_maker(folder: Path, channels: int = 3, **config: object) -> Path:
    """A package that makes 4 x 6 pixels of 100 times the class (from 0), and the latents in two corners."""
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    from deepbio.image import RGB
    from deepbio.library import Step
    from deepbio.library.package import PackageContent, TensorContent, write_package

    size = LATENT + len(CLASSES)
    weights = np.zeros((size, channels, 4, 6), np.float32)
    for label in range(len(CLASSES)):
        weights[LATENT + label] = label
    weights[0, :, 0, 0] = weights[1, :, 3, 5] = 0.01
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["input", "weights"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["output"]),
        ],
        "maker",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", size])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", channels, 4, 6])],
        [
            numpy_helper.from_array(weights.reshape(size, -1), "weights"),
            numpy_helper.from_array(np.array([-1, channels, 4, 6]), "shape"),
        ],
    )
    test = np.array([[1, 2, 0, 0, 1]], np.float32)
    made = np.tensordot(test, weights, 1) * 100
    names = ("latent_1", "latent_2", *CLASSES)
    steps = [Step("scale_linear", {"gain": 100.0, "offset": 0.0})]
    content = PackageContent(
        title="Shades", description="Makes even images.", task="generate", license="CC0-1.0",
        authors=[{"name": "The DeepBio developers"}],
        inputs=[TensorContent(test, names)],
        outputs=[TensorContent(made, RGB if channels == 3 else ("intensity",), steps=steps)],
        onnx=_save(graph, folder / "maker.onnx"),
        config={
            "generator": {"kind": "class", "latent": LATENT},
            "classes": {i: {"name": name} for i, name in enumerate(CLASSES, start=1)},
            **config,
        },
    )  # fmt: skip
    write_package(folder / "shades", content)
    return folder / "shades"


def write_mask_maker(folder: Path, **said: object) -> Path:
    """A package whose relative pixels are the channel `inside` plus the channel `level`."""
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    from deepbio.library.package import PackageContent, TensorContent, write_package
    from deepbio.tasks.conditions import CONDITIONS

    weights = np.array([1, 0, 0, 1, 0, 0], np.float32).reshape(1, 6, 1, 1)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "weights"], ["output"])],
        "painter",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 6, "y", "x"])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 1, "y", "x"])],
        [numpy_helper.from_array(weights, "weights")],
    )
    test = np.zeros((1, 6, 16, 16), np.float32)
    test[0, 0, 4:9] = 1
    content = PackageContent(
        title="Painter", description="Paints masks.", task="generate", license="CC0-1.0",
        authors=[{"name": "The DeepBio developers"}],
        inputs=[TensorContent(test, CONDITIONS, minimum=(16, 16), step=(4, 4))],
        outputs=[TensorContent(test[:, :1].copy(), ("intensity",))],
        onnx=_save(graph, folder / "painter.onnx"),
        config={
            "generator": {"kind": "paired", "appearances": APPEARANCES, "masks": MASKS, **said},
            "tile": {"size": [32, 32], "overlap": 0.25},
        },
    )  # fmt: skip
    write_package(folder / "painter", content)
    return folder / "painter"
