"""Makes what lies in this folder with the real nnU-Net v2 (2.8.1): small trainings, images, and what it predicts for them.

    pip install nnunetv2==2.8.1
    python make.py HIPPOCAMPUS WORK train_plain | train_2d | train_regions | train_cascade | predict

HIPPOCAMPUS is a folder with images/ and labels/ of the Medical Segmentation Decathlon's Task04 (CC BY-SA 4.0), WORK one for
what lies between. Three data sets are made of 12 of its training volumes: "Plain" as they are; "Regions" with thick slices along x,
so that nnU-Net turns the axes, two channels, zeros outside of an ellipsoid, and regions instead of classes; "Cascade" as they are,
with a first stage at 2 mm, whose second stage refines it. Networks are narrow
and trained for some minutes: they are for comparing, not for use.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np

SOURCE, WORK, COMMAND = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
HERE = Path(__file__).parent
for name in ("raw", "preprocessed", "results"):
    os.environ[f"nnUNet_{name}"] = str(WORK / name)
    (WORK / name).mkdir(parents=True, exist_ok=True)
os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1", "nnUNet_compile": "f"}

import SimpleITK as sitk  # noqa: E402
import torch  # noqa: E402
from nnunetv2.experiment_planning.plan_and_preprocess_api import (  # noqa: E402
    extract_fingerprints,
    plan_experiments,
    preprocess,
)
from nnunetv2.inference import predict_from_raw_data as inference  # noqa: E402
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # noqa: E402

PLAIN = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "Anterior": 1, "Posterior": 2},
}
REGIONS = {
    "channel_names": {"0": "T1", "1": "made"},
    "labels": {"background": 0, "hippocampus": [1, 2], "posterior": 2},
    "regions_class_order": [1, 2],
}
MODELS = {  # folder here: results
    "plain_3d": "Dataset901_Plain/nnUNetTrainer__nnUNetPlans__3d_fullres",
    "plain_2d": "Dataset901_Plain/nnUNetTrainer__nnUNetPlans__2d",
    "cascade_3d/nnUNetTrainer__nnUNetPlans__3d_lowres": "Dataset903_Cascade/nnUNetTrainer__nnUNetPlans__3d_lowres",
    "cascade_3d/nnUNetTrainer__nnUNetPlans__3d_cascade_fullres": "Dataset903_Cascade/"
    "nnUNetTrainer__nnUNetPlans__3d_cascade_fullres",
    "regions_3d": "Dataset902_Regions/nnUNetTrainer__nnUNetResEncUNetMPlans__3d_fullres",
}


def spoilt(pixels: np.ndarray, label: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Thick slices along x, two channels, nothing outside of an ellipsoid with a margin around."""
    rng = np.random.default_rng(0)
    count = pixels.shape[0] // 4 * 4
    pixels = pixels[:count].reshape(-1, 4, *pixels.shape[1:]).mean(1)
    axes = np.meshgrid(*(np.linspace(-1.15, 1.15, n) for n in pixels.shape), indexing="ij")
    inside = sum(x**2 for x in axes) < 1
    pads = ((1, 0), (9, 4), (3, 11))
    both = (pixels + 5, 900 - 0.5 * pixels + rng.normal(0, 20, pixels.shape))
    channels = [np.pad(np.where(inside, np.round(one), 0), pads).astype(np.int16) for one in both]
    return channels, np.pad(np.where(inside, label[:count][2::4], 0), pads).astype(np.uint8)


def write_data_set(number: int, name: str, told: dict) -> None:
    folder = WORK / "raw" / f"Dataset{number}_{name}"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    cases = sorted((SOURCE / "labels").glob("*.nii.gz"))[:12]
    for case in cases:
        stem = case.name.removesuffix(".nii.gz")
        if name != "Regions":
            shutil.copyfile(SOURCE / "images" / case.name, folder / "imagesTr" / f"{stem}_0000.nii.gz")
            shutil.copyfile(case, folder / "labelsTr" / case.name)
            continue
        image, label = nib.load(SOURCE / "images" / case.name), nib.load(case)
        channels, label = spoilt(
            np.asanyarray(image.dataobj).astype(np.float32), np.asanyarray(label.dataobj)
        )
        for k, pixels in enumerate(channels):
            path = folder / "imagesTr" / f"{stem}_{k:04d}.nii.gz"
            nib.save(nib.Nifti1Image(pixels, np.diag([4.0, 1.0, 1.0, 1.0])), path)
        nib.save(nib.Nifti1Image(label, np.diag([4.0, 1.0, 1.0, 1.0])), folder / "labelsTr" / case.name)
    about = {
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
        "name": name,
        "description": "Made for tests from the hippocampus of the Medical Segmentation Decathlon",
        "reference": "https://medicaldecathlon.com",
        "licence": "CC-BY-SA 4.0",
    }
    (folder / "dataset.json").write_text(json.dumps({**told, **about}, indent=1))


def narrow(plans: dict, features: list[int]) -> None:
    """Three stages of few features."""
    for plan in plans["configurations"].values():
        if "architecture" not in plan:
            continue
        network = plan["architecture"]["arch_kwargs"]
        stages = network["n_stages"]
        for key, value in list(network.items()):
            if isinstance(value, list) and len(value) in (stages, stages - 1):
                network[key] = value[: 3 - (stages - len(value))]
        network |= {"n_stages": 3, "features_per_stage": features}
        if "n_blocks_per_stage" in network:
            network["n_blocks_per_stage"] = [1, 2, 2]
        plan["batch_size"] = min(plan["batch_size"], 4)


def add_cascade(plans: dict) -> None:
    """A first stage at 2 mm, and the second as 3d_fullres: nnU-Net plans them for large volumes only."""
    full = plans["configurations"]["3d_fullres"]
    plans["configurations"] |= {
        "3d_lowres": {
            "data_identifier": "nnUNetPlans_3d_lowres",
            "inherits_from": "3d_fullres",
            "patch_size": [20, 28, 20],
            "median_image_size_in_voxels": [18.0, 25.0, 18.0],
            "spacing": [2.0, 2.0, 2.0],
            "architecture": full["architecture"],
            "next_stage": "3d_cascade_fullres",
        },
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    }


def train(
    number: int,
    name: str,
    planner: str,
    runs: dict[str, tuple[int | str, ...]],
    features: list[int],
    epochs: int,
) -> None:
    extract_fingerprints([number], num_processes=1, check_dataset_integrity=False)
    identifier = plan_experiments([number], experiment_planner_class_name=planner)
    file = WORK / "preprocessed" / f"Dataset{number}_{name}" / f"{identifier}.json"
    plans = json.loads(file.read_text())
    narrow(plans, features)
    if name == "Cascade":
        add_cascade(plans)
    file.write_text(json.dumps(plans, indent=1))
    preprocess([number], identifier, configurations=list(runs), num_processes=[1] * len(runs))
    dataset = json.loads((WORK / "raw" / f"Dataset{number}_{name}" / "dataset.json").read_text())
    os.environ["nnUNet_n_proc_DA"] = "0"
    for configuration, folds in runs.items():
        for fold in folds:
            told = {**plans, "continue_training": False}
            trainer = nnUNetTrainer(told, configuration, fold, dataset, device=torch.device("cpu"))
            trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = (
                epochs,
                60,
                2,
            )
            trainer.run_training()
            if configuration == "3d_lowres":  # what it finds is what the second stage learns from
                trainer.perform_actual_validation()


def write_cases(folder: Path) -> None:
    """A volume of the val part on five grids, one of them oblique, and as "Regions" has it on two."""
    folder.mkdir(exist_ok=True)
    image = sitk.ReadImage(str(SOURCE / "images" / "hippocampus_316.nii.gz"))
    turned = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.3).GetMatrix()
    whole = sitk.GetArrayFromImage(image)
    doubled = np.pad(whole, [(0, n // 2) for n in whole.shape], mode="symmetric")[4:, 9:, 7:]
    sitk.WriteImage(sitk.GetImageFromArray(doubled), str(folder / "large.nii.gz"))  # of several tiles
    grids = {"asis": None, "fine": (0.8, 1.3, 0.61), "coarse": (1.9, 1.3, 1.7), "thick": (0.9, 0.8, 3.6)}
    for name, spacing in grids.items():
        found = image if spacing is None else resampled(image, spacing)
        if name == "fine":
            found.SetDirection(turned)
        sitk.WriteImage(found, str(folder / f"{name}.nii.gz"))
    pixels = sitk.GetArrayFromImage(image).T.astype(np.float32)
    channels, _ = spoilt(pixels, np.zeros(pixels.shape, np.uint8))
    for k, one in enumerate(channels):
        mr = sitk.GetImageFromArray(one.T)
        mr.SetSpacing((4.0, 1.0, 1.0))
        sitk.WriteImage(mr, str(folder / f"masked_{k:04d}.nii.gz"))
        finer = resampled(mr, (3.1, 0.8, 1.2))
        mask = sitk.Cast(
            resampled(sitk.Cast(mr != 0, sitk.sitkFloat32), (3.1, 0.8, 1.2)) > 0.5, finer.GetPixelID()
        )
        sitk.WriteImage(finer * mask, str(folder / f"finer_{k:04d}.nii.gz"))


def resampled(image: sitk.Image, spacing: tuple[float, ...]) -> sitk.Image:
    sizes = zip(image.GetSize(), image.GetSpacing(), spacing, strict=True)
    size = [round(n * s / t) for n, s, t in sizes]
    corner = zip(image.GetOrigin(), image.GetSpacing(), spacing, strict=True)
    origin = [o + 0.5 * (t - s) for o, s, t in corner]
    return sitk.Resample(
        image,
        size,
        sitk.Transform(),
        sitk.sitkLinear,
        origin,
        spacing,
        image.GetDirection(),
        0,
        image.GetPixelID(),
    )


def copy_models() -> None:
    for name, results in MODELS.items():
        source = WORK / "results" / results
        if not source.exists():  # trained before
            continue
        for file in (*source.glob("*.json"), *source.glob("fold_*/checkpoint_final.pth")):
            if file.name != "dataset_fingerprint.json":
                target = HERE / name / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


@contextmanager
def in_float32() -> Iterator[None]:
    """nnU-Net adds up its tiles in half precision; here in single precision, all else as it is."""
    half, gaussian = torch.half, inference.compute_gaussian
    torch.half = torch.float32
    inference.compute_gaussian = lambda *words, **more: gaussian(*words, **{**more, "dtype": torch.float32})
    try:
        yield
    finally:
        torch.half, inference.compute_gaussian = half, gaussian


def predict_cascade() -> None:
    """Both stages one after the other, as nnUNetv2_predict with -prev_stage_predictions."""
    folder = HERE / "cascade_3d"
    stages = [folder / f"nnUNetTrainer__nnUNetPlans__{one}" for one in ("3d_lowres", "3d_cascade_fullres")]
    for words, mirrored in (("asis", False), ("fine", False), ("thick", False), ("coarse", True)):
        first, second = (
            inference.nnUNetPredictor(
                use_mirroring=mirrored,
                device=torch.device("cpu"),
                perform_everything_on_device=False,
                allow_tqdm=False,
            )
            for _ in stages
        )
        for predictor, stage in zip((first, second), stages, strict=True):
            predictor.initialize_from_trained_model_folder(str(stage), ("all",))
        reader = first.plans_manager.image_reader_writer_class()
        pixels, about = reader.read_images([str(HERE / "cases" / f"{words}.nii.gz")])
        with in_float32():
            found = first.predict_single_npy_array(pixels, dict(about))
            labels, scores = second.predict_single_npy_array(
                pixels, dict(about), found[None].astype(np.int16), None, True
            )
        name = f"cascade_3d-{words}{'-mirrored' * mirrored}.npz"
        np.savez_compressed(
            HERE / "expected" / name,
            first=found.astype(np.uint8),
            exact=labels.astype(np.uint8),
            probabilities=np.round(scores[1:], 4).astype(np.float16),
        )
        print(name, (found != labels).sum(), np.bincount(labels.ravel().astype(int)), flush=True)


def predict() -> None:
    copy_models()
    write_cases(HERE / "cases")
    (HERE / "expected").mkdir(exist_ok=True)
    plain = [[f"{name}.nii.gz"] for name in ("asis", "fine", "coarse", "thick", "large")]
    masked = [[f"{name}_{k:04d}.nii.gz" for k in range(2)] for name in ("masked", "finer")]
    jobs = {
        "plain_3d": [(None, False, plain), ((1,), False, plain[1:2]), (None, True, plain[2:3])],
        "plain_2d": [(None, False, plain)],
        "regions_3d": [(None, False, masked)],
    }
    for model, runs in jobs.items():
        for folds, mirrored, cases in runs:
            predictor = inference.nnUNetPredictor(
                use_mirroring=mirrored,
                device=torch.device("cpu"),
                perform_everything_on_device=False,
                allow_tqdm=False,
            )
            predictor.initialize_from_trained_model_folder(str(HERE / model), folds)
            for files in cases:
                reader = predictor.plans_manager.image_reader_writer_class()
                pixels, about = reader.read_images([str(HERE / "cases" / file) for file in files])
                labels = predictor.predict_single_npy_array(pixels, about)
                with in_float32():
                    exact, scores = predictor.predict_single_npy_array(pixels, about, None, None, True)
                words = [model, files[0].split(".")[0].removesuffix("_0000")]
                words += ["fold1"] if folds else []
                words += ["mirrored"] if mirrored else []
                np.savez_compressed(
                    HERE / "expected" / f"{'-'.join(words)}.npz",
                    labels=labels.astype(np.uint8),
                    exact=exact.astype(np.uint8),
                    # outside of the box that is predicted nnU-Net says background
                    probabilities=np.round(scores[1:] if len(scores) == 3 else scores, 4).astype(np.float16),
                )
                print(*words, labels.shape, np.bincount(labels.ravel().astype(int)), flush=True)


def main() -> None:
    if COMMAND == "train_plain":
        write_data_set(901, "Plain", PLAIN)
        train(901, "Plain", "ExperimentPlanner", {"3d_fullres": (0, 1)}, [8, 16, 24], 9)
    elif COMMAND == "train_2d":  # after train_plain
        train(901, "Plain", "ExperimentPlanner", {"2d": (0,)}, [8, 16, 24], 30)
    elif COMMAND == "train_regions":
        write_data_set(902, "Regions", REGIONS)
        train(902, "Regions", "nnUNetPlannerResEncM", {"3d_fullres": (0,)}, [8, 12, 16], 14)
    elif COMMAND == "train_cascade":
        write_data_set(903, "Cascade", PLAIN)
        runs = {"3d_lowres": ("all",), "3d_cascade_fullres": ("all",)}
        train(903, "Cascade", "ExperimentPlanner", runs, [8, 12, 16], 5)
    else:
        predict()
        predict_cascade()


if __name__ == "__main__":  # nnU-Net's processes import this file
    main()
