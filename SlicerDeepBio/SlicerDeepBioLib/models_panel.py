"""The section Models: what is there, import of a package, removal."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

__all__ = ["ModelsPanel"]


class ModelsPanel:
    """Lists the models and adds or removes those of the user.

    Parameters
    ----------
    ui : namespace
        Widgets ``modelsList``, ``importZipButton``, ``importFolderButton``, ``removeModelButton``.
    messages : Messages
        Where it is told what came of it.
    ask : callable
        ``ask(request, on_done)`` sends a request to the worker; ``on_done(outputs, error)``.
    on_changed : callable
        ``on_changed(name)`` after the models have changed: the one that is new, or "".
    """

    def __init__(self, ui, messages, ask, on_changed):
        self._ui = ui
        self._messages = messages
        self._ask = ask
        self._on_changed = on_changed
        self._fixed = set()  # names of those that came with deepbio
        ui.importZipButton.connect("clicked()", self._choose_zip)
        ui.importFolderButton.connect("clicked()", self._choose_folder)
        ui.removeModelButton.connect("clicked()", self._remove)
        ui.modelsList.connect("currentRowChanged(int)", self._selected)

    def show(self, cards, broken=()):
        """List the models, and the packages that cannot be read with the reason."""
        entries = self._ui.modelsList
        self._fixed = {card["name"] for card in cards if card.get("bundled")}
        entries.clear()
        for card in cards:
            name = card["name"] if card.get("bundled") else _("{name}, imported").format(name=card["name"])
            entries.addItem("{} ({})".format(card.get("title") or card["name"], name))
            entries.item(entries.count - 1).setData(qt.Qt.UserRole, card["name"])
            entries.item(entries.count - 1).setToolTip(card.get("folder", ""))
        for package in broken:
            entries.addItem(_("Cannot be read: {folder}").format(folder=package["folder"]))
            entries.item(entries.count - 1).setToolTip(package["message"])
        self._selected(entries.currentRow)

    def import_model(self, path):
        """Add the package at `path`, a zip file or a folder."""
        self._ui.importZipButton.enabled = self._ui.importFolderButton.enabled = False
        self._messages.info(_("Importing {path}").format(path=path))
        self._ask({"command": "add_model", "path": path}, self._imported)

    def _choose_zip(self):
        title, kinds = _("Import a model package"), _("Model packages (*.zip);;All files (*)")
        path = qt.QFileDialog.getOpenFileName(self._ui.modelsList, title, "", kinds)
        if path:
            self.import_model(path)

    def _choose_folder(self):
        title = _("Import the folder of a model package")
        path = qt.QFileDialog.getExistingDirectory(self._ui.modelsList, title)
        if path:
            self.import_model(path)

    def _imported(self, outputs, error):
        self._ui.importZipButton.enabled = self._ui.importFolderButton.enabled = True
        if error is not None:
            self._messages.failure(error)
            return
        card = outputs["model"]
        self._messages.info(_("Imported: {title}").format(title=card.get("title") or card["name"]))
        self._on_changed(card["name"])

    def _name(self):
        """Name of the selected model; None for none and for a package that cannot be read."""
        item = self._ui.modelsList.currentItem()
        return item.data(qt.Qt.UserRole) if item else None

    def _selected(self, row):
        self._ui.removeModelButton.enabled = self._name() not in {None, *self._fixed}

    def _remove(self):
        name = self._name()
        question = _("Remove the model '{name}' and its files from this computer?").format(name=name)
        if slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Remove model")):
            self._ask({"command": "remove_model", "name": name}, self._removed)

    def _removed(self, outputs, error):
        if error is not None:
            self._messages.failure(error)
            return
        self._messages.info(_("The model was removed."))
        self._on_changed("")
