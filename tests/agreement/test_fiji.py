"""One answer: a macro in ImageJ, Python and the command line give equal labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import deepbio
from deepbio.cli import app

EXAMPLES = Path(__file__).parents[2] / "examples"
CASES = {  # file -> model, and what the macro says beside
    "fluorescence.tif": ("nuclei", "tile=256 overlap=0.25 min_size=20"),
    "histology.png": ("nuclei", ""),
    "timelapse.tif": ("nuclei", ""),
    "stack.tif": ("nuclei", "per_slice=true"),
    "hippocampus/hippocampus_311.nii.gz": ("hippocampus", ""),
}


@pytest.mark.parametrize("name", CASES)
def test_labels_are_equal_at_all_doors(session: Any, tmp_path: Path, name: str) -> None:
    model, more = CASES[name]
    path = EXAMPLES / name
    if name == "stack.tif":
        movie = deepbio.read(EXAMPLES / "timelapse.tif")
        path = tmp_path / name
        deepbio.write(path, deepbio.Image(movie.numpy()[:3], "ZYX"))
    words = f"runtime=onnx device=cpu {more}".split()

    session.open(path)
    session.run_macro(f'run("DeepBio Segment", "model={model} output=labels {" ".join(words)}");')
    in_imagej = session.to_image().numpy()

    options = dict(word.split("=") for word in words)
    in_python = deepbio.run(path, model, deepbio.RunOptions.parse(options)).labels.numpy()

    flags = [f"--{key.replace('_', '-')}" + ("" if value == "true" else f"={value}") for key, value in options.items()]
    ran = CliRunner().invoke(app, ["run", model, str(path), "-o", str(tmp_path / "out"), "--save", "labels", *flags])
    assert ran.exit_code == 0, ran.output
    (written,) = (tmp_path / "out").glob("*-labels.*")
    on_the_command_line = deepbio.read_labels(written).numpy()

    assert in_python.any()
    assert in_imagej.shape == in_python.shape
    np.testing.assert_array_equal(in_imagej, in_python)
    np.testing.assert_array_equal(on_the_command_line, in_python)
