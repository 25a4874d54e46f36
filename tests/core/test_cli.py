"""The command line as users and machines meet it: results, errors, exit codes, signals, bad input."""

import errno
import inspect
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deepbio import errors
from deepbio.cli import app
from deepbio.cli.common import BUG, EXIT_CODES, TERMINATED
from deepbio.cli.options import SAVED_AS
from deepbio.errors import DeepBioError
from deepbio.image import Image, LabelMap
from deepbio.io import read, read_labels, write
from deepbio.options import RunOptions

ROOT = Path(__file__).parents[2]
ONNX = ["--runtime", "onnx", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A terminal that breaks no lines, and a folder of its own."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


class Outcome:
    """What a command did, whichever way it was started."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        self.lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def deepbio(*words: object) -> Outcome:
    """Run a command in this process."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def process(*words: object, **kwargs: object) -> Outcome:
    """Run a command in a process of its own, as users do."""
    command = [sys.executable, "-W", "error", "-m", "deepbio", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)  # type: ignore[call-overload]
    return Outcome(done.returncode, done.stdout, done.stderr)


def spots() -> np.ndarray:
    pixels = np.full((37, 53), 100, np.uint16)
    pixels[5:9, 7:12] = 3000
    pixels[20:30, 33:41] = 2000
    return pixels


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write(tmp_path / "cells [1].tif", Image(spots()))
    return tmp_path / "cells [1].tif"


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# --- what it does


def test_run_writes_and_tells(threshold_model: Path, image: Path) -> None:
    done = deepbio("run", threshold_model, image, "-o", "out", *ONNX)
    assert done.code == 0, done.err
    assert left_in(Path("out")) == [
        "cells [1]-labels.tif",
        "cells [1]-table.csv",
        "cells [1].deepbio.json",
        "summary.csv",
    ]
    assert f"{image}: 2 objects, " in done.out
    assert "1 done; results and summary.csv are in out" in done.out
    assert np.array_equal(read_labels("out/cells [1]-labels.tif").numpy() > 0, spots() > 1000)


def test_options_reach_the_model(threshold_model: Path, image: Path) -> None:
    assert deepbio("run", threshold_model, image, "-o", "out", *ONNX, "--min-size", "30", "--save", "labels").code == 0
    assert read_labels("out/cells [1]-labels.tif").count == 1
    record = json.loads(Path("out/cells [1].deepbio.json").read_text())
    assert record["options"]["min_size"] == 30
    assert record["save"] == ["labels"]


def test_second_time_is_skipped_and_overwrite_is_not(threshold_model: Path, image: Path) -> None:
    words = ("run", threshold_model, image, "-o", "out", *ONNX)
    deepbio(*words)
    assert "done already, skipped" in deepbio(*words).out
    assert "2 objects" in deepbio(*words, "--overwrite").out


def test_quiet_says_nothing(threshold_model: Path, image: Path) -> None:
    done = deepbio("run", threshold_model, image, "-o", "out", *ONNX, "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_json_lines_for_machines(threshold_model: Path, image: Path) -> None:
    write(Path("bad.tif"), Image(np.full((37, 53), np.nan, np.float32)))
    done = deepbio("run", threshold_model, image, "bad.tif", "-o", "out", *ONNX, "--json")
    assert done.code == 1
    assert len(done.lines) == len(done.out.splitlines())
    kinds = [line["event"] for line in done.lines]
    assert {"progress", "file", "summary"} <= set(kinds)
    good, bad = (line for line in done.lines if line["event"] == "file")
    assert (good["status"], good["objects"]) == ("done", 2)
    assert Path(good["outputs"]["labels"]).exists()
    assert (bad["status"], bad["error"]) == ("failed", "InputMismatch")
    assert done.lines[-1] == {"event": "summary", "done": 1, "skipped": 0, "failed": 1, "folder": "out"}


def test_some_of_many_failed(threshold_model: Path, image: Path) -> None:
    Path("empty.tif").touch()
    done = deepbio("run", threshold_model, image, "empty.tif", "-o", "out", *ONNX)
    assert done.code == 1
    assert "Failed: empty.tif: The file 'empty.tif' is empty (0 bytes)." in done.err
    assert "1 of 2 files failed" in done.err
    assert "1 done, 1 failed" in done.out


def test_info(image: Path) -> None:
    assert "uint16" in deepbio("info", image).out
    facts = deepbio("info", image, "--json").lines[0]
    assert facts["axes"] == "YX"
    assert list(facts["shape"]) == [37, 53]


def test_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    from deepbio import doctor

    found = [doctor.Finding("Devices", "cpu", "8 threads"), doctor.Finding("Extras", "zarr", "no", "missing", "pip it")]
    monkeypatch.setattr(doctor, "examine", lambda: found)
    done = deepbio("doctor")
    assert done.code == 0
    assert "8 threads" in done.out
    assert "pip it" in done.out
    found.append(doctor.Finding("DeepBio", "other package", "'deepbio' 0.0.5", "error", "uninstall"))
    done = deepbio("doctor", "--json")
    assert done.code == 1
    assert done.lines[0]["ok"] is False
    assert done.lines[0]["findings"][2]["hint"] == "uninstall"


def test_models_come_and_go(threshold_model: Path, image: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))
    assert deepbio("models", "add", threshold_model, "--name", "my-spots").code == 0
    assert "my-spots" in deepbio("models").out
    assert "my-spots" in [row["name"] for row in deepbio("models", "list", "--json").lines[0]["models"]]
    assert "Pixels above 1000" in deepbio("models", "show", "my-spots").out
    assert deepbio("models", "show", "my-spots", "--json").lines[0]["license"] == "CC0-1.0"
    assert "my-spots: passed" in deepbio("models", "check", "my-spots").out
    assert "2 objects" in deepbio("run", "my-spots", image, "-o", "out", *ONNX).out
    assert deepbio("models", "add", threshold_model, "--name", "my-spots").code == 6
    assert deepbio("models", "remove", "my-spots").code == 0
    assert deepbio("models", "show", "my-spots").code == 5


def test_a_model_that_does_not_do_what_it_says(threshold_model: Path, tmp_path: Path) -> None:
    model = copied(threshold_model, tmp_path)
    expected = np.load(model / "test_output.npy")
    np.save(model / "test_output.npy", expected + 0.5)
    done = deepbio("models", "check", model)
    assert done.code == 6
    assert "FAILED" in done.out


def test_evaluate(threshold_model: Path, tmp_path: Path) -> None:
    labels = (spots() > 1000).astype(np.uint16)
    labels[20:30, 33:41] *= 2
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    write(Path("data/images/a.tif"), Image(spots()))
    write(Path("data/labels/a.tif"), LabelMap(labels))
    done = deepbio("evaluate", threshold_model, "data", "-o", "scores.csv", *ONNX)
    assert done.code == 0, done.err
    assert re.search(r"all\s+1\s+1\.000\s+1\.000\s+1\.000\s+2\s+2", done.out)
    assert "a.tif,,,1.0,1.0,1.0,2,2," in Path("scores.csv").read_text()
    lines = deepbio("evaluate", threshold_model, "data", "--json", *ONNX).lines
    assert lines[-1]["groups"][0]["ap50"] == 1.0
    assert deepbio("evaluate", threshold_model, "data", "--split", "val", *ONNX).code == 3


def test_version() -> None:
    from deepbio import __version__

    assert deepbio("--version").out == f"deepbio {__version__}\n"


# --- options and documentation come from one place


def commands() -> dict[str, inspect.Signature]:
    found = {info.name: info.callback for info in app.registered_commands}
    for group in app.registered_groups:
        found |= {f"{group.name} {info.name}": info.callback for info in group.typer_instance.registered_commands}
    return {name: inspect.signature(callback) for name, callback in found.items() if name and callback}


@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_every_run_option_is_a_command_option(command: str) -> None:
    parameters = commands()[command].parameters
    for option in fields(RunOptions):
        if option.name not in SAVED_AS:
            assert option.name in parameters
    shown = deepbio(command, "--help").out
    for option in fields(RunOptions):
        flag = SAVED_AS.get(option.name) if command == "run" else "--device"
        assert (flag or "--" + option.name.replace("_", "-")) in shown


def test_every_option_and_exit_code_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for option in fields(RunOptions):
        assert f"`{SAVED_AS.get(option.name) or '--' + option.name.replace('_', '-')}`" in page
    codes = {getattr(errors, name).exit_code for name in errors.__all__} | {0, BUG, TERMINATED}
    for code in codes:
        assert f"| {code} |" in page, code
        assert re.search(rf"\b{code} ", EXIT_CODES), code
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == codes


@pytest.mark.parametrize("name", commands())
def test_every_command_has_help_and_debug(name: str) -> None:
    done = deepbio(*name.split(), "--help")
    assert done.code == 0
    assert "--debug" in done.out
    assert "--json" in done.out


# --- errors


@pytest.mark.parametrize(
    "kind", [getattr(errors, name) for name in errors.__all__ if name not in ("DeepBioError", "MissingPackage")]
)
def test_every_error_is_one_line_a_hint_and_its_code(kind: type[DeepBioError], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise kind("Found [red]a[/red] cat.", "Bring a dog.")

    monkeypatch.setattr("deepbio.io.info", fail)
    done = deepbio("info", "a.tif")
    assert done.code == kind.exit_code
    assert done.err == "Error: Found [red]a[/red] cat.\nHint: Bring a dog.\n"
    assert done.out == ""
    line = deepbio("info", "a.tif", "--json").lines[-1]
    assert line == {
        "event": "error",
        "code": kind.exit_code,
        "error": kind.__name__,
        "message": "Found [red]a[/red] cat.",
        "hint": "Bring a dog.",
    }


def test_a_bug_is_called_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepbio.io.info", lambda path: 1 / 0)
    done = deepbio("info", "a.tif")
    assert done.code == BUG
    assert "This is an error in DeepBio itself: ZeroDivisionError: division by zero" in done.err
    assert "--debug" in done.err
    assert "Traceback" not in done.err
    assert "Traceback" in deepbio("info", "a.tif", "--debug").err


def test_stopped_by_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deepbio.io.info", stop)
    done = deepbio("info", "a.tif")
    assert done.code == 130
    assert done.err.startswith("Error: Stopped")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tile", "8"], "'tile' is 8; expected 16 to 16384"),
        (["--device", "gpu"], "'device' is 'gpu'"),
        (["--precision", "fp8"], "expected one of auto, fp32"),
        (["--save", "cake"], "Cannot save cake"),
    ],
)
def test_wrong_option(threshold_model: Path, image: Path, words: list[str], message: str) -> None:
    done = deepbio("run", threshold_model, image, "-o", "out", *words)
    assert done.code == 2
    assert message in done.err
    assert left_in(Path("out")) == []


# --- bad input: each case of the issue through the real command


def copied(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model, folder / "model"))


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
    done = deepbio("run", threshold_model, "a.tif", "-o", "out", "--save", "labels,table,overlay,scores", *ONNX)
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


def test_output_may_not_be_written(threshold_model: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    words = ["run", str(threshold_model), "a.tif", "b.tif", "c.tif", "-o", "out", "--json", "--tile", "64", *ONNX]
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
