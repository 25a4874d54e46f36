"""The public names: each loads, none costs anything at import, none brings torch."""

import subprocess
import sys
from pathlib import Path

import pytest

import deepbio

HEAVY = (
    "torch",
    "SimpleITK",
    "skimage",
    "scipy",
    "tifffile",
    "typer",
    "rich",
    "onnxruntime",
    "openvino",
    "PIL",
)


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", deepbio.__all__)
def test_public_name_loads(name: str) -> None:
    if name == "train":
        pytest.importorskip("torch")
    assert getattr(deepbio, name) is not None
    assert name in dir(deepbio)


def test_all_is_sorted_and_the_table_agrees() -> None:
    assert list(deepbio.__all__) == sorted(deepbio._HOME)


def test_type_checkers_see_the_same_names() -> None:
    source = Path(str(deepbio.__file__)).read_text(encoding="utf-8")
    block = source.split("if TYPE_CHECKING:")[1].split("__version__")[0]
    seen = {}
    for line in block.split("\n"):
        if line.strip().startswith("from deepbio."):
            module, _, names = line.strip().removeprefix("from deepbio.").partition(" import ")
            seen |= {name.strip(): module for name in names.split(",")}
    assert seen == deepbio._HOME


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'sgement'"):
        deepbio.sgement  # noqa: B018


def test_import_brings_nothing_heavy() -> None:
    found = run_python(f"import sys, deepbio; print([m for m in {HEAVY} if m in sys.modules])")
    assert found == "[]"


def test_import_takes_less_than_300_ms_beyond_numpy() -> None:
    code = "import numpy, time; t = time.process_time(); import deepbio; print(time.process_time() - t)"
    assert min(float(run_python(code)) for _ in range(3)) < 0.3


WITHOUT_TORCH = [
    "import deepbio; deepbio.list_models()",
    "import deepbio; deepbio.read; deepbio.write",
    "import deepbio; deepbio.Image; deepbio.RunOptions",
    "from deepbio.cli import app; app(['models'], standalone_mode=False)",
    "import deepbio.batch, deepbio.predict, deepbio.evaluation",
]


@pytest.mark.parametrize("code", WITHOUT_TORCH)
def test_does_not_import_torch(code: str) -> None:
    assert run_python(f"import sys; {code}; print('torch' in sys.modules)").endswith("False")


@pytest.mark.parametrize("code", WITHOUT_TORCH)
def test_works_where_torch_cannot_be_imported(code: str) -> None:
    run_python(f"import sys; sys.modules['torch'] = None; {code}")


def test_read_takes_less_than_300_ms_of_our_own() -> None:
    code = (
        "import numpy, tifffile, time; t = time.process_time(); import deepbio;"
        "deepbio.read; deepbio.list_models;"
        "print(time.process_time() - t)"
    )
    assert min(float(run_python(code)) for _ in range(3)) < 0.3
