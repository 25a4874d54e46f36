"""One answer for a volume: whatever file it comes from, however its axes lie, whoever asks."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import deepbio
from deepbio.cli import app
from deepbio.image import Grid, Image
from tests.core.io.dicom_series import write_series

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def model() -> deepbio.Model:
    return deepbio.load_model("hippocampus", device="cpu")


@pytest.fixture(scope="module")
def oblique() -> Image:
    """The example volume on an oblique grid, as integers that every format holds."""
    image = deepbio.read(EXAMPLES / "hippocampus" / "hippocampus_311.nii.gz")
    a, b = 0.2, -0.15
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    grid = image.grid.replace(direction=turn @ tilt @ image.grid.direction, origin=(-31.25, 12.5, 7.75))
    return Image(np.rint(image.numpy()).astype(np.int16), "ZYX", grid)


@pytest.fixture(scope="module")
def labels(model: deepbio.Model, oblique: Image) -> np.ndarray:
    return model.run(oblique).labels.numpy()


def test_the_parts_are_found(labels: np.ndarray) -> None:
    truth = deepbio.read_labels(EXAMPLES / "hippocampus" / "hippocampus_311_labels.nii.gz").numpy()
    for part in (1, 2):
        both = np.count_nonzero((labels == part) & (truth == part))
        assert 2 * both / (np.count_nonzero(labels == part) + np.count_nonzero(truth == part)) > 0.8


def _same_place(grid: Grid, other: Grid) -> None:
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape])).reshape(3, -1).T
    np.testing.assert_allclose(grid.to_world(corners), other.to_world(corners), atol=1e-4)


@pytest.mark.parametrize("format", ["a.nii.gz", "a.nrrd", "a.mha", "dicom"])
def test_from_any_file_on_the_command_line(
    oblique: Image, labels: np.ndarray, format: str, tmp_path: Path
) -> None:
    path = tmp_path / format
    if format == "dicom":
        write_series(path, oblique.numpy(), oblique.grid, modality="MR")
    else:
        deepbio.write(path, oblique)
    out = tmp_path / "out"
    ran = CliRunner().invoke(app, ["run", "hippocampus", str(path), "-o", str(out), "--device", "cpu"])
    assert ran.exit_code == 0, ran.output
    (file,) = out.glob("*-labels.*")
    written = deepbio.read_labels(file)
    found = written.numpy()
    stored = deepbio.read(path).grid
    _same_place(written.grid, stored)
    # a format may store the axes the other way round (DICOM has no left-handed order of slices)
    if not np.allclose(stored.direction, oblique.grid.direction, atol=1e-5):
        flips = np.sign(np.sum(stored.direction * oblique.grid.direction, axis=0)).astype(int)
        found = found[tuple(slice(None, None, step) for step in flips)]
    np.testing.assert_array_equal(found, labels)
    assert set(np.unique(found)) == {0, 1, 2}


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("flipped", [(), (0,), (1, 2)])
def test_however_the_axes_lie(
    model: deepbio.Model, oblique: Image, labels: np.ndarray, order: tuple[int, ...], flipped: tuple[int, ...]
) -> None:
    grid = oblique.grid
    corner = [grid.shape[k] - 1 if k in flipped else 0 for k in range(3)]
    signs = [-1 if k in flipped else 1 for k in range(3)]
    turned = Grid(
        tuple(grid.shape[k] for k in order),
        tuple(grid.spacing[k] for k in order),
        tuple(grid.to_world(corner)),
        (grid.direction * signs)[:, list(order)],
        grid.unit,
    )

    def lie(array: np.ndarray) -> np.ndarray:
        return np.flip(array, flipped).transpose(order)

    image = Image(np.ascontiguousarray(lie(oblique.numpy())), "ZYX", turned)
    result = model.run(image).labels
    assert result.grid == turned
    np.testing.assert_array_equal(result.numpy(), lie(labels))


def test_the_heart_in_every_slice_and_frame() -> None:
    image = deepbio.read(EXAMPLES / "heart_cine.nii.gz")
    model = deepbio.load_model("heart-lv", device="cpu")
    result = model.run(image)
    assert result.labels.axes == "TZYX"
    assert result.labels.grid == image.grid
    alone = model.run(Image(image.numpy()[2, 1], "YX", image.plane(1).grid)).labels.numpy()
    np.testing.assert_array_equal(result.labels.numpy()[2, 1], alone)
    area = (result.labels.numpy() == 1).sum(axis=(2, 3))
    assert (area > 100).all()  # the ventricle is there in every slice of this example
    assert area.sum(axis=1).argmin() not in (0,)  # it contracts after the first frame


def test_the_dicom_segmentation_says_the_same(oblique: Image, labels: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    write_series(tmp_path / "series", oblique.numpy(), oblique.grid, modality="MR")
    out = tmp_path / "out"
    words = ["run", "hippocampus", str(tmp_path / "series"), "-o", str(out), "--save", "labels,seg"]
    ran = CliRunner().invoke(app, [*words, "--device", "cpu"])
    assert ran.exit_code == 0, ran.output
    (file,) = out.glob("*-seg.dcm")
    segments = deepbio.read_labels(file)
    assert segments.names == {1: "anterior hippocampus", 2: "posterior hippocampus"}
    (written,) = map(deepbio.read_labels, out.glob("*-labels.nii.gz"))
    for part in (1, 2):
        # the segmentation holds the slices with labels only, so places are compared in the world
        places = [
            np.unique(one.grid.to_world(np.argwhere(one.numpy() == part)).round(1), axis=0)
            for one in (segments, written)
        ]
        np.testing.assert_allclose(places[0], places[1], atol=0.11)
        assert len(places[0]) == np.count_nonzero(labels == part)
