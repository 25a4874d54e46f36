"""Model packages to test with: a real foreign one, and a tiny one that can be broken in every way."""

import copy
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

DATA = Path(__file__).parents[2] / "data"
REAL = "bioimageio_unet2d_nuclei_broad"

ONNX_BYTES = b"not a network, but a file with a hash"
TINY = {
    "format_version": "0.5.4",
    "type": "model",
    "name": "Tiny model",
    "description": "For tests.",
    "version": "1.2.3",
    "license": "CC0-1.0",
    "authors": [{"name": "Ada", "affiliation": "Home"}, {"name": "Bob"}],
    "cite": [{"text": "Paper.", "doi": "10.1000/1"}, {"text": "Site.", "url": "https://example.org"}],
    "tags": ["nuclei"],
    "inputs": [
        {
            "id": "raw",
            "axes": [
                {"type": "batch"},
                {"type": "channel", "channel_names": ["red", "green"]},
                {"type": "space", "id": "z", "size": 5},
                {"type": "space", "id": "y", "size": {"min": 32, "step": 16}},
                {"type": "space", "size": {"min": 64, "step": 8}, "scale": 2.0},
            ],
            "data": {"type": "uint16"},
            "preprocessing": [{"id": "scale_range", "kwargs": {"axes": ["z", "y", "x"], "max_percentile": 99.8}}],
            "test_tensor": {"source": "test_input.npy"},
        }
    ],
    "outputs": [
        {
            "id": "scores",
            "axes": [
                {"type": "batch", "size": 1},
                {"type": "channel", "channel_names": ["inside"]},
                {"type": "space", "id": "z", "size": {"tensor_id": "raw", "axis_id": "z", "offset": -2}},
                {"type": "space", "id": "y", "size": {"tensor_id": "raw", "axis_id": "y"}, "halo": 4},
                {"type": "space", "id": "x", "size": {"tensor_id": "raw", "axis_id": "x"}, "halo": 4, "scale": 1.0},
            ],
            "postprocessing": [{"id": "sigmoid"}],
            "test_tensor": {"source": "test_output.npy"},
        }
    ],
    "weights": {"onnx": {"source": "weights.onnx", "sha256": hashlib.sha256(ONNX_BYTES).hexdigest(), "opset_version": 17}},
    "config": {
        "deepbio": {
            "task": "segment",
            "modality": ["SM"],
            "training_data": "BBBC038",
            "classes": {1: {"name": "nucleus"}, 2: "cell"},
            "scores": [{"split": "val", "metric": "AP50", "value": 0.5}],
            "decode": {"method": "threshold"},
        }
    },
}  # fmt: skip


def write_tiny(folder, change=None):
    """Write a tiny package into `folder`; `change` may edit its card first."""
    card = copy.deepcopy(TINY)
    if change is not None:
        card = change(card) or card
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bioimageio.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    (folder / "weights.onnx").write_bytes(ONNX_BYTES)
    np.save(folder / "test_input.npy", np.arange(2 * 5 * 32 * 64, dtype=np.uint16).reshape(1, 2, 5, 32, 64))
    np.save(folder / "test_output.npy", np.full((1, 1, 3, 32, 128), 0.5, np.float32))
    return folder


@pytest.fixture
def tiny():
    """``tiny(folder, change)`` writes a tiny package; see :func:`write_tiny`."""
    return write_tiny


@pytest.fixture
def package(tmp_path):
    return write_tiny(tmp_path / "tiny-model")


@pytest.fixture(scope="session")
def real_zip():
    return DATA / f"{REAL}.zip"


@pytest.fixture(scope="session")
def real_folder(real_zip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    shutil.unpack_archive(real_zip, folder)
    return folder / REAL


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty user library, and no bundled models."""
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    monkeypatch.setattr("deepbio.library.store.bundled_folder", lambda: bundled)
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"
