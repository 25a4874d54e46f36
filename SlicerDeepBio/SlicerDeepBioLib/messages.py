"""The inline message of the form: errors, warnings and notices, with their hint; never a popup."""

from __future__ import annotations

import contextlib
import logging
from html import escape

import qt
from slicer.i18n import tr as _

__all__ = ["Messages"]

_logger = logging.getLogger("DeepBio")

# Drawn over the palette's own background, so that they suit light and dark themes.
_COLORS = {"error": "200, 50, 40", "warning": "225, 150, 20", "info": "60, 125, 200", "done": "60, 155, 80"}


class Messages:
    """Shows one message at a time; its text can be selected and copied.

    Parameters
    ----------
    ui : namespace
        Widgets ``messageBox``, ``messageText``, ``messageCloseButton``, ``messageDetails``.
    """

    def __init__(self, ui):
        self._ui = ui
        self.level = ""
        self.text = ""
        ui.messageCloseButton.connect("clicked()", self.clear)
        ui.messageText.connect("linkActivated(QString)", self._toggle_details)

    def error(self, message, hint="", details=""):
        """Something failed. What follows the first line of `message` goes into the details."""
        first, _newline, rest = str(message).strip().partition("\n")
        self._show("error", first, hint, "\n".join(part for part in (rest, details) if part))

    def failure(self, error):
        """Show an exception; those of ours carry a hint."""
        message = getattr(error, "message", "") or str(error) or type(error).__name__
        self.error(message, getattr(error, "hint", ""))

    def warning(self, message, hint=""):
        """Something the user should know before trusting the result."""
        self._show("warning", message, hint)

    def info(self, message, hint=""):
        """Something worth knowing."""
        self._show("info", message, hint)

    def clear(self):
        """Show nothing."""
        self.level = self.text = ""
        self._ui.messageBox.visible = False
        self._ui.messageDetails.visible = False

    @contextlib.contextmanager
    def shown(self):
        """Show what is raised in the block, and let Slicer's Python console have it too."""
        try:
            yield
        except Exception as error:
            _logger.exception("DeepBio: an error in the form")
            self.failure(error)
            raise

    def _show(self, level, message, hint="", details=""):
        self.level = level
        self.text = " ".join(part for part in (message, hint) if part)
        ui = self._ui
        body = "<b>" + escape(message) + "</b>" if level == "error" else escape(message)
        if hint:
            body += "<br>" + escape(hint)
        if details:
            body += '<br><a href="details">' + escape(_("Details")) + "</a>"
        color = _COLORS[level]
        ui.messageBox.setStyleSheet(
            f"QFrame#messageBox {{ border: 1px solid rgba({color}, 120); border-left: 4px solid rgb({color});"
            f" border-radius: 3px; background-color: rgba({color}, 28); }}"
        )
        ui.messageText.text = body.replace("\n", "<br>")
        ui.messageDetails.plainText = details
        ui.messageDetails.visible = False
        ui.messageBox.visible = True

    def _toggle_details(self, link):
        if link == "details":
            self._ui.messageDetails.visible = not self._ui.messageDetails.visible
        else:
            qt.QDesktopServices.openUrl(qt.QUrl(link))
