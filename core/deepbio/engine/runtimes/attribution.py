"""How much each pixel speaks for a class, by gradients: as runtimes, so that the engine tiles them.

Grad-CAM: Selvaraju et al., ICCV 2017 (doi:10.1109/ICCV.2017.74); for a segmentation the score is the
sum over the pixels of the class, as in Vinogradova et al., AAAI 2020 (arXiv:2002.11434). Integrated
gradients: Sundararajan et al., ICML 2017 (arXiv:1703.01365), computed by captum.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepbio.engine.device import Device
from deepbio.engine.runtimes.inside import hooked
from deepbio.engine.runtimes.layers import Layer, by_frame
from deepbio.engine.runtimes.with_torch import first_output
from deepbio.errors import MissingPackage, OptionError

__all__ = ["GradCam", "IntegratedGradients", "ScoreRuntime"]

_MODES = {2: "bilinear", 3: "trilinear"}


class _Attribution:
    """What both methods share: the scalar that is differentiated.

    Parameters
    ----------
    module : torch.nn.Module
        From :func:`~deepbio.engine.runtimes.inside.open_module`.
    device : Device
        Where it is.
    channel : int or None
        The score that is explained; None: the highest one, of each frame its own.
    exclusive : bool
        Whether a pixel is of the class where its score is the highest; else where it is positive.
    """

    name, precision, why = "torch", "fp32", "gradients are asked for"

    def __init__(
        self, module: nn.Module, device: Device, channel: int | None, *, exclusive: bool = True
    ) -> None:
        self.device = device
        self._module, self._channel, self._exclusive = module, channel, exclusive

    def _score(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """One number for each image of the batch: a class score, or the sum over the class's pixels."""
        if self._channel is None:
            chosen = scores.argmax(1, keepdim=True) if mask is None else mask
            return scores.gather(1, chosen).flatten(1).sum(1)
        wanted = scores[:, self._channel]
        if scores.ndim == 2:
            return wanted
        return (wanted * (self._mask(scores) if mask is None else mask)).flatten(1).sum(1)

    def _mask(self, scores: Tensor) -> Tensor:
        if self._channel is None:
            return scores.argmax(1, keepdim=True)
        if self._exclusive and scores.shape[1] > 1:
            return (scores.argmax(1) == self._channel).float()
        return (scores[:, self._channel] > 0).float()


class GradCam(_Attribution):
    """Grad-CAM: the maps of a layer, weighted by the mean gradient of the score, negatives cut off.

    Parameters
    ----------
    module, device, channel, exclusive
        As above.
    layer : Layer
        One with a stride.
    """

    def __init__(
        self, module: nn.Module, device: Device, channel: int | None, layer: Layer, *, exclusive: bool = True
    ) -> None:
        super().__init__(module, device, channel, exclusive=exclusive)
        if not layer.stride:
            raise OptionError(
                f"The layer {layer.name!r} gives one vector for the whole image, from which no map can be made.",
                "Choose a layer with a stride: 'deepbio models show NAME --layers' lists them.",
            )
        self._layer = layer

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Maps ``(N, 1, *tile)``, from 0, of a batch ``(N, C, *tile)``."""
        pixels = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device.name).requires_grad_()
        caught: list[Tensor] = []

        def catch(layer: nn.Module, inputs: Any, output: Any) -> None:
            caught.append(first_output(output))

        with torch.enable_grad(), hooked(self._module, self._layer.name, catch):
            score = self._score(first_output(self._module(pixels))).sum()
            maps = caught[0]
            (gradient,) = torch.autograd.grad(score, maps, allow_unused=True)
        if gradient is None:  # a layer behind the score
            raise OptionError(
                f"The score does not depend on the layer {self._layer.name!r}.", "Choose another layer."
            )
        if self._layer.frames:
            return self._of_frames(maps, gradient, batch.shape)
        large: np.ndarray = _cam(maps, gradient, batch.shape[2:]).float().cpu().numpy()
        return large

    def _of_frames(self, maps: Tensor, gradient: Tensor, shape: tuple[int, ...]) -> np.ndarray:
        """Maps ``(N, 1, T, y, x)``: each frame's features have its own weights."""
        maps, gradient = (by_frame(one, shape[2])[0].transpose(1, 2) for one in (maps, gradient))
        found = _cam(maps.flatten(0, 1), gradient.flatten(0, 1), shape[3:])
        large: np.ndarray = found.reshape(shape[0], 1, *shape[2:]).float().cpu().numpy()
        return large


def _cam(maps: Tensor, gradient: Tensor, size: tuple[int, ...]) -> Tensor:
    """Weighted sums (N, 1, *size) of maps (N, F, *cells)."""
    spatial = tuple(range(2, maps.ndim))
    cam = (gradient.mean(spatial, keepdim=True) * maps).sum(1, keepdim=True).clamp(min=0).detach()
    return F.interpolate(cam, size, mode=_MODES[len(spatial)], align_corners=False)


class IntegratedGradients(_Attribution):
    """Integrated gradients from the mean colour of a tile to its pixels, summed over the channels.

    The numbers of one tile add up to the score of the tile minus the score of its mean colour.

    Parameters
    ----------
    module, device, channel, exclusive
        As above.
    steps : int
        Points of the Gauss-Legendre sum.
    """

    def __init__(
        self,
        module: nn.Module,
        device: Device,
        channel: int | None,
        *,
        exclusive: bool = True,
        steps: int = 20,
    ) -> None:
        super().__init__(module, device, channel, exclusive=exclusive)
        if find_spec("captum") is None:
            raise MissingPackage("captum", "Integrated gradients", extra="explain")
        self._steps = steps

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Maps ``(N, 1, *tile)``, positive where pixels speak for the class, of ``(N, C, *tile)``."""
        from captum.attr import IntegratedGradients as Integrated

        pixels = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device.name)
        start = pixels.mean(tuple(range(2, pixels.ndim)), keepdim=True).expand_as(pixels)
        parts = []
        for one, grey in zip(torch.split(pixels, 1), torch.split(start, 1), strict=True):
            with torch.no_grad():
                scores = first_output(self._module(one))
            # the class's pixels are those of the image itself, all along the way
            mask = self._mask(scores) if scores.ndim > 2 else None

            def score(x: Tensor, mask: Tensor | None = mask) -> Tensor:
                return self._score(first_output(self._module(x)), mask)

            found = Integrated(score).attribute(one, grey, n_steps=self._steps, internal_batch_size=8)
            parts.append(found.sum(1, keepdim=True).detach())
        result: np.ndarray = torch.cat(parts).float().cpu().numpy()
        return result


class ScoreRuntime:
    """A module as a plain runtime: scores ``(N, K, *tile)`` or ``(N, K)``, always float32 numpy.

    Parameters
    ----------
    module : torch.nn.Module
        From :func:`~deepbio.engine.runtimes.inside.open_module`.
    device : Device
        Where it is.
    dropout : int or None
        Seed with which the dropout layers stay on (Monte Carlo dropout; Gal and Ghahramani, ICML
        2016, arXiv:1506.02142); None: off.
    """

    name, precision, why = "torch", "fp32", "the network itself is asked for"

    def __init__(self, module: nn.Module, device: Device, dropout: int | None = None) -> None:
        self.device = device
        self._module, self._seed = module, dropout

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Scores of a batch ``(N, C, *tile)``."""
        pixels = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device.name)
        cards = [self.device.name] if self.device.kind == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(cards):
            drop = dropouts(self._module) if self._seed is not None else []
            try:
                for layer in drop:
                    layer.train()
                if self._seed is not None:
                    torch.manual_seed(self._seed)
                scores = first_output(self._module(pixels))
            finally:
                for layer in drop:
                    layer.eval()
        result: np.ndarray = scores.float().cpu().numpy()
        return result


_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def dropouts(module: nn.Module) -> list[nn.Module]:
    """The dropout layers of a network that drop something."""
    return [layer for layer in module.modules() if isinstance(layer, _DROPOUTS) and layer.p > 0]
