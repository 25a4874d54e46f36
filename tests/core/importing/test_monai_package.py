"""Bundles of MONAI as packages: labels as MONAI's own pipeline gives them, on the very same files."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import deepbio
from deepbio.engine.runtime import open_runtime
from deepbio.engine.steps import apply_output_steps, apply_steps
from deepbio.errors import CardError, MissingPackage
from deepbio.importing import ImportChoice, add_model
from deepbio.importing import monai_network as network_of
from deepbio.library import ModelCard
from tests.core.importing import bundles
from tests.core.importing.bundles import AFTER, BEFORE, INFERER, INVERT, NETWORK

monai = pytest.importorskip("monai", minversion="1.4")
pytestmark = pytest.mark.filterwarnings("ignore")  # of MONAI and the exporters that it calls

LOAD, TURN, SPACE, RANGE = BEFORE[:2], BEFORE[2], BEFORE[3], BEFORE[4]
SOFTMAX, ARGMAX, SAVE = AFTER[0], AFTER[2], AFTER[3]
THREE = ("background", "organ", "tumour")


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))


def entry(heads: int, channels: int = 1) -> dict[str, Any]:
    return {**NETWORK, "in_channels": channels, "out_channels": heads}


@lru_cache
def taught(heads: int, channels: int = 1) -> torch.nn.Module:
    return bundles.taught(bundles.build(entry(heads, channels)))


def both(
    folder: Path, image: Path, config: dict[str, Any], told: dict[str, Any], weights: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a bundle by DeepBio, which has it as a package, and by MONAI."""
    bundles.write(folder, config, told, weights)
    card = add_model(folder)
    result = deepbio.load_model(card.name).run(deepbio.read(image))
    return np.asarray(result.labels.array), bundles.labels_by_monai(folder, image)


def test_a_bundle_like_the_spleens_gives_the_labels_of_monai(tmp_path: Path) -> None:
    image = bundles.scan(tmp_path / "ct.nii.gz")
    state = taught(2).state_dict()
    found, expected = both(tmp_path / "spleen", image, bundles.config(), bundles.metadata(), state)
    assert found.shape == expected.shape == (21, 43, 37)
    assert np.count_nonzero(expected) > 300
    assert np.count_nonzero(found != expected) == 0
    # and turned or mirrored it would not be
    assert all(np.mean(np.flip(found, axis) == expected) < 0.99 for axis in range(3))
    card = deepbio.find_model("spleen")
    grid = {"spacing": [2.0, 1.3, 1.5], "unit": "millimeter", "interpolation": "monai", "orientation": "SAR"}
    assert card.deepbio["grid"] == grid
    assert card.deepbio["tile"]["size"] == [16, 16, 24]
    assert card.weights[0].format == "onnx"
    assert [(axis.minimum, axis.step) for axis in card.input.spatial] == [(8, 4)] * 3
    assert [step.id for step in card.input.steps] == ["ensure_dtype", "clip", "scale_linear", "ensure_dtype"]
    assert card.input.steps[2].kwargs == pytest.approx({"gain": 1 / 221, "offset": 57 / 221})
    assert dict(card.classes) == {1: "spleen"}
    check_test_output(card)


def check_test_output(card: ModelCard) -> None:
    """The file of weights gives the output that lies beside the test input."""
    assert card.input.test_tensor is not None
    assert card.output.test_tensor is not None
    raw = np.load(card.input.test_tensor)
    pixels = apply_steps(raw[0], ("channel", "z", "y", "x"), card.input.steps)
    scores = np.array(open_runtime(card, runtime="onnx")(pixels[None])[0])
    probabilities = apply_output_steps(scores, card.output.steps)
    np.testing.assert_allclose(probabilities, np.load(card.output.test_tensor)[0], atol=1e-5)


def test_labels_are_the_same_where_the_image_lies_along_the_world(tmp_path: Path) -> None:
    # MONAI places the grid otherwise then
    image = bundles.scan(tmp_path / "ct.nii.gz", oblique=False, seed=1)
    found, expected = both(tmp_path / "b", image, bundles.config(), bundles.metadata(), taught(2))
    assert np.count_nonzero(expected) > 300
    assert np.count_nonzero(found != expected) == 0


def test_references_choices_and_labels_decided_on_the_networks_grid(tmp_path: Path) -> None:
    # as of the whole-body bundle; ties of the nearest pixel, and MONAI's least weight of a tile's corners, differ
    before = [
        {"_target_": "LoadImaged", "keys": "@image_key"},
        {"_target_": "EnsureTyped", "keys": "@image_key"},
        {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
        TURN,
        {**SPACE, "pixdim": "@pixdim"},
        {"_target_": "NormalizeIntensityd", "keys": "@image_key", "nonzero": True},
        {"_target_": "ScaleIntensityd", "keys": "@image_key", "minv": -1.0, "maxv": 1.0},
    ]
    after = [SOFTMAX, ARGMAX, {**INVERT, "nearest_interp": True}, SAVE]
    inferer = {**INFERER, "overlap": "@shown#overlap", "padding_mode": "replicate", "mode": "gaussian"}
    config = bundles.config(network=entry(3), before=before, after=after, inferer=inferer) | {
        "shown": {"fine": True, "overlap": 0.25},
        "image_key": "image",
        "pixdim": "$[1.5, 1.3, 2.0] if @shown#fine else [3.0, 3.0, 3.0]",
    }
    image = bundles.scan(tmp_path / "ct.nii.gz")
    found, expected = both(tmp_path / "whole", image, config, bundles.metadata(classes=THREE), taught(3))
    assert set(np.unique(expected)) == {0, 1, 2}
    assert np.mean(found == expected) > 0.995  # 0.997 to 0.999 measured
    card = deepbio.find_model("whole")
    assert card.deepbio["grid"]["back"] == "nearest"
    assert card.deepbio["grid"]["inside"] == "nonzero"
    assert card.deepbio["tile"] == {
        "size": [16, 16, 24],
        "overlap": 0.25,
        "fixed": True,
        "pad": "edge",
        "blend": "floored",
        "spread": "stride",
    }


def test_one_channel_and_a_threshold_are_one_class(tmp_path: Path) -> None:
    after = [
        {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
        INVERT,
        {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.4},
    ]
    config = bundles.config(network=entry(1), after=after)
    image = bundles.scan(tmp_path / "ct.nii.gz")
    found, expected = both(tmp_path / "b", image, config, bundles.metadata(classes=("spleen",)), taught(1))
    assert np.count_nonzero(expected) > 50
    assert np.count_nonzero(found != expected) == 0
    card = deepbio.find_model("b")
    assert dict(card.classes) == {1: "spleen"}
    assert card.weights[0].format == "torchscript"
    assert [axis.size for axis in card.input.spatial] == [16, 16, 24]


def test_the_largest_components_are_kept(tmp_path: Path) -> None:
    before = [
        *LOAD,
        TURN,
        SPACE,
        {"_target_": "ScaleIntensityd", "keys": "image", "minv": 0, "maxv": 1},
        {"_target_": "NormalizeIntensityd", "keys": "image"},
    ]
    largest = {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [1, 2]}
    config = bundles.config(network=entry(3), before=before, after=[SOFTMAX, INVERT, ARGMAX, largest])
    image = bundles.scan(tmp_path / "mr.nii.gz", seed=1)
    found, expected = both(tmp_path / "b", image, config, bundles.metadata(classes=THREE), taught(3))
    assert set(np.unique(expected)) == {0, 1, 2}
    assert np.count_nonzero(found != expected) == 0
    assert deepbio.find_model("b").deepbio["decode"] == {"method": "classes", "largest": [1, 2]}


def test_channels_are_normalised_each_by_its_pixels_that_are_not_0(tmp_path: Path) -> None:
    # as of the brain tumour bundle: no orientation, so the axes are those of the file
    normalise = {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True}
    config = bundles.config(network=entry(3, 2), before=[*LOAD, normalise])
    image = bundles.scan(tmp_path / "mr.nii.gz", channels=2, zeros=True)
    told = bundles.metadata(inputs=2, classes=THREE)
    found, expected = both(tmp_path / "b", image, config, told, taught(3, 2))
    assert min(np.bincount(expected.ravel())) > 300
    assert np.count_nonzero(found != expected) == 0
    assert deepbio.find_model("b").deepbio["grid"] == {"interpolation": "monai", "inside": "nonzero"}


def test_what_lies_outside_of_the_foreground_is_background(tmp_path: Path) -> None:
    crop = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image"}
    normalise = {"_target_": "NormalizeIntensityd", "keys": "image", "channel_wise": True}
    config = bundles.config(before=[*LOAD, TURN, crop, SPACE, normalise])
    image = bundles.scan(tmp_path / "mr.nii.gz", zeros=True)
    found, expected = both(tmp_path / "b", image, config, bundles.metadata(), taught(2))
    assert np.count_nonzero(expected) > 300
    assert not found[0].any()  # a slice of zeros
    assert np.count_nonzero(found != expected) == 0


def test_percentiles_and_images_smaller_than_a_tile(tmp_path: Path) -> None:
    scale = {
        "_target_": "ScaleIntensityRangePercentilesd",
        "keys": "image",
        "lower": 1,
        "upper": 99,
        "b_min": 0,
        "b_max": 1,
        "clip": True,
    }
    inferer = {**INFERER, "roi_size": [24, 48, 24], "padding_mode": "replicate"}
    config = bundles.config(before=[*LOAD, TURN, scale], inferer=inferer)
    image = bundles.scan(tmp_path / "ct.nii.gz")
    found, expected = both(tmp_path / "b", image, config, bundles.metadata(), taught(2))
    assert np.count_nonzero(expected) > 300
    assert np.count_nonzero(found != expected) == 0


def test_an_image_as_a_whole(tmp_path: Path) -> None:
    config = bundles.config(before=[*LOAD, TURN, RANGE], inferer={"_target_": "SimpleInferer"})
    image = bundles.scan(tmp_path / "ct.nii.gz", shape=(40, 44, 24))
    told = bundles.metadata()
    told["network_data_format"]["inputs"]["image"]["spatial_shape"] = ["4*n"] * 3
    found, expected = both(tmp_path / "b", image, config, told, taught(2))
    assert np.count_nonzero(expected) > 300
    assert np.count_nonzero(found != expected) == 0


def test_binary_channels_are_regions_in_the_order_that_the_user_says(tmp_path: Path) -> None:
    # as of the brain tumour bundle, whose last transform is code
    code = "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"
    after = [
        {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
        INVERT,
        {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
        {"_target_": "Lambdad", "keys": "pred", "func": code},
    ]
    config = bundles.config(network=entry(3), after=after)
    told = bundles.metadata(classes=("core", "whole", "enhancing"))
    folder = bundles.write(tmp_path / "brats", config, told, taught(3))
    with pytest.raises(CardError, match="'Lambdad', which is not known"):
        add_model(folder)
    with pytest.raises(CardError, match=r"no channel 'edema'; it has 0 \(core\), 1 \(whole\), 2"):
        add_model(folder, choice=ImportChoice(regions=("edema=2",)))
    with pytest.raises(CardError, match="twice"):
        add_model(folder, choice=ImportChoice(regions=("0=2", "core=1")))
    card = add_model(folder, choice=ImportChoice(regions=("whole=2", "0=1", "2=4")))
    assert card.deepbio["decode"] == {
        "method": "regions",
        "regions": [2, 1, 4],
        "threshold": 0.5,
        "logits": False,
    }
    assert dict(card.classes) == {2: "whole", 1: "core", 4: "enhancing"}
    image = bundles.scan(tmp_path / "mr.nii.gz")
    found = np.asarray(deepbio.load_model("brats").run(deepbio.read(image)).labels.array)
    expected = bundles.labels_by_monai(folder, image)
    assert len(np.unique(expected)) > 2
    assert np.count_nonzero(found != expected) == 0


@pytest.mark.parametrize(
    ("name", "arguments", "step"),
    [
        ("SegResNet", {"init_filters": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]}, (4, 4, 4)),
        (
            "DynUNet",
            {
                "kernel_size": [3, 3, 3],
                "strides": [1, 2, [2, 2, 1]],
                "upsample_kernel_size": [2, [2, 2, 1]],
                "filters": [4, 8, 8],
            },
            (2, 4, 4),
        ),
    ],
)
def test_networks_are_written_for_all_sizes(
    tmp_path: Path, name: str, arguments: dict[str, Any], step: tuple[int, ...]
) -> None:
    told = {"_target_": name, "spatial_dims": 3, "in_channels": 1, "out_channels": 2, **arguments}
    config = bundles.config(network=told)
    state = bundles.build(told).state_dict()
    card = add_model(bundles.write(tmp_path / "b", config, bundles.metadata(), state))
    assert card.weights[0].format == "onnx"
    assert tuple(axis.step for axis in card.input.spatial) == step


@pytest.mark.parametrize(
    ("name", "arguments", "step"),
    [
        ("BasicUNet", {"features": [4, 4, 4, 4, 4, 4]}, (16, 16)),
        ("AttentionUnet", {"channels": [4, 8], "strides": [2]}, (2, 2)),
        ("UNet", {"channels": [4, 8], "strides": [[2, 1]]}, (1, 2)),
    ],
)
def test_networks_in_2d_take_sizes_with_a_step(
    tmp_path: Path, name: str, arguments: dict[str, Any], step: tuple[int, ...]
) -> None:
    told = {"_target_": f"monai.networks.nets.{name}", "spatial_dims": 2, "in_channels": 1, "out_channels": 2}
    config = network_of.Component(bundles.config_of(told | arguments), told | arguments, "network_def")
    made = bundles.build({**told, **arguments, "_target_": name})
    torch.save(
        {"model": {f"module.{key}": value for key, value in made.state_dict().items()}}, tmp_path / "m.pt"
    )
    network, found = network_of.build_network(config, tmp_path / "m.pt", 2)
    image = torch.rand(1, 1, 32, 16)
    assert found == step
    torch.testing.assert_close(network(image), made(image.transpose(2, 3)).transpose(2, 3))


def test_a_network_tied_to_a_size_is_written_for_that(tmp_path: Path) -> None:
    pytest.importorskip("einops")
    told = {
        "_target_": "UNETR",
        "in_channels": 1,
        "out_channels": 2,
        "img_size": [24, 16, 16],
        "hidden_size": 12,
        "feature_size": 4,
        "mlp_dim": 16,
        "num_heads": 2,
    }
    config = bundles.config(
        network={**told, "img_size": [32, 16, 16]}, inferer={**INFERER, "roi_size": [32, 16, 16]}
    )
    state = bundles.build({**told, "img_size": [32, 16, 16]}).state_dict()
    card = add_model(bundles.write(tmp_path / "b", config, bundles.metadata(), state))
    assert [axis.size for axis in card.input.spatial] == [16, 16, 32]


def test_without_monai_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundles.write(tmp_path / "b", bundles.config(), bundles.metadata(), taught(2).state_dict())

    def nowhere(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(network_of.importlib, "import_module", nowhere)
    with pytest.raises(MissingPackage, match="pip install monai"):
        add_model(folder)
