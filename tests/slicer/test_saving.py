"""A result outlives the session: saved by Slicer's own writers, read back, the same voxels, names and record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer

from SlicerDeepBioLib.logic import DeepBioLogic
from tests.slicer.nodes import labels_of, open_scene, read_volume_file

HIPPOCAMPUS = Path(__file__).parents[2] / "examples" / "hippocampus" / "hippocampus_311.nii.gz"


def _described(segmentation: Any) -> list[tuple[str, tuple[float, ...], str]]:
    content = segmentation.GetSegmentation()
    segments = [content.GetNthSegment(at) for at in range(content.GetNumberOfSegments())]
    return [(one.GetName(), tuple(np.round(one.GetColor(), 3)), one.GetTerminology()) for one in segments]


def test_a_scene_with_a_result_is_saved_and_loaded(
    logic: DeepBioLogic, cards: Any, scene: Any, tmp_path: Path
) -> None:
    volume = read_volume_file(scene, HIPPOCAMPUS, "hippocampus_311")
    run = logic.segment(volume, cards["hippocampus"], {"runtime": "onnx"}).wait(120)
    expected = labels_of(run.segmentation, volume)
    described = _described(run.segmentation)
    bundle = tmp_path / "scene.mrb"
    assert scene.WriteToMRB(str(bundle))

    again, _kept = open_scene()
    caches, transfers = slicer.vtkCacheManager(), slicer.vtkDataIOManager()  # the application has its own
    caches.SetRemoteCacheDirectory(str(tmp_path))
    transfers.SetCacheManager(caches)
    again.SetCacheManager(caches)
    again.SetDataIOManager(transfers)
    assert again.ReadFromMRB(str(bundle))
    loaded = again.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    volume = again.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    np.testing.assert_array_equal(labels_of(loaded, volume), expected)
    assert set(np.unique(expected)) == {0, 1, 2}
    assert _described(loaded) == described
    assert "5366008" in described[0][2]  # SNOMED CT: hippocampus
    assert loaded.GetAttribute("DeepBio.Model") == "hippocampus"
    tables = [
        again.GetNthNodeByClass(n, "vtkMRMLTableNode")
        for n in range(again.GetNumberOfNodesByClass("vtkMRMLTableNode"))
    ]
    assert any(table.GetAttribute("DeepBio.Model") == "hippocampus" for table in tables)
    again.Clear(1)
    slicer.mrmlScene = scene
