"""The command line as users and machines meet it: results, errors, exit codes, signals, bad input."""

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from deepbio import errors
from deepbio.cli import app
from deepbio.cli.common import BUG, EXIT_CODES, TERMINATED
from deepbio.cli.options import SAVED_AS
from deepbio.errors import DeepBioError
from deepbio.image import Image, LabelMap
from deepbio.io import read_labels, write
from deepbio.options import RunOptions
from tests.core.command import ONNX, copied, deepbio, left_in, spots

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A terminal that breaks no lines, and a folder of its own."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write(tmp_path / "cells [1].tif", Image(spots()))
    return tmp_path / "cells [1].tif"


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
    assert (
        deepbio(
            "run", threshold_model, image, "-o", "out", *ONNX, "--min-size", "30", "--save", "labels"
        ).code
        == 0
    )
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

    found = [
        doctor.Finding("Devices", "cpu", "8 threads"),
        doctor.Finding("Extras", "zarr", "no", "missing", "pip it"),
    ]
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


def test_models_come_and_go(
    threshold_model: Path, image: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A small data set for training."""
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for number in range(7):
        pixels = np.roll(spots(), number, axis=1)
        labels = (pixels > 1000).astype(np.uint16)
        labels[15:] *= 2
        write(tmp_path / "data" / "images" / f"{number}.tif", Image(pixels))
        write(tmp_path / "data" / "labels" / f"{number}.tif", LabelMap(labels))
    return tmp_path / "data"


def test_train_plan_only(cases: Path) -> None:
    pytest.importorskip("torch")
    words = ("train", cases, "-o", "mine", "--plan-only", "--target", "instances", "--steps", 12, "--seed", 3)
    done = deepbio(*words)
    assert done.code == 0, done.err
    assert left_in(Path()) == ["data", "mine.training"]
    written = Path("mine.training/plan.yaml").read_text()
    assert written.strip() == done.out.strip()
    for line in ("target: instances", "steps: 12", "seed: 3"):
        assert line in written


@pytest.mark.parametrize("task", ["segment", "restore"])
def test_train_never_replaces_what_is_no_model(cases: Path, task: str) -> None:
    """It is told at once: the folder of the data as the place of the model would be gone at the end."""
    before = sorted(cases.rglob("*"))
    done = deepbio("train", cases, "-o", cases, "--task", task, "--steps", 1)
    assert done.code == 9
    assert "is a folder that is no model" in done.err
    assert sorted(cases.rglob("*")) == before
    assert not cases.with_name(f"{cases.name}.training").exists()


def test_train_passes_everything_on(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = pytest.importorskip("deepbio.training")
    deepbio("train", cases, "-o", "mine", "--plan-only")
    Path("about.yaml").write_text("title: My model\n")
    given: dict[str, object] = {}

    def train(data: Path, output: Path, **kwargs: object) -> Path:
        given.update(data=data, output=output, **kwargs)
        return output

    monkeypatch.setattr(training, "train", train)
    words = ["--plan", "mine.training/plan.yaml", "--about", "about.yaml", "--device", "cpu", "--fold", "2"]
    done = deepbio("train", cases, "-o", "mine", *words)
    assert done.code == 0, done.err
    assert "The model is in mine" in done.out
    assert (given["data"], given["output"], given["device"]) == (cases, Path("mine"), "cpu")
    assert given["plan"] == training.read_plan(Path("mine.training/plan.yaml"))
    assert given["about"] == training.Description(title="My model")
    assert (given["task"], given["fold"], given["ensemble"]) == ("auto", 2, False)  # the plan says the task
    assert deepbio("train", cases, "-o", "mine", "--ensemble").code == 0
    assert (given["task"], given["fold"], given["ensemble"]) == ("segment", None, True)
    assert given["plan"] is None  # the one that was written is followed
    assert deepbio("train", cases, "-o", "mine", "--steps", "5", "--json").lines[-1] == {
        "event": "model",
        "folder": "mine",
    }
    assert given["plan"].steps == 5  # type: ignore[attr-defined]


def test_train_with_wishes_measures_the_data_once(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = pytest.importorskip("deepbio.training.run")
    measured: list[int] = []

    def counted(cases: list, *more: object) -> object:
        measured.append(len(cases))
        return original(cases, *more)

    original = run.make_fingerprint
    monkeypatch.setattr(run, "make_fingerprint", counted)
    monkeypatch.setattr(run._Job, "run", lambda job, parts, work, output: output)
    done = deepbio("train", cases, "-o", "mine", "--steps", "5")
    assert (done.code, len(measured)) == (0, 1), done.err
    assert "steps: 5" in Path("mine.training/plan.yaml").read_text()


def test_train_with_a_plan_and_wishes(cases: Path) -> None:
    pytest.importorskip("torch")
    plan = ("--plan", "plan.yaml")
    done = deepbio("train", cases, "-o", "mine", *plan, "--seed", "0", "--set", "width=2")
    assert done.code == 2
    assert "--seed and --set are for a new plan" in done.err
    assert "Edit the plan" in done.err
    assert "--plan-only is for a new plan" in deepbio("train", cases, "-o", "mine", *plan, "--plan-only").err


def test_version() -> None:
    from deepbio import __version__

    assert deepbio("--version").out == f"deepbio {__version__}\n"


# --- options and documentation come from one place


def commands() -> dict[str, inspect.Signature]:
    found = {info.name: info.callback for info in app.registered_commands}
    for group in app.registered_groups:
        found |= {
            f"{group.name} {info.name}": info.callback for info in group.typer_instance.registered_commands
        }
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
    # the worker speaks JSON anyway, the page and ImageJ are looked at
    assert ("--json" in done.out) is (name not in ("worker", "view", "fiji open"))


# --- errors


@pytest.mark.parametrize(
    "kind",
    [getattr(errors, name) for name in errors.__all__ if name not in ("DeepBioError", "MissingPackage")],
)
def test_every_error_is_one_line_a_hint_and_its_code(
    kind: type[DeepBioError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, *, series: str) -> None:
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
    monkeypatch.setattr("deepbio.io.info", lambda path, series: 1 / 0)
    done = deepbio("info", "a.tif")
    assert done.code == BUG
    assert "This is an error in DeepBio itself: ZeroDivisionError: division by zero" in done.err
    assert "--debug" in done.err
    assert "Traceback" not in done.err
    assert "Traceback" in deepbio("info", "a.tif", "--debug").err


def test_stopped_by_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(path: Path, *, series: str) -> None:
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
