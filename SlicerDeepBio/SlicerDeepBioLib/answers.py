"""What the nodes of a result are, and what a classifier says; no Qt here: the page in the browser asks the same."""

from __future__ import annotations

__all__ = ["CHANNEL", "PART", "class_answers", "is_map", "of_part", "percent"]

# Attributes of nodes. Which part of a result it is: "image", "scores", "explanation", "uncertainty", "table" or
# "features";
PART = "DeepBio.Part"
CHANNEL = "DeepBio.Channel"  # and of an image with several channels, which one


def of_part(nodes, *parts):
    """The nodes that have one of these parts of a result."""
    return [node for node in nodes if node.GetAttribute(PART) in parts]


def is_map(card, part):
    """Whether a part is to be laid over the input, and not looked at by itself: a classifier's image is one, too."""
    return part in ("explanation", "uncertainty") or (part == "image" and card.get("task") == "classify")


def class_answers(run):
    """The classes that a classifier found, the first the likeliest or the most frequent.

    Parameters
    ----------
    run : Run
        One that is done.

    Returns
    -------
    list of (str, float, str)
        Name; share of all, 0 to 1; and for people the probability where there is one answer (of all
        classes), else the number of answers (of those that occur). Empty for other tasks.
    """
    tables = of_part(run.tables, "table")
    if run.model.get("task") != "classify" or not tables:
        return []
    table = tables[0].GetTable()
    columns = {table.GetColumnName(k): k for k in range(table.GetNumberOfColumns())}
    rows = table.GetNumberOfRows()
    if "class" not in columns or not rows:
        return []
    if rows == 1:
        found = [(_name(run, title), value) for title, value in _probabilities(table, columns)]
        found.sort(key=lambda one: -one[1])
        return [(name, value, percent(value)) for name, value in found]
    counts = {}
    for row in range(rows):
        name = table.GetValue(row, columns["class"]).ToString()
        counts[name] = counts.get(name, 0) + 1
    ordered = sorted(counts.items(), key=lambda one: -one[1])
    return [(name, count / rows, f"{count:,d}") for name, count in ordered]


def percent(value):
    """A probability for people.

    Examples
    --------
    >>> percent(0.9959), percent(0.0004), percent(0.12)
    ('99.6 %', '< 0.1 %', '12.0 %')
    """
    return "< 0.1 %" if 0 < value < 0.001 else f"{100 * value:.1f} %"


def _probabilities(table, columns):
    return [
        (title, table.GetValue(0, column).ToDouble())
        for title, column in columns.items()
        if title.startswith("p_")
    ]


def _name(run, title):
    """The class's own name: that of a column has no blanks."""
    entries = (run.model.get("classes") or {}).values()
    names = [entry["name"] if isinstance(entry, dict) else str(entry) for entry in entries]
    return next((name for name in names if f"p_{name.replace(' ', '_')}" == title), title[2:])
