"""How far a run is, from the events of the worker: one fraction, one line of text, one time that is left."""

from __future__ import annotations

import re
import time

__all__ = ["Progress", "clock"]

# Parts of the whole: pixels to the worker, the model's load, the network and its labels, nodes.
_SENT, _LOADED, _COMPUTED = 0.03, 0.06, 0.98
_NETWORK = 0.95  # of computing; the rest is labels, which are found while the next tiles are computed
_FRAME = re.compile(r"frame (\d+)")
_SLICE = re.compile(r"slice (\d+)")
_WAIT = 1.0  # seconds before the time that is left is worth telling


def clock(seconds):
    """Minutes and seconds.

    Examples
    --------
    >>> clock(12.4), clock(75), clock(3700)
    ('0:12', '1:15', '1:01:40')
    """
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """How far a run is.

    Parameters
    ----------
    frames, slices : int
        Into which the image is cut: points in time, and slices where the model takes them one by one.
    makes : bool
        Whether images are made: these are counted, and nothing else.

    Attributes
    ----------
    fraction : float
        Of the whole run, 0 to 1; never goes back.
    text : str
        For people: ``"Frame 3 of 20, tile 5 of 12, 0:12 left"``.
    eta : float or None
        Seconds left in the whole run, or None while that cannot be said.
    """

    def __init__(self, frames=1, slices=1, makes=False):
        self.fraction = 0.0
        self.text = "Waiting"
        self.eta = None
        self._frames, self._slices, self._makes = frames, slices, makes
        self._start = None  # (time, fraction) when the network began
        self._now = (0, {"predict": 0.0, "instances": 0.0})  # the part that is worked on, and how far it is
        self._tile = ""

    def at(self, fraction, text):
        """Say how far it is."""
        self.fraction = max(self.fraction, min(1.0, fraction))
        self.text = text

    def sending(self, fraction):
        """Pixels are on their way to the worker."""
        self.at(_SENT * fraction, "Sending the image")

    def placing(self, fraction):
        """The result is made into nodes."""
        self.eta = None
        self.at(_COMPUTED + (1 - _COMPUTED) * fraction, "Placing the result")

    def hear(self, update):
        """Take an update of the worker (client.Update)."""
        if not update.stage:
            return
        if update.stage in ("load", "read"):
            part = update.current / update.maximum if update.maximum else 0.0
            self.at(
                _SENT + (_LOADED - _SENT) * part, "Loading the model" if update.stage == "load" else "Reading"
            )
            return
        if self._makes:  # tiles say nothing of how many images there are
            if update.stage == "images":
                number = f"image {update.current} of {update.maximum}"
                self._compute(update.current / max(1, update.maximum), [number if update.maximum > 1 else ""])
            return
        parts = self._frames * self._slices
        if update.stage == "frames":
            self._compute(update.current / max(1, update.maximum), self._place(update.current))
            return
        number = self._number(update.item)
        if number != self._now[0]:
            self._now = (number, {"predict": 0.0, "instances": 0.0})
        within = self._now[1]
        if update.stage not in within:
            self.text = self._with_eta([update.message])
            return
        within[update.stage] = update.current / update.maximum if update.maximum else 0.0
        if update.stage == "predict":
            self._tile = f"tile {update.current} of {update.maximum}" if update.maximum > 1 else ""
        step = (
            self._tile
            if within["predict"] < 1
            else "finding objects"
            if update.stage == "instances"
            else self._tile
        )
        part = _NETWORK * within["predict"] + (1 - _NETWORK) * within["instances"]
        self._compute((number + part) / parts, [*self._place(number), step])

    def _compute(self, part, words):
        fraction = _LOADED + (_COMPUTED - _LOADED) * min(1.0, part)
        now = time.monotonic()
        if self._start is None:
            self._start = (now, fraction)
        elapsed, gained = now - self._start[0], fraction - self._start[1]
        if elapsed > _WAIT and gained > 0.01:
            self.eta = elapsed * (1 - fraction) / gained
        self.at(fraction, self._with_eta(words))

    def _with_eta(self, words):
        words = [word for word in words if word] or ["Computing"]
        text = ", ".join(words if self.eta is None else [*words, f"{clock(self.eta)} left"])
        return text[:1].upper() + text[1:]

    def _place(self, number):
        """Words for the part of the image that is worked on; its number counts from 0."""
        number = min(number, self._frames * self._slices - 1)
        words = []
        if self._frames > 1:
            words.append(f"frame {number // self._slices + 1} of {self._frames}")
        if self._slices > 1:
            words.append(f"slice {number % self._slices + 1} of {self._slices}")
        return words

    def _number(self, item):
        frame, piece = _FRAME.search(item), _SLICE.search(item)
        return (int(frame[1]) - 1 if frame else 0) * self._slices + (int(piece[1]) - 1 if piece else 0)
