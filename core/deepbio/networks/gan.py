"""A class-conditional image generator after StyleGAN2, and its discriminator; both small.

Differences from Karras et al. 2020 (doi:10.1109/CVPR42600.2020.00813): modulation scales the
features instead of the weights (the same result, without a convolution per image, so the network
exports and is fast on a CPU); no noise is put into the layers, so that an image is a function of its
latent alone; the first map is made of the style and is no constant, which learns where things are in
far fewer steps; the discriminator gives a logit per class, of which the class asked for counts, and
says beside it which class it sees (auxiliary classifier).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PatchDiscriminator", "StyleDiscriminator", "StyleGenerator", "spread"]

_SLOPE = 0.2
_GAIN = math.sqrt(2.0)  # keeps the variance through a leaky ReLU
_HALF = math.sqrt(0.5)  # keeps the variance through the sum of two
_EPS = 1e-8
_MAPPING_RATE = 0.1  # of the others': a mapping that runs ahead loses the latent
_FIRST = 4  # edge of the first feature map


class _Linear(nn.Module):
    """Linear layer whose weights are drawn with variance 1 and scaled when used (equalised rate).

    With a `rate` below 1 it learns so many times slower than the others.
    """

    def __init__(
        self, inside: int, outside: int, *, bias: float = 0.0, gain: float = 1.0, rate: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside) / rate)
        self.bias = nn.Parameter(torch.full((outside,), bias / rate))
        self.scale, self.rate = rate * gain / math.sqrt(inside), rate

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


class _Conv(nn.Module):
    """Convolution with an equalised rate; the size stays the same."""

    def __init__(self, inside: int, outside: int, kernel: int = 3, *, gain: float = _GAIN) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outside))
        self.scale = gain / math.sqrt(inside * kernel * kernel)
        self.pad = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.pad)


class _Modulated(nn.Module):
    """Convolution whose input channels a style scales, and whose output has variance 1 again."""

    def __init__(
        self, inside: int, outside: int, style: int, kernel: int = 3, *, demodulate: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outside))
        self.style = _Linear(style, inside, bias=1.0)
        self.scale = 1 / math.sqrt(inside * kernel * kernel)
        self.pad = kernel // 2
        self.demodulate = demodulate

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        weight = self.weight * self.scale
        style = self.style(w)
        x = x * style[:, :, None, None].to(x.dtype)
        if not self.demodulate:
            return F.conv2d(x, weight, self.bias, padding=self.pad)
        y = F.conv2d(x, weight, padding=self.pad)
        power = weight.square().sum((2, 3)).float()
        size = _GAIN * torch.rsqrt(F.linear(style.float().square(), power) + _EPS)
        bias = self.bias[None, :, None, None].to(y.dtype)
        return torch.addcmul(bias, y, size[:, :, None, None].to(y.dtype))


class StyleGenerator(nn.Module):
    """Images from latents: a style, made of latent and class, scales the features of every layer.

    Parameters
    ----------
    latent : int
        Length of the random part of the input.
    classes : int
        Number of classes; the input's last entries say the class as one 1 among zeros.
    out_channels : int
        Channels of the image.
    features : sequence of int
        Channels of a map of 4 x 4, of 8 x 8, and so on.
    style : int
        Length of the style.
    patch : int
        Edge of the patch of pixels that each place of the last map gives: with 2, maps of half the
        image's edge do, which costs a quarter.

    Examples
    --------
    >>> network = StyleGenerator(latent=6, classes=3, features=(8, 8, 4))
    >>> network(torch.zeros(2, 9)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        latent: int = 64,
        classes: int = 1,
        out_channels: int = 3,
        features: Sequence[int] = (128, 128, 128, 96),
        style: int = 128,
        patch: int = 2,
    ) -> None:
        super().__init__()
        if min(latent, classes, out_channels, len(features), patch) < 1:
            raise ValueError(
                f"latent {latent}, classes {classes}, out_channels {out_channels}, {len(features)} sizes, "
                f"patch {patch}: each must be at least 1"
            )
        self.latent, self.classes = latent, classes
        self.patch = patch
        self.edge = _FIRST * 2 ** (len(features) - 1) * patch
        self.embed = _Linear(classes, latent)
        self.mapping = nn.ModuleList(
            [_Linear(n, style, gain=_GAIN, rate=_MAPPING_RATE) for n in (2 * latent, style)]
        )
        self.start = _Linear(style, features[0] * _FIRST * _FIRST, gain=_GAIN)
        self.first = _Modulated(features[0], features[0], style)
        pairs = list(itertools.pairwise(features))
        self.up = nn.ModuleList([_Modulated(a, b, style) for a, b in pairs])
        self.same = nn.ModuleList([_Modulated(b, b, style) for _, b in pairs])
        self.colour = nn.ModuleList(
            [
                _Modulated(n, out_channels * patch * patch, style, kernel, demodulate=False)
                for n, kernel in zip(features, [1] * (len(features) - 1) + [3], strict=True)
            ]
        )

    def style_of(self, x: Tensor) -> Tensor:
        """Styles (B, S) of inputs (B, latent + classes)."""
        z = _unit(x[:, : self.latent])
        w = torch.cat([z, _unit(self.embed(x[:, self.latent :]))], 1)
        for layer in self.mapping:
            w = _active(layer(w))
        return w

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, y, x) of about -1 to 1 from inputs (B, latent + classes)."""
        w = self.style_of(x)
        y = _active(self.start(w)).view(x.shape[0], -1, _FIRST, _FIRST)
        y = y.contiguous(memory_format=torch.channels_last)
        y = _active(self.first(y, w))
        image = self.colour[0](y, w)
        for up, same, colour in zip(self.up, self.same, self.colour[1:], strict=True):
            y = _active(_double(up(y, w)))
            y = _active(same(y, w))
            image = _double(image) + colour(y, w)
        return F.pixel_shuffle(image.float(), self.patch)


class StyleDiscriminator(nn.Module):
    """Real or made up, for each class, and which class it looks like.

    As an encoder, its two outputs are mean and logarithmic variance of a code.

    Parameters
    ----------
    classes : int
        Number of classes, or length of the code.
    in_channels : int
        Channels of the image.
    features : sequence of int
        Channels of a map of 4 x 4, of 8 x 8, and so on, as of the generator.
    patch : int
        As of the generator.

    Examples
    --------
    >>> network = StyleDiscriminator(classes=3, features=(8, 8, 4))
    >>> real, named = network(torch.zeros(2, 3, 32, 32))
    >>> real.shape, named.shape
    (torch.Size([2, 3]), torch.Size([2, 3]))
    """

    def __init__(
        self,
        classes: int = 1,
        in_channels: int = 3,
        features: Sequence[int] = (128, 128, 128, 96),
        patch: int = 2,
    ) -> None:
        super().__init__()
        widths = list(reversed(features))
        self.patch = patch
        self.enter = _Conv(in_channels * patch * patch, widths[0])
        pairs = list(itertools.pairwise(widths))
        self.same = nn.ModuleList([_Conv(a, a) for a, _ in pairs])
        self.down = nn.ModuleList([_Conv(a, b, gain=_GAIN * _HALF) for a, b in pairs])
        self.skip = nn.ModuleList([_Conv(a, b, 1, gain=_HALF) for a, b in pairs])
        last = widths[-1]
        self.last = _Conv(last + 1, last)
        self.dense = _Linear(last * _FIRST * _FIRST, last, gain=_GAIN)
        self.real = _Linear(last, classes)
        self.named = _Linear(last, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of being real (B, K), one a class, and of each class (B, K), of images (B, C, y, x)."""
        y = _active(self.enter(F.pixel_unshuffle(x, self.patch)))
        for same, down, skip in zip(self.same, self.down, self.skip, strict=True):
            short = skip(F.avg_pool2d(y, 2))
            y = _active(down(F.avg_pool2d(_active(same(y)), 2))) + short
        y = _active(self.last(torch.cat([y, spread(y)], 1)))
        y = _active(self.dense(y.flatten(1)))
        return self.real(y).float(), self.named(y).float()


def _unit(x: Tensor) -> Tensor:
    """Vectors of mean square 1."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + _EPS)


def _active(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE, inplace=True)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def spread(x: Tensor, group: int = 4) -> Tensor:
    """How much the images of a group differ, as one more channel: a batch of one kind is made up."""
    size = next(n for n in range(min(group, x.shape[0]), 0, -1) if x.shape[0] % n == 0)
    groups = x.float().view(size, -1, *x.shape[1:])
    spread = (groups.var(0, correction=0) + _EPS).sqrt().mean((1, 2, 3))
    return spread.repeat(size)[:, None, None, None].expand(-1, 1, *x.shape[2:]).to(x.dtype)


class PatchDiscriminator(nn.Module):
    """Real or made up, for each patch of an image (Isola et al. 2017, doi:10.1109/CVPR.2017.632).

    Parameters
    ----------
    in_channels : int
        Channels of the image and of what it was made from.
    features : sequence of int
        Channels after each halving of the edge; three give patches of 38 pixels.

    Examples
    --------
    >>> PatchDiscriminator(6, (8, 8))(torch.zeros(2, 6, 32, 48)).shape
    torch.Size([2, 1, 8, 12])
    """

    def __init__(self, in_channels: int, features: Sequence[int] = (32, 64, 128)) -> None:
        super().__init__()
        inputs = (in_channels, *features[:-1])
        self.down = nn.ModuleList([nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(inputs, features, strict=True)])
        self.last = nn.Conv2d(features[-1], features[-1], 3, padding=1)
        self.real = nn.Conv2d(features[-1], 1, 1)
        for layer in (*self.down, self.last, self.real):
            assert isinstance(layer, nn.Conv2d)  # noqa: S101 - for the type checker
            # torch's own start is so faint that it took hundreds of steps to see anything
            nn.init.kaiming_normal_(layer.weight, _SLOPE)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 1, y / n, x / n) of being real."""
        logits: Tensor = self.real(self.maps(x)[-1])
        return logits

    def maps(self, x: Tensor) -> list[Tensor]:
        """What it sees of images: the feature maps of all layers but the last, from fine to coarse."""
        maps = []
        for layer in (*self.down, self.last):
            x = _active(layer(x))
            maps.append(x)
        return maps
