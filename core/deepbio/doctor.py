"""What this machine offers deepbio: devices, memory, versions, what is missing and how to get it."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import deepbio

__all__ = ["DISTRIBUTION", "Finding", "examine"]

DISTRIBUTION = "deepbio-imaging"
_EXTRAS = {  # extra -> what it brings, and the modules that show it is there
    "torch": ("GPU, and models that only PyTorch runs", ("torch",)),
    "openvino": ("the fastest runtime on most CPUs", ("openvino",)),
    "train": ("deepbio train, importing models of Cellpose", ("torch", "matplotlib", "onnx", "onnxscript")),
    "stardist": ("importing models of StarDist", ("torch", "h5py")),
    "zarr": ("OME-Zarr images", ("zarr",)),
    "dicom": ("DICOM segmentations", ("highdicom",)),
    "zoo": ("validation against the BioImage.IO specification", ("bioimageio.spec", "bioimageio.core")),
    "fiji": ("Fiji and ImageJ", ("imagej", "scyjava", "roifile")),
    "explain": ("integrated gradients", ("captum",)),
    "parquet": ("features as Parquet", ("pyarrow",)),
    "retrieval": ("an index of very many images", ("faiss",)),
    "umap": ("plots of features by UMAP", ("umap",)),
    "slicer": ("3D Slicer's worker process", ("appose",)),
    "web": ("the page of deepbio view", ("appose", "slicer", "trame_slicer")),
}
_DISTRIBUTIONS = {
    "imagej": "pyimagej",
    "slicer": "slicer-core",
    "faiss": "faiss-cpu",
    "umap": "umap-learn",
}  # where module and distribution differ in name
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    topic : str
        Heading it belongs under.
    name, value : str
        What, and what was found.
    status : {"ok", "missing", "warning", "error"}
        ``"missing"``: an extra that is not installed, which nobody has to. ``"error"``: deepbio
        does not work rightly until it is mended.
    hint : str
        How to mend it or get it.
    """

    topic: str
    name: str
    value: str
    status: str = "ok"
    hint: str = ""


def examine() -> list[Finding]:
    """Look at everything, in the order in which people want to read it."""
    return [*_versions(), *_foreign(), *_devices(), *_base(), *_extras(), *_models(), *_folders()]


def _versions() -> Iterator[Finding]:
    yield Finding("DeepBio", "version", deepbio.__version__)
    yield Finding("DeepBio", "location", str(Path(str(deepbio.__file__)).parent))
    yield Finding("DeepBio", "Python", f"{platform.python_version()} ({sys.executable})")
    yield Finding("DeepBio", "system", platform.platform())


def _foreign() -> Iterator[Finding]:
    """Look for the registry's package "deepbio", which is another project with our import name."""
    mend = f"pip uninstall deepbio {DISTRIBUTION}, then pip install {DISTRIBUTION}"
    other = _version("deepbio")
    if other is not None:
        yield Finding(
            "DeepBio",
            "other package",
            f"'deepbio' {other} is installed: another project whose files have the same names as ours",
            "error",
            f"Mend it with: {mend}",
        )
    if _version(DISTRIBUTION) is None:
        yield Finding(
            "DeepBio",
            "installation",
            f"the imported deepbio does not come from an installed '{DISTRIBUTION}'",
            "warning",
            f"Install it with: pip install {DISTRIBUTION} (unless PYTHONPATH names the source on purpose)",
        )


def _devices() -> Iterator[Finding]:
    from deepbio.engine.device import choose_device, list_devices
    from deepbio.engine.memory import cpu_threads

    devices = list_devices()
    for device in devices:
        cores = f", {cpu_threads()} threads" if device.name == "cpu" else ""
        memory = f"{device.free() / GIB:.1f} of {device.total / GIB:.1f} GiB free"
        yield Finding("Devices", device.name, f"{device.label}{cores}, {memory}")
    yield Finding("Devices", "chosen by auto", choose_device().name)
    nvidia = shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists()
    if nvidia and not any(device.name.startswith("cuda") for device in devices):
        why = "torch is not installed" if _version("torch") is None else "the installed torch cannot use it"
        yield Finding(
            "Devices",
            "NVIDIA GPU",
            f"a driver is here, but {why}",
            "warning",
            "Install a CUDA build of PyTorch that fits the driver (pytorch.org says which).",
        )


def _base() -> Iterator[Finding]:
    """Look at the packages without which deepbio does not work."""
    for line in metadata.requires(DISTRIBUTION) or [] if _version(DISTRIBUTION) else []:
        if "extra ==" in line:
            continue
        name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
        found = _version(name)
        if found is None:
            yield Finding(
                "Packages", name, "not installed", "error", f"Install it with: pip install '{line}'"
            )
        else:
            yield Finding("Packages", name, found)


def _extras() -> Iterator[Finding]:
    for extra, (purpose, modules) in _EXTRAS.items():
        missing = [module for module in modules if not _there(module)]
        if missing:
            value = f"{purpose}: needs {', '.join(_distribution(module) for module in missing)}"
            yield Finding("Extras", extra, value, "missing", f'pip install "{DISTRIBUTION}[{extra}]"')
        else:
            versions = ", ".join(
                f"{_distribution(module)} {_version(_distribution(module))}" for module in modules
            )
            yield Finding("Extras", extra, f"{purpose}: {versions}")


def _models() -> Iterator[Finding]:
    from deepbio.library import scan_models

    cards, problems = scan_models()
    yield Finding("Models", "ready", ", ".join(card.name for card in cards) or "none")
    for problem in problems:
        mend = f"Remove it with: deepbio models remove {problem.name}"
        yield Finding("Models", problem.name, problem.error.message, "warning", mend)


def _folders() -> Iterator[Finding]:
    from deepbio.library.store import user_folder

    folder = user_folder()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free / GIB
    if os.access(there, os.W_OK):
        yield Finding("Folders", "models of yours", f"{folder} ({free:.1f} GiB free)")
    else:
        mend = "Set DEEPBIO_HOME to a folder that you may write to."
        yield Finding("Folders", "models of yours", f"{folder} cannot be written", "warning", mend)


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package of a.b is missing
        return False


def _distribution(module: str) -> str:
    return _DISTRIBUTIONS.get(module, module)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
