"""Frames that come one by one, as from a camera: each gets its result at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepbio.engine.device import Device, choose_device
from deepbio.engine.steps import apply_steps
from deepbio.errors import InputMismatch
from deepbio.image import Image, LabelMap, Table
from deepbio.library import ModelCard
from deepbio.tasks.carry import Carrier
from deepbio.tasks.decode import decode
from deepbio.tasks.decoder import Decoder
from deepbio.tasks.result import Result
from deepbio.tasks.sequence import following_of
from deepbio.tasks.temporal import softmax

__all__ = ["SequenceStream"]


class SequenceStream:
    """A model of sequences that looks back only, fed frame by frame or in parts.

    The results are those of the whole movie in one window: what the network remembers is carried over. Nothing is
    smoothed in time, since that looks ahead.

    Parameters
    ----------
    card : ModelCard
        A model of the task ``sequence`` with weights as safetensors, not bidirectional; of kind ``"segment"``
        or ``"per-frame"``.
    device : str or Device
        Where to compute.

    Raises
    ------
    InputMismatch
        If the model looks ahead, or tells of whole sequences only.
    MissingPackage
        If torch is not installed.

    Examples
    --------
    >>> stream = SequenceStream(card)  # doctest: +SKIP
    >>> for frame in camera:  # doctest: +SKIP
    ...     stream.push(frame).labels
    """

    def __init__(self, card: ModelCard, device: str | Device = "auto") -> None:
        following = following_of(card)
        if following.bidirectional:
            raise InputMismatch(
                f"The model '{card.name}' also looks at later frames, so it cannot be fed one by one.",
                "Run it on the whole movie, or train one with --set bidirectional=false.",
            )
        if following.kind == "per-sequence":
            raise InputMismatch(
                f"The model '{card.name}' has one answer for a whole sequence.", "Run it on the movie."
            )
        self.card, self._following = card, following
        self._device = choose_device(device) if isinstance(device, str) else device
        self._carrier = Carrier(card, self._device)
        self._decoder = Decoder.from_card(card.deepbio.get("decode", {"method": "classes"}))
        self.reset()

    def reset(self) -> None:
        """Forget all frames: the next one is the first of another movie."""
        self._carrier.reset()
        self._shape: tuple[int, ...] | None = None
        self.count = 0

    def push(self, frame: Image | np.ndarray) -> Result:
        """Take the next frame.

        Parameters
        ----------
        frame : Image, or ndarray of shape (y, x) or (C, y, x)
            On the pixel size that the model works on; nothing is resampled here.

        Returns
        -------
        Result
            ``labels`` of the frame, or ``table`` with its class; ``scores`` with the probabilities.

        Raises
        ------
        InputMismatch
            If the frame has another size or other channels than those before, or is a movie.
        """
        image = frame if isinstance(frame, Image) else Image(frame, "CYX"[3 - frame.ndim :])
        if set(image.axes) - set("CYX"):
            raise InputMismatch(
                f"A stream takes single frames; the image has the axes {image.axes}.",
                "Give it frame by frame.",
            )
        array = image.numpy()
        array = array[None] if "C" not in image.axes else array
        if self._shape is not None and array.shape != self._shape:
            raise InputMismatch(
                f"Frame {self.count + 1} has the size {array.shape} (channels, rows, columns); those before have "
                f"{self._shape}. The frames of a movie must be of equal size.",
                "Start another movie with reset().",
            )
        if len(array) != self._carrier.channels:
            raise InputMismatch(
                f"The model '{self.card.name}' takes {self._carrier.channels} channels; the frame has {len(array)}."
            )
        ready = apply_steps(array, ("channel", "y", "x"), self.card.input.steps)
        scores = softmax(self._carrier.scores(ready[:, None])[:, 0])
        self._shape = array.shape
        self.count += 1
        return self._result(image, scores)

    def _result(self, image: Image, probability: np.ndarray) -> Result:
        names = self.card.output.channels
        record = {"model": self.card.name, "frame": self.count}
        if self._following.kind == "segment":
            labels = LabelMap(
                decode(probability, self._decoder).astype(np.uint8), "YX", image.grid, self.card.classes
            )
            return Result(labels=labels, scores=Image(probability, "CYX", image.grid, names), record=record)
        columns: dict[str, Any] = {"frame": [self.count], "class": [names[int(probability.argmax())]]}
        columns |= {f"probability_{name}": [value] for name, value in zip(names, probability, strict=True)}
        return Result(table=Table({name: np.array(value) for name, value in columns.items()}), record=record)
