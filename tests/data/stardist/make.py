"""Makes what lies in this folder with the real StarDist (0.9.2, TensorFlow 2.21): small models, images, and its labels.

    pip install stardist==0.9.2 tensorflow-cpu==2.21.0 tf-keras==2.21.0
    python make.py DATA WORK train | predict | areas
    TF_USE_LEGACY_KERAS=1 python make.py DATA WORK keras2

DATA is a folder with images/, labels/ and index.csv of the 2018 Data Science Bowl (CC0), WORK one for what lies between. The
networks are narrow and were trained for some minutes on one core: they are for comparing, not for use. Trained is on the train
part, the images here are of the val part.
"""

import csv
import os
import shutil
import sys
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1"}

import numpy as np
import tensorflow as tf
from csbdeep.utils import normalize
from skimage.io import imread
from stardist.lib.stardist2d import c_non_max_suppression_inds
from stardist.models import Config2D, StarDist2D

DATA, WORK, COMMAND = Path(sys.argv[1]), Path(sys.argv[2]) / "models", sys.argv[3]
HERE = Path(__file__).parent
MODELS = {  # kind of images, epochs, network
    "fluo_grid2": ("fluo", 30, {"grid": (2, 2), "net_conv_after_unet": 32}),
    "tissue_grid1": ("he", 14, {"grid": (1, 1), "net_conv_after_unet": 24, "unet_batch_norm": True}),
}
CROPS = {  # image of the val part: first row and column, rows and columns
    "fluo_grid2": {
        "07fb37": (40, 300, 201, 247),
        "6fe2df": (7, 11, 130, 173),
        "57b497": (0, 0, 254, 256),
    },
    "tissue_grid1": {"610f32": (30, 41, 121, 190), "5c6eb9": (3, 20, 147, 165)},
}
DECODED = ("4dbbb2", (250, 330, 249, 256))  # of the grey images, for tests of the polygons alone


def files_of(kind: str, part: str) -> dict[str, Path]:
    with (DATA / "index.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == kind and row["split"] == part]
    return {row["id"]: DATA / "images" / f"{row['id']}.png" for row in rows if int(row["height"]) <= 600}


def image_of(path: Path, kind: str) -> np.ndarray:
    image = imread(path)
    return image[..., 0] if kind == "fluo" and image.ndim == 3 else image


def train(name: str) -> None:
    kind, epochs, network = MODELS[name]
    files = list(files_of(kind, "train").values())[:130]
    images = [normalize(image_of(file, kind), 1, 99.8, axis=(0, 1)) for file in files]
    labels = [imread(DATA / "labels" / file.name).astype(np.int32) for file in files]
    drawn = np.random.default_rng(0)

    def varied(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        turns = drawn.integers(4)
        image, label = np.rot90(image, turns, (0, 1)), np.rot90(label, turns, (0, 1))
        if drawn.random() < 0.5:
            image, label = image[:, ::-1], label[:, ::-1]
        return image * drawn.uniform(0.7, 1.3) + drawn.uniform(-0.1, 0.1), label

    config = Config2D(
        n_rays=32,
        n_channel_in=1 if kind == "fluo" else 3,
        unet_n_filter_base=8,
        unet_n_depth=2,
        train_batch_size=4,
        train_patch_size=(128, 128),
        train_epochs=epochs,
        train_steps_per_epoch=60,
        train_tensorboard=False,
        train_learning_rate=1e-3,
        train_reduce_lr={"factor": 0.5, "patience": 6, "min_delta": 0},
        **network,
    )
    model = StarDist2D(config, name=name, basedir=str(WORK))
    held = (images[:8], labels[:8])
    model.train(images[8:], labels[8:], validation_data=held, augmenter=varied, seed=1)
    model.optimize_thresholds(*([one[:256, :256] for one in part] for part in held))


def predict(name: str) -> None:
    (HERE / name).mkdir(exist_ok=True)
    for file in ("config.json", "thresholds.json", "weights_best.h5"):
        shutil.copyfile(WORK / name / file, HERE / name / file)
    model = StarDist2D(None, name=name, basedir=str(WORK))
    if name == "tissue_grid1":  # the layout of Keras 3 itself
        model.keras_model.save_weights(str(HERE / f"{name}.weights.h5"))
    kind = MODELS[name][0]
    files = files_of(kind, "val")
    for short, (row, column, rows, columns) in CROPS[name].items():
        path = next(file for one, file in files.items() if one.startswith(short))
        image = image_of(path, kind)[row : row + rows, column : column + columns]
        scaled = normalize(image, 1, 99.8, axis=(0, 1))
        labels, told = model.predict_instances(scaled)
        prob, dist = model.predict(scaled)
        np.savez_compressed(
            HERE / name / f"{short}.npz",
            image=image,
            labels=labels.astype(np.uint16),
            points=told["points"].astype(np.int16),
            prob=prob,
            dist=dist[::5, ::5],
        )
        print(name, short, image.shape, labels.max(), flush=True)
    if name == "fluo_grid2":
        short, (row, column, rows, columns) = DECODED
        path = next(file for one, file in files.items() if one.startswith(short))
        image = image_of(path, kind)[row : row + rows, column : column + columns]
        decode(model, normalize(image, 1, 99.8))


def decode(model: StarDist2D, image: np.ndarray) -> None:
    """Candidates in half precision, and what StarDist makes of them."""
    prob, dist, points = model.predict_sparse(image, prob_thresh=0.3)
    prob, dist = (one.astype(np.float16).astype(np.float32) for one in (prob, dist))
    expected = {}
    for overlap in (0.2, 0.4, 0.6):
        labels, told = model._instances_from_prediction(
            image.shape, prob, dist, points=points, nms_thresh=overlap
        )
        expected |= {f"labels_{overlap}": labels.astype(np.uint16), f"points_{overlap}": told["points"]}
        print("decoded", overlap, len(prob), labels.max(), flush=True)
    np.savez_compressed(
        HERE / "decoded.npz",
        prob=prob.astype(np.float16),
        dist=dist.astype(np.float16),
        points=points,
        **expected,
    )


def areas() -> None:
    """Pairs of polygons, and the common area that StarDist's suppression (with the library Clipper) works with."""
    drawn, points, rays, common = np.random.default_rng(5), [], [], []
    for _ in range(250):
        base = drawn.uniform(5, 25)
        pair = np.stack([base * drawn.uniform(0.6, 1.4) * (1 + 0.4 * waves(drawn)) for _ in range(2)])
        away = drawn.uniform(0, 1.6 * base) * np.array([np.sin(turn := drawn.uniform(0, 7)), np.cos(turn)])
        centre = drawn.integers(100, 140, 2)
        points.append(np.stack([centre, (centre + away).astype(int)]))
        rays.append(np.maximum(pair, 1e-3).astype(np.float32))
        common.append(overlap_of(points[-1], rays[-1]))
    np.savez_compressed(
        HERE / "areas.npz", points=np.array(points, np.int16), dist=np.array(rays), overlap=np.array(common)
    )


def waves(drawn: np.random.Generator) -> np.ndarray:
    return np.convolve(drawn.normal(0, 1, 48), np.ones(6) / 6, "same")[8:40]


def overlap_of(points: np.ndarray, dist: np.ndarray) -> float:
    """The threshold at which the second polygon is no longer suppressed."""
    low, high = -1e-6, 2.0
    for _ in range(26):
        middle = (low + high) / 2
        kept = c_non_max_suppression_inds(dist, points.astype(np.float32), 1, 1, 0, np.float32(middle))
        low, high = (low, middle) if kept[1] else (middle, high)
    return high


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for name in MODELS:
        if COMMAND == "train":
            train(name)
        elif COMMAND == "predict":
            predict(name)
    if COMMAND == "areas":
        areas()
    if COMMAND == "keras2":  # the same weights as Keras 2 writes them
        model = StarDist2D(None, name="tissue_grid1", basedir=str(WORK))
        model.keras_model.save_weights(str(HERE / "tissue_grid1.keras2.h5"))


if __name__ == "__main__":
    main()
