"""What a mask-conditional generator is trained for: images that fit their masks and pass for real."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepbio.tasks.conditions import Appearance, make_conditions, object_levels
from deepbio.training.adversarial import Batch, Losses

__all__ = ["Pair", "PairedBatches", "PairedGame"]

_BRIGHTEST = 4.0  # of relative pixels; what lies above is dust or saturation
_CLEAR, _FAINT = 4.0, 0.25  # what texture is to a discriminator, beside the outlines
_SHOWN = 2.0  # relative brightness that is white on a sheet


@dataclass(frozen=True)
class Pair:
    """An image with its mask, in memory.

    Attributes
    ----------
    pixels : ndarray, shape (y, x)
        Relative: 0 is the background, 1 the mean of the objects.
    labels : ndarray of int, shape (y, x)
        Objects.
    appearance : Appearance
        What leads back to pixels.
    """

    pixels: np.ndarray
    labels: np.ndarray
    appearance: Appearance

    @staticmethod
    def of(pixels: np.ndarray, labels: np.ndarray, appearance: Appearance) -> Pair:
        """Make a pair from pixels of 0 to 1."""
        relative = (pixels - appearance.background) / appearance.contrast
        return Pair(np.clip(relative, -1, _BRIGHTEST).astype(np.float16), labels, appearance)


@dataclass(frozen=True)
class PairedBatches:
    """Pieces of pairs, turned and mirrored.

    Attributes
    ----------
    pairs : sequence of Pair
        Real ones.
    edge : int
        Of the pieces; smaller images are continued by their mirror image.
    size, seed : int
        Pieces in a batch, and what their choice follows from.
    """

    pairs: Sequence[Pair]
    edge: int
    size: int
    seed: int

    def __call__(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps `first` to `last`: ``images`` (B, 1, y, x), ``conditions`` (B, 6, y, x)."""
        for step in range(first, last):
            random = np.random.default_rng([self.seed, 2, step])
            made = [self._piece(random) for _ in range(self.size)]
            images, conditions = (torch.from_numpy(np.stack(part)) for part in zip(*made, strict=True))
            yield {"images": images, "conditions": conditions}

    def _piece(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        pair = self.pairs[int(random.integers(len(self.pairs)))]
        # of several places the one with most objects is likelier: empty background teaches little
        places = [self._cut(pair, random) for _ in range(2)]
        pixels, labels = max(places, key=lambda place: float((place[1] > 0).mean()))
        how = int(random.integers(8))
        pixels, labels = (_turned(one, how) for one in (pixels, labels))
        relative = pixels.astype(np.float32)
        labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape) + (labels.min() > 0)
        levels = object_levels(relative, labels)
        return relative[None], make_conditions(labels, levels, pair.appearance.contrast, random)

    def _cut(self, pair: Pair, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        missing = [(0, max(0, self.edge - n)) for n in pair.labels.shape]
        pixels, labels = pair.pixels, pair.labels
        if any(after for _, after in missing):
            pixels, labels = (np.pad(one, missing, mode="symmetric") for one in (pixels, labels))
        top, left = (int(random.integers(n - self.edge + 1)) for n in labels.shape)
        key = (slice(top, top + self.edge), slice(left, left + self.edge))
        return pixels[key], labels[key]


def _turned(plane: np.ndarray, how: int) -> np.ndarray:
    turned = np.rot90(plane, how % 4)
    return np.ascontiguousarray(turned[:, ::-1] if how >= 4 else turned)


@dataclass(frozen=True)
class PairedGame:
    """Non-saturating losses of patches, and the mean absolute difference from the real image.

    Attributes
    ----------
    likeness : float
        Weight of that difference.
    shown : ndarray, shape (N, 7, y, x)
        Conditions of the sheet, and the real image after them.
    """

    likeness: float
    shown: np.ndarray

    def discriminator_loss(
        self, generator: nn.Module, discriminator: nn.Module, batch: Batch, random: torch.Generator
    ) -> Losses:
        """Tell real patches from made-up ones."""
        with torch.no_grad():
            made = generator(batch["conditions"])
        real = discriminator(_both(batch["conditions"], batch["images"])).float()
        fake = discriminator(_both(batch["conditions"], made)).float()
        loss = _weighted(F.softplus(-real) + F.softplus(fake), batch["conditions"])
        return {"loss": loss, "real": real.mean(), "fake": fake.mean()}

    def generator_loss(
        self, generator: nn.Module, discriminator: nn.Module, batch: Batch, random: torch.Generator
    ) -> Losses:
        """Pass for real, near the real image."""
        made = generator(batch["conditions"]).float()
        fake = discriminator(_both(batch["conditions"], made)).float()
        difference = (made - batch["images"]).abs().mean()
        loss = _weighted(F.softplus(-fake), batch["conditions"])
        return {"loss": loss + self.likeness * difference, "difference": difference}

    def penalty(self, discriminator: nn.Module, batch: Batch) -> Tensor:
        """R1 on the batch's real images, per pixel."""
        images = batch["images"].detach().requires_grad_(True)
        real = discriminator(_both(batch["conditions"], images)).mean((1, 2, 3)).sum()
        (gradient,) = torch.autograd.grad(real, images, create_graph=True)
        return gradient.square().sum((1, 2, 3)).mean()

    @torch.no_grad()
    def sheet(self, generator: nn.Module) -> np.ndarray:
        """A row for each mask: the mask, what is made of it, and the real image."""
        device = next(generator.parameters()).device
        conditions = torch.from_numpy(self.shown[:, :-1]).to(device)
        made = generator(conditions)[:, 0].float().cpu().numpy()
        mask = _SHOWN * (self.shown[:, 0] - 0.5 * self.shown[:, 1])
        rows = np.concatenate([mask, made, self.shown[:, -1]], axis=2)
        return np.clip(rows.reshape(-1, rows.shape[2]) * (255 / _SHOWN), 0, 255).astype(np.uint8)


def _both(conditions: Tensor, images: Tensor) -> Tensor:
    """What the discriminator sees: the conditions without noise, and the image."""
    return torch.cat([_FAINT * conditions[:, :-1].to(images.dtype), _CLEAR * images], 1)


def _weighted(losses: Tensor, conditions: Tensor) -> Tensor:
    """Mean over the patches that have objects: empty background is the same in both, and is most of it."""
    weights = F.adaptive_max_pool2d(conditions[:, :1], losses.shape[2:])
    return (losses * weights).sum() / weights.sum().clamp(min=1)
