"""Devices that are found, chosen and refused; torch is played by a stand-in."""

import importlib.util
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from deepbio.engine import device as module
from deepbio.engine.device import choose_device, cpu_device, list_devices
from deepbio.errors import MissingPackage, OptionError

GIB = 1 << 30


class Cards:
    """What ``torch.cuda`` or ``torch.xpu`` says of two cards."""

    def __init__(self, *free):
        self._free = free

    def is_available(self):
        return bool(self._free)

    def device_count(self):
        return len(self._free)

    def get_device_properties(self, index):
        return SimpleNamespace(name=f"card {index}", total_memory=24 * GIB)

    def mem_get_info(self, name):
        return self._free[int(name.partition(":")[2])], 24 * GIB

    def memory_reserved(self, name):
        return 3 * GIB

    def memory_allocated(self, name):
        return 1 * GIB


def fake_torch(cuda=(), xpu=(), mps=False):
    return SimpleNamespace(
        cuda=Cards(*cuda),
        xpu=Cards(*xpu),
        mps=SimpleNamespace(recommended_max_memory=lambda: 16 * GIB, driver_allocated_memory=lambda: 2 * GIB),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
    )


@pytest.fixture
def with_torch(monkeypatch):
    def use(version="2.13.0+cu128", **cards):
        found = importlib.util.find_spec
        spec = lambda name: object() if name == "torch" else found(name)  # noqa: E731
        monkeypatch.setattr(module.importlib.util, "find_spec", spec)
        monkeypatch.setitem(sys.modules, "torch", fake_torch(**cards))
        known = metadata.version
        monkeypatch.setattr(
            module.metadata, "version", lambda name: version if name == "torch" else known(name)
        )

    return use


@pytest.fixture
def without_torch(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util, "find_spec", lambda name: None if name == "torch" else found(name)
    )


@pytest.mark.parametrize(
    ("cards", "request_", "expected"),
    [
        ({"cuda": (2 * GIB, 9 * GIB)}, "auto", "cuda:1"),  # the one with more free memory
        ({"cuda": (2 * GIB, 9 * GIB)}, "cuda", "cuda:0"),
        ({"cuda": (2 * GIB, 9 * GIB)}, "cuda:1", "cuda:1"),
        ({"cuda": (GIB,), "xpu": (9 * GIB,)}, "auto", "cuda:0"),
        ({"xpu": (9 * GIB,)}, "auto", "xpu:0"),
        ({"xpu": (9 * GIB,)}, "xpu", "xpu:0"),
        ({"mps": True}, "auto", "mps"),
        ({"mps": True}, "mps", "mps"),
        ({"cuda": (GIB,)}, "cpu", "cpu"),
        ({}, "auto", "cpu"),
    ],
)
def test_the_device_that_is_chosen(with_torch, cards, request_, expected):
    with_torch(**cards)
    device = choose_device(request_)
    assert device.name == expected
    assert device.kind == expected.partition(":")[0]
    assert device.why
    assert device.total > 0


@pytest.mark.parametrize(("kind", "free"), [("cuda", 7 * GIB), ("xpu", 7 * GIB), ("mps", 14 * GIB)])
def test_free_memory_counts_what_torch_holds_in_reserve(with_torch, kind, free):
    with_torch(**({kind: (5 * GIB,)} if kind != "mps" else {"mps": True}))
    assert list_devices()[0].free() == free


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_auto_is_the_cpu_for_runtimes_that_compute_there(with_torch, runtime):
    with_torch(cuda=(GIB,))
    device = choose_device("auto", runtime=runtime)
    assert device.name == "cpu"
    assert runtime in device.why


@pytest.mark.parametrize("request_", ["cuda:5", "xpu", "mps"])
def test_a_device_that_is_not_there_is_named_with_those_that_are(with_torch, request_):
    with_torch(cuda=(GIB, GIB))
    with pytest.raises(OptionError, match="cuda:0, cuda:1, cpu") as caught:
        choose_device(request_)
    assert "doctor" in caught.value.hint


def test_an_unknown_kind_is_refused():
    with pytest.raises(OptionError, match="'gpu'"):
        choose_device("gpu")


def test_without_torch_there_is_the_cpu(without_torch):
    (device,) = list_devices()
    assert device.name == "cpu"
    assert "not installed" in choose_device("auto").why
    with pytest.raises(MissingPackage, match="torch") as caught:
        choose_device("cuda")
    assert 'pip install "deepbio-imaging[torch]"' in caught.value.hint


def test_a_torch_that_cannot_be_loaded_is_told(monkeypatch, with_torch):
    with_torch()
    monkeypatch.setitem(sys.modules, "torch", None)
    device = choose_device("auto")
    assert device.name == "cpu"
    assert "cannot be loaded" in device.why


def test_torch_for_the_cpu_is_not_even_imported():
    """Importing it takes seconds, to learn nothing."""
    code = (
        "import sys; from importlib import metadata; known = metadata.version\n"
        "metadata.version = lambda name: '2.13.0+cpu' if name == 'torch' else known(name)\n"
        "from deepbio.engine.device import choose_device\n"
        "assert choose_device('auto').name == 'cpu'; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_cpu_has_a_name_and_memory():
    device = cpu_device("a reason")
    assert device.label
    assert 0 < device.free() <= device.total
    assert device.why == "a reason"
