"""How much memory there is, how many threads we may use, and how much a tile will take."""

from __future__ import annotations

import ctypes
import math
import os
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import psutil

__all__ = ["available_memory", "cpu_threads", "keep_pages", "release_pages", "tile_bytes", "total_memory"]

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_UNLIMITED = 1 << 60  # version 1 of the interface writes a huge number for "no limit"

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_DEFAULT_MMAPS, _DEFAULT_TRIM, _DEFAULT_PAD = 65536, 128 << 10, 128 << 10


def cpu_threads() -> int:
    """Threads that this process may keep busy.

    The least of: the CPUs it may run on (affinity), the physical cores, the quota of its control
    group (containers, batch systems) and ``OMP_NUM_THREADS``, where a user sets it.

    Returns
    -------
    int
        At least 1.
    """
    limits = [os.cpu_count() or 1, psutil.cpu_count(logical=False) or os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    quota = _cpu_quota()
    if quota is not None:
        limits.append(math.ceil(quota))
    wished = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wished.isdigit() and int(wished) > 0:
        limits.append(int(wished))
    return max(1, min(limits))


def available_memory() -> int:
    """Bytes of main memory that can be taken now, within the limits of the control group."""
    free = int(psutil.virtual_memory().available)
    for limit, used in _memory_limits():
        free = min(free, limit - used)
    return max(0, free)


def total_memory() -> int:
    """Bytes of main memory in all, within the limits of the control group."""
    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _memory_limits())])


def tile_bytes(tile: Sequence[int], *, batch: int = 1, channels: int = 64) -> int:
    """Bytes that one forward of a batch of tiles is expected to hold at its peak.

    The peak of a U-Net is at full resolution in the decoder, where the skip connection, the
    upsampled map, both concatenated, and a convolution's output live together: about six times
    the channels of the first stage, in float32.

    Parameters
    ----------
    tile : sequence of int
        Size of a tile, in pixels.
    batch : int
        Tiles in a batch.
    channels : int
        Channels of the network at full resolution.

    Examples
    --------
    >>> tile_bytes((512, 512), channels=24) / 1e6
    150.994944
    """
    return 4 * batch * math.prod(tile) * 6 * channels


def keep_pages() -> bool:
    """Let glibc's malloc keep freed memory, so that the next tile finds its pages warm.

    torch frees and takes hundreds of megabytes in each forward; by default glibc gives them back
    to the system and has them zeroed again, a quarter of the time of a forward (measured: 1.25 x
    in 3D, 1.3 x in 2D). :func:`release_pages` undoes it.

    Returns
    -------
    bool
        Whether the allocator could be told (glibc only).
    """
    libc = _glibc()
    if libc is None:
        return False
    return _set(libc, {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 << 20})


def release_pages() -> bool:
    """Give memory that is free back to the system and restore malloc's defaults.

    Returns
    -------
    bool
        Whether the allocator could be told (glibc only).
    """
    libc = _glibc()
    if libc is None:
        return False
    defaults = {_M_MMAP_MAX: _DEFAULT_MMAPS, _M_TRIM_THRESHOLD: _DEFAULT_TRIM, _M_TOP_PAD: _DEFAULT_PAD}
    done = _set(libc, defaults)
    libc.malloc_trim(0)
    return done


def _set(libc: ctypes.CDLL, settings: dict[int, int]) -> bool:
    """Tell malloc every one of the settings; whether it took them all."""
    taken = [bool(libc.mallopt(name, value)) for name, value in settings.items()]
    return all(taken)


@cache
def _glibc() -> ctypes.CDLL | None:
    if platform.libc_ver()[0] != "glibc":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


def _own_groups(controller: str) -> list[Path]:
    """Folders of this process's control group and those above it, for one controller.

    Version 2 has one tree for all controllers (line ``0::/path``); version 1 has one tree each.
    """
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:  # not Linux
        return []
    found: list[Path] = []
    for line in lines:
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        root = _CGROUPS / controller if names else _CGROUPS
        own = root / path.lstrip("/")
        found += [folder for folder in (own, *own.parents) if folder.is_relative_to(root)]
    return found


def _number(path: Path, key: str = "") -> int | None:
    """The integer in a file of the control group, or the one after `key` in its lines."""
    try:
        words = path.read_text().split()
    except OSError:
        return None
    if key:
        words = [words[words.index(key) + 1]] if key in words[:-1] else []
    return int(words[0]) if words and words[0].lstrip("-").isdigit() else None


def _cpu_quota() -> float | None:
    """CPUs' worth of time that the control group allows, or None."""
    quotas: list[float] = []
    for folder in _own_groups("cpu"):
        try:
            quota, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):
            quota = str(_number(folder / "cpu.cfs_quota_us") or "max")
            period = str(_number(folder / "cpu.cfs_period_us") or 0)
        if quota.isdigit() and int(quota) > 0 and int(period) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _memory_limits() -> list[tuple[int, int]]:
    """(limit, used) in bytes of each control group that has a limit; cached files are not "used"."""
    limits = []
    for folder in _own_groups("memory"):
        for limit_name, used_name, cache_key in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _number(folder / limit_name), _number(folder / used_name)
            if limit is None or used is None or limit >= _UNLIMITED:
                continue
            cached = _number(folder / "memory.stat", cache_key) or 0
            limits.append((limit, max(0, used - cached)))
    return limits
