"""Networks whose arrays are not (batch, channel, [time,] z, y, x): the one place where axes are reordered."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepbio.engine.device import Device
from deepbio.engine.runtimes import Runtime
from deepbio.errors import CardError
from deepbio.library.card import SPATIAL, ModelCard, TensorSpec

__all__ = ["arranged", "network_channels", "input_frames", "network_shape"]


def network_shape(card: ModelCard, tile: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a batch of one tile, in the order of the network's own axes.

    Raises
    ------
    CardError
        If the card asks for what the engine cannot give (several inputs, other axes).
    """
    if len(card.inputs) != 1:
        names = ", ".join(tensor.id for tensor in card.inputs)
        raise CardError(f"The model '{card.name}' has {len(card.inputs)} inputs ({names}); expected one.")
    sizes = dict(zip(_spatial(card.input), tile, strict=True))
    sizes |= {"batch": 1, "channel": network_channels(card), "time": input_frames(card) or 1}
    return tuple(sizes[name] for name in _known_axes(card, card.input))


def network_channels(card: ModelCard) -> int:
    """Channels that the network takes, of a cascade with that of labels; 1 where its input has no such axis."""
    if "channel" not in card.input.axis_ids:
        return 1
    labels = card.first_stage is not None
    return (card.input.axis("channel").size or len(card.input.channels) or 1) + labels


def input_frames(card: ModelCard) -> int | None:
    """Frames that the network takes at once; None where its input has no time."""
    if "time" not in card.input.axis_ids:
        return None
    axis = card.input.axis("time")
    return axis.size or axis.minimum


def arranged(runtime: Runtime, card: ModelCard) -> Runtime:
    """The runtime, behind a change of axes where the card's tensors need one."""
    inputs, outputs = _known_axes(card, card.input), _known_axes(card, card.output)
    # each in its own: what a vector becomes has axes that the vector has not
    if inputs == _usual(inputs) and outputs == _usual(outputs):
        return runtime
    return _Arranged(runtime, inputs, outputs)


class _Arranged:
    """A runtime whose network takes and gives its axes in another order, or without channels."""

    def __init__(self, runtime: Runtime, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self._runtime = runtime
        self.name, self.precision, self.why = runtime.name, runtime.precision, runtime.why
        self.device: Device = runtime.device
        self._inputs, self._outputs = inputs, outputs

    def __call__(self, batch: np.ndarray) -> Any:
        if "channel" not in self._inputs:
            batch = batch[:, 0]
        names = [name for name in _usual(self._inputs) if name in self._inputs]
        given = batch.transpose([names.index(name) for name in self._inputs])
        scores = self._runtime(np.ascontiguousarray(given))
        names = [name for name in _usual(self._outputs) if name in self._outputs]
        order = [self._outputs.index(name) for name in names]
        scores = scores.transpose(order) if isinstance(scores, np.ndarray) else scores.permute(order)
        return scores if "channel" in self._outputs else scores[:, None]


def _usual(names: tuple[str, ...]) -> tuple[str, ...]:
    """The engine's own order of axes."""
    return ("batch", "channel", *_moving(names))


def _spatial(tensor: TensorSpec) -> tuple[str, ...]:
    return tuple(name for name in SPATIAL if name in tensor.axis_ids)


def _moving(names: tuple[str, ...]) -> tuple[str, ...]:
    """Time and space, as far as a tensor has them, in our order."""
    return tuple(name for name in ("time", *SPATIAL) if name in names)


def _known_axes(card: ModelCard, tensor: TensorSpec) -> tuple[str, ...]:
    """Names of a tensor's axes, if they are batch first, then channel and space in any order."""
    names = tensor.axis_ids
    if names[:1] != ("batch",) or set(names) - {"batch", "channel", "time", *SPATIAL}:
        raise CardError(
            f"The tensor '{tensor.id}' of the model '{card.name}' has the axes {', '.join(names)}; expected batch "
            "first, then channel, time, z, y and x as far as there are."
        )
    return names
