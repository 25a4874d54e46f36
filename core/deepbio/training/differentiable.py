"""Augmentation that gradients pass through: both networks see real and made-up images changed alike.

After Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training"
(arXiv:2006.10738): few images are then enough, as the discriminator cannot learn them by heart, and
since made-up images are changed in the same ways, the generator does not learn the changes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["CHANGES", "change"]


def change(images: Tensor, random: torch.Generator, names: tuple[str, ...]) -> Tensor:
    """Change each image of a batch (B, C, y, x) at random.

    Parameters
    ----------
    images : Tensor
        Of about -1 to 1.
    random : torch.Generator
        Where the numbers come from.
    names : tuple of str
        Of `CHANGES`, in order.

    Examples
    --------
    >>> change(torch.zeros(2, 3, 8, 8), torch.Generator().manual_seed(1), ("shift", "cut")).abs().max()
    tensor(0.)
    """
    for name in names:
        images = CHANGES[name](images, random)
    return images


def _draw(images: Tensor, random: torch.Generator, low: float, high: float) -> Tensor:
    """A number for each image, ready to be multiplied with it."""
    drawn = torch.rand(len(images), 1, 1, 1, generator=random) * (high - low) + low
    return drawn.to(images.device, images.dtype)


def _colour(images: Tensor, random: torch.Generator) -> Tensor:
    """Brightness, saturation and contrast."""
    images = images + _draw(images, random, -0.25, 0.25)
    if images.shape[1] > 1:
        grey = images.mean(1, keepdim=True)
        images = grey + (images - grey) * _draw(images, random, 0.5, 1.5)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * _draw(images, random, 0.7, 1.3)


def _shift(images: Tensor, random: torch.Generator, part: float = 0.125) -> Tensor:
    """Move by up to an eighth of the edge; zeros come in."""
    height, width = images.shape[2:]
    y, x = (max(1, round(part * n)) for n in (height, width))
    padded = F.pad(images, (x, x, y, y)).permute(0, 2, 3, 1)
    count = len(images)
    top = torch.randint(2 * y + 1, (count, 1, 1), generator=random).to(images.device)
    left = torch.randint(2 * x + 1, (count, 1, 1), generator=random).to(images.device)
    rows = top + torch.arange(height, device=images.device)[None, :, None]
    columns = left + torch.arange(width, device=images.device)[None, None, :]
    which = torch.arange(count, device=images.device)[:, None, None]
    return padded[which, rows, columns].permute(0, 3, 1, 2)


def _cut(images: Tensor, random: torch.Generator, part: float = 0.4) -> Tensor:
    """Set a rectangle to zero."""
    height, width = images.shape[2:]
    centre = torch.rand(2, len(images), 1, generator=random).to(images.device)
    y = (torch.arange(height, device=images.device) + 0.5) / height
    x = (torch.arange(width, device=images.device) + 0.5) / width
    rows = (y[None] - centre[0]).abs() < part / 2
    columns = (x[None] - centre[1]).abs() < part / 2
    hole = rows[:, None, :, None] & columns[:, None, None, :]
    return images.masked_fill(hole, 0.0)


CHANGES = {"colour": _colour, "shift": _shift, "cut": _cut}
"""The changes by name."""
