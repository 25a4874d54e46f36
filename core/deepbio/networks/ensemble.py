"""Several networks of one kind whose scores are averaged: the folds of a cross-validation as one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

__all__ = ["Ensemble"]


class Ensemble(nn.Module):
    """The mean of the members' scores, before any activation.

    Parameters
    ----------
    network : str
        Name of the members' network, as in `deepbio.networks.NETWORKS`.
    arguments : mapping
        Arguments of each member, the same for all.
    members : int
        How many there are.

    Examples
    --------
    >>> import torch
    >>> unet = {"dims": 2, "in_channels": 1, "out_channels": 3, "features": [4, 8]}
    >>> net = Ensemble("unet", unet, 2).eval()
    >>> net(torch.zeros(1, 1, 6, 10)).shape, net.divisor
    (torch.Size([1, 3, 6, 10]), (2, 2))
    """

    def __init__(self, network: str, arguments: Mapping[str, Any], members: int) -> None:
        super().__init__()
        from deepbio.networks import build  # which imports this module

        if members < 1 or network == "ensemble":
            raise ValueError(f"no ensemble of {members} networks {network!r}")
        self.members = nn.ModuleList(build(network, arguments) for _ in range(members))

    def forward(self, x: Tensor) -> Tensor:
        """Average the members' scores.

        Parameters
        ----------
        x : Tensor, shape (N, in_channels, [z,] y, x)
            Normalised images; each size a multiple of `divisor`.

        Returns
        -------
        Tensor, shape (N, out_channels, [z,] y, x)
        """
        # added one by one: a stack would hold all members' scores at once
        total: Tensor = self.members[0](x)
        for member in self.members[1:]:
            total = total + member(x)
        return total / len(self.members)

    @property
    def divisor(self) -> tuple[int, ...]:
        """Each spatial size of the input must be a multiple of this, per axis."""
        divisor: Any = self.members[0].divisor
        return tuple(divisor)

    @property
    def receptive_field(self) -> tuple[int, ...]:
        """Pixels that can influence one score, per axis."""
        field: Any = self.members[0].receptive_field
        return tuple(field)
