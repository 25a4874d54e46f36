"""Which layers of a model give features, and how large its inputs may be."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deepbio.errors import InputMismatch
from deepbio.library import ModelCard
from deepbio.predict import Model, load_model
from deepbio.tasks.frames import input_channels

if TYPE_CHECKING:
    from torch import nn

    from deepbio.engine.runtimes.inside import Layer

__all__ = ["choose_layer", "list_layers", "sizes_of", "smallest_input"]

_FOUND: weakref.WeakKeyDictionary[nn.Module, tuple[Layer, ...]] = weakref.WeakKeyDictionary()
_EDGE = 64  # a probe is at least so large: strides show on it


def list_layers(model: Model | str) -> tuple[Layer, ...]:
    """The layers of a model that give features, in the order in which they are computed.

    Parameters
    ----------
    model : Model or str
        The model or its name.

    Returns
    -------
    tuple of Layer
        With name, kind, number of features and stride.

    Raises
    ------
    CardError
        If its network cannot be looked into (ONNX or TorchScript only).

    Examples
    --------
    >>> [layer.name for layer in list_layers("heart-lv") if layer.kind == "Sequential"][:2]
    ['encoder.0.0', 'encoder.0.2']
    """
    from deepbio.engine.runtimes.inside import layers_of

    loaded = model if isinstance(model, Model) else load_model(model)
    return layers_of(loaded.module(), smallest_input(loaded.card))


def choose_layer(
    module: nn.Module, card: ModelCard, name: str = "auto", largest: float | None = None
) -> Layer:
    """The layer of a name, or the default one for ``"auto"``, of a stride no larger than `largest`.

    Raises
    ------
    OptionError
        If there is no such layer.
    """
    from deepbio.engine.runtimes.inside import default_layer, find_layer, layers_of

    if module not in _FOUND:  # looking is a forward of the whole network
        _FOUND[module] = layers_of(module, smallest_input(card))
    layers = _FOUND[module]
    return find_layer(layers, name) if name not in ("", "auto") else default_layer(module, layers, largest)


def sizes_of(card: ModelCard) -> list[tuple[int, int]]:
    """Smallest size that the network takes, and the step between sizes (0: only that one), per axis."""
    return [
        (axis.size, 0) if axis.size is not None else (axis.minimum, max(1, axis.step))
        for axis in _spatial(card)
    ]


def smallest_input(card: ModelCard) -> tuple[int, ...]:
    """``(C, [z,] y, x)`` of a small input that the network takes."""
    shape: Sequence[Any] = [
        low + -(-max(0, _EDGE - low) // step) * step if step else low for low, step in sizes_of(card)
    ]
    return (input_channels(card), *shape)


def _spatial(card: ModelCard) -> Sequence[Any]:
    """Spatial axes in the order z, y, x.

    Raises
    ------
    InputMismatch
        If the model takes something else than images.
    """
    axes = sorted(card.input.spatial, key=lambda axis: "zyx".index(axis.id))
    others = [name for name in card.input.axis_ids if name not in ("batch", "channel", "z", "y", "x")]
    if others or len(axes) not in (2, 3):
        raise InputMismatch(
            f"The model '{card.name}' takes {', '.join(card.input.axis_ids)}: features and explanations "
            "are for models of single images.",
            "Choose another model.",
        )
    return axes
