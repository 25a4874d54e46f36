"""Write the CSV that the model `denoise` is trained on: pairs, and clean nuclei without an input.

    python recipes/denoise/make_csv.py GIGADB DSB OUT.csv [--structures FOLDER] [--hold FILE] [--nuclei N]

GIGADB and DSB are the unzipped folders gigadb_denoise and dsb2018_nuclei, FOLDER is what make_structures.py
drew. ``--hold`` names the pair that is held out (val); by default it is the one that the data set calls so. Held
out are also N / 4 nuclei of the val part of DSB, which training scores with drawn noise.
"""

import argparse
import csv
import os
from collections.abc import Iterator
from pathlib import Path


def pairs(gigadb: Path, hold: str) -> Iterator[tuple[Path | None, Path, str]]:
    """Input, target and part of each real pair."""
    with (gigadb / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            low, high = (gigadb / part / row["file"] for part in ("low", "high"))
            yield low, high, "val" if row["file"] == hold else "train"


def nuclei(dsb: Path, split: str, count: int) -> Iterator[tuple[Path | None, Path, str]]:
    """Fluorescence images of a part, from all over it; targets without an input."""
    with (dsb / "index.csv").open(newline="") as file:
        names = [row["id"] for row in csv.DictReader(file) if row["kind"] == "fluo" and row["split"] == split]
    for name in names[:: max(1, len(names) // max(count, 1))][:count]:
        yield None, dsb / "images" / f"{name}.png", split


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
    drawn = sorted(asked.structures.glob("*.tif")) if asked.structures else []
    rows = [
        *pairs(asked.gigadb, asked.hold),
        *nuclei(asked.dsb, "train", asked.nuclei),
        *((None, path, "train") for path in drawn),
        *nuclei(asked.dsb, "val", asked.nuclei // 4),
    ]
    base = asked.output.resolve().parent
    with asked.output.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "target", "split"))
        for image, target, split in rows:
            table.writerow(
                (
                    *(
                        "" if path is None else os.path.relpath(path.resolve(), base)
                        for path in (image, target)
                    ),
                    split,
                )
            )


if __name__ == "__main__":
    main()
