"""Mirror images: the mean of what a network says of each."""

from types import SimpleNamespace

import numpy as np
import pytest

from deepbio.engine.mirroring import Mirrored


class Network:
    """Gives a lopsided answer, always in the same buffer, as runtimes may."""

    name, precision, why, device = "fake", "fp32", "for tests", SimpleNamespace(name="cpu")

    def __init__(self, torch=None) -> None:
        self._torch, self.calls = torch, 0
        self._scores = np.zeros((2, 1, 3, 4, 5), np.float32)

    def __call__(self, batch: np.ndarray):
        self.calls += 1
        assert batch.flags.c_contiguous
        self._scores[...] = np.cumsum(np.cumsum(batch, axis=2), axis=4)
        return self._scores if self._torch is None else self._torch.from_numpy(self._scores)


@pytest.mark.parametrize("axes", [(), (0,), (0, 2), (2, 0, 1)])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_the_mean_over_all_mirror_images(axes: tuple[int, ...], kind: str) -> None:
    torch = pytest.importorskip("torch") if kind == "torch" else None
    batch = np.random.default_rng(0).standard_normal((2, 1, 3, 4, 5)).astype(np.float32)
    network = Network(torch)
    mirrored = Mirrored(network, axes)
    found = np.asarray(mirrored(batch))
    assert network.calls == 2 ** len(axes)
    expected = []
    for bits in range(2 ** len(axes)):
        flip = tuple(axis + 2 for n, axis in enumerate(axes) if bits >> n & 1)
        expected.append(np.flip(np.array(Network()(np.ascontiguousarray(np.flip(batch, flip)))), flip))
    np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-5, atol=1e-5)
    assert (mirrored.name, mirrored.precision) == ("fake", "fp32")
    found += 1  # the caller's own, until the next call
    np.testing.assert_allclose(np.asarray(mirrored(batch)), np.mean(expected, axis=0), rtol=1e-5, atol=1e-5)


class Distances:
    """Says of each pixel its value, and how far along y and x the brightest pixel is."""

    name, precision, why, device = "fake", "fp32", "for tests", SimpleNamespace(name="cpu")

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        size = batch.shape[2:]
        scores = np.zeros((len(batch), 3, *size), np.float32)
        scores[:, 0] = batch[:, 0]
        for one, image in zip(scores, batch[:, 0], strict=True):
            place = np.unravel_index(image.argmax(), size)
            for axis in (0, 1):
                one[1 + axis] = place[axis] - np.indices(size)[axis]
        return scores


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_offsets_point_the_other_way_in_a_mirror(axes: tuple[int, ...]) -> None:
    batch = np.random.default_rng(0).standard_normal((2, 1, 5, 8)).astype(np.float32)
    network = Distances()
    found = Mirrored(network, axes, {1: 0, 2: 1})(batch)
    np.testing.assert_allclose(found, network(batch), atol=1e-5)
    assert np.abs(Mirrored(network, axes)(batch) - network(batch)).max() > 0.5
