"""Limits of containers, batch systems and users, on both versions of control groups."""

import math
import os
from types import SimpleNamespace

import pytest

from deepbio.engine import memory

GIB = 1 << 30


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """16 threads on 8 cores, 32 GiB, in a control group whose files are given."""

    def make(files=None, membership="0::/\n", affinity=16, omp=None):
        root = tmp_path / "cgroup"
        for name, text in (files or {}).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        (tmp_path / "self").write_text(membership)
        monkeypatch.setattr(memory, "_CGROUPS", root)
        monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "self")
        monkeypatch.setattr(os, "cpu_count", lambda: 16)
        monkeypatch.setattr(memory.psutil, "cpu_count", lambda logical: 16 if logical else 8)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)), raising=False)
        virtual = SimpleNamespace(available=20 * GIB, total=32 * GIB)
        monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: virtual)
        if omp is None:
            monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        else:
            monkeypatch.setenv("OMP_NUM_THREADS", omp)

    return make


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 8),  # cores, not threads
        ({"affinity": 3}, 3),
        ({"omp": "2"}, 2),
        ({"omp": "4,2"}, 4),
        ({"omp": "many"}, 8),
        ({"omp": "64"}, 8),
        ({"files": {"cpu.max": "250000 100000"}}, 3),
        ({"files": {"cpu.max": "max 100000"}}, 8),
        ({"files": {"cpu.max": "10000 100000"}}, 1),
        ({"files": {"job/cpu.max": "200000 100000"}, "membership": "0::/job/step\n"}, 2),  # of a group above
        (
            {
                "files": {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"},
                "membership": "4:cpu,cpuacct:/\n2:memory:/\n0::/\n",
            },
            4,
        ),
        (
            {
                "files": {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
                "membership": "4:cpu:/\n",
            },
            8,
        ),
    ],
)
def test_threads(machine, options, expected):
    machine(**options)
    assert memory.cpu_threads() == expected


@pytest.mark.parametrize(
    ("files", "membership", "free", "total"),
    [
        ({}, "0::/\n", 20 * GIB, 32 * GIB),
        ({"memory.max": "max", "memory.current": "5"}, "0::/\n", 20 * GIB, 32 * GIB),
        (
            {"a/memory.max": str(8 * GIB), "a/memory.current": str(6 * GIB)},
            "0::/a/b\n",
            2 * GIB,
            8 * GIB,
        ),
        (
            {
                "memory.max": str(8 * GIB),
                "memory.current": str(6 * GIB),
                "memory.stat": f"anon 5\ninactive_file {GIB}\n",
            },
            "0::/\n",
            3 * GIB,
            8 * GIB,
        ),
        (
            {
                "memory/memory.limit_in_bytes": str(4 * GIB),
                "memory/memory.usage_in_bytes": str(5 * GIB),
                "memory/memory.stat": "cache 1",
            },
            "3:memory:/\n",
            0,
            4 * GIB,
        ),
        (
            {"memory/memory.limit_in_bytes": str(2**63 - 4096), "memory/memory.usage_in_bytes": "7"},
            "3:memory:/\n",
            20 * GIB,
            32 * GIB,
        ),
    ],
)
def test_memory_within_the_control_group(machine, files, membership, free, total):
    machine(files, membership)
    assert memory.available_memory() == free
    assert memory.total_memory() == total


def test_a_system_without_control_groups(machine, monkeypatch, tmp_path):
    machine()
    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "none")
    assert memory.available_memory() == 20 * GIB
    assert memory.cpu_threads() == 8


def test_a_tile_takes_memory_for_its_pixels_channels_and_batch():
    one = memory.tile_bytes((64, 32), channels=16)
    assert one == 4 * 64 * 32 * 6 * 16
    assert memory.tile_bytes((128, 32), batch=3, channels=16) == 6 * one


def test_pages_are_kept_and_given_back():
    assert memory.keep_pages() == memory.release_pages()


def test_the_allocator_is_left_alone_where_it_is_not_glibc(monkeypatch):
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    assert not memory.keep_pages()
    assert not memory.release_pages()


def test_this_machine():
    assert 1 <= memory.cpu_threads() <= (os.cpu_count() or 1)
    assert math.isfinite(memory.available_memory())
