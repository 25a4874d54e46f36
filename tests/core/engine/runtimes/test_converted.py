"""What was converted from torch for OpenVINO is kept, found again, and made anew where it is damaged."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino")
torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from deepbio.engine.device import cpu_device  # noqa: E402
from deepbio.engine.runtimes import Opening, converted, with_openvino  # noqa: E402
from deepbio.events import Notice  # noqa: E402
from deepbio.library.card import Weights  # noqa: E402
from deepbio.networks import build  # noqa: E402

ARGUMENTS = {"dims": 2, "in_channels": 1, "out_channels": 2, "features": [4, 6]}
IMAGE = np.random.default_rng(0).random((1, 1, 12, 20), np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Weights, and the network that is converted from them, once: it takes seconds."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("converted") / "weights.safetensors"
    save_file(build("unet", ARGUMENTS).state_dict(), path)
    opening = _opening(path)
    return path, with_openvino._converted(with_openvino._import_openvino(), opening)


def _opening(path: Path) -> Opening:
    weights = Weights("safetensors", path, "ab" * 32, "unet", ARGUMENTS)
    return Opening(weights, cpu_device(), "fp32", (1, 1, 16, 16), 1)


@pytest.fixture
def opening(made: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opening:
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(with_openvino, "_converted", lambda _openvino, _opening: made[1].clone())
    return _opening(made[0])


def _kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "home" / "cache" / "openvino").iterdir())


def _refused(*_: Any) -> None:
    raise AssertionError("converted again")


def test_the_second_opening_converts_nothing(opening: Opening, tmp_path: Path, monkeypatch) -> None:
    first = with_openvino.open_network(opening)(IMAGE).copy()
    names = _kept(tmp_path)
    assert [Path(name).suffix for name in names] == [".bin", ".xml"]
    monkeypatch.setattr(with_openvino, "_converted", _refused)
    np.testing.assert_array_equal(with_openvino.open_network(opening)(IMAGE), first)
    assert _kept(tmp_path) == names


@pytest.mark.parametrize(
    "change", [{"sha256": "cd" * 32}, {"arguments": {**ARGUMENTS, "norm": "instance"}}, {"network": "other"}]
)
def test_other_weights_are_another_network(opening: Opening, monkeypatch, change: dict[str, Any]) -> None:
    with_openvino.open_network(opening)
    monkeypatch.setattr(with_openvino, "_converted", _refused)
    with pytest.raises(AssertionError, match="converted again"):
        with_openvino.open_network(replace(opening, weights=replace(opening.weights, **change)))


def test_another_source_is_another_network(opening: Opening, monkeypatch) -> None:
    with_openvino.open_network(opening)
    monkeypatch.setattr(converted, "_source", lambda: "changed")
    monkeypatch.setattr(with_openvino, "_converted", _refused)
    with pytest.raises(AssertionError, match="converted again"):
        with_openvino.open_network(opening)


def test_weights_without_a_hash_are_not_kept(opening: Opening, tmp_path: Path) -> None:
    with_openvino.open_network(replace(opening, weights=replace(opening.weights, sha256="")))
    assert not (tmp_path / "home").exists()


def test_a_damaged_file_is_told_and_made_anew(opening: Opening, tmp_path: Path) -> None:
    first = with_openvino.open_network(opening)(IMAGE).copy()
    folder = tmp_path / "home" / "cache" / "openvino"
    next(folder.glob("*.xml")).write_text("<net")
    heard: list[Any] = []
    again = with_openvino.open_network(replace(opening, listener=heard.append))(IMAGE)
    np.testing.assert_array_equal(again, first)
    assert ["is made anew" in event.message for event in heard if isinstance(event, Notice)] == [True]
    assert next(folder.glob("*.xml")).stat().st_size > 1000


def test_a_folder_that_cannot_be_written_costs_only_time(opening: Opening, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "cache").write_text("in the way")
    heard: list[Any] = []
    runtime = with_openvino.open_network(replace(opening, listener=heard.append))
    assert runtime(IMAGE).shape == (1, 2, 12, 20)
    assert len(heard) == 1
    assert "cannot be kept" in heard[0].message


def test_the_networks_not_used_for_longest_go_first(opening: Opening, tmp_path: Path, monkeypatch) -> None:
    weights = [replace(opening.weights, sha256=letter * 64) for letter in "abc"]
    for one in weights:
        with_openvino.open_network(replace(opening, weights=one))
        assert len(_kept(tmp_path)) <= 6
    folder = tmp_path / "home" / "cache" / "openvino"
    size = sum(path.stat().st_size for path in folder.iterdir()) // 3
    monkeypatch.setattr(converted, "_MOST_BYTES", int(2.5 * size))
    for age, one in zip((300, 200, 100), weights, strict=True):
        path = converted._path(one)
        assert path is not None
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    with_openvino.open_network(replace(opening, weights=weights[0]))  # used: now the youngest
    with_openvino.open_network(replace(opening, weights=replace(opening.weights, sha256="d" * 64)))
    left = {path.stem for path in folder.glob("*.xml")}
    kept = [converted._path(one).stem in left for one in weights]
    assert kept == [True, False, False]


def test_what_is_kept_needs_no_torch_to_run(opening: Opening) -> None:
    with_openvino.open_network(opening)
    code = (
        "import sys, numpy as np\n"
        "from deepbio.engine.device import cpu_device\n"
        "from deepbio.engine.runtimes import Opening\n"
        "from deepbio.engine.runtimes.with_openvino import open_network\n"
        "from deepbio.library.card import Weights\n"
        "from pathlib import Path\n"
        f"weights = Weights('safetensors', Path('none'), {'ab' * 32!r}, 'unet', {ARGUMENTS!r})\n"
        "run = open_network(Opening(weights, cpu_device(), 'fp32', (1, 1, 16, 16), 1))\n"
        "print(run(np.zeros((1, 1, 8, 8), np.float32)).shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "(1, 2, 8, 8) False"
