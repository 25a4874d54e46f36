"""Real trainings of nnU-Net (tests/data/nnunet), and a library of its own for each test."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NNUNET = Path(__file__).parents[2] / "data" / "nnunet"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's models, empty."""
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """``changed("plain_3d", plans=..., dataset=...)``: a copy whose JSON files functions have changed."""

    def make(name: str, **changes: Callable[[dict[str, Any]], None]) -> Path:
        folder = tmp_path / "changed" / name
        shutil.copytree(NNUNET / name, folder)
        for file, change in changes.items():
            path = folder / f"{file}.json"
            content = json.loads(path.read_text())
            change(content)
            path.write_text(json.dumps(content))
        return folder

    return make
