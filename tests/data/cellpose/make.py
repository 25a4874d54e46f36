"""Makes what lies in this folder with the real Cellpose 3 (3.1.1.2): a small training, images, and what it finds in them.

    pip install cellpose==3.1.1.2
    python make.py NUCLEI train | predict

NUCLEI is a folder with images/, labels/ and index.csv made from stage 1 of the 2018 Data Science Bowl (BBBC038v1, CC0). The network
has Cellpose's shape with a quarter of its features and less, and was trained for some minutes: it is for comparing, not for use.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import tifffile
import torch
from cellpose import models, train
from cellpose.resnet_torch import CPnet
from scipy import ndimage
from skimage.io import imread

SOURCE, COMMAND = Path(sys.argv[1]), sys.argv[2]
HERE = Path(__file__).parent
FEATURES = [2, 8, 16, 32, 32]
MODEL = HERE / "CP_nuclei"
CASES = {  # file: (index among the fluorescence images of the training part, part of it, diameters)
    "small": (7, (slice(0, 201), slice(20, 197)), (None, 12.0)),
    "wide": (57, (slice(3, 250), slice(0, 311)), (None, 26.5)),
}
STACK = HERE.parent / "imagej" / "nuclei_stack.tif"
STACKS = ((14.0, 2.0), (25.0, 1.0))  # diameter, and how many times as far apart slices are as pixels


def fluorescence() -> list[str]:
    with (SOURCE / "index.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "fluo" and row["split"] == "train"]
    return [row["id"] for row in rows]


def pair(name: str) -> tuple[np.ndarray, np.ndarray]:
    image = imread(SOURCE / "images" / f"{name}.png")
    return image, imread(SOURCE / "labels" / f"{name}.png")


class Narrow(CPnet):
    """Cellpose's network, whose style is as long as Cellpose expects whatever the features."""

    def forward(self, data: torch.Tensor) -> tuple:
        scores, style, features = super().forward(data)
        return scores, torch.nn.functional.pad(style, (0, 256 - style.shape[1])), features


def network(path: str | None = None) -> models.CellposeModel:
    model = models.CellposeModel(gpu=False)
    model.net, model.net_ortho = Narrow(FEATURES, 3, 3, mkldnn=False), None
    if path:
        model.net.load_model(path)
        model.diam_mean = model.net.diam_mean.data.numpy()[0]
        model.diam_labels = model.net.diam_labels.data.numpy()[0]
    return model


def fit() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - what Cellpose draws from
    pairs = [pair(name) for name in fluorescence()[60:220:2]]
    pairs = [(image, label) for image, label in pairs if image.shape[0] <= 360]
    labels = [label for _, label in pairs]
    alone = [np.stack([image, np.zeros_like(image)]) for image, _ in pairs]
    images = [two_channels(image[0]) if k % 2 else image for k, image in enumerate(alone)]
    path, _, _ = train.train_seg(
        network().net,
        train_data=images,
        train_labels=labels,
        channels=[1, 2],
        n_epochs=40,
        learning_rate=0.01,
        batch_size=8,
        min_train_masks=5,
        save_path=HERE,
        model_name=MODEL.name,
    )
    Path(path).rename(MODEL)
    Path(path).parent.rmdir()


def two_channels(image: np.ndarray) -> np.ndarray:
    """A made-up cytoplasm round the nuclei, and the nuclei."""
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    around = ndimage.gaussian_filter(image.astype(float), 1.5) * 1.2 + 20 + noise
    return np.stack([np.clip(around, 0, 255).astype(np.uint8), image])


def predict() -> None:
    model = network(str(MODEL))
    names = fluorescence()
    for case, (index, part, diameters) in CASES.items():
        image = pair(names[index])[0][part]
        inputs = {case: (image, [0, 0]), f"{case}_pair": (two_channels(image), [1, 2])}
        for name, (pixels, channels) in inputs.items():
            axes = "YX" if pixels.ndim == 2 else "CYX"
            tifffile.imwrite(
                HERE / f"{name}.tif", pixels, imagej=True, metadata={"axes": axes}, compression="zlib"
            )
            for diameter in diameters:
                moved = pixels if pixels.ndim == 2 else np.moveaxis(pixels, 0, -1)
                masks, flows, _ = model.eval(moved, channels=channels, diameter=diameter)
                scores = np.concatenate([flows[1], flows[2][None]])[:, ::5, ::5].astype(np.float32)
                file = f"{name}_{diameter or 'own'}.npz"
                np.savez_compressed(HERE / file, masks=masks.astype(np.uint16), scores=scores)
                print(file, pixels.shape, masks.max(), "masks", float(model.diam_labels))
    stack = tifffile.imread(STACK)
    for diameter, anisotropy in STACKS:
        how = {"do_3D": True, "z_axis": 0, "diameter": diameter, "anisotropy": anisotropy}
        masks, flows, _ = model.eval(stack, channels=[0, 0], **how)
        scores = np.concatenate([flows[1], flows[2][None]])[:, ::2, ::5, ::5].astype(np.float32)
        file = f"stack_{diameter}_{anisotropy}.npz"
        np.savez_compressed(HERE / file, masks=masks.astype(np.uint16), scores=scores)
        print(file, stack.shape, masks.max(), "masks")


if __name__ == "__main__":
    {"train": fit, "predict": predict}[COMMAND]()
