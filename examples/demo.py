"""Segments the example images with the bundled models and says where the results are (`make demo`)."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(os.path.relpath(Path(__file__).parent))
# model, images, what is saved of each
JOBS = (
    ("nuclei", ("fluorescence.tif", "histology.png", "timelapse.tif"), ("overlay", "labels", "table")),
    ("hippocampus", ("hippocampus/hippocampus_311.nii.gz",), ("overlay", "labels")),
    ("heart-lv", ("heart_cine.nii.gz",), ("overlay", "labels")),
)
SUFFIXES = {"overlay": ".png", "table": ".csv"}


def run(model: str, images: tuple[str, ...], saved: tuple[str, ...], output: Path) -> int:
    """Run the command that a user would run; return its exit code."""
    words = ["run", model, *(str(HERE / name) for name in images)]
    words += ["-o", str(output), "--save", ",".join(saved), "--overwrite"]
    print("deepbio", *words, flush=True)
    return subprocess.run([sys.executable, "-m", "deepbio", *words], check=False).returncode


def main(output: Path) -> int:
    """Run all jobs; return the first exit code that is not 0."""
    for job in JOBS:
        code = run(*job, output)
        if code:
            return code
    print("\nThe pictures (image, outlines, labels), the labels and the tables:")
    for _, images, saved in JOBS:
        for name in images:
            stem, _, suffix = Path(name).name.partition(".")
            labels = ".nii.gz" if suffix == "nii.gz" else ".tif"
            for kind in saved:
                print(f"  {output.resolve() / (stem + '-' + kind + SUFFIXES.get(kind, labels))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/demo")))
