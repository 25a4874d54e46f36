"""What a generator by a flow of codes is trained for, in two parts.

First the coder: images through a small code and back, like the real ones to the eye of a
discriminator too (Esser et al. 2021, doi:10.1109/CVPR46437.2021.01268), from codes with a little noise
on them, so that a code that is nearly right gives an image that is. Then the flow (Liu et al. 2023,
arXiv:2209.03003) from noise to the codes of each class; it is kept where it is best on held-out
images, which is before it learns single images by heart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepbio.errors import OptionError
from deepbio.events import Listener
from deepbio.networks.flow import FlowField, FlowGenerator
from deepbio.training.adversarial import Batch, Losses, write_sheet
from deepbio.training.generate_class import by_name, sample_sheet, side_by_side, turned
from deepbio.training.loop import Loop, Schedule

__all__ = ["Codes", "CoderGame", "FlowBatches", "FlowLearner", "FlowSchedule", "make_codes"]

_NOISE = 0.1  # on codes while the decoder learns, of their standard deviation
_FOOLING = 0.3  # weight of passing for real
_SEEING = 1.0  # weight of looking alike to the discriminator
_NAMELESS = 0.1  # part of the images that the flow is not told the class of; guidance needs it
_WAYS = 8  # to lay a square
_SCORED = 4  # times and noises that each held-out code is scored with
_AT_ONCE = 128


@dataclass(frozen=True)
class FlowSchedule:
    """How long and how fast the flow is trained.

    Attributes
    ----------
    steps, batch : int
        Batches, and codes in each.
    learning_rate, weight_decay, ema : float
        As of `deepbio.training.loop.Schedule`.
    validate_every : int
        Steps between looks at held-out images.
    """

    steps: int = 20000
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    ema: float = 0.999
    validate_every: int = 1000

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> FlowSchedule:
        """From the entry `flow` of a plan.

        Raises
        ------
        OptionError
            If it has other names.
        """
        known = [one.name for one in fields(cls)]
        unknown = [name for name in values if name not in known]
        if unknown:
            raise OptionError(
                f"The plan's flow has an entry {unknown[0]!r}, which is unknown.",
                f"Known are {', '.join(known)}.",
            )
        return cls(**values)


@dataclass(frozen=True)
class CoderGame:
    """Losses of the coder: like the image in itself and in what a discriminator of patches sees.

    Attributes
    ----------
    likeness : float
        Weight of the mean absolute difference.
    shown : ndarray of uint8, shape (N, C, y, x)
        Images of the sheet.
    """

    likeness: float
    shown: np.ndarray

    def discriminator_loss(
        self, generator: nn.Module, discriminator: nn.Module, batch: Batch, random: torch.Generator
    ) -> Losses:
        """Tell real patches from those that went through the code."""
        with torch.no_grad():
            made = _through(generator, batch["images"], random)
        real, fake = discriminator(batch["images"]), discriminator(made)
        loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        return {"loss": loss, "real": real.mean(), "fake": fake.mean()}

    def generator_loss(
        self, generator: nn.Module, discriminator: nn.Module, batch: Batch, random: torch.Generator
    ) -> Losses:
        """Like the image, and pass for real."""
        images = batch["images"]
        made = _through(generator, images, random)
        difference = (made - images).abs().mean()
        with torch.no_grad():
            wanted = discriminator.maps(images)  # type: ignore[operator]
        seen = discriminator.maps(made)  # type: ignore[operator]
        # of each map in its own unit: those of a discriminator grow while it learns
        seeing = torch.stack(
            [(a - b).abs().mean() / b.abs().mean().clamp(min=1e-4) for a, b in zip(seen, wanted, strict=True)]
        ).mean()
        fooling = F.softplus(-discriminator.real(seen[-1])).mean()  # type: ignore[operator]
        loss = self.likeness * difference + _SEEING * seeing + _FOOLING * fooling
        return {"loss": loss, "difference": difference, "seeing": seeing, "fooling": fooling}

    def penalty(self, discriminator: nn.Module, batch: Batch) -> Tensor:
        """R1 on the batch's real images."""
        images = batch["images"].detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(
            discriminator(images).mean((1, 2, 3)).sum(), images, create_graph=True
        )
        return gradient.square().sum((1, 2, 3)).mean()

    @torch.no_grad()
    def sheet(self, generator: nn.Module) -> np.ndarray:
        """Images, and under each of them what comes back."""
        coder, images = by_name(generator), torch.from_numpy(self.shown.astype(np.float32) / 127.5 - 1)
        device = next(generator.parameters()).device
        back = coder["decoder"](coder["encoder"](images.to(device))).cpu()
        return side_by_side(torch.stack([images, back]).numpy())


def _through(networks: nn.Module, images: Tensor, random: torch.Generator) -> Tensor:
    """Images made of noisy codes of images."""
    coder = by_name(networks)
    codes = coder["encoder"](images.contiguous(memory_format=torch.channels_last))
    noise = torch.randn(codes.shape, generator=random).to(codes)
    made: Tensor = coder["decoder"](codes + _NOISE * noise)
    return made


@dataclass(frozen=True)
class Codes:
    """Codes of images with their classes.

    Attributes
    ----------
    values : ndarray of float16, shape (N, ways, code, y, x)
        Of each image laid in one way or in eight.
    labels : ndarray of int, shape (N,)
        Classes, from 0.
    """

    values: np.ndarray
    labels: np.ndarray


@torch.no_grad()
def make_codes(encoder: nn.Module, images: np.ndarray, labels: np.ndarray, *, turn: bool) -> Codes:
    """Codes of images of bytes (N, C, y, x), as they are or laid in all eight ways."""
    device = next(encoder.parameters()).device
    found = []
    for at in range(0, len(images), _AT_ONCE):
        part = images[at : at + _AT_ONCE]
        ways = []
        for how in range(_WAYS if turn else 1):
            laid = np.ascontiguousarray(turned(part, how), np.float32) / 127.5 - 1
            ways.append(encoder(torch.from_numpy(laid).to(device)).cpu().numpy().astype(np.float16))
        found.append(np.stack(ways, 1))
    return Codes(np.concatenate(found), labels)


@dataclass(frozen=True)
class FlowBatches:
    """Batches of codes, as many of each class.

    Attributes
    ----------
    codes : Codes
        Of the images learned from.
    classes, size, seed : int
        Classes; codes in a batch; what the choice follows from.
    """

    codes: Codes
    classes: int
    size: int
    seed: int

    def __call__(self, first: int, last: int) -> Iterator[dict[str, Tensor]]:
        """The batches of steps `first` to `last`: see `_flow_batch`."""
        members = [np.flatnonzero(self.codes.labels == label) for label in range(self.classes)]
        for step in range(first, last):
            random = np.random.default_rng([self.seed, 3, step])
            labels = (np.arange(self.size) + step * self.size) % self.classes
            chosen = np.array([random.choice(members[label]) for label in labels])
            ways = random.integers(self.codes.values.shape[1], size=self.size)
            batch = _flow_batch(self.codes.values[chosen, ways], labels, self.classes, random)
            batch["asked"] *= torch.from_numpy(random.random(self.size) >= _NAMELESS)[:, None]
            yield batch


def _flow_batch(
    codes: np.ndarray, labels: np.ndarray, classes: int, random: np.random.Generator
) -> dict[str, Tensor]:
    """``codes`` and ``noise`` (B, c, y, x), ``time`` (B,), ``asked`` (B, classes)."""
    # in the middle of the way it is decided what the image will be, so times lie there more often
    time = 1 / (1 + np.exp(-random.standard_normal(len(codes))))
    return {
        "codes": torch.from_numpy(codes.astype(np.float32)),
        "noise": torch.from_numpy(random.standard_normal(codes.shape, np.float32)),
        "time": torch.from_numpy(time.astype(np.float32)),
        "asked": F.one_hot(torch.from_numpy(labels), classes).float(),
    }


def _flow_loss(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Mean squared difference of the field from the straight way between noise and code."""
    device = next(network.parameters()).device
    codes, noise, time, asked = (batch[name].to(device) for name in ("codes", "noise", "time", "asked"))
    along = time[:, None, None, None]
    between = (noise + along * (codes - noise)).contiguous(memory_format=torch.channels_last)
    return (network(between, time, asked) - (codes - noise)).square().mean()


class FlowLearner:
    """Fits the field of a generator whose decoder is fitted.

    Parameters
    ----------
    generator : FlowGenerator
        Its field is replaced by the fitted one.
    schedule : FlowSchedule
        How long and how fast.
    seed : int
        Of first weights and choices.
    device : torch.device
        Where.
    """

    def __init__(
        self, generator: FlowGenerator, schedule: FlowSchedule, seed: int, device: torch.device
    ) -> None:
        self.generator, self.seed, self.batch = generator.to(device), seed, schedule.batch
        values = {name: value for name, value in asdict(schedule).items() if name != "batch"}
        self.loop: Loop[Mapping[str, Tensor]] = Loop(
            lambda: FlowField(**generator.field_arguments),
            Schedule(**values, seed=seed),
            str(device),
            _flow_loss,
            channels_last=True,
        )

    def fit(self, codes: Codes, held: Codes, folder: Path, listener: Listener) -> FlowGenerator:
        """Fit, or go on from the checkpoint in `folder`; sample sheets are written beside it.

        Returns
        -------
        FlowGenerator
            In evaluation mode, on the CPU, with the field that was best on the held-out codes.
        """
        generator = self.generator
        fixed = list(_fixed_batches(held, generator.classes))

        @torch.no_grad()
        def score(average: nn.Module) -> dict[str, float]:
            average.eval()
            losses = [float(_flow_loss(average, batch)) for batch in fixed]
            generator.field.load_state_dict(average.state_dict())
            sheet = sample_sheet(generator, generator.latent, generator.classes, self.seed)
            write_sheet(folder / "samples" / f"step_{self.loop.state.step:06d}.png", sheet)
            return {"score": -float(np.average(losses, weights=[len(batch["time"]) for batch in fixed]))}

        batches = FlowBatches(codes, generator.classes, self.batch, self.seed)
        field, _ = self.loop.fit(batches, score, folder, listener)
        generator.field.load_state_dict(field.state_dict())
        return generator.cpu().eval()


def _fixed_batches(held: Codes, classes: int) -> Iterator[dict[str, Tensor]]:
    """Held-out codes with times and noises that are the same each time."""
    random = np.random.default_rng(0)
    for _ in range(_SCORED):
        for at in range(0, len(held.values), _AT_ONCE):
            part = slice(at, at + _AT_ONCE)
            yield _flow_batch(held.values[part, 0], held.labels[part], classes, random)
