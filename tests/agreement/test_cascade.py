"""One answer for a cascade, of which every door runs both stages: Python, the command line, the worker behind 3D Slicer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import deepbio
from deepbio.cli import app
from deepbio.image import LabelMap
from deepbio.worker.runs import Runs
from tests.agreement.test_families import _Kept, _Quiet

torch = pytest.importorskip("torch")

NNUNET = Path(__file__).parents[1] / "data" / "nnunet"
IMAGE = NNUNET / "cases" / "thick.nii.gz"


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelMap]:
    """What Python finds with nnU-Net's cascade, added to a library of its own."""
    from deepbio.importing import add_model

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPBIO_HOME", str(tmp_path_factory.mktemp("home")))
        add_model(NNUNET / "cascade_3d", name="both")
        found = deepbio.run(IMAGE, "both", deepbio.RunOptions(runtime="torch", device="cpu"))
        assert found.labels is not None
        assert set(np.unique(found.labels.numpy())) == {0, 1, 2}
        assert found.record["first_stage_sha256"] != found.record["weights_sha256"]
        yield found.labels


def test_the_command_line(expected: LabelMap, tmp_path: Path) -> None:
    words = ["run", "both", str(IMAGE), "-o", str(tmp_path), "--runtime", "torch", "--device", "cpu"]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    written = deepbio.read_labels(tmp_path / "thick-labels.nii.gz")
    np.testing.assert_array_equal(written.numpy(), expected.numpy())
    np.testing.assert_allclose(written.grid.to_world((3, 4, 5)), expected.grid.to_world((3, 4, 5)), atol=1e-4)


def test_the_worker(expected: LabelMap) -> None:
    options = {"runtime": "torch", "device": "cpu"}
    request = {"model": "both", "image": {"path": str(IMAGE)}, "options": options}
    found = Runs(_Kept()).run(request, _Quiet())  # type: ignore[arg-type]
    np.testing.assert_array_equal(found["labels"]["array"], expected.numpy())
