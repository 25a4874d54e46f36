"""DICOM segmentations: written beside their series, with codes, and read back as labels."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from deepbio.errors import ImageError, MissingPackage
from deepbio.image import Image, LabelMap
from deepbio.io import read, read_labels, write_dicom_seg
from tests.conftest import make_grid
from tests.core.io.dicom_series import PATIENT, SECRETS, write_enhanced, write_series

pytest.importorskip("highdicom")

SHIPPED = Path(get_testdata_file("CT_small.dcm", download=False)).parent
CLASSES = {
    1: {
        "name": "LV blood pool",
        "color": "#e6194b",
        "category": {"scheme": "SCT", "value": "123037004", "meaning": "Anatomical Structure"},
        "type": {"scheme": "SCT", "value": "87878005", "meaning": "Left ventricle"},
        "modifier": {"scheme": "SCT", "value": "7771000", "meaning": "Left"},
    },
    2: {"name": "Myocardium"},
    3: "Never there",
}


@pytest.fixture
def source(tmp_path: Path, phantom: Image) -> Path:
    return write_series(tmp_path / "scan", phantom.numpy(), phantom.grid)


def two_classes(image: Image) -> LabelMap:
    """Class 1 in slices 1 to 3 with a hole, class 2 in slices 2 and 3."""
    array = np.zeros(image.shape, np.uint8)
    array[1:4, 1:5, 2:9] = 1
    array[2, 2, 4] = 0
    array[2:4, 5:, 3:] = 2
    return LabelMap(array, "ZYX", image.grid)


@pytest.mark.parametrize("multi_frame", [False, True])
def test_labels_come_back(tmp_path: Path, phantom: Image, source: Path, multi_frame: bool) -> None:
    if multi_frame:
        source = write_enhanced(tmp_path / "enhanced", phantom.numpy(), phantom.grid)
    image = read(source)
    labels = two_classes(image)
    write_dicom_seg(tmp_path / "seg.dcm", labels, source, CLASSES, model="heart-lv", version="0.1.0")
    back = read_labels(tmp_path / "seg.dcm")
    assert back.names == {1: "LV blood pool", 2: "Myocardium", 3: "Never there"}
    np.testing.assert_array_equal(
        back.array, labels.numpy()[1:4]
    )  # from the first slice to the last one used
    assert back.grid.shape == (3, 7, 11)
    np.testing.assert_allclose(back.grid.to_world((0, 0, 0)), image.grid.to_world((1, 0, 0)), atol=1e-6)
    np.testing.assert_allclose(back.grid.to_world((2, 6, 10)), image.grid.to_world((3, 6, 10)), atol=1e-6)
    assert read(tmp_path / "seg.dcm").meta["modality"] == "SEG"


@pytest.mark.parametrize("used", [(0, 4), (0, 2, 4), (1, 4), (0, 2, 3), (3,)])
def test_slices_without_a_segment_between_others_stay(
    tmp_path: Path, source: Path, used: tuple[int, ...]
) -> None:
    image = read(source)
    array = np.zeros(image.shape, np.uint8)
    array[list(used), 1:5, 2:9] = 1
    write_dicom_seg(tmp_path / "seg.dcm", LabelMap(array, "ZYX", image.grid), source)
    back = read_labels(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.array, array[used[0] : used[-1] + 1])
    assert back.grid.spacing == pytest.approx(image.grid.spacing)


def test_gaps_that_the_file_does_not_count(tmp_path: Path, source: Path) -> None:
    image = read(source)
    array = np.zeros(image.shape, np.uint8)
    array[[0, 2, 3], 1:5, 2:9] = 1
    write_dicom_seg(tmp_path / "seg.dcm", LabelMap(array, "ZYX", image.grid), source)
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    for told in ("77", "0.31", None):  # what some writers put there: no slice distance
        measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.SpacingBetweenSlices = told
        dataset.save_as(tmp_path / "other.dcm")
        np.testing.assert_array_equal(read_labels(tmp_path / "other.dcm").array, array[:4])


@pytest.mark.parametrize("how", ["shifted", "turned"])
def test_slices_that_make_no_straight_stack(tmp_path: Path, source: Path, how: str) -> None:
    image = read(source)
    write_dicom_seg(tmp_path / "seg.dcm", two_classes(image), source)
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    group = dataset.PerFrameFunctionalGroupsSequence[-1]
    if how == "shifted":  # as in a stack of a tilted gantry
        place = group.PlanePositionSequence[0]
        moved = np.array(place.ImagePositionPatient, float) + 0.4 * image.grid.direction[:, 1]
        place.ImagePositionPatient = [f"{x:.8g}" for x in moved]
    else:
        shared = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
        other = Dataset()
        other.ImageOrientationPatient = [
            *shared.ImageOrientationPatient[3:],
            *shared.ImageOrientationPatient[:3],
        ]
        group.PlaneOrientationSequence = [other]
    dataset.save_as(tmp_path / "other.dcm")
    with pytest.raises(ImageError, match=f"are {how} against each other"):
        read_labels(tmp_path / "other.dcm")


def test_it_says_what_and_whose(tmp_path: Path, source: Path) -> None:
    labels = two_classes(read(source))
    write_dicom_seg(tmp_path / "seg.dcm", labels, source, CLASSES, model="heart-lv", version="0.1.0")
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    first, second, _ = seg.SegmentSequence
    kind = first.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == (
        "87878005",
        "SCT",
        "Left ventricle",
    )
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    assert first.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
    assert first.RecommendedDisplayCIELabValue[0] > 20000
    assert (first.SegmentAlgorithmType, first.SegmentAlgorithmName) == ("AUTOMATIC", "heart-lv")
    assert second.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    assert (seg.Modality, seg.SegmentationType) == ("SEG", "BINARY")
    scan = pydicom.dcmread(next(source.iterdir()))
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "StudyDate"):
        assert seg[name].value == scan[name].value
    assert seg.SeriesInstanceUID != scan.SeriesInstanceUID
    referenced = {
        item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referenced == {pydicom.dcmread(file).SOPInstanceUID for file in source.iterdir()}
    assert not [
        value
        for name, value in PATIENT.items()
        if name in ("PatientComments", "InstitutionName") and value in str(seg)
    ]


def test_each_frame_is_where_its_slice_is(tmp_path: Path, source: Path) -> None:
    image = read(source)
    write_dicom_seg(tmp_path / "seg.dcm", two_classes(image), source, CLASSES)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    scans = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, source.iterdir())}
    assert len(seg.PerFrameFunctionalGroupsSequence) == 5
    for group in seg.PerFrameFunctionalGroupsSequence:
        uid = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_allclose(
            [float(c) for c in group.PlanePositionSequence[0].ImagePositionPatient],
            [float(c) for c in scans[uid].ImagePositionPatient],
            atol=1e-6,
        )


def test_names_of_the_labels_and_numbers_with_gaps(tmp_path: Path, source: Path) -> None:
    image = read(source)
    labels = LabelMap(two_classes(image).numpy().astype(np.int32) * 300, "ZYX", image.grid, {300: "low"})
    write_dicom_seg(tmp_path / "seg.dcm", labels, source)
    back = read_labels(tmp_path / "seg.dcm")
    assert back.names == {1: "low", 2: "Segment 600"}
    np.testing.assert_array_equal(back.numpy().astype(int) * 300, labels.numpy()[1:4])


def test_no_log_has_the_patient(
    tmp_path: Path, phantom: Image, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    def odd_name(dataset: Dataset, z: int) -> None:
        dataset.PatientName = "Beeblebrox"  # highdicom warns of names without '^'

    source = write_series(tmp_path / "scan", phantom.numpy(), phantom.grid, change=odd_name)
    caplog.set_level(logging.DEBUG)
    write_dicom_seg(tmp_path / "seg.dcm", two_classes(read(source)), source, CLASSES)
    told = caplog.text + repr(capsys.readouterr())
    assert not [secret for secret in SECRETS if secret in told]


@pytest.mark.filterwarnings("ignore:Invalid value")  # of pydicom, while the test makes it
def test_what_an_anonymiser_spoiled_is_left_empty(tmp_path: Path, phantom: Image) -> None:
    def spoiled(dataset: Dataset, z: int) -> None:
        dataset.PatientSex, dataset.PatientBirthDate = "X", "00000000"
        del dataset.PatientID, dataset.AccessionNumber

    source = write_series(tmp_path / "scan", phantom.numpy(), phantom.grid, change=spoiled)
    write_dicom_seg(tmp_path / "seg.dcm", two_classes(read(source)), source, CLASSES)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (seg.PatientID, seg.PatientSex, seg.PatientBirthDate) == ("", "", "")


def many_studies(dataset: Dataset, z: int) -> None:
    dataset.StudyInstanceUID = f"1.2.3.{z % 3}"


def many_frames_of_reference(dataset: Dataset, z: int) -> None:
    dataset.FrameOfReferenceUID = f"1.2.3.{z}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (many_studies, "5 files of '.*' name 3 different studies"),
        (many_frames_of_reference, "5 different frames of reference"),
    ],
)
def test_a_source_that_cannot_be_referred_to(
    tmp_path: Path, phantom: Image, change: Any, message: str
) -> None:
    source = write_series(tmp_path / "scan", phantom.numpy(), phantom.grid, change=change)
    with pytest.raises(ImageError, match=message):
        write_dicom_seg(tmp_path / "seg.dcm", two_classes(read(source)), source, CLASSES)
    assert not (tmp_path / "seg.dcm").exists()


def test_other_grids_and_times(tmp_path: Path, phantom: Image, source: Path) -> None:
    cine = write_enhanced(tmp_path / "cine", np.concatenate([phantom.numpy()] * 2), phantom.grid, times=2)
    labels = two_classes(read(source))
    with pytest.raises(ImageError, match=r"not on the grid of the DICOM source \(axes TZYX, .*, times 2\)"):
        write_dicom_seg(tmp_path / "seg.dcm", labels, cine)
    moved = LabelMap(labels.array, "ZYX", labels.grid.replace(origin=(0, 0, 0)))
    with pytest.raises(ImageError, match="not on the grid of the DICOM source"):
        write_dicom_seg(tmp_path / "seg.dcm", moved, source)
    with pytest.raises(ImageError, match="no labels and no classes"):
        write_dicom_seg(tmp_path / "seg.dcm", LabelMap(labels.numpy() * 0, "ZYX", labels.grid), source)


def test_an_empty_label_map_with_classes(tmp_path: Path, source: Path) -> None:
    image = read(source)
    empty = LabelMap(np.zeros(image.shape, np.uint8), "ZYX", image.grid)
    write_dicom_seg(tmp_path / "seg.dcm", empty, source, CLASSES)
    back = read_labels(tmp_path / "seg.dcm")
    assert back.count == 0
    assert len(back.names) == 3


def test_a_picture_without_a_place(tmp_path: Path) -> None:
    source = SHIPPED / "examples_rgb_color.dcm"
    image = read(source)
    labels = LabelMap((image.numpy()[0] > 100).astype(np.uint8), "YX", image.grid)
    write_dicom_seg(tmp_path / "seg.dcm", labels, source, {1: "bright"})
    pixels = pydicom.dcmread(tmp_path / "seg.dcm").pixel_array
    np.testing.assert_array_equal(pixels.squeeze(), labels.array)


def test_overlapping_and_fractional_segments(tmp_path: Path, source: Path) -> None:
    image = read(source)
    write_dicom_seg(tmp_path / "seg.dcm", two_classes(image), source, CLASSES)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    for group in seg.PerFrameFunctionalGroupsSequence[3:]:
        group.PlanePositionSequence = seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence
    seg.PixelData = b"\xff" * len(seg.PixelData)
    seg.save_as(tmp_path / "over.dcm")
    with pytest.raises(ImageError, match="overlap"):
        read_labels(tmp_path / "over.dcm")
    seg.SegmentationType = "FRACTIONAL"
    seg.save_as(tmp_path / "fraction.dcm")
    with pytest.raises(ImageError, match="holds probabilities"):
        read_labels(tmp_path / "fraction.dcm")


def test_what_others_wrote(tmp_path: Path) -> None:
    seg = pydicom.dcmread(SHIPPED / "liver_1frame.dcm")
    with pytest.raises(ImageError, match="promises 1 frames and describes 3"):
        read_labels(SHIPPED / "liver_1frame.dcm")
    seg.PerFrameFunctionalGroupsSequence = seg.PerFrameFunctionalGroupsSequence[:1]
    seg.save_as(tmp_path / "liver.dcm")
    back = read_labels(tmp_path / "liver.dcm")
    assert back.shape == (1, 512, 512)
    assert back.count == 1
    assert list(back.names.values()) == ["Liver"]


def test_labelmap_segmentations_are_read(tmp_path: Path, phantom: Image, source: Path) -> None:
    import highdicom

    image = read(source)
    labels = two_classes(image)
    write_dicom_seg(tmp_path / "seg.dcm", labels, source, CLASSES)
    described = highdicom.seg.segread(tmp_path / "seg.dcm").SegmentSequence
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = image.grid.direction * image.grid.spacing, image.grid.origin
    highdicom.seg.Segmentation(
        [pydicom.dcmread(file) for file in source.iterdir()],
        highdicom.Volume(labels.numpy(), affine, "PATIENT"),
        "LABELMAP",
        list(described),
        highdicom.UID(),
        1,
        highdicom.UID(),
        1,
        "x",
        "y",
        "z",
        "0",
    ).save_as(tmp_path / "map.dcm")
    np.testing.assert_array_equal(read_labels(tmp_path / "map.dcm").array, labels.numpy()[1:4])


def test_without_highdicom(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = two_classes(read(source))
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingPackage, match=r"pip install .deepbio-imaging\[dicom\]"):
        write_dicom_seg(tmp_path / "seg.dcm", labels, source, CLASSES)


def test_left_handed_labels_of_the_same_place(tmp_path: Path, source: Path) -> None:
    other = LabelMap(np.ones((5, 7, 11), np.uint8), "ZYX", make_grid().replace(unit="micrometer"))
    with pytest.raises(ImageError, match="not on the grid"):
        write_dicom_seg(tmp_path / "seg.dcm", other, source)
