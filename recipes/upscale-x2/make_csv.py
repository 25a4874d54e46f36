"""Write the CSV that the model `upscale-x2` is trained on: sharp images, whose coarse inputs training makes itself.

    python recipes/upscale-x2/make_csv.py GIGADB DSB OUT.csv

GIGADB and DSB are the unzipped folders gigadb_denoise and dsb2018_nuclei. Learned from are the clean images of the
training pairs of GIGADB, each named four times so that actin and mitochondria are a fourth of what is seen, and the
fluorescence images of the training part of DSB. Held out (val) are those of the val parts of both.
"""

import argparse
import csv
import os
from collections.abc import Iterator
from pathlib import Path

TIMES = 4


def clean(gigadb: Path) -> Iterator[tuple[Path, str, str]]:
    """Clean image, part and kind of each pair."""
    with (gigadb / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] in ("train", "val"):
                for _ in range(TIMES if row["split"] == "train" else 1):
                    yield gigadb / "high" / row["file"], row["split"], "actin and mitochondria"


def nuclei(dsb: Path) -> Iterator[tuple[Path, str, str]]:
    """Fluorescence images of the parts train and val."""
    with (dsb / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["kind"] == "fluo" and row["split"] in ("train", "val"):
                yield dsb / "images" / f"{row['id']}.png", row["split"], "nuclei"


def main() -> None:
    """Read both indices and write one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gigadb", type=Path)
    parser.add_argument("dsb", type=Path)
    parser.add_argument("output", type=Path)
    asked = parser.parse_args()
    base = asked.output.resolve().parent
    with asked.output.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "target", "split", "group"))
        for path, split, kind in (*clean(asked.gigadb), *nuclei(asked.dsb)):
            table.writerow(("", os.path.relpath(path.resolve(), base), split, kind))


if __name__ == "__main__":
    main()
