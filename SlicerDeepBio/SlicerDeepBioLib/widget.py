"""The form: puts the panels together and says when Segment can be clicked.

Nothing here waits. Answers of the worker come in callbacks, and a timer advances what is under way.
"""

from __future__ import annotations

import logging

import qt
import slicer
from slicer.i18n import tr as _

from SlicerDeepBioLib.batch_panel import BatchPanel, loaded_volumes
from SlicerDeepBioLib.channels_panel import ChannelsPanel
from SlicerDeepBioLib.client import WorkerClient
from SlicerDeepBioLib.environment_panel import EnvironmentPanel
from SlicerDeepBioLib.inputs import describe, is_imageless, takes
from SlicerDeepBioLib.logic import SCENE_OPTIONS
from SlicerDeepBioLib.messages import Messages
from SlicerDeepBioLib.model_box import ModelBox
from SlicerDeepBioLib.models_panel import ModelsPanel
from SlicerDeepBioLib.options_form import OptionsForm
from SlicerDeepBioLib.process import QtProcess, clean_environment
from SlicerDeepBioLib.run_panel import RunPanel
from SlicerDeepBioLib.scene import SceneError

__all__ = ["TICK", "Form"]

_logger = logging.getLogger("DeepBio")
TICK = 20  # milliseconds between two steps of the logic
_ASK_AGAIN = ("channel", "per_slice", "link_slices")  # options that decide which models fit


class Form:
    """What the widgets of SlicerDeepBio.ui do.

    Parameters
    ----------
    ui : namespace
        The widgets by their names.
    logic : DeepBioLogic
        Its client is set here, when a Python has been found.
    """

    def __init__(self, ui, logic):
        self.ui = ui
        self.logic = logic
        self.parameters = None
        self.messages = Messages(ui)
        self.models = ModelBox(ui, self._model_chosen)
        self.channels = ChannelsPanel(ui)
        self.options = OptionsForm(ui, self._options_changed)
        self.runs = RunPanel(ui, self.messages, self._start, self._refresh)
        self.batch = BatchPanel(ui, self.messages, self._batch_choices, self._ask, self._refresh)
        self.models_panel = ModelsPanel(ui, self.messages, self._ask, self._models_changed)
        self.environment = EnvironmentPanel(ui, self.messages, self._python_found, self._stop_worker)
        self._hello = None
        self._state = ""  # what the form waits for, in words
        self._question = 0  # number of the last question about what fits; older answers are not heard
        self._asked = None
        self._checking = False
        self._misfit = ""  # why no model at all takes the input
        self._entered = False
        self._timer = qt.QTimer()
        self._timer.setInterval(TICK)
        self._timer.connect("timeout()", self._tick)
        self._refresh()

    def enter(self):
        """The user has opened the module."""
        self._entered = True
        self._timer.start()
        if self.environment.found is None and not self.environment.busy:
            self.environment.look()

    def exit(self):
        """The user has gone to another module; what is under way goes on."""
        self._entered = False

    def close(self):
        """End everything: the module is reloaded, or Slicer closes."""
        self._timer.stop()
        self.environment.stop()
        self.channels.close()
        self.batch.close()
        self.logic.cancel_all()
        self._stop_worker()

    def set_parameters(self, parameters):
        """Work with this parameter node; None while there is no scene."""
        self.parameters = parameters
        self.channels.set_parameters(parameters)
        self._asked = None
        if parameters is None:
            self.runs.forget()
            self.batch.forget()
            return
        if parameters.input is None:
            parameters.input = next(iter(loaded_volumes()), None)
        self.options.set_values(parameters.options)
        self.parameters_changed()

    def parameters_changed(self):
        """The user, or a script, has chosen another input, output or model."""
        if self.parameters is None:
            return
        shown = self._sequence()
        self.ui.sequenceCheckBox.visible = shown is not None
        if shown is not None:
            frames = shown[1].GetNumberOfDataNodes()
            self.ui.sequenceCheckBox.text = _("All {n} frames of the sequence").format(n=frames)
        self._ask_fits()
        self._refresh()

    @property
    def source(self):
        """What is to be segmented: the chosen volume, or the sequence that it is a frame of; None for nothing."""
        if self.parameters is None or self.parameters.input is None:
            return None
        shown = self._sequence() if self.parameters.wholeSequence else None
        return shown[0] if shown is not None else self.parameters.input

    def _sequence(self):
        """The (browser, sequence) that the input volume is a frame of, or None."""
        node = self.parameters.input
        if node is None or node.GetScene() is None or not node.IsA("vtkMRMLVolumeNode"):
            return None
        return self.logic.sequence_of(node)

    @property
    def _imageless(self):
        """Whether the chosen model makes images of its own: then the input is left alone."""
        return self.models.card is not None and is_imageless(self.models.card)

    @property
    def _gives_labels(self):
        """Whether what the chosen model gives goes into a segmentation."""
        return self.models.card is None or "labels" in (self.models.card.get("usual") or ("labels",))

    # -- the worker ---------------------------------------------------------------------------------------------

    def _python_found(self, found):
        self._hello = None
        self._stop_worker()
        if found is not None:
            environment = clean_environment(slicer.util.startupEnvironment())
            self.logic.client = WorkerClient(found.path, QtProcess, environment, on_log=_log)
            self._connect()
        self._refresh()

    def _connect(self):
        self._state = _("Starting DeepBio...")
        self.logic.hello(self._greeted)

    def _greeted(self, outputs, error):
        if error is not None:
            self._state = _("DeepBio could not be started.")
            self.messages.failure(error)
        elif outputs is not None:  # else the worker was stopped
            self._hello = outputs
            self.options.build([*outputs["options"], *SCENE_OPTIONS], outputs)
            self._state = _("Reading the models...")
            self.logic.models(self._listed)
        self._refresh()

    def _listed(self, outputs, error):
        if error is not None:
            self._state = _("The models could not be listed.")
            self.messages.failure(error)
        elif outputs is not None:
            self._state = ""
            self.models_panel.show(outputs["models"], outputs.get("broken", ()))
            self._show_models(outputs["models"], None)
            self._asked = None
            self._ask_fits()
        self._refresh()

    def _models_changed(self, name):
        if name and self.parameters is not None:
            self.parameters.model = name
        self.logic.models(self._listed)

    def _stop_worker(self, grace=0.5):
        client, self.logic.client = self.logic.client, None
        if client is not None:
            client.stop(grace)

    def _ask(self, request, on_done):
        """Send a request of the section Models."""
        if self.logic.client is None:
            self.messages.warning(_("There is no Python with deepbio yet."))
            return

        def done(task):
            if task.state != "cancelled":  # as when the worker is stopped
                on_done(task.outputs, task.error)

        self.logic.client.submit(request, on_done=done)

    # -- what fits ----------------------------------------------------------------------------------------------

    def _ask_fits(self):
        """Ask which models take the input, when that may have changed."""
        source = self.source
        if source is None or not self.models.cards or self.logic.client is None:
            self._asked = None
            self._misfit = ""
            self._question += 1  # nobody waits for the answer to an older one
            self._checking = False
            self._show_models(self.models.cards, None)
            return
        options = {name: text for name, text in self.options.values.items() if name in _ASK_AGAIN}
        asked = (source.GetID(), _contents(self.parameters.input), tuple(sorted(options.items())))
        if asked == self._asked:
            return
        self._asked = asked
        self._question += 1
        number = self._question
        self._checking = True
        with self.messages.shown():
            self.logic.fits(
                source,
                lambda outputs, error: self._told_fits(number, outputs, error),
                options,
                more=source is self.parameters.input,
            )

    def _told_fits(self, number, outputs, error):
        if number != self._question or (outputs is None and error is None):  # the worker was stopped
            return
        self._checking = False
        self._misfit = "" if error is None else str(error)
        fits = outputs["fits"] if error is None else None
        if fits is not None:  # an input that a model is not given cannot keep it from running
            own = [card["name"] for card in self.models.cards if is_imageless(card)]
            fits = {**fits, **dict.fromkeys(own, "")}
        self._show_models(self.models.cards, fits)
        self._refresh()

    def _show_models(self, cards, fits):
        wanted = self.parameters.model if self.parameters is not None else ""
        if not wanted and fits is None and self.models.card is not None:
            wanted = self.models.card["name"]  # nothing is known that speaks against it
        shape = self._shape()
        self.models.show(cards, fits, wanted, 0 if shape is None else 3 if shape["slices"] > 1 else 2)

    def _shape(self):
        """What models and options depend on: slices, channels and frames of the input; None without one."""
        if self.source is None or self._imageless:
            return None
        try:
            told = describe(self.source)
        except SceneError:
            return None  # which the answer to what fits will say
        sizes = dict(zip(told["axes"], told["shape"]))
        return {"slices": sizes.get("Z", 1), "channels": sizes.get("C", 1), "frames": sizes.get("T", 1)}

    def _model_chosen(self, name):
        if self.parameters is not None:
            self.parameters.model = name
        self._refresh()

    def _options_changed(self):
        if self.parameters is not None:
            self.parameters.options = dict(self.options.values)
        self._ask_fits()
        self._refresh()

    # -- running ------------------------------------------------------------------------------------------------

    def why_not(self):
        """Why Segment cannot be clicked, for people; empty if it can."""
        if self.environment.found is None:
            return _("Looking for a Python that has deepbio...") if self.environment.busy else ""
        if self._state:
            return self._state
        if self.models.card is None:
            return _("There is no model. Import one in the section Models.")
        if not self._imageless:
            why = self._why_not_input()
            if why:
                return why
        if self.options.problem:
            return self.options.problem
        return _("A batch is running.") if self.batch.running else ""

    def _why_not_input(self):
        """Why the chosen model cannot be run on the input; empty if it can."""
        if self.parameters is None or (
            self.parameters.input is None and "nothing" not in takes(self.models.card)
        ):
            return _("Choose an input volume.")
        if self._checking:
            return _("Looking which models fit...")
        why = self._misfit or self.models.misfit
        return why or self.channels.why_not(self.models.card, self.source)

    def _refresh(self):
        """Bring what can be clicked in line with what is chosen."""
        ui = self.ui
        running = self.runs.run is not None
        ui.runBox.visible = self.environment.found is not None or self.environment.plan is None
        for section in (ui.optionsSection, ui.batchSection, ui.modelsSection):
            section.visible = self.environment.found is not None
        ui.inputsBox.enabled = ui.optionsBox.enabled = not running and not self.batch.running
        ui.batchStartButton.enabled = not running and not self.batch.running
        ui.undoButton.enabled = not running
        ui.outputLabel.visible = ui.outputSelector.visible = self._gives_labels
        self.channels.show_for(self.models.card, self.source)
        self.batch.show_for(self.models.card)
        self.options.show_for(self.models.card, self._shape())
        why = self.why_not()
        self.runs.show_ready(why, self.models.card)
        if self.environment.found is None:
            ui.segmentButton.enabled = False

    def _start(self, on_progress, on_done):
        return self.logic.segment(
            None if self._imageless else self.source,
            self.models.card,
            self.options.values,
            self.parameters.output if self._gives_labels else None,
            on_progress=on_progress,
            on_done=on_done,
            further=self.channels.chosen(self.models.card, self.source),
        )

    def _batch_choices(self):
        card = self.models.card
        if card is None or self._state or self.environment.found is None:
            raise RuntimeError(self.why_not() or _("Choose a model."))
        if self._imageless:
            raise RuntimeError(
                _("'{name}' makes images of its own: there is nothing to go through.").format(
                    name=card["name"]
                )
            )
        if self.options.problem:
            raise RuntimeError(self.options.problem)
        return self.logic, card, self.options.values

    def _tick(self):
        try:
            self.environment.poll()
            if self.logic.client is not None:
                self.logic.step()
        except Exception:
            self._timer.stop()  # or it would fail fifty times a second; the next click starts it again
            self.messages.error(
                _("DeepBio met an error of its own."), _("The Python console has it. Please report it.")
            )
            raise
        if not self._entered and not (self.logic.busy or self.environment.busy or self.batch.running):
            self._timer.stop()


def _contents(node):
    """What is not the same any more when other voxels have come into a node."""
    if node.IsA("vtkMRMLSegmentationNode"):
        return node.GetSegmentation().GetMTime()
    return node.GetImageData()


def _log(line):
    _logger.debug("worker: %s", line)
