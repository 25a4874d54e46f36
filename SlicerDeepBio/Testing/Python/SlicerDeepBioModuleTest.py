"""Runs inside 3D Slicer (`ctest`, or Reload and Test): a sample, a click, named segments on its grid.

Needs a Python with deepbio, which the module finds as for a user; without one the run is skipped.
"""
# ruff: noqa: PT009 - Slicer runs it with unittest

import unittest

import slicer


class SlicerDeepBioModuleTest(unittest.TestCase):
    """The module in the real application."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_is_there_with_its_command_line_module(self):
        """The application has loaded both modules."""
        self.assertEqual(slicer.modules.slicerdeepbio.title, "DeepBio")
        self.assertTrue(hasattr(slicer.modules, "deepbiosegment"))

    def test_samples_are_offered_and_load(self):
        """Every registered sample becomes a node."""
        import SampleData

        from SlicerDeepBioLib.samples import SAMPLES

        for sample in SAMPLES:
            node = SampleData.downloadSample(sample.name)
            self.assertTrue(node.GetName().startswith(sample.node), sample.name)

    def test_hippocampus(self):
        """From the sample to segments with names, on the grid of the volume."""
        import SampleData

        from SlicerDeepBioLib.client import WorkerClient
        from SlicerDeepBioLib.interpreters import find_python, other_environment
        from SlicerDeepBioLib.logic import DeepBioLogic

        tried = []
        found = find_python(tried=tried)
        if found is None:
            self.skipTest(" ".join(tried))
        volume = SampleData.downloadSample("DeepBio hippocampus (MR)")
        client = WorkerClient(found.path, environment=other_environment())
        try:
            cards = client.submit({"command": "models"}).wait(60)["models"]
            card = next(card for card in cards if card["name"] == "hippocampus")
            run = DeepBioLogic(client).segment(volume, card, {"device": "cpu"})
            run.wait()
        finally:
            client.stop()
        segmentation = run.segmentation.GetSegmentation()
        names = [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]
        self.assertEqual(names, ["anterior hippocampus", "posterior hippocampus"])
        for name in names:
            array = slicer.util.arrayFromSegmentBinaryLabelmap(
                run.segmentation, segmentation.GetSegmentIdBySegmentName(name), volume
            )
            self.assertEqual(array.shape, slicer.util.arrayFromVolume(volume).shape)
            self.assertGreater(array.sum(), 500)
