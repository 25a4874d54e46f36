"""What the commands do with stacks, folders, files and macros made for DeepImageJ."""

from __future__ import annotations

import csv
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tifffile

import deepbio
from deepbio.errors import DeepBioError, OptionError
from imagej_bridge.commands import COMMANDS, find_command
from imagej_bridge.options import ImageOptions
from tests.imagej.images import column, java, planes, results, spots, titles

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(session: Any, command: str, words: str) -> Any:
    """Run one command; the image that is current then."""
    session.run_macro(f'run("{command}", "{words}");')
    return java("ij.WindowManager").getCurrentImage()


def refused(session: Any, command: str, words: str) -> str:
    with pytest.raises(DeepBioError):
        run(session, command, words)
    return session.bridge.desk.last["error"]


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# -- names


def test_commands_are_found_by_name() -> None:
    assert find_command("DeepBio Segment").task == "segment"
    with pytest.raises(OptionError, match="no command 'DeepBio segment'") as caught:
        find_command("DeepBio segment")
    assert "DeepBio Segment" in caught.value.hint
    with pytest.raises(OptionError) as caught:
        find_command("xyzzy")
    assert all(name in caught.value.hint for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does(name: str) -> None:
    command = COMMANDS[name]
    assert command.name == name
    assert command.help.endswith(".")
    assert command.takes_image == issubclass(command.options, ImageOptions)


# -- stacks


@pytest.mark.parametrize("axes", ["ZYX", "TYX", "TZYX"])
def test_every_plane_of_a_stack(session: Any, model: str, axes: str) -> None:
    image = spots(axes)
    found = run(session, "DeepBio Segment", f"{model} output=labels")
    assert list(found.getDimensions()) == list(image.getDimensions())
    np.testing.assert_array_equal(planes(found) > 0, planes(image) > 1000)


@pytest.mark.parametrize("axes", ["CZYX", "TCYX", "TCZYX"])
def test_a_channel_of_a_hyperstack(session: Any, model: str, axes: str) -> None:
    image = spots(axes)
    found = run(session, "DeepBio Segment", f"{model} output=labels channel=2")
    width, height, _, slices, frames = image.getDimensions()
    assert list(found.getDimensions()) == [width, height, 1, slices, frames]
    np.testing.assert_array_equal(planes(found) > 0, planes(image)[1::2] > 1000)


def test_a_channel_by_the_name_in_its_slice_labels(session: Any, model: str) -> None:
    image = spots("CZYX")
    for number in range(1, 11):
        image.getStack().setSliceLabel("GFP" if number % 2 else "DAPI", number)
    found = run(session, "DeepBio Segment", f"{model} output=labels channel=DAPI")
    np.testing.assert_array_equal(planes(found) > 0, planes(image)[1::2] > 1000)


def test_objects_linked_through_slices(session: Any, model: str) -> None:
    spots("ZYX")
    single = planes(run(session, "DeepBio Segment", f"{model} output=labels input=cells.tif"))
    linked = planes(run(session, "DeepBio Segment", f"{model} output=labels input=cells.tif link_slices=0.3"))
    np.testing.assert_array_equal(linked > 0, single > 0)
    assert len(np.unique(linked)) == 3  # background, the one that moves, the one that stays


def test_a_stack_only_where_it_is_wanted(session: Any, model: str) -> None:
    spots("ZYX")
    assert "per_slice" in refused(session, "DeepBio Segment", f"{model} per_slice=false")


def test_a_hundred_planes_in_flat_memory(session: Any, model: str, tmp_path: Path) -> None:
    """A virtual stack of 100 planes of 0.3 MB: the model is loaded once, and little of the stack is ever in memory."""
    plane = np.full((400, 400), 100, np.uint16)
    plane[300:340, 200:260] = 3000
    for number in range(100):
        plane[:5, :5] = 2000 + number
        tifffile.imwrite(tmp_path / f"{number:03}.tif", plane)
    stack = java("ij.VirtualStack")(400, 400, None, f"{tmp_path}/")
    for number in range(100):
        stack.addSlice(f"{number:03}.tif")
    java("ij.ImagePlus")("many", stack).show()
    run(session, "DeepBio Segment", f"{model} output=table slices=1-2")
    loaded = list(session.bridge.desk.models._models.values())
    resident = psutil.Process().memory_info().rss
    tracemalloc.start()
    try:
        run(session, "DeepBio Segment", f"{model} output=table")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert list(session.bridge.desk.models._models.values()) == loaded
    assert int(results().size()) == 2 * 2 + 2 * 100
    labels = 100 * 400 * 400 * 4  # these are the result, and the only thing that grows
    assert peak < labels + 30e6, f"{peak / 1e6:.0f} MB"
    assert psutil.Process().memory_info().rss - resident < labels + 300e6  # with what Java has not yet let go


# -- files beside


def test_outputs_are_saved_too(session: Any, model: str, tmp_path: Path) -> None:
    image = spots(title="my cells.ome.tif")
    out = tmp_path / "new folder"
    run(session, "DeepBio Segment", f"{model} output=labels,rois,overlay,table output_dir=[{out}]")
    assert left_in(out) == [
        "my cells-labels.tif",
        "my cells-overlay.png",
        "my cells-rois.zip",
        "my cells-table.csv",
        "my cells.deepbio.json",
    ]
    labels = deepbio.read_labels(out / "my cells-labels.tif")
    np.testing.assert_array_equal(labels.numpy() > 0, planes(image)[0] > 1000)
    with zipfile.ZipFile(out / "my cells-rois.zip") as archive:
        assert archive.namelist() == ["1.roi", "2.roi"]
    session.run_macro('roiManager("reset");')
    session.run_macro(f'roiManager("open", "{out}/my cells-rois.zip");')
    assert int(java("ij.plugin.frame.RoiManager").getInstance().getCount()) == 2


def test_a_folder_that_cannot_be_made(
    session: Any, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spots()
    monkeypatch.delattr(deepbio.LoadedModels, "get")  # it is refused before the work
    (tmp_path / "file").write_text("")
    assert "cannot be made" in refused(
        session, "DeepBio Segment", f"{model} output_dir=[{tmp_path}/file/out]"
    )
    assert titles() == ["cells.tif"]
    assert int(results().size()) == 0


def test_a_title_that_is_too_long_for_files(session: Any, model: str, tmp_path: Path) -> None:
    spots(title="a" * 300)
    told = refused(session, "DeepBio Segment", f"{model} output_dir=[{tmp_path}/out]")
    assert "is too long for the file system" in told
    assert left_in(tmp_path / "out") == []


# -- batch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in (1, 2, 3):
        pixels = np.full((37, 53), 100, np.uint16)
        pixels[5:9, 7 : 7 + number] = 3000
        tifffile.imwrite(tmp_path / "in" / f"a b {number}.tif", pixels)
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    return tmp_path


def batch_table() -> list[tuple[str, str]]:
    table = java("ij.measure.ResultsTable").getResultsTable("DeepBio Batch")
    rows = range(int(table.size()))
    return [
        (str(table.getStringValue("file", row)), str(table.getStringValue("status", row))) for row in rows
    ]


def test_batch(session: Any, model: str, folder: Path) -> None:
    words = f"{model} input=[{folder}/in] output_dir=[{folder}/out] pattern=*.tif save=labels,rois,csv"
    run(session, "DeepBio Batch", words)
    assert [status for _, status in batch_table()] == ["done"] * 3
    assert [name for name in left_in(folder / "out") if "1" in name] == [
        "a b 1-labels.tif",
        "a b 1-rois.zip",
        "a b 1-table.csv",
        "a b 1.deepbio.json",
    ]
    with (folder / "out" / "summary.csv").open() as file:
        assert [row["objects"] for row in csv.DictReader(file)] == ["1", "1", "1"]
    assert titles() == []
    assert int(results().size()) == 0  # the user's own stays as it is

    run(session, "DeepBio Batch", words)
    assert [status for _, status in batch_table()] == ["skipped"] * 3
    run(session, "DeepBio Batch", words + " overwrite")
    assert [status for _, status in batch_table()] == ["done"] * 3


def test_batch_goes_on_after_a_broken_file_and_tells(session: Any, model: str, folder: Path) -> None:
    (folder / "in" / "a b 2.tif").write_bytes(b"II*\0broken")
    words = f"{model} input=[{folder}/in] output_dir=[{folder}/out] pattern=*.tif"
    told = refused(session, "DeepBio Batch", words)
    assert told.startswith("1 of 3 files failed, the first with:")
    assert "summary.csv" in told
    assert [status for _, status in batch_table()] == ["done", "failed", "done"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("", "'model' is not given"),
        ("model=nuclei", "'input' is not given"),
        ("model=nuclei input=/not/there output_dir=/tmp/x", "/not/there"),
        ("model=nuclei input=/tmp output_dir=/tmp/x output=labels", "save="),
        ("model=nuclei input=/tmp", "'output_dir' is not given"),
        ("model=nuclei input=/tmp output_dir=/tmp/x save=pdf", "'save' is 'pdf'"),
    ],
)
def test_a_batch_that_cannot_be(session: Any, words: str, part: str) -> None:
    assert part in refused(session, "DeepBio Batch", words)


# -- macros made for DeepImageJ


def test_deepimagej_shows_the_outputs_of_the_network(session: Any, threshold_model: Path) -> None:
    image = spots()
    found = run(
        session,
        "DeepBio DeepImageJ Run",
        f"model_path=[{threshold_model}] input_path=null output_folder=null display_output=all",
    )
    assert titles() == ["cells.tif", "cells_output"]
    np.testing.assert_allclose(planes(found)[0], planes(image)[0] * 0.001 - 1, atol=1e-5)


def test_deepimagejs_own_name_is_taken_over(session: Any, threshold_model: Path) -> None:
    spots()
    run(session, "DeepImageJ Run", f"model_path=[{threshold_model}] display_output=all")
    assert titles() == ["cells.tif", "cells_output"]


def test_deepimagej_with_files(session: Any, threshold_model: Path, folder: Path) -> None:
    (folder / "in" / "notes.txt").unlink()
    words = f"model_path=[{threshold_model}] input_path=[{folder}/in] output_folder=[{folder}/out]"
    run(session, "DeepBio DeepImageJ Run", f"{words} display_output=null")
    assert titles() == []
    assert [name for name in left_in(folder / "out") if name.endswith(".tif")] == [
        f"a b {number}_output.tif" for number in (1, 2, 3)
    ]
    run(session, "DeepBio DeepImageJ Run", words)
    assert titles() == ["a_output", "a_output-1", "a_output-2"]  # as DeepImageJ, up to the first blank


def test_a_model_of_ours_is_found_by_the_end_of_a_path_of_another_machine(session: Any) -> None:
    session.open(EXAMPLES / "fluorescence.tif")
    run(session, "DeepBio DeepImageJ Run", "model_path=[/home/other/models/nuclei] display_output=all")
    assert titles()[1] == "fluorescence_output"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("", "'model_path' is not given"),
        ("model_path=/not/there", "/not/there"),
        ("model_path=nuclei display_output=some", "'display_output' is 'some'"),
        ("model_path=nuclei input_path=/not/there", "/not/there"),
        ("modelPath=nuclei", "'model_path'"),
    ],
)
def test_deepimagej_with_wrong_arguments(session: Any, words: str, part: str) -> None:
    spots()
    assert part in refused(session, "DeepBio DeepImageJ Run", words)


def test_the_results_name_the_image(session: Any, model: str) -> None:
    spots(title="a.tif")
    run(session, "DeepBio Segment", f"{model} output=table")
    assert column("image") == ["a.tif", "a.tif"]


# -- models of others


CELLPOSE = Path(__file__).parents[1] / "data" / "cellpose"


@pytest.fixture
def added(session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A network of Cellpose, added by a macro."""
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))
    session.run_macro(f'run("DeepBio Add Model", "path=[{CELLPOSE / "CP_nuclei"}] name=cells");')
    assert [
        card.name for card in deepbio.list_models() if card.root.parent == tmp_path / "home" / "models"
    ] == ["cells"]
    return "cells"


def test_a_model_is_added_and_run_on_two_channels(session: Any, added: str) -> None:
    session.run_macro(f'open("{CELLPOSE / "small_pair.tif"}");')
    labels = planes(run(session, "DeepBio Segment", f"model={added} output=labels channel=1,2 diameter=12"))
    assert labels.max() == np.load(CELLPOSE / "small_pair_12.0.npz")["masks"].max()
    said = refused(session, "DeepBio Add Model", f"path=[{CELLPOSE / 'CP_nuclei'}] name={added}")
    assert "already a model 'cells'" in said
    run(session, "DeepBio Add Model", f"path=[{CELLPOSE / 'CP_nuclei'}] name={added} replace")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("name=x", "option 'path' is not given"),
        ("path=[/no/such/file]", "There is no folder or zip"),
        (f"path=[{CELLPOSE / 'small.tif'}]", "is not"),
    ],
)
def test_what_is_no_model_is_refused(session: Any, words: str, said: str) -> None:
    assert said in refused(session, "DeepBio Add Model", words)
