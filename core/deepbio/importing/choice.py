"""What a user can choose when a foreign model is imported."""

from __future__ import annotations

from dataclasses import dataclass

from deepbio.errors import OptionError
from deepbio.library.spatial import check_grid

__all__ = ["CHECKPOINTS", "ImportChoice"]

CHECKPOINTS = ("final", "best")
_LABELS = 2**16


@dataclass(frozen=True)
class ImportChoice:
    """Choices for an import; a package in the BioImage.IO format leaves none.

    Attributes
    ----------
    folds : tuple of str
        Folds of a cross-validation whose networks are averaged, such as ``("0", "3")`` or ``("all",)``; empty for
        all that are there.
    checkpoint : {"final", "best"}
        Weights after the last epoch, or those with the best validation.
    orientation : str
        Where the axes z, y and x of the training images point, such as ``"SAR"``; images are brought to it. Empty
        leaves them as they are stored, as nnU-Net does.
    regions : tuple of str
        For a bundle of MONAI that gives binary channels: the channel (its name, or its number from 0) and the label
        of each region, such as ``("1=2", "0=1", "2=4")``; later ones lie over earlier ones. What the bundle
        itself does with the binary channels, in code, is then left out.

    Raises
    ------
    OptionError
        If the checkpoint is unknown, the orientation is none, or a region is not a channel and a label.
    """

    folds: tuple[str, ...] = ()
    checkpoint: str = CHECKPOINTS[0]
    orientation: str = ""
    regions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.checkpoint not in CHECKPOINTS:
            raise OptionError(
                f"There is no checkpoint {self.checkpoint!r}; expected one of {', '.join(CHECKPOINTS)}."
            )
        if self.orientation:
            check_grid({"orientation": self.orientation}, 3)
        for region in self.regions:
            channel, _, label = region.rpartition("=")
            if not channel or not label.isdecimal() or not 0 < int(label) < _LABELS:
                raise OptionError(
                    f"The region {region!r} is none; expected a channel and a label, such as '1=2'."
                )
