"""What DICOM segmentations refer to: the very image of each frame and time, and UIDs that a source lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID

from deepbio.errors import ImageError, OutputError
from deepbio.events import Event, Notice
from deepbio.image import Image, LabelMap
from deepbio.io import check_seg_source, read, read_labels, write_dicom_seg
from tests.core.io.dicom_series import PATIENT, SECRETS, write_enhanced, write_series

highdicom = pytest.importorskip("highdicom")

DATA = Path(__file__).parents[2] / "data" / "dicom"
SHIPPED = Path(get_testdata_file("CT_small.dcm", download=False)).parent
CLASSES = {1: "cavity", 2: "wall", 3: "never there"}
TIMES = 3


def moving(image: Image) -> LabelMap:
    """Two classes that move and grow with time; none at all at time 1, and no slice has both edges."""
    array = np.zeros(image.shape, np.uint8)
    for t in range(image.size("T")):
        if t != 1:
            array[t, ..., 1 : 3 + t, 2 : 5 + t] = 1
            array[t, ..., 4:6, 3 + t :] = 2
            if image.size("Z") > 1:
                array[t, 0], array[t, -1, :3] = 0, 0
    return LabelMap(array, image.axes, image.grid)


def check_files(folder: Path, source: Path, labels: LabelMap) -> None:
    """Compare every pixel of every frame of every file with the labels, by the source image that it names."""
    image = read(source).numpy().reshape(labels.shape)
    array = labels.numpy()
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"t{t + 1:03d}.dcm" for t in range(len(array))]
    scans = [pydicom.dcmread(file) for file in (source.iterdir() if source.is_dir() else [source])]
    pixels = {}
    for scan in scans:
        planes = scan.pixel_array.reshape(-1, scan.Rows, scan.Columns)
        for number, plane in enumerate(planes, 1):
            pixels[scan.SOPInstanceUID, number] = plane
    series = set()
    for t, file in enumerate(files):
        seg = highdicom.seg.segread(file)
        series.add(seg.SeriesInstanceUID)
        assert (seg.InstanceNumber, seg.ContentDescription) == (t + 1, f"Time {t + 1} of {len(array)}")
        found = np.zeros_like(array[t])
        for group, plane in zip(
            seg.PerFrameFunctionalGroupsSequence, seg.pixel_array.reshape(-1, *array.shape[-2:]), strict=True
        ):
            (origin,) = group.DerivationImageSequence[0].SourceImageSequence
            named = (origin.ReferencedSOPInstanceUID, int(origin.get("ReferencedFrameNumber", 1)))
            # the pixels of the images differ: the only place where they are the source's is the right one
            (z,) = (z for z, one in enumerate(image[t]) if same(one, pixels[named]))
            found[z][plane > 0] = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            assert group.FrameContentSequence[0].TemporalPositionIndex == t + 1
            if labels.grid.ndim == 3:
                np.testing.assert_allclose(
                    [float(c) for c in group.PlanePositionSequence[0].ImagePositionPatient],
                    labels.grid.to_world((z, 0, 0)),
                    atol=1e-5,
                )
        np.testing.assert_array_equal(found, array[t])
        named_here = {
            item.ReferencedSOPInstanceUID
            for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        }
        assert len(named_here) == (len(image[t]) if len(scans) > 1 else 1)
    assert len(series) == 1


def same(values: np.ndarray, stored: np.ndarray) -> bool:
    """Whether values are stored ones, but for slope and intercept."""
    return bool(
        (np.argsort(values.ravel(), kind="stable") == np.argsort(stored.ravel(), kind="stable")).all()
    )


@pytest.mark.parametrize("kind", ["classic", "multi-frame"])
def test_each_time_is_a_file_of_its_own(tmp_path: Path, phantom: Image, kind: str) -> None:
    rng = np.random.default_rng(1)
    pixels = np.stack([rng.permutation(5 * 7 * 11).reshape(5, 7, 11) for _ in range(TIMES)]).astype(np.int16)
    if kind == "classic":
        source = tmp_path / "cine"
        for t in (2, 0, 1):

            def timed(dataset: Dataset, z: int, t: int = t) -> None:
                dataset.TriggerTime = str(10 + 46 * t)

            write_series(source, pixels[t], phantom.grid, change=timed, start=200 * t, modality="MR")
    else:
        source = write_enhanced(tmp_path / "cine", pixels.reshape(-1, 7, 11), phantom.grid, times=TIMES)
    image = read(source)
    assert image.axes == "TZYX"
    labels = moving(image)
    write_dicom_seg(tmp_path / "seg", labels, source, CLASSES, model="heart-cine", version="0.1.0")
    check_files(tmp_path / "seg", source, labels)
    back = read_labels(tmp_path / "seg")
    assert (back.axes, back.names) == ("TZYX", CLASSES)
    # time 1 has nothing: its file has all planes of its segments, empty
    np.testing.assert_array_equal(back.numpy(), labels.numpy())
    assert back.grid == labels.grid
    one = read_labels(tmp_path / "seg" / "t003.dcm")
    np.testing.assert_array_equal(one.numpy(), labels.numpy()[2, 1:])
    with pytest.raises(OutputError, match=r"has 3 times.* Give the name of a folder"):
        write_dicom_seg(tmp_path / "seg.dcm", labels, source, CLASSES)
    assert not (tmp_path / "seg.dcm").exists()


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # UIDs of the scan, while the test reads them
def test_a_real_cine(tmp_path: Path) -> None:
    image = read(DATA / "cine")
    labels = LabelMap((image.numpy() > 120).astype(np.uint8), image.axes, image.grid)
    labels.numpy()[0, 0, :, 128:] *= 2
    write_dicom_seg(tmp_path / "seg", labels, DATA / "cine", CLASSES)
    check_files(tmp_path / "seg", DATA / "cine", labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "seg").numpy(), labels.numpy())


def test_a_film_without_a_place(tmp_path: Path) -> None:
    source = SHIPPED / "examples_ybr_color.dcm"
    image = read(source)
    array = (image.numpy()[:4, 0] > 100).astype(np.uint8)
    film = pydicom.dcmread(source)
    film.NumberOfFrames = 30
    labels = LabelMap((image.numpy()[:, 0] > 100).astype(np.uint8), "TYX", image.grid)
    write_dicom_seg(tmp_path / "seg", labels, source, {1: "bright"})
    files = sorted((tmp_path / "seg").iterdir())
    assert len(files) == 30
    for t, file in enumerate(files[:4]):
        seg = pydicom.dcmread(file)
        np.testing.assert_array_equal(seg.pixel_array.squeeze(), array[t])
        (group,) = seg.PerFrameFunctionalGroupsSequence
        (origin,) = group.DerivationImageSequence[0].SourceImageSequence
        assert origin.ReferencedSOPInstanceUID == film.SOPInstanceUID
        assert origin.ReferencedFrameNumber == t + 1
        assert seg.PatientOrientation == ""


@pytest.fixture
def two_files(tmp_path: Path, phantom: Image) -> Path:
    """A multi-frame file for each of two times."""
    (tmp_path / "files").mkdir()
    for t in range(2):
        file = write_enhanced(tmp_path / "files" / f"{1 - t}", phantom.numpy() // (t + 1), phantom.grid)
        dataset = pydicom.dcmread(file)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{t + 1}"
        for group in dataset.PerFrameFunctionalGroupsSequence:
            group.FrameContentSequence[0].TemporalPositionIndex = t + 1
        dataset.save_as(file, enforce_file_format=True)
    return tmp_path / "files"


def test_a_multi_frame_file_for_each_time(tmp_path: Path, two_files: Path) -> None:
    image = read(two_files)
    assert image.axes == "TZYX"
    array = np.zeros(image.shape, np.uint8)
    array[0, 1, 2:5, 3:] = array[1, 3, 1:, :7] = 1
    write_dicom_seg(tmp_path / "seg", LabelMap(array, "TZYX", image.grid), two_files, {1: "wall"})
    for t, z in enumerate((1, 3)):
        seg = highdicom.seg.segread(tmp_path / "seg" / f"t{t + 1:03d}.dcm")
        (group,) = seg.PerFrameFunctionalGroupsSequence
        (origin,) = group.DerivationImageSequence[0].SourceImageSequence
        assert origin.ReferencedSOPInstanceUID == f"1.2.3.{t + 1}"
        source = pydicom.dcmread(two_files / f"{1 - t}")
        place = source.PerFrameFunctionalGroupsSequence[
            origin.ReferencedFrameNumber - 1
        ].PlanePositionSequence
        found = [float(c) for c in place[0].ImagePositionPatient]
        np.testing.assert_allclose(found, image.grid.to_world((z, 0, 0)), atol=1e-6)
        np.testing.assert_array_equal(seg.pixel_array.squeeze(), array[t, z])


def test_slices_in_several_multi_frame_files(two_files: Path) -> None:
    for file in two_files.iterdir():
        dataset = pydicom.dcmread(file)
        half = dataset.pixel_array[:2] if file.name == "0" else dataset.pixel_array[2:]
        groups = list(dataset.PerFrameFunctionalGroupsSequence)
        dataset.PerFrameFunctionalGroupsSequence = groups[:2] if file.name == "0" else groups[2:]
        dataset.NumberOfFrames, dataset.PixelData = len(half), half.tobytes()
        dataset.save_as(file, enforce_file_format=True)
    assert read(two_files).axes == "ZYX"
    with pytest.raises(ImageError, match="are in 2 files of a multi-frame kind"):
        check_seg_source(two_files)


def test_a_folder_with_other_things_is_kept(tmp_path: Path, two_files: Path) -> None:
    image = read(two_files)
    labels = LabelMap(np.ones(image.shape, np.uint8), "TZYX", image.grid)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="would be replaced, and has 1 files in it"):
        write_dicom_seg(tmp_path / "mine", labels, two_files)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    for _ in range(2):
        write_dicom_seg(tmp_path / "seg", labels, two_files)
    assert sorted(file.name for file in (tmp_path / "seg").iterdir()) == ["t001.dcm", "t002.dcm"]


def test_segmentations_that_are_no_times(tmp_path: Path, phantom: Image) -> None:
    source = write_series(tmp_path / "scan", phantom.numpy(), phantom.grid)
    labels = LabelMap(np.ones(phantom.shape, np.uint8), "ZYX", read(source).grid)
    (tmp_path / "segs").mkdir()
    write_dicom_seg(tmp_path / "segs" / "a.dcm", labels, source)
    seg = pydicom.dcmread(tmp_path / "segs" / "a.dcm")
    seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    seg.save_as(tmp_path / "segs" / "b.dcm")
    with pytest.raises(ImageError, match="has 2 segmentations, and their frames do not say"):
        read_labels(tmp_path / "segs")


# --- what a source lacks --------------------------------------------------------------------------


def lacking(*names: str) -> Any:
    def change(dataset: Dataset, z: int) -> None:
        for name in names:
            delattr(dataset, name)

    return change


def write_and_hear(tmp_path: Path, source: Path, name: str = "seg.dcm") -> tuple[Dataset, list[Event]]:
    image = read(source)
    labels = LabelMap(np.zeros(image.shape, np.uint8), "ZYX", image.grid)
    labels.numpy()[1:, 2:5, 3:] = 1
    heard: list[Event] = []
    write_dicom_seg(tmp_path / name, labels, source, CLASSES, on_progress=heard.append)
    np.testing.assert_array_equal(read_labels(tmp_path / name).numpy(), labels.numpy()[1:])
    return highdicom.seg.segread(tmp_path / name), heard


@pytest.mark.parametrize(
    "names",
    [
        ("StudyInstanceUID",),
        ("SeriesInstanceUID",),
        ("FrameOfReferenceUID",),
        ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    ],
)
def test_uids_that_nobody_gave_are_made_and_told(
    tmp_path: Path, phantom: Image, names: tuple[str, ...]
) -> None:
    source = write_series(tmp_path / "scan", phantom.numpy(), phantom.grid, change=lacking(*names))
    seg, heard = write_and_hear(tmp_path, source)
    (notice,) = heard
    assert isinstance(notice, Notice)
    assert not [secret for secret in SECRETS if secret in repr(check_seg_source(source))]
    assert notice.level == "warning"
    assert f"have no {', '.join(names)}; the DICOM segmentation gets new ones" in notice.message
    assert ("a study of its own" in notice.message) == ("StudyInstanceUID" in names)
    assert not [secret for secret in SECRETS if secret in notice.message]
    found = {
        "StudyInstanceUID": seg.StudyInstanceUID,
        "SeriesInstanceUID": seg.ReferencedSeriesSequence[0].SeriesInstanceUID,
        "FrameOfReferenceUID": seg.FrameOfReferenceUID,
    }
    scan = pydicom.dcmread(next(source.iterdir()))
    for name, uid in found.items():
        assert UID(uid).is_valid
        assert name in names or uid == scan[name].value
    again, _ = write_and_hear(tmp_path, source, "again.dcm")  # of the same scan: the same study and place
    assert again.StudyInstanceUID == seg.StudyInstanceUID
    assert again.FrameOfReferenceUID == seg.FrameOfReferenceUID
    assert again.SOPInstanceUID != seg.SOPInstanceUID
    assert seg.PatientID == PATIENT["PatientID"]


def test_one_file_that_lost_a_uid_has_that_of_the_others(tmp_path: Path, phantom: Image) -> None:
    def change(dataset: Dataset, z: int) -> None:
        if z == 3:
            dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = "", ""

    source = write_series(tmp_path / "scan", phantom.numpy(), phantom.grid, change=change)
    seg, heard = write_and_hear(tmp_path, source)
    assert heard == []
    assert seg.StudyInstanceUID.startswith("1.2.826.0.1.3680043.10.1")
    assert seg.FrameOfReferenceUID == "1.2.826.0.1.3680043.10.1.7"


def test_a_real_ct_whose_uids_were_emptied(tmp_path: Path) -> None:
    seg, heard = write_and_hear(tmp_path, DATA / "ct")
    assert len(heard) == 2
    assert "have no StudyInstanceUID, SeriesInstanceUID; " in heard[0].message  # type: ignore[union-attr]
    assert "refers to them by those of their file headers" in heard[1].message  # type: ignore[union-attr]
    headers = {pydicom.dcmread(file).file_meta.MediaStorageSOPInstanceUID for file in (DATA / "ct").iterdir()}
    named = {
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for group in seg.PerFrameFunctionalGroupsSequence
    }
    assert len(headers) == 3
    assert len(named) == 2
    assert named < headers


def test_an_image_without_any_uid_cannot_be_referred_to(tmp_path: Path, phantom: Image) -> None:
    source = write_series(tmp_path / "scan", phantom.numpy(), phantom.grid, change=lacking("SOPInstanceUID"))
    for file in source.iterdir():
        whole = pydicom.dcmread(file)
        whole.file_meta.MediaStorageSOPInstanceUID = ""
        whole.save_as(file, enforce_file_format=False)
    with pytest.raises(
        ImageError, match="has no SOPInstanceUID, neither in its data set nor in its file"
    ) as caught:
        check_seg_source(source)
    assert "dcmodify -gin" in caught.value.hint


def test_headers_that_are_wrong_or_lack_sizes(tmp_path: Path, phantom: Image) -> None:
    def change(dataset: Dataset, z: int) -> None:
        dataset.SpacingBetweenSlices = "17"  # positions say 1.2 mm
        del dataset.SliceThickness
        if z == 2:  # rounded by another machine
            numbers = [float(c) for c in dataset.ImageOrientationPatient]
            dataset.ImageOrientationPatient = [f"{c:.6f}" for c in numbers]

    source = write_series(tmp_path / "scan", phantom.numpy(), phantom.grid, change=change)
    seg, heard = write_and_hear(tmp_path, source)
    assert heard == []
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(1.2, abs=1e-9)


def test_slices_a_little_off_keep_their_images(tmp_path: Path, phantom: Image) -> None:
    def change(dataset: Dataset, z: int) -> None:
        if z == 2:
            place = np.array([float(c) for c in dataset.ImagePositionPatient])
            dataset.ImagePositionPatient = [f"{c:.6f}" for c in place + 0.005 * phantom.grid.direction[:, 0]]

    source = write_series(tmp_path / "scan", phantom.numpy(), phantom.grid, change=change)
    seg, _ = write_and_hear(tmp_path, source)
    named = [
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for group in seg.PerFrameFunctionalGroupsSequence
    ]
    assert len(set(named)) == 4
