"""Which build of PyTorch a machine can use, from what `nvidia-smi` says. Standard library only."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass

from SlicerDeepBioLib.install_errors import InstallError
from SlicerDeepBioLib.interpreters import other_environment

__all__ = ["CUDA_BUILDS", "GPU_QUERY", "Gpu", "ask_gpus", "parse_gpus", "torch_build"]

GPU_QUERY = ["nvidia-smi", "--query-gpu=driver_version,compute_cap,name", "--format=csv,noheader"]

# Build of torch, oldest driver (Linux, Windows), compute capabilities it has code for; best first. Drivers from
# NVIDIA's table of minor version compatibility, capabilities from PyTorch's build scripts; both as of 2026.
CUDA_BUILDS = (
    ("cu130", (580,), (580,), (7.5, 99.0)),
    ("cu128", (570,), (570,), (7.0, 12.9)),
    ("cu126", (525, 60, 13), (528, 33), (5.0, 9.9)),
)


@dataclass(frozen=True)
class Gpu:
    """A GPU as `nvidia-smi` describes it; ``capability`` is 0.0 where an old driver does not say it."""

    name: str
    driver: str
    capability: float


def torch_build(gpus, wanted="auto", system=None):
    """Choose a build of PyTorch.

    Parameters
    ----------
    gpus : sequence of Gpu
    wanted : str
        "auto", or the build the user asks for.
    system : str, optional
        As ``sys.platform``.

    Returns
    -------
    build : str
        "none", "cpu" or such as "cu126".
    why : str
        For people.
    """
    system = system or sys.platform
    if wanted not in ("", "auto"):
        if wanted not in ("none", "cpu") and not re.fullmatch(r"cu\d{3}", wanted):
            raise InstallError(
                f"The build of PyTorch is {wanted!r}; expected auto, none, cpu or such as cu126.",
                "Change it in the settings.",
            )
        return wanted, "as you set it"
    if system == "darwin":
        return "cpu", "on a Mac one build serves processor and GPU"
    if not gpus:
        return "cpu", "no NVIDIA GPU was found"
    gpu = max(gpus, key=lambda one: one.capability)
    driver = tuple(int(part) for part in gpu.driver.split("."))
    for build, linux, windows, (low, high) in CUDA_BUILDS:
        fits = not gpu.capability or low <= gpu.capability <= high
        if fits and driver >= (windows if system == "win32" else linux):
            return build, f"{gpu.name} with driver {gpu.driver}"
    return (
        "cpu",
        f"the driver {gpu.driver} of {gpu.name} is too old for PyTorch on the GPU; a newer driver would do",
    )


def parse_gpus(text):
    """Read what `nvidia-smi` printed: a line ``driver, compute capability, name`` for each GPU."""
    gpus = []
    for line in text.splitlines():
        words = [word.strip() for word in line.split(",", 2)]
        if len(words) == 3 and re.fullmatch(r"\d+(\.\d+)*", words[0]):
            capability = float(words[1]) if re.fullmatch(r"\d+\.\d+", words[1]) else 0.0
            gpus.append(Gpu(words[2], words[0], capability))
    return gpus


def ask_gpus():
    """Ask `nvidia-smi`, for at most 10 s; none where there is no such program."""
    try:
        told = subprocess.run(
            GPU_QUERY, capture_output=True, text=True, timeout=10, check=False, env=other_environment()
        )
    except (OSError, subprocess.TimeoutExpired):  # no driver of NVIDIA here, or one that hangs
        return []
    return parse_gpus(told.stdout if told.returncode == 0 else "")
