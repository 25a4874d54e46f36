"""A model of two volumes, without weights: what it finds is known to the voxel."""

from pathlib import Path

import numpy as np
import pytest

NAMES = ("T1", "FLAIR")


def write_two_channel_model(folder: Path, *, name: str = "pair", count: int = 2, **config: object) -> Path:
    """A package: 1 where the first channel is above 100 and not below the second, 2 where the second is above both."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    from deepbio.library.package import PackageContent, TensorContent, write_package

    folder.mkdir(parents=True, exist_ok=True)
    weights = np.zeros((3, count, 1, 1, 1), np.float32)
    weights[1, 0] = weights[2, 1] = 1
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "weights", "bias"], ["output"])],
        "pair",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", count, "z", "y", "x"])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 3, "z", "y", "x"])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.float32([100, 0, 0]), "bias"),
        ],
    )
    path = folder / f"{name}.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
        path,
    )
    test = np.arange(count * 64, dtype=np.float32).reshape(1, count, 4, 4, 4) * 2
    scores = np.tensordot(weights[..., 0, 0, 0], test[0], 1) + np.float32([100, 0, 0])[:, None, None, None]
    names = NAMES if count == 2 else tuple(f"echo {k + 1}" for k in range(count))
    content = PackageContent(
        title="Two volumes", description="Compares two volumes.", task="segment", license="CC0-1.0",
        authors=[{"name": "The DeepBio developers"}],
        inputs=[TensorContent(test, names, minimum=(4, 4, 4), step=(1, 1, 1))],
        outputs=[TensorContent(scores[None], ("background", "first", "second"))],
        onnx=path,
        config={
            "decode": {"method": "classes"},
            "classes": {1: {"name": "first"}, 2: {"name": "second"}},
            **config,
        },
    )  # fmt: skip
    write_package(folder / name, content)
    return folder / name


def expected(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """What it finds."""
    return np.argmax([np.full(first.shape, 100), first, second], axis=0)
