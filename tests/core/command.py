"""Running commands of deepbio, in this process or in one of its own, for the tests of the command line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from deepbio.cli import app

ONNX = ["--runtime", "onnx", "--device", "cpu"]


class Outcome:
    """What a command did, whichever way it was started."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        self.lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def deepbio(*words: object) -> Outcome:
    """Run a command in this process."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def process(*words: object, **kwargs: object) -> Outcome:
    """Run a command in a process of its own, as users do."""
    command = [sys.executable, "-W", "error", "-m", "deepbio", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)  # type: ignore[call-overload]
    return Outcome(done.returncode, done.stdout, done.stderr)


def spots() -> np.ndarray:
    pixels = np.full((37, 53), 100, np.uint16)
    pixels[5:9, 7:12] = 3000
    pixels[20:30, 33:41] = 2000
    return pixels


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def copied(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model, folder / "model"))
