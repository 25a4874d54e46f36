"""What may be asked of the training of a restorer, and the plan that decides it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deepbio.library.restoration import METHODS
from deepbio.options import Options, option

__all__ = ["LOSSES", "Plan", "Wishes"]

LOSSES = ("l2", "l1", "psnr", "ssim", "ssim+l1")


@dataclass(frozen=True)
class Wishes(Options):
    """What a user may ask of a new plan; the rest follows from the data."""

    method: str = option(
        "auto",
        "how to learn: from pairs, without clean data (noise2void), to a finer grid (superresolution), or "
        "through a code (autoencoder, vae); auto: paired where there are targets, else noise2void",
        choices=("auto", *METHODS),
    )
    loss: str = option(
        "auto", "what is made small; auto: l2, and l1 for superresolution", choices=("auto", *LOSSES)
    )
    factor: int = option(2, "pixels of the result for each of the input, of superresolution", choices=(2, 4))
    code: int = option(64, "numbers of the code, of autoencoder and vae", low=1, high=4096)
    normalisation: str = option(
        "auto",
        "mean and deviation of the image, or its percentiles; auto: mean_std, percentile for a code",
        choices=("auto", "mean_std", "percentile"),
    )
    synthetic: float | None = option(
        None,
        "part of the patches whose input is the target with drawn photon and read noise; auto: half of "
        "them, for the method paired with few images and for superresolution from sharp images, else none",
        low=0.0,
        high=1.0,
    )
    blur: float = option(
        1.0,
        "of superresolution from sharp images: largest deviation, in pixels of those, of the Gaussian by which they "
        "are blurred before they are made coarser, as wider optics would",
        low=0.0,
        high=8.0,
    )
    dims: int | None = option(
        None, "2 or 3 spatial axes; auto: 3 for stacks of 8 slices or more", low=2, high=3
    )
    width: int = option(32, "feature maps of the first stage", low=4, high=256)
    stages: int = option(4, "stages of the network", low=1, high=6)
    patch: int | None = option(
        None, "edge of the patches in pixels; auto: 96 in 2D, 32 in 3D; of a code 64 and 32", low=8, high=1024
    )
    batch: int | None = option(None, "patches per step; auto: 4 in 2D, 2 in 3D", low=1, high=512)
    steps: int | None = option(None, "training steps; auto: 3000", low=1, high=10**7)
    seed: int = option(0, "of every random draw", low=0, high=2**31)


@dataclass(frozen=True)
class Plan:
    """Everything that decides a training run; the same plan, data and seed give the same model.

    Attributes
    ----------
    method : str
        One of `deepbio.library.restoration.METHODS`.
    loss : {"l2", "l1", "psnr", "ssim", "ssim+l1"}
        What is made small. "psnr" is the logarithm of each patch's square error, "ssim" is 1 - SSIM,
        "ssim+l1" the mix of Zhao et al. (2017), 0.84 to 0.16.
    dims, channels, factor : int
        Spatial axes, channels, and pixels of the result for each of the input.
    network : dict
        Name and arguments for `deepbio.networks.build`.
    patch : tuple of int
        Size of the input patches.
    batch, steps : int
        Patches per step, and steps.
    normalisation : list of dict
        BioImage.IO preprocessing steps, applied per image; linear for each channel.
    data_range : float
        Between dark and bright in normalised units, for the SSIM.
    synthetic : float
        Part of the patches whose input is their target with drawn noise (of the method paired, images without an
        input of their own always).
    noise : (float, float)
        Drawn noise, as a part of the standard deviation of the whole image, from and to.
    blur : float
        Of superresolution: largest standard deviation, in pixels of the target, of the drawn blur of inputs that are
        made from their target.
    stripes : float
        Largest deviation of the rows and columns of drawn noise from each other, as a part of it.
    tails : float
        How much the read noise of drawn pixels may differ; see `deepbio.training.restore_noise.add_noise`.
    hidden : float
        Part of the pixels that are hidden from the network at each step of noise2void.
    kl : float
        Weight of the divergence of a variational code: twice the variance, in normalised units, that
        pixels have about their reconstruction.
    contrast : float
        Spread of the factors and offsets of patches, in normalised units.
    mirror : tuple of int
        Array axes that may be flipped.
    learning_rate, weight_decay, ema, validate_every, seed
        As of `deepbio.training.loop.Schedule`.
    """

    method: str
    loss: str
    dims: int
    channels: int
    factor: int
    network: dict[str, Any]
    patch: tuple[int, ...]
    batch: int
    steps: int
    normalisation: list[dict[str, Any]] = field(default_factory=list)
    data_range: float = 4.0
    synthetic: float = 0.0
    noise: tuple[float, float] = (0.1, 0.95)
    blur: float = 0.0
    stripes: float = 0.12
    tails: float = 0.5
    hidden: float = 0.01
    kl: float = 0.1
    contrast: float = 0.1
    mirror: tuple[int, ...] = (0, 1)
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-2
    ema: float = 0.99
    validate_every: int = 500
    seed: int = 0
