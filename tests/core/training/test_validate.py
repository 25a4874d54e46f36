"""Held-out predictions: whole, in tiles and slice by slice, all the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from deepbio.cases import Case  # noqa: E402
from deepbio.training import validate as module  # noqa: E402
from deepbio.training.plan import Plan  # noqa: E402
from deepbio.training.validate import predict_classes  # noqa: E402
from deepbio.training.volumes import Volume  # noqa: E402

CPU = torch.device("cpu")


class _Threshold(torch.nn.Module):
    """Class 1 above 0.5; sizes must be multiples of 4."""

    divisor = (4, 4, 4)

    def forward(self, x):
        assert all(n % 4 == 0 for n in x.shape[2:])
        return torch.cat((0.5 - x, x - 0.5), dim=1)


@pytest.fixture
def volume() -> Volume:
    image = np.random.default_rng(0).random((1, 9, 13, 22), np.float32)
    return Volume(Case(Path("a"), Path("b")), image, image, (image[0] > 0.5).astype(np.uint8))


PLAN = Plan("classes", 3, 1, 1, {}, (8, 8, 8), 2, 10, [])


def test_whole_and_tiles_agree(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in (10**9, 1):
        monkeypatch.setattr(module, "_WHOLE", limit)
        found = predict_classes(_Threshold(), volume, PLAN, CPU)
        np.testing.assert_array_equal(found, volume.labels)
        assert found.dtype == np.uint8


def test_slices(volume: Volume) -> None:
    network = _Threshold()
    network.divisor = (4, 4)
    found = predict_classes(network, volume, replace(PLAN, dims=2, per_slice=True), CPU)
    np.testing.assert_array_equal(found, volume.labels)


def test_the_score_is_the_mean_dice(volume: Volume) -> None:
    class _Cases:
        def __iter__(self):
            empty = replace(volume, labels=np.zeros_like(volume.labels))
            return iter((volume, empty))

    scores = module.validate(_Threshold(), _Cases(), PLAN, device=CPU)
    assert scores == {"score": 0.5}
