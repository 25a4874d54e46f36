"""What a user may ask of a new plan for segmentation."""

from __future__ import annotations

from dataclasses import dataclass

from deepbio.errors import OptionError
from deepbio.training.configure import CONFIGURATIONS

__all__ = ["Wishes"]

_MODALITIES = ("auto", "CT", "MR", "other")


@dataclass(frozen=True)
class Wishes:
    """What a user may ask of a new plan; the rest follows from the data.

    Attributes
    ----------
    target : {"auto", "instances", "classes"}
        What the labels mean. "auto": more than 16 different labels are objects.
    steps : int, optional
        Training steps; by default 250 per case, between 2000 and 40000.
    seed : int
        Of every random draw.
    configuration : {"auto", "2d", "3d", "3d_lowres"}
        How to train on volumes; see `deepbio.training.configure.configurations`.
    memory : float, optional
        Gigabytes that a training step may take; by default 8.
    modality : {"auto", "CT", "MR", "other"}
        Decides the normalisation; "auto": what the files or else the intensities say.
    folds : int
        Folds of a cross-validation; 0 trains once.
    classes : tuple of int
        Labels that may occur; by default any.
    sides : bool
        Whether classes are left and right ones, so that images must not be mirrored.
    start : str
        A segmentation model of ours to go on from: network, normalisation and grid are its own; with fewer
        steps (by default 100 per case, between 500 and 10000) and half the learning rate.
    refine : str
        A model that segments volumes into the same classes, as one of the configuration "3d_lowres": the network
        also sees what it finds, and becomes the second stage of a cascade.

    Raises
    ------
    OptionError
        If a wish is not one of those.
    """

    target: str = "auto"
    steps: int | None = None
    seed: int = 0
    configuration: str = "auto"
    memory: float | None = None
    modality: str = "auto"
    folds: int = 0
    classes: tuple[int, ...] = ()
    sides: bool = False
    start: str = ""
    refine: str = ""

    def __post_init__(self) -> None:
        choices = (
            ("target", ("auto", "instances", "classes")),
            ("configuration", ("auto", *CONFIGURATIONS)),
            ("modality", _MODALITIES),
        )
        for name, known in choices:
            if getattr(self, name) not in known:
                expected = f"{', '.join(known[:-1])} or {known[-1]}"
                raise OptionError(f"The {name} is {getattr(self, name)!r}; expected {expected}.")
        if self.start and self.refine:
            raise OptionError(
                f"Found both a model to start from, {self.start!r}, and one to refine, {self.refine!r}.",
                "Choose one: the network of a cascade takes other input than that of the model to start from.",
            )
        if (self.memory is not None and self.memory <= 0) or self.folds < 0 or self.folds == 1:
            raise OptionError(
                f"Found a memory of {self.memory} GB and {self.folds} folds; "
                "expected above 0 GB, and 2 folds or more (0 for none)."
            )
