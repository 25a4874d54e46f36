"""A U-Net that also sees what another network found: the second stage of a cascade."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deepbio.networks.unet import UNet

__all__ = ["GuidedUNet"]


class GuidedUNet(UNet):
    """A U-Net whose input ends with a channel of labels, which it sees as one channel for each class.

    Method: the cascade of nnU-Net, Isensee et al., Nature Methods 18:203 (2021,
    doi:10.1038/s41592-020-01008-z), whose second stage takes the segmentation of the first, one-hot, beside the image.

    Parameters
    ----------
    labels : int
        Classes 1 to `labels` of the channel of labels; what is none of them is background.
    **unet
        Of :class:`~deepbio.networks.unet.UNet`; its ``in_channels`` are those of the image and `labels` more.

    Examples
    --------
    >>> net = GuidedUNet(labels=2, dims=3, in_channels=3, out_channels=3, features=(4, 8)).eval()
    >>> net(torch.zeros(1, 2, 6, 8, 10)).shape
    torch.Size([1, 3, 6, 8, 10])
    """

    def __init__(self, *, labels: int, **unet: Any) -> None:
        super().__init__(**unet)
        if not 0 < labels < self.in_channels:
            raise ValueError(f"{self.in_channels} channels are none of an image and {labels} classes")
        self.labels = labels

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Compute scores.

        Parameters
        ----------
        x : Tensor, shape (N, in_channels - labels + 1, [z,] y, x)
            Normalised images, and in the last channel labels; each size a multiple of `divisor`.

        Returns
        -------
        Tensor, shape (N, out_channels, [z,] y, x)
            As of `UNet`.
        """
        guide = x[:, -1:]
        classes = [(guide == float(label)).to(x.dtype) for label in range(1, self.labels + 1)]
        return super().forward(torch.cat((x[:, :-1], *classes), dim=1))
