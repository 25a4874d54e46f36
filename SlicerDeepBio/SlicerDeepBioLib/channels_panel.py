"""The selectors of further channels, for models that take several volumes: as many as the model has."""

from __future__ import annotations

from functools import partial

import qt
import slicer
from slicer.i18n import tr as _

from SlicerDeepBioLib.channels import check_alike, given, least, missing, names_for
from SlicerDeepBioLib.parameters import channel, set_channel
from SlicerDeepBioLib.scene import SceneError

__all__ = ["ChannelsPanel"]


class ChannelsPanel:
    """Shows one selector for each channel after the first, and says what is missing.

    Parameters
    ----------
    ui : namespace
        Widgets ``inputLabel``, ``inputsBox`` (a grid whose last row is the output), ``outputLabel``,
        ``outputSelector``.

    Attributes
    ----------
    labels : list of QLabel
    selectors : list of qMRMLNodeComboBox
        Of the second channel and the following; made as they are needed.
    """

    def __init__(self, ui):
        self._ui = ui
        self._first = ui.inputLabel.text
        self._row = ui.inputsBox.layout().rowCount() - 1
        self._parameters = None
        self.labels, self.selectors = [], []

    def set_parameters(self, parameters):
        """Keep the choices in this parameter node; None while there is no scene."""
        self._parameters = parameters

    def close(self):
        """Let the scene go."""
        self._parameters = None
        for selector in self.selectors:
            selector.setMRMLScene(None)

    def show_for(self, card, node):
        """Show what a model takes besides an input; `node` is the input, or None."""
        names = names_for(card, node)
        self._ui.inputLabel.text = _("Input ({name}):").format(name=names[0]) if names else self._first
        self._grow(len(names) - 1)
        for at, (label, selector) in enumerate(zip(self.labels, self.selectors), 1):
            label.visible = selector.visible = at < len(names)
            if at < len(names):
                label.text = _("{name}:").format(name=names[at])
                selector.noneDisplay = _("Choose a volume") if at < least(card) else _("None")
            if self._parameters is not None:
                chosen = channel(self._parameters, at + 1)
                if selector.currentNode() is not chosen:
                    selector.setCurrentNode(chosen)

    def chosen(self, card, node):
        """The volumes of further channels, up to the first that is not chosen."""
        return given(self._further(names_for(card, node)))

    def why_not(self, card, node):
        """Why the model cannot be run on what is chosen; empty if it can."""
        names = names_for(card, node)
        further = self._further(names)
        name = missing(card, names, further)
        if name:
            return _("Choose a volume for {name}.").format(name=name)
        nodes = given(further)
        if not nodes:
            return ""
        try:
            check_alike([node, *nodes])
        except SceneError as error:
            return str(error)
        return ""

    def _further(self, names):
        if self._parameters is None:
            return []
        return [channel(self._parameters, at) for at in range(2, len(names) + 1)]

    def _grow(self, count):
        """Make selectors up to this number, above the output and after what was there in the order of Tab."""
        grid, ui = self._ui.inputsBox.layout(), self._ui
        if count <= len(self.selectors):
            return
        before = self.selectors[-1] if self.selectors else ui.modelDetails
        for number in range(len(self.selectors) + 2, count + 2):
            label, selector = qt.QLabel(), slicer.qMRMLNodeComboBox()
            selector.objectName = f"channelSelector{number}"
            selector.toolTip = _("The volume of this channel; it must lie on the voxels of the input")
            selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
            selector.showChildNodeTypes = False  # label maps and colours are no channels
            selector.noneEnabled = True
            selector.addEnabled = selector.removeEnabled = False
            selector.setMRMLScene(slicer.mrmlScene)
            selector.connect("currentNodeChanged(vtkMRMLNode*)", partial(self._picked, number))
            row = self._row + number - 2
            grid.addWidget(label, row, 0)
            grid.addWidget(selector, row, 1)
            qt.QWidget.setTabOrder(before, selector)
            before = selector
            self.labels.append(label)
            self.selectors.append(selector)
        qt.QWidget.setTabOrder(before, ui.outputSelector)
        grid.addWidget(ui.outputLabel, self._row + count, 0)  # which takes it away from where it was
        grid.addWidget(ui.outputSelector, self._row + count, 1)

    def _picked(self, number, node):
        if self._parameters is not None:
            set_channel(self._parameters, number, node)
