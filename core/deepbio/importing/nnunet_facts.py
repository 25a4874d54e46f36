"""From nnU-Net's plans to what a card of ours says: network, grid, pre-processing, labels.

nnU-Net turns the axes of the images (``transpose_forward``) so that the one with the largest spacing comes first.
Here the network is turned instead (:mod:`deepbio.importing.nnunet_state`), so all of this is along z, y and x as
they are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepbio.errors import CardError
from deepbio.importing.nnunet import Training
from deepbio.library.card import Step

__all__ = ["Facts", "facts_of", "turned_back"]

_ENCODERS = {
    "PlainConvUNet": ("plain", "n_conv_per_stage"),
    "ResidualEncoderUNet": ("pooled", "n_blocks_per_stage"),
}
_NORMS = {"InstanceNorm": "instance", "BatchNorm": "batch"}
_SLOPE, _EPS = 0.01, 1e-5  # of the U-Net here, and of nnU-Net by default


@dataclass(frozen=True)
class Facts:
    """What a configuration of nnU-Net is, in our words.

    Attributes
    ----------
    configuration : str
        Such as ``"3d_fullres"``.
    dims : {2, 3}
        Spatial axes of the network.
    order : tuple of int
        Axis of the network for each of the image's last `dims` axes, in the network as it was trained.
    arguments : mapping
        Of our network, along the image's axes.
    patch : tuple of int
        Size of the tiles.
    spacing : tuple of float
        Spacing that images are brought to; empty where they keep their own.
    steps : tuple of Step
        Pre-processing.
    inside : bool
        Whether only pixels that are not 0 are normalised.
    channels : tuple of str
        Names of the input's channels.
    labels : mapping of int to str
        Names of the labels but the background; of a region, what is left of it under those that lie over it.
    outputs : tuple of str
        Names of the output channels.
    regions : tuple of int
        Label of each output channel, where these are regions that lie over each other; else empty.
    per_slice : bool
        Whether stacks are run slice by slice.
    previous : str
        Of a cascade, the configuration whose labels the network takes, too.
    """

    configuration: str
    dims: int
    order: tuple[int, ...]
    arguments: Mapping[str, Any]
    patch: tuple[int, ...]
    spacing: tuple[float, ...]
    steps: tuple[Step, ...]
    inside: bool
    channels: tuple[str, ...]
    labels: Mapping[int, str]
    outputs: tuple[str, ...]
    regions: tuple[int, ...] = field(default=())
    per_slice: bool = False
    previous: str = ""

    @property
    def network(self) -> str:
        """Which of our networks it is."""
        return "guided_unet" if self.previous else "unet"


def facts_of(training: Training, configuration: str) -> Facts:
    """Read a configuration.

    Parameters
    ----------
    training : Training
        Plans and data set.
    configuration : str
        Its name in the plans.

    Raises
    ------
    CardError
        If it is not there, or asks for something that is not known here; the message says what.
    """
    plan = _configuration(training.plans, configuration)
    try:
        return _facts(training, configuration, plan)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CardError(
            f"The plans of '{training.folder}' are not what nnU-Net v2 writes: {type(error).__name__} {error}.",
            "Get the model again, or open an issue with its plans.json.",
        ) from error


def turned_back(values: Sequence[Any], order: Sequence[int]) -> list[Any]:
    """Values along the network's axes, in the order of the image's.

    Examples
    --------
    >>> turned_back(["x", "z", "y"], (1, 2, 0))
    ['z', 'y', 'x']
    """
    return [values[axis] for axis in order]


def _configuration(plans: Mapping[str, Any], name: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """Entries of a configuration, with those that it inherits."""
    known = plans["configurations"]
    if name not in known or name in seen:
        raise CardError(f"The plans have no configuration {name!r}; they have {', '.join(known)}.")
    own = dict(known[name])
    parent = own.pop("inherits_from", None)
    return {**_configuration(plans, parent, (*seen, name)), **own} if parent else own


def _facts(training: Training, name: str, plan: Mapping[str, Any]) -> Facts:
    forward = [int(axis) for axis in training.plans["transpose_forward"]]
    dims = len(plan["patch_size"])
    order = _order(forward, dims)
    channels = tuple(str(one) for one in _sorted(_channel_names(training.dataset)))
    labels, outputs, regions = _labels(training.dataset)
    steps, inside = _steps(training.plans, plan, len(channels), dims)
    natural = str(training.plans.get("image_reader_writer", "")).startswith("NaturalImage")
    previous = str(plan.get("previous_stage") or "")
    arguments = _arguments(plan, order, len(channels), len(outputs))
    if previous:
        arguments |= {"in_channels": len(channels) + len(labels), "labels": _guide_labels(labels, name)}
    spacing = () if natural else tuple(float(s) for s in turned_back(plan["spacing"], order))
    return Facts(
        configuration=name,
        dims=dims,
        order=order,
        arguments=arguments,
        patch=tuple(int(n) for n in turned_back(plan["patch_size"], order)),
        spacing=spacing,
        steps=steps,
        inside=inside,
        channels=channels,
        labels=labels,
        outputs=outputs,
        regions=regions,
        per_slice=dims == 2 and not natural,
        previous=previous,
    )


def _guide_labels(labels: Mapping[int, str], name: str) -> int:
    """The highest label of a first stage, whose labels must be all from 1 on."""
    if sorted(labels) != list(range(1, len(labels) + 1)):
        raise CardError(
            f"The configuration {name!r} takes the labels {sorted(labels)} of its first stage; expected all from 1 on."
        )
    return len(labels)


def _order(forward: Sequence[int], dims: int) -> tuple[int, ...]:
    back = [forward.index(axis) for axis in range(3)]
    if dims == 3:
        return tuple(back)
    if forward[0] != 0:
        raise CardError(
            f"The 2D network works on slices across {'zyx'[forward[0]]}; here slices are across z.",
            "Use the 3D configuration.",
        )
    return tuple(axis - 1 for axis in back[1:])


def _channel_names(dataset: Mapping[str, Any]) -> Mapping[str, str]:
    names = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(names, Mapping) or not names:
        raise CardError("dataset.json names no channels (channel_names); it is not of nnU-Net v2.")
    return names


def _sorted(names: Mapping[str, str]) -> list[str]:
    return [names[key] for key in sorted(names, key=int)]


def _labels(dataset: Mapping[str, Any]) -> tuple[dict[int, str], tuple[str, ...], tuple[int, ...]]:
    """Names by label, names of the output channels, and the label of each region."""
    entries = {name: value for name, value in dataset["labels"].items() if name != "ignore"}
    background = [name for name, value in entries.items() if value in (0, [0])]
    found = {name: value for name, value in entries.items() if name not in background}
    if all(not isinstance(value, list) or len(value) == 1 for value in found.values()):
        plain = {int(v[0] if isinstance(v, list) else v): str(name) for name, v in found.items()}
        if sorted(plain) != list(range(1, len(plain) + 1)):
            raise CardError(
                f"dataset.json has the labels {sorted(plain)}; expected all from 1 on, without gaps."
            )
        plain = dict(sorted(plain.items()))
        return plain, ("background", *plain.values()), ()
    order = dataset.get("regions_class_order")
    if not isinstance(order, list) or len(order) != len(found):
        raise CardError(
            f"dataset.json has {len(found)} regions and regions_class_order {order!r}; expected one for each."
        )
    regions = tuple(int(label) for label in order)
    names = _names_of_rests(
        {str(name): frozenset(np.atleast_1d(value).tolist()) for name, value in found.items()}
    )
    return dict(zip(regions, names, strict=True)), tuple(map(str, found)), regions


def _names_of_rests(regions: Mapping[str, frozenset[int]]) -> list[str]:
    """What a region's label means once later regions lie over it: ``tumour without core``.

    Examples
    --------
    >>> _names_of_rests({"tumour": frozenset({1, 2, 3}), "core": frozenset({2, 3}), "active": frozenset({3})})
    ['tumour without core', 'core without active', 'active']
    """
    entries = list(regions.items())
    names = []
    for k, (name, labels) in enumerate(entries):
        over = [(other, set_) for other, set_ in entries[k + 1 :] if set_ & labels]
        widest = [other for other, set_ in over if not any(set_ < larger for _, larger in over)]
        names.append(name + (f" without {' and '.join(widest)}" if widest else ""))
    return names


def _steps(
    plans: Mapping[str, Any], plan: Mapping[str, Any], channels: int, dims: int
) -> tuple[tuple[Step, ...], bool]:
    schemes = [str(scheme) for scheme in plan["normalization_schemes"]]
    masks = [bool(flag) for flag in plan["use_mask_for_norm"]]
    if len(schemes) != channels or len(set(schemes)) > 1 or len(set(masks)) > 1:
        raise CardError(
            f"The {channels} channels are normalised by {', '.join(schemes)} (inside of the image only: {masks}); here "
            "all channels are normalised in one way."
        )
    axes = ["z", "y", "x"][3 - dims :]
    if schemes[0] == "CTNormalization":
        return _ct_steps(plans, channels), False
    known = {
        "ZScoreNormalization": (Step("zero_mean_unit_variance", {"axes": axes, "eps": 1e-8}),),
        "RescaleTo01Normalization": (
            Step("scale_range", {"axes": axes, "min_percentile": 0.0, "max_percentile": 100.0, "eps": 1e-8}),
        ),
        "RGBTo01Normalization": (Step("scale_linear", {"gain": 1 / 255, "offset": 0.0}),),
        "NoNormalization": (),
    }
    if schemes[0] not in known:
        raise CardError(
            f"The normalisation {schemes[0]!r} is not known; known are CTNormalization, {', '.join(known)}."
        )
    return known[schemes[0]], masks[0] and schemes[0] == "ZScoreNormalization"


def _ct_steps(plans: Mapping[str, Any], channels: int) -> tuple[Step, ...]:
    name = "foreground_intensity_properties_per_channel"
    told = plans[name] if name in plans else plans["foreground_intensity_properties_by_modality"]
    each = [told[str(k)] for k in range(channels)]
    limits = {(float(one["percentile_00_5"]), float(one["percentile_99_5"])) for one in each}
    if len(limits) > 1:
        raise CardError(
            f"The {channels} channels are clipped to different intensities (CTNormalization), which a card cannot say."
        )
    low, high = limits.pop()
    mean, std = float(each[0]["mean"]), max(float(each[0]["std"]), 1e-8)
    if any((float(one["mean"]), float(one["std"])) != (mean, float(each[0]["std"])) for one in each):
        raise CardError(
            f"The {channels} channels have different means (CTNormalization), which a card cannot say."
        )
    return (
        Step("clip", {"min": low, "max": high}),
        Step("scale_linear", {"gain": 1 / std, "offset": -mean / std}),
    )


def _arguments(plan: Mapping[str, Any], order: Sequence[int], inputs: int, outputs: int) -> dict[str, Any]:
    """Arguments of our U-Net."""
    kind, told = _architecture(plan)
    if kind not in _ENCODERS:
        raise CardError(
            f"The network is a {kind!r}; known are {', '.join(_ENCODERS)}.", "Export another configuration."
        )
    encoder, counts = _ENCODERS[kind]
    stages, dims = int(told["n_stages"]), len(order)
    decoder = _each(told["n_conv_per_stage_decoder"], stages - 1)
    norm = next((ours for theirs, ours in _NORMS.items() if theirs in str(told.get("norm_op"))), None)
    kwargs, activation = told.get("norm_op_kwargs") or {}, told.get("nonlin_kwargs") or {}
    unknown = {
        "norm_op": norm is None,
        "norm_op_kwargs": float(kwargs.get("eps", _EPS)) != _EPS
        or (norm == "instance" and not kwargs.get("affine", False)),
        "nonlin": not str(told.get("nonlin")).endswith("LeakyReLU"),
        "nonlin_kwargs": float(activation.get("negative_slope", _SLOPE)) != _SLOPE,
        "nonlin_first": bool(told.get("nonlin_first")),
        "n_conv_per_stage_decoder": len(set(decoder)) != 1,
        "block": not str(told.get("block") or "BasicBlockD").endswith("BasicBlockD"),
        "stem_channels": told.get("stem_channels")
        not in (None, _each(told["features_per_stage"], stages)[0]),
    }
    for entry, is_unknown in unknown.items():
        if is_unknown:
            raise CardError(f"The network {kind} has {entry} {told.get(entry)!r}, which is not known here.")
    return {
        "dims": dims,
        "in_channels": inputs,
        "out_channels": outputs,
        "features": [int(n) for n in _each(told["features_per_stage"], stages)],
        "strides": [_axes(one, order) for one in _each(told["strides"], stages)],
        "kernels": [_axes(one, order) for one in _each(told["kernel_sizes"], stages)],
        "convs": [int(n) for n in _each(told[counts], stages)],
        "decoder_convs": int(decoder[0]),
        "encoder": encoder,
        "norm": norm,
    }


def _each(value: Any, count: int) -> list[Any]:
    """One value for each stage; plans may have one for all."""
    found = [value] * count if isinstance(value, int) else list(value)
    if len(found) != count:
        raise ValueError(f"{len(found)} values for {count} stages")
    return found


def _axes(value: Any, order: Sequence[int]) -> list[int]:
    if isinstance(value, int):
        return [value] * len(order)
    return [int(n) for n in turned_back(list(value), order)]


def _architecture(plan: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Class of the network, and its arguments; plans before version 2.4 say them in other words."""
    if "architecture" in plan:
        entry = plan["architecture"]
        return str(entry["network_class_name"]).rpartition(".")[2], entry["arch_kwargs"]
    stages = len(plan["n_conv_per_stage_encoder"])
    base, most = int(plan["UNet_base_num_features"]), int(plan["unet_max_num_features"])
    kind = str(plan["UNet_class_name"])
    return kind, {
        "n_stages": stages,
        "features_per_stage": [min(base * 2**stage, most) for stage in range(stages)],
        "kernel_sizes": plan["conv_kernel_sizes"],
        "strides": plan["pool_op_kernel_sizes"],
        _ENCODERS.get(kind, ("", "n_conv_per_stage"))[1]: plan["n_conv_per_stage_encoder"],
        "n_conv_per_stage_decoder": plan["n_conv_per_stage_decoder"],
        "norm_op": "InstanceNorm",
        "norm_op_kwargs": {"eps": _EPS, "affine": True},
        "nonlin": "LeakyReLU",
    }
