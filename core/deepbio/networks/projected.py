"""A discriminator that sees images as a trained classifier does.

Method: Sauer et al., NeurIPS 2021, "Projected GANs Converge Faster" (arXiv:2111.01007): the features of a network that
knows such images, mixed across channels and scales by random convolutions that stay as they are, and a small
trained head at each scale. Many times fewer images are needed than by a discriminator that begins with nothing. Here
one more head sees the pixels themselves, since a classifier does not mind fine patterns that no camera makes, and
the coarsest sees how much the images of a group differ, as in StyleGAN2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from deepbio.networks.classifier import Classifier
from deepbio.networks.gan import spread

__all__ = ["ProjectedDiscriminator"]

_SLOPE = 0.2
_LAST = 6  # edge of the map that a head judges, at most
_PATCH = 2  # pixels together, as generators make them


class ProjectedDiscriminator(nn.Module):
    """Real or made up, for each class, at several scales and in the pixels; and which class the classifier sees.

    Parameters
    ----------
    classes : int
        Number of classes.
    judge : mapping
        Arguments of the trained `Classifier`, whose weights are loaded into ``judge`` and stay.
    edge : int
        Edge in pixels at which the classifier looks at images.
    mean, std : sequence of float
        Of each channel, in bytes: what the classifier's normalisation takes away and divides by.
    width : int
        Channels of the mixed features.
    order : sequence of int, optional
        The classifier's number of each class; by default the same.

    Examples
    --------
    >>> judge = {"dims": 2, "in_channels": 3, "out_channels": 2, "features": (4, 8), "blocks": (1, 1)}
    >>> network = ProjectedDiscriminator(2, judge, 48, (128.0,) * 3, (50.0,) * 3, width=6)
    >>> real, named = network(torch.zeros(5, 3, 32, 32))
    >>> [tuple(one.shape) for one in real], named.shape
    ([(5, 2, 4, 4), (5, 2, 6, 6), (5, 2, 6, 6)], torch.Size([5, 2]))
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        classes: int,
        judge: Mapping[str, Any],
        edge: int,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        width: int = 64,
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.judge = Classifier(**judge)
        self.edge, self.order = edge, list(order) if order is not None else list(range(classes))
        for name, values in (("mean", mean), ("std", std)):
            # of images of -1 to 1
            shift = 127.5 if name == "mean" else 0.0
            numbers = (torch.tensor(values) - shift) / 127.5
            self.register_buffer(name, numbers[None, :, None, None])
        self.across = nn.ModuleList(nn.Conv2d(n, width, 1) for n in self.judge.features)
        self.between = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in self.judge.features)
        for one in (*self.across, *self.between):
            assert isinstance(one, nn.Conv2d)  # noqa: S101 - for the type checker
            nn.init.kaiming_normal_(one.weight, nonlinearity="linear")
            nn.init.zeros_(one.bias)  # type: ignore[arg-type]
        entry, strides = self.judge.strides[0][0], self.judge.strides
        edges = [-(-edge // entry)]
        for stride in strides[1:]:
            edges.append(-(-edges[-1] // stride[0]))
        inputs = [width] * (len(edges) - 1) + [width + 1]
        self.heads = nn.ModuleList(
            _head(n, width, classes, size) for n, size in zip(inputs, edges, strict=True)
        )
        self.pixels = _head(self.judge.in_channels * _PATCH**2, width, classes, edge // _PATCH)
        self.train()
        super().requires_grad_(False)
        self.requires_grad_(True)

    def requires_grad_(self, requires_grad: bool = True) -> ProjectedDiscriminator:
        """Only the heads are ever trained."""
        self.heads.requires_grad_(requires_grad)
        self.pixels.requires_grad_(requires_grad)
        return self

    def train(self, mode: bool = True) -> ProjectedDiscriminator:
        """The classifier stays as it is used for prediction."""
        super().train(mode)
        self.judge.eval()
        return self

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits of being real (B, K, y, x), and the classifier's (B, K).

        The first are of the pixels, then of each scale, fine to coarse.

        Parameters
        ----------
        x : Tensor, shape (B, C, y, x)
            Images of -1 to 1, any even square size.
        """
        seen = self.pixels(F.pixel_unshuffle(x, _PATCH))
        x = F.interpolate(x, (self.edge, self.edge), mode="bilinear", align_corners=False, antialias=False)
        maps = list(self.judge.maps((x - self.mean) / self.std).values())[1:]
        named = self.judge.head(maps[-1].flatten(2).mean(2))[:, self.order]
        mixed: list[Tensor] = []
        above: Tensor | None = None
        for features, across, between in zip(
            reversed(maps), reversed(self.across), reversed(self.between), strict=True
        ):
            y = across(features)
            if above is not None:
                y = y + F.interpolate(above, y.shape[2:], mode="nearest")
            above = between(y)
            mixed.insert(0, above)
        mixed[-1] = torch.cat([mixed[-1], spread(mixed[-1])], 1)
        scales = [head(one).float() for head, one in zip(self.heads, mixed, strict=True)]
        return [seen.float(), *scales], named.float()


def _head(inputs: int, width: int, classes: int, size: int) -> nn.Sequential:
    """Convolutions down to a small map, and a logit for each class there."""
    layers: list[nn.Module] = []
    while size > _LAST:
        layers += [spectral_norm(nn.Conv2d(inputs, width, 4, 2, 1)), nn.LeakyReLU(_SLOPE)]
        inputs, size = width, size // 2
    layers += [spectral_norm(nn.Conv2d(inputs, width, 3, padding=1)), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(width, classes, 1)))
