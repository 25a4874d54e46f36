"""A model of Cellpose 3, from a TIFF file to labels in one, by Cellpose itself and by DeepBio that imported it.

The network has the shape of Cellpose's own (cyto3, nuclei). Its weights are those of the small training of the tests, filled up with
zeros: the same scores at the full cost. The image is a mosaic of a fluorescence image of the tests, at a diameter for which it is
enlarged. Each program runs in a process of its own: CPU seconds of all threads, wall, peak memory of everything from the import of the
program to the file; and the same once more for another run with the model loaded.

    pip install cellpose==3.1.1.2
    python benchmarks/cellpose3.py --threads 2 -o benchmarks/cellpose3.json
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import in_own_process, machine, peak_rss, report, used

HERE = Path(__file__).resolve()
DATA = HERE.parents[1] / "tests" / "data" / "cellpose"
SIDE, DIAMETER = 1500, 24.0
PACKAGES = ("torch", "openvino", "onnxruntime", "cellpose", "numpy", "scipy", "numba")


def write_model(path: Path) -> None:
    """The narrow network's weights in the leading features of Cellpose's own."""
    import torch
    from cellpose.resnet_torch import CPnet

    narrow = torch.load(DATA / "CP_nuclei", weights_only=True)
    wide = CPnet([2, 32, 64, 128, 256], 3, 3, mkldnn=False).state_dict()
    for key, value in wide.items():
        if key.endswith("num_batches_tracked") or key.startswith("diam"):
            wide[key] = narrow[key]
            continue
        value.fill_(1.0 if key.endswith("running_var") else 0.0)
        value[tuple(slice(0, n) for n in narrow[key].shape)] = narrow[key]
    torch.save(wide, path)


def write_image(path: Path, side: int) -> None:
    import tifffile

    tile = tifffile.imread(DATA / "wide.tif").astype(np.uint16) * 16
    mosaic = np.pad(tile, [(0, side - n) for n in tile.shape], mode="reflect")
    tifffile.imwrite(path, mosaic)


def by_cellpose(folder: Path, target: Path) -> Any:
    import tifffile
    import torch
    from cellpose import models

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = models.CellposeModel(gpu=False, pretrained_model=str(folder / "CP_wide"))

    def run() -> None:
        masks, _, _ = model.eval(tifffile.imread(folder / "image.tif"), channels=[0, 0], diameter=DIAMETER)
        tifffile.imwrite(target, masks.astype(np.uint16), compression="zlib")

    return run


def by_deepbio(folder: Path, target: Path, runtime: str) -> Any:
    import deepbio

    model = deepbio.load_model(folder / "imported")
    options = deepbio.RunOptions(runtime=runtime, device="cpu", output=("labels",), diameter=DIAMETER)

    def run() -> None:
        deepbio.write(target, model.run(deepbio.read(folder / "image.tif"), options).labels)

    return run


def work(program: str, folder: Path) -> None:
    target = folder / f"{program}.tif"
    cpu, start = used()
    is_peer = program == "cellpose"
    run = (
        by_cellpose(folder, target)
        if is_peer
        else by_deepbio(folder, target, program.removeprefix("deepbio-"))
    )
    run()
    once_cpu, once = used()
    run()
    twice_cpu, twice = used()
    row = {
        "cpu_s": once_cpu - cpu,
        "wall_s": once - start,
        "again_cpu_s": twice_cpu - once_cpu,
        "again_wall_s": twice - once,
        "peak_gb": peak_rss() / 2**30,
    }
    print(json.dumps({name: round(value, 2) for name, value in row.items()}))


def differing(ours: np.ndarray, theirs: np.ndarray) -> int:
    """Pixels outside of the object of ours that has most pixels of theirs, and the other way round."""
    wrong = 0
    for one, other in ((theirs, ours), (ours, theirs)):
        pairs, counts = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1, return_counts=True)
        best = np.zeros(int(one.max()) + 1, np.int64)
        kept = (pairs[0] > 0) | (pairs[1] == 0)  # background stays background
        np.maximum.at(best, pairs[0][kept], counts[kept])
        wrong += int(counts.sum() - best.sum())
    return wrong


def compare(folder: Path, rows: dict[str, Any]) -> None:
    import tifffile

    truth = tifffile.imread(folder / "cellpose.tif").astype(np.int64)
    for program, row in rows.items():
        found = tifffile.imread(folder / f"{program}.tif").astype(np.int64)
        row["objects"] = int(found.max())
        row["pixels_differ"] = differing(found, truth)
        for name in ("cpu_s", "again_cpu_s", "again_wall_s"):
            row[f"{name}_over_cellpose"] = round(row[name] / rows["cellpose"][name], 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="a small image: does it all work?")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work[0], Path(options.work[1]))
        return
    side = 400 if options.small else SIDE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"OMP_NUM_THREADS": str(options.threads), "DEEPBIO_HOME": str(folder / "home")}
        write_model(folder / "CP_wide")
        write_image(folder / "image.tif", side)
        import deepbio

        deepbio.add_model(folder / "CP_wide", name="imported").root.rename(folder / "imported")
        rows: dict[str, Any] = {}
        for program in ("deepbio-openvino", "cellpose", "deepbio-onnx", "deepbio-torch"):
            rows[program] = in_own_process(program, [str(HERE), "--work", program, name])
        compare(folder, rows)
    facts = {
        "machine": machine(PACKAGES), "threads": options.threads, "side": side, "diameter": DIAMETER,
        "small": options.small, "rows": rows,
    }  # fmt: skip
    report(facts, options.threads, options.output)


if __name__ == "__main__":
    main()
