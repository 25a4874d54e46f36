"""Which files of a folder are one case, for models whose channels come in files of their own: told before the batch.

What belongs together is the core's rule, as for `deepbio run`; the worker says what it makes of the folder.
"""

from __future__ import annotations

from pathlib import Path

import qt
from slicer.i18n import tr as _

from SlicerDeepBioLib.channels import least, wanted

__all__ = ["BatchCases", "files_of_a_case"]

_SOON = 300  # milliseconds after the last key
_MOST = 6  # cases that are listed; the tip of the label has more
_MOST_IN_TIP = 100


class BatchCases:
    """Looks up the cases of the chosen folder and lists them below it.

    Parameters
    ----------
    ui : namespace
        Widgets ``batchFolderButton``, ``batchInputPath``, ``batchOutputPath``, ``batchCases``.
    ask : callable
        ``ask(request, on_done)`` sends a request to the worker; ``on_done(outputs, error)``.

    Attributes
    ----------
    names : dict of str to str
        By the file that a batch calls a case after: what its results are called after.
    """

    def __init__(self, ui, ask):
        self._ui = ui
        self._ask = ask
        self._card = None
        self._asked = None
        self._question = 0
        self.names = {}
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SOON)
        self._timer.connect("timeout()", self._look_again)
        for path in (ui.batchInputPath, ui.batchOutputPath):
            path.connect("currentPathChanged(QString)", self._path_changed)
        ui.batchFolderButton.connect("toggled(bool)", self._path_changed)

    def close(self):
        """Look no more: the widgets go."""
        self._timer.stop()

    def show_for(self, card):
        """Show what a model, or None, makes of the folder."""
        if (card or {}).get("name") != (self._card or {}).get("name"):
            self._card = card
            self._look_again()

    def hide(self):
        """Leave what there is to say to a message."""
        self._write("")

    def look(self, card, on_done):
        """Ask anew, as files come and go; ``on_done(error)`` is called when they are known.

        Not where the user asks for something else before.
        """
        self._card = card
        self._question += 1
        number = self._question
        self._asked = self._choice()
        self._write(_("Looking which files belong together..."))
        request = {
            "command": "inputs",
            "model": card["name"],
            "inputs": [self._folder()],
            "output": self._output(),
        }

        def answered(outputs, error):
            if number == self._question:
                self._tell(outputs, error)
                on_done(error)

        self._ask(request, answered)

    def _path_changed(self, *_ignored):
        self._timer.start()

    def _look_again(self):
        if self._choice() == self._asked:
            return
        self._asked = self._choice()
        self._question += 1  # nobody waits for an older answer
        card = self._card
        by_file = self._ui.batchFolderButton.checked
        folder = self._folder()
        if by_file and files_of_a_case(card) > 1 and folder and Path(folder).is_dir():
            self.look(card, lambda error: None)
        elif by_file and files_of_a_case(card) == 1 and least(card or {}) > 1:
            names = wanted(card)
            self._write(
                _("Each file must have the model's {n} channels: {names}.").format(
                    n=len(names), names=", ".join(names)
                )
            )
        else:
            self._write("")

    def _choice(self):
        name = (self._card or {}).get("name")
        return name, self._ui.batchFolderButton.checked, self._folder(), self._output()

    def _folder(self):
        return self._ui.batchInputPath.currentPath.strip()

    def _output(self):
        return self._ui.batchOutputPath.currentPath.strip()

    def _tell(self, outputs, error):
        if error is not None:
            self.names = {}
            self._write(str(error))
            return
        cases = outputs["cases"]
        self.names = {case["file"]: case["name"] for case in cases if case["channels"]}
        tip = [_files(case) for case in cases[:_MOST_IN_TIP]]
        self._write(_told(cases, self._card), "\n".join(tip + _rest(cases, _MOST_IN_TIP)))

    def _write(self, text, tip=""):
        label = self._ui.batchCases
        label.text, label.toolTip = text, tip
        label.visible = bool(text)


def files_of_a_case(card):
    """Files that an image of a model comes in; an older DeepBio's cards do not say."""
    return int((card or {}).get("channel_files") or 1)


def _files(case):
    return " + ".join(Path(path).name for path in case["channels"] or [case["file"]])


def _told(cases, card):
    """How many cases there are, and the files of the first."""
    joined = [case for case in cases if case["channels"]]
    alone = [case for case in cases if not case["channels"]]
    lines = []
    if joined:
        many = (
            _("{n} cases of {k} files each ({names}):")
            if len(joined) > 1
            else _("1 case of {k} files ({names}):")
        )
        names = ", ".join(wanted(card))
        lines.append(many.format(n=len(joined), k=files_of_a_case(card), names=names))
        lines += [_files(case) for case in joined[:_MOST]] + _rest(joined, _MOST)
    if alone:
        lines.append(_("In one file, which must have all channels:"))
        lines += [_files(case) for case in alone[:_MOST]] + _rest(alone, _MOST)
    return "\n".join(lines)


def _rest(cases, shown):
    return [_("and {n} more").format(n=len(cases) - shown)] if len(cases) > shown else []
