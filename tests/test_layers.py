"""The architecture: who may import whom, as pyproject.toml says."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(importlib.util.find_spec("importlinter") is None, reason="needs the extra 'dev'")
def test_nobody_imports_upwards() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_has_tests_of_its_name() -> None:
    """tests/core mirrors core/deepbio; what has its tests elsewhere is named here."""
    elsewhere = {"__init__", "__main__"}  # test_init.py, test_cli.py
    package = ROOT / "core" / "deepbio"
    for top in package.iterdir():
        if top.suffix == ".py" and top.stem not in elsewhere:
            assert (ROOT / "tests" / "core" / f"test_{top.stem}.py").exists(), f"no tests for {top.name}"
