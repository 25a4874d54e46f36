"""Beginning with the weights of another model: fine-tuning instead of learning from nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from deepbio.engine.runtimes.with_torch import load_module
from deepbio.errors import OptionError
from deepbio.library import ModelCard, find_model
from deepbio.library.card import Weights
from deepbio.networks.unet import UNet

__all__ = ["begin_with", "started_from", "steps_of", "trainable", "weights_of"]


def started_from(name: str, dims: int) -> tuple[ModelCard, dict[str, Any]]:
    """The card of a model to begin with, and the arguments of its U-Net.

    Parameters
    ----------
    name : str
        As for `deepbio.load_model`.
    dims : {2, 3}
        Spatial axes of the network that is wanted.

    Raises
    ------
    OptionError
        If it is not a U-Net of so many axes.
    """
    card = find_model(name)
    found = [f"{one.format} {one.network or ''}".strip() for one in card.weights]
    for weights in card.weights:
        if weights.format == "safetensors" and weights.network == "unet":
            if weights.arguments.get("dims") == dims:
                return card, dict(weights.arguments)
            found = [f"a U-Net for {weights.arguments.get('dims')}D"]
    raise OptionError(
        f"The model {name!r} is not a {dims}D U-Net of ours ({', '.join(found) or 'no weights'}).",
        "Leave 'start' out, or name a segmentation model that deepbio trained.",
    )


def weights_of(name: str, dims: int) -> Weights:
    """The weights of a model to begin with, unchanged since they were published."""
    card, _ = started_from(name, dims)
    weights = next(one for one in card.weights if one.format == "safetensors")
    weights.verify()
    return weights


def steps_of(card: ModelCard) -> list[dict[str, Any]]:
    """The normalisation of a card, as plans write it."""
    return [{"id": s.id, "kwargs": dict(s.kwargs)} for s in card.input.steps if s.id != "ensure_dtype"]


def trainable(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the network to fit: as published, with batch normalisation where that was folded."""
    norm = arguments.get("norm", "batch")
    folded = norm == "none" and arguments["dims"] == 2
    return {**arguments, "norm": "batch" if folded else norm, "deep_supervision": True}


def begin_with(network: nn.Module, name: str, images: Callable[[], Tensor] | None = None) -> None:
    """Give a U-Net the weights of a model, so that it computes what the model does.

    Batch normalisations, which the model's weights have folded into the convolutions, are taken out of them
    again: with the statistics of some images they are what training needs, and the scores are the same. Heads
    for other classes, and those of deep supervision, stay as they are.

    Parameters
    ----------
    network : UNet
        Of the same shape.
    name : str
        As in `started_from`.
    images : callable, optional
        Gives normalised images (N, C, [z,] y, x), as many as statistics need; for batch normalisation.

    Raises
    ------
    OptionError
        If the networks differ in more than their heads.
    """
    assert isinstance(network, UNet)  # noqa: S101 - for the type checker
    known = load_module(weights_of(name, network.dims)).state_dict()
    mine = network.state_dict()
    head = [key for key in known if key.startswith("heads.")]
    if any(known[key].shape != mine[key].shape for key in head):
        known = {key: value for key, value in known.items() if key not in head}
    biases = {key: value for key, value in known.items() if key not in mine}
    other = [key for key in known if key in mine and known[key].shape != mine[key].shape]
    norms = tuple(f"{_norm_of(key)}." for key in biases)
    missing = [key for key in mine if key not in known and not key.startswith(("heads.", *norms))]
    if other or missing or any(f"{norm}weight" not in mine for norm in norms):
        raise OptionError(
            f"The network of the plan is not that of {name!r}: {', '.join([*other, *missing, *biases][:3])} differ.",
            "Make the plan with --start, and leave its network as it is.",
        )
    network.load_state_dict(known | {k: v for k, v in mine.items() if k not in known}, strict=False)
    if biases:
        assert images is not None, "batch normalisation needs statistics"  # noqa: S101
        _unfold(network, {_norm_of(key): value for key, value in biases.items()}, images())


def _norm_of(bias: str) -> str:
    """Name of the normalisation that follows the convolution with this bias: ``a.0.bias`` and ``a.1``."""
    return bias.removesuffix("0.bias") + "1"


@torch.no_grad()
def _unfold(network: UNet, biases: dict[str, Tensor], images: Tensor) -> None:
    """Normalise by the statistics of images, and undo it by gain and offset."""

    def hook(norm: Any, inputs: tuple[Tensor, ...], bias: Tensor) -> None:
        x = inputs[0]
        axes = [0, *range(2, x.ndim)]
        mean, variance = x.mean(axes), x.var(axes, correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(bias + mean)

    modules = dict(network.named_modules())
    hooks = [
        modules[name].register_forward_pre_hook(lambda norm, inputs, bias=bias: hook(norm, inputs, bias))
        for name, bias in biases.items()
    ]
    training = network.training
    network.eval()(images)
    network.train(training)
    for one in hooks:
        one.remove()
