"""What an unpaired translator is trained for: images of one kind that pass for the other, and come back.

After Zhu et al. 2017 (doi:10.1109/ICCV.2017.244): there is no pair of images to compare, so what is
translated there and back must be the image again, and an image that is of the other kind already stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepbio.training.adversarial import Batch, Losses
from deepbio.training.generate_class import turned

__all__ = ["CycleBatches", "CycleGame"]

_SAME = 0.5  # weight of leaving an image of the other kind alone, over that of coming back


@dataclass(frozen=True)
class CycleBatches:
    """Images of both kinds, turned and mirrored, nothing that belongs together.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, C, y, x)
        Of both kinds.
    labels : ndarray of int, shape (N,)
        0 for the kind to start from, 1 for the other.
    size, seed : int
        Images of each kind in a batch, and what their choice follows from.
    turn : bool
        Whether images may be turned and mirrored.
    """

    images: np.ndarray
    labels: np.ndarray
    size: int
    seed: int
    turn: bool

    def __call__(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps `first` to `last`: ``images`` and ``others``, (B, C, y, x) of -1 to 1."""
        members = [np.flatnonzero(self.labels == label) for label in (0, 1)]
        for step in range(first, last):
            random = np.random.default_rng([self.seed, 3, step])
            made = []
            for some in members:
                pixels = self.images[random.choice(some, self.size)]
                how = int(random.integers(8)) if self.turn else 0
                made.append(torch.from_numpy(turned(pixels, how).astype(np.float32) / 127.5 - 1))
            yield {"images": made[0], "others": made[1]}


@dataclass(frozen=True)
class CycleGame:
    """Non-saturating losses of patches both ways, and the mean absolute difference after coming back.

    Generators and discriminators are each two, called ``there`` and ``back``.

    Attributes
    ----------
    likeness : float
        Weight of coming back.
    shown : ndarray, shape (N, C, y, x)
        Images of the kind to start from, for the sheet.
    """

    likeness: float
    shown: np.ndarray

    def discriminator_loss(
        self, generator: nn.Module, discriminator: nn.Module, batch: Batch, random: torch.Generator
    ) -> Losses:
        """Tell real patches from translated ones, of both kinds."""
        networks, rivals = _two(generator), _two(discriminator)
        with torch.no_grad():
            made = {"there": networks["there"](batch["images"]), "back": networks["back"](batch["others"])}
        true = {"there": batch["others"], "back": batch["images"]}
        real = {way: rivals[way](true[way]).float() for way in made}
        fake = {way: rivals[way](made[way]).float() for way in made}
        losses = [F.softplus(-real[way]).mean() + F.softplus(fake[way]).mean() for way in made]
        return {"loss": torch.stack(losses).sum(), "real": real["there"].mean(), "fake": fake["there"].mean()}

    def generator_loss(
        self, generator: nn.Module, discriminator: nn.Module, batch: Batch, random: torch.Generator
    ) -> Losses:
        """Pass for real both ways, come back, and leave alone what is of that kind already."""
        networks, rivals = _two(generator), _two(discriminator)
        one, two = batch["images"], batch["others"]
        there, back = networks["there"](one), networks["back"](two)
        passing = [
            F.softplus(-rivals[w](made).float()).mean() for w, made in (("there", there), ("back", back))
        ]
        cycle = _difference(networks["back"](there), one) + _difference(networks["there"](back), two)
        same = _difference(networks["there"](two), two) + _difference(networks["back"](one), one)
        loss = torch.stack(passing).sum() + self.likeness * (cycle + _SAME * same)
        return {"loss": loss, "cycle": cycle, "same": same}

    def penalty(self, discriminator: nn.Module, batch: Batch) -> Tensor:
        """R1 on the real images of both kinds."""
        rivals = _two(discriminator)
        found = []
        for way, real in (("there", batch["others"]), ("back", batch["images"])):
            images = real.detach().requires_grad_(True)
            logits = rivals[way](images).mean((1, 2, 3)).sum()
            (gradient,) = torch.autograd.grad(logits, images, create_graph=True)
            found.append(gradient.square().sum((1, 2, 3)).mean())
        return torch.stack(found).sum()

    @torch.no_grad()
    def sheet(self, generator: nn.Module) -> np.ndarray:
        """A row for each image: itself, translated, and back again."""
        networks = _two(generator)
        one = torch.from_numpy(self.shown).to(next(generator.parameters()).device)
        there = networks["there"](one)
        rows = torch.cat([one, there, networks["back"](there)], 3).float().cpu().numpy()
        pixels = np.clip(np.round((rows + 1) * 127.5), 0, 255).astype(np.uint8)
        sheet = pixels.transpose(0, 2, 3, 1).reshape(-1, pixels.shape[3], pixels.shape[1])
        return sheet[:, :, 0] if sheet.shape[2] == 1 else sheet


def _difference(one: Tensor, two: Tensor) -> Tensor:
    return (one - two).abs().mean()


def _two(networks: nn.Module) -> nn.ModuleDict:
    """The networks there and back."""
    assert isinstance(networks, nn.ModuleDict)  # noqa: S101 - for the type checker
    return networks
