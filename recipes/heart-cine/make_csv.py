"""CSV of heart-cine and of its leave-one-patient-out folds: ``python make_csv.py CINE LV OUT``."""

import csv
import sys
from pathlib import Path

cine, lv, out = (Path(p).resolve() for p in sys.argv[1:4])
VAL = {"SC-HF-I-06", "SC-HF-I-08", "SC-HF-NI-11", "SC-HF-NI-34", "SC-HYP-06", "SC-HYP-40", "SC-N-03"}
SAME = {"SCD0000101": "SC-HF-I-01", "SCD0000201": "SC-HF-I-02", "SCD0000301": "SC-HF-I-04"}
frames = list(csv.DictReader((lv / "index.csv").open()))
for fold in ("", *SAME):
    with (out / f"cine{'-without-' + fold if fold else ''}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "frames", "patient", "group", "split"])
        for name, patient in SAME.items():
            image, labels = cine / f"{name}_cine.nii.gz", cine / f"{name}_label.nii.gz"
            writer.writerow([image, labels, "", patient, "HF-I", "test" if name == fold else "train"])
        for row in frames:
            held = row["patient"] == SAME.get(fold)
            split = "val" if row["patient"] in VAL else "test" if held else "train"
            if not held:  # the same frames are in its movie
                writer.writerow(
                    [
                        lv / "images" / row["file"],
                        lv / "labels" / row["file"],
                        "1",
                        row["patient"],
                        row["group"],
                        split,
                    ]
                )
