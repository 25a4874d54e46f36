"""Runs bundled models of several tasks on the example images and says where the results are (`make demo`)."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(os.path.relpath(Path(__file__).parent))
# model, images, what is saved of each; results of several models lie in folders of their own
JOBS = (
    ("nuclei", ("fluorescence.tif", "histology.png", "timelapse.tif"), ("overlay", "labels", "table")),
    ("nuclei-3d", ("noisy_nuclei_stack.tif",), ("overlay", "labels", "table")),
    ("hippocampus", ("hippocampus/hippocampus_311.nii.gz",), ("overlay", "labels")),
    ("heart-lv", ("heart_cine.nii.gz",), ("overlay", "labels")),
    ("blood-cells", ("blood_cells/monocyte.jpg", "blood_cells/neutrophil.jpg"), ("overlay", "table")),
    ("denoise", ("noisy_mitochondria.png",), ("overlay", "image")),
    ("upscale-x2", ("fluorescence.tif",), ("overlay", "image")),
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
    for model, images, saved in JOBS:
        code = run(model, images, saved, output / model)
        if code:
            return code
    print("\nThe pictures, and the labels, images and tables:")
    for model, images, saved in JOBS:
        for name in images:
            stem, _, suffix = Path(name).name.partition(".")
            pixels = ".nii.gz" if suffix == "nii.gz" else ".tif"
            for kind in saved:
                print(f"  {(output / model).resolve() / (stem + '-' + kind + SUFFIXES.get(kind, pixels))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/demo")))
