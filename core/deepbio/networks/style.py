"""A residual U-Net whose decoder is told the style of the image: the network of Cellpose, versions 1 to 3.

Method: Stringer et al., Cellpose: a generalist algorithm for cellular segmentation, Nature Methods 18:100 (2021,
doi:10.1038/s41592-020-01018-x): normalisation and rectifier before each convolution (He et al., ECCV 2016,
doi:10.1007/978-3-319-46493-0_38), skips that are added, and the mean of the deepest features, scaled to length 1, as
style.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["StyleUNet"]


class StyleUNet(nn.Module):
    """Encoder and decoder of residual stages with four convolutions each.

    The style is a mean over all of the input, so scores depend on the whole tile.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the image and of the scores.
    features : sequence of int
        Feature maps of each stage, the finest first; each stage has half the resolution of the one before.
    kernel : int
        Size of the kernels (odd).

    Examples
    --------
    >>> import torch
    >>> net = StyleUNet(2, 3, features=(4, 8, 8)).eval()
    >>> net(torch.zeros(1, 2, 20, 36)).shape, net.divisor
    (torch.Size([1, 3, 20, 36]), (4, 4))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        features: Sequence[int] = (32, 64, 128, 256),
        kernel: int = 3,
    ) -> None:
        super().__init__()
        if not features or min(features) < 1 or kernel % 2 == 0:
            raise ValueError(f"no network with features={features!r} and kernels of {kernel!r}")
        widths = tuple(features)
        self.in_channels, self.out_channels = in_channels, out_channels
        inputs = (in_channels, *widths[:-1])
        self.encoder = nn.ModuleList(_Down(a, b, kernel) for a, b in zip(inputs, widths, strict=True))
        deeper = (*widths[1:], widths[-1])
        self.decoder = nn.ModuleList(
            _Up(a, b, widths[-1], kernel) for a, b in zip(deeper, widths, strict=True)
        )
        self.head = _unit(widths[0], out_channels, 1)
        self.pool = nn.MaxPool2d(2)
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        """Compute scores.

        Parameters
        ----------
        x : Tensor, shape (N, in_channels, y, x)
            Normalised images; each size a multiple of `divisor`.

        Returns
        -------
        Tensor, shape (N, out_channels, y, x)
        """
        skips: list[Tensor] = []
        for stage in self.encoder:
            x = stage(self.pool(x) if skips else x)
            skips.append(x)
        style = x.mean(dim=(2, 3))
        style = style / style.square().sum(dim=1, keepdim=True).sqrt()
        for n in reversed(range(len(skips))):
            if n < len(skips) - 1:
                x = self.enlarge(x)
            x = self.decoder[n](x, skips[n], style)
        scores: Tensor = self.head(x)
        return scores

    @property
    def divisor(self) -> tuple[int, int]:
        """Each spatial size of the input must be a multiple of this, per axis."""
        return (2 ** (len(self.encoder) - 1),) * 2


def _unit(inputs: int, outputs: int, kernel: int, *, rectified: bool = True) -> nn.Sequential:
    """Normalisation, rectifier and convolution."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    if rectified:
        return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), convolution)
    return nn.Sequential(nn.BatchNorm2d(inputs), convolution)


class _Down(nn.Module):
    """Two pairs of convolutions, each beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.shortcut = _unit(inputs, outputs, 1, rectified=False)
        self.convs = nn.ModuleList(_unit(inputs if n == 0 else outputs, outputs, kernel) for n in range(4))

    def forward(self, x: Tensor) -> Tensor:
        first, second, third, fourth = self.convs
        x = self.shortcut(x) + second(first(x))
        result: Tensor = x + fourth(third(x))
        return result


class _Up(nn.Module):
    """As :class:`_Down`, with the skip added after the first convolution and the style before the other three."""

    def __init__(self, inputs: int, outputs: int, style: int, kernel: int) -> None:
        super().__init__()
        self.shortcut = _unit(inputs, outputs, 1, rectified=False)
        self.convs = nn.ModuleList(_unit(inputs if n == 0 else outputs, outputs, kernel) for n in range(4))
        self.styles = nn.ModuleList(nn.Linear(style, outputs) for _ in range(3))

    def forward(self, x: Tensor, skip: Tensor, style: Tensor) -> Tensor:
        first, second, third, fourth = self.convs
        told = [layer(style)[:, :, None, None] for layer in self.styles]
        x = self.shortcut(x) + second(first(x) + skip + told[0])
        result: Tensor = x + fourth(third(x + told[1]) + told[2])
        return result
