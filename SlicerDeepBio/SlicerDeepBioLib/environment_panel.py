"""The Python that computes: found, chosen, installed or removed, without ever blocking the window."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from SlicerDeepBioLib.install import Installation, Preparation, Removal, Settings, plan_environment
from SlicerDeepBioLib.interpreters import Question
from SlicerDeepBioLib.process import QtProcess
from SlicerDeepBioLib.torch_build import CUDA_BUILDS, GPU_QUERY, parse_gpus

__all__ = ["EnvironmentPanel"]

REST = 300  # milliseconds
_KEYS = {"python": "DeepBio/Python", "wheels": "DeepBio/Wheels", "index": "DeepBio/Index"}
_KEYS.update({"proxy": "DeepBio/Proxy", "torch": "DeepBio/Torch"})


class EnvironmentPanel:
    """The box that offers to install, and the section Environment.

    Parameters
    ----------
    ui : namespace
        The widgets ``setup...`` and those of ``environmentSection``.
    messages : Messages
        Where failures go.
    on_found : callable
        ``on_found(found)``: the Python to use from now on, or None when there is none.
    before_change : callable
        Called before the environment is replaced or removed: nothing may run in it then.

    Attributes
    ----------
    found : Found or None
    plan : Plan or None
        What would be installed, when no Python was found.
    """

    def __init__(self, ui, messages, on_found, before_change):
        self._ui = ui
        self._messages = messages
        self._on_found = on_found
        self._before_change = before_change
        self._at_work = None
        self.found = None
        self.plan = None
        self._settling = qt.QTimer()  # what is typed is heeded when the typing has come to rest
        self._settling.setSingleShot(True)
        self._settling.setInterval(REST)
        self._settling.connect("timeout()", self._look_again)
        for build in ("auto", "none", "cpu", *(entry[0] for entry in CUDA_BUILDS)):
            ui.torchComboBox.addItem(build, build)
        self._show_settings()
        ui.installButton.connect("clicked()", self._install)
        ui.setupCancelButton.connect("clicked()", self._cancel)
        ui.setupChooseButton.connect("clicked()", self._choose)
        ui.chooseButton.connect("clicked()", self._choose)
        ui.forgetButton.connect("clicked()", lambda: self.use(""))
        ui.updateButton.connect("clicked()", self._plan_again)
        ui.removeButton.connect("clicked()", self._remove)
        ui.wheelsPath.connect("currentPathChanged(QString)", lambda text: self._set("wheels", text))
        ui.indexEdit.connect("textEdited(QString)", lambda text: self._set("index", text))
        ui.proxyEdit.connect("textEdited(QString)", lambda text: self._set("proxy", text))
        ui.torchComboBox.connect("activated(int)", self._torch_chosen)

    @property
    def busy(self):
        """Whether something is being looked for, installed or removed."""
        return self._at_work is not None or self._settling.active

    def look(self):
        """Look for a Python that has deepbio."""
        if self._at_work is not None:
            return
        self._ui.environmentText.text = _("Looking for a Python that has deepbio...")
        self._begin(Preparation(self._settings(), QtProcess, self._looked))

    def poll(self):
        """Go on; called by the timer of the form."""
        if self._at_work is not None:
            self._at_work.poll()

    def stop(self):
        """End what is under way: the form goes."""
        self._settling.stop()
        if self._at_work is not None and not isinstance(self._at_work, Removal):
            self._at_work.cancel()

    def use(self, python):
        """Use this Python from now on; empty: look for one."""
        self._save("python", python)
        self._look_again()

    def _begin(self, work):
        self._at_work = work
        self._show()
        work.start()

    def _look_again(self):
        self._settling.stop()
        if isinstance(self._at_work, (Preparation, Question)):
            self._at_work.cancel()
            self._at_work = None
        self.look()

    def _looked(self, found, tried, plan):
        self._at_work = None
        self.found, self.plan = found, plan
        ui = self._ui
        if found is None:
            ui.environmentText.text = "\n".join(tried)
            self._show_plan(plan, tried)
        else:
            ui.environmentText.text = f"{found.why}\n{found.path}"
            self._messages.clear()
        self._show()
        self._on_found(found)

    def _show_plan(self, plan, tried):
        chosen = self._settings().python
        text = plan.text if not plan.problem else f"{plan.problem}\n\n{plan.text}"
        self._ui.setupText.text = "\n".join(tried) + "\n\n" + text if chosen else text
        self._ui.installButton.enabled = not plan.problem
        self._ui.setupBox.toolTip = "\n".join(tried)

    def _plan_again(self):
        """Offer to make the environment, or to make it anew: shows the box with the plan."""
        if not self.busy:
            self._begin(Question(GPU_QUERY, self._asked_gpus, QtProcess))

    def _asked_gpus(self, text, why):
        self._at_work = None
        self.plan = plan_environment(self._settings(), parse_gpus(text))
        self._show_plan(self.plan, [])
        self._show()

    def _install(self):
        with self._messages.shown():
            self._messages.clear()
            self._before_change()
            self._save("python", "")  # who installs wants to use what is installed
            self._begin(Installation(self.plan, QtProcess, self._progressed, self._installed))

    def _cancel(self):
        if not self.busy:  # the box offers to install anew, and the user would rather not
            self.plan = None
            self._show()
            return
        self._ui.setupCancelButton.enabled = False
        self._ui.setupStatus.text = _("Cancelling, and removing what was made")
        self._at_work.cancel()

    def _progressed(self, text, fraction):
        ui = self._ui
        ui.setupProgress.maximum = 0 if fraction is None else 1000
        if fraction is not None:
            ui.setupProgress.value = int(1000 * fraction)
        if ui.setupCancelButton.enabled:
            ui.setupStatus.text = text

    def _installed(self, error):
        work, self._at_work = self._at_work, None
        self._show()
        if error is not None:
            self._messages.error(error.message, error.hint, "\n".join(getattr(work, "log", ())[-200:]))
        elif work.cancelled:
            self._messages.info(_("Cancelled. What was made has been removed."))
        if error is None:
            self.look()

    def _remove(self):
        root = self._settings().root
        question = _("Remove the environment in {folder}? Your models stay.").format(folder=root)
        if not self.busy and slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Remove")):
            with self._messages.shown():
                self._before_change()
                self._begin(Removal(root, QtProcess, None, self._removed))

    def _removed(self, error):
        self._at_work = None
        if error is not None:
            self._messages.error(error.message, error.hint)
        else:
            self._messages.info(_("The environment was removed."))
        self.look()

    def _choose(self):
        kinds = "python.exe (python*.exe)" if slicer.app.os == "win" else ""
        title = _("Choose the Python in which deepbio is installed")
        path = qt.QFileDialog.getOpenFileName(self._ui.environmentSection, title, "", kinds)
        if path:
            self.use(path)

    def _show(self):
        """Bring the widgets in line with what is under way."""
        ui = self._ui
        installing = isinstance(self._at_work, (Installation, Removal))
        looking = isinstance(self._at_work, (Preparation, Question))
        offered = self.plan is not None
        ui.setupBox.visible = offered or installing
        ui.setupProgress.visible = ui.setupStatus.visible = installing
        ui.setupCancelButton.visible = isinstance(self._at_work, Installation) or self.found is not None
        ui.setupCancelButton.enabled = True
        ui.setupCancelButton.text = _("Cancel") if installing else _("Not now")
        ui.installButton.visible = ui.setupChooseButton.visible = not installing
        ui.setupProgress.maximum = 0
        ui.environmentBox.enabled = ui.environmentButtons.enabled = not (installing or looking)
        ui.forgetButton.enabled = bool(self._settings().python)

    def _settings(self):
        stored = slicer.app.userSettings()
        values = {name: stored.value(key) for name, key in _KEYS.items()}
        return Settings(**{name: value for name, value in values.items() if value})

    def _show_settings(self):
        ui, settings = self._ui, self._settings()
        ui.wheelsPath.currentPath = settings.wheels
        ui.indexEdit.text = settings.index
        ui.proxyEdit.text = settings.proxy
        ui.torchComboBox.setCurrentIndex(max(0, ui.torchComboBox.findData(settings.torch)))

    def _save(self, name, value):
        stored = slicer.app.userSettings()
        if value:
            stored.setValue(_KEYS[name], value)
        else:
            stored.remove(_KEYS[name])

    def _set(self, name, text):
        self._save(name, text.strip())
        if self.plan is not None:  # the one that is shown does not hold any longer
            self._ui.installButton.enabled = False
            self._settling.start()

    def _torch_chosen(self, index):
        build = self._ui.torchComboBox.itemData(index)
        self._set("torch", "" if build == "auto" else build)
