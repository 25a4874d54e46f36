"""What all benchmarks share: how time and memory are measured, and what is said of the machine."""

from __future__ import annotations

import json
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any


def used() -> tuple[float, float]:
    """CPU seconds of this process, all threads, and wall seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, time.perf_counter()


def peak_rss() -> int:
    """Peak resident bytes of this program: unlike ru_maxrss, VmHWM does not start at the parent's."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    unit = 1 if sys.platform == "darwin" else 1024  # kilobytes on Linux
    return int(found.group(1)) * 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """What lscpu says of the processor, and versions; no names of hosts, no paths."""
    facts: dict[str, Any] = {"system": platform.system(), "python": platform.python_version()}
    text = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout
    wanted = ("Model name", "CPU(s)", "Thread(s) per core", "L2 cache", "L3 cache")
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in wanted:
            facts[name.strip()] = value.strip()
        if name.strip() == "Flags":
            features = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")
            facts["features"] = [word for word in features if word in value.split()]
    facts["versions"] = {name: version(name) for name in packages}
    return facts


def version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "-"


def describe_machine(facts: dict[str, Any], threads: int) -> str:
    """One line for a table."""
    return (
        f"{threads} thread{'s' * (threads > 1)} of: {facts.get('Model name', '?')}, "
        f"L2 {facts.get('L2 cache', '?')}, L3 {facts.get('L3 cache', '?')}, "
        f"{' '.join(facts.get('features', []))}. "
        + ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    )


def in_own_process(program: str, command: Sequence[str]) -> dict[str, Any]:
    """Run one program's part of a benchmark, and read the figures of its last line."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{program} failed: {done.stderr[-2000:]}")
    row: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print(program, row, file=sys.stderr, flush=True)
    return row


def report(facts: dict[str, Any], threads: int, output: Path | None) -> None:
    """Print all figures, one line on the machine, and write them where the user asked for it."""
    print(json.dumps(facts, indent=1))
    print(describe_machine(facts["machine"], threads), file=sys.stderr)
    if output:
        output.write_text(json.dumps(facts, indent=1) + "\n")
