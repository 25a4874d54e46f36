"""Draws the form for the documentation: ``python -m tests.slicer.shim.pictures docs/images``.

Real runs in the stand-in application; ``slicer-form.png``, ``slicer-form-running.png`` and so on.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "SlicerDeepBio"))

import numpy as np
import slicer

import deepbio
from tests.slicer.nodes import add_sequence, add_volume
from tests.slicer.shim.user import User, opened
from tests.slicer.two_channels import write_two_channel_model

EXAMPLES = Path(__file__).parents[3] / "examples"
QUICK = {"runtime": "onnx"}


def load(name: str) -> object:
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(EXAMPLES / "hippocampus" / f"{name}.nii.gz"))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    storage.ReadData(node)
    return node


def ready(user: User, node: object, options: dict[str, str] | None = None) -> None:
    user.form.options.set_values(QUICK if options is None else options)
    user.ui.inputSelector.setCurrentNode(node)
    user.wait(lambda: not user.form._checking)
    user.wait_ready()


def setup(folder: Path, home: Path) -> None:
    """The box of a computer where no Python has deepbio."""
    from SlicerDeepBioLib import install, interpreters

    assert install
    real, interpreters.host_python = interpreters.host_python, lambda: ""
    with opened(home, python="") as user:
        user.wait(lambda: not user.form.environment.busy)
        text = user.ui.setupText.text.replace(str(home), "/home/you/.deepbio")  # no paths of this machine
        user.ui.setupText.text = text.replace(str(EXAMPLES.parent), "/home/you/DeepBio")
        user.panel.resize(430, 300)
        user.picture(folder / "slicer-form-install.png")
    interpreters.host_python = real


def one_run(user: User, folder: Path) -> None:
    ready(user, load("hippocampus_311"))
    user.click(user.ui.segmentButton)
    user.wait(lambda: user.form.runs.run is None)
    user.panel.resize(430, 400)
    user.picture(folder / "slicer-form.png")
    user.panel.resize(430, 640)
    user.ui.optionsSection.collapsed = False
    user.picture(folder / "slicer-form-options.png")
    user.ui.optionsSection.collapsed = True


def a_killed_run(user: User, folder: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 900, (60, 120, 120), dtype=np.int16)
    large = add_volume(slicer.mrmlScene, pixels, np.eye(4), "large")
    ready(user, large, {**QUICK, "tile": "48"})
    user.click(user.ui.segmentButton)
    user.wait(lambda: "left" in user.ui.progressLabel.text and "Tile" in user.ui.progressLabel.text)
    user.panel.resize(430, 440)
    user.picture(folder / "slicer-form-running.png")
    os.kill(user.form.logic.client.pid, 9)
    user.wait(lambda: user.form.runs.run is None)
    user.picture(folder / "slicer-form-error.png")
    slicer.mrmlScene.RemoveNode(large)


def a_batch(user: User, folder: Path) -> None:
    load("hippocampus_311").SetName("hippocampus_311 again")  # type: ignore[attr-defined]
    user.form.messages.clear()
    user.form.options.set_values(QUICK)
    user.ui.inputSelector.setCurrentNode(slicer.mrmlScene.GetFirstNodeByName("hippocampus_311"))
    user.wait_ready()
    sections = (user.ui.batchSection, user.ui.modelsSection, user.ui.environmentSection)
    for section in sections:
        section.collapsed = False
    user.panel.resize(430, 1060)
    user.click(user.ui.batchStartButton)
    user.wait(lambda: not user.form.batch.running)
    user.ui.environmentText.text = user.ui.environmentText.text.replace(
        sys.executable, "/home/you/env/bin/python"
    )
    user.picture(folder / "slicer-form-batch.png")
    for section in sections:
        section.collapsed = True


def a_sequence(user: User, folder: Path) -> None:
    slicer.mrmlScene.Clear(0)
    frames = [np.random.default_rng(k).integers(0, 500, (1, 96, 96), dtype=np.int16) for k in range(5)]
    browser, sequence = add_sequence(slicer.mrmlScene, frames, np.eye(4))
    ready(user, browser.GetProxyNode(sequence))
    user.click(user.ui.segmentButton)
    user.wait(lambda: user.form.runs.run is None)
    user.panel.resize(430, 440)
    user.picture(folder / "slicer-form-sequence.png")


def a_class(user: User, folder: Path) -> None:
    """A cell, what it is and why: options and result of another task."""
    slicer.mrmlScene.Clear(0)
    pixels = deepbio.read(EXAMPLES / "blood_cells" / "neutrophil.jpg").numpy()
    cell = add_volume(
        slicer.mrmlScene, np.ascontiguousarray(np.moveaxis(pixels, 0, -1)[None]), np.eye(4), "neutrophil"
    )
    user.ui.inputSelector.setCurrentNode(cell)
    user.wait(lambda: not user.form._checking)
    user.choose(user.ui.modelComboBox, "blood-cells")
    ready(user, cell, {**QUICK, "explain": "gradcam"})
    user.click(user.ui.segmentButton)
    user.wait(lambda: user.form.runs.run is None)
    user.ui.optionsSection.collapsed = False
    user.panel.resize(430, 880)
    user.picture(folder / "slicer-form-class.png")
    user.ui.optionsSection.collapsed = True


def several_volumes(folder: Path, home: Path) -> None:
    """A model of two volumes, the second of which lies elsewhere; and a batch of such cases."""
    write_two_channel_model(home / "models", channel_files=True)
    with opened(home) as user:
        user.wait(lambda: user.form.models.cards)
        pixels = np.random.default_rng(0).integers(0, 250, (6, 40, 40), dtype=np.int16)
        for name, part in (("T1w", pixels), ("FLAIR", pixels), ("FLAIR thin", pixels[:, :-1])):
            add_volume(slicer.mrmlScene, part, np.eye(4), name)
        user.ui.inputSelector.setCurrentNode(slicer.mrmlScene.GetFirstNodeByName("T1w"))
        user.wait(lambda: not user.form._checking)
        user.choose(user.ui.modelComboBox, "pair")
        user.form.channels.selectors[0].setCurrentNode(slicer.mrmlScene.GetFirstNodeByName("FLAIR thin"))
        user.panel.resize(430, 370)
        user.picture(folder / "slicer-form-channels.png")
        cases(user, folder, home / "scans")


def cases(user: User, folder: Path, scans: Path) -> None:
    """Which files are one case, and what became of them."""
    scans.mkdir()
    for patient in ("anna", "ben", "carla"):
        for channel in range(2):
            pixels = np.random.default_rng(channel).integers(0, 250, (6, 40, 40), dtype=np.int16)
            deepbio.write(scans / f"{patient}_{channel:04d}.nii.gz", deepbio.Image(pixels, "ZYX"))
    user.open_section(user.ui.batchSection)
    user.click(user.ui.batchFolderButton)
    for line, path in ((user.ui.batchInputPath, scans), (user.ui.batchOutputPath, scans.with_name("labels"))):
        line.setCurrentPath(str(path))
    user.form.channels.selectors[0].setCurrentNode(slicer.mrmlScene.GetFirstNodeByName("FLAIR"))
    user.form.options.set_values(QUICK)
    user.click(user.ui.batchStartButton)
    user.wait(lambda: user.form.batch.running)
    user.wait(lambda: not user.form.batch.running)
    for line in (user.ui.batchInputPath._edit, user.ui.batchOutputPath._edit):
        line.blockSignals(True)  # no paths of this machine
        line.setText(line.text.replace(str(scans.parent), "/home/you"))
    user.panel.resize(430, 740)
    user.picture(folder / "slicer-form-cases.png")


def main(folder: Path) -> None:
    os.environ["DEEPBIO_HOME"] = home = tempfile.mkdtemp()
    setup(folder, Path(home))
    with opened(Path(home)) as user:
        user.wait(lambda: user.form.models.cards)
        for draw in (one_run, a_killed_run, a_batch, a_sequence, a_class):
            draw(user, folder)
    several_volumes(folder, Path(home))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
