"""What a teacher of single frames says of unlabelled ones, steadied in time."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from deepbio.cases.sequence import Clip, SequenceCase
from deepbio.training.sequence_data import Ready
from deepbio.training.sequence_teacher import taught

HEIGHT, WIDTH = 13, 18
ALL = 10  # waves


class Bright(nn.Module):
    """Two classes by intensity: 0.5 is the border."""

    divisor = (4, 8)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2] % 4 == 0
        assert x.shape[3] % 8 == 0
        return torch.cat((0.5 - x, x - 0.5), 1) * 8


def clip(columns: list[int], known: dict[int, int], level: float = 1.0) -> Ready:
    """A bright block of so many columns in each frame; of some frames the columns that their labels have."""
    frames = torch.zeros(len(columns), 1, HEIGHT, WIDTH)
    labels = torch.full((len(columns), HEIGHT, WIDTH), -1)
    for t, count in enumerate(columns):
        frames[t, :, :, :count] = level
    for t, count in known.items():
        labels[t] = 0
        labels[t, :, :count] = 1
    case = SequenceCase(Path("a.tif"))
    return Ready(frames, labels, Clip(frames.numpy(), None, (), tuple(known), case))


def widths(one: Ready) -> list[int]:
    """Columns that are told in each frame; -1: unknown."""
    return [int(row[0].sum()) if row[0, 0] >= 0 else -1 for row in one.labels]


def test_unknown_frames_are_filled_and_known_ones_stay() -> None:
    (one,) = taught([clip([4, 5, 6, 7, 6, 5], {0: 3, 3: 9})], Bright(), harmonics=ALL, cyclic=True)
    assert widths(one) == [3, 5, 6, 9, 6, 5]


def test_one_frame_that_says_otherwise_is_outvoted() -> None:
    for cycle in ({}, {"harmonics": 1, "cyclic": True}):
        (one,) = taught([clip([6, 6, 6, 5, 6, 6, 6, 6], {0: 6})], Bright(), **cycle)
        assert widths(one) == [6] * 8


def test_two_waves_keep_how_far_an_object_contracts() -> None:
    """Where a Gaussian would not."""
    columns = [round(11 + 3 * math.cos(2 * math.pi * t / 20)) for t in range(20)]
    (one,) = taught([clip(columns, {0: 14})], Bright(), harmonics=2, cyclic=True)
    assert widths(one)[0] == 14
    assert widths(one)[10] == 8
    (flat,) = taught([clip([12 if t != 10 else 8 for t in range(20)], {0: 12})], Bright())
    assert widths(flat)[10] in (-1, 12)


def test_around_a_jump_nothing_is_told() -> None:
    (one,) = taught([clip([8, 8, 8, 8, 2, 2, 2, 2, 2, 2], {0: 8, 9: 2})], Bright())
    assert widths(one) == [8, 8, -1, -1, -1, -1, 2, 2, 2, 2]
    (turned,) = taught([clip([8, 8, 8, 8, 2, 2, 2, 2, 2, 2], {7: 2})], Bright(), harmonics=ALL, cyclic=True)
    assert widths(turned) == [-1, -1, -1, -1, -1, -1, 2, 2, -1, -1]


def test_a_class_that_no_label_shows_is_not_told() -> None:
    (one,) = taught([clip([5, 5, 5, 5], {1: 0})], Bright())
    assert widths(one) == [0, 0, 0, 0]


@pytest.mark.parametrize("columns", [[5], [5, 6]])
def test_what_is_known_already_stays(columns: list[int]) -> None:
    source = clip(columns, dict.fromkeys(range(len(columns)), 3))
    (one,) = taught([source], Bright())
    assert torch.equal(one.labels, source.labels)
