"""A network that looks back only, with what it remembers carried from one part of a movie to the next."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from deepbio.engine.device import Device
from deepbio.errors import CardError, MissingPackage
from deepbio.library import ModelCard

__all__ = ["Carrier", "can_carry"]


def can_carry(card: ModelCard) -> bool:
    """Whether the network's state can be had here: its own weights, and torch."""
    return card.weights_of("safetensors") is not None and find_spec("torch") is not None


class Carrier:
    """Scores of one part of a movie after another.

    Parameters
    ----------
    card : ModelCard
        With weights as safetensors.
    device : Device
        Where to compute.

    Raises
    ------
    CardError
        If it has no such weights.
    MissingPackage
        If torch is not installed.
    """

    def __init__(self, card: ModelCard, device: Device) -> None:
        weights = card.weights_of("safetensors")
        if weights is None:
            raise CardError(
                f"The model '{card.name}' has no weights as safetensors, which a stream of frames needs."
            )
        if find_spec("torch") is None:
            raise MissingPackage("torch", "A stream of frames", extra="torch")
        from deepbio.engine.runtimes.with_torch import load_module

        weights.verify()
        self._device = device
        network: Any = load_module(weights).to(device.name)
        self._network = network
        self.channels = int(network.in_channels)
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._state: Any = None

    def scores(self, frames: np.ndarray) -> np.ndarray:
        """Scores of the next frames.

        Parameters
        ----------
        frames : ndarray of float32, shape (C, T, y, x)
            Normalised.

        Returns
        -------
        ndarray of float32, shape (K, T, y, x) or (K, T)
        """
        import torch

        height, width = frames.shape[2:]
        short = [-n % d for n, d in zip((height, width), self._network.divisor, strict=True)]
        if any(short):
            frames = np.pad(frames, ((0, 0), (0, 0), (0, short[0]), (0, short[1])), mode="symmetric")
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(frames))[None].to(self._device.name)
            scores, self._state = self._network.run(batch, self._state)
        found: np.ndarray = scores[0].float().cpu().numpy()
        return found[..., :height, :width] if found.ndim > 2 else found
