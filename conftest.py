"""For all tests and doctests: no network, and nothing of this user's own library or caches."""

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    # processes beside each other share the cores: before torch is imported, and for what tests start
    _share = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ.setdefault("OMP_NUM_THREADS", str(_share))

_connect = socket.socket.connect


def _guarded(self: socket.socket, address: object) -> None:
    local = self.family == getattr(socket, "AF_UNIX", None) or (
        isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1", "localhost")
    )
    if not local:
        raise RuntimeError(f"A test tried to reach {address!r}: DeepBio and its tests need no network.")
    _connect(self, address)  # type: ignore[arg-type]


class _Schedule:
    """Registered where tests run in several processes: those of a file in one, and those of Java in one."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        from xdist.scheduler import LoadScopeScheduling

        class ByFile(LoadScopeScheduling):
            def _split_scope(self, nodeid: str) -> str:
                file = nodeid.split("::", 1)[0]
                return "java" if file.startswith(("tests/imagej", "tests/agreement/test_fiji")) else file

        return ByFile(config, log)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Schedule(), "deepbio-schedule")


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _guarded)
        yield


@pytest.fixture(autouse=True, scope="session")
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A library of the user's own that is empty, also for the processes that tests start."""
    home: Path = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPBIO_HOME", str(home))
        yield


@pytest.fixture(scope="session")
def threshold_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package whose network needs no weights: pixels above 1000 are foreground, neighbours one object.

    One channel, 2D, ONNX: so the whole way of a real model, in milliseconds and exact.
    """
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    from deepbio.library import Step
    from deepbio.library.package import PackageContent, TensorContent, write_package

    folder = tmp_path_factory.mktemp("models")
    shape = ["n", 1, "y", "x"]
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    graph = helper.make_graph(
        [helper.make_node("Sub", ["pixels", "one"], ["score"])],
        "threshold",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, shape)],
        [one],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(network, folder / "threshold.onnx")
    pixels = np.arange(16 * 16, dtype=np.uint16).reshape(1, 1, 16, 16) * 10
    content = PackageContent(
        title="Bright spots",
        description="Pixels above 1000 are foreground.",
        task="segment",
        license="CC0-1.0",
        authors=[{"name": "The DeepBio developers"}],
        inputs=[
            TensorContent(
                pixels,
                ("intensity",),
                minimum=(16, 16),
                step=(1, 1),
                steps=[Step("scale_linear", {"gain": 0.001, "offset": 0.0})],
            )
        ],
        outputs=[TensorContent((pixels * 0.001 - 1).astype(np.float32), ("foreground",))],
        onnx=folder / "threshold.onnx",
        config={
            "decode": {"method": "threshold", "min_size": 1},
            "tile": {"size": [64, 64], "overlap": 0.125},
        },
    )
    write_package(folder / "spots", content)
    return folder / "spots"
