"""Networks that need no weights, sources that count, and small packages of every format."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from deepbio.engine.device import cpu_device


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    """Choices of the runtime are remembered per test."""
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))


class FakeRuntime:
    """A network written in numpy; counts what it is asked."""

    name, precision, why = "fake", "fp32", "a test"

    def __init__(self, network: Callable[[np.ndarray], np.ndarray]) -> None:
        self.device = cpu_device()
        self.network = network
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, batch: np.ndarray) -> Any:
        assert batch.dtype == np.float32
        assert batch.flags.c_contiguous
        self.shapes.append(batch.shape)
        return self.network(batch)


def identity(batch: np.ndarray) -> np.ndarray:
    return batch


def threshold(batch: np.ndarray) -> np.ndarray:
    return np.concatenate([batch > 0.5, batch <= 0.5], 1).astype(np.float32)


def box(batch: np.ndarray) -> np.ndarray:
    """Mean over 3 x 3 [x 3] pixels, zeros outside, as a convolution does."""
    size = (1, 1, *(3,) * (batch.ndim - 2))
    return ndimage.uniform_filter(batch, size, mode="constant")


def many(batch: np.ndarray) -> np.ndarray:
    """Five channels that are different multiples of the first."""
    return np.concatenate([batch[:, :1] * k for k in range(1, 6)], 1)


@pytest.fixture
def fake():
    networks = {"identity": identity, "threshold": threshold, "box": box, "many": many}
    return lambda name: FakeRuntime(networks[name] if isinstance(name, str) else name)


class RecordingSource:
    """Counts what is read of an array of shape (C, *spatial)."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.shape = array.shape
        self.reads: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def read(self, start, stop):
        for low, high, n in zip(start, stop, self.shape[1:], strict=True):
            assert 0 <= low < high <= n, "a source is read inside the image only"
        self.reads.append((start, stop))
        return self.array[(slice(None), *map(slice, start, stop))].astype(np.float32)


@pytest.fixture
def recording():
    return RecordingSource


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


ARGUMENTS = {
    "dims": 2,
    "in_channels": 2,
    "out_channels": 3,
    "features": [4, 8],
    "convs": [1, 1],
    "norm": "none",
}


def _file(folder: Path, format: str, module: Any, dims: int) -> Path:
    import torch

    path = folder / f"weights.{format}"
    example = torch.zeros(1, 2, *(8,) * dims)
    if format == "safetensors":
        from safetensors.torch import save_file

        halved = {k: v.half() if v.is_floating_point() else v for k, v in module.state_dict().items()}
        save_file(halved, path)
    elif format == "onnx":
        from deepbio.training.export import export_onnx

        export_onnx(module, tuple(example.shape[1:]), path)
    return path


@pytest.fixture(scope="session")
def make_card(tmp_path_factory):
    """Card of a small U-Net with random weights, in the formats asked for."""
    pytest.importorskip("torch")
    import torch

    from deepbio import networks
    from deepbio.library.card import Axis, ModelCard, TensorSpec, Weights

    made: dict[int, tuple[Path, Any]] = {}

    def make(*formats: str, dims: int = 2, **config: Any) -> Any:
        arguments = {**ARGUMENTS, "dims": dims}
        if dims not in made:
            torch.manual_seed(3)
            module = networks.build("unet", arguments).eval()
            state = module.state_dict()  # the numbers that float16 holds
            module.load_state_dict({k: v.half().float() for k, v in state.items()})
            made[dims] = (tmp_path_factory.mktemp("package"), module)
        folder, module = made[dims]
        weights = []
        for format in formats:
            path = folder / f"weights.{format}"
            if not path.exists():
                _file(folder, format, module, dims)
            named = ("unet", arguments) if format == "safetensors" else ("", {})
            weights.append(Weights(format, path, sha(path), *named))
        spatial = tuple(Axis(name, minimum=2, step=2) for name in "zyx"[3 - dims :])
        head = (Axis("batch"), Axis("channel", size=2))
        return ModelCard(
            name="tiny", title="Tiny", description="", version="1", license="CC0-1.0", authors=(), citations=(),
            tags=(), task="instances", modality=(), weights=tuple(weights), deepbio=config, config={},
            training_data="", documentation=None, notes=(), root=folder,
            inputs=(TensorSpec("image", (*head, *spatial), ("a", "b")),),
            outputs=(TensorSpec("scores", (Axis("batch"), Axis("channel", size=3), *spatial), ("p", "q", "r")),),
        )  # fmt: skip

    make.module = lambda dims=2: (make(dims=dims), made[dims][1])[1]
    return make


@pytest.fixture
def plain_card():
    """A stand-in with only what the planning reads."""

    def make(ndim=2, *, minimum=16, step=16, size=None, halo=0, features=None, **config):
        axes = tuple(
            SimpleNamespace(id=a, size=size, minimum=minimum, step=step, halo=halo) for a in "zyx"[3 - ndim :]
        )
        arguments = {"features": features} if features else {}
        return SimpleNamespace(
            name="plain",
            ndim=ndim,
            input=SimpleNamespace(spatial=axes, channels=("a",)),
            output=SimpleNamespace(spatial=axes, channels=("p", "q")),
            weights=(SimpleNamespace(arguments=arguments),),
            deepbio=config,
        )

    return make
