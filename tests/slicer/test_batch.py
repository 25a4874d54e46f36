"""Batches: many nodes, or files through the worker; failures stay alone, and a stopped batch goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deepbio
from SlicerDeepBioLib.batch import Batch
from SlicerDeepBioLib.client import Cancelled, WorkerError
from tests.slicer.nodes import add_volume, labels_of, node_names, read_volume_file

EXAMPLES = Path(__file__).parents[2] / "examples"
HIPPOCAMPUS = EXAMPLES / "hippocampus" / "hippocampus_311.nii.gz"
ONNX = {"runtime": "onnx"}
TIMEOUT = 120


@pytest.fixture
def nodes(scene: Any) -> list[Any]:
    pixels = deepbio.read(HIPPOCAMPUS).numpy()
    flat = add_volume(scene, pixels[:1], np.eye(4), "flat")  # which a 3D model does not take
    return [
        read_volume_file(scene, HIPPOCAMPUS, "one"),
        flat,
        add_volume(scene, pixels[2:].copy(), np.eye(4), "two"),
    ]


def test_one_that_fails_does_not_stop_the_others(logic: Any, cards: Any, nodes: list[Any]) -> None:
    batch = Batch.of_nodes(logic, nodes, cards["hippocampus"], ONNX)
    seen: list[tuple[float, str]] = []
    done: list[Batch] = []
    batch.start(lambda one: seen.append((one.progress.fraction, one.progress.text)), done.append)
    assert batch.wait(TIMEOUT) is batch
    assert done == [batch]
    assert [(item.name, item.status) for item in batch.items] == [
        ("one", "done"),
        ("flat", "failed"),
        ("two", "done"),
    ]
    assert "takes 3D stacks" in batch.items[1].message
    assert batch.progress.text == "Done: 2 done, 1 failed"
    assert [fraction for fraction, _ in seen] == sorted(fraction for fraction, _ in seen)
    assert any(text.startswith("two (3 of 3): ") for _, text in seen)
    for item in (batch.items[0], batch.items[2]):
        assert item.seconds > 0
        assert set(np.unique(labels_of(item.run.segmentation, item.node))) == {0, 1, 2}


def test_a_cancelled_batch_goes_on(logic: Any, cards: Any, nodes: list[Any], scene: Any) -> None:
    batch = Batch.of_nodes(logic, [nodes[0], nodes[2]], cards["hippocampus"], ONNX)

    def stop(one: Batch) -> None:
        if one.count("done") == 1:
            one.cancel()

    batch.start(stop)
    with pytest.raises(Cancelled):
        batch.wait(TIMEOUT)
    assert not logic.busy
    assert [item.status for item in batch.items] == ["done", "cancelled"]
    first = batch.items[0].run
    before = len([name for name in node_names(scene) if "table" in name])
    batch.start()
    batch.wait(TIMEOUT)
    assert [item.status for item in batch.items] == ["done", "done"]
    assert batch.items[0].run is first  # not again
    assert len([name for name in node_names(scene) if "table" in name]) == before + 1
    batch.items[1].run.undo()
    batch.start()
    batch.wait(TIMEOUT)
    assert not batch.items[1].run.undone


def test_a_node_that_has_gone(logic: Any, cards: Any, nodes: list[Any], scene: Any) -> None:
    batch = Batch.of_nodes(logic, nodes[:1], cards["hippocampus"], ONNX)
    scene.RemoveNode(nodes[0])
    batch.start()
    batch.wait(TIMEOUT)
    assert (batch.items[0].status, batch.items[0].message) == ("failed", "It is no longer in the scene.")


def test_files(logic: Any, cards: Any, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    shutil.copy(HIPPOCAMPUS, folder / "a.nii.gz")
    (folder / "b.nii.gz").write_bytes(b"not an image")
    seen: list[list[str]] = []
    batch = Batch.of_files(logic, [folder], out, cards["hippocampus"], ONNX)
    batch.start(lambda one: seen.append([item.status for item in one.items]))
    batch.wait(TIMEOUT)
    assert sorted(item.status for item in batch.items) == ["done", "failed"]
    good = next(item for item in batch.items if item.status == "done")
    labels = deepbio.read_labels(Path(good.outputs["labels"])).numpy()
    expected = deepbio.run(HIPPOCAMPUS, "hippocampus", deepbio.RunOptions(runtime="onnx")).labels.numpy()
    np.testing.assert_array_equal(labels, expected)
    assert Path(batch.summary).is_file()
    assert ["done"] in seen or ["failed"] in seen  # told one by one
    batch.start()
    batch.wait(TIMEOUT)
    assert sorted(item.status for item in batch.items) == ["failed", "skipped"]


def test_a_batch_that_cannot_begin(logic: Any, cards: Any, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file, where a folder should be")
    batch = Batch.of_files(logic, [HIPPOCAMPUS], tmp_path / "out", cards["hippocampus"], ONNX)
    batch.start()
    with pytest.raises(WorkerError, match="out"):
        batch.wait(TIMEOUT)
    assert batch.state == "failed"
    assert batch.error.hint or batch.error.message
