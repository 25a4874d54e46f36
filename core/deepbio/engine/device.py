"""Where to compute: finds the devices of this machine and chooses one.

torch is imported only when it is installed and could know an accelerator; a base install, or a
CPU build of torch, gets the CPU at once.
"""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from deepbio.engine import memory
from deepbio.errors import MissingPackage, OptionError

__all__ = ["Device", "choose_device", "cpu_device", "list_devices"]

KINDS = ("cuda", "xpu", "mps", "cpu")  # in the order of preference
CPU_RUNTIMES = ("openvino", "onnx")


@dataclass(frozen=True)
class Device:
    """A place to compute.

    Attributes
    ----------
    name : str
        As torch writes it: ``"cpu"``, ``"cuda:0"``, ``"xpu:0"``, ``"mps"``.
    label : str
        What people call it, for example the card's name.
    total : int
        Bytes of its memory.
    why : str
        Why it was chosen, for the record.
    """

    name: str
    label: str
    total: int
    why: str = ""

    @property
    def kind(self) -> str:
        """``"cpu"``, ``"cuda"``, ``"xpu"`` or ``"mps"``."""
        return self.name.partition(":")[0]

    def free(self) -> int:
        """Bytes that can be taken now (what torch holds in reserve counts as free)."""
        return memory.available_memory() if self.kind == "cpu" else _free(self)


def cpu_device(why: str = "") -> Device:
    """The CPU, with the memory that this process may use."""
    return Device("cpu", _cpu_label(), memory.total_memory(), why)


def list_devices() -> tuple[Device, ...]:
    """Devices that can be used here, the preferred one first, the CPU last."""
    torch, why = _accelerated_torch()
    found: list[Device] = []
    if torch is not None:
        found += _cuda_like(torch, "cuda") + _cuda_like(torch, "xpu") + _mps(torch)
    return (*found, cpu_device(why))


def choose_device(request: str = "auto", *, runtime: str = "auto") -> Device:
    """Choose the device to compute on.

    Parameters
    ----------
    request : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"``, ``"xpu"`` or ``"mps"``. Auto takes the
        accelerator with the most free memory, else the CPU.
    runtime : str
        The runtime that was asked for: OpenVINO and ONNX Runtime compute on the CPU, so auto
        means the CPU with them.

    Raises
    ------
    OptionError
        If the device is not there; the message names the devices that are.
    MissingPackage
        If an accelerator is asked for and torch is not installed.
    """
    if request == "cpu":
        return cpu_device("asked for")
    if request == "auto" and runtime in CPU_RUNTIMES:
        return cpu_device(f"the runtime '{runtime}' computes on the CPU")
    if request != "auto" and request.partition(":")[0] not in KINDS:
        raise OptionError(f"The device is {request!r}; expected auto, cpu, cuda, cuda:N, xpu or mps.")
    if request != "auto" and importlib.util.find_spec("torch") is None:
        raise MissingPackage("torch", f"Computing on '{request}'", "torch")
    devices = list_devices()
    if request == "auto":
        return _best(devices)
    for device in devices:
        if request in (device.name, device.kind):
            return Device(device.name, device.label, device.total, "asked for")
    there = ", ".join(device.name for device in devices)
    raise OptionError(
        f"There is no device {request!r} that can be used here; found: {there} ({devices[-1].why}).",
        "Choose one of these or 'auto'; 'deepbio doctor' says what each needs.",
    )


def _best(devices: tuple[Device, ...]) -> Device:
    """The preferred kind; of several cards of that kind, the one with the most free memory."""
    kind = devices[0].kind
    if kind == "cpu":
        return devices[0]
    best = max((device for device in devices if device.kind == kind), key=lambda device: device.free())
    return Device(best.name, best.label, best.total, "the accelerator with the most free memory")


def _accelerated_torch() -> tuple[Any, str]:
    """The torch module if it may know an accelerator, else None; and why there is none."""
    if importlib.util.find_spec("torch") is None:
        return None, "torch is not installed, so no accelerator can be used"
    try:
        # Wheels for the CPU carry it in their version, and importing torch takes two seconds.
        if metadata.version("torch").endswith("+cpu"):
            return None, "this torch is built for the CPU only"
    except metadata.PackageNotFoundError:
        pass  # torch without metadata (a source tree): ask itself below
    try:
        import torch
    except (ImportError, OSError) as error:
        return None, f"torch is installed but cannot be loaded: {error}"
    return torch, "torch finds no accelerator"


def _cuda_like(torch: Any, kind: str) -> list[Device]:
    """Cards of NVIDIA and AMD (both "cuda" in torch) or Intel ("xpu")."""
    module = getattr(torch, kind, None)
    if module is None or not module.is_available():
        return []
    found = []
    for index in range(module.device_count()):
        properties = module.get_device_properties(index)
        found.append(Device(f"{kind}:{index}", str(properties.name), int(properties.total_memory)))
    return found


def _mps(torch: Any) -> list[Device]:
    """The graphics unit of a Mac, which shares the main memory."""
    backend = getattr(torch.backends, "mps", None)
    if backend is None or not backend.is_available():
        return []
    return [Device("mps", f"{_cpu_label()} graphics", int(torch.mps.recommended_max_memory()))]


def _free(device: Device) -> int:
    import torch

    if device.kind == "mps":
        return max(0, device.total - int(torch.mps.driver_allocated_memory()))
    module = getattr(torch, device.kind)
    free = int(module.mem_get_info(device.name)[0])
    reserve = int(module.memory_reserved(device.name)) - int(module.memory_allocated(device.name))
    return free + max(0, reserve)


def _cpu_label() -> str:
    """Name of the processor, as the system tells it."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()
