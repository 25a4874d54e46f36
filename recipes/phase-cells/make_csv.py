"""CSV of phase-cells: ``python make_csv.py STILLS OUT.csv``; every eighth set is held out."""

import csv
import re
import sys
from pathlib import Path

stills, out = (Path(word).resolve() for word in sys.argv[1:3])
with out.open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["image", "label", "split"])
    for row in csv.DictReader((stills / "index.csv").open()):
        number = int(re.sub(r"\D", "", row["file"]))
        split = "val" if number % 8 == 4 and row["split"] == "train" else row["split"]
        writer.writerow([stills / "images" / row["file"], stills / "labels" / row["file"], split])
