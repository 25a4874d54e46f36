"""Every runtime gives torch's scores; auto takes the fastest that does, and says so."""

import importlib.util
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from deepbio.engine import runtime as module
from deepbio.engine.choices import cache_folder
from deepbio.engine.device import Device, cpu_device
from deepbio.engine.runtime import UNTRIED, describe_runtime, open_runtime
from deepbio.engine.runtimes import BACKENDS, Backend
from deepbio.errors import CardError, MissingPackage, OptionError, WeightsError
from deepbio.options import PRECISIONS, RUNTIMES

torch = pytest.importorskip("torch")
ALL = ("safetensors", "onnx")
CASES = [("torch", ALL), ("onnx", ALL), ("openvino", ALL), ("openvino", ("safetensors",))]


def batch(*shape):
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def expected(make_card, x, dims=2):
    with torch.no_grad():
        return make_card.module(dims)(torch.from_numpy(x)).numpy()


@pytest.fixture
def missing(monkeypatch):
    """Pretend that packages are not installed."""

    def forget(*names):
        found = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *a: None if name in names else found(name, *a)
        )

    return forget


@pytest.mark.parametrize(("name", "formats"), CASES)
@pytest.mark.parametrize("dims", [2, 3])
def test_scores_are_those_of_torch(make_card, name, formats, dims):
    pytest.importorskip(BACKENDS[name].package)
    card = make_card(*formats, dims=dims)
    runtime = open_runtime(card, device=cpu_device(), runtime=name, tile=(16,) * dims)
    assert (runtime.name, runtime.precision, runtime.why) == (name, "fp32", "asked for")
    sizes = [(1, 12), (3, 12), (1, 18), (2, 12), (3, 18)] if dims == 2 else [(1, 8), (2, 10), (1, 8)]
    for count, edge in sizes:  # batches and sizes come in any order
        x = batch(count, 2, edge + 2, *(edge,) * (dims - 1))
        scores = runtime(x)
        assert isinstance(scores, np.ndarray)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected(make_card, x, dims), atol=2e-5, rtol=1e-4)
        scores *= 0  # the caller may use it as scratch space
        np.testing.assert_allclose(runtime(x), expected(make_card, x, dims), atol=2e-5, rtol=1e-4)


def test_torchscript_weights(make_card, tmp_path):
    path = tmp_path / "weights.pt"
    with pytest.warns(DeprecationWarning, match="deprecated"):
        torch.jit.trace(make_card.module(), torch.zeros(1, 2, 8, 8)).save(str(path))
    card = make_card("safetensors")
    card = replace(card, weights=(replace(card.weights[0], format="torchscript", path=path, sha256=""),))
    runtime = open_runtime(card, device=cpu_device(), runtime="torch")
    x = batch(1, 2, 12, 14)
    np.testing.assert_allclose(runtime(x), expected(make_card, x), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("encoder", ["plain", "residual"])
def test_batch_norm_is_folded_into_the_convolution(dims, encoder):
    from deepbio import networks
    from deepbio.engine.runtimes.with_torch import fuse_batch_norm

    kinds = (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    torch.manual_seed(1)
    network = networks.build(
        "unet", {"dims": dims, "in_channels": 2, "out_channels": 3, "features": [4, 8], "encoder": encoder}
    ).eval()
    for norm in (layer for layer in network.modules() if isinstance(layer, kinds)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    x = torch.from_numpy(batch(1, 2, *(12,) * dims))
    with torch.no_grad():
        before = network(x)
        after = fuse_batch_norm(network)(x)
    assert not any(isinstance(layer, kinds) for layer in network.modules())
    np.testing.assert_allclose(after.numpy(), before.numpy(), atol=1e-5, rtol=1e-5)


def test_little_work_gets_no_trial_unless_one_is_remembered(make_card):
    card = make_card(*ALL)
    heard = []
    runtime = open_runtime(card, device=cpu_device(), tile=(48, 32), trial=False, listener=heard.append)
    assert (runtime.name, runtime.why) == ("onnx", UNTRIED)
    assert heard == []
    tried = open_runtime(card, device=cpu_device(), tile=(48, 32), listener=heard.append)
    assert len(heard) == 1
    again = open_runtime(card, device=cpu_device(), tile=(48, 32), trial=False, listener=heard.append)
    assert again.name == tried.name
    assert "trial: " in again.why
    assert len(heard) == 1


def test_auto_takes_the_fastest_and_remembers_it(make_card):
    card = make_card(*ALL)
    heard = []
    runtime = open_runtime(card, device=cpu_device(), tile=(32, 32), listener=heard.append)
    assert runtime.name in ("torch", "onnx", "openvino")
    assert "trial" in runtime.why
    assert [event.level for event in heard] == ["info"]
    assert (cache_folder() / "runtimes.json").exists()
    again = open_runtime(card, device=cpu_device(), tile=(32, 32), listener=heard.append)
    assert again.name == runtime.name
    assert len(heard) == 1  # no second trial
    record = describe_runtime(again)
    assert record["runtime"] == runtime.name
    assert record["precision"] == "fp32"
    assert record["device"] == "cpu"
    assert record["runtime_version"]
    assert record["threads"] >= 1


@pytest.fixture
def bench(monkeypatch):
    """Backends that are played: their speed, error of scores, or failure."""

    def make(**cases):
        class Played:
            precision, why = "fp32", ""

            def __init__(self, name, opening):
                self.name, self.device, (self.spent, self.error) = name, opening.device, cases[name]
                if isinstance(self.error, Exception) and opening.precision != "half":
                    raise self.error

            def __call__(self, x):
                return np.concatenate([x[:, :1] + self.error, x * 0], 1)

        monkeypatch.setattr(Backend, "open", lambda self, opening: Played(self.name, opening))
        monkeypatch.setattr(Backend, "installed", True)
        monkeypatch.setattr(module, "_timed", lambda runtime, sample: (runtime(sample), runtime.spent))

    return make


@pytest.mark.parametrize(
    ("cases", "taken", "warned"),
    [
        ({"torch": (3, 0), "onnx": (2, 1e-6), "openvino": (1, -1e-6)}, "openvino", []),
        ({"torch": (3, 0), "onnx": (2, 1e-6), "openvino": (1, 0.1)}, "onnx", ["openvino' is passed over"]),
        ({"torch": (3, 0), "onnx": (2, math.nan), "openvino": (1, 0.1)}, "torch", ["onnx", "openvino"]),
        ({"torch": (1, 0), "onnx": (2, 0), "openvino": (3, 0)}, "torch", []),
        ({"torch": (1, 0), "onnx": (2, RuntimeError("op")), "openvino": (3, 0)}, "torch", ["cannot run"]),
        ({"torch": (1, ValueError("no")), "onnx": (2, 0), "openvino": (3, 0)}, "onnx", ["cannot run"]),
    ],
)
def test_the_trial(make_card, bench, cases, taken, warned):
    bench(**cases)
    heard = []
    runtime = open_runtime(make_card(*ALL), device=cpu_device(), tile=(16, 16), listener=heard.append)
    assert runtime.name == taken
    warnings = [event.message for event in heard if event.level == "warning"]
    assert len(warnings) == len(warned)
    assert all(word in message for word, message in zip(warned, warnings, strict=True))
    assert sum(event.level == "info" for event in heard) == 1


def test_when_all_fail_the_last_failure_is_told(make_card, bench):
    bench(torch=(1, ValueError("a")), onnx=(1, ValueError("b")), openvino=(1, ValueError("c")))
    with pytest.raises(ValueError, match="c"):
        open_runtime(make_card(*ALL), device=cpu_device(), tile=(16, 16))


def test_memory_that_runs_out_in_a_trial_is_the_ladders_business(make_card, bench):
    bench(torch=(1, 0), onnx=(1, MemoryError()), openvino=(1, 0))
    with pytest.raises(MemoryError):
        open_runtime(make_card(*ALL), device=cpu_device(), tile=(16, 16))


def test_a_remembered_runtime_that_is_gone_is_not_taken(make_card, bench, monkeypatch):
    bench(torch=(3, 0), onnx=(2, 0), openvino=(1, 0))
    monkeypatch.setattr(module, "recall", lambda key, listener: {"runtime": "tensorflow"})
    assert open_runtime(make_card(*ALL), device=cpu_device(), tile=(16, 16)).name == "openvino"


@pytest.mark.parametrize(
    ("forgotten", "formats", "taken"),
    [
        (("torch",), ALL, {"onnx", "openvino"}),
        (("torch", "openvino"), ALL, {"onnx"}),
        (("openvino", "onnxruntime"), ALL, {"torch"}),
        (("openvino",), ("safetensors",), {"torch"}),
    ],
)
def test_auto_goes_by_what_is_installed(make_card, missing, forgotten, formats, taken):
    card = make_card(*formats)
    missing(*forgotten)
    runtime = open_runtime(card, device=cpu_device(), tile=(16, 16))
    assert runtime.name in taken
    if len(taken) == 1:
        assert "only one" in runtime.why


@pytest.mark.parametrize(
    ("name", "package", "line"),
    [
        ("openvino", "openvino", 'pip install "deepbio-imaging[openvino]"'),
        ("onnx", "onnxruntime", "pip install onnxruntime"),
        ("torch", "torch", 'pip install "deepbio-imaging[torch]"'),
        ("compile", "torch", 'pip install "deepbio-imaging[torch]"'),
    ],
)
def test_a_runtime_that_is_not_installed(make_card, missing, name, package, line):
    card = make_card(*ALL)
    missing(package)
    with pytest.raises(MissingPackage, match=package) as caught:
        open_runtime(card, device=cpu_device(), runtime=name)
    assert line in caught.value.hint


def test_weights_that_only_torch_reads_name_torch(make_card, missing):
    card = make_card("safetensors")
    missing("torch")
    for runtime in ("auto", "openvino"):
        with pytest.raises(MissingPackage, match="torch") as caught:
            open_runtime(card, device=cpu_device(), runtime=runtime)
        assert "[torch]" in caught.value.hint


@pytest.mark.parametrize(
    ("formats", "options", "error", "words"),
    [
        (ALL, {"runtime": "tensorrt"}, OptionError, "tensorrt"),
        (("onnx",), {"runtime": "torch"}, OptionError, "has onnx"),
        (("safetensors",), {"runtime": "onnx"}, OptionError, "has safetensors"),
        (ALL, {"runtime": "onnx", "precision": "bf16"}, OptionError, "not in bf16"),
        (ALL, {"runtime": "openvino", "device": Device("cuda:0", "card", 1)}, OptionError, "not on 'cuda:0'"),
        (("onnx",), {"device": Device("cuda:0", "card", 1)}, CardError, "onnx"),
        (("onnx",), {"precision": "fp8"}, CardError, "fp8"),
    ],
)
def test_what_cannot_be_is_explained(make_card, formats, options, error, words):
    with pytest.raises(error, match=words) as caught:
        open_runtime(make_card(*formats), **{"device": cpu_device(), "tile": (16, 16)} | options)
    assert caught.value.hint or words == "tensorrt"


@pytest.mark.parametrize(
    ("format", "name"), [("safetensors", "torch"), ("onnx", "onnx"), ("onnx", "openvino")]
)
def test_damaged_weights_are_found_by_their_hash(make_card, tmp_path, format, name):
    card = make_card(format)
    damaged = tmp_path / "weights"
    content = bytearray(card.weights[0].path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    card = replace(card, weights=(replace(card.weights[0], path=damaged),))
    with pytest.raises(WeightsError, match="damaged"):
        open_runtime(card, device=cpu_device(), runtime=name)


@pytest.mark.parametrize(
    ("format", "name"), [("safetensors", "torch"), ("onnx", "onnx"), ("onnx", "openvino")]
)
@pytest.mark.parametrize("content", [b"", b"not weights at all" * 9])
def test_files_that_are_no_weights(make_card, tmp_path, format, name, content):
    card = make_card(format)
    wrong = tmp_path / f"weights.{format}"
    wrong.write_bytes(content)
    card = replace(card, weights=(replace(card.weights[0], path=wrong, sha256=""),))
    with pytest.raises(WeightsError, match="weights"):
        open_runtime(card, device=cpu_device(), runtime=name)


def test_weights_of_another_network(make_card):
    card = make_card("safetensors")
    other = replace(card.weights[0], arguments={**card.weights[0].arguments, "features": [4, 16]})
    with pytest.raises(WeightsError, match="do not fit"):
        open_runtime(replace(card, weights=(other,)), device=cpu_device(), runtime="torch")


def test_the_options_and_the_table_name_the_same_runtimes():
    assert {"auto", *BACKENDS} == set(RUNTIMES)
    assert {p for b in BACKENDS.values() for p in b.precisions} | {"auto"} == set(PRECISIONS)


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_half_precision_on_the_cpu_when_asked_for(make_card, name):
    pytest.importorskip(name)
    card = make_card(*ALL)
    runtime = open_runtime(card, device=cpu_device(), runtime=name, precision="bf16", tile=(16, 16))
    x = batch(1, 2, 16, 16)
    scores = runtime(x)
    assert runtime.precision == "bf16"
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected(make_card, x), atol=0.2)


@pytest.mark.parametrize(
    ("error", "taken"),
    [
        ({"fp16": 1e-4, "bf16": 1e-3}, "fp16"),
        ({"fp16": math.inf, "bf16": 1e-3}, "bf16"),
        ({"fp16": 1, "bf16": 1}, "fp32"),
    ],
)
def test_auto_on_an_accelerator_is_half_precision_where_it_agrees(make_card, monkeypatch, error, taken):
    class Card:
        """Scores that stay on the device, as torch tensors."""

        name, why = "torch", ""

        def __init__(self, opening):
            self.precision, self.device = opening.precision, opening.device

        def __call__(self, x):
            return torch.from_numpy(np.concatenate([x, x[:, :1] * 0 + error.get(self.precision, 0)], 1))

    monkeypatch.setattr(Backend, "open", lambda self, opening: Card(opening))
    heard = []
    card = make_card(*ALL)
    runtime = open_runtime(card, device=Device("cuda:0", "card", 1), tile=(16, 16), listener=heard.append)
    assert (runtime.name, runtime.precision) == ("torch", taken)
    assert bool(heard) == (taken == "fp32")
    asked = open_runtime(card, device=Device("cuda:0", "card", 1), precision="fp32", tile=(16, 16))
    assert asked.precision == "fp32"


def test_compile_compiles_what_is_loaded(make_card, monkeypatch):
    """The compiler itself takes half a minute; here it is played."""
    asked = []
    monkeypatch.setattr(torch, "compile", lambda network, **options: asked.append(options) or network)
    runtime = open_runtime(make_card(*ALL), device=cpu_device(), runtime="compile", tile=(16, 16))
    assert asked == [{"dynamic": False, "options": {"freezing": True}}]
    assert runtime.name == "compile"
    x = batch(2, 2, 16, 16)
    np.testing.assert_allclose(runtime(x), expected(make_card, x), atol=2e-5, rtol=1e-4)


def test_a_compiler_that_fails_is_explained(make_card, monkeypatch):
    def compile(network, **options):
        def fail(x):
            raise RuntimeError("No working C++ compiler found.\nmuch more")

        return fail

    monkeypatch.setattr(torch, "compile", compile)
    with pytest.raises(OptionError, match=r"here: No working C\+\+ compiler found\. Choose") as caught:
        open_runtime(make_card(*ALL), device=cpu_device(), runtime="compile", tile=(16, 16))
    assert "'torch'" in caught.value.hint


def test_openvino_is_imported_without_its_usage_statistics(make_card):
    pytest.importorskip("openvino")
    code = (
        "import sys\n"
        "from deepbio.engine.runtimes.with_openvino import _import_openvino\n"
        "_import_openvino()\n"
        "assert 'openvino' in sys.modules and 'openvino_telemetry' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_onnx_path_imports_no_torch(make_card):
    """The base install has none, and importing it takes seconds."""
    card = make_card("onnx")
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from deepbio.engine.device import cpu_device\n"
        "from deepbio.engine.runtimes import BACKENDS, Opening\n"
        "from deepbio.library.card import Weights\n"
        f"weights = Weights('onnx', Path({str(card.weights[0].path)!r}))\n"
        "for name in ('onnx', 'openvino'):\n"
        "    BACKENDS[name].open(Opening(weights, cpu_device(), 'fp32', (1, 2, 8, 8), 1))(np.zeros((1, 2, 8, 8), 'f4'))\n"
        "import deepbio.engine\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
