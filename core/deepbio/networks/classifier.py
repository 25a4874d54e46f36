"""A residual network that says what a 2D or 3D image is.

Method: residual blocks of He et al., CVPR 2016 (doi:10.1109/CVPR.2016.90), with shortcuts that average
before they stride and blocks that start as the identity, as in He et al., CVPR 2019
(doi:10.1109/CVPR.2019.00065); global average pooling, Lin et al., ICLR 2014 (arXiv:1312.4400).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["Classifier", "fold_norms"]

_CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOL: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


class Classifier(nn.Module):
    """Stem, residual stages, global average, one linear layer.

    The parts are ``stem``, ``stages`` (one ``nn.Sequential`` of blocks each) and ``head``. Between the
    last stage and the head an image is one vector, `embed`; the maps of every stage come from `maps`.

    Parameters
    ----------
    dims : {2, 3}
        Spatial axes of the images.
    in_channels, out_channels : int
        Channels of the image, and classes.
    features : sequence of int
        Feature maps of each stage; its length is the number of stages.
    blocks : sequence of int, optional
        Residual blocks of each stage; by default 2.
    strides : sequence of (int or sequence of int), optional
        Downsampling at the entry of the stem, then of each later stage, per axis; by default 2.
    dropout : float
        Part of the pooled vector that is set to 0 while training.
    norm : {"batch", "none"}
        Normalisation after each convolution; "none" for a trained network (`fold_norms`).

    Examples
    --------
    >>> import torch
    >>> network = Classifier(2, 3, 8, features=(8, 16), blocks=(1, 1)).eval()
    >>> image = torch.zeros(1, 3, 21, 37)
    >>> network(image).shape, network.embed(image).shape
    (torch.Size([1, 8]), torch.Size([1, 16]))
    >>> {name: tuple(one.shape[1:]) for name, one in network.maps(image).items()}
    {'stem': (8, 11, 19), 'stages.0': (8, 11, 19), 'stages.1': (16, 6, 10)}
    """

    def __init__(
        self,
        dims: int,
        in_channels: int,
        out_channels: int,
        *,
        features: Sequence[int] = (32, 64, 128, 192),
        blocks: Sequence[int] | None = None,
        strides: Sequence[int | Sequence[int]] | None = None,
        dropout: float = 0.0,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if dims not in _CONV or norm not in ("batch", "none") or not features:
            raise ValueError(f"no classifier with dims={dims!r}, norm={norm!r}, features={features!r}")
        stages = len(features)
        blocks = tuple(blocks or (2,) * stages)
        if len(blocks) != stages or min(blocks) < 1:
            raise ValueError(f"{stages} stages need {stages} positive numbers of blocks, found {blocks}")
        self.dims, self.in_channels, self.out_channels = dims, in_channels, out_channels
        self.features, self.blocks = tuple(features), blocks
        self.strides = _per_stage(strides or (2,) * stages, stages, dims)
        self.stem = nn.Sequential(
            _convolution(dims, in_channels, features[0], 3, self.strides[0], norm), nn.ReLU(inplace=True)
        )
        inputs = (features[0], *features[:-1])
        entries = ((1,) * dims, *self.strides[1:])
        self.stages = nn.Sequential(
            *(_stage(dims, (inputs[i], features[i]), entries[i], blocks[i], norm) for i in range(stages))
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features[-1], out_channels)
        self.apply(_initialise)
        for block in self.modules():
            if isinstance(block, Block) and norm == "batch":
                last: Any = block.body[-1]
                nn.init.zeros_(last[1].weight)  # each block starts as its shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Compute scores.

        Parameters
        ----------
        x : Tensor, shape (N, in_channels, [z,] y, x)
            Normalised images of any size.

        Returns
        -------
        Tensor, shape (N, out_channels)
            Scores before softmax.
        """
        scores: Tensor = self.head(self.dropout(self.embed(x)))
        return scores

    def embed(self, x: Tensor) -> Tensor:
        """The vector of each image before the last layer, shape (N, features[-1])."""
        pooled: Tensor = self.stages(self.stem(x)).flatten(2).mean(2)
        return pooled

    def maps(self, x: Tensor) -> dict[str, Tensor]:
        """Feature maps after the stem and each stage, by the name of the module."""
        found = {"stem": self.stem(x)}
        last = found["stem"]
        for number, stage in enumerate(self.stages):
            last = found[f"stages.{number}"] = stage(last)
        return found

    @property
    def divisor(self) -> tuple[int, ...]:
        """Pixels of the image for one of the last map, per axis."""
        return tuple(math.prod(stride[axis] for stride in self.strides) for axis in range(self.dims))


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, dims: int, inputs: int, outputs: int, stride: tuple[int, ...], norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(dims, inputs, outputs, 3, stride, norm),
            nn.ReLU(inplace=True),
            _convolution(dims, outputs, outputs, 3, (1,) * dims, norm),
        )
        shortcut: list[nn.Module] = []
        if set(stride) != {1}:
            # a size that the stride does not divide ends as the convolution's does
            shortcut.append(_POOL[dims](stride, stride, ceil_mode=True, count_include_pad=False))
        if inputs != outputs or shortcut:
            shortcut.append(_convolution(dims, inputs, outputs, 1, (1,) * dims, norm))
        self.shortcut = nn.Sequential(*shortcut)
        self.rectifier = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.rectifier(self.body(x) + self.shortcut(x))
        return result


def _stage(
    dims: int, channels: tuple[int, int], stride: tuple[int, ...], count: int, norm: str
) -> nn.Sequential:
    inputs, outputs = channels
    first = Block(dims, inputs, outputs, stride, norm)
    return nn.Sequential(first, *(Block(dims, outputs, outputs, (1,) * dims, norm) for _ in range(count - 1)))


def _convolution(
    dims: int, inputs: int, outputs: int, kernel: int, stride: tuple[int, ...], norm: str
) -> nn.Sequential:
    """Convolution and normalisation, without the rectifier."""
    padding = kernel // 2
    if norm == "none":
        return nn.Sequential(_CONV[dims](inputs, outputs, kernel, stride, padding))
    return nn.Sequential(
        _CONV[dims](inputs, outputs, kernel, stride, padding, bias=False), _NORM[dims](outputs)
    )


def _per_stage(values: Sequence[int | Sequence[int]], stages: int, dims: int) -> tuple[tuple[int, ...], ...]:
    """Spell out one stride per stage and axis."""
    spelt = tuple((v,) * dims if isinstance(v, int) else tuple(v) for v in values)
    if len(spelt) != stages or any(len(v) != dims or min(v) < 1 for v in spelt):
        raise ValueError(f"{stages} stages need {stages} strides, each of {dims} axes; found {values}")
    return spelt


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def fold_norms(network: Classifier) -> Classifier:
    """Return the network for prediction: batch normalisation folded into the convolutions.

    It gives the same scores with fewer operations; its parameters are those of
    ``Classifier(..., norm="none")``.

    Parameters
    ----------
    network : Classifier
        Trained, in evaluation mode.

    Returns
    -------
    Classifier
        A copy.
    """
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Sequential) and len(child) == 2:
                conv: Any = child[0]
                if isinstance(child[1], nn.BatchNorm2d | nn.BatchNorm3d):
                    setattr(module, name, nn.Sequential(fuse_conv_bn_eval(conv, child[1])))
    return folded
