"""Bad input through the real command: one clear error, its exit code, nothing half-written."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepbio.image import Image
from deepbio.io import read, read_labels, write
from tests.core.command import ONNX, copied, deepbio, left_in, process, spots


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A terminal that breaks no lines, and a folder of its own."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write(tmp_path / "cells [1].tif", Image(spots()))
    return tmp_path / "cells [1].tif"


def tiff(pixels: np.ndarray, axes: str = "YX") -> Callable[[Path], None]:
    def make(path: Path) -> None:
        write(path, Image(pixels, axes))

    return make


def truncated(suffix: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        whole = path.with_name(f"whole{suffix}")
        write(whole, Image(np.random.default_rng(0).integers(0, 2**15, (64, 57)).astype(np.int16)))
        data = whole.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        whole.unlink()

    return make


def text(path: Path) -> None:
    path.write_text("Hello, I am no image.\n")


def zero_sized(path: Path) -> None:
    import tifffile

    with pytest.warns(UserWarning, match="zero-size"):
        tifffile.imwrite(path, np.zeros((0, 5), np.uint16))


def nothing(path: Path) -> None:
    """Make no file."""


def spoiled(value: float) -> np.ndarray:
    pixels = spots().astype(np.float32)
    pixels[11, 17] = value
    return pixels


BAD = {
    "missing": ("a.tif", nothing, 3, "does not exist"),
    "empty": ("a.tif", Path.touch, 3, "is empty (0 bytes)"),
    "text": ("a.tif", text, 3, "Hello, I am no image"),
    "truncated tiff": ("a.tif", truncated(".tif"), 3, "a.tif"),
    "truncated nifti": ("a.nii", truncated(".nii"), 3, "a.nii"),
    "truncated nifti.gz": ("a.nii.gz", truncated(".nii.gz"), 3, "a.nii.gz"),
    "channels": ("a.tif", tiff(np.zeros((2, 37, 53), np.uint16), "CYX"), 4, "2 channels"),
    "nan": ("a.tif", tiff(spoiled(np.nan)), 4, "NaN"),
    "inf": ("a.tif", tiff(spoiled(np.inf)), 4, "infinite"),
    "stack": ("a.tif", tiff(np.zeros((5, 37, 53), np.uint16), "ZYX"), 4, "--per-slice"),
    "no size": ("a.tif", zero_sized, 3, "a.tif"),
    "unknown format": ("a.xyz", text, 3, "not a known image format"),
    "folder": ("folder.tif", Path.mkdir, 3, "folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error(case: str, threshold_model: Path) -> None:
    name, make, code, told = BAD[case]
    make(Path(name))
    done = deepbio("run", threshold_model, name, "-o", "out", "--save", "labels,table,overlay,scores", *ONNX)
    assert done.code == code, done.err
    error, *hint = done.err.strip().splitlines()
    assert error.startswith("Error: ")
    assert told in done.err
    assert len(hint) <= 1
    assert all(line.startswith("Hint: ") for line in hint)
    assert "Traceback" not in done.err
    assert left_in(Path("out")) in ([], ["summary.csv"])


@pytest.mark.parametrize(
    ("pixels", "objects"),
    [
        (np.full((37, 53), 7, np.uint16), 0),
        (np.zeros((37, 53), np.float32), 0),
        (np.full((1, 1), 3000, np.uint16), 1),
        (np.full((1, 53), 3000, np.uint16), 1),
    ],
    ids=["constant", "black", "one pixel", "one row"],
)
def test_odd_but_sound_input_works(threshold_model: Path, pixels: np.ndarray, objects: int) -> None:
    write(Path("a.tif"), Image(pixels))
    done = deepbio(
        "run", threshold_model, "a.tif", "-o", "out", "--save", "labels,table,overlay,scores", *ONNX
    )
    assert done.code == 0, done.err
    assert read_labels("out/a-labels.tif").count == objects
    assert read_labels("out/a-labels.tif").shape == pixels.shape


def test_per_slice_is_offered_and_works(threshold_model: Path) -> None:
    write(Path("a.tif"), Image(np.stack([spots()] * 3), "ZYX"))
    assert "--per-slice" in deepbio("run", threshold_model, "a.tif", "-o", "out", *ONNX).err
    assert deepbio("run", threshold_model, "a.tif", "-o", "out", "--per-slice", *ONNX).code == 0
    assert read_labels("out/a-labels.tif").axes == "ZYX"


def test_unknown_model_names_the_nearest(image: Path, threshold_model: Path) -> None:
    deepbio("models", "add", threshold_model, "--name", "spots")
    done = deepbio("run", "spotz", image, "-o", "out")
    deepbio("models", "remove", "spots")
    assert done.code == 5
    assert done.err == "Error: There is no model 'spotz'.\nHint: Did you mean 'spots'?\n"
    assert left_in(Path("out")) == []


def test_corrupted_weights(threshold_model: Path, image: Path, tmp_path: Path) -> None:
    model = copied(threshold_model, tmp_path)
    weights = bytearray((model / "weights.onnx").read_bytes())
    weights[len(weights) // 2] ^= 1
    (model / "weights.onnx").write_bytes(weights)
    done = deepbio("run", model, image, "-o", "out", *ONNX)
    assert done.code == 6
    assert "SHA-256" in done.err
    assert left_in(Path("out")) in ([], ["summary.csv"])


def test_output_is_a_file(threshold_model: Path, image: Path) -> None:
    Path("out").write_text("mine")
    done = deepbio("run", threshold_model, image, "-o", "out", *ONNX)
    assert done.code == 9
    assert "Error: " in done.err
    assert Path("out").read_text() == "mine"


def test_output_may_not_be_written(
    threshold_model: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root everything can be written, so the system's refusal is played."""

    def refuse(source: object, target: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "replace", refuse)
    done = deepbio("run", threshold_model, image, "-o", "out", *ONNX)
    assert done.code == 9
    assert "no right to write" in done.err
    assert left_in(Path("out")) == []


def test_full_disk(threshold_model: Path, tmp_path: Path) -> None:
    """A real refusal of the system: no file of the process may grow beyond 4 KiB."""
    noise = np.random.default_rng(0).integers(0, 4000, (200, 301)).astype(np.uint16)
    write(tmp_path / "noise.tif", Image(noise))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = process("run", threshold_model, "noise.tif", "noise.tif", "-o", "out", *ONNX, preexec_fn=limit)
    assert done.code == 9, done.err
    assert done.err.startswith("Error: ")
    assert "cannot be written" in done.err
    assert left_in(tmp_path / "out") in ([], ["summary.csv"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_in_the_middle(threshold_model: Path, tmp_path: Path, number: int, code: int) -> None:
    """A real signal to a real process while it computes the second of three large files."""
    big = np.zeros((2500, 2503), np.uint16)
    big[::9, ::7] = 3000
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.tif", Image(big))
    words = [
        "run",
        str(threshold_model),
        "a.tif",
        "b.tif",
        "c.tif",
        "-o",
        "out",
        "--json",
        "--tile",
        "64",
        *ONNX,
    ]
    command = [sys.executable, "-W", "error", "-m", "deepbio", *words]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert job.stdout is not None
    done = 0
    for line in job.stdout:
        event = json.loads(line)
        done += event["event"] == "file"
        if done == 1 and event.get("stage") == "predict" and event["current"] > 3:
            job.send_signal(number)
            break
    started = time.monotonic()
    rest, err = job.communicate(timeout=60)
    assert job.returncode == code, err
    assert time.monotonic() - started < 20
    assert json.loads(rest.splitlines()[-1])["error"] == "Cancelled"
    assert err.startswith("Error: Stopped")
    assert "Traceback" not in err
    assert left_in(tmp_path / "out") == ["a-labels.tif", "a-table.csv", "a.deepbio.json", "summary.csv"]
    read(tmp_path / "out" / "a-labels.tif")
