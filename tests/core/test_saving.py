"""Results of DICOM series as files: labels on the grid of the scan, DICOM SEG, and nothing of the patient."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from deepbio.batch import run_many
from deepbio.errors import ImageError, MissingPackage, OptionError
from deepbio.events import Event, Notice
from deepbio.image import Image, LabelMap
from deepbio.inputs import find_inputs
from deepbio.io import read, read_labels, write
from deepbio.io.rois import read_rois
from deepbio.options import RunOptions
from deepbio.predict import Model, load_model
from deepbio.saving import save_result
from deepbio.tasks import Result
from tests.conftest import make_grid
from tests.core.command import deepbio
from tests.core.io.dicom_series import ROOT, SECRETS, write_series
from tests.core.squares import squares

OPTIONS = RunOptions(runtime="onnx", device="cpu", per_slice=True)
KINDS = ("labels", "table", "overlay", "scores")


@pytest.fixture
def model(threshold_model: Path) -> Model:
    return load_model(threshold_model)


def scan(shift: int = 0) -> np.ndarray:
    """Three slices with a bright square each, wider than high."""
    pixels = np.full((3, 37, 53), 100, np.int16)
    for z in range(3):
        pixels[z, 5 + z : 15 + z, 8 + shift : 20 + shift] = 3000
    return pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_series(tmp_path / "thorax", scan(), make_grid().replace(shape=(3, 37, 53)))


def outputs(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir())


def test_labels_lie_on_the_grid_of_the_scan(model: Model, folder: Path, tmp_path: Path) -> None:
    (row,) = run_many(model, [folder], tmp_path / "out", OPTIONS, save=KINDS)
    assert (row.status, row.objects, row.message) == ("done", 3, "")
    assert outputs(tmp_path / "out") == [
        "summary.csv", "thorax-labels.nii.gz", "thorax-overlay.png", "thorax-scores.nii.gz", "thorax-table.csv",
        "thorax.deepbio.json",
    ]  # fmt: skip
    labels = read_labels(tmp_path / "out" / "thorax-labels.nii.gz")
    assert labels.grid == read(folder).grid
    np.testing.assert_array_equal(labels.numpy() > 0, read(folder).numpy() > 1000)


def test_nothing_of_the_patient_is_written(model: Model, folder: Path, tmp_path: Path) -> None:
    run_many(model, [folder], tmp_path / "out", OPTIONS, save=KINDS)
    for file in (tmp_path / "out").iterdir():
        content = file.read_bytes()
        if file.name.endswith(".gz"):
            import gzip

            content = gzip.decompress(content)
        assert not [secret for secret in SECRETS if secret.lower().encode() in content.lower()], file.name


def test_a_series_is_done_once_and_again_when_it_changes(model: Model, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_many(model, [folder], out, OPTIONS)[0].status == "done"
    assert run_many(model, [folder], out, OPTIONS)[0].status == "skipped"
    record = json.loads((out / "thorax.deepbio.json").read_text())
    assert (record["input"]["series"], record["input"]["files"]) == (f"{ROOT}.1.1", 3)
    write_series(folder, scan(), make_grid().replace(shape=(3, 37, 53)), series="2", start=2000)
    rows = run_many(model, [folder], out, OPTIONS)
    assert [(row.status, row.file) for row in rows] == [
        ("skipped", str(folder)),
        ("done", f"{folder} (series 2)"),
    ]
    assert "thorax_s2-labels.nii.gz" in outputs(out)
    write_series(folder, scan(3), make_grid().replace(shape=(3, 37, 53)))
    rows = run_many(model, find_inputs([folder], series="#1"), out, OPTIONS)
    assert [row.status for row in rows] == ["done"]


def test_a_bad_series_does_not_stop_the_others(model: Model, folder: Path, tmp_path: Path) -> None:
    grid = make_grid().replace(shape=(5, 37, 53))
    write_series(tmp_path / "gap", np.zeros(grid.shape, np.int16), grid, change=lambda dataset, z: z != 2)
    rows = run_many(model, [tmp_path / "gap", folder], tmp_path / "out", OPTIONS)
    assert [row.status for row in rows] == ["failed", "done"]
    assert "Slices are missing" in rows[0].message


def test_dicom_seg_beside_the_labels(model: Model, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    (row,) = run_many(model, [folder], tmp_path / "out", OPTIONS, save=("labels", "seg"))
    assert row.status == "done", row.message
    seg = tmp_path / "out" / "thorax-seg.dcm"
    assert pydicom.dcmread(seg).SegmentSequence[0].SegmentAlgorithmName == "spots"
    back = read_labels(seg)
    np.testing.assert_array_equal(back.array, read_labels(tmp_path / "out" / "thorax-labels.nii.gz").array)
    assert not [name for name in outputs(tmp_path / "out") if name.startswith(".part")]


@pytest.fixture
def cine(tmp_path: Path) -> Path:
    """Two times of three slices each, in a folder whose name looks like that of a file."""
    for t in (1, 0):

        def timed(dataset: Dataset, z: int, t: int = t) -> None:
            dataset.TriggerTime = str(46 * t)

        grid = make_grid().replace(shape=(3, 37, 53))
        write_series(tmp_path / "heart.v2", scan(3 * t), grid, change=timed, start=2000 * t, modality="MR")
    return tmp_path / "heart.v2"


def test_dicom_segs_of_a_time_series(model: Model, cine: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    out = tmp_path / "out"
    (row,) = run_many(model, [cine], out, OPTIONS, save=("labels", "seg"))
    assert row.status == "done", row.message
    assert row.outputs["seg"] == out / "heart.v2-seg"
    assert outputs(out / "heart.v2-seg") == ["t001.dcm", "t002.dcm"]
    labels = read_labels(out / "heart.v2-labels.nii.gz")
    back = read_labels(out / "heart.v2-seg")
    assert (labels.axes, labels.shape) == ("TZYX", (2, 3, 37, 53))
    np.testing.assert_array_equal(back.numpy(), labels.numpy())
    assert (labels.numpy()[0] != labels.numpy()[1]).any()
    (row,) = run_many(model, [cine], out, OPTIONS, save=("labels", "seg"))
    assert row.status == "skipped"
    (row,) = run_many(model, [cine], out, OPTIONS, save=("labels", "seg"), overwrite=True)
    assert row.status == "done", row.message
    assert outputs(out / "heart.v2-seg") == ["t001.dcm", "t002.dcm"]
    assert not [name for name in outputs(out) if name.startswith(".part")]


def no_study(dataset: Dataset, z: int) -> None:
    del dataset.StudyInstanceUID


def test_uids_that_a_source_lacks_are_told_before_the_work(model: Model, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    grid = make_grid().replace(shape=(3, 37, 53))
    source = write_series(tmp_path / "loose", scan(), grid, change=no_study)
    heard: list[Event] = []
    (row,) = run_many(model, [source], tmp_path / "out", OPTIONS, save=("seg",), on_progress=heard.append)
    assert row.status == "done", row.message
    (told,) = (event for event in heard if isinstance(event, Notice) and "UID" in event.message)
    assert "have no StudyInstanceUID; the DICOM segmentation gets new ones" in told.message
    assert heard.index(told) == 0


def many_studies(dataset: Dataset, z: int) -> None:
    dataset.StudyInstanceUID = f"1.2.3.{z}"


def test_a_source_that_cannot_have_one_is_told_before_the_work(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("highdicom")
    grid = make_grid().replace(shape=(3, 37, 53))
    bad = write_series(tmp_path / "bad", scan(), grid, change=many_studies)
    write(tmp_path / "cell.tif", Image(scan()[0].astype(np.uint16)))
    monkeypatch.setattr(Model, "run", None)
    rows = run_many(model, [bad, tmp_path / "cell.tif"], tmp_path / "out", OPTIONS, save=("seg",))
    assert isinstance(rows[0].error, ImageError)
    assert "name 3 different studies" in rows[0].message
    assert isinstance(rows[1].error, OptionError)
    assert "is not DICOM" in rows[1].message
    assert outputs(tmp_path / "out") == ["summary.csv"]


def test_without_highdicom(
    model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    (row,) = run_many(model, [folder], tmp_path / "out", OPTIONS, save=("seg",))
    assert isinstance(row.error, MissingPackage)


def test_rois_of_a_scan_know_their_slices(model: Model, folder: Path, tmp_path: Path) -> None:
    roifile = pytest.importorskip("roifile")
    (row,) = run_many(model, [folder], tmp_path / "out", OPTIONS, save=("rois",))
    assert (row.status, row.objects, row.message) == ("done", 3, "")
    rois = roifile.roiread(tmp_path / "out" / "thorax-rois.zip")
    assert [(roi.name, roi.position) for roi in rois] == [("1-z1", 1), ("2-z2", 2), ("3-z3", 3)]
    assert [(roi.left, roi.top, roi.right, roi.bottom) for roi in rois] == [
        (8, 5 + z, 20, 15 + z) for z in range(3)
    ]


def test_rois_follow_the_planes_of_the_image(tmp_path: Path) -> None:
    roifile = pytest.importorskip("roifile")
    labels = LabelMap(np.arange(3 * 37 * 53).reshape(3, 37, 53) // 2000, "ZYX")
    for channels, expected in ((1, (2, 0)), (2, (0, 2))):
        image = Image(np.zeros((channels, 3, 37, 53), np.uint8), "CZYX")
        save_result(Result(labels=labels), image, {"rois": tmp_path / "a.zip"})
        (roi,) = (roi for roi in roifile.roiread(tmp_path / "a.zip") if roi.name == "1-z2")
        assert (roi.position, roi.z_position, roi.c_position) == (*expected, 0)


def test_a_seg_needs_a_source(tmp_path: Path) -> None:
    image = Image(scan(), "ZYX")
    result = Result(labels=LabelMap((scan() > 1000).astype(np.uint8), "ZYX"))
    with pytest.raises(OptionError, match="needs the series"):
        save_result(result, image, {"seg": tmp_path / "a.dcm"})
    assert not list(tmp_path.iterdir())


# --- through the command


def test_info_lists_the_series(folder: Path) -> None:
    write_series(
        folder, scan(), make_grid().replace(shape=(3, 37, 53)), series="2", modality="MR", start=2000
    )
    done = deepbio("info", folder)
    assert done.code == 0
    assert f"#1  CT Image, 37 x 53, 3 files, UID {ROOT}.1.1" in " ".join(done.out.split()).replace(
        "#1 CT", "#1  CT"
    )
    listed = json.loads(deepbio("info", folder, "--json").out)["series"]
    assert [(one["number"], one["modality"], one["files"], one["image"]) for one in listed] == [
        (1, "CT", 3, True),
        (2, "MR", 3, True),
    ]
    facts = json.loads(deepbio("info", folder, "--series", "#2", "--json").out)
    assert (facts["modality"], facts["shape"], facts["unit"]) == ("MR", [3, 37, 53], "millimeter")


def test_run_takes_one_series(threshold_model: Path, folder: Path, tmp_path: Path) -> None:
    write_series(
        folder, scan(), make_grid().replace(shape=(3, 37, 53)), series="2", modality="MR", start=2000
    )
    out = tmp_path / "out"
    words = (
        "run",
        threshold_model,
        folder,
        "-o",
        out,
        "--per-slice",
        "--runtime",
        "onnx",
        "--save",
        "labels",
    )
    done = deepbio(*words, "--series", f"{ROOT}.1.2")
    assert (done.code, done.err) == (0, done.err)
    assert outputs(out) == ["summary.csv", "thorax_s2-labels.nii.gz", "thorax_s2.deepbio.json"]
    assert deepbio(*words, "--series", "1.2.3").code == ImageError.exit_code
    assert deepbio(*words).code == 0
    assert "thorax-labels.nii.gz" in outputs(out)


@pytest.mark.parametrize("words", [("info",), ("run", "MODEL")])
def test_one_error_with_its_code(threshold_model: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    grid = make_grid().replace(shape=(5, 37, 53))
    gap = write_series(
        tmp_path / "gap", np.zeros(grid.shape, np.int16), grid, change=lambda dataset, z: z != 2
    )
    words = tuple(str(threshold_model) if word == "MODEL" else word for word in words)
    more = ("-o", tmp_path / "out", "--per-slice") if words[0] == "run" else ()
    done = deepbio(*words, gap, *more)
    assert done.code == ImageError.exit_code
    assert "Slices are missing" in done.err
    assert not [secret for secret in SECRETS if secret in done.err + done.out]


def test_an_image_without_objects_has_its_zip_too(threshold_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("roifile")
    model, options = load_model(threshold_model), RunOptions(runtime="onnx", device="cpu")
    write(tmp_path / "none.tif", Image(squares(0)))
    for status in ("done", "skipped"):
        (row,) = run_many(model, [tmp_path / "none.tif"], tmp_path / "out", options, save=("rois",))
        assert (row.status, row.objects) == (status, 0)
        assert read_rois(row.outputs["rois"]) == []
