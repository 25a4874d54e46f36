"""A volume through nnU-Net's default 3D U-Net, by DeepBio and its peers, with the same weights.

Each engine runs in a process of its own, one after the other: CPU seconds (all threads), wall, peak
resident memory, and the scores, which are compared. See README.md beside this file.

    python benchmarks/segment3d.py --threads 2 -o benchmarks/segment3d.json
    python benchmarks/segment3d.py --size small
    python benchmarks/segment3d.py --dice hippocampus path/to/data --tile 32
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
from common import describe_machine, machine
from engines3d import OVERLAP, SIZES, prepare, work
from overlaps3d import compare_overlaps, table_of_overlaps

HERE = Path(__file__).resolve()
ENGINES = {
    "monai": "MONAI `sliding_window_inference`",
    "nnunet": "nnU-Net v2 `nnUNetPredictor`",
    "torchio": "TorchIO `GridSampler` and `GridAggregator`",
    "forwards": "plain torch forwards, nothing else",
    "deepbio-auto": "DeepBio, runtime auto",
    "deepbio-openvino": "DeepBio, OpenVINO",
    "deepbio-onnx": "DeepBio, ONNX Runtime",
    "deepbio-torch": "DeepBio, torch",
    "deepbio-compile": "DeepBio, torch.compile",
    "deepbio-overlap": "DeepBio, runtime auto, smaller overlap",
}
PEERS = ("monai", "nnunet", "torchio")
REFERENCE = "monai"  # float32 sums and the window of ours
PACKAGES = (
    "torch",
    "openvino",
    "onnxruntime",
    "monai",
    "nnunetv2",
    "dynamic-network-architectures",
    "torchio",
    "numpy",
)


def call(arguments: list[str], options: argparse.Namespace) -> subprocess.CompletedProcess[str]:
    """Start this file again, with as many threads as were asked for."""
    given = ["--size", options.size, "--threads", str(options.threads), "--overlap", str(options.overlap)]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    command = [sys.executable, "-W", "ignore", str(HERE), *arguments, *given]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def run_engines(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run each engine in its own process; an engine that fails is reported, not hidden."""
    rows: dict[str, Any] = {}
    # The trial of the runtimes happens once in the life of a model, so it has a process of its own.
    trial = ["trial"] if {"deepbio-auto", "deepbio-overlap"} & set(options.engines) else []
    for engine in [*trial, *options.engines]:
        own = folder / engine
        own.mkdir()
        for name in ("volume.npy", "model"):
            (own / name).symlink_to(folder / name)
        done = call(["--work", engine, "--folder", str(own)], options)
        if done.returncode:
            told = done.stderr.strip() or f"exit code {done.returncode}"
            rows[engine] = {"failed": told.splitlines()[-1][:300]}
        else:
            rows[engine] = json.loads(done.stdout.strip().splitlines()[-1])
        print(engine, json.dumps(rows[engine]), file=sys.stderr, flush=True)
    return rows


def compare(reference: Path, other: Path) -> dict[str, float]:
    """How far scores are from the reference's, and how many labels differ."""
    first, second = np.load(reference, mmap_mode="r"), np.load(other, mmap_mode="r")
    largest = float(np.abs(first).max())
    worst = total = labels = 0.0
    for low in range(0, first.shape[1], 16):
        one, two = first[:, low : low + 16], second[:, low : low + 16]
        gap = np.abs(one - two)
        worst = max(worst, float(gap.max()))
        total += float(gap.sum(dtype=np.float64))
        labels += int((one.argmax(0) != two.argmax(0)).sum())
    return {
        "max_relative": worst / largest,
        "mean_relative": total / first.size / largest,
        "labels": labels / first[0].size,
    }


def summarise(options: argparse.Namespace, folder: Path, rows: dict[str, Any]) -> dict[str, Any]:
    """Ratios to the best peer and differences of the scores."""
    trial = rows.pop("trial", None)
    good = {name: row for name, row in rows.items() if "failed" not in row}
    reference = folder / REFERENCE / "scores.npy"
    for name, row in good.items():
        theirs = folder / name / "scores.npy"
        if name != REFERENCE and reference.exists() and theirs.exists():
            row["difference"] = compare(reference, theirs)
        if "forwards_cpu_s" in row:
            row["beyond_the_forwards"] = row["cpu_s"] / row["forwards_cpu_s"] - 1
    summary: dict[str, Any] = {}
    peers = {name: good[name] for name in PEERS if name in good}
    ours = good.get("deepbio-auto")
    if peers and ours:
        best = min(peers, key=lambda name: peers[name]["cpu_s"])
        summary = {"best_peer": best, "cpu_ratio": ours["cpu_s"] / peers[best]["cpu_s"]}
        summary["memory_ratio"] = ours["peak_rss_gb"] / min(row["peak_rss_gb"] for row in peers.values())
        summary["beyond_the_forwards"] = ours["beyond_the_forwards"]
        smaller = good.get("deepbio-overlap")
        if smaller:
            summary["cpu_ratio_overlap"] = smaller["cpu_s"] / peers[best]["cpu_s"]
    size = SIZES[options.size]
    return {
        "volume": {"shape": size.volume, "dtype": "float32", "patch": size.patch, "overlap": OVERLAP},
        "threads": options.threads,
        "machine": machine(PACKAGES),
        "summary": summary,
        "trial": trial,
        "engines": rows,
    }


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    volume = results["volume"]
    lines = [
        f"{' x '.join(map(str, volume['shape']))}, patch {volume['patch']}, overlap {volume['overlap']}; "
        + describe_machine(results["machine"], results["threads"]),
        "",
        (
            "| engine | CPU s | wall s | peak RSS GB | CPU s over MONAI's | beyond its forwards "
            "| scores: largest (mean) relative difference | labels that differ |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    base = results["engines"].get(REFERENCE, {}).get("cpu_s", float("nan"))
    for name, row in results["engines"].items():
        title = ENGINES[name] + (
            f" {row['overlap']}" if name == "deepbio-overlap" and "overlap" in row else ""
        )
        if "failed" in row:
            lines.append(f"| {title} | failed: {row['failed']} | | | | | | |")
            continue
        gap = row.get("difference")
        told = f"{gap['max_relative']:.1e} ({gap['mean_relative']:.1e})" if gap else "-"
        labels = f"{gap['labels']:.1e}" if gap else "-"
        beyond = f"{row['beyond_the_forwards']:.1%}" if "beyond_the_forwards" in row else "-"
        lines.append(
            f"| {title} | {row['cpu_s']:.1f} | {row['wall_s']:.1f} | {row['peak_rss_gb']:.2f} "
            f"| {row['cpu_s'] / base:.2f} | {beyond} | {told} | {labels} |"
        )
    lines += ["", *(f"* {key}: {value}" for key, value in results["summary"].items())]
    if results["trial"]:
        lines += ["", f"Trial of the runtimes, once in the life of a model: {results['trial']}"]
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--threads", type=int, default=2, help="threads of each engine (OMP_NUM_THREADS)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--overlap", type=float, default=0.125, help="a smaller one to try, for its own row")
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    parser.add_argument(
        "--dice", nargs=2, metavar=("MODEL", "DATA"), help="Dice and tiles at several overlaps"
    )
    parser.add_argument("--split", default="val", help="with --dice: part of the data")
    parser.add_argument(
        "--tile", type=int, default=32, help="with --dice: edge of a tile, small so as to have many"
    )
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Read the options; run everything, or (inside a process of its own) one engine."""
    options = parse()
    size = SIZES[options.size]
    if options.work == "prepare":
        prepare(options.folder, size)
        return
    if options.work:
        print(json.dumps(work(options.work, options.folder, size, options.threads, options.overlap)))
        return
    if options.dice:
        model, data = options.dice
        results = compare_overlaps(model, Path(data), options.split, options.tile)
        print(table_of_overlaps(results))
    else:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            os.environ["DEEPBIO_HOME"] = str(folder / "home")
            prepared = call(["--work", "prepare", "--folder", name], options)
            if prepared.returncode:
                sys.exit(prepared.stderr)
            results = summarise(options, folder, run_engines(options, folder))
        print(table(results))
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
