"""The engines of segment3d.py: each function runs one, in a process of its own, and measures it.

All get the same volume, the same network with the same weights and the same tiles; all end with
the blended scores of the whole volume in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import peak_rss, used

FEATURES = (32, 64, 128, 256, 320, 320)  # of nnU-Net's default 3D U-Net: 6 stages of 2 convolutions
CLASSES = 3
OVERLAP = 0.5


@dataclass(frozen=True)
class Size:
    """How large volume and patch are."""

    volume: tuple[int, int, int]
    patch: int


SIZES = {
    "full": Size((160, 256, 256), 128),
    "small": Size((80, 128, 128), 64),
    "tiny": Size((64, 96, 96), 64),  # to see that all engines run
}


def make_volume(shape: tuple[int, ...]) -> np.ndarray:
    """Smooth structures and noise with mean 0 and standard deviation 1, as after normalisation: float32."""
    from scipy import ndimage

    random = np.random.default_rng(2024)
    coarse = random.normal(size=tuple(-(-n // 8) for n in shape))
    smooth = ndimage.zoom(coarse, [n / c for n, c in zip(shape, coarse.shape, strict=True)], order=1)
    volume = smooth + 0.2 * random.normal(size=shape)
    return ((volume - volume.mean()) / volume.std()).astype(np.float32)


def prepare(folder: Path, size: Size) -> None:
    """Write the volume, and the network as a package of ours (safetensors and ONNX)."""
    import torch
    from safetensors.torch import save_file

    from deepbio.library.package import PackageContent, TensorContent, write_package
    from deepbio.networks import build
    from deepbio.training.export import export_onnx

    np.save(folder / "volume.npy", make_volume(size.volume)[None])
    arguments = {"dims": 3, "in_channels": 1, "out_channels": CLASSES, "features": FEATURES}
    arguments |= {"norm": "instance"}
    torch.manual_seed(0)
    network = build("unet", arguments).half().float().eval()  # as a package stores them
    save_file(network.state_dict(), folder / "weights.safetensors")
    export_onnx(network, (1, 64, 64, 64), folder / "weights.onnx")
    test = make_volume((64, 64, 64))[None, None]
    with torch.inference_mode():
        expected = network(torch.from_numpy(test)).numpy()
    content = PackageContent(
        title="Random 3D U-Net",
        description="nnU-Net's default shape with random weights.",
        task="segment",
        license="CC0-1.0",
        authors=[{"name": "The DeepBio developers"}],
        inputs=[TensorContent(test, ("intensity",), minimum=(64,) * 3, step=(32,) * 3)],
        outputs=[TensorContent(expected, ("background", "one", "two"))],
        network="unet",
        arguments=arguments,
        safetensors=folder / "weights.safetensors",
        onnx=folder / "weights.onnx",
        opset=18,
        config={
            "decode": {"method": "classes"},
            "tile": {"size": [size.patch] * 3, "overlap": OVERLAP},
            "classes": {1: "one", 2: "two"},
        },
    )
    write_package(folder / "model", content)


def trial(folder: Path, size: Size, overlap: float) -> dict[str, Any]:
    """Let ``auto`` choose its runtime, as the first run of a model does; it is remembered."""
    from deepbio.engine import choose_device, first_rung, open_runtime, plan_for
    from deepbio.library import find_model

    card = find_model(folder / "model")
    device = choose_device("cpu")
    rung = first_rung(card, device, tile=size.patch)
    start = used()
    tiles = {plan_for(card, size.volume, rung, overlap=cut).tile for cut in (OVERLAP, overlap)}
    chosen = {open_runtime(card, device=device, tile=tile).name for tile in sorted(tiles)}
    return {"chosen": sorted(chosen), "cpu_s": used()[0] - start[0], "peak_rss_gb": peak_rss() / 1e9}


def work(engine: str, folder: Path, size: Size, threads: int, overlap: float) -> dict[str, Any]:
    """Run one engine in this process."""
    if engine == "trial":
        return trial(folder, size, overlap)
    family, _, variant = engine.partition("-")
    if family == "deepbio":
        runtime = "auto" if variant == "overlap" else variant
        cut = overlap if variant == "overlap" else OVERLAP
        outcome, scores = deepbio_scores(folder, size, runtime, cut)
    else:
        import torch

        torch.set_num_threads(threads)
        outcome, scores = {"monai": monai, "nnunet": nnunet, "torchio": torchio, "forwards": forwards}[
            family
        ](folder, size)
    outcome["peak_rss_gb"] = peak_rss() / 1e9  # before the scores are written
    if scores is not None:
        np.save(folder / "scores.npy", scores.astype(np.float32, copy=False))
    return outcome


def volume_of(folder: Path) -> np.ndarray:
    return np.load(folder / "volume.npy")


def torch_network(folder: Path) -> Any:
    """The network with its weights, as any user of torch has it."""
    from deepbio.engine.runtimes.with_torch import load_module
    from deepbio.library import find_model

    weights = find_model(folder / "model").weights_of("safetensors")
    assert weights is not None
    return load_module(weights)


def window(edge: int) -> np.ndarray:
    """The Gaussian window that ours takes, and MONAI and TorchIO are given: float32, (edge, edge, edge)."""
    position = (np.arange(edge) - (edge - 1) / 2) / (edge / 8)
    axis = np.exp(-0.5 * position**2)
    return (axis[:, None, None] * axis[:, None] * axis).astype(np.float32)


def deepbio_scores(
    folder: Path, size: Size, runtime: str, overlap: float
) -> tuple[dict[str, Any], np.ndarray]:
    from deepbio.engine import (
        ArraySource,
        choose_device,
        first_rung,
        memory,
        open_runtime,
        plan_for,
        predict_scores,
    )
    from deepbio.library import find_model

    card = find_model(folder / "model")
    device = choose_device("cpu")
    rung = first_rung(card, device, tile=size.patch)
    source = ArraySource(volume_of(folder))
    plan = plan_for(card, source.shape[1:], rung, overlap=overlap)
    begin = used()
    opened = open_runtime(card, device=device, runtime=runtime, tile=plan.tile)
    memory.keep_pages()  # as a loaded model does
    opened(np.zeros((1, 1, *plan.tile), np.float32))  # compiles for this size; kept from run to run
    open_cpu = used()[0] - begin[0]
    forwards_cpu = 0.0

    def timed(batch: np.ndarray) -> np.ndarray:
        nonlocal forwards_cpu
        start, _ = used()
        scores = opened(batch)
        forwards_cpu += used()[0] - start
        return scores

    timed.device = opened.device  # type: ignore[attr-defined]
    start = used()
    scores = predict_scores(source, timed, plan)  # type: ignore[arg-type]
    stop = used()
    outcome = {
        "cpu_s": stop[0] - start[0],
        "wall_s": stop[1] - start[1],
        "forwards_cpu_s": forwards_cpu,
        "open_cpu_s": open_cpu,
        "runtime": opened.name,
        "tile": plan.tile,
        "tiles": plan.count,
        "overlap": overlap,
    }
    return outcome, scores


def monai(folder: Path, size: Size) -> tuple[dict[str, Any], np.ndarray]:
    import torch
    from monai.inferers import sliding_window_inference

    network = torch_network(folder)
    volume = torch.from_numpy(volume_of(folder))[None]
    edge = (size.patch,) * 3
    weights = torch.from_numpy(window(size.patch))
    with torch.inference_mode():
        network(torch.zeros(1, 1, *edge))  # the first forward of a process is slower, in all engines
        start = used()
        scores = sliding_window_inference(volume, edge, 1, network, overlap=OVERLAP, roi_weight_map=weights)
        stop = used()
    return {"cpu_s": stop[0] - start[0], "wall_s": stop[1] - start[1]}, scores[0].numpy()


def nnunet(folder: Path, size: Size) -> tuple[dict[str, Any], np.ndarray]:
    """nnU-Net's own predictor and network, with its own window and half-precision sums."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    network = nnunet_network(folder)
    plans = PlansManager(nnunet_plans(size))
    predictor = nnUNetPredictor(
        tile_step_size=1 - OVERLAP,
        use_gaussian=True,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    labels = {"background": 0, "one": 1, "two": 2}
    predictor.manual_initialization(
        network,
        plans,
        plans.get_configuration("3d_fullres"),
        None,
        {"labels": labels, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"},
        "nnUNetTrainer",
        None,
    )
    volume = torch.from_numpy(volume_of(folder))
    with torch.inference_mode():
        network(torch.zeros(1, 1, *(size.patch,) * 3))
        start = used()
        scores = predictor.predict_sliding_window_return_logits(volume)
        stop = used()
    return {"cpu_s": stop[0] - start[0], "wall_s": stop[1] - start[1]}, scores.numpy()


def nnunet_network(folder: Path) -> Any:
    """PlainConvUNet with the same weights, copied key by key."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    ours = dict(torch_network(folder).state_dict())
    stages = len(FEATURES)
    network = PlainConvUNet(
        1,
        stages,
        FEATURES,
        torch.nn.Conv3d,
        [[3] * 3] * stages,
        [[1] * 3] + [[2] * 3] * (stages - 1),
        [2] * stages,
        CLASSES,
        [2] * (stages - 1),
        conv_bias=False,  # as in ours; a bias before instance normalisation has no effect
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=False,
    ).eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.startswith("decoder.seg_layers.") and not name.startswith(
                f"decoder.seg_layers.{stages - 2}."
            ):
                continue  # heads for deep supervision, which only training asks
            value.copy_(ours.pop(our_name(name, stages)))
    assert all(name.startswith("up.") and not value.any() for name, value in ours.items()), list(ours)
    return network


def our_name(name: str, stages: int) -> str:
    """The name in our U-Net of a parameter of PlainConvUNet."""
    part, kind, number, *rest = name.split(".")
    last = rest[-1]
    if kind == "transpconvs":
        return f"up.{stages - 2 - int(number)}.{last}"
    if kind == "seg_layers":
        return f"heads.0.{last}"
    at = rest.index("convs")
    conv, layer = int(rest[at + 1]), {"conv": 0, "norm": 1}[rest[at + 2]]
    stage = int(number) if part == "encoder" else stages - 2 - int(number)
    return f"{part}.{stage}.{2 * conv}.{layer}.{last}"


def nnunet_plans(size: Size) -> dict[str, Any]:
    """What the predictor reads of a plans file."""
    return {
        "dataset_name": "Dataset001_Random",
        "plans_name": "nnUNetPlans",
        "configurations": {
            "3d_fullres": {
                "patch_size": [size.patch] * 3,
                "batch_size": 2,
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": {},
                    "_kw_requires_import": [],
                },
            }
        },
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
    }


def torchio(folder: Path, size: Size) -> tuple[dict[str, Any], np.ndarray]:
    import torch
    import torchio as tio

    network = torch_network(folder)
    patch = size.patch
    subject = tio.Subject(image=tio.ScalarImage(tensor=torch.from_numpy(volume_of(folder))))
    with torch.inference_mode():
        network(torch.zeros(1, 1, *(patch,) * 3))
        start = used()
        sampler = tio.inference.GridSampler(subject, patch, int(patch * OVERLAP))
        aggregator = tio.inference.GridAggregator(sampler, overlap_mode="hann")
        aggregator._hann_window = torch.from_numpy(window(patch))  # the same window as the others
        for one in torch.utils.data.DataLoader(sampler, batch_size=1):
            scores = network(one["image"][tio.DATA])
            aggregator.add_batch(scores, one[tio.LOCATION])
        result = aggregator.get_output_tensor()
        stop = used()
    return {"cpu_s": stop[0] - start[0], "wall_s": stop[1] - start[1]}, result.numpy()


def forwards(folder: Path, size: Size) -> tuple[dict[str, Any], None]:
    """As many forwards of one tile as there are tiles, by torch alone: what no engine on torch can beat."""
    import torch

    from deepbio.engine.tiling import plan_tiles

    network = torch_network(folder)
    plan = plan_tiles(size.volume, tile=(size.patch,) * 3, overlap=OVERLAP, multiple_of=(32,) * 3)
    tile = torch.from_numpy(volume_of(folder)[None][:, :, : size.patch, : size.patch, : size.patch].copy())
    with torch.inference_mode():
        network(tile)
        start = used()
        for _ in range(plan.count):
            network(tile)
        stop = used()
    return {"cpu_s": stop[0] - start[0], "wall_s": stop[1] - start[1], "tiles": plan.count}, None
