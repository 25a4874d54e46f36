"""A U-Net for 2D and 3D images with a plain or residual encoder.

Method: Ronneberger et al., MICCAI 2015 (doi:10.1007/978-3-319-24574-4_28); strided
convolutions, per-stage strides and deep supervision as in nnU-Net, Isensee et al., Nature
Methods 18:203 (2021, doi:10.1038/s41592-020-01008-z); the encoder "pooled" as in its residual
presets (Isensee et al., MICCAI 2024, doi:10.1007/978-3-031-72114-4_47), with the shortcuts of He et al.,
CVPR 2019 (doi:10.1109/CVPR.2019.00065).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["UNet", "fold_norms"]

_CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
_POOL: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
_UP: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORM: dict[tuple[str, int], Any] = {
    ("batch", 2): nn.BatchNorm2d,
    ("batch", 3): nn.BatchNorm3d,
    ("instance", 2): nn.InstanceNorm2d,
    ("instance", 3): nn.InstanceNorm3d,
}
_NORMS = ("batch", "instance", "none")
_SLOPE = 0.01  # of the leaky rectifier


class UNet(nn.Module):
    """Encoder and decoder with skip connections.

    Parameters
    ----------
    dims : {2, 3}
        Spatial axes of the images.
    in_channels, out_channels : int
        Channels of the image and of the scores.
    features : sequence of int
        Feature maps of each stage; its length is the number of stages.
    strides : sequence of (int or sequence of int), optional
        Downsampling at the entry of each stage, per axis; by default 1, then 2 everywhere.
    kernels : sequence of (int or sequence of int), optional
        Kernel size of each stage, per axis (odd); by default 3.
    convs : sequence of int, optional
        Convolutions (plain) or residual blocks (others) in each encoder stage; by default 2.
    decoder_convs : int
        Convolutions in each decoder stage.
    encoder : {"plain", "residual", "pooled"}
        Kind of encoder stage: "residual" has a strided convolution in its shortcuts, "pooled" the mean of
        the pixels (and a convolution where the features become more), and a convolution before all
        stages.
    norm : {"batch", "instance", "none"}
        Normalisation after each convolution. With "batch" the scores of a pixel do not depend
        on the tile that it lies in, beyond the receptive field. "none" is for a trained network
        whose batch normalisation was folded into its convolutions (`fold_norms`).
    deep_supervision : bool
        In training mode, return scores at every decoder resolution but the two coarsest.

    Examples
    --------
    >>> net = UNet(2, 3, 4, features=(8, 16, 16)).eval()
    >>> net(torch.zeros(1, 3, 20, 36)).shape, net.divisor
    (torch.Size([1, 4, 20, 36]), (4, 4))
    """

    def __init__(  # noqa: PLR0913 - a card names them one by one
        self,
        dims: int,
        in_channels: int,
        out_channels: int,
        *,
        features: Sequence[int] = (32, 64, 128, 256, 320),
        strides: Sequence[int | Sequence[int]] | None = None,
        kernels: Sequence[int | Sequence[int]] | None = None,
        convs: Sequence[int] | None = None,
        decoder_convs: int = 2,
        encoder: str = "plain",
        norm: str = "batch",
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        stages = len(features)
        if dims not in _CONV or norm not in _NORMS or encoder not in _STAGES:
            raise ValueError(f"no U-Net with dims={dims!r}, norm={norm!r}, encoder={encoder!r}")
        self.dims, self.in_channels, self.out_channels = dims, in_channels, out_channels
        self.strides = _per_stage(strides or (1,) + (2,) * (stages - 1), stages, dims, "strides")
        self.kernels = _per_stage(kernels or (3,) * stages, stages, dims, "kernels")
        convs = tuple(convs or (2,) * stages)
        if len(convs) != stages or min(convs) < 1 or decoder_convs < 1:
            raise ValueError(f"{stages} stages need {stages} positive numbers of convolutions, found {convs}")
        if any(k % 2 == 0 for kernel in self.kernels for k in kernel):
            raise ValueError(f"kernel sizes must be odd, found {self.kernels}")
        self.convs, self.decoder_convs, self.encoder_kind = convs, decoder_convs, encoder
        self.deep_supervision = deep_supervision

        stem = encoder == "pooled"  # lies in the first stage, before its blocks
        inputs = (features[0] if stem else in_channels, *features[:-1])
        self.encoder = nn.ModuleList(
            _STAGES[encoder](dims, inputs[i], features[i], self.kernels[i], self.strides[i], convs[i], norm)
            for i in range(stages)
        )
        if stem:
            first = _plain_stage(dims, in_channels, features[0], self.kernels[0], (1,) * dims, 1, norm)
            self.encoder[0] = nn.Sequential(*first, *self.encoder[0].children())
        self.up = nn.ModuleList(
            _UP[dims](features[i + 1], features[i], self.strides[i + 1], self.strides[i + 1])
            for i in range(stages - 1)
        )
        self.decoder = nn.ModuleList(
            _plain_stage(
                dims, 2 * features[i], features[i], self.kernels[i], (1,) * dims, decoder_convs, norm
            )
            for i in range(stages - 1)
        )
        heads = max(1, stages - 2) if deep_supervision else 1
        self.heads = nn.ModuleList(_CONV[dims](features[i], out_channels, 1) for i in range(heads))
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Compute scores.

        Parameters
        ----------
        x : Tensor, shape (N, in_channels, [z,] y, x)
            Normalised images; each size a multiple of `divisor`.

        Returns
        -------
        Tensor, shape (N, out_channels, [z,] y, x)
            Scores before any activation; in training mode with deep supervision a list of
            them, finest first.
        """
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        scores: list[Tensor] = []
        supervised = len(self.heads) if self.training else 1
        for i in reversed(range(len(self.up))):
            x = self.decoder[i](torch.cat((self.up[i](x), skips[i]), dim=1))
            if i < supervised:
                scores.insert(0, self.heads[i](x))
        return scores if self.training and self.deep_supervision else scores[0]

    @property
    def divisor(self) -> tuple[int, ...]:
        """Each spatial size of the input must be a multiple of this, per axis."""
        return tuple(math.prod(stride[axis] for stride in self.strides) for axis in range(self.dims))

    @property
    def receptive_field(self) -> tuple[int, ...]:
        """Pixels that can influence one score, per axis (the widest path, through the bottom)."""
        return tuple(self._receptive_field(axis) for axis in range(self.dims))

    def _receptive_field(self, axis: int) -> int:
        """Follow one score down the decoder and up the encoder, at the worst alignment."""
        stages = range(len(self.strides))
        width = 1
        for stage in stages[:-1]:
            width += (self.kernels[stage][axis] - 1) * self.decoder_convs
            width = -(-(width - 1) // self.strides[stage + 1][axis]) + 1
        for stage in reversed(stages):
            blocks = self.convs[stage] * (1 if self.encoder_kind == "plain" else 2)
            grow = self.kernels[stage][axis] - 1
            width += grow * (blocks - 1)
            width = (width - 1) * self.strides[stage][axis] + 1 + grow  # the first one strides
        stem = self.encoder_kind == "pooled"
        return width + (self.kernels[0][axis] - 1 if stem else 0)


def _per_stage(
    values: Sequence[int | Sequence[int]], stages: int, dims: int, what: str
) -> tuple[tuple[int, ...], ...]:
    """Spell out one value per stage and axis."""
    spelt = tuple((v,) * dims if isinstance(v, int) else tuple(v) for v in values)
    if len(spelt) != stages or any(len(v) != dims or min(v) < 1 for v in spelt):
        raise ValueError(
            f"{what} must have one entry per stage ({stages}), each of {dims} axes; found {values}"
        )
    return spelt


def _convolution(
    dims: int, inputs: int, outputs: int, kernel: tuple[int, ...], stride: tuple[int, ...], norm: str
) -> nn.Sequential:
    """Convolution and normalisation, without the rectifier."""
    padding = tuple(k // 2 for k in kernel)
    if norm == "none":
        return nn.Sequential(_CONV[dims](inputs, outputs, kernel, stride, padding))
    return nn.Sequential(
        _CONV[dims](inputs, outputs, kernel, stride, padding, bias=False),
        _NORM[norm, dims](outputs, affine=True),
    )


def _plain_stage(
    dims: int,
    inputs: int,
    outputs: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    count: int,
    norm: str,
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(count):
        step = stride if i == 0 else (1,) * dims
        layers += [
            _convolution(dims, inputs if i == 0 else outputs, outputs, kernel, step, norm),
            nn.LeakyReLU(_SLOPE, inplace=True),
        ]
    return nn.Sequential(*layers)


class _ResidualBlock(nn.Module):
    """Two convolutions and a shortcut: He et al., CVPR 2016 (doi:10.1109/CVPR.2016.90).

    With `pool` the shortcut averages instead of striding.
    """

    def __init__(
        self,
        dims: int,
        inputs: int,
        outputs: int,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        norm: str,
        *,
        pool: bool = False,
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(dims, inputs, outputs, kernel, stride, norm),
            nn.LeakyReLU(_SLOPE, inplace=True),
            _convolution(dims, outputs, outputs, kernel, (1,) * dims, norm),
        )
        if pool:
            self.shortcut: nn.Module = _pooled_shortcut(dims, inputs, outputs, stride, norm)
        elif inputs == outputs and set(stride) == {1}:
            self.shortcut = nn.Identity()
        else:
            self.shortcut = _convolution(dims, inputs, outputs, (1,) * dims, stride, norm)
        self.rectifier = nn.LeakyReLU(_SLOPE, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.rectifier(self.body(x) + self.shortcut(x))
        return result


def _pooled_shortcut(
    dims: int, inputs: int, outputs: int, stride: tuple[int, ...], norm: str
) -> nn.Sequential:
    parts: list[nn.Module] = []
    if set(stride) != {1}:
        parts.append(_POOL[dims](stride, stride))
    if inputs != outputs:
        parts.append(_convolution(dims, inputs, outputs, (1,) * dims, (1,) * dims, norm))
    return nn.Sequential(*parts)


def _residual_stage(
    dims: int,
    inputs: int,
    outputs: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    count: int,
    norm: str,
    *,
    pool: bool = False,
) -> nn.Sequential:
    first = _ResidualBlock(dims, inputs, outputs, kernel, stride, norm, pool=pool)
    rest = [
        _ResidualBlock(dims, outputs, outputs, kernel, (1,) * dims, norm, pool=pool) for _ in range(count - 1)
    ]
    return nn.Sequential(first, *rest)


_STAGES: dict[str, Any] = {
    "plain": _plain_stage,
    "residual": _residual_stage,
    "pooled": partial(_residual_stage, pool=True),
}


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def fold_norms(network: UNet) -> UNet:
    """Return the network for prediction: batch normalisation folded into the convolutions.

    It gives the same scores with fewer operations and has no heads for deep supervision; its
    parameters are those of ``UNet(..., norm="none", deep_supervision=False)``.

    Parameters
    ----------
    network : UNet
        Trained, in evaluation mode.

    Returns
    -------
    UNet
        A copy; with instance normalisation, which cannot be folded, only the heads are dropped.
    """
    folded = copy.deepcopy(network).eval()
    folded.heads, folded.deep_supervision = folded.heads[:1], False
    for module in list(folded.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Sequential) and len(child) == 2:
                conv: Any = child[0]
                if isinstance(child[1], nn.BatchNorm2d | nn.BatchNorm3d):
                    setattr(module, name, nn.Sequential(fuse_conv_bn_eval(conv, child[1])))
    return folded
