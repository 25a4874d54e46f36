"""Makes the stacks and 3D models of this folder with the real StarDist (0.9.2, TensorFlow 2.21), as `make.py` makes the flat ones.

    pip install stardist==0.9.2 tensorflow-cpu==2.21.0 tf-keras==2.21.0
    python make3d.py DATA WORK train | predict

DATA is a folder with StarDist's sample stack (stardist_img3d.tif, stardist_mask3d.tif; BSD-3-Clause), WORK one for what lies
between. The networks are narrow and were trained for some minutes on one core, on that stack and on drawn ones: they are for
comparing, not for use.
"""

import os
import shutil
import sys
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1"}

import numpy as np
import tensorflow as tf
from csbdeep.utils import normalize
from scipy import ndimage
from stardist import Rays_GoldenSpiral
from stardist.models import Config3D, StarDist3D
from tifffile import imread

DATA, WORK, COMMAND = Path(sys.argv[1]), Path(sys.argv[2]) / "models", sys.argv[3]
HERE = Path(__file__).parent
FLAT = (2.0, 1.0, 1.0)  # drawn nuclei are so many times shorter along z
MODELS = {  # rays, epochs, network
    "stack_unet": (
        Rays_GoldenSpiral(32, anisotropy=FLAT),
        26,
        {
            "grid": (1, 2, 2),
            "anisotropy": FLAT,
            "unet_n_filter_base": 6,
            "unet_pool": (1, 2, 2),
            "net_conv_after_unet": 16,
        },
    ),
    "stack_resnet": (
        Rays_GoldenSpiral(24),
        26,
        {
            "grid": (2, 2, 2),
            "backbone": "resnet",
            "resnet_n_blocks": 2,
            "resnet_n_conv_per_block": 3,
            "resnet_n_filter_base": 4,
            "resnet_batch_norm": True,
            "net_conv_after_resnet": 16,
        },
    ),
}


def drawn_stack(
    shape: tuple[int, int, int], count: int, seed: int, radii: tuple[float, float] = (5, 10), flat: float = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Spheroids that touch, bright on noise and blurred, and their labels."""
    drawn = np.random.default_rng(seed)
    labels, nearest = np.zeros(shape, np.int32), np.full(shape, np.inf)
    image = np.zeros(shape)
    grid = np.indices(shape)
    for number in range(1, count + 1):
        centre = [drawn.uniform(0, n) for n in shape]
        radius = drawn.uniform(*radii) * np.array(
            [1 / flat, drawn.uniform(0.8, 1.2), drawn.uniform(0.8, 1.2)]
        )
        away = sum(((grid[axis] - centre[axis]) / radius[axis]) ** 2 for axis in range(3))
        own = (away < 1) & (away < nearest)
        if (labels[away < 1] > 0).mean() < 0.35:
            labels[own], nearest[own] = number, away[own]
            image[own] = drawn.uniform(300, 900)
    image = ndimage.gaussian_filter(image, (0.7, 1, 1)) + 100
    return np.round(drawn.poisson(image) + drawn.normal(0, 8, shape)).clip(0).astype(np.uint16), labels


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    real = imread(DATA / "stardist_img3d.tif"), imread(DATA / "stardist_mask3d.tif").astype(np.int32)
    return [real, *(drawn_stack((32, 64, 64), 60, seed) for seed in range(7)), real]


def train(name: str) -> None:
    rays, epochs, network = MODELS[name]
    images, labels = zip(*((normalize(image, 1, 99.8), label) for image, label in pairs()), strict=True)
    drawn = np.random.default_rng(0)

    def varied(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        turns = drawn.integers(4)
        image, label = np.rot90(image, turns, (1, 2)), np.rot90(label, turns, (1, 2))
        if drawn.random() < 0.5:
            image, label = image[::-1], label[::-1]
        return image * drawn.uniform(0.7, 1.3) + drawn.uniform(-0.1, 0.1), label

    config = Config3D(
        rays=rays,
        n_channel_in=1,
        train_batch_size=2,
        train_patch_size=(24, 48, 48),
        train_epochs=epochs,
        train_steps_per_epoch=50,
        train_tensorboard=False,
        train_learning_rate=2e-3,
        train_reduce_lr={"factor": 0.5, "patience": 5, "min_delta": 0},
        **network,
    )
    model = StarDist3D(config, name=name, basedir=str(WORK))
    held = ([*images[:2]], [*labels[:2]])
    model.train([*images[2:]], [*labels[2:]], validation_data=held, augmenter=varied, seed=1)
    model.optimize_thresholds(*held)


def stacks() -> dict[str, np.ndarray]:
    """Of odd sizes, a part of the real one and a drawn one."""
    return {
        "real": imread(DATA / "stardist_img3d.tif")[3:26, 5:58, 2:51],
        "drawn": drawn_stack((27, 61, 47), 45, 99)[0],
    }


def predict(name: str) -> None:
    (HERE / name).mkdir(exist_ok=True)
    for file in ("config.json", "thresholds.json", "weights_best.h5"):
        shutil.copyfile(WORK / name / file, HERE / name / file)
    model = StarDist3D(None, name=name, basedir=str(WORK))
    for called, image in stacks().items():
        scaled = normalize(image, 1, 99.8)
        labels, told = model.predict_instances(scaled)
        prob, dist = model.predict(scaled)
        np.savez_compressed(
            HERE / name / f"{called}.npz",
            image=image,
            labels=labels.astype(np.uint8),
            points=told["points"].astype(np.int16),
            prob=prob[::2],
            dist=dist[::6, ::7, ::7],
        )
        print(name, called, image.shape, labels.max(), flush=True)
    if name == "stack_resnet":
        decode(model, normalize(stacks()["drawn"], 1, 99.8))


def decode(model: StarDist3D, image: np.ndarray) -> None:
    """Candidates in half precision, and what StarDist makes of them."""
    prob, dist, points = model.predict_sparse(image, prob_thresh=0.3)
    prob, dist = (one.astype(np.float16).astype(np.float32) for one in (prob, dist))
    prob += np.arange(len(prob), dtype=np.float32) * 1e-7  # no two are the same
    expected = {}
    for overlap in (0.1, 0.3, 0.5):
        labels, told = model._instances_from_prediction(
            image.shape, prob, dist, points=points, nms_thresh=overlap
        )
        expected |= {f"labels_{overlap}": labels.astype(np.uint8), f"points_{overlap}": told["points"]}
        print("decoded", overlap, len(prob), labels.max(), flush=True)
    np.savez_compressed(
        HERE / "decoded3d.npz",
        prob=prob,
        dist=dist.astype(np.float16),
        points=points.astype(np.int16),
        **{name: one.astype(np.uint8) for name, one in expected.items()},
    )


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for name in MODELS:
        if COMMAND == "train":
            train(name)
        elif COMMAND == "predict":
            predict(name)


if __name__ == "__main__":
    main()
