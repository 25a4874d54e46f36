"""The selectors of further channels, for models that take several volumes."""

from __future__ import annotations

from slicer.i18n import tr as _

from SlicerDeepBioLib.channels import MOST, check_alike, least, wanted
from SlicerDeepBioLib.inputs import describe
from SlicerDeepBioLib.scene import SceneError

__all__ = ["ChannelsPanel"]


class ChannelsPanel:
    """Shows one selector for each channel after the first, and says what is missing.

    Parameters
    ----------
    ui : namespace
        Widgets ``inputLabel``, ``channelLabel2``, ``channelSelector2`` and so on.
    """

    def __init__(self, ui):
        self._ui = ui
        self._first = ui.inputLabel.text

    def show_for(self, card, node):
        """Show what a model takes besides an input; `node` is the input, or None."""
        names = self._names(card, node)
        self._ui.inputLabel.text = _("Input ({name}):").format(name=names[0]) if names else self._first
        for k in range(2, MOST + 1):
            label, selector = self._widgets(k)
            label.visible = selector.visible = k <= len(names)
            if k <= len(names):
                label.text = _("{name}:").format(name=names[k - 1])
                selector.noneDisplay = _("Choose a volume") if k <= least(card) else _("None")

    def chosen(self, card, node, parameters):
        """The volumes of further channels, up to the first that is not chosen."""
        found = []
        for k in range(2, len(self._names(card, node)[:MOST]) + 1):
            volume = getattr(parameters, f"channel{k}")
            if volume is None:
                break
            found.append(volume)
        return found

    def why_not(self, card, node, parameters):
        """Why the model cannot be run on what is chosen; empty if it can."""
        names = self._names(card, node)
        if not names:
            return ""
        if least(card) > MOST:
            return _(
                "'{name}' takes {n} volumes, more than the form has room for: run it in Batch on files."
            ).format(name=card["name"], n=least(card))
        further = self.chosen(card, node, parameters)
        if 1 + len(further) < least(card):
            return _("Choose a volume for {name}.").format(name=names[1 + len(further)])
        if not further:
            return ""
        try:
            check_alike([node, *further])
        except SceneError as error:
            return str(error)
        return ""

    def _names(self, card, node):
        """Names of the model's channels, where the input can be the first of them; else none."""
        names = wanted(card)
        if not names or node is None:
            return []
        try:
            single = not {"C", "T"} & set(describe(node)["axes"])
        except SceneError:
            return []
        return names if single and node.IsA("vtkMRMLScalarVolumeNode") else []

    def _widgets(self, k):
        return getattr(self._ui, f"channelLabel{k}"), getattr(self._ui, f"channelSelector{k}")
