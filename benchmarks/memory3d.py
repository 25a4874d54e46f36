"""A large CT-like volume through a small 3D network: what memory it takes beyond the network's own.

512 x 512 x 600 voxels of 0.8 x 0.8 x 1.0 mm, int16, from a NIfTI file to labels in a NIfTI file on the
same grid; the card wants 1.5 mm. What the network alone needs is measured with a volume of one tile.
Each run is a process of its own. See README.md beside this file.

    python benchmarks/memory3d.py -o benchmarks/memory3d.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import describe_machine, machine, peak_rss, used

HERE = Path(__file__).resolve()
SPACING = (1.0, 0.8, 0.8)
TILE = 96
LIMIT_GB = 4.0
PACKAGES = ("numpy", "onnxruntime", "SimpleITK", "torch")


def volume(shape: tuple[int, int, int]) -> np.ndarray:
    """Air around an ellipse of tissue with bones and vessels in it, and noise; Hounsfield units."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]
    pixels = np.empty(shape, np.int16)
    noise = rng.normal(0, 25, (7, *shape[1:]))
    for z in range(shape[0]):
        turn = z / shape[0] * 6
        spine = (x - 0.1 * np.sin(turn)) ** 2 + (y - 0.5) ** 2 < 0.01
        vessel = (x + 0.2 * np.cos(turn)) ** 2 + (y + 0.1) ** 2 < 0.004
        body = (x / 0.85) ** 2 + (y / 0.65) ** 2 < 1
        pixels[z] = np.where(body, 50, -1000) + 650 * spine + 200 * vessel + noise[z % 7]
    return pixels


def prepare(folder: Path, shape: tuple[int, int, int]) -> None:
    """Write the volumes and the model."""
    import torch

    from deepbio.image import Grid, Image
    from deepbio.io import write
    from deepbio.library import Step
    from deepbio.library.package import PackageContent, TensorContent, write_package
    from deepbio.networks import build
    from deepbio.training.export import export_onnx

    tile = tuple(round(TILE * 1.5 / s) for s in SPACING)
    for name, size in (("volume", shape), ("tile", tile)):
        grid = Grid(size, SPACING, unit="millimeter")
        write(folder / f"{name}.nii", Image(volume(size), "ZYX", grid))
    torch.manual_seed(0)
    arguments = {"dims": 3, "in_channels": 1, "out_channels": 3, "features": [8, 16, 32], "norm": "none"}
    network = build("unet", arguments).eval()
    raw = volume((16, 16, 16))[None]
    export_onnx(network, raw.shape, folder / "weights.onnx")
    steps = [
        Step("clip", {"min": -1000.0, "max": 1000.0}),
        Step("fixed_zero_mean_unit_variance", {"mean": -300.0, "std": 500.0}),
    ]
    ready = (raw.clip(-1000, 1000).astype(np.float32) + 300) / 500
    with torch.no_grad():
        expected = network(torch.from_numpy(ready[None])).numpy()
    content = PackageContent(
        title="Memory test",
        description="Random weights; only its memory matters.",
        task="segment",
        license="CC0-1.0",
        authors=[{"name": "The DeepBio developers"}],
        inputs=[TensorContent(raw[None], ("CT",), minimum=(16,) * 3, step=(4,) * 3, steps=steps)],
        outputs=[TensorContent(expected, ("background", "first", "second"))],
        onnx=folder / "weights.onnx",
        opset=18,
        config={
            "decode": {"method": "classes"},
            "tile": {"size": [TILE] * 3, "overlap": 0.125},
            "grid": {"spacing": [1.5, 1.5, 1.5], "unit": "millimeter", "orientation": "SPL"},
        },
    )
    write_package(folder / "model", content)


def work(folder: Path, name: str, runtime: str) -> dict[str, Any]:
    """From file to file; what this process took."""
    from deepbio import RunOptions, load_model, read
    from deepbio.io import write

    _, start = used()
    image = read(folder / f"{name}.nii")
    with load_model(folder / "model") as model:
        result = model.run(image, RunOptions(runtime=runtime, output=("labels",)))
    write(folder / f"{name}-labels.nii.gz", result.labels)
    cpu, end = used()
    peak = peak_rss()
    counts = sum(np.bincount(plane.ravel(), minlength=3) for plane in result.labels.numpy())
    return {
        "shape": list(image.shape),
        "working": result.record["working"],
        "tile": result.record["tile"],
        "tiles": result.record["tiles"],
        "runtime": result.record["runtime"],
        "threads": result.record["threads"],
        "same_grid": result.labels.grid == image.grid,
        "labels": counts.tolist(),
        "seconds": result.record["seconds"],
        "wall_s": round(end - start, 2),
        "cpu_s": round(cpu, 2),
        "peak_rss_gb": round(peak / 1e9, 3),
    }


def call(folder: Path, job: str, options: argparse.Namespace) -> str:
    """Start this file again for one job; its last line of output."""
    command = [sys.executable, str(HERE), "--work", job, "--folder", str(folder)]
    command += ["--threads", str(options.threads), "--runtime", options.runtime]
    command += ["--shape", *map(str, options.shape)]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return (done.stdout.strip().splitlines() or [""])[-1]


def main() -> None:
    """Read the options; run both, or (inside a process of its own) one job."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=[600, 512, 512], help="slices, rows, columns")
    parser.add_argument("--runtime", default="onnx", help="as in RunOptions")
    parser.add_argument("--threads", type=int, default=2, help="OMP_NUM_THREADS")
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work == "prepare":
        prepare(options.folder, tuple(options.shape))
        return
    if options.work:
        print(json.dumps(work(options.folder, options.work, options.runtime)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call(folder, "prepare", options)
        rows = {job: json.loads(call(folder, job, options)) for job in ("tile", "volume")}
    beyond = rows["volume"]["peak_rss_gb"] - rows["tile"]["peak_rss_gb"]
    results = {
        "beyond_the_network_gb": round(beyond, 3),
        "limit_gb": LIMIT_GB,
        "machine": machine(PACKAGES),
        **rows,
    }
    print(describe_machine(results["machine"], options.threads))
    for job, row in rows.items():
        print(
            f"{job}: {row['peak_rss_gb']} GB peak, {row['cpu_s']} CPU s, {row['wall_s']} s, {row['tiles']} tiles"
        )
    print(f"beyond the network's own need: {beyond:.2f} GB (limit {LIMIT_GB})")
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n")
    if beyond > LIMIT_GB or not rows["volume"]["same_grid"]:
        sys.exit("The limit is not kept, or the grid is not the input's.")


if __name__ == "__main__":
    main()
