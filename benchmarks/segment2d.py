"""A large 2D image, segmented by DeepBio and scored by its peers with the same network and weights.

Each engine runs in a process of its own, one after the other, in one go: CPU seconds (all threads),
peak resident memory, and the scores, which are compared. See README.md beside this file.

    python benchmarks/segment2d.py --size 4096 --threads 2
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import describe_machine, machine
from engines2d import HALO, OVERLAP, TILE, prepare, torch_module, work

HERE = Path(__file__).resolve()
ENGINES = {
    "deepbio-auto": "DeepBio, scores, runtime auto",
    "deepbio-own": "DeepBio, scores, runtime auto, the card's own tiles",
    "deepbio-openvino": "DeepBio, scores, OpenVINO",
    "deepbio-onnx": "DeepBio, scores, ONNX Runtime",
    "deepbio-torch": "DeepBio, scores, torch",
    "deepbio-run": "DeepBio, image to objects (`deepbio.run`)",
    "monai": "MONAI `sliding_window_inference`, torch",
    "bioimageio-torch": "bioimageio.core blockwise, torch",
    "bioimageio-onnx": "bioimageio.core blockwise, ONNX Runtime",
}
PEERS = ("monai", "bioimageio-torch")
PACKAGES = ("torch", "openvino", "onnxruntime", "monai", "bioimageio.core", "numpy")


def comparable(size: int, plan: Any, peer: str, reach: int) -> np.ndarray:
    """Rows (or columns) whose scores must be equal in both engines.

    MONAI cuts the same tiles: rows that one tile alone covers (blending windows differ). bioimageio.core
    cuts others and mirrors the image at its border: rows farther than the network's reach from all those.
    """
    good = np.ones(size, bool)
    ours = [(low, low + plan.tile[0]) for low in plan.starts[0]]
    if not peer.startswith("bioimageio"):
        for (_, end), (start, _) in itertools.pairwise(ours):
            good[start:end] = False
        return good
    step = TILE - 2 * HALO
    theirs = [(low - HALO, low + step + HALO) for low in range(0, size, step)]
    for edge in {edge for span in (*ours, *theirs, (0, size)) for edge in span}:
        good[max(0, edge - reach) : max(0, edge + reach)] = False
    return good


def compare(ours: Path, theirs: Path, good: np.ndarray) -> dict[str, float]:
    """Differences of scores where they must be equal, and everywhere."""
    first, second = np.load(ours, mmap_mode="r"), np.load(theirs, mmap_mode="r")
    inner = whole = total = 0.0
    for low in range(0, first.shape[1], 256):
        gap = np.abs(first[:, low : low + 256] - second[:, low : low + 256])
        whole = max(whole, float(gap.max()))
        total += float(gap.sum(dtype=np.float64))
        inner = max(inner, float(gap[:, good[low : low + 256]][:, :, good].max(initial=0)))
    return {
        "max_where_comparable": inner,
        "comparable_part": float(good.mean() ** 2),
        "max_everywhere": whole,
        "mean_everywhere": total / first.size,
    }


def run_engines(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run each engine in its own process; an engine that fails is reported, not hidden."""
    rows: dict[str, Any] = {}
    for engine in options.engines:
        own = folder / engine
        own.mkdir()
        for name in ("image.tif", "pixels.npy"):
            (own / name).symlink_to(folder / name)
        done = call(["--work", engine, "--folder", str(own)], options)
        if done.returncode:
            told = done.stderr.strip() or f"exit code {done.returncode}"
            rows[engine] = {"failed": told.splitlines()[-1][:300]}
        else:
            rows[engine] = json.loads(done.stdout.strip().splitlines()[-1])
        print(engine, json.dumps(rows[engine]), file=sys.stderr, flush=True)
    return rows


def call(arguments: list[str], options: argparse.Namespace) -> subprocess.CompletedProcess[str]:
    """Start this file again, with as many threads as were asked for."""
    given = ["--model", options.model, "--size", str(options.size), "--threads", str(options.threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    command = [sys.executable, "-W", "ignore", str(HERE), *arguments, *given]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def summarise(options: argparse.Namespace, folder: Path, rows: dict[str, Any]) -> dict[str, Any]:
    """Ratios to the better peer and differences of the scores."""
    from deepbio.engine import choose_device, first_rung, plan_for
    from deepbio.library import find_model

    ours = next(name for name in options.engines if name.startswith("deepbio-") and name != "deepbio-run")
    card = find_model(options.model)
    rung = first_rung(card, choose_device("cpu"), tile=TILE)
    plan = plan_for(card, (options.size,) * 2, rung, overlap=OVERLAP)
    reach = max(torch_module(options.model, 1).receptive_field) // 2 + 1
    for name, row in rows.items():
        theirs = folder / name / "scores.npy"
        if name not in (ours, "deepbio-own") and theirs.exists():
            good = comparable(options.size, plan, name, reach)
            row["difference"] = compare(folder / ours / "scores.npy", theirs, good)
    peers = {name: rows[name]["cpu_s"] for name in PEERS if "cpu_s" in rows.get(name, {})}
    summary: dict[str, Any] = {"ours": ours}
    if peers:
        better = min(peers, key=lambda name: peers[name])
        summary |= {"better_peer": better, "cpu_ratio": rows[ours]["cpu_s"] / peers[better]}
        if "cpu_s" in rows.get("deepbio-own", {}):
            summary["cpu_ratio_own_tiles"] = rows["deepbio-own"]["cpu_s"] / peers[better]
    if "forwards_cpu_s" in rows[ours]:
        summary["beyond_the_forwards"] = 1 - rows[ours]["forwards_cpu_s"] / rows[ours]["cpu_s"]
    if "deepbio-run" in rows:
        summary["instances_share"] = rows["deepbio-run"].get("instances_share")
        summary["run_peak_rss_gb"] = rows["deepbio-run"].get("peak_rss_gb")
    return {
        "image": {"size": options.size, "dtype": "uint16", "tile": TILE, "overlap": OVERLAP},
        "model": options.model if options.model.isidentifier() else "a package",
        "threads": options.threads,
        "machine": machine(PACKAGES),
        "summary": summary,
        "engines": rows,
    }


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    facts, summary = results["machine"], results["summary"]
    size, threads = results["image"]["size"], results["threads"]
    lines = [
        f"{size} x {size}, uint16, model `{results['model']}`, tiles of {TILE}, overlap {OVERLAP}; "
        + describe_machine(facts, threads),
        "",
        (
            "| engine | CPU s | wall s | peak RSS GB | CPU s over ours "
            "| largest difference of scores where comparable (everywhere) |"
        ),
        "|---|---|---|---|---|---|",
    ]
    base = results["engines"][summary["ours"]]["cpu_s"]
    for name, row in results["engines"].items():
        if "failed" in row:
            lines.append(f"| {ENGINES[name]} | failed: {row['failed']} | | | | |")
            continue
        gap = row.get("difference")
        told = f"{gap['max_where_comparable']:.1e} ({gap['max_everywhere']:.1e})" if gap else "-"
        lines.append(
            f"| {ENGINES[name]} | {row['cpu_s']:.1f} | {row['wall_s']:.1f} | {row['peak_rss_gb']:.2f} "
            f"| {row['cpu_s'] / base:.2f} | {told} |"
        )
    lines += ["", *(f"* {key}: {value}" for key, value in summary.items())]
    return "\n".join(lines)


def main() -> None:
    """Read the options; run everything, or (inside a process of its own) one engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", default="nuclei", help="name or folder of a 2D model with three input channels"
    )
    parser.add_argument("--size", type=int, default=4096, help="edge of the image in pixels")
    parser.add_argument("--threads", type=int, default=2, help="threads of each engine (OMP_NUM_THREADS)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        if options.work == "prepare":
            prepare(options.folder, options.model, options.size)
        else:
            print(json.dumps(work(options.work, options.folder, options.model, options.threads)))
        return
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
