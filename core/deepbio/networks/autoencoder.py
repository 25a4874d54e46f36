"""Autoencoders: an image becomes a code of a few numbers, and an image again.

Methods: Hinton and Salakhutdinov, Science 313:504 (2006, doi:10.1126/science.1127647); variational:
Kingma and Welling, ICLR 2014 (arXiv:1312.6114).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deepbio.errors import InputMismatch

__all__ = ["Autoencoder", "VariationalAutoencoder"]

_CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INTERPOLATION = {2: "bilinear", 3: "trilinear"}
_SLOPE = 0.01  # of the leaky rectifier


class Autoencoder(nn.Module):
    """A convolutional autoencoder for images of one size.

    Parameters
    ----------
    dims : {2, 3}
        Spatial axes of the images.
    channels : int
        Channels of the image, in and out.
    size : int or sequence of int
        The size of the images, per axis; a multiple of ``2 ** len(features)``.
    features : sequence of int
        Feature maps of each stage; each stage halves the image.
    code : int
        Numbers of the code.

    Examples
    --------
    >>> net = Autoencoder(2, 1, size=(16, 24), features=(8, 16), code=5).eval()
    >>> code = net.encode(torch.zeros(3, 1, 16, 24))
    >>> code.shape, net.decode(code).shape
    (torch.Size([3, 5]), torch.Size([3, 1, 16, 24]))
    """

    spread = 1  # numbers of the encoder for each of the code

    def __init__(
        self,
        dims: int,
        channels: int,
        *,
        size: int | Sequence[int] = 64,
        features: Sequence[int] = (16, 32, 64, 64),
        code: int = 64,
    ) -> None:
        super().__init__()
        self.size = (size,) * dims if isinstance(size, int) else tuple(size)
        step = 2 ** len(features)
        if dims not in _CONV or len(self.size) != dims or code < 1 or any(n % step for n in self.size):
            raise ValueError(
                f"an autoencoder of {len(features)} stages needs 2 or 3 sizes that are multiples of {step} "
                f"and a code of 1 number or more; found dims={dims!r}, size={size!r}, code={code!r}"
            )
        self.dims, self.channels, self.code = dims, channels, code
        self._smallest = (features[-1], *(n // step for n in self.size))
        flat = math.prod(self._smallest)
        down: list[nn.Module] = []
        for inputs, outputs in zip((channels, *features[:-1]), features, strict=True):
            down += [*_layer(dims, inputs, outputs, 2), *_layer(dims, outputs, outputs, 1)]
        self.encoder = nn.Sequential(*down, nn.Flatten())
        self.to_code = nn.Linear(flat, code * self.spread)
        self.from_code = nn.Sequential(nn.Linear(code, flat), nn.LeakyReLU(_SLOPE))
        up: list[nn.Module] = []
        widths = (*reversed(features), features[0])
        for inputs, outputs in itertools.pairwise(widths):
            # interpolation and convolution: transposed convolutions leave a checkerboard
            up += [nn.Upsample(scale_factor=2, mode=_INTERPOLATION[dims]), *_layer(dims, inputs, outputs, 1)]
        self.decoder = nn.Sequential(*up, _CONV[dims](features[0], channels, 3, padding=1))

    def encode(self, x: Tensor) -> Tensor:
        """The code of images.

        Parameters
        ----------
        x : Tensor, shape (N, channels, *size)
            Normalised.

        Returns
        -------
        Tensor, shape (N, code)

        Raises
        ------
        InputMismatch
            If the images have another size.
        """
        return self._encoded(x)

    def _encoded(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and tuple(x.shape[1:]) != (self.channels, *self.size):
            raise InputMismatch(
                f"The images have the shape {tuple(x.shape[1:])}; "
                f"this autoencoder takes {(self.channels, *self.size)}.",
                "Cut or resize them to that size.",
            )
        found: Tensor = self.to_code(self.encoder(x))
        return found

    def decode(self, code: Tensor) -> Tensor:
        """The images of codes.

        Parameters
        ----------
        code : Tensor, shape (N, code)

        Returns
        -------
        Tensor, shape (N, channels, *size)
            Normalised.

        Raises
        ------
        InputMismatch
            If the codes have another length.
        """
        if not torch.compiler.is_compiling() and (code.ndim != 2 or code.shape[1] != self.code):
            raise InputMismatch(
                f"The codes have the shape {tuple(code.shape)}; this autoencoder takes (N, {self.code}).",
                "Take codes of the same model.",
            )
        found: Tensor = self.decoder(self.from_code(code).unflatten(1, self._smallest))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Images after their way through the code; same shape."""
        return self.decode(self.encode(x))

    @property
    def divisor(self) -> tuple[int, ...]:
        """Each spatial size of the input must be a multiple of this: it is the only one."""
        return self.size


class VariationalAutoencoder(Autoencoder):
    """An autoencoder whose codes are distributed normally, so that drawn codes give images.

    Parameters as of `Autoencoder`.

    Examples
    --------
    >>> net = VariationalAutoencoder(2, 1, size=16, features=(8, 16), code=5).eval()
    >>> mean, log_variance = net.distribution(torch.zeros(3, 1, 16, 16))
    >>> mean.shape, log_variance.shape, net.decode(torch.randn(2, 5)).shape
    (torch.Size([3, 5]), torch.Size([3, 5]), torch.Size([2, 1, 16, 16]))
    """

    spread = 2

    def distribution(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the codes of images, each of shape (N, code)."""
        mean, log_variance = self._encoded(x).chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 12.0)

    def encode(self, x: Tensor) -> Tensor:
        """The mean code of images, shape (N, code)."""
        return self.distribution(x)[0]

    def sample(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Draw codes from their distributions."""
        return mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)


def _layer(dims: int, inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [
        _CONV[dims](inputs, outputs, 3, stride, padding=1, bias=False),
        _NORM[dims](outputs),
        nn.LeakyReLU(_SLOPE, inplace=True),
    ]
