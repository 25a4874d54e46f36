"""Write the CSV that the model `denoise` is trained on: pairs, and clean nuclei without an input.

    python recipes/denoise/make_csv.py GIGADB DSB OUT.csv [--structures FOLDER] [--hold FILE] [--nuclei N]

GIGADB and DSB are the unzipped folders gigadb_denoise and dsb2018_nuclei, FOLDER is what make_structures.py
drew. ``--hold`` names the pair that is
the val part; by default it is the one that the data set calls so. The others are learned from.
"""

import argparse
import csv
import itertools
import os
from collections.abc import Iterable
from pathlib import Path


def main() -> None:
    """Read both indices and write one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gigadb", type=Path)
    parser.add_argument("dsb", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--structures", type=Path)
    parser.add_argument("--hold", default="mito-60x-noise2.png")
    parser.add_argument("--nuclei", type=int, default=64)
    asked = parser.parse_args()
    base = asked.output.resolve().parent
    rows = []
    with (asked.gigadb / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            held = row["file"] == asked.hold
            low, high = (
                os.path.relpath((asked.gigadb / part / row["file"]).resolve(), base)
                for part in ("low", "high")
            )
            rows.append((low, high, "val" if held else "train"))
    with (asked.dsb / "index.csv").open(newline="") as file:
        nuclei = [
            row["id"] for row in csv.DictReader(file) if row["kind"] == "fluo" and row["split"] == "train"
        ]
    chosen = nuclei[:: max(1, len(nuclei) // max(asked.nuclei, 1))][: asked.nuclei]
    files: Iterable[Path] = ((asked.dsb / "images" / f"{name}.png").resolve() for name in chosen)
    if asked.structures:
        files = itertools.chain(files, sorted(asked.structures.resolve().glob("*.tif")))
    rows += [("", os.path.relpath(file, base), "train") for file in files]
    with asked.output.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "target", "split"), *rows])


if __name__ == "__main__":
    main()
