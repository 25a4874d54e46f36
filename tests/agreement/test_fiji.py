"""One answer: a macro in ImageJ, Python and the command line give equal labels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import deepbio
from deepbio.cli import app
from deepbio.image import Grid
from tests.imagej.hosts import JAR, missing

EXAMPLES = Path(__file__).parents[2] / "examples"
ROOT = Path(__file__).parents[2]
TIMEOUT = 240
RUNTIME = "runtime=onnx device=cpu"
CASES = {  # what it is -> file, model, what is said beside
    "2D": ("fluorescence.tif", "nuclei", "tile=256 overlap=0.25 min_size=20"),
    "RGB": ("histology.png", "nuclei", ""),
    "time-lapse": ("timelapse.tif", "nuclei", ""),
    "stack per slice": ("stack.tif", "nuclei", "per_slice=true"),
    "linked slices": ("stack.tif", "nuclei", "link_slices=0.25"),
    "3D": ("volume.tif", "hippocampus", ""),
}
SCRIPT = """
import json, sys
import numpy as np
from imagej_bridge import start

session = start(ij_jar=sys.argv[1], headless=True)
for path, model, words, target in json.loads(sys.argv[2]):
    session.close_images()
    session.open(path)
    session.run_macro(f'run("DeepBio Segment", "model={model} output=labels {words}");')
    np.save(target, session.to_image().numpy())
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The images; a movie's frames as slices, and a volume on a grid without direction, as ImageJ has none."""
    made = tmp_path_factory.mktemp("made")
    movie = deepbio.read(EXAMPLES / "timelapse.tif")
    deepbio.write(made / "stack.tif", deepbio.Image(movie.numpy()[:3], "ZYX"))
    volume = deepbio.read(EXAMPLES / "hippocampus" / "hippocampus_311.nii.gz")
    grid = Grid(volume.grid.shape, volume.grid.spacing, unit=volume.grid.unit)
    deepbio.write(made / "volume.tif", deepbio.Image(volume.numpy(), "ZYX", grid))
    names = {name: file for name, (file, _, _) in CASES.items()}
    return {name: made / file if (made / file).exists() else EXAMPLES / file for name, file in names.items()}


@pytest.fixture(scope="module")
def in_imagej(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Labels of all cases by macros, in one process with Java."""
    if missing():
        pytest.skip(missing())
    folder = tmp_path_factory.mktemp("imagej")
    targets = {name: folder / f"{number}.npy" for number, name in enumerate(CASES)}
    work = [
        (str(files[name]), model, f"{RUNTIME} {more}", str(targets[name]))
        for name, (_, model, more) in CASES.items()
    ]
    command = [sys.executable, "-c", SCRIPT, str(JAR), json.dumps(work)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: np.load(target) for name, target in targets.items()}


@pytest.mark.parametrize("name", CASES)
def test_labels_are_equal_at_all_doors(
    in_imagej: dict[str, np.ndarray], files: dict[str, Path], tmp_path: Path, name: str
) -> None:
    _, model, more = CASES[name]
    options = dict(word.split("=") for word in f"{RUNTIME} {more}".split())
    in_python = deepbio.run(files[name], model, deepbio.RunOptions.parse(options)).labels.numpy()

    flags = [
        f"--{key.replace('_', '-')}" + ("" if value == "true" else f"={value}")
        for key, value in options.items()
    ]
    command = ["run", model, str(files[name]), "-o", str(tmp_path), "--save", "labels", *flags]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    (written,) = tmp_path.glob("*-labels.*")
    on_the_command_line = deepbio.read_labels(written).numpy()

    assert in_python.any()
    assert in_imagej[name].shape == in_python.shape
    np.testing.assert_array_equal(in_imagej[name], in_python)
    np.testing.assert_array_equal(on_the_command_line, in_python)
