"""Many files: isolated failures, resuming, names, disk full, cancel, the summary."""

import csv
import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from deepbio import batch
from deepbio.batch import Row, run_many
from deepbio.errors import (
    Cancelled,
    ImageError,
    InputMismatch,
    MissingPackage,
    OptionError,
    OutputError,
    WeightsError,
)
from deepbio.events import Event, Progress
from deepbio.image import Grid, Image
from deepbio.io import read, read_labels, write
from deepbio.io.rois import read_rois
from deepbio.options import RunOptions
from deepbio.predict import Model, load_model
from tests.core.squares import squares

OPTIONS = RunOptions(runtime="onnx", device="cpu")


@pytest.fixture
def model(threshold_model: Path) -> Model:
    return load_model(threshold_model)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Three images with 1, 2 and 3 objects."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (1, 2, 3):
        write(folder / f"cell{number}.tif", Image(squares(number)))
    return [folder / f"cell{number}.tif" for number in (1, 2, 3)]


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def summary(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table_rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return [row for row in csv.reader(file) if row and row[0].isdigit()]


def test_writes_labels_table_record_and_summary(model: Model, images: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "deeper" / "out"
    rows = run_many(model, images, out, OPTIONS)
    assert [(row.status, row.objects) for row in rows] == [("done", 1), ("done", 2), ("done", 3)]
    assert listing(out) == sorted(
        [f"cell{n}{end}" for n in (1, 2, 3) for end in ("-labels.tif", "-table.csv", ".deepbio.json")]
        + ["summary.csv"]
    )
    labels = read_labels(out / "cell3-labels.tif")
    assert labels.count == 3
    assert np.array_equal(labels.numpy() > 0, squares(3) > 1000)
    assert len(table_rows(out / "cell3-table.csv")) == 3
    assert [(row["file"], row["status"], row["objects"]) for row in summary(out)] == [
        (str(file), "done", str(number)) for number, file in enumerate(images, start=1)
    ]


def test_record_says_how(model: Model, images: list[Path], tmp_path: Path) -> None:
    run_many(model, images[:1], tmp_path / "out", OPTIONS.replace(min_size=4))
    record = json.loads((tmp_path / "out" / "cell1.deepbio.json").read_text())
    assert record["input"]["path"] == str(images[0].resolve())
    assert record["input"]["bytes"] == images[0].stat().st_size
    assert record["model"]["name"] == "spots"
    assert record["options"]["min_size"] == 4
    assert record["objects"] == 1
    assert record["run"]["runtime"] == "onnx"


@pytest.mark.parametrize(
    ("save", "files"),
    [
        (("labels",), ["cell1-labels.tif"]),
        (("table",), ["cell1-table.csv"]),
        (("overlay",), ["cell1-overlay.png"]),
        (("scores", "labels"), ["cell1-labels.tif", "cell1-scores.tif"]),
    ],
)
def test_saves_what_is_asked_for(
    model: Model, images: list[Path], tmp_path: Path, save: tuple[str, ...], files: list[str]
) -> None:
    run_many(model, images[:1], tmp_path / "out", OPTIONS, save=save)
    assert listing(tmp_path / "out") == sorted([*files, "cell1.deepbio.json", "summary.csv"])


def test_scores_are_the_networks(model: Model, images: list[Path], tmp_path: Path) -> None:
    run_many(model, images[:1], tmp_path / "out", OPTIONS, save=("scores",))
    scores = np.squeeze(read(tmp_path / "out" / "cell1-scores.tif").numpy())
    assert np.allclose(scores, squares(1) * 0.001 - 1, atol=1e-5)


@pytest.mark.parametrize(
    ("suffix", "expected"), [(".nii", ".nii.gz"), (".nii.gz", ".nii.gz"), (".mha", ".mha"), (".png", ".tif")]
)
def test_labels_keep_the_geometry_of_their_format(
    model: Model, tmp_path: Path, suffix: str, expected: str
) -> None:
    grid = Grid((37, 53), (0.8, 0.5), (-3.5, 7.25), unit="millimeter") if suffix != ".png" else None
    write(tmp_path / f"slice{suffix}", Image(squares(2), grid=grid))
    run_many(model, [tmp_path / f"slice{suffix}"], tmp_path / "out", OPTIONS, save=("labels",))
    labels = read_labels(tmp_path / "out" / f"slice-labels{expected}")
    assert labels.grid == read(tmp_path / f"slice{suffix}").grid
    assert labels.count == 2


def test_a_broken_file_does_not_stop_the_others(model: Model, images: list[Path], tmp_path: Path) -> None:
    images[1].write_bytes(b"")
    write(images[2], Image(np.zeros((2, 37, 53), np.uint16), "CYX"))
    rows = run_many(
        model, [*images, tmp_path / "missing.tif", images[0].with_name("x.txt")], tmp_path / "out", OPTIONS
    )
    assert [row.status for row in rows] == ["done", "failed", "failed", "failed", "failed"]
    assert [type(row.error) for row in rows[1:]] == [ImageError, InputMismatch, ImageError, ImageError]
    assert "is empty (0 bytes)" in rows[1].message
    assert [row["message"] for row in summary(tmp_path / "out")] == [row.message for row in rows]
    assert not [
        name for name in listing(tmp_path / "out") if name.startswith(("cell2", "cell3", "missing", ".part"))
    ]


def test_an_unexpected_error_is_isolated_too(
    model: Model, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = model.run

    def run(image: Image, *args: object, **kwargs: object) -> object:
        if image.numpy()[3:7, 11:15].min() > 1000:  # has a second object
            raise ZeroDivisionError("a bug")
        return plain(image, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "run", run)
    rows = run_many(model, images, tmp_path / "out", OPTIONS)
    assert [row.status for row in rows] == ["done", "failed", "failed"]
    assert rows[1].message == "ZeroDivisionError: a bug"


def runs_of(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the runs of a model from now on."""
    plain, counted = model.run, []

    def run(*args: object, **kwargs: object) -> object:
        counted.append(1)
        return plain(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "run", run)
    return counted


def test_what_is_done_is_skipped(
    model: Model, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_many(model, images[:2], tmp_path / "out", OPTIONS)
    counted = runs_of(model, monkeypatch)
    rows = run_many(model, images, tmp_path / "out", OPTIONS)
    assert [(row.status, row.objects) for row in rows] == [("skipped", 1), ("skipped", 2), ("done", 3)]
    assert len(counted) == 1
    assert rows[0].outputs == first[0].outputs
    assert [row["status"] for row in summary(tmp_path / "out")] == ["skipped", "skipped", "done"]


def touch(images: list[Path], out: Path) -> None:
    write(images[0], Image(squares(4)))


def other_weights(images: list[Path], out: Path) -> None:
    record = json.loads((out / "cell1.deepbio.json").read_text())
    record["model"]["weights"] = ["0" * 64]
    (out / "cell1.deepbio.json").write_text(json.dumps(record))


def no_labels(images: list[Path], out: Path) -> None:
    (out / "cell1-labels.tif").unlink()


def broken_record(images: list[Path], out: Path) -> None:
    """A record that was cut off names no input: its outputs count as the user's own."""
    (out / "cell1.deepbio.json").write_text('{"input"')
    for name in ("cell1-labels.tif", "cell1-table.csv"):
        (out / name).unlink()


@pytest.mark.parametrize("change", [touch, other_weights, no_labels, broken_record])
def test_what_has_changed_is_done_again(
    model: Model, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: object
) -> None:
    out = tmp_path / "out"
    run_many(model, images, out, OPTIONS)
    change(images, out)  # type: ignore[operator]
    counted = runs_of(model, monkeypatch)
    rows = run_many(model, images, out, OPTIONS)
    assert [row.status for row in rows] == ["done", "skipped", "skipped"]
    assert len(counted) == 1
    assert run_many(model, images, out, OPTIONS)[0].status == "skipped"


@pytest.mark.parametrize(
    "change", [{"options": OPTIONS.replace(min_size=2)}, {"save": ("labels",)}, {"overwrite": True}]
)
def test_other_options_mean_another_run(
    model: Model, images: list[Path], tmp_path: Path, change: dict[str, object]
) -> None:
    run_many(model, images, tmp_path / "out", OPTIONS)
    rows = run_many(model, images, tmp_path / "out", **{"options": OPTIONS, **change})  # type: ignore[arg-type]
    assert [row.status for row in rows] == ["done"] * 3


def test_a_file_of_the_user_is_not_replaced(model: Model, images: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "cell2-labels.tif").write_text("mine")
    rows = run_many(model, images, out, OPTIONS)
    assert [row.status for row in rows] == ["done", "failed", "done"]
    assert "exists already" in rows[1].message
    assert (out / "cell2-labels.tif").read_text() == "mine"
    assert run_many(model, images, out, OPTIONS, overwrite=True)[1].status == "done"


def test_an_input_is_never_replaced(model: Model, images: list[Path], tmp_path: Path) -> None:
    inputs = images[0].parent
    images[1].rename(inputs / "cell1-labels.tif")
    with pytest.raises(OptionError, match="would replace an input"):
        run_many(model, [inputs / "cell1.tif", inputs / "cell1-labels.tif"], inputs, OPTIONS, overwrite=True)
    assert read(inputs / "cell1-labels.tif").numpy().max() == 3000


def test_results_may_lie_beside_their_images(model: Model, images: list[Path], tmp_path: Path) -> None:
    folder = images[0].parent
    assert len(run_many(model, [folder], folder, OPTIONS)) == 3
    assert [row.status for row in run_many(model, [folder], folder, OPTIONS)] == ["skipped"] * 3


def test_same_names_from_two_folders(model: Model, images: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other" / "cell1.tif"
    other.parent.mkdir()
    write(other, Image(squares(5)))
    rows = run_many(model, [images[0], other], tmp_path / "out", OPTIONS)
    assert [row.outputs["labels"].name for row in rows] == ["in_cell1-labels.tif", "other_cell1-labels.tif"]
    assert [read_labels(row.outputs["labels"]).count for row in rows] == [1, 5]


def no_space(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("name", ["cell2-labels.tif", "cell2-table.csv", "cell2.deepbio.json"])
def test_a_full_disk_stops_the_batch(
    model: Model, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == name:
            no_space()
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="no space is left"):
        run_many(model, images, tmp_path / "out", OPTIONS)
    left = listing(tmp_path / "out")
    assert not [file for file in left if file.startswith((".part", "cell3"))]
    assert "cell2.deepbio.json" not in left
    assert [row["file"] for row in summary(tmp_path / "out")] == [str(images[0])]
    monkeypatch.undo()
    rows = run_many(model, images, tmp_path / "out", OPTIONS, overwrite=name.endswith("json"))
    assert rows[-1].status == "done"


def test_unwritable_output_folder(model: Model, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot be made"):
        run_many(model, images, tmp_path / "out", OPTIONS)


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("kind", [Cancelled, KeyboardInterrupt])
def test_cancel_leaves_whole_results_only(
    model: Model, images: list[Path], tmp_path: Path, at: int, kind: type[BaseException]
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "predict" and len(done) == at:
            raise kind

    done: list[Row] = []
    with pytest.raises(kind):
        run_many(model, images, tmp_path / "out", OPTIONS, on_progress=stop, on_file=done.append)
    assert [row.status for row in done] == ["done"] * at
    expected = [
        f"cell{n}{end}" for n in range(1, at + 1) for end in ("-labels.tif", "-table.csv", ".deepbio.json")
    ]
    assert listing(tmp_path / "out") == sorted([*expected, "summary.csv"])
    assert [row.status for row in run_many(model, images, tmp_path / "out", OPTIONS)] == (
        ["skipped"] * at + ["done"] * (3 - at)
    )


def test_a_broken_model_stops_the_batch(threshold_model: Path, images: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in threshold_model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "weights.onnx").write_bytes(b"x" + (broken / "weights.onnx").read_bytes())
    with pytest.raises(WeightsError, match="SHA-256"):
        run_many(load_model(broken), images, tmp_path / "out", OPTIONS)


@pytest.mark.parametrize("save", [("cake",), ("labels", "cake")])
def test_unknown_kind_to_save(
    model: Model, images: list[Path], tmp_path: Path, save: tuple[str, ...]
) -> None:
    with pytest.raises(OptionError, match="Cannot save"):
        run_many(model, images, tmp_path / "out", OPTIONS, save=save)
    assert not (tmp_path / "out").exists()


def test_what_the_model_does_not_give(model: Model, images: list[Path], tmp_path: Path) -> None:
    (row,) = run_many(model, images[:1], tmp_path / "out", OPTIONS, save=("labels", "image"))
    assert isinstance(row.error, OptionError)
    assert "gives no image" in row.message
    assert listing(tmp_path / "out") == ["summary.csv"]


def test_files_are_counted_for_the_listener(model: Model, images: list[Path], tmp_path: Path) -> None:
    heard: list[Event] = []
    run_many(model, images, tmp_path / "out", OPTIONS, on_progress=heard.append)
    files = [event for event in heard if isinstance(event, Progress) and event.stage == "files"]
    assert [(event.current, event.total, event.item) for event in files] == [
        (0, 3, "cell1.tif"),
        (1, 3, "cell2.tif"),
        (2, 3, "cell3.tif"),
    ]


def test_frames_are_counted_together(model: Model, tmp_path: Path) -> None:
    frames = np.stack([squares(1), squares(2), squares(4)])
    write(tmp_path / "time.tif", Image(frames, "TYX", frame_interval=2.5))
    (row,) = run_many(model, [tmp_path / "time.tif"], tmp_path / "out", OPTIONS)
    assert row.objects == 7
    assert read_labels(row.outputs["labels"]).axes == "TYX"
    (row,) = run_many(model, [tmp_path / "time.tif"], tmp_path / "tables", OPTIONS, save=("table",))
    assert row.objects == 7  # by their rows, where labels are not wanted


def test_summary_is_saved_while_the_batch_runs(
    model: Model, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(batch.time, "monotonic", lambda: next(clock))
    seen = []

    def look(row: Row) -> None:
        seen.append(len(summary(tmp_path / "out")))

    run_many(model, images, tmp_path / "out", OPTIONS, on_file=look)
    assert seen == [1, 2, 3]


def test_rois_lie_beside_the_labels(model: Model, images: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("roifile")
    rows = run_many(model, images, tmp_path / "out", OPTIONS, save=("labels", "rois"))
    assert [row.outputs["rois"].name for row in rows] == [f"cell{number}-rois.zip" for number in (1, 2, 3)]
    for number, row in enumerate(rows, 1):
        outlines = read_rois(row.outputs["rois"])
        assert [outline.name for outline in outlines] == [str(label) for label in range(1, number + 1)]
        assert outlines[0].paths[0].tolist() == [[3, 3], [7, 3], [7, 7], [3, 7]]
    again = run_many(model, images, tmp_path / "out", OPTIONS, save=("labels", "rois"))
    assert {row.status for row in again} == {"skipped"}


def test_a_missing_roifile_is_told_before_the_work(
    model: Model, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "roifile", None)
    with pytest.raises(MissingPackage, match=r"'roifile'.*\[fiji\]"):
        run_many(model, images, tmp_path / "out", OPTIONS, save=("table", "rois"))
    assert model.opened == 0
    assert not (tmp_path / "out").exists()
