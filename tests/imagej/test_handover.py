"""Files in, files and a macro out: what a Fiji without Python hands over and gets back."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

import deepbio
from deepbio.errors import DeepBioError, ImageError, InputMismatch, OptionError
from deepbio.image import Grid, Image
from deepbio.io import read_labels, write
from imagej_bridge.handover import carry_out, read_words

roifile = pytest.importorskip("roifile")


def spots(axes: str = "YX", spacing: tuple[float, ...] = (0.8, 0.5)) -> Image:
    """Two bright spots, of 3 x 4 and 2 x 2 pixels, in each plane of an odd-sized image; they move with the plane."""
    sizes = {"T": 3, "Z": 4, "Y": 23, "X": 31}
    shape = [sizes[axis] for axis in axes]
    pixels = np.zeros(shape, np.uint16)
    for number, plane in enumerate(pixels.reshape(-1, 23, 31)):
        plane[2 : 2 + 3, 4 + number : 8 + number] = 3000
        plane[15:17, 20:22] = 2000
    depth = (1.5,) if "Z" in axes else ()
    grid = Grid(
        [n for n, axis in zip(shape, axes, strict=True) if axis in "ZYX"],
        (*depth, *spacing),
        unit="micrometer",
    )
    return Image(pixels, axes, grid, frame_interval=2.5 if "T" in axes else None)


def hand_over(
    folder: Path, image: Image | None, options: str, command: str = "DeepBio Segment", at: str = "2\n3"
) -> Path:
    """Write what the macro of a plain ImageJ writes."""
    folder.mkdir(exist_ok=True)
    if image is not None:
        write(folder / "input.tif", image)
    (folder / "command.txt").write_text(f"{command}\n{options}\ncells.tif\n-7\n{at}\n", encoding="utf-8")
    return folder


@pytest.fixture
def models() -> deepbio.LoadedModels:
    return deepbio.LoadedModels()


def result_of(folder: Path, models: deepbio.LoadedModels) -> str:
    return Path(carry_out(folder, models)).read_text(encoding="utf-8")


def paths_in(macro: str, name: str) -> Path:
    return Path(re.search(rf'"([^"]*{re.escape(name)})"', macro)[1])  # type: ignore[index]


def test_labels_are_those_of_the_core(
    tmp_path: Path, threshold_model: Path, models: deepbio.LoadedModels
) -> None:
    macro = result_of(hand_over(tmp_path / "a", spots(), f"model=[{threshold_model}]"), models)
    found = read_labels(paths_in(macro, "labels.tif"))
    expected = deepbio.run(spots(), str(threshold_model)).labels
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert found.grid == expected.grid
    assert 'unique("cells-labels")' in macro
    assert "DeepBio.model: " in macro


def test_rows_keep_order_and_kind(
    tmp_path: Path, threshold_model: Path, models: deepbio.LoadedModels
) -> None:
    macro = result_of(
        hand_over(tmp_path / "a", spots("TYX"), f"model=[{threshold_model}] output=table"), models
    )
    lines = [line.split("\t") for line in paths_in(macro, "rows.txt").read_text().splitlines()]
    assert 'texts = newArray("cells.tif", "um", "");' in macro  # the rows tell them by number
    assert 'names = newArray("image", "unit", "frame", "label", "area",' in macro
    assert 'kinds = newArray("text", "text", "number", "number", "number",' in macro
    assert [line[:4] for line in lines] == [
        ["0", "1", str(frame), str(label)] for frame in (1, 2, 3) for label in (1, 2)
    ]
    assert [float(line[4]) for line in lines[:2]] == pytest.approx([12 * 0.4, 4 * 0.4])
    assert "labels.tif" not in macro


@pytest.mark.parametrize(
    ("axes", "options", "positions"),
    [
        ("YX", "", [(0, 0, 0)] * 2),
        ("TYX", "", [(n, 0, 0) for n in (1, 1, 2, 2, 3, 3)]),
        ("ZYX", "slices=2-3", [(n, 0, 0) for n in (2, 2, 3, 3)]),
        ("ZYX", "slices=current", [(2, 0, 0)] * 2),
        ("TZYX", "frames=current slices=4", [(0, 4, 3)] * 2),
        ("TZYX", "frames=1-2 slices=1", [(0, 1, 1)] * 2 + [(0, 1, 2)] * 2),
    ],
)
def test_rois_lie_where_the_objects_were_found(
    tmp_path: Path,
    threshold_model: Path,
    models: deepbio.LoadedModels,
    axes: str,
    options: str,
    positions: list[tuple[int, int, int]],
) -> None:
    text = f"model=[{threshold_model}] output=rois {options}"
    macro = result_of(hand_over(tmp_path / "a", spots(axes), text), models)
    rois = roifile.roiread(paths_in(macro, "rois.zip"))
    assert [(r.position, r.z_position, r.t_position) for r in rois] == positions
    assert [(r.right - r.left, r.bottom - r.top) for r in rois][:2] == [(4, 3), (2, 2)]
    assert len({r.name for r in rois}) == len(rois)


def test_rows_of_part_tell_its_frames_and_slices(
    tmp_path: Path, threshold_model: Path, models: deepbio.LoadedModels
) -> None:
    text = f"model=[{threshold_model}] output=table frames=2-3 slices=current"
    macro = result_of(hand_over(tmp_path / "a", spots("TZYX"), text), models)
    assert 'names = newArray("image", "unit", "slice", "frame", "label",' in macro
    lines = [line.split("\t") for line in paths_in(macro, "rows.txt").read_text().splitlines()]
    assert [line[2:4] for line in lines] == [["2", "2"], ["2", "2"], ["2", "3"], ["2", "3"]]


def test_an_overlay_keeps_what_was_there(
    tmp_path: Path, threshold_model: Path, models: deepbio.LoadedModels
) -> None:
    folder = hand_over(tmp_path / "a", None, f"model=[{threshold_model}] output=overlay")
    mine = roifile.ImagejRoi.frompoints([(1, 1), (5, 1), (5, 4)], name="mine").tobytes()
    pixels = spots().numpy()
    tifffile.imwrite(folder / "input.tif", pixels, imagej=True, metadata={"axes": "YX", "Overlays": [mine]})
    macro = result_of(folder, models)
    with tifffile.TiffFile(paths_in(macro, "overlay.tif")) as file:
        rois = [roifile.ImagejRoi.frombytes(one) for one in file.imagej_metadata["Overlays"]]
    assert [roi.name for roi in rois] == ["mine", "1", "2"]
    assert "selectImage(-7);" in macro


def test_nothing_found_opens_no_empty_zip(
    tmp_path: Path, threshold_model: Path, models: deepbio.LoadedModels
) -> None:
    dark = Image(np.zeros((9, 11), np.uint16))
    macro = result_of(
        hand_over(tmp_path / "a", dark, f"model=[{threshold_model}] output=rois,overlay,table"), models
    )
    assert "roiManager" not in macro
    assert "Overlay" not in macro


def test_tables_and_lines(tmp_path: Path, models: deepbio.LoadedModels) -> None:
    macro = result_of(hand_over(tmp_path / "a", None, "", "DeepBio Models"), models)
    assert 'Table.create("DeepBio Models");' in macro
    assert '"nuclei"' in macro
    macro = result_of(hand_over(tmp_path / "b", None, "", "DeepBio Release"), models)
    assert 'print("DeepBio holds no model.");' in macro


def test_deepimagej_arguments_with_a_file(
    tmp_path: Path, threshold_model: Path, models: deepbio.LoadedModels
) -> None:
    write(tmp_path / "spots.tif", spots())
    text = (
        f"model_path=[{threshold_model}] input_path=[{tmp_path / 'spots.tif'}] "
        f"output_folder=[{tmp_path / 'out'}] display_output=all"
    )
    macro = result_of(hand_over(tmp_path / "a", None, text, "DeepBio DeepImageJ Run"), models)
    scores = deepbio.read(paths_in(macro, "scores.tif")).numpy().squeeze()
    expected = deepbio.run(spots(), str(threshold_model), deepbio.RunOptions(output=("scores",))).scores
    np.testing.assert_allclose(scores, expected.numpy().squeeze())
    assert (tmp_path / "out" / "spots_output.tif").exists()


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ("model=nucleii", DeepBioError, "Did you mean 'nuclei', 'nuclei-3d' or 'nuclei-synth'?"),
        ("input=other", OptionError, "Select the image first"),
        ("frames=9 model=nuclei", OptionError, "'frames' is '9'; the image has 1"),
        ("model=hippocampus", InputMismatch, "3D stacks"),
        ("output=image model=nuclei", OptionError, "gives no image"),
        ("output_dir= output= model=nuclei", OptionError, "'output' is empty"),
    ],
)
def test_errors(
    tmp_path: Path, models: deepbio.LoadedModels, options: str, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=re.escape(says)):
        carry_out(hand_over(tmp_path / "a", spots(), options), models)
    assert not (tmp_path / "a" / "result.ijm").exists()


def test_no_image(tmp_path: Path, models: deepbio.LoadedModels) -> None:
    with pytest.raises(ImageError, match="No image is open"):
        carry_out(hand_over(tmp_path / "a", None, "model=nuclei"), models)


def test_a_folder_that_no_macro_wrote(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="install again"):
        read_words(tmp_path)
