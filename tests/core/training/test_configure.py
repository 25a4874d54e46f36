"""Configurations: grids, patches, stages and memory of typical data sets, as tables."""

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from deepbio.errors import OptionError
from deepbio.networks import build
from deepbio.training.configure import Budget, configurations, normalisation, stages, training_bytes
from deepbio.training.fingerprint import Fingerprint
from deepbio.training.plan import make_plan
from deepbio.training.wishes import Wishes

HIPPOCAMPUS = Fingerprint(
    cases=200, dims=3, channels=(1,), size=(36, 50, 35), smallest=(24, 40, 31), spacing=(1.0, 1.0, 1.0),
    unit="millimeter", intensity={}, labels=2, objects=2, object_diameter=(13.0, 15.0, 16.0), foreground=0.05,
    class_fractions={1: 0.03, 2: 0.02}, groups={"": 200}, fine_spacing=(1.0, 1.0, 1.0), orientation="SAR",
    foreground_intensity={"low": -90.0, "median": 40.0, "high": 210.0, "mean": 50.0, "std": 60.0},
)  # fmt: skip
BODY = replace(
    HIPPOCAMPUS,
    cases=30,
    size=(400, 512, 512),
    spacing=(1.0, 0.8, 0.8),
    fine_spacing=(0.8, 0.7, 0.7),
    modality="CT",
)
HEART = replace(
    HIPPOCAMPUS, cases=60, size=(10, 256, 216), spacing=(10.0, 1.5, 1.5), fine_spacing=(5.0, 1.4, 1.4)
)
PROSTATE = replace(HEART, size=(20, 320, 320), spacing=(3.6, 0.6, 0.6), fine_spacing=(3.0, 0.5, 0.5))
SKULL_STRIPPED = replace(HIPPOCAMPUS, size=(155, 240, 240), nonzero=0.4)
UNKNOWN = replace(HIPPOCAMPUS, unit="pixel", orientation="")
SMALL, LARGE = 1.5e9, 8e9


@pytest.mark.parametrize(
    ("seen", "memory", "names", "spacing", "patch"),
    [
        (HIPPOCAMPUS, SMALL, ["3d"], [1.0, 1.0, 1.0], (40, 56, 40)),
        (BODY, LARGE, ["3d", "3d_lowres"], [1.0, 0.8, 0.8], None),
        (HEART, SMALL, ["2d", "3d"], [1.5, 1.5], (192, 192)),
        (PROSTATE, LARGE, ["3d", "2d"], [3.0, 0.6, 0.6], None),
        (replace(PROSTATE, one_orientation=False), SMALL, ["3d", "3d_lowres"], [3.0, 0.6, 0.6], None),
        (UNKNOWN, SMALL, ["3d"], None, (40, 56, 40)),
    ],
    ids=["hippocampus", "body", "heart", "prostate", "prostate, mixed", "unknown"],
)
def test_typical_data_sets(seen: Fingerprint, memory: float, names, spacing, patch) -> None:
    found = configurations(seen, Budget(memory))
    assert list(found) == names
    first = found[names[0]]
    assert first.grid.get("spacing") == spacing
    assert patch is None or first.patch == patch
    assert first.grid.get("orientation") == (seen.orientation if len(first.patch) == 3 and spacing else None)
    for one in found.values():
        assert one.bytes <= memory
        assert one.batch >= 2
        assert all(width % 16 == 0 for width in one.arguments["features"])
        divisor = np.prod(one.arguments["strides"], axis=0)
        assert not (np.array(one.patch) % divisor).any()
        assert (np.array(one.patch) // divisor >= 1).all()


@pytest.mark.parametrize("seen", [BODY, PROSTATE, SKULL_STRIPPED], ids=["body", "prostate", "skull-stripped"])
def test_more_memory_makes_no_smaller_patch(seen: Fingerprint) -> None:
    sizes = [math.prod(configurations(seen, Budget(m * 1e9))["3d"].patch) for m in (0.5, 1, 2, 3.9)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_many_scores_leave_less_for_the_patch() -> None:
    few, many = (configurations(BODY, Budget(SMALL, k))["3d"] for k in (2, 105))
    assert math.prod(many.patch) < math.prod(few.patch)


def test_low_resolution_sees_a_quarter_of_the_volume() -> None:
    found = configurations(BODY, Budget(LARGE))
    low = found["3d_lowres"]
    assert math.prod(low.size) <= 4 * math.prod(low.patch)
    assert all(a > b for a, b in zip(low.grid["spacing"], found["3d"].grid["spacing"], strict=True))


def test_only_the_body_is_computed_where_the_rest_is_zero() -> None:
    one = configurations(SKULL_STRIPPED, Budget(SMALL))["3d"]
    assert one.grid["crop"] == "nonzero"
    assert math.prod(one.size) == pytest.approx(0.4 * math.prod(SKULL_STRIPPED.size), rel=0.05)


@pytest.mark.parametrize(
    ("spacing", "patch", "strides", "kernels"),
    [
        ((1, 1, 1), (40, 56, 40), [[1, 1, 1], *[[2, 2, 2]] * 3], [[3, 3, 3]] * 4),
        ((5, 1.5, 1.5), (12, 160, 160), [[1, 1, 1], [1, 2, 2], [2, 2, 2]], [[1, 3, 3], [3, 3, 3], [3, 3, 3]]),
        ((1, 1), (7, 9), [[1, 1], [1, 2]], [[3, 3], [3, 3]]),
        ((1, 4, 1), (6, 64, 6), [[1, 1, 1], [1, 2, 1]], [[3, 1, 3], [3, 1, 3]]),
    ],
)
def test_stages_follow_from_patch_and_spacing(spacing, patch, strides, kernels) -> None:
    found = stages(spacing, patch, len(strides))
    assert found == (strides, kernels)


def test_too_little_memory_is_told() -> None:
    with pytest.raises(OptionError, match=r"do not fit into 0.001 GB.*--memory"):
        configurations(BODY, Budget(1e6))


def test_the_estimate_grows_with_everything() -> None:
    arguments = {"features": [16, 32], "strides": [[1, 1, 1], [2, 2, 2]], "kernels": [[3] * 3] * 2}
    one = training_bytes(arguments, (16, 16, 16), 1)
    assert one == 4 * (8 * 3 * 4096 + 4096 * 16 * 21 + 512 * 32 * 4 + 5 * 27 * (16 + 4 * 256 + 512 + 1024))
    assert training_bytes(arguments, (16, 16, 16), 2) < 2 * one
    assert training_bytes(arguments, (16, 16, 32), 1) > one


@pytest.mark.parametrize(
    "seen", [HIPPOCAMPUS, BODY, HEART, PROSTATE], ids=["hippocampus", "body", "heart", "prostate"]
)
def test_plans_build_and_take_their_patch(seen: Fingerprint) -> None:
    plan = make_plan(seen, Wishes(memory=1.5))
    net = build(plan.network["name"], plan.network["arguments"])
    assert all(p % d == 0 for p, d in zip(plan.patch, net.divisor, strict=True))
    assert plan.per_slice == (plan.dims == 2)
    assert plan.object_patches == pytest.approx(1 / 3, abs=1e-3)


def test_ct_is_clipped_to_its_foreground() -> None:
    plan = make_plan(BODY, Wishes(memory=1.5))
    clip, scale = plan.normalisation
    assert clip == {"id": "clip", "kwargs": {"min": -90.0, "max": 210.0}}
    assert scale == {"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 50.0, "std": 60.0}}
    assert plan.augmentation.intensity == (round(-140 / 60, 4), round(160 / 60, 4))
    assert normalisation(BODY, 3, "MR")[0]["id"] == "scale_range"
    assert make_plan(BODY, Wishes(modality="MR", memory=1.5)).normalisation[0]["id"] == "scale_range"
    assert make_plan(HIPPOCAMPUS, Wishes(modality="CT")).normalisation[0]["id"] == "clip"


def test_a_slice_network_keeps_the_spacing_through_the_plane() -> None:
    plan = make_plan(HEART, Wishes(memory=1.5))
    assert (plan.configuration, plan.dims, plan.per_slice) == ("2d", 2, True)
    assert plan.grid == {"spacing": [1.5, 1.5], "unit": "millimeter"}
    assert plan.grid_spec.spacing == (None, 1.5, 1.5)


def test_thick_slices_turn_in_their_plane_in_space() -> None:
    augmentation = make_plan(PROSTATE, Wishes(configuration="3d", memory=1.5)).augmentation
    assert augmentation.in_plane
    assert augmentation.coarse_axis == 0
    assert augmentation.spacing == (5.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("seen", "sides", "mirror"),
    [
        (HIPPOCAMPUS, False, (0, 1, 2)),
        (HIPPOCAMPUS, True, (0, 1)),  # SAR: x is left and right
        (replace(HIPPOCAMPUS, orientation="RSA"), True, (1, 2)),
        (replace(HIPPOCAMPUS, sided_axes=(0, 1)), False, (2,)),
        (UNKNOWN, True, ()),
        (replace(HEART, sided_axes=(2,)), False, (0,)),  # axes of the slice
    ],
)
def test_mirrors_that_the_anatomy_allows(seen: Fingerprint, sides: bool, mirror: tuple[int, ...]) -> None:
    assert make_plan(seen, Wishes(sides=sides, memory=1.5)).augmentation.mirror == mirror


def test_numbers_of_objects_have_no_sides() -> None:
    seen = replace(HIPPOCAMPUS, sided_axes=(1,))
    assert make_plan(seen, Wishes(target="instances", memory=1.5)).augmentation.mirror == (0, 1, 2)


def test_a_configuration_that_does_not_fit_is_told() -> None:
    with pytest.raises(OptionError, match=r"'3d_lowres' does not fit.*Choose 3d"):
        make_plan(HIPPOCAMPUS, Wishes(configuration="3d_lowres"))


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"target": "boxes"}, "expected auto, instances or classes"),
        ({"configuration": "4d"}, "expected auto, 2d, 3d or 3d_lowres"),
        ({"modality": "US"}, "expected auto, CT, MR or other"),
        ({"memory": 0.0}, "expected above 0 GB"),
        ({"folds": 1}, "2 folds or more"),
    ],
)
def test_a_wish_that_cannot_be_is_told(wish, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Wishes(**wish)
