"""Bundles as the MONAI model zoo has them, made by MONAI itself, and what MONAI makes of an image with them."""

from __future__ import annotations

import copy
import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from deepbio.importing.monai_config import Config
from tests.core.importing.orientations import stand_in

NETWORK: dict[str, Any] = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8, 16],
    "strides": [2, 2],
    "num_res_units": 1,
    "norm": "batch",
}
BEFORE: list[dict[str, Any]] = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.3, 2.0], "mode": "bilinear"},
    {
        "_target_": "ScaleIntensityRanged",
        "keys": "image",
        "a_min": -57,
        "a_max": 164,
        "b_min": 0,
        "b_max": 1,
        "clip": True,
    },
    {"_target_": "EnsureTyped", "keys": "image"},
]
INVERT: dict[str, Any] = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "image",
    "nearest_interp": False,
    "to_tensor": True,
}
AFTER: list[dict[str, Any]] = [
    {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    INVERT,
    {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
    {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
]
INFERER: dict[str, Any] = {
    "_target_": "SlidingWindowInferer",
    "roi_size": [24, 16, 16],
    "sw_batch_size": 2,
    "overlap": 0.5,
}


def config(
    *,
    network: dict[str, Any] | None = None,
    before: list[dict[str, Any]] | None = None,
    after: list[dict[str, Any]] | None = None,
    inferer: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An inference.json: what is asked for, and around it what those of the zoo have."""
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/workspace/data",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": copy.deepcopy(network or NETWORK),
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": copy.deepcopy(before or BEFORE)},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i} for i in @datalist]",
            "transform": "@preprocessing",
        },
        "inferer": copy.deepcopy(inferer or INFERER),
        "postprocessing": {"_target_": "Compose", "transforms": copy.deepcopy(after or AFTER)},
        "handlers": [{"_target_": "StatsHandler", "iteration_log": False}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "amp": True,
        },
        "initialize": ["$monai.utils.set_determinism(seed=123)", "$@checkpointloader(@evaluator)"],
        "run": ["$@evaluator.run()"],
    }


def metadata(
    inputs: int = 1, classes: tuple[str, ...] = ("background", "spleen"), dims: int = 3
) -> dict[str, Any]:
    """A metadata.json as the zoo's."""
    common = {"type": "image", "spatial_shape": [96] * dims, "dtype": "float32", "is_patch_data": True}
    return {
        "schema": "https://example.org/meta_schema_20220324.json",
        "version": "0.5.3",
        "monai_version": "1.2.0",
        "name": "Spleen CT segmentation",
        "task": "Decathlon spleen segmentation",
        "description": "A small network for the segmentation of the spleen",
        "authors": "First Author, Second Author",
        "copyright": "Copyright (c) somebody",
        "data_source": "Task09_Spleen.tar",
        "eval_metrics": {"mean_dice": 0.96},
        "intended_use": "A test",
        "references": ["Somebody, A title, a journal (2018). https://doi.org/10.1007/978-3-030-12029-0_40"],
        "network_data_format": {
            "inputs": {
                "image": {
                    **common,
                    "format": "hounsfield",
                    "modality": "CT",
                    "num_channels": inputs,
                    "channel_def": {str(k): f"image {k}" if inputs > 1 else "image" for k in range(inputs)},
                }
            },
            "outputs": {
                "pred": {
                    **common,
                    "format": "segmentation",
                    "num_channels": len(classes),
                    "channel_def": {str(k): name for k, name in enumerate(classes)},
                }
            },
        },
    }


def config_of(network: dict[str, Any]) -> Config:
    """A configuration that has nothing but a network."""
    return Config({"network_def": network})


def build(entry: dict[str, Any], seed: int = 0) -> torch.nn.Module:
    """The network of a configuration with drawn weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import monai.networks.nets as nets

        torch.manual_seed(seed)
        arguments = {key: value for key, value in entry.items() if key != "_target_"}
        network = getattr(nets, entry["_target_"])(**arguments).eval()
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return network


def taught(network: torch.nn.Module, steps: int = 30, seed: int = 0) -> torch.nn.Module:
    """A network that learned to find bright bodies, moved by some pixels that differ along x, y and z."""
    drawn = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    network.train()
    channels = next(iter(network.parameters())).shape[1]
    *_, last = network.parameters()
    for _ in range(steps):
        coarse = torch.rand(2, channels, 6, 6, 6, generator=drawn)
        image = torch.nn.functional.interpolate(coarse, (16, 16, 16), mode="trilinear")
        bright = torch.roll(image[:, :1], (3, -2, 1), (2, 3, 4)) > 0.55
        brighter = torch.roll(image[:, -1:], (0, 2, -2), (2, 3, 4)) > 0.65
        scores = network(2 * image - 0.5 + 0.05 * torch.randn(image.shape, generator=drawn))
        if len(last) == 1:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, bright.float())
        else:
            target = torch.where(brighter, len(last) - 1, bright.long())[:, 0]
            loss = torch.nn.functional.cross_entropy(scores, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def write(folder: Path, inference: dict[str, Any], told: dict[str, Any], weights: Any) -> Path:
    """A bundle's folder; `weights` are a network's state, or a network that becomes TorchScript."""
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(inference, indent=4))
    (folder / "configs" / "metadata.json").write_text(json.dumps(told, indent=4))
    if isinstance(weights, torch.nn.Module):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(weights).save(str(folder / "models" / "model.ts"))
    else:
        torch.save(weights, folder / "models" / "model.pt")
    return folder


def scan(
    path: Path,
    shape: tuple[int, ...] = (37, 43, 21),
    *,
    channels: int = 0,
    seed: int = 0,
    oblique: bool = True,
    zeros: bool = False,
) -> Path:
    """An oblique, anisotropic, odd-sized volume that is stored as LPI, of bodies and noise; around them zeros."""
    drawn = np.random.default_rng(seed)
    spacing = np.array([0.8, 0.9, 3.1])
    a, b, c = np.deg2rad([11.0, -7.0, 14.0]) * oblique
    around_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    around_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    around_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = around_z @ around_y @ around_x @ np.diag([-1.0, 1.0, -1.0]) @ np.diag(spacing)
    affine[:3, 3] = (31.0, -12.5, 40.25)
    places = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1) * spacing
    middle = np.array(shape) * spacing / 2
    bodies = []
    for k in range(max(channels, 1)):
        pixels = -120 + 15 * drawn.standard_normal(shape)
        for _ in range(6):
            at = middle * drawn.uniform(0.4, 1.6, 3)
            radius = drawn.uniform(4, 11)
            pixels += (150 + 40 * k) * np.exp(-((((places - at) ** 2).sum(-1) / radius**2) ** 2))
        bodies.append(pixels)
    if zeros:
        bodies = [np.where(pixels > -100, pixels + 200, 0) for pixels in bodies]
        for pixels in bodies:
            pixels[:3] = pixels[:, -2:] = pixels[:, :, -1] = pixels[:, :, 0] = 0
    data = np.stack(bodies, -1) if channels else bodies[0]
    save(path, data.astype(np.float32), affine)
    return path


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Write an array (x, y, z[, channel]) with an affine to RAS."""
    image = sitk.GetImageFromArray(data.transpose(2, 1, 0, *range(3, data.ndim)), isVector=data.ndim > 3)
    to_lps = np.diag([-1.0, -1.0, 1.0])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((to_lps @ affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((to_lps @ affine[:3, 3]).tolist())
    sitk.WriteImage(image, str(path))


def as_monai_loads(path: Path) -> Any:
    """An image as LoadImaged gives it: (x, y, z[, channel]), with its affine to RAS."""
    from monai.data import MetaTensor

    image = sitk.ReadImage(str(path))
    data = sitk.GetArrayFromImage(image)
    many = image.GetNumberOfComponentsPerPixel() > 1
    data = data.transpose(2, 1, 0, 3) if many else data.transpose(2, 1, 0)
    to_ras = np.diag([-1.0, -1.0, 1.0])
    affine = np.eye(4)
    affine[:3, :3] = to_ras @ np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    affine[:3, 3] = to_ras @ np.array(image.GetOrigin())
    meta = {"original_channel_dim": -1 if many else "no_channel", "space": "RAS"}
    return MetaTensor(
        torch.from_numpy(np.ascontiguousarray(data, np.float32)), affine=torch.from_numpy(affine), meta=meta
    )


def labels_by_monai(folder: Path, image: Path) -> np.ndarray:
    """What the bundle's own pipeline makes of an image, as an array (z, y, x)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.bundle import ConfigParser
        from monai.transforms.spatial import array, functional

        if importlib.util.find_spec("nibabel") is None:
            array.nib = functional.nib = stand_in()
        parser = ConfigParser(json.loads((folder / "configs" / "inference.json").read_text()))
        parser["bundle_root"] = str(folder)
        # reading and writing files: with nibabel, which may not be here
        for group, name in (("preprocessing", "LoadImaged"), ("postprocessing", "SaveImaged")):
            each = parser[group]["transforms"]
            parser[group]["transforms"] = [one for one in each if one["_target_"] != name]
        prepare, inferer, finish = (
            parser.get_parsed_content(name) for name in ("preprocessing", "inferer", "postprocessing")
        )
        network = _network(folder, parser)
        item = prepare({"image": as_monai_loads(image)})
        with torch.inference_mode():
            item["pred"] = inferer(item["image"][None], network)[0]
        labels = np.asarray(finish(item)["pred"])
    return np.ascontiguousarray(labels[0].transpose(2, 1, 0)).round().astype(np.int64)


def _network(folder: Path, parser: Any) -> Any:
    if (folder / "models" / "model.ts").is_file():
        return torch.jit.load(folder / "models" / "model.ts").eval()
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    return network.eval()
