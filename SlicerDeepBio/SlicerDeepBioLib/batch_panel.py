"""The section Batch: one model on all loaded volumes, or on the files of a folder."""

from __future__ import annotations

from pathlib import Path

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from SlicerDeepBioLib.batch import Batch
from SlicerDeepBioLib.batch_cases import BatchCases, files_of_a_case
from SlicerDeepBioLib.channels import least, names_for, wanted
from SlicerDeepBioLib.logic import SCENE_OPTIONS

__all__ = ["BatchPanel", "loaded_volumes"]

_WORDS = {
    "waiting": _("waiting"),
    "running": _("running"),
    "done": _("done"),
    "skipped": _("was done"),
    "failed": _("failed"),
    "cancelled": _("stopped"),
}


class BatchPanel:
    """Starts, shows, stops and resumes a batch.

    Parameters
    ----------
    ui : namespace
        The widgets ``batch...``.
    messages : Messages
        Where failures go.
    choices : callable
        ``choices()`` gives (logic, card, options) as the form has them, or raises RuntimeError with the
        reason why a batch cannot begin.
    ask : callable
        ``ask(request, on_done)`` sends a request to the worker.
    on_changed : callable
        Called when a batch has begun or ended.

    Attributes
    ----------
    batch : Batch or None
        The one under way, or the last one.
    """

    def __init__(self, ui, messages, choices, ask, on_changed):
        self._ui = ui
        self._messages = messages
        self._choices = choices
        self._on_changed = on_changed
        self._cases = BatchCases(ui, ask)
        self._key = None
        self.batch = None
        self.running = False
        for path in (ui.batchInputPath, ui.batchOutputPath):
            path.filters = ctk.ctkPathLineEdit.Dirs
        ui.batchTable.setColumnCount(4)
        ui.batchTable.setHorizontalHeaderLabels([_("Input"), _("Status"), _("Seconds"), _("Result")])
        ui.batchTable.horizontalHeader().setStretchLastSection(True)
        ui.batchTable.verticalHeader().setVisible(False)
        ui.batchTable.verticalHeader().setDefaultSectionSize(22)
        for column, width in enumerate((130, 64, 60)):
            ui.batchTable.setColumnWidth(column, width)
        ui.batchStartButton.connect("clicked()", self._start)
        ui.batchStopButton.connect("clicked()", self._stop)
        ui.batchFolderButton.connect("toggled(bool)", self._show_source)
        self._show_source(False)

    def forget(self):
        """The scene is gone, and with it the nodes of the batch."""
        self.batch = self._key = None
        self._ui.batchTable.setRowCount(0)
        self._ui.batchStatus.text = ""

    def close(self):
        """The form ends."""
        self._cases.close()

    def show_for(self, card):
        """Show what a batch with this model, or None, would take."""
        self._cases.show_for(card)

    def _show_source(self, folder):
        ui = self._ui
        for widget in (ui.batchInputLabel, ui.batchInputPath, ui.batchOutputLabel, ui.batchOutputPath):
            widget.visible = bool(folder)

    def _start(self):
        with self._messages.shown():
            self._messages.clear()
            try:
                logic, card, options = self._choices()
                key = self._source(card, options)
            except RuntimeError as error:
                self._messages.warning(str(error))
                return
            if self._ui.batchVolumesButton.checked or files_of_a_case(card) == 1:
                self._begin(logic, card, options, key)
                return
            self._cases.look(card, lambda error: self._cases_known(error, (logic, card, options, key)))

    def _cases_known(self, error, choices):
        """Begin, unless a case lacks files: then nothing is computed."""
        with self._messages.shown():
            if error is None:
                self._begin(*choices)
            else:
                self._messages.failure(error)
                self._cases.hide()  # the same again

    def _begin(self, logic, card, options, key):
        if key != self._key or not self._resumable():
            self.batch, self._key = self._make(logic, card, options), key
        self.running = True
        self.batch.start(self._progressed, self._done)
        self._show()
        self._on_changed()

    def _source(self, card, options):
        """What the batch would be made of: another one is not a batch to resume."""
        ui = self._ui
        if ui.batchVolumesButton.checked:
            nodes = loaded_volumes()
            if not nodes:
                raise RuntimeError(_("No volume is loaded."))
            if least(card) > 1 and all(names_for(card, node) for node in nodes):
                text = _("'{name}' takes {n} volumes for each case ({names}): choose the files of a folder.")
                names = wanted(card)
                raise RuntimeError(text.format(name=card["name"], n=least(card), names=", ".join(names)))
            source = tuple(node.GetID() for node in nodes)
        else:
            source = (ui.batchInputPath.currentPath.strip(), ui.batchOutputPath.currentPath.strip())
            if not all(source):
                raise RuntimeError(_("Choose the folder with the images, and a folder for the results."))
        return source, card["name"], tuple(sorted(options.items()))

    def _make(self, logic, card, options):
        ui = self._ui
        if ui.batchVolumesButton.checked:
            return Batch.of_nodes(logic, loaded_volumes(), card, options)
        own = {option["name"] for option in SCENE_OPTIONS}
        options = {name: text for name, text in options.items() if name not in own}
        inputs = [ui.batchInputPath.currentPath.strip()]
        return Batch.of_files(logic, inputs, ui.batchOutputPath.currentPath.strip(), card, options)

    def _stop(self):
        self._ui.batchStopButton.enabled = False
        self._ui.batchStatus.text = _("Stopping")
        self.batch.cancel()

    def _progressed(self, batch):
        self._ui.batchProgress.value = int(1000 * batch.progress.fraction)
        self._ui.batchStatus.text = batch.progress.text
        self._fill()

    def _done(self, batch):
        self.running = False
        if batch.state == "failed" and batch.error is not None:
            self._messages.failure(batch.error)
        self._show()
        self._on_changed()

    def _show(self):
        ui = self._ui
        ui.batchStartButton.enabled = not self.running
        ui.batchStopButton.enabled = ui.batchProgress.visible = self.running
        ui.batchSourceBox.enabled = not self.running
        ui.batchStartButton.text = _("Resume") if not self.running and self._resumable() else _("Start")
        if not self.running:
            ui.batchStatus.text = _summary(self.batch.items)
        self._fill()

    def _resumable(self):
        """Whether something of the last batch is left to do."""
        batch = self.batch
        return batch is not None and (
            batch.state != "done" or batch.count("failed", "cancelled", "waiting") > 0
        )

    def _fill(self):
        table, items = self._ui.batchTable, self.batch.items
        if table.rowCount != len(items):
            table.setRowCount(len(items))
        for row, item in enumerate(items):
            seconds = f"{item.seconds:.1f}" if item.seconds else ""
            name = self._cases.names.get(item.name, item.name)
            texts = (name, _WORDS.get(item.status, item.status), seconds, _result(item))
            for column, text in enumerate(texts):
                cell = table.item(row, column)
                if not cell:
                    cell = qt.QTableWidgetItem()
                    table.setItem(row, column, cell)
                if cell.text() != text:
                    cell.setText(text)
                    cell.setToolTip(text)


def loaded_volumes():
    """The volumes of the scene that a person has loaded: no label maps, no results of ours, no frames shown."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [
        node
        for node in nodes
        if not node.IsA("vtkMRMLLabelMapVolumeNode")
        and not node.GetHideFromEditors()
        and not node.GetAttribute("DeepBio.Model")
    ]


def _result(item):
    """Why it failed, or what came of it."""
    if item.message:
        return item.message
    if item.objects is not None:
        return _("{n} objects").format(n=item.objects)
    if item.outputs:
        return Path(next(iter(item.outputs.values()))).name
    return ", ".join(node.GetName() for node in item.run.nodes[:1]) if item.run is not None else ""


def _summary(items):
    counts = {}
    for item in items:
        counts[item.status] = counts.get(item.status, 0) + 1
    return ", ".join(f"{number} {_WORDS.get(status, status)}" for status, number in counts.items())
