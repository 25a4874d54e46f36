"""Fingerprints of known data, and the plans that follow."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from deepbio.cases import read_cases, split_cases
from deepbio.errors import ImageError, OptionError
from deepbio.networks import build
from deepbio.training.fingerprint import Fingerprint, make_fingerprint
from deepbio.training.plan import make_plan, read_plan, write_plan
from deepbio.training.wishes import Wishes

SEEN = Fingerprint(
    cases=40,
    dims=2,
    channels=(1, 3),
    size=(300, 400),
    smallest=(256, 256),
    spacing=(1.0, 1.0),
    unit="pixel",
    intensity={},
    labels=200,
    objects=30,
    object_diameter=(8.0, 20.0, 50.0),
    foreground=0.15,
    class_fractions={},
    groups={"": 40},
)
VOLUME = replace(
    SEEN, dims=3, channels=(1,), size=(20, 200, 200), smallest=(16, 160, 160), spacing=(5.0, 1.0, 1.0), labels=2,
    class_fractions={1: 0.1, 2: 0.05},
)  # fmt: skip


def test_fingerprint_of_discs(discs: Path) -> None:
    seen = make_fingerprint(split_cases(read_cases(discs))[0])
    assert (seen.cases, seen.dims, seen.channels, seen.size) == (8, 2, (1,), (75, 91))
    assert seen.spacing == (0.5, 0.5)
    assert seen.unit == "micrometer"
    assert 5 < seen.object_diameter[0] < seen.object_diameter[1] < seen.object_diameter[2] < 25
    assert 0.3 < seen.foreground < 0.9
    assert seen.intensity["low"] < 30 < 180 < seen.intensity["high"]


def test_many_labels_are_objects_few_are_classes() -> None:
    assert make_plan(SEEN).target == "instances"
    assert make_plan(SEEN, Wishes(target="classes")).target == "classes"
    plan = make_plan(VOLUME)
    assert (plan.target, plan.classes, plan.scores) == ("classes", 2, 3)


def test_grey_beside_colour_makes_a_colour_network() -> None:
    plan = make_plan(SEEN)
    assert plan.channels == 3
    assert plan.network["arguments"]["out_channels"] == plan.scores == 4


def test_other_mixtures_of_channels_are_refused() -> None:
    with pytest.raises(ImageError, match=r"\(2, 3\) channels"):
        make_plan(replace(SEEN, channels=(2, 3)))


@pytest.mark.parametrize("seen", [SEEN, VOLUME], ids=["2D", "3D"])
def test_the_network_takes_the_patch(seen: Fingerprint) -> None:
    plan = make_plan(seen)
    net = build(plan.network["name"], plan.network["arguments"])
    assert len(plan.patch) == seen.dims
    assert all(p % d == 0 for p, d in zip(plan.patch, net.divisor, strict=True))
    # 2D patches lie within the smallest image, 3D ones are the median volume, rounded up
    room = seen.smallest if seen.dims == 2 else [n + d for n, d in zip(seen.size, net.divisor, strict=True)]
    assert all(p <= n for p, n in zip(plan.patch, room, strict=True))


def test_a_coarse_axis_is_not_downsampled_at_first() -> None:
    arguments = make_plan(VOLUME).network["arguments"]
    assert arguments["strides"][:3] == [[1, 1, 1], [1, 2, 2], [1, 2, 2]]
    assert arguments["kernels"][0] == [1, 3, 3]
    assert arguments["norm"] == "instance"
    assert make_plan(VOLUME).augmentation.in_plane


def test_a_plan_can_be_edited_and_read_back(tmp_path: Path) -> None:
    plan = make_plan(SEEN, Wishes(steps=123, seed=7))
    path = tmp_path / "plan.yaml"
    write_plan(path, plan, SEEN)
    assert asdict(read_plan(path)) == asdict(plan)
    path.write_text(path.read_text().replace("batch: 8", "batch: 3"))
    assert read_plan(path) == replace(plan, batch=3)


@pytest.mark.parametrize(
    "text", ["", "plan: 3", "plan: {target: instances}", "plan: {bach: 3}", "plan: [", "x: 1"]
)
def test_what_is_not_a_plan_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(OptionError, match="is not a training plan"):
        read_plan(tmp_path / "plan.yaml")


def test_an_unknown_target_is_told() -> None:
    with pytest.raises(OptionError, match="expected auto, instances or classes"):
        make_plan(SEEN, Wishes(target="boxes"))


OLD_PLAN = """
plan:
  target: classes
  dims: 3
  channels: 1
  classes: 2
  network:
    name: unet
    arguments: {dims: 3, in_channels: 1, out_channels: 3, features: [4, 8], norm: instance, deep_supervision: true}
  patch: [8, 8, 8]
  batch: 2
  steps: 10
  normalisation:
  - id: scale_range
    kwargs: {axes: [channel, z, y, x], min_percentile: 1.0, max_percentile: 99.8}
  augmentation: {rotation: 20.0, in_plane: false, scale: [0.8, 1.25], mirror: [2], gamma: [0.7, 1.5]}
fingerprint: {cases: 200}
"""


def test_a_plan_of_an_older_version_means_what_it_meant(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(OLD_PLAN)
    plan = read_plan(tmp_path / "plan.yaml")
    assert (plan.configuration, plan.grid, plan.per_slice, plan.folds) == ("", {}, False, 0)
    assert plan.grid_spec.to_card() == {}
    assert (plan.augmentation.spacing, plan.augmentation.intensity) == ((), (0.0, 1.0))
    assert (plan.object_patches, plan.augmentation.mirror) == (0.5, (2,))


def test_a_plan_with_an_impossible_grid_is_told(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(
        OLD_PLAN.replace("  batch: 2", "  batch: 2\n  grid: {spacing: [1, 0, 1]}")
    )
    with pytest.raises(OptionError, match=r"is not a training plan: .*spacing"):
        read_plan(tmp_path / "plan.yaml")


def test_the_other_ways_to_train_are_told(tmp_path: Path) -> None:
    seen = replace(VOLUME, unit="millimeter", size=(20, 200, 200))
    write_plan(tmp_path / "plan.yaml", make_plan(seen), seen)
    text = (tmp_path / "plan.yaml").read_text()
    assert "configuration: 3d" in text
    assert "alternatives:\n  2d:" in text
