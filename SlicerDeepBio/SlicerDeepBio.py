"""DeepBio in 3D Slicer: choose a volume and a model, click Segment.

The form is in ``SlicerDeepBioLib.widget``, what happens behind it in ``SlicerDeepBioLib.logic``; the networks
run in a Python of their own, never in Slicer's.
"""

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

import SlicerDeepBioLib


class SlicerDeepBio(ScriptedLoadableModule):
    """What the application shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "DeepBio"
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["The DeepBio developers"]
        self.parent.helpText = _(
            "Finds structures in volumes with deep learning: choose a volume and a model, click Segment. Models "
            "for real tasks come with it, and yours can be imported. For research, not a medical device."
        )
        self.parent.acknowledgementText = _(
            "Each model's details name its data, its authors and its licence."
        )
        slicer.app.connect("startupCompleted()", register_sample_data)


def register_sample_data():
    """Offer the examples in the module Sample Data."""
    from SlicerDeepBioLib.samples import register

    register()


class SlicerDeepBioWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: loads the .ui file, and passes on what the application tells."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.form = None
        self._parameters = None
        self._gui_tag = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from SlicerDeepBioLib.widget import Form

        widget = slicer.util.loadUI(self.resourcePath("UI/SlicerDeepBio.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        for selector in self._selectors():
            selector.setMRMLScene(slicer.mrmlScene)
        self.logic = SlicerDeepBioLogic()
        self.form = Form(self.ui, self.logic.deepbio)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    def cleanup(self):
        self.setParameterNode(None)
        self.removeObservers()
        self.form.close()
        self.logic.deepbio.close()
        for selector in self._selectors():
            selector.setMRMLScene(None)

    def _selectors(self):
        """What nodes are chosen with; those of further channels are made and bound by the form."""
        return (self.ui.inputSelector, self.ui.outputSelector)

    def enter(self):
        self.initializeParameterNode()
        self.form.enter()

    def exit(self):
        self.form.exit()

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        self.initializeParameterNode()

    def onReload(self):
        """Reload this file and, which Slicer does not do by itself, what it imports."""
        forget_library()
        ScriptedLoadableModuleWidget.onReload(self)

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameters):
        """Bind the form to a parameter node, or to none."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._gui_tag)
            self.removeObserver(self._parameters, vtk.vtkCommand.ModifiedEvent, self._parameters_changed)
        self._parameters = parameters
        if parameters is not None:
            self._gui_tag = parameters.connectGui(self.ui)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self._parameters_changed)
        self.form.set_parameters(parameters)

    def _parameters_changed(self, caller=None, event=None):
        self.form.parameters_changed()


class SlicerDeepBioLogic(ScriptedLoadableModuleLogic):
    """For other modules and scripts: the same runs without the form.

    Attributes
    ----------
    deepbio : DeepBioLogic
        Runs models on nodes.
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        from SlicerDeepBioLib.logic import DeepBioLogic

        self.deepbio = DeepBioLogic(None)

    def getParameterNode(self):
        from SlicerDeepBioLib.parameters import FormParameters

        return FormParameters(ScriptedLoadableModuleLogic.getParameterNode(self))


class SlicerDeepBioTest(ScriptedLoadableModuleTest):
    """What "Reload and Test" runs: the tests in Testing/Python, in the application itself."""

    def runTest(self):
        """Run them; the first failure is raised.

        Raises
        ------
        RuntimeError
            If a test fails, or there are no tests because the module is an installed extension.
        """
        import unittest
        from pathlib import Path

        folder = Path(slicer.util.modulePath("SlicerDeepBio")).parent / "Testing" / "Python"
        tests = unittest.defaultTestLoader.discover(str(folder), "*Test.py") if folder.is_dir() else None
        if tests is None or not tests.countTestCases():
            raise RuntimeError(f"There are no tests in '{folder}': only the source tree has them.")
        result = unittest.TextTestRunner(verbosity=2).run(tests)
        for _test, trace in result.errors + result.failures:
            raise RuntimeError(trace)


def forget_library():
    """Let the next import read the files of SlicerDeepBioLib again."""
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == SlicerDeepBioLib.__name__]:
        del sys.modules[name]
