"""Segments the three example images with the bundled model and says where the results are (`make demo`)."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(os.path.relpath(Path(__file__).parent))
IMAGES = ("fluorescence.tif", "histology.png", "timelapse.tif")


def main(output: Path) -> int:
    """Run the command that a user would run; return its exit code."""
    images = [str(HERE / name) for name in IMAGES]
    wanted = ["-o", str(output), "--save", "labels,table,overlay", "--overwrite"]
    print("deepbio run nuclei", *images, *wanted, flush=True)
    code = subprocess.run(
        [sys.executable, "-m", "deepbio", "run", "nuclei", *images, *wanted], check=False
    ).returncode
    if code == 0:
        print("\nThe pictures (image, outlines, labels), the labels and the tables:")
        for name in IMAGES:
            for kind in ("overlay.png", "labels.tif", "table.csv"):
                print(f"  {output.resolve() / (Path(name).stem + '-' + kind)}")
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/demo")))
