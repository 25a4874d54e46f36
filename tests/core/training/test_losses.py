"""Losses at values that can be computed by hand, and that they fall towards the truth."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from deepbio.training.losses import class_loss, deep_loss, instance_loss  # noqa: E402
from deepbio.training.targets import instance_targets, object_weights  # noqa: E402
from tests.core.tasks.scenes import touching_discs  # noqa: E402


def test_class_loss_of_even_scores() -> None:
    labels = torch.tensor([[[0, 1], [1, 1]]])
    # probability 0.5 everywhere: cross-entropy log 2; Dice (2 * 1.5 + 1) / (2 + 3 + 1)
    expected = np.log(2) + 1 - 4 / 6
    assert float(class_loss(torch.zeros(1, 2, 2, 2), labels)) == pytest.approx(expected, rel=1e-5)


def test_class_loss_of_the_truth_is_nearly_nothing() -> None:
    labels = torch.randint(0, 3, (2, 9, 11, 5))
    scores = 30.0 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)
    assert float(class_loss(scores, labels)) < 1e-4


@pytest.mark.parametrize("shape", [(48, 60), (16, 24, 24)])
def test_instance_loss_falls_towards_the_truth(shape: tuple[int, ...]) -> None:
    labels = touching_discs(shape)
    targets = torch.from_numpy(np.concatenate([instance_targets(labels), object_weights(labels, 200)[None]]))[
        None
    ]
    truth = targets[:, :-1].clone()
    truth[:, 0] = truth[:, 0] * 40 - 20
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    values = [float(instance_loss(truth + s * noise, targets)) for s in (0, 0.1, 0.5, 2)]
    assert values[0] < 1e-3
    assert values == sorted(values)


def test_offsets_of_the_background_do_not_count() -> None:
    targets = torch.zeros(1, 5, 8, 8)
    targets[:, -1] = 1
    scores = torch.zeros(1, 4, 8, 8)
    moved = scores.clone()
    moved[:, 2:] = 100
    assert float(instance_loss(scores, targets)) == float(instance_loss(moved, targets))


def test_deep_loss_weighs_fine_above_coarse() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[:, ::2, ::2] = 1  # what every second pixel sees
    fine = torch.zeros(1, 2, 8, 8)
    coarse = torch.zeros(1, 2, 4, 4)
    coarse[:, 1] = 50
    total = float(deep_loss(class_loss, [fine, coarse], labels))
    assert total == pytest.approx(2 / 3 * float(class_loss(fine, labels)), rel=1e-3)
