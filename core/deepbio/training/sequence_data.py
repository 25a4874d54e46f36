"""Training clips: moved and turned as a whole, or made from one labelled frame by letting it beat."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deepbio.cases.sequence import Clip
from deepbio.engine.steps import apply_steps
from deepbio.library.card import steps_of
from deepbio.training.sequence_plan import Plan

__all__ = ["Batch", "Ready", "animated", "clip_batches", "ready_clips"]

_PERIOD = 20.0  # frames of one beat of an animated frame


@dataclass(frozen=True)
class Batch:
    """Clips of one step.

    Attributes
    ----------
    frames : Tensor of float32, shape (N, C, T, y, x)
        Normalised.
    labels : Tensor of int64
        Shape (N, T, y, x) for segmentation, (N, T) for classes of frames, (N,) of sequences; -1 is unknown.
    """

    frames: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Ready:
    """A clip as tensors.

    Attributes
    ----------
    frames : Tensor of float32, shape (T, C, y, x)
        Normalised frame by frame.
    labels : Tensor of int64
        Shape (T, y, x) or (T,); -1 is unknown.
    clip : Clip
        Where it came from.
    """

    frames: Tensor
    labels: Tensor
    clip: Clip

    @property
    def known(self) -> list[int]:
        """Frames whose label is known."""
        first = self.labels.reshape(len(self.labels), -1)[:, 0]
        return [t for t, value in enumerate(first.tolist()) if value >= 0]


def ready_clips(clips: Sequence[Clip], plan: Plan) -> list[Ready]:
    """Normalise clips; labels that the plan does not know become background."""
    steps = steps_of(plan.normalisation)
    made = []
    for clip in clips:
        frames = np.stack([apply_steps(frame, ("channel", "y", "x"), steps) for frame in clip.pixels])
        made.append(Ready(torch.from_numpy(frames), torch.from_numpy(_targets(clip, plan)), clip))
    return made


def _targets(clip: Clip, plan: Plan) -> np.ndarray:
    if plan.kind == "segment":
        assert clip.labels is not None  # noqa: S101 - the reader saw to it
        labels = clip.labels.astype(np.int64)
        return np.where(labels > len(plan.classes), 0, labels)
    names = clip.classes if len(clip.classes) == len(clip.pixels) else clip.classes * len(clip.pixels)
    numbers = {name: number for number, name in enumerate(plan.classes)}
    return np.array([numbers.get(name, -1) for name in names], np.int64)


def clip_batches(clips: Sequence[Ready], plan: Plan, first: int, last: int) -> Iterator[Batch]:
    """The batch of each step, a function of the plan's seed and the step alone."""
    movies = [one for one in clips if len(one.frames) > 1] or list(clips)
    stills = [one for one in clips if one.known] if plan.kind == "segment" else []
    for step in range(first, last):
        rng = np.random.default_rng((plan.seed, step))
        drawn = []
        for _ in range(plan.batch):
            still = bool(stills) and rng.random() < plan.animate
            source = _draw_evenly(stills if still else movies, rng)
            drawn.append(_clip(source, plan, rng, still=still or len(source.frames) == 1))
        yield Batch(
            torch.stack([frames for frames, _ in drawn]).transpose(1, 2).contiguous(),
            torch.stack([labels for _, labels in drawn]),
        )


def animated(source: Ready, plan: Plan, seed: int) -> Ready:
    """A clip made from a still, the same for a seed; what has frames stays as it is."""
    if plan.kind != "segment" or len(source.frames) > 1:
        return source
    frames, labels = _clip(source, plan, np.random.default_rng((plan.seed, seed, 1)), still=True)
    return Ready(frames, labels, source.clip)


def _draw_evenly(clips: Sequence[Ready], rng: np.random.Generator) -> Ready:
    """A clip of a file drawn evenly, so that a file of many slices does not count more."""
    files = sorted({one.clip.case.key for one in clips})
    key = files[int(rng.integers(len(files)))]
    of_file = [one for one in clips if one.clip.case.key == key]
    return of_file[int(rng.integers(len(of_file)))]


def _clip(source: Ready, plan: Plan, rng: np.random.Generator, *, still: bool) -> tuple[Tensor, Tensor]:
    if plan.kind != "segment":
        return _classed(source, plan, rng)
    if still:
        t = int(rng.choice(source.known))
        frames = source.frames[t : t + 1].expand(plan.clip, -1, -1, -1)
        labels = source.labels[t : t + 1].expand(plan.clip, -1, -1)
    else:
        index = _window(source, plan, rng)
        frames, labels = source.frames[index], source.labels[index]
    points = _points(frames.shape[-2:], labels[0], plan, rng, still=still)
    frames = F.grid_sample(frames, points, padding_mode="reflection", align_corners=False)
    marks = F.grid_sample(
        labels[:, None].float() + 1, points, mode="nearest", padding_mode="zeros", align_corners=False
    )
    unknown = labels.reshape(len(labels), -1)[:, 0] < 0
    marks = (marks[:, 0] - 1).round().long().clamp(min=0)  # beyond the frame is background
    marks[unknown] = -1
    return _change_intensity(frames, rng), marks


def _window(source: Ready, plan: Plan, rng: np.random.Generator) -> list[int]:
    """Frames of a clip with a labelled one in it."""
    total, length = len(source.frames), plan.clip
    anchor = int(rng.integers(total)) if not source.known else int(rng.choice(source.known))
    start = anchor - int(rng.integers(length))
    if plan.cyclic:
        return [(start + k) % total for k in range(length)]
    start = min(max(start, 0), max(total - length, 0))
    return [min(start + k, total - 1) for k in range(length)]


def _points(
    size: Sequence[int], labels: Tensor, plan: Plan, rng: np.random.Generator, *, still: bool
) -> Tensor:
    """Where each pixel of the clip's patch is read, shape (T, y, x, 2), as `grid_sample` wants it."""
    height, width = plan.patch
    angle = math.radians(rng.uniform(-plan.rotation, plan.rotation))
    zoom = math.exp(rng.uniform(math.log(plan.scale[0]), math.log(plan.scale[1])))
    inside = (labels > 0).nonzero().float()
    middle = torch.tensor([(n - 1) / 2 for n in size])
    centre = inside.mean(0) if len(inside) else middle
    shift = torch.tensor(rng.uniform(-0.2, 0.2, 2), dtype=torch.float32) * torch.tensor([height, width])
    aim = (0.7 * centre + 0.3 * middle + shift).clamp(
        min=torch.zeros(2), max=torch.tensor([n - 1.0 for n in size])
    )
    rows, columns = torch.meshgrid(
        torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij"
    )
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    at = torch.stack((aim[0] + cos * rows - sin * columns, aim[1] + sin * rows + cos * columns), dim=-1)
    at = at.expand(plan.clip, -1, -1, -1)
    if still:
        at = _beating(at, centre, float(max(len(inside), 1)), plan, rng)
    scaled = (2 * at + 1) / torch.tensor([float(n) for n in size]) - 1
    return scaled.flip(-1)


def _beating(at: Tensor, centre: Tensor, area: float, plan: Plan, rng: np.random.Generator) -> Tensor:
    """Let what lies around the objects' centre grow and shrink, and drift a little."""
    times = torch.arange(plan.clip, dtype=torch.float32)
    phase, depth = rng.uniform(0, 2 * math.pi), rng.uniform(-plan.beat, plan.beat)
    swing = depth * torch.sin(2 * math.pi * times / _PERIOD + phase)
    drift = torch.tensor(rng.normal(0, 1.5, 2), dtype=torch.float32) * swing[:, None] / max(plan.beat, 1e-6)
    away = at - centre
    reach = 2.2 * math.sqrt(area / math.pi) + 1e-3
    near = torch.exp(-((away.square().sum(-1, keepdim=True).sqrt() / reach) ** 2))
    return at + away * near * swing[:, None, None, None] + drift[:, None, None, :] * near


def _change_intensity(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Gamma, contrast and brightness of the clip, a little of each frame, and noise."""
    gamma, contrast, brightness = rng.uniform(0.75, 1.35), rng.uniform(0.85, 1.2), rng.uniform(-0.08, 0.08)
    frames = frames.clamp(min=0) ** gamma
    flicker = torch.tensor(rng.normal(0, 0.03, (len(frames), 1, 1, 1)), dtype=torch.float32)
    frames = frames * contrast * (1 + flicker) + brightness
    noise = rng.normal(0, rng.uniform(0, 0.05), tuple(frames.shape)).astype(np.float32)
    return frames + torch.from_numpy(noise)


def _classed(source: Ready, plan: Plan, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A window of frames with its classes, cut or padded to the patch's size and flipped at will."""
    total = len(source.frames)
    start = int(rng.integers(max(1, total - plan.clip + 1)))
    index = [min(start + k, total - 1) for k in range(plan.clip)]
    frames = fitted(source.frames[index], plan.patch, rng)
    if rng.random() < 0.5:
        frames = frames.flip(-1)
    labels = source.labels[index]
    if plan.kind == "per-frame":
        labels = torch.where(torch.arange(plan.clip) < total, labels, -1)
        return _change_intensity(frames, rng), labels
    return _change_intensity(frames, rng), labels[0]


def fitted(frames: Tensor, size: Sequence[int], rng: np.random.Generator | None = None) -> Tensor:
    """Frames of exactly this size: cut at random (or in the middle), or padded by their edge."""
    for axis, wanted in zip((-2, -1), size, strict=True):
        have = frames.shape[axis]
        if have > wanted:
            start = int(rng.integers(have - wanted + 1)) if rng is not None else (have - wanted) // 2
            frames = frames.narrow(axis, start, wanted)
        elif have < wanted:
            short = wanted - have
            pad = [0, 0, short // 2, short - short // 2] if axis == -2 else [short // 2, short - short // 2]
            frames = F.pad(frames, pad, mode="replicate")
    return frames
