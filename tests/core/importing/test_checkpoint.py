"""Checkpoints of others: numbers come out, code does not run."""

import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from deepbio.errors import WeightsError  # noqa: E402
from deepbio.importing.checkpoint import read_checkpoint  # noqa: E402


def test_tensors_and_numbers_are_read(tmp_path: Path) -> None:
    losses = [np.float32(0.5), np.float64(0.25), np.int64(3), np.bool_(True), np.float16(2)]
    torch.save(
        {"weights": torch.arange(3), "losses": losses, "device": torch.device("cpu")}, tmp_path / "a.pth"
    )
    found = read_checkpoint(tmp_path / "a.pth")
    assert found["weights"].tolist() == [0, 1, 2]
    assert [float(value) for value in found["losses"]] == [0.5, 0.25, 3, 1, 2]


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"weights": Hostile(tmp_path / "made")}, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match="more than tensors and numbers"):
        read_checkpoint(tmp_path / "bad.pth")
    assert not (tmp_path / "made").exists()


def test_what_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("hello")
    torch.save({"weights": torch.zeros(1000)}, tmp_path / "whole.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:2000])
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    for name, message in (
        ("text.pth", "is damaged"),
        ("half.pth", "is damaged"),
        ("list.pth", "holds list; expected a mapping"),
        ("none.pth", "cannot be read: No such file"),
    ):
        with pytest.raises(WeightsError, match=message):
            read_checkpoint(tmp_path / name)
