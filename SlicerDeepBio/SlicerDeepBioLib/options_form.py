"""The options of a run as rows of a form, made from what the worker's ``hello`` lists."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from SlicerDeepBioLib.option_rules import COMPUTING, UNSET, is_for, relevant

__all__ = ["OptionsForm", "check"]

_ACROSS = 2  # boxes of a list of classes in a row


class OptionsForm:
    """A row for each option that makes sense for the model; what differs from the defaults is sent.

    Parameters
    ----------
    ui : namespace
        Widgets ``optionsBox`` (with a grid layout), ``deviceComboBox``, ``deviceText``,
        ``resetOptionsButton``.
    on_changed : callable
        Called when the user has changed an option.
    """

    def __init__(self, ui, on_changed):
        self._ui = ui
        self._on_changed = on_changed
        self._rows = {}
        self._options = []
        self._values = {}
        self._problems = {}
        self._filling = False
        ui.deviceComboBox.connect("activated(int)", self._device_chosen)
        ui.resetOptionsButton.connect("clicked()", self.reset)

    @property
    def values(self):
        """The options that differ from their defaults, as texts; only those that can be seen."""
        shown = {"device", *(name for name, row in self._rows.items() if row.shown)}
        return {name: text for name, text in self._values.items() if name in shown}

    @property
    def problem(self):
        """What is wrong with what was typed; empty if nothing."""
        return next((text for name, text in self._problems.items() if text and self._rows[name].shown), "")

    def build(self, options, hello):
        """Make the rows.

        Parameters
        ----------
        options : list of dict
            ``name, help, kind, default, choices, low, high`` each.
        hello : dict
            ``devices`` and ``chosen``, for the row of devices.
        """
        layout = self._ui.optionsBox.layout()
        for row in self._rows.values():
            row.remove(layout)
        self._rows, self._problems = {}, {}
        self._options = [one for one in options if one["name"] != "device"]
        ordered = sorted(self._options, key=lambda one: one["name"] in COMPUTING)
        for number, one in enumerate(ordered, start=2):  # after the device and what is said of it
            row = _Row(one, self._edited)
            layout.addWidget(row.label, number, 0)
            layout.addWidget(row.widget, number, 1)
            self._rows[one["name"]] = row
        self._show_devices(hello)
        self.set_values(self._values)

    def set_values(self, values):
        """Show these options, the others at their defaults."""
        self._filling = True
        self._values = dict(values)
        for name, row in self._rows.items():
            row.show_value(self._values.get(name))
            self._mark(name)
        combo = self._ui.deviceComboBox
        combo.setCurrentIndex(max(0, combo.findData(self._values.get("device", "auto"))))
        self._filling = False
        self._ui.resetOptionsButton.enabled = bool(self._values)

    def show_for(self, card, image):
        """Show the rows that make sense for a model and an input; see `option_rules.relevant`."""
        for name, row in self._rows.items():
            row.set_shown(is_for(row.option, card) and relevant(name, card, image))
        if card is not None and "output" in self._rows:
            self._show_outputs(self._rows["output"], card)
        if card is not None and "classes" in self._rows:
            self._offer("classes", _class_names(card), "")
        self._ui.resetOptionsButton.enabled = bool(self._values)

    def _show_outputs(self, row, card):
        """Offer what the model gives, ticked as its task has it; a choice that it cannot give is dropped."""
        gives = card.get("gives") or row.option["choices"]  # which the cards of an older DeepBio do not say
        self._offer("output", gives, ",".join(card.get("usual") or ("labels", "table")))

    def _offer(self, name, choices, default):
        """Show boxes for these choices of a list; what was chosen of others before is let go."""
        row, value = self._rows[name], self._values.get(name)
        asked = value and ",".join(one for one in value.split(",") if one in choices)
        if value and not asked:
            del self._values[name]
            asked = None
        self._filling = True
        row.offer(choices, default)
        row.show_value(asked)
        self._mark(name)
        self._filling = False

    def reset(self):
        """Go back to the defaults."""
        self.set_values({})
        self._on_changed()

    def _show_devices(self, hello):
        combo = self._ui.deviceComboBox
        chosen = hello.get("chosen") or {}
        blocked = combo.blockSignals(True)
        combo.clear()
        combo.addItem(
            _("Auto: {device}").format(device=chosen.get("label") or chosen.get("name", "?")), "auto"
        )
        for device in hello.get("devices", ()):
            combo.addItem(_device_text(device), device["name"])
            combo.setItemData(combo.count - 1, device.get("why", ""), qt.Qt.ToolTipRole)
        combo.blockSignals(blocked)
        why = chosen.get("why", "")
        self._ui.deviceText.text = _("Auto: because {why}").format(why=why)
        self._ui.deviceText.visible = bool(why)

    def _device_chosen(self, index):
        self._set("device", self._ui.deviceComboBox.itemData(index), "auto")

    def _edited(self, name):
        if not self._filling:
            row = self._rows[name]
            self._problems[name] = check(row.option, row.text)
            self._set(name, row.text, row.default)

    def _set(self, name, text, default):
        if text == default:
            self._values.pop(name, None)
        else:
            self._values[name] = text
        if name in self._rows:
            self._mark(name)
        self._ui.resetOptionsButton.enabled = bool(self._values)
        self._on_changed()

    def _mark(self, name):
        """Bold where it is not the default, red where it cannot be read."""
        row = self._rows[name]
        problem = self._problems[name] = check(row.option, row.text)
        row.mark(changed=name in self._values, problem=problem)


class _Row:
    """One option: a label and the widget for its kind."""

    def __init__(self, option, on_edited):
        self.option = option
        self.default = _text(option.get("default"))
        self.shown = True
        name, kind = option["name"], option["kind"]
        self.label = qt.QLabel(name.replace("_", " ").capitalize() + ":")
        self.widget, self._boxes, self._on_edited = None, {}, on_edited
        if kind == "bool":
            self.widget = qt.QCheckBox(_short(option.get("help", "")))
            self.widget.connect("toggled(bool)", lambda on: on_edited(name))
        elif kind == "choice":
            self.widget = qt.QComboBox()
            for choice in option["choices"]:
                self.widget.addItem(str(choice) or UNSET.get(name, ""), str(choice))
            self.widget.connect("activated(int)", lambda index: on_edited(name))
        elif kind == "list":
            self.widget = qt.QWidget()
            qt.QGridLayout(self.widget).setContentsMargins(0, 0, 0, 0)
            self.offer(option["choices"], self.default)
        else:
            self.widget = qt.QLineEdit()
            self.widget.placeholderText = _placeholder(option, self.default)
            self.widget.connect("textEdited(QString)", lambda text: on_edited(name))
        self.widget.objectName = "option_" + name
        self.label.toolTip = self.widget.toolTip = option.get("help", "")

    @property
    def text(self):
        """The value as the worker reads it; an empty line means the default."""
        kind = self.option["kind"]
        if kind == "bool":
            return "true" if self.widget.checked else "false"
        if kind == "choice":
            return str(self.widget.itemData(self.widget.currentIndex))
        if kind == "list":
            return ",".join(name for name, box in self._boxes.items() if box.checked)
        return self.widget.text.strip() or self.default

    def show_value(self, text):
        """Show a text, or the default where it is None."""
        kind = self.option["kind"]
        value = self.default if text is None else text
        if kind == "bool":
            self.widget.checked = value == "true"
        elif kind == "choice":
            self.widget.setCurrentIndex(max(0, self.widget.findData(value)))
        elif kind == "list":
            chosen = value.split(",")
            for name, box in self._boxes.items():
                box.checked = name in chosen
        else:
            self.widget.text = "" if value == self.default else value

    def offer(self, choices, default):
        """Of a list: show the boxes of these choices only, with this default (names with commas)."""
        self.default = default
        across = _ACROSS if self.option["name"] == "classes" else 99  # outputs are few and short
        for at, choice in enumerate(choices):
            if choice not in self._boxes:
                box = self._boxes[choice] = qt.QCheckBox(str(choice))
                box.connect("toggled(bool)", lambda on: self._on_edited(self.option["name"]))
                self.widget.layout().addWidget(box, at // across, at % across)
        self.widget.layout().setColumnStretch(min(across, 9), 1)
        for name, box in self._boxes.items():
            box.visible = name in choices

    def set_shown(self, shown):
        """Show or hide the row."""
        self.shown = shown
        self.label.visible = self.widget.visible = shown

    def mark(self, changed, problem):
        """Tell how the value stands to its default and its range."""
        font = self.label.font
        font.setBold(changed)
        self.label.font = font
        self.label.setStyleSheet("color: #d0392b" if problem else "")
        self.widget.toolTip = problem or self.option.get("help", "")

    def remove(self, layout):
        """Take the row out of the form."""
        for widget in (self.label, self.widget):
            layout.removeWidget(widget)
            widget.hide()
            widget.deleteLater()


def check(option, text):
    """What is wrong with the text of an option; empty if nothing. The worker checks again."""
    name, kind, low, high = option["name"], option["kind"], option.get("low"), option.get("high")
    if kind == "list" and not text and option.get("choices"):
        return _("{name}: choose at least one").format(name=name)
    if kind not in ("int", "float") or text == _text(option.get("default")) or text.lower() == "auto":
        return ""
    try:
        value = int(text) if kind == "int" else float(text)
    except ValueError:
        number = _("a whole number") if kind == "int" else _("a number")
        return _("{name}: expected {number}, found '{text}'").format(name=name, number=number, text=text)
    if low is not None and not low <= value <= high:  # also what is not a number
        return _("{name}: expected {low} to {high}, found {text}").format(
            name=name, low=low, high=high, text=text
        )
    return ""


def _class_names(card):
    """The classes that a generator makes; none of models that make no images."""
    if card.get("task") != "generate":
        return []
    entries = (card.get("classes") or {}).values()
    return [entry["name"] if isinstance(entry, dict) else str(entry) for entry in entries]


def _short(help):
    """The first part of a help text, which says what is meant."""
    for mark in (":", ";", ","):
        help = help.partition(mark)[0]
    return help[:1].upper() + help[1:]


def _text(default):
    """The text of a default value."""
    if default is None:
        return "auto"
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, (list, tuple)):
        return ",".join(str(one) for one in default)
    return str(default)


def _placeholder(option, default):
    if option.get("low") is None:
        return default or UNSET.get(option["name"], "")
    high = "{:g}".format(option["high"]) if option["high"] < 10**6 else ""
    bounds = "{:g} to {}".format(option["low"], high) if high else _("from {low}").format(low=option["low"])
    return f"{default} ({bounds})"


def _device_text(device):
    text = device.get("label") or device["name"]
    if device["name"] not in text.lower():
        text = "{}: {}".format(device["name"], text)
    if device.get("total"):
        gib = 2.0**30
        text += ", " + _("{free:.1f} of {total:.1f} GB free").format(
            free=device.get("free", 0) / gib, total=device["total"] / gib
        )
    return text
