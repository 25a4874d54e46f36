"""Which layers of a model give features, and how large its inputs may be."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deepbio.errors import InputMismatch
from deepbio.library import ModelCard
from deepbio.predict import Model, load_model
from deepbio.tasks.first_stage import check_within
from deepbio.tasks.frames import input_channels

if TYPE_CHECKING:
    from torch import nn

    from deepbio.engine.runtimes.layers import Layer

__all__ = ["choose_layer", "is_movie", "list_layers", "sizes_of", "smallest_input"]

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
    from deepbio.engine.runtimes.layers import layers_of

    loaded = model if isinstance(model, Model) else load_model(model)
    return layers_of(loaded.module(), smallest_input(loaded.card), movie=is_movie(loaded.card))


def choose_layer(
    module: nn.Module, card: ModelCard, name: str = "auto", largest: float | None = None, *, maps: bool = True
) -> Layer:
    """The layer of a name, or the default one for ``"auto"``, of a stride no larger than `largest`.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    card : ModelCard
        What it takes.
    name : str
        A layer, several (``"encoder.*"``), or ``"auto"``.
    largest : float, optional
        See :func:`~deepbio.engine.runtimes.inside.default_layer`.
    maps : bool
        Whether one layer with maps is needed. Else ``"auto"`` is all stages of a U-Net's encoder
        together.

    Raises
    ------
    OptionError
        If there is no such layer.
    """
    from deepbio.engine.runtimes.layers import default_layer, find_layer, layers_of, together

    if module not in _FOUND:  # looking is a forward of the whole network
        _FOUND[module] = layers_of(module, smallest_input(card), movie=is_movie(card))
    layers = _FOUND[module]
    if name not in ("", "auto"):
        return find_layer(layers, name)
    stages = None if maps or largest is not None else together(module, layers)
    return stages or default_layer(module, layers, largest)


def is_movie(card: ModelCard) -> bool:
    """Whether the model takes frames in their order."""
    return card.task == "sequence"


def sizes_of(card: ModelCard) -> list[tuple[int, int]]:
    """Smallest size that the network takes, and the step between sizes (0: only that one), per axis."""
    return [
        (axis.size, 0) if axis.size is not None else (axis.minimum, max(1, axis.step))
        for axis in _spatial(card)
    ]


def smallest_input(card: ModelCard) -> tuple[int, ...]:
    """``(C, [z,] y, x)`` of a small input that the network takes; ``(C,)`` if it takes vectors."""
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
    check_within(card, "what its layers see")
    axes = sorted(card.input.spatial, key=lambda axis: "zyx".index(axis.id))
    known = ("batch", "channel", "z", "y", "x", *(("time",) if is_movie(card) else ()))
    others = [name for name in card.input.axis_ids if name not in known]
    if others or len(axes) not in ((0, 2, 3) if card.task == "generate" else (2, 3)):
        raise InputMismatch(
            f"The model '{card.name}' takes {', '.join(card.input.axis_ids)}: features and explanations "
            "are for models of images and movies.",
            "Choose another model.",
        )
    return axes
