"""Precision at 10 of finding like cells: features of three kinds, and raw pixels as the floor.

Each image of the val part of the blood cells asks the train part; counted are neighbours of its own class.

    python benchmarks/retrieval.py DATA --classifier blood-cells --autoencoder FOLDER [--out retrieval.json]
    python benchmarks/retrieval.py DATA --layers encoder.0,encoder.4 --add
    python benchmarks/retrieval.py DATA --pool mean,std --add

Layers are chosen without a look at val: a quarter of train asks the rest of it.

    python benchmarks/retrieval.py DATA --on-train --every 2 --layers encoder.0,encoder.1,... --out choice.json
    python benchmarks/retrieval.py DATA --on-train --every 4 --transfer heart-lv --channel 2 --layers ... --out ...

DATA is the folder with index.csv (file, class, split) of pbc_blood_cells.zip. No autoencoder ships; one is
made of the train part (cells.csv lists its files in the column image) with

    deepbio train cells.csv -o cells-code --task restore --set method=autoencoder --set patch=96 --set batch=16 --steps 2500
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.extraction import features
from deepbio.extraction.extract import feature_names
from deepbio.image import Table
from deepbio.io import read
from deepbio.options import RunOptions
from deepbio.predict import load_model
from deepbio.retrieval import build_index

K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--classifier", default="")
    parser.add_argument(
        "--classifier-layers", default="", help="further layers of the classifier, with commas"
    )
    parser.add_argument("--autoencoder", default="")
    parser.add_argument("--transfer", default="nuclei")
    parser.add_argument("--layers", default="", help="further layers of the transfer model, with commas")
    parser.add_argument("--pool", default="mean", help="how maps become vectors")
    parser.add_argument("--channel", default="auto", help="for models of grey images")
    parser.add_argument("--on-train", action="store_true", help="a quarter of train asks the rest")
    parser.add_argument("--add", action="store_true", help="keep what OUT has of the same images")
    parser.add_argument("--every", type=int, default=1, help="take every n-th image of both parts")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    rows = list(csv.DictReader((asked.data / "index.csv").open()))
    parts = {
        split: [row for row in rows if row["split"] == split][:: asked.every] for split in ("train", "val")
    }
    if asked.on_train:
        every = parts["train"]
        parts = {"train": [row for n, row in enumerate(every) if n % 4], "val": every[::4]}
    images = {split: len(part) for split, part in parts.items()}
    results: list[dict[str, Any]] = kept(asked.out, images) if asked.add else []
    for kind, model, layers in (
        ("classifier", asked.classifier, ("auto", *asked.classifier_layers.split(","))),
        ("autoencoder", asked.autoencoder, ("auto",)),
        ("transfer", asked.transfer, ("auto", *asked.layers.split(","))),
    ):
        for layer in layers if model else ():
            if not layer or (asked.add and layer == "auto" and asked.pool == "mean"):
                continue  # is there already
            results.append(measured(kind, (model, layer, asked.pool, asked.channel), asked.data, parts))
    if not asked.add:
        results.append(measured("raw pixels", ("", "", "", ""), asked.data, parts))
    what = "a quarter of train against the rest" if asked.on_train else "val against train"
    report = {"data": f"pbc_blood_cells, {what}", "images": images, "k": K, "results": results}
    asked.out.write_text(json.dumps(report, indent=1) + "\n")
    for row in results:
        print(
            f"{row['kind']:12} {row['model']:16} {row['layer']:12} {row['pool']:9} {row['features']:6} "
            f"{row['precision_at_10']:.3f}"
        )


def kept(path: Path, images: dict[str, int]) -> list[dict[str, Any]]:
    """Rows of an earlier report on the same images."""
    report = json.loads(path.read_text())
    if report["images"] != images:
        raise SystemExit(f"{path} is of {report['images']} images, this is of {images}.")
    return list(report["results"])


def measured(
    kind: str, which: tuple[str, str, str, str], data: Path, parts: dict[str, list[dict[str, str]]]
) -> dict[str, Any]:
    """One row of the report, of a model, a layer and a way of pooling."""
    model, _, pool, _ = which
    start = time.perf_counter()
    tables = {split: described(which, data, part) for split, part in parts.items()}
    seconds = time.perf_counter() - start
    index = build_index(tables["train"])
    start = time.perf_counter()
    found, _ = index.query(tables["val"], K)
    query = time.perf_counter() - start
    ours = np.array([row["class"] for row in parts["train"]])[found]
    wanted = np.array([row["class"] for row in parts["val"]])
    hits = (ours == wanted[:, None]).mean(axis=1)
    by_class = {name: round(float(hits[wanted == name].mean()), 4) for name in sorted(set(wanted))}
    return {
        "kind": kind,
        "model": Path(model).name,
        "layer": str(tables["train"]["layer"][0]),
        "pool": pool,
        "features": len(feature_names(tables["train"])),
        "precision_at_10": round(float(hits.mean()), 4),
        "by_class": by_class,
        "ms_per_image": round(1000 * seconds / sum(map(len, parts.values())), 2),
        "ms_per_query": round(1000 * query / len(wanted), 3),
    }


def described(which: tuple[str, str, str, str], data: Path, part: list[dict[str, str]]) -> Table:
    """Features of a part, in its order."""
    model, layer, pool, channel = which
    if not model:  # means of 2 x 2 pixels: 6,912 numbers
        pixels = np.stack([np.asarray(read(data / row["file"]).array, np.float32) for row in part])
        small = pixels.reshape(len(pixels), 3, 48, 2, 48, 2).mean((3, 5)).reshape(len(pixels), -1)
        return Table(
            {
                "layer": np.full(len(part), "2 x 2 means"),
                **{f"mean_{k}": small[:, k] for k in range(small.shape[1])},
            }
        )
    loaded = load_model(model)
    tables = []
    for row in part:
        found = features(
            data / row["file"],
            loaded,
            layer=layer,
            pool=pool,
            options=RunOptions(device="cpu", channel=channel),
        )
        layer = found.record["layer"]
        tables.append(found.features)
    whole = Table.concatenate(tables)
    return Table({"layer": np.full(len(part), layer), **whole.columns})


if __name__ == "__main__":
    main()
