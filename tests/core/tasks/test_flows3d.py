"""Objects of stacks from flows that are known."""

import numpy as np
import pytest

from deepbio.tasks.decode import decode
from deepbio.tasks.decoder import Decoder
from deepbio.tasks.flow_errors import FLOW_UNIT
from deepbio.tasks.flows3d import follow_flows_3d
from deepbio.tasks.stitch import label_bands

from .scenes import touching_discs
from .test_flows import flow_scores

DECODER = Decoder("flows", reach=30)


def test_touching_balls_are_separated() -> None:
    labels = touching_discs((31, 47, 53))
    found = decode(flow_scores(labels), DECODER)
    assert found.max() == labels.max() >= 8
    for label in range(1, labels.max() + 1):
        counts = np.bincount(found[labels == label])
        assert counts.max() / counts.sum() > 0.9


def test_bands_are_put_together_to_the_whole() -> None:
    scores = flow_scores(touching_discs((151, 23, 31)), noise=0.3)
    out = np.full(scores.shape[1:], -1, np.int32)
    bands = ((k, min(k + 11, 151), scores[:, k : k + 11].copy()) for k in range(0, 151, 11))
    count = label_bands(bands, DECODER, out, window_pixels=1)
    np.testing.assert_array_equal(out, decode(scores, DECODER))
    assert count == out.max() > 100


def test_voxels_move_as_by_grid_sample_of_torch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    shape, steps = (7, 9, 12), 23
    flows = rng.normal(0, 2, (3, *shape)).astype(np.float32)
    foreground = rng.random(shape) < 0.8
    places = np.nonzero(foreground)
    found = follow_flows_3d(flows, foreground, places, steps)
    last = np.array(shape, np.float32) - 1
    moves = np.where(foreground, flows, 0) / FLOW_UNIT * (2 / last).reshape(3, 1, 1, 1)
    image = torch.from_numpy(moves[::-1].astype(np.float32))[None]  # x, y, z
    here = torch.from_numpy(np.stack([2 * p / n - 1 for p, n in zip(places, last, strict=True)][::-1], -1))
    here = here.float()[None, None, None]
    for _ in range(steps):
        step = torch.nn.functional.grid_sample(image, here, align_corners=False)
        here = torch.clamp(here + step.movedim(1, -1), -1, 1)
    ends = ((here[0, 0, 0].numpy()[:, ::-1] + 1) * 0.5 * last).astype(np.int64).T
    assert (ends != found).any(axis=0).mean() < 0.01  # where the last digit decides between two voxels


def test_a_stack_of_one_slice_and_nothing_at_all() -> None:
    scores = flow_scores(touching_discs((1, 40, 41)))
    assert decode(scores, DECODER).max() >= 1
    assert decode(flow_scores(np.zeros((4, 5, 6), int)), DECODER).max() == 0


def test_hollow_balls_are_filled() -> None:
    z, y, x = np.indices((21, 22, 23))
    away = np.sqrt((z - 10) ** 2 + (y - 10) ** 2 + (x - 11) ** 2)
    labels = (away < 9).astype(int)
    scores = flow_scores(labels)
    scores[3][away < 2.5] = -5  # inside nothing is seen
    found = decode(scores, DECODER.replace(min_size=1))
    assert (found[labels > 0] > 0).mean() > 0.98
