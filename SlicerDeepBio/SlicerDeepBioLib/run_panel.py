"""The Segment button that becomes Cancel, the progress of a run, and what came of it."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from SlicerDeepBioLib.answers import PART, class_answers, is_map, of_part
from SlicerDeepBioLib.sequences import sequence_of

__all__ = ["RunPanel"]

SHORTCUT = "Ctrl+Return"
MOST_SIZES = 6  # classes whose sizes are told; the table has all
MOST_ANSWERS = 4  # classes whose probabilities are told
MAP_OPACITY = 0.6  # of an explanation over the image


class RunPanel:
    """Starts, shows, cancels and takes back runs.

    Parameters
    ----------
    ui : namespace
        Widgets ``segmentButton``, ``whyLabel``, ``progressBar``, ``progressLabel``, ``result...``,
        ``show3DButton``, ``tableButton``, ``plotButton``, ``undoButton``.
    messages : Messages
        Where failures and notices go.
    start : callable
        ``start(on_progress, on_done)`` begins a run with what is chosen in the form, and returns it.
    on_changed : callable
        Called when a run has begun or ended.

    Attributes
    ----------
    run : Run or None
        The one under way.
    results : list of Run
        Those that are done and not taken back, the oldest first.
    """

    def __init__(self, ui, messages, start, on_changed):
        self._ui = ui
        self._messages = messages
        self._start = start
        self._on_changed = on_changed
        self.run = None
        self.results = []
        ui.segmentButton.connect("clicked()", self._clicked)
        ui.undoButton.connect("clicked()", self._undo)
        ui.tableButton.connect("clicked()", self._show_table)
        ui.plotButton.connect("clicked()", self._show_plot)

    def show_ready(self, why, card=None):
        """Let Segment (or what the model of `card` does) be clicked, or say why it cannot be: `why`, else empty."""
        if self.run is not None:
            return
        ui = self._ui
        verb = (card or {}).get("verb") or _("Segment")
        self._label(verb, _("{verb} ({keys})").format(verb=verb, keys="Ctrl+Enter"))
        ui.segmentButton.enabled = not why
        ui.whyLabel.text = why
        ui.whyLabel.visible = bool(why)
        ui.progressBar.visible = ui.progressLabel.visible = False

    def forget(self):
        """The scene is gone: nothing can be shown or taken back."""
        self.results = []
        self._show_result()

    def _clicked(self):
        if self.run is not None:
            self._cancel()
            return
        with self._messages.shown():
            self._messages.clear()
            self._ui.whyLabel.visible = False
            self._busy(_("Starting"))
            try:
                run = self._start(self._progressed, self._done)
            except Exception:
                self.show_ready("")
                raise
            if not run.finished:  # one that cannot even begin has told so already
                self.run = run
                self._label(_("Cancel"), _("Stop; the scene stays as it is"))
                self._on_changed()

    def _cancel(self):
        """Say at once that it was heard; the end comes with `_done`."""
        self._label(_("Cancelling..."), "")
        self._ui.segmentButton.enabled = False
        self._ui.progressLabel.text = _("Cancelling")
        self.run.cancel()

    def _busy(self, text):
        ui = self._ui
        ui.progressBar.maximum = 0  # moves, and says nothing of how long
        ui.progressLabel.text = text
        ui.progressBar.visible = ui.progressLabel.visible = True

    def _progressed(self, run):
        ui = self._ui
        if run.progress.fraction > 0:
            ui.progressBar.maximum = 1000
            ui.progressBar.value = int(1000 * run.progress.fraction)
        if ui.segmentButton.enabled:  # not while it is being cancelled
            ui.progressLabel.text = run.progress.text

    def _done(self, run):
        self.run = None
        if run.state == "done":
            self.results.append(run)
            self._show_views(run)
            self._tell_notices(run)
        elif run.state == "failed":
            self._messages.failure(run.error)
        elif run.state == "cancelled":
            self._messages.info(_("Cancelled. The scene is as it was."))
        self._show_result()
        self._on_changed()

    def _tell_notices(self, run):
        texts = [text for _level, text in run.notices]
        if any(level == "warning" for level, _text in run.notices):
            self._messages.warning("\n".join(texts))
        elif texts:
            self._messages.info("\n".join(texts))

    def _show_views(self, run):
        """Let the slice views show results that are volumes; segmentations appear by themselves."""
        maps = [node for node in run.volumes if is_map(run.model, node.GetAttribute(PART))]
        images = [node for node in run.volumes if node not in maps]
        if images:  # what was made of nothing lies somewhere else than what is shown
            slicer.util.setSliceViewerLayers(background=images[0], fit=run.node is None)
        if maps:
            slicer.util.setSliceViewerLayers(foreground=maps[0], foregroundOpacity=MAP_OPACITY)
        if run.label_map is not None:
            slicer.util.setSliceViewerLayers(label=run.label_map)

    def _show_result(self):
        ui = self._ui
        run = self.results[-1] if self.results else None
        ui.resultBox.visible = run is not None
        ui.show3DButton.setSegmentationNode(run.segmentation if run is not None else None)
        if run is None:
            return
        ui.resultText.text = result_text(run)
        ui.show3DButton.visible = run.segmentation is not None
        ui.tableButton.visible = bool(run.tables)
        ui.plotButton.visible = run.plot is not None

    def _undo(self):
        with self._messages.shown():
            self.results[-1].undo()  # which may refuse
            self.results.pop()
            self._messages.info(_("The result was taken back."))
            self._show_result()
            self._on_changed()

    def _show_table(self):
        if not self._is_there(self.results[-1].tables[0]):
            return
        application = slicer.app.applicationLogic()
        application.GetSelectionNode().SetActiveTableID(self.results[-1].tables[0].GetID())
        application.PropagateTableSelection()
        _show_layout("SlicerLayoutFourUpTableView")

    def _show_plot(self):
        if not self._is_there(self.results[-1].plot):
            return
        application = slicer.app.applicationLogic()
        application.GetSelectionNode().SetActivePlotChartID(self.results[-1].plot.GetID())
        application.PropagatePlotChartSelection()
        _show_layout("SlicerLayoutFourUpPlotView")

    def _is_there(self, node):
        """Whether the user has not deleted it meanwhile; says so otherwise."""
        there = bool(slicer.mrmlScene.IsNodePresent(node))
        if not there:
            self._messages.info(_("It has been deleted."))
        return there

    def _label(self, text, tip):
        button = self._ui.segmentButton
        button.text = text  # which takes the shortcut away
        button.shortcut = qt.QKeySequence(SHORTCUT)
        button.toolTip = tip


def _show_layout(name):
    """Choose one of the application's layouts; there is none where there is no main window."""
    manager = slicer.app.layoutManager()
    if manager is not None:
        manager.setLayout(getattr(slicer.vtkMRMLLayoutNode, name))


def result_text(run):
    """What came out, and under it by which model, in what time and where."""
    record = run.record or {}
    seen = [node for node in (run.label_map, *run.volumes, *run.tables) if node is not None]
    names = "\n".join(node.GetName() for node in seen[:MOST_SIZES])
    told = "\n".join(f"{name}: {text}" for name, _share, text in class_answers(run)[:MOST_ANSWERS])
    what = _made(run) or told or _sizes(run) or _count(run) or names
    seconds = record.get("seconds_total")
    how = [
        " ".join(str(record[key]) for key in ("model", "model_version") if record.get(key)),
        f"{seconds:.1f} s" if isinstance(seconds, (int, float)) else "",
        str(record.get("device_label") or record.get("device") or ""),
    ]
    return "\n".join(line for line in (what, " · ".join(part for part in how if part)) if line)


def _made(run):
    """How many images a generator made, and where they are."""
    images = of_part(run.volumes, "image")
    if run.model.get("task") != "generate" or not images:
        return ""
    played = sequence_of(images[0])
    name, count = images[0].GetName(), played[1].GetNumberOfDataNodes() if played is not None else 1
    return name if count == 1 else _("{name}: {n} images, frame by frame").format(name=name, n=count)


def _count(run):
    if run.segmentation is None:
        return ""
    count = run.segmentation.GetSegmentation().GetNumberOfSegments()
    number = _("1 segment") if count == 1 else _("{n} segments").format(n=count)
    return f"{run.segmentation.GetName()}: {number}"


def _sizes(run):
    """The size of each class, from the table; empty for objects, sequences and results without sizes."""
    if not run.tables or run.sequence is not None:
        return ""
    table = run.tables[0]
    columns = {table.GetColumnName(k): k for k in range(table.GetNumberOfColumns())}
    size = next((name for name in columns if name.startswith(("volume", "area"))), None)
    rows = table.GetNumberOfRows()
    if size is None or "name" not in columns or not 0 < rows <= MOST_SIZES:
        return ""
    return "\n".join(
        "{}: {}".format(
            table.GetCellText(row, columns["name"]), _size(size, table.GetCellText(row, columns[size]))
        )
        for row in range(rows)
    )


def _size(column, text):
    """A size with its unit, as people write it: ``"1.57 ml"``."""
    unit = column.partition("[")[2].rstrip("]")
    value = float(text)
    if unit == "mm^3" and value >= 10:
        return f"{value / 1000:.2f} ml"
    return "{:.4g} {}".format(value, unit.replace("^2", "²").replace("^3", "³").replace("um", "µm")).strip()
