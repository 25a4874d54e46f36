"""The choice of a model: what fits the input first, what does not in grey with its reason."""

from __future__ import annotations

from html import escape

import qt
from slicer.i18n import tr as _

__all__ = ["ModelBox", "score_text"]


# What a model is given, where that is not an image.
_INPUT = {
    ("nothing",): _("Needs no input, and leaves the chosen one alone."),
    ("labels", "nothing"): _(
        "Takes a label map or a segmentation; without an input it makes the masks, too."
    ),
}


class ModelBox:
    """The combo box of models and what it tells of the chosen one.

    Parameters
    ----------
    ui : namespace
        Widgets ``modelComboBox``, ``modelText``, ``modelDetails``.
    on_chosen : callable
        Called with the name when the user has chosen.

    Attributes
    ----------
    cards : list of dict
        As the worker's ``models`` lists them.
    fits : dict of str to str, or None
        Why a model does not take the input, by name, empty where it does; None while that is not known.
    """

    def __init__(self, ui, on_chosen):
        self._ui = ui
        self._on_chosen = on_chosen
        self.cards = []
        self.fits = None
        ui.modelComboBox.connect("activated(int)", self._activated)
        ui.modelText.connect("linkActivated(QString)", self._toggle_details)

    @property
    def card(self):
        """The chosen model's card, or None."""
        name = self._ui.modelComboBox.itemData(self._ui.modelComboBox.currentIndex)
        return next((card for card in self.cards if card["name"] == name), None)

    @property
    def misfit(self):
        """Why the chosen model does not take the input; empty if it does or that is not known."""
        card = self.card
        return (self.fits or {}).get(card["name"], "") if card is not None else ""

    def show(self, cards, fits, wanted="", ndim=0):
        """List the models: first what fits, of these first what segments, in the input's dimensions.

        Parameters
        ----------
        cards : list of dict
            Most useful first.
        fits : dict of str to str, or None
            As the attribute.
        wanted : str
            Name of the model to choose, where it fits; otherwise the first that fits.
        ndim : int
            Spatial dimensions of the input; 0 where there is none.
        """
        self.cards, self.fits = list(cards), fits
        reasons = fits or {}

        def rank(card):
            other = (card.get("task") or "segment") != "segment"
            return bool(reasons.get(card["name"])), other, bool(ndim and card.get("ndim", ndim) != ndim)

        ordered = sorted(self.cards, key=rank)  # stable: otherwise in the worker's order
        combo = self._ui.modelComboBox
        blocked = combo.blockSignals(True)
        combo.clear()
        grey = combo.palette.color(qt.QPalette.Disabled, qt.QPalette.Text)
        for index, card in enumerate(ordered):
            why = reasons.get(card["name"], "")
            combo.addItem(card.get("title") or card["name"], card["name"])
            combo.setItemData(index, why or card.get("description", ""), qt.Qt.ToolTipRole)
            if why:
                combo.setItemData(index, qt.QBrush(grey), qt.Qt.ForegroundRole)
        combo.setCurrentIndex(self._index_of(ordered, reasons, wanted))
        combo.blockSignals(blocked)
        combo.enabled = bool(ordered)
        self._describe()

    @staticmethod
    def _index_of(ordered, reasons, wanted):
        names = [card["name"] for card in ordered]
        if wanted in names and not reasons.get(wanted):
            return names.index(wanted)
        return 0 if names else -1

    def _activated(self, index):
        self._describe()
        self._on_chosen(self.card["name"])

    def _describe(self):
        card = self.card
        self._ui.modelText.visible = card is not None
        self._ui.modelComboBox.toolTip = self.misfit or _("What fits the input comes first")
        if card is None:
            self._ui.modelDetails.visible = False
            return
        facts = [score_text(card), card.get("license", "")]
        lines = [escape(card.get("description", "")), _INPUT.get(tuple(card.get("takes") or ()), "")]
        line = " · ".join(escape(fact) for fact in facts if fact)
        link = '<a href="details">' + escape(_("details")) + "</a>"
        lines.append(line + " · " + link if line else link)
        self._ui.modelText.text = "<br>".join(part for part in lines if part)
        if self._ui.modelDetails.visible:
            self._fill_details(card)

    def _toggle_details(self, link):
        if link != "details" or self.card is None:
            return
        details = self._ui.modelDetails
        if not details.visible:
            self._fill_details(self.card)
        details.visible = not details.visible

    def _fill_details(self, card):
        """Show the model's own text, and after it what its package says in fields."""
        facts = [
            (_("Name"), "{} {}".format(card["name"], card.get("version", "")).strip()),
            (_("Authors"), ", ".join(card.get("authors", ()))),
            (_("Trained on"), card.get("training_data", "")),
            (_("Please cite"), "; ".join(card.get("citations", ()))),
            (_("Folder"), card.get("folder", "")),
        ]
        lines = [f"* **{name}**: {value}" for name, value in facts if value]
        text = card.get("documentation") or card.get("description") or card["name"]
        self._ui.modelDetails.setMarkdown(text + "\n\n" + "\n".join(lines) + "\n")


def score_text(card):
    """The first held-out score of a card: ``"Dice: 0.855 on 20 held-out images"``; empty without."""
    score = next(iter(card.get("scores", ())), None)
    if score is None or not isinstance(score.get("value"), (int, float)):
        return ""
    text = "{}: {:.3g}".format(score.get("metric", "") or _("score"), score["value"])
    if score.get("n"):
        images = _("on 1 held-out image") if score["n"] == 1 else _("on {n} held-out images")
        text += " " + images.format(n=score["n"])
    subset = score.get("subset", "")
    return text + (f" ({subset})" if subset and subset != "all" else "")
