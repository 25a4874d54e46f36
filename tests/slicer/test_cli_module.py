"""The scripted command-line module: run as Slicer runs it, by this Python in the place of Slicer's."""

from __future__ import annotations

import csv
import importlib.util
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import SimpleITK as sitk

import deepbio
from tests.slicer.nodes import rotation
from tests.slicer.two_channels import expected, write_two_channel_model

pytest.importorskip("appose", reason="the worker needs appose")

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "DeepBioSegment" / "DeepBioSegment.py"
HIPPOCAMPUS = ROOT / "examples" / "hippocampus" / "hippocampus_311.nii.gz"
ONNX = ("--options", "runtime=onnx device=cpu")  # no trial of runtimes on a busy machine
OPTIONS = deepbio.RunOptions(runtime="onnx", device="cpu")
XML = ET.parse(MODULE.with_suffix(".xml")).getroot()


def run(*words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(MODULE), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=env)


def fractions(stdout: str) -> list[float]:
    first, last = "<filter-progress>", "</filter-progress>"
    return [float(line[len(first) : -len(last)]) for line in stdout.splitlines() if line.startswith(first)]


def test_labels_and_table_are_those_of_python(tmp_path: Path) -> None:
    done = run(
        HIPPOCAMPUS, tmp_path / "out.nrrd", "--model", "hippocampus", "--table", tmp_path / "out.csv", *ONNX
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = deepbio.run(deepbio.read(HIPPOCAMPUS), "hippocampus", OPTIONS)
    got, image = sitk.ReadImage(tmp_path / "out.nrrd"), sitk.ReadImage(HIPPOCAMPUS)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(got), expected.labels.array)
    assert got.GetOrigin() == image.GetOrigin()
    assert got.GetSpacing() == image.GetSpacing()
    assert got.GetDirection() == image.GetDirection()
    deepbio.write(tmp_path / "expected.csv", expected.table)
    with (tmp_path / "out.csv").open() as mine, (tmp_path / "expected.csv").open() as theirs:
        heads, *rows = csv.reader(mine)
        expected_heads, *expected_rows = csv.reader(theirs)
    assert heads == expected_heads
    assert [row[0] for row in rows] == ["anterior hippocampus", "posterior hippocampus"]
    for row, other in zip(rows, expected_rows, strict=True):
        np.testing.assert_allclose([float(n) for n in row[1:]], [float(n) for n in other[1:]], rtol=1e-6)
    told = fractions(done.stdout)
    assert told == sorted(told)
    assert told[-1] == 1.0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("<filter-start>")
    assert lines[-1].startswith("<filter-end>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expected.csv", "out.csv", "out.nrrd"]


@pytest.mark.parametrize("flip", [1, -1], ids=["right-handed", "left-handed"])
def test_a_plane_anywhere_in_space_and_options(tmp_path: Path, threshold_model: Path, flip: int) -> None:
    """One slice, oblique, anisotropic, odd sizes: labels lie on its grid, exactly."""
    pixels = np.full((1, 37, 53), 100, np.uint16)
    pixels[0, 5:9, 7:12] = 3000
    pixels[0, 20:30, 33:41] = 2000
    image = sitk.GetImageFromArray(pixels)
    c, s = np.cos(0.3), np.sin(0.3)
    image.SetDirection([c, -s, 0, s, c, 0, 0, 0, flip])
    image.SetSpacing((0.5, 0.8, 1.2))
    image.SetOrigin((-17.3, 42.9, 101.7))
    sitk.WriteImage(image, tmp_path / "in.nrrd")
    out = tmp_path / "out.nrrd"
    done = run(
        tmp_path / "in.nrrd",
        out,
        "--model",
        threshold_model,
        "--options",
        "min_size=30 --runtime=onnx device=cpu",
    )
    assert (done.returncode, done.stderr) == (0, "")
    labels = sitk.ReadImage(out)
    array = sitk.GetArrayFromImage(labels)
    assert array.shape == (1, 37, 53)
    assert np.unique(array).tolist() == [0, 1], "the smaller object has 20 pixels"
    np.testing.assert_array_equal(array[0] == 1, pixels[0] == 2000)
    assert labels.GetDirection() == pytest.approx(image.GetDirection())
    assert labels.GetOrigin() == image.GetOrigin()
    assert labels.GetSpacing() == image.GetSpacing()


def test_a_colour_picture(tmp_path: Path) -> None:
    picture = ROOT / "examples" / "histology.png"
    done = run(picture, tmp_path / "out.nii.gz", "--model", "nuclei", *ONNX)
    assert (done.returncode, done.stderr) == (0, "")
    expected = deepbio.run(deepbio.read(picture), "nuclei", OPTIONS).labels.array
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "out.nii.gz")), expected)


@pytest.mark.parametrize(
    ("case", "code", "said"),
    [
        ("unknown model", 5, "Error: There is no model 'hipocampus'"),
        ("does not fit", 4, "Error: "),
        ("no file", 3, "Error: 'nowhere.nrrd' cannot be read: "),
        ("4D", 3, "has 4 dimensions; expected 2 or 3.\nHint: Sequences"),
        ("bad option", 2, "Error: There is no option 'tiel'.\nHint: Did you mean 'tile' or"),
        ("no equals", 2, "Error: The options have '512'; expected name=value."),
        ("no folder", 9, "its folder does not exist"),
        ("no Python", 7, "Error: No Python with deepbio was found. The Python that you chose"),
    ],
)
def test_errors_are_those_of_the_command_line(tmp_path: Path, case: str, code: int, said: str) -> None:
    words: dict[str, list[object]] = {
        "unknown model": [HIPPOCAMPUS, tmp_path / "out.nrrd", "--model", "hipocampus"],
        "does not fit": [ROOT / "examples" / "histology.png", tmp_path / "out.nrrd"],
        "no file": ["nowhere.nrrd", tmp_path / "out.nrrd"],
        "4D": [ROOT / "examples" / "heart_cine.nii.gz", tmp_path / "out.nrrd", "--model", "heart-lv"],
        "bad option": [HIPPOCAMPUS, tmp_path / "out.nrrd", "--options", "tiel=512"],
        "no equals": [HIPPOCAMPUS, tmp_path / "out.nrrd", "--options", "512"],
        "no folder": [HIPPOCAMPUS, tmp_path / "none" / "out.nrrd"],
        "no Python": [HIPPOCAMPUS, tmp_path / "out.nrrd", "--python", tmp_path / "python"],
    }
    done = run(*words[case])
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert "<filter-end>" not in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_stopped_in_a_run_leaves_nothing(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3000, 3001), np.uint8)), tmp_path / "in.nrrd")
    command = [
        sys.executable,
        str(MODULE),
        str(tmp_path / "in.nrrd"),
        str(tmp_path / "out.nrrd"),
        "--model",
        "nuclei",
        *ONNX,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while "Predict" not in process.stdout.readline():
            assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=30)[1]
    assert process.returncode == 143
    assert time.monotonic() - start < 8
    assert errors == "Error: Stopped; nothing half-written is left behind.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["in.nrrd"]
    assert psutil.wait_procs(children, timeout=5)[1] == []


def _write_volume(path: Path, seed: int, spacing: float = 3.0, depth: int = 6) -> np.ndarray:
    """An oblique, anisotropic volume of odd sizes."""
    pixels = np.random.default_rng(seed).integers(0, 250, (depth, 7, 9), np.int16)
    image = sitk.GetImageFromArray(pixels)
    image.SetDirection(rotation(0.3, -0.7, 0.8).ravel().tolist())
    image.SetSpacing((0.5, 0.8, spacing))
    image.SetOrigin((17.3, -42.9, 101.7))
    sitk.WriteImage(image, path)
    return pixels


def test_several_volumes_are_the_channels_of_one_image(tmp_path: Path) -> None:
    model = write_two_channel_model(tmp_path / "models")
    first, second, out = (tmp_path / name for name in ("t1.nrrd", "flair.nrrd", "out.nrrd"))
    a, b = _write_volume(first, 1), _write_volume(second, 2)
    done = run(first, out, "--model", model, "--channel2", second, *ONNX)
    assert (done.returncode, done.stderr) == (0, "")
    labels, image = sitk.ReadImage(out), sitk.ReadImage(first)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), expected(a, b))
    assert labels.GetOrigin() == image.GetOrigin()
    assert labels.GetSpacing() == pytest.approx(image.GetSpacing())
    assert labels.GetDirection() == pytest.approx(image.GetDirection())
    swapped = run(second, out, "--model", model, "--channel2", first, *ONNX)
    assert (swapped.returncode, swapped.stderr) == (0, "")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(out)), expected(b, a))


@pytest.mark.parametrize(
    ("case", "code", "said"),
    [
        (
            "none",
            4,
            "takes 2 channels; the image has 1 channel.\nHint: They are T1, FLAIR: the channels of one image, or",
        ),
        (
            "gap",
            2,
            "There is no volume for channel 2, but one for a later channel.\nHint: Name it with --channel2",
        ),
        ("thick", 3, "thick.nrrd' does not lie on the voxels of '"),
        ("colours", 3, "histology.png' has several components; a channel is a volume of intensities."),
        ("too many", 4, "takes 2 channels; the image has 3"),
    ],
)
def test_channels_that_do_not_do_are_told(tmp_path: Path, case: str, code: int, said: str) -> None:
    model = write_two_channel_model(tmp_path / "models")
    first, thick = tmp_path / "t1.nrrd", tmp_path / "thick.nrrd"
    _write_volume(first, 1)
    _write_volume(thick, 2, spacing=4.0)
    words: dict[str, list[object]] = {
        "none": [],
        "gap": ["--channel3", first],
        "thick": ["--channel2", thick],
        "colours": ["--channel2", ROOT / "examples" / "histology.png"],
        "too many": ["--channel2", first, "--channel3", first],
    }
    done = run(first, tmp_path / "out.nrrd", "--model", model, *words[case], *ONNX)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    if case == "thick":
        assert "its spacing is 0.5 x 0.8 x 4 mm, not 0.5 x 0.8 x 3 mm" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.nrrd").exists()


def _module() -> Any:
    spec = importlib.util.spec_from_file_location("DeepBioSegment", MODULE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_description_and_the_program_agree() -> None:
    """What Slicer shows is what the program takes, with the same defaults."""
    module = _module()
    indexed: dict[int, str] = {}
    flags: dict[str, str | None] = {}
    for parameter in XML.iterfind("parameters/*"):
        if parameter.find("name") is None:
            continue
        if parameter.find("index") is not None:
            indexed[int(parameter.findtext("index"))] = f"{parameter.tag} {parameter.findtext('channel')}"
        else:
            flags[parameter.findtext("longflag")] = parameter.findtext("default")
    assert indexed == {0: "image input", 1: "image output"}
    parsed = module._arguments(["in.nrrd", "out.nrrd"])
    for flag, default in flags.items():
        assert getattr(parsed, flag[2:]) == (default or ""), flag
    channels = {f"--channel{number}" for number in module.CHANNELS}
    assert set(flags) == {"--model", "--table", "--options", "--python", *channels}
    assert module._arguments(["a", "b", "--returnparameterfile", "c"]).output == "b"


def test_exit_codes_are_the_cores() -> None:
    from deepbio import errors
    from deepbio.cli.common import BUG

    module = _module()
    cores = {name: getattr(errors, name).exit_code for name in errors.__all__ if name != "DeepBioError"}
    assert {**cores, "WorkerNotStarted": cores["MissingPackage"]} == module.EXIT_CODES
    assert module.BUG == BUG
