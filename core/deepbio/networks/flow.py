"""Images from noise by a flow of codes: a field moves noise to a code, a decoder makes the image.

Rectified flow (Liu et al. 2023, arXiv:2209.03003; Lipman et al. 2023, arXiv:2210.02747) among the
codes of an autoencoder (Rombach et al. 2022, doi:10.1109/CVPR52688.2022.01042), with guidance without
a classifier (Ho and Salimans 2022, arXiv:2207.12598). The steps of the flow are inside the network,
so that to a card, a runtime and a front end it is a function of a latent and a class as any other
generator is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CodeDecoder", "CodeEncoder", "FlowField", "FlowGenerator"]

_PATCH = 2  # edge of the patch of pixels that is one place of the largest map
_GROUP = 8  # channels that are normalised together
_LONGEST = 100.0  # of the waves that tell the time; it runs from 0 to 1
_MOMENTUM = 0.1  # momentum of the codes' running statistics


class _Block(nn.Module):
    """Two convolutions beside a shortcut; what is known of the image scales and shifts between them."""

    def __init__(self, channels: int, known: int = 0) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.between = _norm(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.known = nn.Linear(known, 2 * channels) if known else None
        nn.init.zeros_(self.second.weight)  # at first nothing but the shortcut

    def forward(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        y = self.between(self.first(F.silu(self.norm(x))))
        if self.known is not None and known is not None:
            scale, shift = self.known(known)[:, :, None, None].chunk(2, 1)
            y = torch.addcmul(shift, y, 1 + scale)
        return x + self.second(F.silu(y))


class CodeEncoder(nn.Module):
    """Images to maps of a few channels, each of mean 0 and variance 1 over the images learned from.

    Parameters
    ----------
    channels : int
        Of the image.
    code : int
        Channels of the code.
    features : sequence of int
        Channels of the map of the code's size, of twice that, and so on; the last has half the image's edge.

    Examples
    --------
    >>> CodeEncoder(3, code=4, features=(16, 8)).eval()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(self, channels: int = 3, code: int = 8, features: Sequence[int] = (128, 96, 48)) -> None:
        super().__init__()
        widths = list(reversed(features))
        self.enter = nn.Conv2d(channels * _PATCH**2, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList([_Block(n) for n in widths])
        self.down = nn.ModuleList(
            [nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths)]
        )
        self.leave = nn.Sequential(_norm(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], code, 3, padding=1))
        self.scaled = nn.BatchNorm2d(code, affine=False, momentum=_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """Codes (B, code, y / n, x / n) of images (B, C, y, x)."""
        y = self.enter(F.pixel_unshuffle(x, _PATCH))
        for number, block in enumerate(self.blocks):
            y = block(y)
            if number < len(self.down):
                y = self.down[number](y)
        codes: Tensor = self.scaled(self.leave(y).float())
        return codes


class CodeDecoder(nn.Module):
    """Codes to images; the parameters are those of `CodeEncoder`.

    Examples
    --------
    >>> CodeDecoder(3, code=4, features=(16, 8))(torch.zeros(2, 4, 8, 8)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, channels: int = 3, code: int = 8, features: Sequence[int] = (128, 96, 48)) -> None:
        super().__init__()
        self.enter = nn.Conv2d(code, features[0], 3, padding=1)
        self.blocks = nn.ModuleList([nn.Sequential(_Block(n), _Block(n)) for n in features])
        self.up = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(features)])
        self.leave = nn.Sequential(
            _norm(features[-1]), nn.SiLU(), nn.Conv2d(features[-1], channels * _PATCH**2, 3, padding=1)
        )

    def forward(self, codes: Tensor) -> Tensor:
        """Images (B, C, n y, n x) of about -1 to 1 from codes (B, code, y, x)."""
        y = self.enter(codes)
        for number, block in enumerate(self.blocks):
            y = block(y)
            if number < len(self.up):
                y = self.up[number](F.interpolate(y, scale_factor=2, mode="nearest"))
        return F.pixel_shuffle(self.leave(y).float(), _PATCH)


class FlowField(nn.Module):
    """Which way, and how far, a code on its way from noise is to go: a small U-Net.

    Parameters
    ----------
    code, classes : int
        Channels of the code; classes.
    features : (int, int)
        Channels at the code's size, and at half of it; as many numbers as the latter tell time and class to
        every block.

    Examples
    --------
    >>> field = FlowField(code=4, classes=3, features=(16, 16))
    >>> field(torch.zeros(2, 4, 8, 8), torch.tensor([0.0, 0.5]), torch.eye(3)[:2]).shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(self, code: int = 8, classes: int = 1, features: Sequence[int] = (96, 160)) -> None:
        super().__init__()
        wide, deep = features
        known = deep
        self.waves = known // 2
        self.time = nn.Sequential(nn.Linear(2 * self.waves, known), nn.SiLU(), nn.Linear(known, known))
        self.named = nn.Linear(classes, known, bias=False)
        self.enter = nn.Conv2d(code, wide, 3, padding=1)
        self.before = nn.ModuleList([_Block(wide, known) for _ in range(2)])
        self.down = nn.Conv2d(wide, deep, 3, stride=2, padding=1)
        self.inside = nn.ModuleList([_Block(deep, known) for _ in range(3)])
        self.up = nn.Conv2d(deep, wide, 3, padding=1)
        self.join = nn.Conv2d(2 * wide, wide, 1)
        self.after = nn.ModuleList([_Block(wide, known) for _ in range(2)])
        self.leave = nn.Sequential(_norm(wide), nn.SiLU(), nn.Conv2d(wide, code, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor, asked: Tensor) -> Tensor:
        """Velocities (B, code, y, x) at codes x (B, code, y, x) at times (B,) from 0, noise, to 1.

        `asked` (B, classes) says the class as a 1 among zeros; all zeros are any class.
        """
        known = F.silu(self.time(_waves(time, self.waves)) + self.named(asked))
        y = self.enter(x)
        for block in self.before:
            y = block(y, known)
        short, y = y, self.down(y)
        for block in self.inside:
            y = block(y, known)
        y = self.up(F.interpolate(y, scale_factor=2, mode="nearest"))
        y = self.join(torch.cat([short, y], 1))
        for block in self.after:
            y = block(y, known)
        moved: Tensor = self.leave(y).float()
        return moved


class FlowGenerator(nn.Module):
    """Images from latents and classes, through the flow.

    Parameters
    ----------
    classes, channels : int
        Classes; channels of the image.
    code, edge : int
        Channels and edge of the code; the latent has ``code * edge * edge`` numbers. The edge is even.
    features : sequence of int
        Of the decoder, see `CodeDecoder`.
    field : (int, int)
        Of the field, see `FlowField`.
    steps : int
        From noise to code.
    guidance : float
        How far the class is stressed: 1 is as learned, and takes half the time.

    Examples
    --------
    >>> network = FlowGenerator(3, 1, code=2, edge=4, features=(8, 8), field=(8, 8), steps=2)
    >>> network.latent, network(torch.zeros(2, 35)).shape
    (32, torch.Size([2, 1, 16, 16]))
    """

    def __init__(
        self,
        classes: int = 1,
        channels: int = 3,
        *,
        code: int = 8,
        edge: int = 8,
        features: Sequence[int] = (128, 96, 48),
        field: Sequence[int] = (96, 160),
        steps: int = 20,
        guidance: float = 1.0,
    ) -> None:
        super().__init__()
        if min(classes, channels, code, len(features), steps) < 1 or edge < 2 or edge % 2:
            raise ValueError(
                f"classes {classes}, channels {channels}, code {code}, {len(features)} sizes, steps {steps}: each must "
                f"be at least 1, and the edge {edge} even"
            )
        self.classes, self.edge, self.code = classes, edge, code
        self.latent = code * edge * edge
        self.steps, self.guidance = steps, guidance
        self.field_arguments: dict[str, Any] = {
            "code": code,
            "classes": classes,
            "features": tuple(field),
        }
        self.field = FlowField(**self.field_arguments)
        self.decoder = CodeDecoder(channels, code, features)

    def flow(self, x: Tensor, asked: Tensor) -> Tensor:
        """Codes (B, code, y, x) that noise of that shape flows to."""
        for step in range(self.steps):
            x = self.step(x, x.new_full((1,), step / self.steps).expand(x.shape[0]), asked)
        return x

    def step(self, x: Tensor, time: Tensor, asked: Tensor) -> Tensor:
        """Codes a step further, from times (B,)."""
        moved = self.field(x, time, asked)
        if self.guidance != 1:
            general = self.field(x, time, torch.zeros_like(asked))
            moved = general + self.guidance * (moved - general)
        further: Tensor = x + moved / self.steps
        return further

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, y, x) of about -1 to 1 from inputs (B, latent + classes)."""
        noise = x[:, : self.latent].reshape(-1, self.code, self.edge, self.edge)
        noise = noise.contiguous(memory_format=torch.channels_last)
        images: Tensor = self.decoder(self.flow(noise, x[:, self.latent :]))
        return images


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(_GROUP, channels), channels)


def _waves(time: Tensor, count: int) -> Tensor:
    """Sines and cosines (B, 2 count) of times (B,), from slow to fast."""
    rates = torch.logspace(0, 1, count, _LONGEST, device=time.device)
    angles = time[:, None] * rates[None]
    return torch.cat([angles.sin(), angles.cos()], 1)
