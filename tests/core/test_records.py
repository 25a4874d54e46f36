"""Whose the files are that lie where results go, and whether an input is what it was."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK

from deepbio import batch
from deepbio.batch import run_many
from deepbio.errors import OutputError
from deepbio.events import Event, Notice
from deepbio.image import Image
from deepbio.inputs import Input
from deepbio.io import read_labels, write
from deepbio.options import RunOptions
from deepbio.predict import Model, load_model
from deepbio.records import InTheWay, check_lengths, identity
from tests.core.command import ONNX
from tests.core.squares import squares

OPTIONS = RunOptions(runtime="onnx", device="cpu")


@pytest.fixture
def model(threshold_model: Path) -> Model:
    return load_model(threshold_model)


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    write(tmp_path / "cell.tif", Image(squares(2)))
    return tmp_path / "cell.tif"


# --- in which state an input is


def two_files(folder: Path, count: int) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(squares(count)), str(folder / "cell.mhd"))
    return folder / "cell.mhd"


def zarr_folder(folder: Path, count: int) -> Path:
    zarr = pytest.importorskip("zarr")
    path = folder / "cell.ome.zarr"
    if not path.exists():
        write(path, Image(squares(count)))
    else:
        zarr.open(str(path), mode="r+")["0"][...] = squares(count)
    return path


@pytest.mark.parametrize("make", [two_files, zarr_folder])
def test_pixels_beside_the_header_count_too(model: Model, tmp_path: Path, make: object) -> None:
    path = make(tmp_path, 2)  # type: ignore[operator]
    header = path.stat()
    assert run_many(model, [path], tmp_path / "out", OPTIONS)[0].objects == 2
    assert run_many(model, [path], tmp_path / "out", OPTIONS)[0].status == "skipped"
    make(tmp_path, 3)  # type: ignore[operator]
    os.utime(path, ns=(header.st_atime_ns, header.st_mtime_ns))
    row = run_many(model, [path], tmp_path / "out", OPTIONS)[0]
    assert (row.status, row.objects) == ("done", 3)


def test_a_header_that_lists_its_files(tmp_path: Path) -> None:
    for name in ("a.raw", "b.raw"):
        (tmp_path / name).write_bytes(b"1234")
    header = tmp_path / "s.mhd"
    header.write_text("NDims = 3\nElementDataFile = LIST\na.raw\nb.raw\n")
    found = identity(Input(header))
    assert (found["files"], found["bytes"]) == (3, header.stat().st_size + 8)


# --- what is in the way


def test_two_runs_at_once_do_not_replace_each_other(
    model: Model, cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both came to the name 'cell' before the other had written anything."""
    other = tmp_path / "other" / "cell.tif"
    other.parent.mkdir()
    write(other, Image(squares(3)))
    out = tmp_path / "out"
    monkeypatch.setattr(batch, "plan_names", lambda files, folder: dict.fromkeys(files, "cell"))
    assert run_many(model, [cell], out, OPTIONS)[0].status == "done"
    row = run_many(model, [other], out, OPTIONS, overwrite=True)[0]
    assert row.status == "failed"
    assert f"of another input, '{cell}'" in row.message
    assert read_labels(out / "cell-labels.tif").count == 2
    monkeypatch.undo()
    row = run_many(model, [other], out, OPTIONS)[0]
    assert row.outputs["labels"].name == "other_cell-labels.tif"


def test_a_run_that_was_faster_is_seen_after_the_work(
    model: Model, cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run = model.run

    def slow(*args: object, **kwargs: object) -> object:
        record = {"input": {"path": "/other/cell.tif"}, "seconds": 1.0, "objects": 1}
        (out / "cell.deepbio.json").write_text(json.dumps(record))
        return run(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "run", slow)
    assert "of another input, '/other/cell.tif'" in run_many(model, [cell], out, OPTIONS)[0].message
    assert not (out / "cell-labels.tif").exists()


def test_two_processes_in_step(threshold_model: Path, tmp_path: Path) -> None:
    """Both begin with an empty folder, and with inputs of the same names: each result stays whose it is."""
    places = [tmp_path / "one", tmp_path / "two"]
    for number, place in enumerate(places, 1):
        place.mkdir()
        for n in range(6):
            write(place / f"c{n}.tif", Image(squares(number)))
    command = [
        sys.executable,
        "-m",
        "deepbio",
        "run",
        threshold_model,
        *ONNX,
        "--json",
        "-o",
        tmp_path / "out",
    ]
    runs = [subprocess.Popen([*command, place], stdout=subprocess.PIPE, text=True) for place in places]
    done = 0
    for number, run in enumerate(runs, 1):
        lines = [json.loads(line) for line in run.communicate()[0].splitlines()]
        for row in (line for line in lines if line.get("status") == "done"):
            done += 1
            assert read_labels(row["outputs"]["labels"]).count == number
    assert done >= 6


def test_a_users_file_of_another_kind_is_not_replaced(model: Model, cell: Path, tmp_path: Path) -> None:
    """The record of an earlier run speaks for what that run has saved, and for nothing else."""
    out = tmp_path / "out"
    run_many(model, [cell], out, OPTIONS, save=["labels"])
    (out / "cell-overlay.png").write_text("mine")
    row = run_many(model, [cell], out, OPTIONS, save=["labels", "overlay"])[0]
    assert "exists already, and no run has made it" in row.message
    assert (out / "cell-overlay.png").read_text() == "mine"


def test_results_of_other_options_are_told(model: Model, cell: Path, tmp_path: Path) -> None:
    out, heard = tmp_path / "out", list[Event]()
    run_many(model, [cell], out, OPTIONS)
    run_many(model, [cell], out, OPTIONS, save=["labels"], on_progress=heard.append)
    assert not [event for event in heard if isinstance(event, Notice)]  # made the same way
    fewer = OPTIONS.replace(min_size=20)
    run_many(model, [cell], out, fewer, save=["labels"], on_progress=heard.append)
    told = [event for event in heard if isinstance(event, Notice)]
    assert [event.level for event in told] == ["warning"]
    assert "stay as an earlier run made them" in told[0].message
    assert "table" in told[0].message
    assert json.loads((out / "cell.deepbio.json").read_text())["earlier"] == ["table"]
    assert run_many(model, [cell], out, fewer)[0].status == "done"  # the table is ours, and renewed


def test_results_of_another_model_are_told(
    model: Model, threshold_model: Path, cell: Path, tmp_path: Path
) -> None:
    out, heard = tmp_path / "out", list[Event]()
    run_many(model, [cell], out, OPTIONS)
    other = load_model(shutil.copytree(threshold_model, tmp_path / "second"))
    run_many(other, [cell], out, OPTIONS, on_progress=heard.append)
    told = [event.message for event in heard if isinstance(event, Notice)]
    assert len(told) == 1
    assert told[0].startswith(f"Results of the model '{model.card.name}' are replaced")


def test_a_summary_of_the_user_is_not_replaced(model: Model, cell: Path, tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text("patient,age\n")
    with pytest.raises(OutputError, match=r"summary\.csv' exists already"):
        run_many(model, [cell], tmp_path, OPTIONS)
    assert (tmp_path / "summary.csv").read_text() == "patient,age\n"
    run_many(model, [cell], tmp_path, OPTIONS, overwrite=True)
    run_many(model, [cell], tmp_path, OPTIONS)  # now it is ours


def test_a_name_that_is_too_long_is_the_trouble_of_one_file(model: Model, cell: Path, tmp_path: Path) -> None:
    long = cell.rename(tmp_path / f"{'n' * 250}.tif")
    write(cell, Image(squares(1)))
    rows = run_many(model, [long, cell], tmp_path / "out", OPTIONS)
    assert [row.status for row in rows] == ["failed", "done"]
    assert "is too long for the file system" in rows[0].message
    with pytest.raises(InTheWay, match="too long"):
        check_lengths([tmp_path / ("é" * 130)])


# --- what was assumed


def test_what_had_to_be_assumed_is_told_and_recorded(model: Model, tmp_path: Path) -> None:
    """A file of several images gives results of the first alone, which nobody would see from them."""
    import tifffile

    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(squares(1))
        file.write(squares(3)[:, :40])
    heard = list[Event]()
    run_many(model, [tmp_path / "two.tif"], tmp_path / "out", OPTIONS, on_progress=heard.append)
    note = "The file holds 2 images of different shapes or types; the first is read."
    assert Notice(note) in heard
    assert json.loads((tmp_path / "out" / "two.deepbio.json").read_text())["notes"] == [note]
