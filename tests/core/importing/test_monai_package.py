"""Bundles of MONAI as packages: labels as MONAI's own pipeline gives them, on the very same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deepbio
from deepbio.importing import add_model
from tests.core.importing import bundles

monai = pytest.importorskip("monai", minversion="1.4")
pytestmark = pytest.mark.filterwarnings("ignore")  # of MONAI and the exporters that it calls


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    return bundles.taught(bundles.build(bundles.NETWORK)).state_dict()


def run(name: str, image: Path) -> np.ndarray:
    result = deepbio.load_model(name).run(deepbio.read(image))
    return np.asarray(result.labels.array)


def test_a_bundle_like_the_spleens_gives_the_labels_of_monai(tmp_path: Path, state: dict[str, Any]) -> None:
    folder = bundles.write(tmp_path / "spleen", bundles.config(), bundles.metadata(), state)
    image = bundles.scan(tmp_path / "ct.nii.gz")
    expected = bundles.labels_by_monai(folder, image)
    card = add_model(folder)
    found = run("spleen", image)
    assert found.shape == expected.shape == (21, 43, 37)
    assert np.count_nonzero(expected) > 300
    assert np.count_nonzero(found != expected) == 0
    # and turned or mirrored it would not be
    assert all(np.mean(np.flip(found, axis) == expected) < 0.995 for axis in range(3))
    assert card.deepbio["grid"] == {
        "spacing": [2.0, 1.3, 1.5],
        "unit": "millimeter",
        "interpolation": "monai",
        "orientation": "SAR",
    }
    assert card.weights[0].format == "onnx"
    assert [(axis.minimum, axis.step) for axis in card.input.spatial] == [(8, 4)] * 3
    assert [step.id for step in card.input.steps] == ["ensure_dtype", "clip", "scale_linear", "ensure_dtype"]
    assert dict(card.classes) == {1: "spleen"}
    assert card.scores[0]["value"] == 0.96


def test_labels_do_not_change_where_the_image_lies_along_the_world(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    folder = bundles.write(tmp_path / "spleen", bundles.config(), bundles.metadata(), state)
    image = bundles.scan(tmp_path / "ct.nii.gz", oblique=False, seed=1)
    expected = bundles.labels_by_monai(folder, image)
    add_model(folder)
    assert np.count_nonzero(expected) > 300
    assert np.count_nonzero(run("spleen", image) != expected) == 0
