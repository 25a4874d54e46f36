"""Seconds for one image with each bundled model, from file to file, once the model is loaded.

    python benchmarks/latency.py --threads 2 -o benchmarks/latency.json

Read, run and write the labels; the median of some repetitions after one that is not counted. A time series is told per
frame and slice as well.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
IMAGES = {
    "nuclei": "fluorescence.tif",
    "hippocampus": "hippocampus/hippocampus_311.nii.gz",
    "heart-lv": "heart_cine.nii.gz",
}


def processor() -> str:
    """Name of the CPU, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def measure(name: str, runtime: str, repeats: int) -> dict[str, object]:
    """Median seconds of one example with one model."""
    import deepbio
    from deepbio.options import RunOptions

    model = deepbio.load_model(name, device="cpu")
    options = RunOptions(runtime=runtime, output=("labels",))
    path = EXAMPLES / IMAGES[name]
    seconds, cpu = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats + 1):
            start, used = time.perf_counter(), time.process_time()
            image = deepbio.read(path)
            result = model.run(image, options)
            deepbio.write(
                Path(folder) / f"labels{'.tif' if path.suffix == '.tif' else '.nii.gz'}", result.labels
            )
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - used)
    parts = image.size("T") * (image.size("Z") if model.card.ndim == 2 else 1)
    wall = statistics.median(seconds[1:])
    return {
        "model": name,
        "image": IMAGES[name],
        "shape": list(image.shape),
        "runtime": result.record["runtime"],
        "wall_s": round(wall, 3),
        "cpu_s": round(statistics.median(cpu[1:]), 3),
        "networks_inputs": parts,
        "wall_s_each": round(wall / parts, 4),
        "first_s": round(seconds[0], 3),
    }


def main() -> None:
    """Measure all and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(given.threads)
    rows = [measure(name, given.runtime, given.repeats) for name in IMAGES]
    print("model         wall s   CPU s   per slice and frame   runtime")
    for row in rows:
        print(
            f"{row['model']:12} {row['wall_s']:7.3f} {row['cpu_s']:7.3f} {row['wall_s_each']:14.4f}          {row['runtime']}"
        )
    if given.output:
        content = {"machine": processor(), "threads": given.threads, "rows": rows}
        given.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
