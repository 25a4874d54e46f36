"""Weights of StarDist's networks out of HDF5, under the names of our network.

Keras writes them in two layouts: version 2, and StarDist with version 3, in a group for each layer, whose attribute
``weight_names`` says what is in it; version 3 itself (``.weights.h5``) in ``layers/NAME/vars/0``, where layers are
numbered by their kind. Both are read as data: links and data outside of the file are refused, and nothing is read whose
shape is not the network's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from deepbio.errors import WeightsError

__all__ = ["star_state"]

_VARIABLES = {
    "conv": ("kernel", "bias"),
    "norm": ("gamma", "beta", "moving_mean", "moving_variance"),
}
_OURS = {
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_MOST_LAYERS = 10_000

Layers = list[tuple[str, dict[str, Any]]]
"""Names of layers, in their order, and their data sets by the names of the variables."""


def star_state(
    path: Path, network: nn.Module, arguments: Mapping[str, Any], prefix: str = ""
) -> dict[str, Tensor]:
    """Read the weights for a network.

    Parameters
    ----------
    path : Path
        The HDF5 file.
    network : StarUNet or StarResNet
        With random weights, for names and shapes.
    arguments : mapping
        It was built from.
    prefix : str
        Before the names of the U-Net's layers in the file.

    Returns
    -------
    dict of str to Tensor
        float32; a state of the network.

    Raises
    ------
    WeightsError
        If the file cannot be read, or its weights are not those of the network.
    """
    try:
        with h5py.File(path, "r") as file:
            convs, norms = _layers(file, path)
            return _state(network, _ordered(convs, arguments, prefix, path), norms, path)
    except WeightsError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        told = str(error).split("\n", 1)[0]
        raise WeightsError(
            f"'{path}' cannot be read as HDF5 of Keras: {told}",
            "Get the model again, or save its weights anew.",
        ) from error


def _layers(file: Any, path: Path) -> tuple[Layers, Layers]:
    """Convolutions and normalisations, in the order of the network."""
    root = _member(file, "model_weights") if _holds(file, "model_weights") else file  # of a whole model
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        found = [(name, _by_names(_member(root, name))) for name in _names(root, "layer_names")]
    elif _holds(root, "layers"):
        found = _numbered(_member(root, "layers"))
    else:
        raise WeightsError(
            f"'{path}' holds no weights of Keras: neither the attribute 'layer_names' nor the group 'layers'; it has "
            f"{', '.join(list(root)[:8]) or 'nothing'}.",
            "Expected what StarDist saved as weights_best.h5.",
        )
    convs = [(name, one) for name, one in found if "kernel" in one]
    return convs, [(name, one) for name, one in found if "gamma" in one]


def _names(group: Any, attribute: str) -> list[str]:
    """An attribute that is a list of names; long ones are in parts."""
    if attribute in group.attrs:
        parts = [group.attrs[attribute]]
    else:
        parts, number = [], 0
        while f"{attribute}{number}" in group.attrs:
            parts.append(group.attrs[f"{attribute}{number}"])
            number += 1
    names = [name for part in parts for name in np.ravel(part).tolist()]
    if len(names) > _MOST_LAYERS:
        raise ValueError(f"{len(names)} names in {attribute}")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _by_names(group: Any) -> dict[str, Any]:
    """Data sets of a layer in the older layout, such as ``prob/kernel:0``."""
    return {
        name.rpartition("/")[2].partition(":")[0]: _member(group, name)
        for name in _names(group, "weight_names")
    }


def _numbered(layers: Any) -> Layers:
    """Layers of the newer layout; those of one kind are numbered in the order of the network."""
    found = []
    kinds = (("conv2d", "conv"), ("conv3d", "conv"), ("batch_normalization", "norm"))
    for kind, variables in ((name, _VARIABLES[word]) for name, word in kinds):
        numbers = sorted(
            int(name[len(kind) + 1 :] or 0) for name in layers if re.fullmatch(rf"{kind}(_\d{{1,5}})?", name)
        )
        for number in numbers:
            name = f"{kind}_{number}" if number else kind
            group = _member(layers, f"{name}/vars")
            present = [(str(k), word) for k, word in enumerate(variables) if k == 0 or _holds(group, str(k))]
            found.append((name, {word: _member(group, key) for key, word in present}))
    return found


def _holds(group: Any, name: str) -> bool:
    """Whether there is a link of this name, which is not followed."""
    return group.get(name, getlink=True) is not None


def _member(group: Any, name: str) -> Any:
    """What lies in the file itself under a name."""
    for part in name.split("/"):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            what = "is missing" if link is None else "is a link to somewhere else, which is not followed"
            raise KeyError(f"{name} {what}")
        group = group[part]
    return group


def _ordered(convs: Layers, arguments: Mapping[str, Any], prefix: str, path: Path) -> Layers:
    """Convolutions in the order of our network's modules: by their names where they have the ones StarDist gives."""
    expected = _expected(arguments, prefix)
    known = {name: one for name, one in convs if name in expected}
    others = [(name, one) for name, one in convs if name not in expected]
    if len(convs) != len(expected) or (known and len(known) != sum(name != "" for name in expected)):
        missing = [name for name in expected if name and name not in known]
        raise WeightsError(
            f"'{path}' has {len(convs)} convolutions ({', '.join(name for name, _ in convs[:4])}...); the "
            f"configuration asks for {len(expected)}"
            + (f", such as {missing[0]}." if known and missing else "."),
            "The weights are of another model than the configuration.",
        )
    rest = iter(others)
    return [(name, known[name]) if name in known else next(rest) for name in expected]


def _expected(arguments: Mapping[str, Any], prefix: str) -> list[str]:
    """Names of all convolutions; empty for those that Keras names, before the U-Net and in residual blocks."""
    heads = [*(["features"] if arguments["after"] else []), "prob", "dist"]
    convs = arguments["convs"]
    if "blocks" in arguments:  # two before the blocks, and one more in blocks that halve an axis
        halving = max(g.bit_length() - 1 for g in arguments["grid"])
        return [*[""] * (2 + arguments["blocks"] * convs + halving), *heads]
    depth = arguments["depth"]
    unet = [f"down_level_{level}_no_{k}" for level in range(depth) for k in range(convs)]
    places = [*range(convs - 1), convs]
    unet += [f"middle_{k}" for k in places]
    unet += [f"up_level_{level}_no_{k}" for level in reversed(range(depth)) for k in places]
    pools = max(g.bit_length() - 1 for g in arguments["grid"])
    return [*[""] * (pools * convs), *(prefix + name for name in unet), *heads]


def _state(network: nn.Module, convs: Layers, norms: Layers, path: Path) -> dict[str, Tensor]:
    """All tensors of the network's state, with the shapes that it has."""
    kinds = {"conv": ((nn.Conv2d, nn.Conv3d), convs), "norm": ((nn.BatchNorm2d, nn.BatchNorm3d), norms)}
    expected, state = network.state_dict(), {}
    for kind, (modules, layers) in kinds.items():
        names = [name for name, one in network.named_modules() if isinstance(one, modules)]
        if len(names) != len(layers):
            raise WeightsError(
                f"'{path}' has {len(layers)} layers of batch normalisation; the configuration asks for {len(names)}.",
                "The weights are of another model than the configuration.",
            )
        for ours, (theirs, data) in zip(names, layers, strict=True):
            for word in _VARIABLES[kind]:
                key = f"{ours}.{_OURS[word]}"
                if key not in expected and word in data:
                    raise WeightsError(
                        f"The layer {theirs} in '{path}' has a {word}; the configuration asks for none.",
                        "The weights are of another model than the configuration.",
                    )
                if key not in expected:  # a bias, where a normalisation comes next
                    continue
                state[key] = _tensor(data, word, tuple(expected[key].shape), f"{theirs} in '{path}'")
    return {**{key: value for key, value in expected.items() if key.endswith("num_batches_tracked")}, **state}


def _tensor(data: Mapping[str, Any], word: str, shape: tuple[int, ...], where: str) -> Tensor:
    """A variable with the axes of ours: outputs, inputs, [z,] y, x."""
    found = data.get(word)
    if found is None:
        raise WeightsError(f"The layer {where} has no {word}.", "Get the model again.")
    theirs = (*shape[2:], shape[1], shape[0]) if word == "kernel" else shape
    is_plain = isinstance(found, h5py.Dataset) and found.external is None and not found.is_virtual
    if not is_plain or found.shape != theirs or found.dtype.kind != "f":
        told = f"{found.shape} of {found.dtype}" if is_plain else "stored elsewhere"
        raise WeightsError(
            f"The {word} of {where} is {told}; the configuration asks for floating-point numbers of shape {theirs}.",
            "The weights are of another model than the configuration.",
        )
    values = torch.from_numpy(np.asarray(found[()], np.float32))
    if not torch.isfinite(values).all():
        raise WeightsError(f"The {word} of {where} has values that are not finite.", "Get the model again.")
    if word != "kernel":
        return values
    return values.permute(values.ndim - 1, values.ndim - 2, *range(values.ndim - 2)).contiguous()
