"""What all benchmarks share: how time and memory are measured, and what is said of the machine."""

from __future__ import annotations

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
