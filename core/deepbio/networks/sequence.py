"""Networks for frames in their order: a U-Net with memory, and an encoder with a recurrent classifier.

Both work on all frames of a window at once (``forward``), on one part of a movie after another with the
state carried over (``run``), and, in one direction, frame by frame (``run`` with one frame).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deepbio.networks.recurrent import Recurrent, State
from deepbio.networks.unet import UNet, fold_norms

__all__ = ["PER", "SequenceClassifier", "SequenceUNet", "fold_sequence"]

PER = ("frame", "sequence")


class SequenceUNet(nn.Module):
    """A 2D U-Net for each frame, and cells in its decoder that remember the frames around.

    At each of `levels`, what a recurrent layer has seen is added to the features. That addition starts at
    zero, so a U-Net that is trained already gives the same scores as before until the cells have learned.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of a frame and of the scores.
    features, strides, kernels, convs, decoder_convs, encoder, norm
        Of the U-Net, see `UNet`.
    levels : sequence of int
        Stages with memory: 0 is the decoder's at full resolution, the last is the bottom.
    hidden : sequence of int
        Channels of the memory at each of them, in each direction.
    cell : {"gru", "lstm"}
        Kind of cell.
    bidirectional : bool
        Whether later frames are seen, too; then nothing can be carried over.

    Examples
    --------
    >>> net = SequenceUNet(1, 2, features=(4, 8), levels=(1,), hidden=(6,)).eval()
    >>> net(torch.zeros(1, 1, 5, 8, 12)).shape, net.divisor
    (torch.Size([1, 2, 5, 8, 12]), (2, 2))
    """

    def __init__(  # noqa: PLR0913 - a card names them one by one
        self,
        in_channels: int,
        out_channels: int,
        *,
        features: Sequence[int] = (16, 32, 64, 128),
        strides: Sequence[int | Sequence[int]] | None = None,
        kernels: Sequence[int | Sequence[int]] | None = None,
        convs: Sequence[int] | None = None,
        decoder_convs: int = 2,
        encoder: str = "plain",
        norm: str = "batch",
        levels: Sequence[int] = (2,),
        hidden: Sequence[int] = (32,),
        cell: str = "lstm",
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.unet = UNet(
            2,
            in_channels,
            out_channels,
            features=features,
            strides=strides,
            kernels=kernels,
            convs=convs,
            decoder_convs=decoder_convs,
            encoder=encoder,
            norm=norm,
        )
        stages = len(features)
        if len(levels) != len(hidden) or not levels or len(set(levels)) != len(levels):
            raise ValueError(f"levels and hidden need one entry each per memory, found {levels} and {hidden}")
        if not all(0 <= level < stages for level in levels):
            raise ValueError(f"levels must lie in 0 to {stages - 1}, found {levels}")
        self.levels, self.bidirectional = tuple(levels), bidirectional
        self.in_channels, self.out_channels = in_channels, out_channels
        self.memories = nn.ModuleList(
            Recurrent(cell, features[level], size, bidirectional=bidirectional)
            for level, size in zip(levels, hidden, strict=True)
        )
        self.additions = nn.ModuleList(
            nn.Conv2d(size * (2 if bidirectional else 1), features[level], 1)
            for level, size in zip(levels, hidden, strict=True)
        )
        for addition in self.additions:
            assert isinstance(addition, nn.Conv2d)  # noqa: S101 - for the type checker
            nn.init.zeros_(addition.weight)
            nn.init.zeros_(addition.bias)  # type: ignore[arg-type]

    @torch.no_grad()
    def keep_share(self, share: float) -> None:
        """Weaken what the memories add, in place: 1 changes nothing, 0 leaves the U-Net alone.

        Between a network and what it was fitted to from there, the middle is often better than both:
        Wortsman et al., CVPR 2022 (arXiv:2109.01903).

        Parameters
        ----------
        share : float
            Part that is kept, 0 to 1.
        """
        for addition in self.additions:
            for weights in addition.parameters():
                weights.mul_(share)

    @property
    def divisor(self) -> tuple[int, ...]:
        """Each spatial size of the input must be a multiple of this, per axis."""
        return self.unet.divisor

    def forward(self, x: Tensor) -> Tensor:
        """Scores of all frames of a window.

        Parameters
        ----------
        x : Tensor, shape (N, in_channels, T, y, x)
            Normalised frames; y and x multiples of `divisor`.

        Returns
        -------
        Tensor, shape (N, out_channels, T, y, x)
            Scores before any activation.
        """
        return self.run(x, None)[0]

    def run(self, x: Tensor, states: tuple[State, ...] | None) -> tuple[Tensor, tuple[State, ...]]:
        """Scores of the next frames of a movie.

        Parameters
        ----------
        x : Tensor, shape (N, in_channels, T, y, x)
            The frames.
        states : tuple of State or None
            What this method gave for the frames before; None at the start.

        Returns
        -------
        scores : Tensor, shape (N, out_channels, T, y, x)
        states : tuple of State
            To go on with.
        """
        count, length = x.shape[0], x.shape[2]
        x = x.transpose(1, 2).flatten(0, 1)
        after: dict[int, State] = {}

        def remember(features: Tensor, stage: int) -> Tensor:
            if stage not in self.levels:
                return features
            at = self.levels.index(stage)
            frames = features.reshape(count, length, *features.shape[1:])
            hidden, after[at] = self.memories[at](frames, None if states is None else states[at])
            added: Tensor = features + self.additions[at](hidden.flatten(0, 1))
            return added

        unet, skips = self.unet, []
        for stage in unet.encoder:
            x = stage(x)
            skips.append(x)
        x = remember(x, len(unet.up))
        for i in reversed(range(len(unet.up))):
            x = remember(unet.decoder[i](torch.cat((unet.up[i](x), skips[i]), dim=1)), i)
        scores = unet.heads[0](x).unflatten(0, (count, length)).transpose(1, 2)
        return scores, tuple(after[at] for at in range(len(self.levels)))


class SequenceClassifier(nn.Module):
    """Convolutions that see each frame, and a cell that follows what they saw.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of a frame, and classes.
    per : {"frame", "sequence"}
        Whether each frame has a class, or all together have one.
    features : sequence of int
        Feature maps of each stage; all but the first halve the resolution.
    hidden : int
        Of the cell, in each direction.
    cell : {"gru", "lstm"}
        Kind of cell.
    bidirectional : bool
        Whether later frames are seen, too.

    Examples
    --------
    >>> net = SequenceClassifier(1, 3, per="frame", features=(4, 8), hidden=5).eval()
    >>> net(torch.zeros(2, 1, 6, 16, 20)).shape
    torch.Size([2, 3, 6])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        per: str = "sequence",
        features: Sequence[int] = (16, 32, 64),
        hidden: int = 64,
        cell: str = "lstm",
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        if per not in PER:
            raise ValueError(f"per must be one of {', '.join(PER)}, found {per!r}")
        self.per, self.bidirectional = per, bidirectional
        self.in_channels, self.out_channels = in_channels, out_channels
        stages: list[nn.Module] = []
        for before, now in zip((in_channels, *features[:-1]), features, strict=True):
            stages += [
                nn.Conv2d(before, now, 3, 2 if stages else 1, 1, bias=False),
                nn.BatchNorm2d(now),
                nn.ReLU(),
                nn.Conv2d(now, now, 3, 1, 1, bias=False),
                nn.BatchNorm2d(now),
                nn.ReLU(),
            ]
        self.encoder = nn.Sequential(*stages)
        self.memory = Recurrent(cell, features[-1], hidden, kernel=0, bidirectional=bidirectional)
        self.head = nn.Linear(self.memory.outputs, out_channels)

    @property
    def divisor(self) -> tuple[int, int]:
        """Any size will do."""
        return (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of a window.

        Parameters
        ----------
        x : Tensor, shape (N, in_channels, T, y, x)
            Normalised frames.

        Returns
        -------
        Tensor, shape (N, out_channels, T) or (N, out_channels)
            Scores before softmax, of each frame, or of the mean over what was remembered at each.
        """
        return self.run(x, None)[0]

    def run(self, x: Tensor, states: tuple[State, ...] | None) -> tuple[Tensor, tuple[State, ...]]:
        """Scores of the next frames, as `SequenceUNet.run`; of a sequence, those of these frames alone."""
        count, length = x.shape[0], x.shape[2]
        seen = self.encoder(x.transpose(1, 2).flatten(0, 1)).mean((2, 3)).unflatten(0, (count, length))
        hidden, state = self.memory(seen, None if states is None else states[0])
        if self.per == "sequence":
            return self.head(hidden.mean(1)), (state,)
        return self.head(hidden).transpose(1, 2), (state,)


def fold_sequence(network: nn.Module) -> nn.Module:
    """The network for prediction, as `fold_norms` for a U-Net; a classifier as it is."""
    if not isinstance(network, SequenceUNet):
        return network
    folded: Any = copy.deepcopy(network).eval()
    folded.unet = fold_norms(network.unet)
    return folded
