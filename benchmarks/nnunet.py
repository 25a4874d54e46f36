"""A training of nnU-Net v2, from a NIfTI file to labels in one, by nnU-Net itself and by DeepBio that imported it.

The training is made here: plans of the default 3D configuration (32 features, 6 stages, patch 128^3, instance normalisation, CT) for
volumes of 1.5 mm, and a checkpoint of random weights as nnU-Net writes it. Each program runs in a process of its own: CPU seconds of
all threads, wall, peak memory of everything from the import of the program to the file; and whether the labels are the same.

    pip install nnunetv2
    python benchmarks/nnunet.py --threads 2 -o benchmarks/nnunet.json
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import in_own_process, machine, peak_rss, report, used

HERE = Path(__file__).resolve()
SHAPE, SPACING = (190, 240, 240), (1.25, 1.2, 1.2)  # z, y, x: 158 x 192 x 192 at 1.5 mm
CLASSES = 4
STAGES = (32, 64, 128, 256, 320, 320)
PACKAGES = ("torch", "openvino", "nnunetv2", "numpy", "scipy", "scikit-image")


def write_training(folder: Path, features: tuple[int, ...], patch: int) -> None:
    """The folder of a trained model: plans, data set, checkpoint."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    stages = len(features)
    network = {
        "n_stages": stages, "features_per_stage": list(features), "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * stages, "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
        "n_conv_per_stage": [2] * stages, "n_conv_per_stage_decoder": [2] * (stages - 1), "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
    }  # fmt: skip
    sampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    way = "resample_data_or_seg_to_shape"
    plan = {
        "data_identifier": "nnUNetPlans_3d_fullres", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": [patch] * 3, "median_image_size_in_voxels": [160.0, 190.0, 190.0], "spacing": [1.5] * 3,
        "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False],
        "resampling_fn_data": way, "resampling_fn_seg": way, "resampling_fn_probabilities": way,
        "resampling_fn_data_kwargs": sampling, "resampling_fn_seg_kwargs": {**sampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": {**sampling, "order": 1}, "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": network, "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }  # fmt: skip
    told = {
        "max": 400.0,
        "mean": 60.0,
        "median": 60.0,
        "min": -200.0,
        "percentile_00_5": -150.0,
        "percentile_99_5": 300.0,
        "std": 80.0,
    }
    plans = {
        "dataset_name": "Dataset999_Benchmark", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
        "original_median_spacing_after_transp": [1.5] * 3, "original_median_shape_after_transp": [160, 190, 190],
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2], "configurations": {"3d_fullres": plan},
        "experiment_planner_used": "ExperimentPlanner", "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": told},
    }  # fmt: skip
    labels = {"background": 0, **{f"organ_{k}": k for k in range(1, CLASSES)}}
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    torch.manual_seed(0)
    own = {key: value for key, value in network.items() if key not in ("conv_op", "norm_op", "nonlin")}
    net = PlainConvUNet(
        1, num_classes=CLASSES, conv_op=torch.nn.Conv3d, norm_op=torch.nn.InstanceNorm3d, nonlin=torch.nn.LeakyReLU,
        deep_supervision=True, **own,
    )  # fmt: skip
    checkpoint = {
        "network_weights": net.state_dict(), "init_args": {"configuration": "3d_fullres"}, "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2), "current_epoch": 1000, "logging": {"losses": [np.float32(0.1)]},
    }  # fmt: skip
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


def write_volume(path: Path, shape: tuple[int, ...]) -> None:
    """A CT-like volume: air around a body of blobs."""
    import SimpleITK
    from scipy import ndimage

    drawn = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(drawn.standard_normal(shape).astype(np.float32), 6)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    body = axes[1] ** 2 + axes[2] ** 2 < 0.8
    pixels = np.where(body, 50 + noise / noise.std() * 60 + drawn.normal(0, 15, shape), -1000).astype(
        np.int16
    )
    image = SimpleITK.GetImageFromArray(pixels)
    image.SetSpacing(SPACING[::-1])
    SimpleITK.WriteImage(image, str(path))


def by_nnunet(folder: Path) -> None:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=False, device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(folder / "training"), None)
    predictor.predict_from_files_sequential(
        [[str(folder / "scan_0000.nii.gz")]], [str(folder / "nnunet")], False, True
    )


def by_deepbio(folder: Path, runtime: str) -> None:
    import deepbio

    model = deepbio.load_model(folder / "imported")
    options = deepbio.RunOptions(runtime=runtime, device="cpu", output=("labels",))
    result = model.run(deepbio.read(folder / "scan_0000.nii.gz"), options)
    deepbio.write(folder / f"deepbio-{runtime}.nii.gz", result.labels)


def work(program: str, folder: Path) -> None:
    cpu, start = used()
    if program == "nnunet":
        by_nnunet(folder)
    else:
        by_deepbio(folder, program.removeprefix("deepbio-"))
    end_cpu, end = used()
    row = {"cpu_s": end_cpu - cpu, "wall_s": end - start, "peak_gb": peak_rss() / 2**30}
    print(json.dumps({name: round(value, 2) for name, value in row.items()}))


def compare(folder: Path, rows: dict[str, Any]) -> None:
    """Pixels whose label is not nnU-Net's, and the CPU time over nnU-Net's."""
    import deepbio

    truth = deepbio.read_labels(folder / "nnunet.nii.gz").numpy()
    for program, row in rows.items():
        row["cpu_over_nnunet"] = round(row["cpu_s"] / rows["nnunet"]["cpu_s"], 3)
        if program != "nnunet":
            found = deepbio.read_labels(folder / f"{program}.nii.gz").numpy()
            row["labels_differ"] = float(f"{np.mean(found != truth):.2g}")
            row["classes"] = len(np.unique(truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--small", action="store_true", help="a narrow network, a small volume: does it all work?"
    )
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work[0], Path(options.work[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {f"nnUNet_{part}": name for part in ("raw", "preprocessed", "results")}
        os.environ |= {
            "nnUNet_compile": "f",
            "OMP_NUM_THREADS": str(options.threads),
            "nnUNet_def_n_proc": str(options.threads),
        }
        write_training(
            folder / "training", STAGES[:3] if options.small else STAGES, 48 if options.small else 128
        )
        write_volume(folder / "scan_0000.nii.gz", tuple(n // 3 for n in SHAPE) if options.small else SHAPE)
        os.environ["DEEPBIO_HOME"] = str(folder / "home")
        import deepbio

        start = time.perf_counter()
        deepbio.add_model(folder / "training", name="imported").root.rename(folder / "imported")
        imported = round(time.perf_counter() - start, 1)
        rows: dict[str, Any] = {}
        for program in ("deepbio-openvino", "nnunet", "deepbio-torch"):
            rows[program] = in_own_process(
                program, [str(HERE), "--work", program, name, "--threads", str(options.threads)]
            )
        compare(folder, rows)
    facts = {
        "machine": machine(PACKAGES), "threads": options.threads, "shape": SHAPE, "spacing": SPACING, "import_s": imported,
        "small": options.small, "rows": rows,
    }  # fmt: skip
    report(facts, options.threads, options.output)


if __name__ == "__main__":
    main()
