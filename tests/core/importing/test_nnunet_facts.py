"""Plans of nnU-Net in our words: real ones, and what is changed in them one by one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepbio.errors import CardError
from deepbio.importing.choice import ImportChoice
from deepbio.importing.nnunet import read_training
from deepbio.importing.nnunet_facts import Facts, facts_of
from deepbio.library.card import Step

from .conftest import NNUNET

Changed = Callable[..., Path]
Change = Callable[[dict[str, Any]], None]


def _facts(folder: Path, configuration: str = "3d_fullres") -> Facts:
    return facts_of(read_training(folder, ImportChoice()), configuration)


def _plan(configuration: str = "3d_fullres", **entries: Any) -> Change:
    return lambda plans: plans["configurations"][configuration].update(entries)


def _network(**entries: Any) -> Change:
    return lambda plans: plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"].update(entries)


def test_a_plain_network_of_classes() -> None:
    facts = _facts(NNUNET / "plain_3d")
    assert (facts.dims, facts.order, facts.patch, facts.spacing) == (
        3,
        (0, 1, 2),
        (40, 56, 40),
        (1.0, 1.0, 1.0),
    )
    assert facts.steps == (Step("zero_mean_unit_variance", {"axes": ["z", "y", "x"], "eps": 1e-8}),)
    assert (facts.channels, facts.labels, facts.inside) == (("MRI",), {1: "Anterior", 2: "Posterior"}, False)
    assert (facts.outputs, facts.regions) == (("background", "Anterior", "Posterior"), ())
    assert facts.arguments == {
        "dims": 3, "in_channels": 1, "out_channels": 3, "features": [8, 16, 24],
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]], "kernels": [[3, 3, 3]] * 3,
        "convs": [2, 2, 2], "decoder_convs": 2, "encoder": "plain", "norm": "instance",
    }  # fmt: skip


def test_a_network_that_sees_the_axes_in_another_order_is_turned() -> None:
    facts = _facts(NNUNET / "regions_3d")
    # theirs: x, z, y with the patch 7, 32, 48, the spacing 4, 1, 1 and strides of 1, 2, 2
    assert (facts.order, facts.patch, facts.spacing) == ((1, 2, 0), (32, 48, 7), (1.0, 1.0, 4.0))
    assert facts.arguments["strides"] == [[1, 1, 1], [2, 2, 1], [2, 2, 1]]
    assert facts.arguments["kernels"] == [[3, 3, 1], [3, 3, 1], [3, 3, 3]]
    assert (facts.arguments["encoder"], facts.arguments["convs"]) == ("pooled", [1, 2, 2])
    assert (facts.channels, facts.inside) == (("T1", "made"), True)
    assert (facts.regions, facts.outputs) == ((1, 2), ("hippocampus", "posterior"))
    assert facts.labels == {1: "hippocampus without posterior", 2: "posterior"}


def test_a_2d_network_is_run_slice_by_slice_but_for_flat_pictures(changed: Changed) -> None:
    facts = _facts(NNUNET / "plain_2d", "2d")
    assert (facts.dims, facts.order, facts.patch, facts.spacing) == (2, (0, 1), (56, 40), (1.0, 1.0))
    assert facts.per_slice
    flat = changed("plain_2d", plans=lambda plans: plans.update(image_reader_writer="NaturalImage2DIO"))
    assert (_facts(flat, "2d").per_slice, _facts(flat, "2d").spacing) == (False, ())


def test_ct_is_clipped_and_scaled_by_the_numbers_of_the_training(changed: Changed) -> None:
    def ct(plans: dict[str, Any]) -> None:
        _plan(normalization_schemes=["CTNormalization"])(plans)
        told = {"mean": 90.0, "std": 40.0, "percentile_00_5": -950.0, "percentile_99_5": 300.5}
        plans["foreground_intensity_properties_per_channel"] = {"0": told}

    facts = _facts(changed("plain_3d", plans=ct))
    assert facts.steps[0] == Step("clip", {"min": -950.0, "max": 300.5})
    assert facts.steps[1].kwargs == pytest.approx({"gain": 1 / 40, "offset": -90 / 40})


@pytest.mark.parametrize(
    ("scheme", "step"),
    [
        ("NoNormalization", None),
        ("RGBTo01Normalization", "scale_linear"),
        ("RescaleTo01Normalization", "scale_range"),
    ],
)
def test_other_normalisations(changed: Changed, scheme: str, step: str | None) -> None:
    facts = _facts(changed("plain_3d", plans=_plan(normalization_schemes=[scheme], use_mask_for_norm=[True])))
    assert [one.id for one in facts.steps] == ([step] if step else [])
    assert not facts.inside  # only z-scores look at the mask


def test_plans_of_before_version_2_4_name_the_network_in_other_words(changed: Changed) -> None:
    def old(plans: dict[str, Any]) -> None:
        plan = plans["configurations"]["3d_fullres"]
        told = plan.pop("architecture")["arch_kwargs"]
        plan |= {
            "UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 8, "unet_max_num_features": 16,
            "n_conv_per_stage_encoder": told["n_conv_per_stage"], "conv_kernel_sizes": told["kernel_sizes"],
            "n_conv_per_stage_decoder": told["n_conv_per_stage_decoder"], "pool_op_kernel_sizes": told["strides"],
        }  # fmt: skip

    found = _facts(changed("plain_3d", plans=old)).arguments
    assert found == {**_facts(NNUNET / "plain_3d").arguments, "features": [8, 16, 16]}


def test_a_configuration_may_inherit_from_another(changed: Changed) -> None:
    def inherit(plans: dict[str, Any]) -> None:
        plans["configurations"]["wider"] = {"inherits_from": "3d_fullres", "patch_size": [64, 64, 64]}

    facts = _facts(changed("plain_3d", plans=inherit), "wider")
    assert (facts.patch, facts.arguments["features"]) == ((64, 64, 64), [8, 16, 24])


def test_regions_that_hold_others_are_what_is_left_of_them(changed: Changed) -> None:
    def tumour(dataset: dict[str, Any]) -> None:
        dataset["labels"] = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3, "ignore": 4}
        dataset["regions_class_order"] = [1, 2, 3]

    facts = _facts(changed("regions_3d", dataset=tumour))
    assert facts.labels == {1: "whole without core", 2: "core without active", 3: "active"}
    assert facts.outputs == ("whole", "core", "active")
    assert facts.arguments["out_channels"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_plan(normalization_schemes=["CTNormalization", "ZScoreNormalization"]), "all channels are normalised in one way"),
        (_plan(normalization_schemes=["MyOwn"]), "The normalisation 'MyOwn' is not known"),
        (_network(nonlin="torch.nn.ReLU"), "nonlin 'torch.nn.ReLU', which is not known"),
        (_network(nonlin_kwargs={"negative_slope": 0.2}), "nonlin_kwargs"),
        (_network(norm_op="torch.nn.GroupNorm"), "norm_op 'torch.nn.GroupNorm'"),
        (_network(norm_op_kwargs={"eps": 1e-3, "affine": True}), "norm_op_kwargs"),
        (_network(n_conv_per_stage_decoder=[2, 1]), r"n_conv_per_stage_decoder \[2, 1\]"),
        (_network(strides=[[1, 1, 1]]), "are not what nnU-Net v2 writes: ValueError 1 values for 3 stages"),
        (lambda plans: plans.pop("transpose_forward"), "KeyError 'transpose_forward'"),
        (
            lambda plans: plans["configurations"]["3d_fullres"]["architecture"].update(network_class_name="a.b.Primus"),
            "The network is a 'Primus'; known are PlainConvUNet, ResidualEncoderUNet",
        ),
        (lambda plans: plans["configurations"].pop("3d_fullres"), "no configuration '3d_fullres'; they have 2d"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_told(changed: Changed, change: Change, message: str) -> None:
    with pytest.raises(CardError, match=message):
        _facts(changed("plain_3d", plans=change))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 0, "a": 1, "b": 3}, r"labels \[1, 3\]; expected all from 1 on"),
        ({"background": 0, "a": [1, 2], "b": 2}, "2 regions and regions_class_order None"),
    ],
)
def test_labels_that_no_network_gives_are_told(
    changed: Changed, labels: dict[str, Any], message: str
) -> None:
    folder = changed("plain_3d", dataset=lambda dataset: dataset.update(labels=labels))
    with pytest.raises(CardError, match=message):
        _facts(folder)


def test_slices_across_another_axis_are_told(changed: Changed) -> None:
    with pytest.raises(CardError, match="works on slices across x"):
        _facts(changed("plain_2d", plans=lambda plans: plans.update(transpose_forward=[2, 0, 1])), "2d")
