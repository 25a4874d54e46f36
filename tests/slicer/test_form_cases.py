"""A batch over cases with a file for each channel, with clicks in the form: what is taken as one case, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PySide6.QtWidgets", reason="PySide6 is not usable", exc_type=ImportError)
slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

import deepbio  # noqa: E402
from deepbio.batch import run_many  # noqa: E402
from deepbio.image import Grid, Image  # noqa: E402
from tests.slicer.nodes import add_volume, affine, rotation  # noqa: E402
from tests.slicer.shim.user import User, opened  # noqa: E402
from tests.slicer.two_channels import expected, write_two_channel_model  # noqa: E402

ONNX = {"runtime": "onnx", "device": "cpu"}
SHAPE = (6, 7, 9)
GRID = Grid(SHAPE, (3.0, 0.8, 0.5), (17.3, -42.9, 101.7), rotation(0.3, -0.7, 0.8)[:, ::-1], "millimeter")


@pytest.fixture(scope="module")
def form_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    home = tmp_path_factory.mktemp("slicer")
    write_two_channel_model(home / "models", channel_files=True)
    write_two_channel_model(home / "models", name="joined")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPBIO_HOME", str(home))
        with opened(home) as user:
            user.wait(lambda: user.form.models.cards, what="models listed")
            yield user


@pytest.fixture
def user(form_user: User) -> Iterator[User]:
    """The scene has a volume, a model of two files a case is chosen, and Batch is open at the files of a folder."""
    slicer.mrmlScene.Clear(0)
    form_user.form.messages.clear()
    form_user.form.options.set_values(ONNX)
    node = add_volume(slicer.mrmlScene, np.zeros(SHAPE, np.int16), affine(), "one")
    form_user.choose(form_user.ui.inputSelector, node.GetID())
    form_user.wait(lambda: not form_user.form._checking)
    form_user.choose(form_user.ui.modelComboBox, "pair")
    form_user.open_section(form_user.ui.batchSection)
    form_user.click(form_user.ui.batchFolderButton)
    yield form_user
    for line in (form_user.ui.batchInputPath._edit, form_user.ui.batchOutputPath._edit):
        form_user.type(line, "")
    form_user.click(form_user.ui.batchVolumesButton)
    form_user.open_section(form_user.ui.batchSection)


def write(folder: Path, name: str, seed: int) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 250, SHAPE, np.int16)
    folder.mkdir(exist_ok=True)
    deepbio.write(folder / name, Image(pixels, "ZYX", GRID))
    return pixels


def column(user: User, number: int) -> list[str]:
    table = user.ui.batchTable
    return [table.item(k, number).text() for k in range(table.rowCount)]


def told(user: User) -> list[str]:
    """What the form says of the folder, once it knows."""
    label = user.ui.batchCases
    user.wait(lambda: label.visible and "Looking" not in label.text, what="cases listed")
    return str(label.text).split("\n")


def test_the_files_of_a_case_are_named_and_run_as_on_the_command_line(user: User, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    pixels = {
        name: write(source, f"{name}.nii.gz", k)
        for k, name in enumerate(("b_0001", "a_0000", "b_0000", "a_0001"))
    }
    user.type(user.ui.batchInputPath._edit, str(source))
    assert told(user) == [
        "2 cases of 2 files each (T1, FLAIR):",
        "a_0000.nii.gz + a_0001.nii.gz",
        "b_0000.nii.gz + b_0001.nii.gz",
    ]
    user.type(user.ui.batchOutputPath._edit, str(target))
    for status in ("done", "was done"):
        user.click(user.ui.batchStartButton)
        user.click(user.ui.batchStartButton)  # impatiently: it begins once
        user.wait(lambda: user.form.batch.running, what="batch begun")
        user.wait(lambda: not user.form.batch.running, what="batch finished")
        assert column(user, 0) == ["a", "b"]
        assert column(user, 1) == [status] * 2, user.seen()
        assert column(user, 3) == ["a-labels.nii.gz", "b-labels.nii.gz"]
    beside = tmp_path / "beside"
    model = deepbio.load_model("pair", device="cpu")
    run_many(model, [source], beside, deepbio.RunOptions(runtime="onnx"))
    for case in "ab":
        labels = deepbio.read_labels(target / f"{case}-labels.nii.gz")
        np.testing.assert_array_equal(
            labels.numpy(), expected(pixels[f"{case}_0000"], pixels[f"{case}_0001"])
        )
        assert labels.grid == deepbio.read(source / f"{case}_0000.nii.gz").grid
        same = deepbio.read_labels(beside / f"{case}-labels.nii.gz")
        np.testing.assert_array_equal(labels.numpy(), same.numpy())


def test_cases_that_lack_files_are_refused_by_name_before_any_work(user: User, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    for k, name in enumerate(("hip_0000", "knee_0000", "knee_0001", "wrist_0001")):
        write(source, f"{name}.nii.gz", k)
    user.type(user.ui.batchInputPath._edit, str(source))
    user.type(user.ui.batchOutputPath._edit, str(target))
    lacking = f"each in a file of its own: missing in '{source}': hip_0001.nii.gz, wrist_0000.nii.gz."
    assert lacking in told(user)[0]
    user.click(user.ui.batchStartButton)
    user.wait(lambda: user.message, what="refused")
    assert lacking in user.message
    assert not user.ui.batchCases.visible  # said once
    assert not user.form.batch.running
    assert not target.exists()
    write(source, "hip_0001.nii.gz", 7)
    write(source, "wrist_0000.nii.gz", 8)
    user.click(user.ui.batchStartButton)  # which looks again
    user.wait(lambda: user.form.batch.running, what="batch begun")
    user.wait(lambda: not user.form.batch.running, what="batch finished")
    assert user.message == ""
    assert told(user)[0] == "3 cases of 2 files each (T1, FLAIR):"
    assert sorted(path.name for path in target.glob("*-labels.nii.gz")) == [
        "hip-labels.nii.gz",
        "knee-labels.nii.gz",
        "wrist-labels.nii.gz",
    ]


def test_many_cases_are_counted_and_others_told_apart(user: User, tmp_path: Path) -> None:
    for k in range(8):
        for channel in "01":
            (tmp_path / f"case{k}_000{channel}.nii.gz").write_bytes(b"not read")
    (tmp_path / "both.nii.gz").write_bytes(b"not read")
    user.type(user.ui.batchInputPath._edit, str(tmp_path))
    lines = told(user)
    assert lines[0] == "8 cases of 2 files each (T1, FLAIR):"
    assert lines[6:] == [
        "case5_0000.nii.gz + case5_0001.nii.gz",
        "and 2 more",
        "In one file, which must have all channels:",
        "both.nii.gz",
    ]
    assert user.ui.batchCases.toolTip.count("\n") == 8
    user.choose(user.ui.modelComboBox, "joined")  # whose card says nothing of files
    user.wait(lambda: told(user) == ["Each file must have the model's 2 channels: T1, FLAIR."], what="told")
    user.choose(user.ui.modelComboBox, "hippocampus")
    user.wait(lambda: not user.ui.batchCases.visible, what="nothing told")


def test_loaded_volumes_are_no_cases(user: User) -> None:
    user.click(user.ui.batchVolumesButton)
    assert not user.ui.batchCases.visible
    user.click(user.ui.batchStartButton)
    assert user.message == "'pair' takes 2 volumes for each case (T1, FLAIR): choose the files of a folder."
    assert not user.form.batch.running
    user.click(user.ui.batchFolderButton)
