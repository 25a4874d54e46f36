"""Whether an explanation of a blood cell lies on the cell, and goes when the weights do.

For each image of the val part: the mean of the map inside the cell over that outside, the part of the map's
energy inside, and the rank correlation with the map of the same network with random weights. The cell is
what is stained: pixels whose green is below Otsu's threshold, the largest component, holes filled.

    python benchmarks/explain.py DATA --methods gradcam --layers auto,stages.2 [--out explain.json]
    python benchmarks/explain.py DATA --methods integrated-gradients,occlusion --every 8 --add
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import yaml
from scipy import ndimage
from scipy.stats import spearmanr
from skimage.filters import threshold_otsu

from deepbio.explanation import explain
from deepbio.image import Image
from deepbio.io import read
from deepbio.options import RunOptions
from deepbio.predict import Model, load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="blood-cells")
    parser.add_argument("--every", type=int, default=1, help="take every n-th image")
    parser.add_argument("--methods", default="gradcam,integrated-gradients")
    parser.add_argument("--layers", default="auto", help="for Grad-CAM, with commas")
    parser.add_argument("--add", action="store_true", help="keep what OUT has of other methods")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    rows = [row for row in csv.DictReader((asked.data / "index.csv").open()) if row["split"] == "val"]
    images = [read(asked.data / row["file"]) for row in rows[:: asked.every]]
    cells = [cell_of(image) for image in images]
    model = load_model(asked.model, device="cpu")
    methods = asked.methods.split(",")
    before = json.loads(asked.out.read_text())["results"] if asked.add else []
    results = [row for row in before if row["method"] not in methods]
    with tempfile.TemporaryDirectory() as folder:
        other = randomised(model, Path(folder))
        for method in methods:
            for layer in asked.layers.split(",") if method == "gradcam" else ["auto"]:
                results.append(measured(method, layer, (model, other), images, cells))
                print(results[-1])
    report = {
        "data": "pbc_blood_cells, val",
        "model": f"{model.card.name} {model.card.version}",
        "cell_part_of_image": round(float(np.mean([cell.mean() for cell in cells])), 3),
        "results": results,
    }
    asked.out.write_text(json.dumps(report, indent=1) + "\n")


def measured(
    method: str, layer: str, models: tuple[Model, Model], images: list[Image], cells: list[np.ndarray]
) -> dict[str, object]:
    ratios, energy, alike = [], [], []
    told = layer
    for image, cell in zip(images, cells, strict=True):
        one = explain(image, models[0], method=method, layer=layer, options=RunOptions(device="cpu"))
        target, told = one.record["target"][0], one.record.get("layer", "")
        there = explain(
            image, models[1], method=method, layer=layer, target=target, options=RunOptions(device="cpu")
        )
        found, random = (np.abs(result.explanation.numpy()).astype(float) for result in (one, there))
        if found.sum() > 0:
            ratios.append(found[cell].mean() / max(found[~cell].mean(), 1e-12))
            energy.append(found[cell].sum() / found.sum())
        if np.ptp(found) > 0 and np.ptp(random) > 0:
            alike.append(spearmanr(found.ravel(), random.ravel()).statistic)
    return {
        "method": method,
        "layer": told,
        "images": len(images),
        "median_inside_over_outside": round(float(np.median(ratios)), 2),
        "part_with_more_inside": round(float(np.mean(np.array(ratios) > 1)), 3),
        "mean_energy_inside": round(float(np.mean(energy)), 3),
        "empty_maps": len(images) - len(ratios),
        "mean_rank_correlation_with_random_weights": round(float(np.mean(alike)), 3) if alike else None,
    }


def cell_of(image: Image) -> np.ndarray:
    """The stained cell of an image."""
    green = image.numpy()[1].astype(float)
    stained = ndimage.binary_fill_holes(green < threshold_otsu(green))
    parts, count = ndimage.label(stained)
    if not count:
        return np.ones(green.shape, bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return parts == sizes.argmax()


def randomised(model: Model, folder: Path) -> Model:
    """The same network with all weights drawn anew: a package of its own, which every runtime can open."""
    import torch
    from safetensors.torch import load_file, save_file

    package = folder / "random"
    shutil.copytree(model.card.root, package, ignore=shutil.ignore_patterns("*.onnx"))
    torch.manual_seed(0)
    weights = load_file(package / "weights.safetensors")
    for name, values in weights.items():
        drawn = torch.zeros(values.shape)
        if values.ndim > 1:
            torch.nn.init.kaiming_normal_(drawn)
        elif "running_var" in name:
            drawn += 1
        weights[name] = drawn.to(values.dtype)
    save_file(weights, package / "weights.safetensors")
    card = (package / "bioimageio.yaml").read_text()
    old, new = (
        hashlib.sha256((root / "weights.safetensors").read_bytes()).hexdigest()
        for root in (model.card.root, package)
    )
    card = yaml.safe_load(card.replace(old, new))
    card["weights"].pop("onnx", None)
    (package / "bioimageio.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    return load_model(package, device="cpu")


if __name__ == "__main__":
    main()
