"""Labels for frames that have none: what a model that sees single frames says, smoothed in time.

Self-training (Lee, ICML workshop 2013, "Pseudo-Label") with what the teacher lacks: steadiness. Few frames of a
movie are labelled; a memory that learns from those alone does not see what lies between them, such as
how far a heart contracts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepbio.tasks.temporal import steadied
from deepbio.training.sequence_data import Ready

__all__ = ["taught"]

_JUMP = 0.3  # of a class's largest size, between two frames
_AROUND = 2  # frames on each side of a jump
_SMOOTH = 1.2  # frames


@torch.no_grad()
def taught(
    clips: Sequence[Ready], teacher: nn.Module, *, harmonics: int = 0, cyclic: bool = False
) -> list[Ready]:
    """Fill in the unlabelled frames of movies.

    Teachers that see single frames flicker where an object ends, such as in a heart's basal slices. So a class that
    none of a movie's labelled frames shows is not told in the others either, and frames around a jump in its size
    stay unknown: there the consistency of the loss decides.

    Parameters
    ----------
    clips : sequence of Ready
        Of a segmentation.
    teacher : torch.nn.Module
        Gives scores (N, K, y, x) for normalised frames (N, C, y, x) whose sizes are multiples of its `divisor`.
    harmonics : int
        Waves in time that are kept of its shapes, in a cycle; 0: a Gaussian of 1.2 frames smooths instead.
    cyclic : bool
        Whether the first frame follows the last.

    Returns
    -------
    list of Ready
        The same, in which most frames of movies are known; stills as they are.
    """
    teacher.eval()
    return [_filled(one, teacher, harmonics, cyclic=cyclic) if len(one.frames) > 1 else one for one in clips]


def _filled(one: Ready, teacher: nn.Module, harmonics: int, *, cyclic: bool) -> Ready:
    known = one.known
    if len(known) == len(one.frames):
        return one
    scores = _scores(one.frames, teacher).swapaxes(0, 1)
    found = steadied(scores, smooth=_SMOOTH, harmonics=harmonics, cyclic=cyclic).argmax(0)
    if known:
        seen = np.unique(one.labels[known].numpy())
        found = np.where(np.isin(found, seen), found, 0)
    labels = one.labels.clone()
    unsteady = _near_jumps(found, cyclic=cyclic)
    rest = [t for t in range(len(one.frames)) if t not in known and not unsteady[t]]
    labels[rest] = torch.from_numpy(found[rest])
    return replace(one, labels=labels)


def _near_jumps(found: np.ndarray, *, cyclic: bool) -> np.ndarray:
    """Which frames (T,) are at most `_AROUND` from one between which and the next a class gains or loses much."""
    count = len(found)
    jumps = np.zeros(count, bool)
    for label in range(1, int(found.max(initial=0)) + 1):
        sizes = (found == label).reshape(count, -1).sum(1).astype(float)
        change = np.abs(np.roll(sizes, -1) - sizes)
        if not cyclic:
            change[-1] = 0.0
        jumps |= change > _JUMP * max(sizes.max(), 1.0)
    near = np.zeros(count, bool)
    for t in np.flatnonzero(jumps):
        around = np.arange(t - _AROUND + 1, t + _AROUND + 1)
        near[around % count if cyclic else around[(around >= 0) & (around < count)]] = True
    return near


def _scores(frames: Tensor, teacher: nn.Module) -> np.ndarray:
    """Scores (T, K, y, x) of frames (T, C, y, x) of any size."""
    height, width = frames.shape[-2:]
    divisor: tuple[int, int] = teacher.divisor  # type: ignore[assignment]
    padded = F.pad(frames, [0, -width % divisor[1], 0, -height % divisor[0]], mode="replicate")
    scores: np.ndarray = teacher(padded)[..., :height, :width].numpy()
    return scores
