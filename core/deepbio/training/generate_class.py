"""What a class-conditional generator is trained for: images of each class that pass for real ones.

Half of the images that it makes are of random latents, half of the codes that an encoder gives real
images, which they are to be like (Larsen et al. 2016, arXiv:1512.09300). So it learns what cells look
like from every image, needs far fewer steps than against a discriminator alone, and does not leave
out what is seldom. The encoder is not part of the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepbio.tasks.generate import make_latents
from deepbio.training.adversarial import Batch, Losses
from deepbio.training.differentiable import change

__all__ = ["ClassBatches", "ClassGame", "by_name", "sample_sheet", "side_by_side", "turned"]

_SHEET = 8  # samples of each class on a sheet


@dataclass(frozen=True)
class ClassBatches:
    """Batches of real images, as many of each class, turned and mirrored at random.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, C, y, x)
        Real images.
    labels : ndarray of int, shape (N,)
        Their classes, from 0.
    size : int
        Images in a batch.
    seed : int
        Of the choice.
    turn : bool
        Whether images may be turned and mirrored.
    """

    images: np.ndarray
    labels: np.ndarray
    size: int
    seed: int
    turn: bool

    def __call__(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps `first` to `last`: ``images`` (B, C, y, x) of -1 to 1 and ``labels`` (B,)."""
        members = [np.flatnonzero(self.labels == label) for label in range(int(self.labels.max()) + 1)]
        for step in range(first, last):
            random = np.random.default_rng([self.seed, 1, step])
            # every class in turn, so that rare ones are learned as well
            classes = (np.arange(self.size) + step * self.size) % len(members)
            chosen = [random.choice(members[label]) for label in classes]
            pixels = self.images[chosen]
            if self.turn:
                pixels = np.stack([turned(one, int(random.integers(8))) for one in pixels])
            images = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1)
            order = random.permutation(self.size)  # a group of the discriminator has several classes
            yield {"images": images[order], "labels": torch.from_numpy(classes[order])}


def turned(pixels: np.ndarray, how: int) -> np.ndarray:
    """One of the eight ways, 0 to 7, to lay squares (..., y, x)."""
    laid = np.rot90(pixels, how % 4, (-2, -1))
    return laid[..., ::-1] if how >= 4 else laid


@dataclass(frozen=True)
class ClassGame:
    """Non-saturating losses for the class asked for, and of naming it (auxiliary classifier).

    Attributes
    ----------
    latent, classes : int
        As of the generator.
    changes : tuple of str
        Differentiable augmentation, see `deepbio.training.differentiable`.
    naming : float
        Weight of the cross-entropy of naming the class.
    likeness : float
        Weight of the mean absolute difference of images made of codes from the real ones.
    coding : float
        Weight of how far codes are from random latents (Kullback-Leibler divergence).
    seed : int
        Of the sample sheet.
    """

    latent: int
    classes: int
    changes: tuple[str, ...]
    naming: float
    likeness: float
    coding: float
    seed: int

    def _made(
        self, networks: nn.ModuleDict, batch: Batch, random: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Images; and of the first half, made of codes, the difference and the divergence."""
        labels, half = batch["labels"], len(batch["labels"]) // 2
        z = torch.randn(len(labels), self.latent, generator=random).to(labels.device)
        asked = F.one_hot(labels, self.classes).to(z.dtype)
        if "encoder" not in networks:
            nothing = z.new_zeros(())
            return networks["generator"](torch.cat([z, asked], 1)), nothing, nothing
        real = batch["images"][:half]
        mean, spread = networks["encoder"](_fast(real))
        spread = spread.clamp(-8, 8)
        divergence = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum(1).mean()
        z = torch.cat([mean + z[:half] * (0.5 * spread).exp(), z[half:]])
        images = networks["generator"](torch.cat([z, asked], 1))
        return images, (images[:half] - real).abs().mean(), divergence

    def _judged(
        self, discriminator: nn.Module, images: Tensor, labels: Tensor, random: torch.Generator
    ) -> tuple[list[Tensor], Tensor]:
        """Logits of being a real image of its class, at each scale, and the loss of naming it."""
        real, named = discriminator(_fast(change(images, random, self.changes)))
        scales = real if isinstance(real, list) else [real]
        rows = torch.arange(len(labels), device=labels.device)
        return [one[rows, labels] for one in scales], F.cross_entropy(named, labels)

    def discriminator_loss(
        self, generator: nn.Module, discriminator: nn.Module, batch: Batch, random: torch.Generator
    ) -> Losses:
        """Tell real from made-up, and name the class of real ones."""
        labels = batch["labels"]
        with torch.no_grad():
            made, _, _ = self._made(by_name(generator), batch, random)
        real, naming = self._judged(discriminator, batch["images"], labels, random)
        fake, _ = self._judged(discriminator, made, labels, random)
        loss = _rejected(real) + _rejected([-one for one in fake]) + self.naming * naming
        return {"loss": loss, "naming": naming, "real": _mean(real), "fake": _mean(fake)}

    def generator_loss(
        self, generator: nn.Module, discriminator: nn.Module, batch: Batch, random: torch.Generator
    ) -> Losses:
        """Pass for real, and for the class asked for."""
        made, difference, divergence = self._made(by_name(generator), batch, random)
        fake, naming = self._judged(discriminator, made, batch["labels"], random)
        loss = _rejected(fake) + self.naming * naming
        loss = loss + self.likeness * difference + self.coding * divergence
        return {"loss": loss, "naming": naming, "difference": difference, "divergence": divergence}

    def penalty(self, discriminator: nn.Module, batch: Batch) -> Tensor:
        """R1 on the batch's real images."""
        images = batch["images"].detach().requires_grad_(True)
        real, _ = discriminator(images)
        chosen = real.gather(1, batch["labels"][:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, images, create_graph=True)
        return gradient.square().sum((1, 2, 3)).mean()

    def sheet(self, generator: nn.Module) -> np.ndarray:
        """Eight samples of each class, a row a class."""
        return sample_sheet(by_name(generator)["generator"], self.latent, self.classes, self.seed)


@torch.no_grad()
def sample_sheet(network: nn.Module, latent: int, classes: int, seed: int) -> np.ndarray:
    """Eight samples of each class side by side, a row a class: uint8 (rows, columns[, 3])."""
    labels = np.repeat(np.arange(classes), _SHEET)
    seeds = [seed * 1000 + i for i in range(_SHEET)] * classes
    inputs = torch.from_numpy(make_latents(labels, seeds, latent, classes))
    made = network(inputs.to(next(network.parameters()).device)).cpu().numpy()
    return side_by_side(made.reshape(classes, _SHEET, *made.shape[1:]))


def side_by_side(rows: np.ndarray) -> np.ndarray:
    """Images of -1 to 1 (rows, N, C, y, x) as one picture: uint8 (rows y, N x[, C])."""
    pixels = np.clip(np.round((rows + 1) * 127.5), 0, 255).astype(np.uint8)
    sheet = pixels.transpose(0, 3, 1, 4, 2).reshape(rows.shape[0] * rows.shape[3], -1, rows.shape[2])
    return sheet[:, :, 0] if sheet.shape[2] == 1 else sheet


def _rejected(logits: list[Tensor]) -> Tensor:
    """Loss of logits that should say "real"."""
    return torch.stack([F.softplus(-one).mean() for one in logits]).mean()


def _mean(logits: list[Tensor]) -> Tensor:
    return torch.stack([one.mean() for one in logits]).mean()


def by_name(networks: nn.Module) -> nn.ModuleDict:
    """The networks of one side of a game, by their names."""
    assert isinstance(networks, nn.ModuleDict)  # noqa: S101 - for the type checker
    return networks


def _fast(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)
