"""What the page and the browser both know: the names of the state, and how it begins."""

from __future__ import annotations

from typing import Any

from deepbio_web.style import THEME

__all__ = ["OF_A_RESULT", "initial_state"]

OF_A_RESULT = (
    *("segments", "answers", "layers", "layer", "summary", "notes", "curve", "downloads"),
    *("tables", "table_at", "table_open", "has_overlay", "frame_names"),
)


def initial_state() -> dict[str, Any]:
    """Everything that the page shows, before anything is known."""
    return {
        "trame__vuetify3_config": THEME,
        "image_name": "",
        "image_facts": "",
        "images": [],  # those that are open: {value, title}
        "image": 0,  # which of them is shown, and given to models
        "image_label": "Image",
        "channels": [],  # further ones of the model: {number, name, value, choices, optional}
        "models": [],  # {name, title, fits, reason, text, facts: [[label, text]]}
        "model": None,
        "verb": "Segment",
        "can_run": False,
        "why_not": "Starting",
        "busy": False,
        "stopping": False,
        "progress": 0,
        "progress_text": "",
        "messages": [],  # {number, level, text, hint}
        "options": [],  # {name, label, help, kind, choices, value, default, hint, tasks, shown}
        "device_text": "",
        "segments": [],  # {id, name, color, size, visible}
        "answers": [],  # of a classifier: {name, text, share}
        "layers": [],  # what can be looked at: {id, title}
        "layer": "input",  # what is
        "has_overlay": False,
        "summary": "",  # of a result, one line
        "notes": [],  # what else is to be known of it
        "curve": {"lines": [], "low": "", "high": "", "unit": ""},  # of a sequence
        "downloads": [],  # {href, text}
        "tables": [],  # {name, head, rows, more}
        "table_at": 0,
        "table_open": False,
        "opacity": 50,
        "window": [0, 1],
        "window_range": [0, 1],
        "has_window": False,
        "slices_in_space": True,
        "space_hint": "",
        "frame": 0,
        "frames": 1,
        "frame_names": [],  # of made images: their classes
        "big": "",
    }
